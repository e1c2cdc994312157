use std::{collections::HashMap, time::Duration};

use kaspath_domain::{Groups, IpPrefix, Moment, PeerGroup, PeerIdentity};
use proptest::{collection::vec, prelude::*};

use super::*;

/// A sequence that visits all of 0..1.
pub(crate) fn numbers(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(state >> 33).unwrap()) / f64::from(1_u32 << 31)
    }
}

pub(crate) fn peer(n: u16) -> PeerIdentity {
    let [a, b] = n.to_be_bytes();
    PeerIdentity::from_bytes(&[0, 2, a, b]).unwrap()
}

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn group(n: u8) -> PeerGroup {
    PeerGroup::Prefix(IpPrefix::provider_block([10, n, 0, 1].into()))
}

fn told(n: u16, by: u8) -> Discovered {
    Discovered { peer: peer(n), source: group(by), claims: Groups::default(), is_trusted: true, until: at(1_000_000) }
}

/// Drives an [`Outbound`] as a shell does whose peers all answer.
struct Driver {
    outbound: Outbound,
    random: Box<dyn FnMut() -> f64>,
    began: usize,
    /// Where those are who are reached straight.
    at: HashMap<PeerIdentity, PeerGroup>,
}

impl Driver {
    fn new(target: usize) -> Self {
        Self { outbound: Outbound::new(target, [peer(65_535)]), random: Box::new(numbers(11)), began: 0, at: HashMap::new() }
    }

    fn told(&mut self, told: impl IntoIterator<Item = Discovered>, now: Moment) {
        self.outbound.told(told, now, &mut self.random);
    }

    /// Steps until nothing is to be done; who was left.
    fn settle(&mut self, now: Moment) -> Vec<PeerIdentity> {
        let mut left = Vec::new();
        loop {
            let steps = self.outbound.step(now, true, &mut self.random);
            if steps.is_empty() {
                return left;
            }
            for step in steps {
                match step {
                    Step::Reach(peer) => {
                        self.began += 1;
                        self.outbound.began(&peer, self.at.get(&peer).cloned(), now, &mut self.random);
                    }
                    Step::Leave(peer) => {
                        self.outbound.ended(&peer, now);
                        left.push(peer);
                    }
                }
            }
        }
    }

    fn up(&self) -> Vec<PeerIdentity> {
        let mut up: Vec<_> = self.outbound.slots().map(|(peer, _)| peer.clone()).collect();
        up.sort_unstable();
        up
    }

    /// How many sessions each group has.
    fn by_group(&self) -> HashMap<PeerGroup, usize> {
        let mut count = HashMap::new();
        for (_, slot) in self.outbound.slots() {
            slot.groups().iter().for_each(|group| *count.entry(group.clone()).or_default() += 1);
        }
        count
    }
}

#[test]
fn a_second_peer_of_a_group_comes_when_no_other_group_is_there_for_a_while() {
    let mut driver = Driver::new(3);
    driver.told([told(1, 1), told(2, 1), told(3, 1), told(4, 2)], at(0));
    driver.settle(at(0));
    assert_eq!(driver.by_group(), HashMap::from([(group(1), 1), (group(2), 1)]));
    driver.settle(at(3));
    assert_eq!(driver.up().len(), 2, "it waits for other groups");
    driver.settle(at(4));
    assert_eq!(driver.by_group(), HashMap::from([(group(1), 2), (group(2), 1)]));
    // A new group takes the place of the one that was second of its group, in time.
    driver.told([told(5, 3)], at(60));
    assert!(driver.settle(at(60)).is_empty(), "not at once");
    assert_eq!(driver.settle(at(4 + 600)).len(), 1);
    assert_eq!(driver.by_group(), HashMap::from([(group(1), 1), (group(2), 1), (group(3), 1)]));
}

#[test]
fn a_later_round_waits_until_every_known_relay_was_asked_but_not_for_ever() {
    let mut random = numbers(5);
    let mut outbound = Outbound::new(2, []);
    outbound.told([told(1, 1), told(2, 1)], at(0), &mut random);
    assert_eq!(outbound.step(at(0), false, &mut random).len(), 1);
    assert!(outbound.step(at(10), false, &mut random).is_empty());
    assert_eq!(outbound.step(at(15), false, &mut random).len(), 1);
}

#[test]
fn peers_of_relays_that_were_told_of_wait_so_that_the_fastest_teller_does_not_fill_all() {
    let mut driver = Driver::new(4);
    driver.told([Discovered { is_trusted: false, ..told(1, 1) }, told(2, 2)], at(0));
    driver.settle(at(0));
    assert_eq!(driver.up(), [peer(2)]);
    driver.told([Discovered { is_trusted: false, ..told(3, 3) }], at(2));
    driver.settle(at(3));
    assert_eq!(driver.up(), [peer(1), peer(2), peer(3)]);
}

#[test]
fn a_peer_of_the_settings_and_this_node_itself_are_never_discovered() {
    let mut driver = Driver::new(4);
    driver.told([told(65_535, 1)], at(0));
    driver.settle(at(0));
    assert!(driver.up().is_empty() && driver.outbound.candidates() == 0);
}

#[test]
fn proven_peers_come_beside_the_target_by_the_group_rule_and_nobody_takes_their_place() {
    let mut driver = Driver::new(2);
    driver.outbound.prove(vec![(peer(10), group(7)), (peer(11), group(7)), (peer(12), group(8))]);
    driver.told((0..8).map(|n| told(n, u8::try_from(n).unwrap())), at(0));
    driver.settle(at(0));
    let of = |driver: &Driver, kind| -> Vec<PeerIdentity> {
        driver.outbound.slots().filter(|(_, slot)| slot.kind == kind).map(|(peer, _)| peer.clone()).collect()
    };
    let proven = of(&driver, SlotKind::Proven);
    assert!(proven.len() == 2 && proven.contains(&peer(12)) && driver.up().len() == 4, "{:?}", driver.up());
    for hour in 1..48 {
        let left = driver.settle(at(hour * 3600));
        assert!(!proven.iter().any(|peer| left.contains(peer)));
    }
    assert_eq!(of(&driver, SlotKind::Proven), proven);
    assert!(driver.began > 10, "discovered ones were rotated: {}", driver.began);
}

#[test]
fn proven_peers_of_one_group_fill_the_target_if_somebody_tells_of_them() {
    let mut driver = Driver::new(4);
    driver.outbound.prove((0..6).map(|n| (peer(n), group(1))).collect());
    driver.told((0..6).map(|n| told(n, 1)), at(0));
    (0..60).for_each(|second| drop(driver.settle(at(second))));
    assert_eq!(driver.up().len(), 5, "four, and one that is there as a proven one");
}

#[test]
fn a_hundred_proven_peers_that_hang_keep_no_discovered_one_waiting_and_each_has_its_turn() {
    let (mut outbound, mut random) = (Outbound::new(2, []), numbers(4));
    outbound.prove((0..100).map(|n| (peer(n), group(u8::try_from(n).unwrap()))).collect());
    outbound.told([told(1_000, 200), told(1_001, 201)], at(0), &mut random);
    let mut hanging: Vec<(u64, PeerIdentity)> = Vec::new();
    let (mut begun, mut tried) = (Vec::new(), std::collections::HashSet::new());
    for now in 0..7200 {
        hanging.retain(|(since, peer)| {
            let hangs = now < since + 45;
            if !hangs {
                outbound.failed(peer, at(now));
            }
            hangs
        });
        for step in outbound.step(at(now), true, &mut random) {
            let Step::Reach(who) = step else { panic!("{step:?}") };
            if who == peer(1_000) || who == peer(1_001) {
                outbound.began(&who, None, at(now), &mut random);
                begun.push(now);
            } else {
                tried.insert(who.clone());
                hanging.push((now, who));
            }
        }
        assert!(hanging.len() <= 1, "{hanging:?}");
    }
    assert!(begun.len() == 2 && begun.iter().all(|at| *at < 60), "{begun:?}");
    assert!(tried.len() > 70, "{}", tried.len());
}

#[test]
fn with_a_target_of_0_no_proven_peer_is_reached_either_and_those_that_are_there_are_left() {
    let mut driver = Driver::new(1);
    driver.outbound.prove(vec![(peer(10), group(7))]);
    driver.settle(at(0));
    assert_eq!(driver.up(), [peer(10)]);
    driver.outbound.set_target(0);
    assert_eq!(driver.settle(at(1)), [peer(10)]);
    driver.settle(at(7200));
    assert!(driver.up().is_empty());
}

#[test]
fn where_a_peer_says_it_is_takes_no_group_from_peers_that_others_tell_of() {
    let mut driver = Driver::new(5);
    let claims: Groups = (2..6).map(group).collect();
    driver.told([Discovered { claims: claims.clone(), ..told(1, 1) }], at(0));
    driver.settle(at(0));
    assert_eq!(driver.up(), [peer(1)]);
    driver.told((2..6).map(|by| told(by, u8::try_from(by).unwrap())), at(1));
    driver.settle(at(1));
    assert_eq!(driver.up().len(), 5, "all of them in the first round");
    // Nor does it take those blocks from others who say so, and really are there.
    let mut driver = Driver::new(2);
    driver.told([Discovered { claims: claims.clone(), ..told(1, 1) }], at(0));
    driver.settle(at(0));
    driver.told([Discovered { claims: [group(2)].into_iter().collect(), ..told(2, 7) }], at(0));
    driver.settle(at(0));
    assert_eq!(driver.up().len(), 2);
}

#[test]
fn of_two_peers_that_were_reached_in_one_block_one_gives_way_whatever_they_say() {
    let mut driver = Driver::new(2);
    driver.at = [(peer(1), group(9)), (peer(2), group(9))].into_iter().collect();
    driver.told([told(1, 1), told(2, 2)], at(0));
    driver.settle(at(0));
    assert_eq!(driver.up().len(), 2);
    // Who says that it is there is not begun beside them, and an honest one takes the place of the second.
    driver.told([Discovered { claims: [group(9)].into_iter().collect(), ..told(3, 3) }, told(4, 4)], at(60));
    driver.settle(at(700));
    assert!(driver.up().contains(&peer(4)) && !driver.up().contains(&peer(3)), "{:?}", driver.up());
}

#[test]
fn when_all_have_failed_for_a_quarter_of_an_hour_they_are_all_back_within_two_minutes() {
    let mut driver = Driver::new(4);
    driver.told((0..8).map(|n| told(n, u8::try_from(n).unwrap())), at(0));
    driver.settle(at(0));
    assert_eq!(driver.up().len(), 4);
    driver.up().iter().for_each(|peer| driver.outbound.ended(peer, at(3600)));
    let mut now = 3600;
    while now < 3600 + 900 {
        for step in driver.outbound.step(at(now), true, &mut driver.random) {
            let Step::Reach(peer) = step else { panic!("{step:?}") };
            driver.outbound.failed(&peer, at(now));
        }
        now += 1;
    }
    (now..now + 120).for_each(|second| drop(driver.settle(at(second))));
    assert_eq!(driver.up().len(), 4);
}

#[test]
fn a_session_is_exchanged_after_one_to_three_hours_once_the_next_is_there() {
    let mut driver = Driver::new(2);
    driver.told((0..3).map(|n| told(n, u8::try_from(n).unwrap())), at(0));
    driver.settle(at(0));
    assert!(driver.settle(at(3599)).is_empty());
    let before = driver.up();
    let random = &mut driver.random;
    let steps = driver.outbound.step(at(3 * 3600), true, random);
    let [Step::Reach(next)] = steps.as_slice() else { panic!("{steps:?}") };
    assert!(driver.outbound.step(at(3 * 3600), true, random).is_empty(), "the old one stays until the next is there");
    driver.outbound.began(next, None, at(3 * 3600), random);
    let left = driver.settle(at(3 * 3600));
    assert!(left.len() == 1 && before.contains(&left[0]) && driver.up().len() == 2);
    assert!(driver.settle(at(3 * 3600 + 1199)).is_empty(), "one rotation in 20 minutes");
}

#[test]
fn a_peer_that_fails_or_leaves_at_once_is_tried_again_later_and_later() {
    let mut random = numbers(1);
    let mut outbound = Outbound::new(2, []);
    outbound.told([told(2, 2)], at(0), &mut random);
    assert_eq!(outbound.step(at(0), true, &mut random), [Step::Reach(peer(2))]);
    outbound.began(&peer(2), None, at(0), &mut random);
    outbound.told([told(1, 1)], at(0), &mut random);
    let mut now = 0;
    for wait in [30, 120, 600, 3600] {
        assert_eq!(outbound.step(at(now), true, &mut random), [Step::Reach(peer(1))]);
        outbound.began(&peer(1), None, at(now), &mut random);
        outbound.ended(&peer(1), at(now + 10));
        assert!(outbound.step(at(now + 10 + wait - 1), true, &mut random).is_empty(), "{wait}");
        now += 10 + wait;
    }
    assert_eq!(outbound.step(at(now), true, &mut random), [Step::Reach(peer(1))]);
    outbound.began(&peer(1), None, at(now), &mut random);
    outbound.ended(&peer(1), at(now + 60));
    assert_eq!(outbound.step(at(now + 60), true, &mut random), [Step::Reach(peer(1))], "it was a good session");
}

#[test]
fn what_has_expired_is_not_reached() {
    let mut driver = Driver::new(1);
    driver.told([Discovered { until: at(5), ..told(1, 1) }], at(0));
    driver.settle(at(5));
    assert!(driver.up().is_empty() && driver.outbound.candidates() == 0);
}

#[test]
fn a_lower_target_ends_sessions_and_those_of_later_rounds_first() {
    let mut driver = Driver::new(3);
    driver.told([told(1, 1), told(2, 1), told(3, 3)], at(0));
    driver.settle(at(0));
    driver.settle(at(4));
    assert_eq!(driver.up().len(), 3);
    driver.outbound.set_target(2);
    assert_eq!(driver.settle(at(5)).len(), 1);
    assert_eq!(driver.by_group(), HashMap::from([(group(1), 1), (group(3), 1)]));
    driver.outbound.set_target(0);
    assert_eq!(driver.settle(at(6)).len(), 2);
}

proptest! {
    /// Whatever is told: as long as groups are unused, none has a second peer.
    #[test]
    fn no_group_has_two_in_the_first_round(groups in vec((0..6_u8, 0..3_u8), 1..60), target in 1..8_usize, seed: u64) {
        let mut driver = Driver::new(target);
        driver.random = Box::new(numbers(seed));
        let told = groups.iter().zip(0..).map(|((source, carrier), n)| {
            let claims = [group(100 + carrier)].into_iter().collect();
            Discovered { claims, ..told(n, *source) }
        });
        let told: Vec<Discovered> = told.collect();
        driver.at = told.iter().map(|told| (told.peer.clone(), told.claims.iter().next().unwrap().clone())).collect();
        driver.told(told, at(0));
        driver.settle(at(0));
        let sources = driver.outbound.slots().map(|(_, slot)| slot.source.clone());
        let carriers = driver.outbound.slots().filter(|(_, slot)| slot.round == 1).flat_map(|(_, slot)| slot.carrier.clone());
        for mut groups in [sources.collect::<Vec<_>>(), carriers.collect()] {
            let count = groups.len();
            groups.sort_unstable();
            groups.dedup();
            prop_assert_eq!(groups.len(), count);
        }
        prop_assert!(driver.up().len() <= target);
        // Later all slots are filled, and no group has more than it must.
        for second in 1..60 {
            driver.settle(at(second));
        }
        prop_assert_eq!(driver.up().len(), target.min(groups.len()));
    }
}
