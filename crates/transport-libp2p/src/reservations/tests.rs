use super::*;

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn cadence() -> RetryCadence {
    RetryCadence { delays: vec![Duration::from_secs(1), Duration::from_secs(4)], then: Some(Duration::from_secs(9)), jitter: 0.0 }
}

fn relays(n: usize) -> Vec<PeerId> {
    let mut relays: Vec<_> = (0..n).map(|_| PeerId::random()).collect();
    relays.sort();
    relays
}

fn half() -> f64 {
    0.5
}

#[test]
fn a_reservation_is_met_requested_confirmed_lost_and_asked_for_again() {
    let relay = PeerId::random();
    let mut reservations = Reservations::new([relay], 1, cadence(), at(0));
    assert_eq!(reservations.step(at(0), half), [Action::Meet(relay)]);
    assert!(reservations.met(relay, at(1)));
    reservations.confirmed(relay);
    assert_eq!((reservations.held(), reservations.deadline()), (1, None));

    assert_eq!(reservations.lost(relay, at(100), 0.5), Some(Some(Duration::from_secs(1))));
    assert_eq!(reservations.lost(relay, at(100), 0.5), None, "lost once, however many events say so");
    assert_eq!((reservations.held(), reservations.deadline()), (0, Some(at(101))));
    assert_eq!(reservations.step(at(100), half), []);
    assert_eq!(reservations.step(at(101), half), [Action::Meet(relay)]);
}

#[test]
fn backoff_grows_and_a_confirmation_resets_it() {
    let relay = PeerId::random();
    let mut reservations = Reservations::new([relay], 1, cadence(), at(0));
    let mut now = 0;
    for expected in [1, 4, 9, 9] {
        assert_eq!(reservations.step(at(now), half), [Action::Meet(relay)]);
        assert_eq!(reservations.lost(relay, at(now), 0.5), Some(Some(Duration::from_secs(expected))));
        now += expected;
    }
    reservations.step(at(now), half);
    reservations.met(relay, at(now));
    reservations.confirmed(relay);
    assert_eq!(reservations.lost(relay, at(now), 0.5), Some(Some(Duration::from_secs(1))));
}

#[test]
fn no_more_than_wanted_are_held_and_a_failure_gives_its_place_to_another() {
    let relays = relays(3);
    let mut reservations = Reservations::new(relays.clone(), 2, cadence(), at(0));
    let first = reservations.step(at(0), half);
    assert_eq!(first.len(), 2);
    assert_eq!(reservations.held(), 2);
    assert_eq!(reservations.step(at(0), half), []);
    let Action::Meet(failing) = first[0] else { panic!("{first:?}") };
    reservations.lost(failing, at(0), 0.5);
    let unused = relays.into_iter().find(|relay| !first.contains(&Action::Meet(*relay))).unwrap();
    assert_eq!(reservations.step(at(0), half), [Action::Meet(unused)]);
}

#[test]
fn silence_ends_in_a_timeout_at_every_stage() {
    let relay = PeerId::random();
    for requested in [false, true] {
        let mut reservations = Reservations::new([relay], 1, cadence(), at(0));
        reservations.step(at(0), half);
        if requested {
            reservations.met(relay, at(0));
        }
        let end = reservations.deadline().unwrap();
        let actions = reservations.step(end, half);
        assert!(matches!(&actions[..], [Action::Abandon { retry_in: Some(_), .. }]), "{actions:?}");
        assert_eq!(reservations.held(), 0);
    }
}

/// Whatever happens in whatever order, no place leaks and none is invented.
#[test]
fn no_sequence_of_events_leaks_a_place() {
    let relays = relays(5);
    let mut reservations = Reservations::new(relays.clone(), 3, cadence(), at(0));
    let mut seed = 7_u64;
    let mut next = move || {
        // Xorshift: chance enough for a test, and the same at every run.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for now in 0..20_000 {
        let relay = relays[(next() % 5) as usize];
        match next() % 4 {
            0 => drop(reservations.lost(relay, at(now), 0.5)),
            1 => drop(reservations.met(relay, at(now))),
            2 if matches!(reservations.relays[&relay].state, State::Requested { .. }) => reservations.confirmed(relay),
            _ => drop(reservations.step(at(now), half)),
        }
        assert!(reservations.held() <= 3);
    }
    for relay in &relays {
        reservations.lost(*relay, at(20_000), 0.5);
    }
    assert_eq!(reservations.held(), 0);
    assert_eq!(reservations.step(at(30_000), half).len(), 3);
}

#[test]
fn the_order_given_decides_between_equals() {
    let mut given = relays(5);
    given.reverse();
    let mut reservations = Reservations::new(given.clone(), 2, cadence(), at(0));
    assert_eq!(reservations.step(at(0), half), [Action::Meet(given[0]), Action::Meet(given[1])]);
}

proptest::proptest! {
    /// Whatever happens in whatever order: pending and active ones keep to what is
    /// wanted, no relay is asked again before its time, and once all is lost every
    /// place can be had again.
    #[test]
    fn no_sequence_of_events_leaks_a_reservation(
        events in proptest::collection::vec((0..5u8, 0..6usize, 0..30u64), 0..200), wanted in 1..4usize,
    ) {
        use proptest::prelude::*;
        let all = relays(6);
        let mut reservations = Reservations::new(all.clone(), wanted, cadence(), at(0));
        let mut rests: BTreeMap<PeerId, Moment> = BTreeMap::new();
        let mut now = 0;
        for (what, which, wait) in events {
            let relay = all[which];
            match what {
                0 => now += wait,
                1 => {
                    reservations.met(relay, at(now));
                }
                2 if matches!(reservations.relays[&relay].state, State::Requested { .. }) => reservations.confirmed(relay),
                3 => {
                    if let Some(retry_in) = reservations.lost(relay, at(now), 0.5) {
                        rests.insert(relay, at(now) + retry_in.unwrap());
                    }
                }
                _ => {
                    for action in reservations.step(at(now), half) {
                        match action {
                            Action::Meet(relay) => {
                                prop_assert!(rests.get(&relay).is_none_or(|until| *until <= at(now)), "asked before its time");
                            }
                            Action::Abandon { relay, retry_in, .. } => {
                                rests.insert(relay, at(now) + retry_in.unwrap());
                            }
                        }
                    }
                }
            }
            prop_assert!(reservations.held() <= wanted);
        }
        for relay in &all {
            reservations.lost(*relay, at(now), 0.5);
        }
        prop_assert_eq!(reservations.held(), 0);
        prop_assert_eq!(reservations.step(at(now + 100), half).len(), wanted);
    }
}
