use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Moment {
    Moment::after_start(Duration::from_millis(millis))
}

fn prefix(block: u8) -> IpPrefix {
    IpPrefix::network([198, 18, block, 1].into())
}

fn budget(change: impl FnOnce(&mut RelayServerConfig)) -> Budget<u32> {
    let mut config = RelayServerConfig::default();
    change(&mut config);
    Budget::new(&config)
}

/// A circuit between two peers of two prefixes.
fn between(one: u32, other: u32) -> Parties<u32> {
    Parties { peers: [one, other], prefixes: [prefix(one as u8), prefix(other as u8)] }
}

/// What each circuit passes on between two moments, if all send as fast as they may.
/// Timers are late, by what `chance` says.
fn greedy(budget: &mut Budget<u32>, circuits: &[Parties<u32>], from: u64, to: u64, mut chance: impl FnMut() -> u64) -> Vec<u64> {
    let chunk = budget.chunk().expect("a rate").min(32 * 1024);
    let mut turns: BTreeMap<(Duration, usize), ()> = (0..circuits.len()).map(|index| ((Duration::ZERO, index), ())).collect();
    let mut moved = vec![0; circuits.len()];
    while let Some(((now, index), ())) = turns.pop_first() {
        if now >= Duration::from_millis(to) {
            break;
        }
        if now >= Duration::from_millis(from) {
            moved[index] += chunk;
        }
        let next = budget.charge(&circuits[index], chunk, Moment::after_start(now)).expect("no quota").since_start();
        let late = if next > now { Duration::from_micros(chance() % 2500) } else { Duration::from_micros(20) };
        turns.insert((next + late, index), ());
    }
    moved
}

/// Numbers that look random, the same at every run.
fn chance(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    }
}

#[test]
fn twenty_greedy_circuits_keep_both_limits_within_a_twentieth_and_get_equal_parts() {
    let (peer, all) = (10_000_000, 40_000_000);
    let mut limited = budget(|config| (config.bytes_per_second_per_peer, config.bytes_per_second) = (peer, all));
    let circuits: Vec<_> = (0..20).map(|n| between(n, 100 + n)).collect();
    let moved = greedy(&mut limited, &circuits, 1000, 6000, chance(1));
    let sum: u64 = moved.iter().sum();
    assert!(sum.abs_diff(5 * all) <= 5 * all / 20, "{sum}");
    let (least, most) = (moved.iter().min().unwrap(), moved.iter().max().unwrap());
    assert!(most - least <= most / 20, "{moved:?}");

    // Two alone are held back by their own limit; one that has five circuits gets no more.
    let mut limited = budget(|config| (config.bytes_per_second_per_peer, config.bytes_per_second) = (peer, all));
    let circuits: Vec<_> = (0..5).map(|n| between(1, 100 + n)).chain([between(2, 200)]).collect();
    let moved = greedy(&mut limited, &circuits, 1000, 6000, chance(2));
    let (five, one): (u64, u64) = (moved[..5].iter().sum(), moved[5]);
    for sum in [five, one] {
        assert!(sum.abs_diff(5 * peer) <= 5 * peer / 20, "{moved:?}");
    }
}

#[test]
fn who_sends_little_does_not_wait_for_those_who_send_much() {
    let mut limited = budget(|config| config.bytes_per_second = 1_000_000);
    let greedy_ones: Vec<_> = (0..50).map(|n| between(n, 100 + n)).collect();
    greedy(&mut limited, &greedy_ones, 0, 3000, chance(3));
    // Its bytes have been passed on; it waits before the next, once around.
    let next = limited.charge(&between(90, 91), 100, at(3000)).unwrap();
    assert!(next.since(at(3000)) <= Duration::from_millis(50 * 20 + 100), "{next:?}");
    assert_eq!(limited.charge(&between(90, 91), 100, at(10_000)), Ok(at(10_000)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_order_of_events_gives_more_than_the_rates(
        seed in 1..u64::MAX,
        pairs in prop::collection::vec((0..12_u32, 12..24_u32), 1..30),
        peer in 20_000..20_000_000_u64,
        all in 20_000..50_000_000_u64,
        burst in 0..1_000_000_u64,
    ) {
        let mut limited = budget(|config| {
            (config.bytes_per_second_per_peer, config.burst_per_peer) = (peer, burst);
            (config.bytes_per_second, config.burst) = (all, burst);
        });
        let chunk = limited.chunk().unwrap().min(32 * 1024);
        let circuits: Vec<_> = pairs.iter().map(|(one, other)| between(*one, *other)).collect();
        let moved = greedy(&mut limited, &circuits, 0, 4000, chance(seed));
        let burst_of = |rate: u64| if burst == 0 { rate / 10 } else { burst.max(rate / 50) };
        let most = |rate: u64, circuits: usize| rate * 4 + burst_of(rate) + circuits as u64 * chunk + 1;
        let sum: u64 = moved.iter().sum();
        prop_assert!(sum <= most(all, circuits.len()), "{} over {}", sum, all);
        for one in 0..24 {
            let of: Vec<u64> = moved.iter().zip(&circuits).filter(|(_, circuit)| circuit.peers.contains(&one)).map(|(moved, _)| *moved).collect();
            prop_assert!(of.iter().sum::<u64>() <= most(peer, of.len()), "{} over {}", of.iter().sum::<u64>(), peer);
        }
    }

    #[test]
    fn a_quota_is_never_exceeded_by_more_than_a_chunk_a_circuit_and_comes_back(
        chunks in prop::collection::vec((0..4_u32, 1..1000_u64, 0..50_u64), 1..400),
    ) {
        let mut limited = budget(|config| {
            (config.quota_per_peer, config.quota, config.quota_window) = (10_000, 25_000, Duration::from_secs(60));
        });
        let (mut now, mut used) = (0, [0_u64; 4]);
        for (peer, bytes, later) in chunks {
            // All within one window.
            now = (now + later).min(50_000);
            let is_over = limited.exceeded(&peer, &prefix(peer as u8), at(now)).is_some();
            let charged = limited.charge(&between(peer, 100 + peer), bytes, at(now));
            prop_assert_eq!(charged.is_err(), is_over);
            used[peer as usize] += if is_over { 0 } else { bytes };
        }
        prop_assert!(used.iter().all(|used| *used < 10_000 + 1000));
        prop_assert!(used.iter().sum::<u64>() < 25_000 + 1000);
        prop_assert_eq!(limited.quota_use(at(now)).used, used.iter().sum::<u64>());
        for peer in 0..4 {
            prop_assert_eq!(limited.exceeded(&peer, &prefix(peer as u8), at(120_000)), None);
        }
        prop_assert_eq!(limited.quota_use(at(120_000)), RelayQuotaUse { quota: 25_000, ..RelayQuotaUse::default() });
    }
}

#[test]
fn a_prefix_has_a_quota_however_many_identities_it_has_and_a_called_peer_uses_none_of_its_own() {
    let mut limited = budget(|config| config.quota_per_prefix = 1000);
    let within = Parties { peers: [1, 2], prefixes: [prefix(1), prefix(1)] };
    limited.charge(&within, 500, at(0)).unwrap();
    assert_eq!(limited.exceeded(&3, &prefix(1), at(0)), None);
    for peer in 10..15 {
        limited.charge(&Parties { peers: [peer, 99], prefixes: [prefix(1), prefix(9)] }, 100, at(0)).unwrap();
    }
    assert_eq!(limited.exceeded(&77, &prefix(1), at(0)), Some(Exceeded::Prefix));
    limited.charge(&Parties { peers: [50, 99], prefixes: [prefix(5), prefix(9)] }, 1000, at(0)).unwrap();
    assert_eq!(limited.exceeded(&99, &prefix(9), at(0)), None, "others opened these circuits");
    assert_eq!(limited.quota_use(at(0)).prefixes_over, 2);
}

#[test]
fn thousands_of_free_identities_do_not_make_a_heavy_user_forgotten() {
    let mut limited = budget(|config| (config.quota_per_peer, config.bytes_per_second_per_peer) = (1000, 1_000_000));
    limited.charge(&between(0, 1), 1000, at(0)).unwrap();
    for peer in 2..4000 {
        limited.charge(&between(peer, peer + 100_000), 1, at(1)).unwrap();
    }
    assert_eq!(limited.exceeded(&0, &prefix(0), at(2)), Some(Exceeded::Peer));
    assert!(limited.peers.len() <= quota::MAX_REMEMBERED && limited.paces.len() <= MAX_PACED);
}

#[test]
fn limits_that_change_apply_to_what_was_used_already() {
    let mut limited = budget(|config| (config.quota_per_peer, config.bytes_per_second) = (1000, 1));
    let wait = limited.charge(&between(0, 1), 900, at(0)).unwrap();
    assert!(wait.since(at(0)) > Duration::from_secs(800));
    let lower = RelayServerConfig { quota_per_peer: 500, ..RelayServerConfig::default() };
    limited.set(&lower);
    assert_eq!(limited.exceeded(&0, &prefix(0), at(1)), Some(Exceeded::Peer));
    limited.set(&RelayServerConfig { bytes_per_second: 1_000_000, ..RelayServerConfig::default() });
    assert_eq!(limited.charge(&between(0, 1), 900, at(1)), Ok(at(1)), "the debt of the old rate is gone");
    limited.set(&RelayServerConfig::default());
    assert!(!limited.is_limited() && limited.chunk().is_none());
}
