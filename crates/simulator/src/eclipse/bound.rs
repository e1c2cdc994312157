//! The bound that the group rule gives on paper; docs/simulation/eclipse.md derives it.

/// Who could tell, and whom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tellers {
    /// Groups of relays.
    pub relays: usize,
    /// Of these, an attacker's, whose relays name hostile peers alone.
    pub hostile: usize,
    /// With what probability an honest relay's peer is hostile.
    pub peers: f64,
}

/// The share of nodes all of whose `slots` discovered peers are hostile: each slot has
/// another teller, drawn without return. A hostile peer stays `longer` times as long as an
/// honest one; 1 counts those that are drawn, whatever happens then.
pub fn bound(shares: Tellers, slots: usize, longer: f64) -> f64 {
    let Tellers { relays, hostile, peers } = shares;
    let slots = slots.min(relays);
    // Sets of tellers are there as often as they are drawn, for as long as they stay.
    let weight = |of_honest: f64| -> f64 {
        let counts = (0..=slots.min(hostile)).filter(|k| slots - k <= relays - hostile);
        let weights = counts.map(|k| {
            let drawn = ln_choose(hostile, k) + ln_choose(relays - hostile, slots - k) - ln_choose(relays, slots);
            drawn.exp() * longer.powi(power(k)) * of_honest.powi(power(slots - k))
        });
        weights.sum()
    };
    weight(peers * longer) / weight(peers * longer + 1.0 - peers)
}

fn power(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// How much longer hostile peers stay: they never leave by themselves, honest ones do after
/// `stays` hours on the average, and each session is exchanged after `rotated` hours.
pub fn longer(rotated: f64, stays: f64) -> f64 {
    1.0 + rotated / stays
}

fn ln_choose(n: usize, k: usize) -> f64 {
    (0..k).map(|i| (((n - i) as f64) / ((i + 1) as f64)).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every set of tellers, and every outcome at the honest ones, one by one.
    fn enumerated(shares: Tellers, slots: u32, longer: f64) -> f64 {
        let Tellers { relays, hostile, peers } = shares;
        let (mut all_hostile, mut all) = (0.0, 0.0);
        for set in (0_u32..1 << relays).filter(|set| set.count_ones() == slots) {
            for peers_of in (0_u32..1 << relays)
                .filter(|peers_of| peers_of & !set == 0 && peers_of & ((1 << hostile) - 1) == set & ((1 << hostile) - 1))
            {
                let at_honest = set >> hostile;
                let (bad, good) = ((peers_of >> hostile).count_ones(), (at_honest & !(peers_of >> hostile)).count_ones());
                let drawn = peers.powi(bad as i32) * (1.0 - peers).powi(good as i32);
                let weight = drawn * longer.powi((slots - good) as i32);
                all += weight;
                all_hostile += if good == 0 { weight } else { 0.0 };
            }
        }
        all_hostile / all
    }

    #[test]
    fn it_is_what_an_enumeration_gives() {
        for (relays, hostile, peers, slots) in [(10, 3, 0.5, 4), (8, 0, 0.25, 3), (6, 5, 0.5, 4), (10, 3, 0.99, 2)] {
            for longer in [1.0, 1.2, 3.0] {
                let shares = Tellers { relays, hostile, peers };
                let (paper, counted) = (bound(shares, slots, longer), enumerated(shares, slots as u32, longer));
                assert!((paper - counted).abs() < 1e-12, "{shares:?} {slots} {longer}: {paper} {counted}");
            }
        }
    }

    #[test]
    fn the_figures_of_the_documentation() {
        let of = |relays, longer| bound(Tellers { relays, hostile: relays * 3 / 10, peers: 0.5 }, 4, longer);
        for (relays, expected) in [(10, 0.165), (20, 0.172), (60, 0.176)] {
            assert!((of(relays, 1.0) - expected).abs() < 0.0006, "{relays}");
        }
        assert!((of(60, longer(2.0, 12.0)) - 0.216).abs() < 0.0006);
        assert!((bound(Tellers { relays: 52, hostile: 18, peers: 0.5 }, 4, 1.0) - 0.202).abs() < 0.0006);
    }
}
