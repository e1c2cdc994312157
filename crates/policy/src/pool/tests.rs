use std::{collections::BTreeSet, time::Duration};

use kaspath_domain::{Host, Moment, PeerIdentity, ReservationLoss, Transport, TransportAddress};
use proptest::prelude::*;

use super::*;

pub(super) fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

pub(super) fn id(n: u16) -> PeerIdentity {
    let [a, b] = n.to_be_bytes();
    PeerIdentity::from_bytes(&[0, 2, a, b]).unwrap()
}

/// An address in the block of that number.
fn address(block: u8, host: u8) -> TransportAddress {
    TransportAddress { transport: Transport::Tcp, host: Host::Ip([198, block, 0, host].into()), port: 4001 }
}

fn candidate(n: u16, block: u8, source: RelaySource) -> RelayCandidate {
    RelayCandidate { relay: id(n), addresses: vec![address(block, n as u8)], source, load: None }
}

pub(super) fn told(n: u16, block: u8, teller: u16) -> RelayCandidate {
    candidate(n, block, RelaySource::Rendezvous(id(teller)))
}

/// A pool whose transport grants and refuses as the test says.
pub(super) struct World {
    pub(super) pool: RelayPool,
    now: u64,
    /// What the transport was told to hold.
    used: BTreeSet<PeerIdentity>,
    chance: f64,
}

impl World {
    pub(super) fn new(reservations: usize) -> Self {
        let pool = RelayPool::new(PoolConfig { reservations, ..PoolConfig::default() });
        Self { pool, now: 0, used: BTreeSet::new(), chance: 0.0 }
    }

    pub(super) fn offer(&mut self, candidates: impl IntoIterator<Item = RelayCandidate>) {
        for candidate in candidates {
            self.pool.offer(candidate, at(self.now), 0.5);
        }
    }

    /// What is due now, carried out.
    fn step(&mut self) -> Vec<PoolStep> {
        let chance = &mut self.chance;
        let steps = self.pool.step(at(self.now), || {
            *chance = (*chance + 0.618_034) % 1.0;
            *chance
        });
        for step in &steps {
            match step {
                PoolStep::Use { relay, .. } => drop(self.used.insert(relay.clone())),
                PoolStep::Release { relay, .. } => assert!(self.used.remove(relay), "given back what was never told"),
            }
        }
        steps
    }

    /// Every relay that is asked grants.
    fn grant(&mut self) {
        for relay in self.asked() {
            self.pool.held(&relay, at(self.now), 0.5);
        }
        self.step();
    }

    fn settle(&mut self) {
        self.step();
        self.grant();
    }

    fn lost(&mut self, n: u16) -> Duration {
        self.pool.lost(&id(n), ReservationLoss::Unreachable, at(self.now), 0.5).unwrap()
    }

    fn in_state(&self, state: PoolState) -> Vec<PeerIdentity> {
        let view = self.pool.view(at(self.now));
        let mut relays: Vec<_> = view.relays.into_iter().filter(|relay| relay.state == state).map(|relay| relay.relay).collect();
        relays.sort();
        relays
    }

    fn asked(&self) -> Vec<PeerIdentity> {
        self.in_state(PoolState::Asked)
    }

    fn held(&self) -> Vec<PeerIdentity> {
        self.in_state(PoolState::Held)
    }

    /// Lets time pass in steps of a minute; every request is granted.
    fn run(&mut self, until: u64) {
        while self.now < until {
            self.now += 60;
            self.settle();
        }
    }
}

#[test]
fn relays_of_the_settings_go_first_and_then_other_blocks_before_a_second_one_of_a_block() {
    let mut world = World::new(3);
    world.offer([told(10, 1, 90), told(11, 2, 90), told(12, 3, 90)]);
    world.offer([candidate(1, 1, RelaySource::Configured)]);
    world.settle();
    // The block of 10 has a place already.
    assert_eq!(world.held(), [id(1), id(11), id(12)]);
    let mut crowded = World::new(3);
    crowded.offer([candidate(1, 1, RelaySource::List), candidate(2, 1, RelaySource::List), candidate(3, 2, RelaySource::List)]);
    crowded.settle();
    assert_eq!(crowded.held(), [id(1), id(2), id(3)], "there is no other block");
}

#[test]
fn a_relay_that_is_lost_is_replaced_at_once_and_comes_back_when_a_place_is_free() {
    let mut world = World::new(2);
    world.offer([
        candidate(1, 1, RelaySource::Configured),
        candidate(2, 2, RelaySource::List),
        candidate(3, 3, RelaySource::List),
    ]);
    world.settle();
    let first = world.held();
    assert_eq!(first.len(), 2);
    world.now = 100;
    assert_eq!(world.lost(1), Duration::from_secs(1), "of the settings: soon");
    let steps = world.step();
    assert!(matches!(&steps[..], [PoolStep::Use { .. }, PoolStep::Release { relay, .. }] if *relay == id(1)), "{steps:?}");
    world.grant();
    assert_eq!(world.held(), [id(2), id(3)]);
    // Its own place is taken for an hour; then it has it back.
    world.run(3_000);
    assert_eq!(world.held(), [id(2), id(3)]);
    world.run(4_000);
    assert_eq!(world.held().len(), 2);
    assert!(world.held().contains(&id(1)));
}

#[test]
fn an_old_one_is_given_back_only_when_the_new_one_is_held() {
    let mut world = World::new(1);
    world.offer([candidate(2, 2, RelaySource::List)]);
    world.settle();
    world.run(3_600);
    world.offer([candidate(1, 1, RelaySource::Configured)]);
    world.now += 60;
    let steps = world.step();
    assert!(matches!(&steps[..], [PoolStep::Use { relay, cause: PoolCause::Configured, .. }] if *relay == id(1)), "{steps:?}");
    assert_eq!((world.held(), world.asked()), (vec![id(2)], vec![id(1)]));
    // It refuses: all stays, and it is not asked again and again.
    world.lost(1);
    world.step();
    assert_eq!((world.held(), world.asked()), (vec![id(2)], vec![]));
    world.now += 400;
    world.settle();
    assert_eq!(world.held(), [id(1)]);
    assert_eq!(world.used, [id(1)].into());
}

#[test]
fn a_relay_that_drains_is_replaced_before_it_ends() {
    let mut world = World::new(1);
    world.offer([candidate(1, 1, RelaySource::Configured), candidate(2, 2, RelaySource::List)]);
    world.settle();
    world.pool.draining(&id(1), Duration::from_secs(30), at(0));
    world.settle();
    assert_eq!((world.held(), world.in_state(PoolState::Draining)), (vec![id(2)], vec![id(1)]));
    world.now = 10;
    assert!(world.lost(1) >= Duration::from_secs(20), "not before the drain is over");
    world.step();
    assert_eq!(world.used, [id(2)].into());
    // One that only says so is given back.
    let mut liar = World::new(1);
    liar.offer([candidate(1, 1, RelaySource::List), candidate(2, 2, RelaySource::List)]);
    liar.settle();
    let first = liar.held().remove(0);
    liar.pool.draining(&first, Duration::from_secs(30), at(0));
    liar.settle();
    liar.now = 30;
    assert!(liar.step().contains(&PoolStep::Release { relay: first.clone(), cause: PoolCause::Draining }));
    assert!(!liar.used.contains(&first));
}

#[test]
fn back_off_grows_and_one_that_is_full_or_says_no_is_left_alone_for_longer() {
    let mut world = World::new(4);
    world.offer([told(1, 1, 90), told(2, 2, 90), told(3, 3, 90), candidate(4, 4, RelaySource::Configured)]);
    world.settle();
    let lost = |world: &mut World, n, kind| world.pool.lost(&id(n), kind, at(world.now), 0.5).unwrap().as_secs();
    assert_eq!(lost(&mut world, 1, ReservationLoss::Unreachable), 5);
    assert_eq!(lost(&mut world, 2, ReservationLoss::Limit), 120);
    assert_eq!(lost(&mut world, 3, ReservationLoss::Refused), 3600);
    // A flapping relay: granted and lost again.
    let mut delays = Vec::new();
    for _ in 0..6 {
        world.now += 4000;
        world.settle();
        delays.push(lost(&mut world, 1, ReservationLoss::ConnectionLost));
    }
    assert_eq!(delays, [30, 120, 600, 1800, 3600, 3600]);
    world.now += 4000;
    world.settle();
    world.now += 700;
    world.settle();
    assert_eq!(lost(&mut world, 1, ReservationLoss::ConnectionLost), 5, "it had worked");
}

#[test]
fn without_any_reservation_no_back_off_is_longer_than_two_minutes() {
    let mut world = World::new(1);
    world.offer([told(1, 1, 90)]);
    for _ in 0..8 {
        world.settle();
        world.lost(1);
        world.step();
        let deadline = world.pool.deadline().unwrap();
        assert!(deadline <= at(world.now + 120));
        world.now += 120;
    }
    world.step();
    assert_eq!(world.asked(), [id(1)]);
}

#[test]
fn a_thousand_new_relays_displace_no_tried_one_and_one_teller_does_not_fill_all() {
    let mut world = World::new(1);
    world.offer([told(1, 1, 90)]);
    world.settle();
    world.run(700);
    world.offer([candidate(2, 2, RelaySource::Book)]);
    // One teller, many blocks; then many tellers.
    world.offer((0..200).map(|n| told(1000 + n, n as u8, 91)));
    let of_teller = |world: &World| {
        let by = RelaySource::Rendezvous(id(91));
        world.pool.view(at(world.now)).relays.into_iter().filter(|relay| relay.sources.contains(&by)).count()
    };
    assert_eq!(of_teller(&world), 128);
    world.offer((0..1000).map(|n| told(2000 + n, (n % 250) as u8, 3000 + n)));
    let view = world.pool.view(at(world.now));
    assert!(view.relays.len() <= 192 + 2, "{}", view.relays.len());
    for kept in [1, 2] {
        assert!(view.relays.iter().any(|relay| relay.relay == id(kept)), "{kept}");
    }
    // A thousand identities in one block are two.
    let mut block = World::new(0);
    block.offer((0..1000).map(|n| told(1000 + n, 7, 3000 + n)));
    assert_eq!(block.pool.view(at(0)).relays.len(), 2);
}

#[test]
fn what_nobody_tells_of_any_more_is_forgotten_and_strangers_change_no_given_address() {
    let mut world = World::new(0);
    world.offer([told(1, 1, 90), candidate(2, 2, RelaySource::List)]);
    world.offer([told(2, 9, 90)]);
    let addresses =
        |world: &World| world.pool.view(at(0)).relays.into_iter().find(|relay| relay.relay == id(2)).unwrap().addresses;
    assert_eq!(addresses(&world), [address(2, 2)]);
    world.run(4_000);
    let view = world.pool.view(at(world.now));
    assert_eq!(view.relays.iter().map(|relay| relay.relay.clone()).collect::<Vec<_>>(), [id(2)]);
}

#[test]
fn a_relay_that_left_its_list_is_kept_until_another_one_is_held() {
    let mut world = World::new(2);
    let list = |n, block| candidate(n, block, RelaySource::List);
    world.pool.replace(&RelaySource::List, vec![list(1, 1)], at(0), 0.5);
    world.settle();
    world.now = 60;
    world.pool.replace(&RelaySource::List, vec![list(2, 2)], at(60), 0.5);
    world.step();
    assert_eq!((world.held(), world.asked()), (vec![id(1)], vec![id(2)]));
    world.grant();
    assert_eq!((world.held(), world.used.clone()), (vec![id(2)], [id(2)].into()));
}

#[test]
fn one_near_relay_is_chosen_by_its_score_and_the_others_by_chance() {
    let mut seen = BTreeSet::new();
    for run in 0..40 {
        let mut world = World::new(2);
        world.chance = f64::from(run) / 40.0;
        world.offer((1..=20).map(|n| told(n, n as u8, 100 + n)));
        (1..=20).for_each(|n| world.pool.round_trip(&id(n), Duration::from_millis(if n == 7 { 1 } else { 200 })));
        world.settle();
        assert!(world.held().contains(&id(7)), "the near one");
        seen.extend(world.held());
    }
    assert!(seen.len() > 12, "{}", seen.len());
}

#[test]
fn the_near_relay_gives_way_after_an_hour_to_one_twice_as_good_and_a_random_one_after_half_a_day() {
    let mut world = World::new(2);
    world.offer([told(1, 1, 90), told(2, 2, 90)]);
    world.settle();
    let near = world.held();
    assert_eq!(near.len(), 2);
    world.offer([candidate(3, 3, RelaySource::Book)]);
    (1..3).for_each(|n| world.pool.round_trip(&id(n), Duration::from_millis(300)));
    world.pool.round_trip(&id(3), Duration::from_millis(10));
    world.run(3_540);
    assert_eq!(world.held(), near, "within the hour");
    world.run(3_700);
    assert!(world.held().contains(&id(3)), "{:?}", world.held());
    let before = world.held();
    world.run(40 * 3600);
    assert_ne!(world.held(), before, "rotation");
}

#[test]
fn a_relay_that_holds_and_carries_nothing_gives_its_place_to_another() {
    let mut world = World::new(1);
    world.offer([told(1, 1, 90)]);
    world.settle();
    world.offer([told(2, 2, 90)]);
    (0..8).for_each(|_| world.pool.carried(&id(1), false, at(0)));
    world.run(120);
    assert_eq!(world.held(), [id(2)]);
    assert_eq!(world.used, [id(2)].into());
}

proptest! {
    /// Whatever happens in whatever order: no more places than wanted but for one that is
    /// exchanged and those that drain, no second relay of a block while another block is free,
    /// nothing given back within its hour without a cause, and no request before its time.
    #[test]
    fn no_sequence_of_events_breaks_the_rules(
        events in prop::collection::vec((0..7u8, 0..24u16, 0..700u64), 0..200), reservations in 1..4usize, chance in 0.0..1.0f64,
    ) {
        let mut world = World { chance, ..World::new(reservations) };
        let mut may_ask: std::collections::BTreeMap<PeerIdentity, Moment> = Default::default();
        for (what, n, seconds) in events {
            match what {
                0 | 1 => world.offer([told(n, (n / 3) as u8, 100 + n % 5)]),
                2 => world.pool.held(&id(n), at(world.now), 0.5),
                3 => {
                    if let Some(delay) = world.pool.lost(&id(n), ReservationLoss::Unreachable, at(world.now), 0.5) {
                        may_ask.insert(id(n), at(world.now) + delay);
                    }
                }
                4 => world.pool.draining(&id(n), Duration::from_secs(seconds), at(world.now)),
                5 => world.pool.carried(&id(n), seconds % 3 > 0, at(world.now)),
                _ => world.now += seconds,
            }
            let before = world.pool.view(at(world.now));
            let was_alone = before.count(PoolState::Held) == 0;
            for step in world.step() {
                match step {
                    PoolStep::Use { relay, .. } => {
                        let early = may_ask.get(&relay).is_some_and(|at_least| *at_least > at(world.now));
                        prop_assert!(was_alone || !early, "asked before its time");
                    }
                    PoolStep::Release { relay, cause } => {
                        let held = before.relays.iter().find(|one| one.relay == relay).and_then(|one| one.held);
                        let kept = held.is_none_or(|held| held >= Duration::from_secs(3600));
                        let may = matches!(cause, PoolCause::Lost | PoolCause::Draining | PoolCause::Failing | PoolCause::Withdrawn);
                        prop_assert!(kept || may, "{cause:?} after {held:?}");
                    }
                }
            }
            let view = world.pool.view(at(world.now));
            let placed: Vec<_> =
                view.relays.iter().filter(|one| matches!(one.state, PoolState::Held | PoolState::Asked)).collect();
            prop_assert!(placed.len() <= reservations + 1);
            let block = |one: &PooledRelay| one.addresses[0].provider_block();
            let blocks: BTreeSet<_> = placed.iter().map(|one| block(one)).collect();
            // Only what was asked just now is judged: a block may have become free since.
            if placed.iter().all(|one| one.state == PoolState::Asked) && blocks.len() < placed.len() {
                let other = view.relays.iter().any(|one| {
                    one.state == PoolState::Known && one.score > 0.35 && !blocks.contains(&block(one))
                });
                prop_assert!(!other, "another block was free");
            }
        }
    }
}
