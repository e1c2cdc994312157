//! The bound that the group rule gives on paper; docs/simulation/eclipse.md derives it.

/// The share of nodes all of whose `slots` discovered peers are hostile: each slot has
/// another teller, drawn without return from `relays` groups of which `hostile` are an
/// attacker's, and an honest teller names a hostile peer with probability `peers`.
pub fn bound(relays: usize, hostile: usize, peers: f64, slots: usize) -> f64 {
    let slots = slots.min(relays);
    let sum = (0..=slots.min(hostile)).filter(|k| slots - k <= relays - hostile).map(|k| {
        let drawn = ln_choose(hostile, k) + ln_choose(relays - hostile, slots - k) - ln_choose(relays, slots);
        let honest = i32::try_from(slots - k).unwrap_or(i32::MAX);
        drawn.exp() * peers.powi(honest)
    });
    sum.sum()
}

/// The share of hostile peers among those that honest tellers have given, after a long
/// time. An attacker's peers never leave by themselves; honest ones stay `stays` hours on
/// the average, and each session is exchanged after `rotated` hours.
pub fn with_rotation(peers: f64, rotated: f64, stays: f64) -> f64 {
    let odds = peers / (1.0 - peers) * (1.0 + rotated / stays);
    odds / (1.0 + odds)
}

fn ln_choose(n: usize, k: usize) -> f64 {
    (0..k).map(|i| (((n - i) as f64) / ((i + 1) as f64)).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every set of tellers, and every outcome at the honest ones, one by one.
    fn enumerated(relays: usize, hostile: usize, peers: f64, slots: u32) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        for set in 0_u32..1 << relays {
            if set.count_ones() != slots {
                continue;
            }
            count += 1.0;
            let honest = (hostile..relays).filter(|relay| set & (1 << relay) != 0).count();
            sum += peers.powi(i32::try_from(honest).unwrap());
        }
        sum / count
    }

    #[test]
    fn it_is_what_an_enumeration_gives() {
        for (relays, hostile, peers, slots) in [(10, 3, 0.5, 4), (8, 0, 0.25, 3), (6, 5, 0.5, 4), (10, 3, 0.99, 2)] {
            let (paper, counted) = (bound(relays, hostile, peers, slots), enumerated(relays, hostile, peers, slots as u32));
            assert!((paper - counted).abs() < 1e-12, "{relays} {hostile} {peers} {slots}: {paper} {counted}");
        }
    }

    #[test]
    fn the_figures_of_the_documentation() {
        for (relays, expected) in [(10, 0.165), (20, 0.172), (60, 0.176)] {
            assert!((bound(relays, relays * 3 / 10, 0.5, 4) - expected).abs() < 0.0006, "{relays}");
        }
        assert!((bound(60, 18, with_rotation(0.5, 2.0, 12.0), 4) - 0.207).abs() < 0.0015);
        assert!((with_rotation(0.5, 0.0, 12.0) - 0.5).abs() < 1e-12);
    }
}
