use super::*;
use crate::core::tests::{address, at, identity, outputs, shared};

fn cadence() -> RetryCadence {
    RetryCadence { delays: vec![Duration::from_secs(1), Duration::from_secs(4)], then: Some(Duration::from_secs(9)), jitter: 0.0 }
}

/// The machine alone: links and relays are played by the test.
struct Alone {
    machine: Reservations,
    shared: Shared,
}

impl Alone {
    fn new(relays: u64, wanted: usize) -> Self {
        let (mut machine, shared) = (Reservations::new(wanted, cadence()), shared());
        (0..relays).for_each(|relay| machine.add(&shared, identity(relay)));
        Self { machine, shared }
    }

    /// The relays that are needed after a step at that second.
    fn step(&mut self, second: u64) -> Vec<PeerIdentity> {
        self.shared.now = at(second * 1000);
        self.machine.step(&mut self.shared);
        let signals = std::iter::from_fn(|| self.shared.next_signal());
        signals.filter_map(|signal| if let Signal::RelayNeeded(relay) = signal { Some(relay) } else { None }).collect()
    }

    /// The request that follows when the relay is connected.
    fn connected(&mut self, relay: u64) -> Option<OperationId> {
        outputs(&mut self.shared);
        self.machine.connected(&mut self.shared, &identity(relay), Some(address("/ip4/203.0.113.1/tcp/4001")));
        outputs(&mut self.shared).into_iter().find_map(|output| match output {
            Output::Reserve { request, relay: at } if at.relay == identity(relay) => Some(request),
            _ => None,
        })
    }

    fn lost(&mut self, relay: u64) {
        self.machine.lost(&mut self.shared, &identity(relay), "a cause");
    }

    fn reported(&mut self) -> Vec<ReservationState> {
        let outputs = std::iter::from_fn(|| self.shared.next_output());
        let states = outputs.filter_map(|output| match output {
            Output::Report(NetworkEvent::Reservation { state, .. }) => Some(state),
            _ => None,
        });
        states.collect()
    }
}

#[test]
fn a_reservation_is_requested_confirmed_renewed_lost_and_asked_for_again() {
    let mut alone = Alone::new(1, 1);
    assert_eq!(alone.step(0), [identity(0)]);
    let request = alone.connected(0).unwrap();
    assert_eq!(alone.machine.granted(&mut alone.shared, request), Some(identity(0)));
    assert_eq!(alone.machine.granted(&mut alone.shared, request), None, "a relay may name several addresses");
    alone.machine.renewed(&mut alone.shared, &identity(0));
    assert_eq!(alone.reported(), [ReservationState::Confirmed, ReservationState::Renewed]);
    assert_eq!((alone.machine.held(), alone.machine.deadline()), (1, None));

    alone.shared.now = at(100_000);
    alone.lost(0);
    alone.lost(0);
    alone.machine.ended(&mut alone.shared, request, "the other side ended it");
    let lost = ReservationState::lost("a cause", Some(Duration::from_secs(1)));
    assert_eq!(alone.reported(), [lost], "lost once, however many events say so");
    assert_eq!((alone.machine.held(), alone.machine.deadline()), (0, Some(at(101_000))));
    assert_eq!(alone.step(100), []);
    assert_eq!(alone.step(101), [identity(0)]);
}

#[test]
fn back_off_grows_and_a_confirmation_resets_it() {
    let mut alone = Alone::new(1, 1);
    let mut now = 0;
    for expected in [1, 4, 9, 9] {
        assert_eq!(alone.step(now), [identity(0)]);
        alone.lost(0);
        now += expected;
        assert_eq!(alone.machine.deadline(), Some(at(now * 1000)));
    }
    alone.step(now);
    let request = alone.connected(0).unwrap();
    alone.machine.granted(&mut alone.shared, request);
    alone.lost(0);
    assert_eq!(alone.machine.deadline(), Some(at((now + 1) * 1000)));
}

#[test]
fn no_more_than_wanted_are_held_and_a_failure_gives_its_place_to_another() {
    let mut alone = Alone::new(3, 2);
    assert_eq!(alone.step(0), [identity(0), identity(1)], "in the order given");
    assert_eq!(alone.step(0), []);
    alone.lost(0);
    assert_eq!(alone.step(0), [identity(2)]);
}

#[test]
fn silence_ends_in_a_timeout_at_every_stage() {
    for requested in [false, true] {
        let mut alone = Alone::new(1, 1);
        alone.step(0);
        let request = if requested { alone.connected(0) } else { None };
        let end = alone.machine.deadline().unwrap();
        assert_eq!(end, at(20_000));
        alone.step(20);
        assert_eq!(alone.machine.held(), 0);
        let given_up = outputs(&mut alone.shared).into_iter().find_map(|output| match output {
            Output::Unreserve { request } => Some(request),
            _ => None,
        });
        assert_eq!(given_up, request);
    }
}

#[test]
fn a_grant_or_an_end_that_comes_late_does_not_count_for_the_next_request() {
    let mut alone = Alone::new(1, 1);
    alone.step(0);
    let first = alone.connected(0).unwrap();
    alone.step(20);
    alone.step(21);
    let second = alone.connected(0).unwrap();
    assert_eq!(alone.machine.granted(&mut alone.shared, first), None);
    alone.machine.ended(&mut alone.shared, first, "refused");
    assert_eq!(alone.machine.granted(&mut alone.shared, second), Some(identity(0)));
    alone.machine.ended(&mut alone.shared, first, "refused");
    assert_eq!(alone.machine.held(), 1);
}

#[test]
fn a_relay_that_is_removed_is_given_back_and_never_asked_again() {
    let mut alone = Alone::new(2, 1);
    alone.step(0);
    let request = alone.connected(0).unwrap();
    alone.machine.granted(&mut alone.shared, request);
    alone.reported();
    alone.machine.remove(&mut alone.shared, &identity(0));
    assert!(matches!(alone.shared.next_output(), Some(Output::Unreserve { request: given }) if given == request));
    let lost = ReservationState::lost("the relay was removed", None);
    assert_eq!(alone.reported(), [lost]);
    assert_eq!(alone.step(1000), [identity(1)]);
    alone.lost(1);
    assert_eq!(alone.step(2000), [identity(1)]);
}

proptest::proptest! {
    /// Whatever happens in whatever order: pending and active ones keep to what is
    /// wanted, no relay is asked again before its time, and once all is lost every
    /// place can be had again.
    #[test]
    fn no_sequence_of_events_leaks_a_reservation(
        events in proptest::collection::vec((0..5u8, 0..6u64, 0..30u64), 0..200), wanted in 1..4usize,
    ) {
        use proptest::prelude::*;
        let mut alone = Alone::new(6, wanted);
        let mut back_off: BTreeMap<PeerIdentity, Moment> = BTreeMap::new();
        let mut requests = BTreeMap::new();
        let mut now = 0;
        for (what, relay, wait) in events {
            match what {
                0 => now += wait,
                1 => drop(alone.connected(relay).map(|request| requests.insert(relay, request))),
                2 => drop(requests.get(&relay).and_then(|request| alone.machine.granted(&mut alone.shared, *request))),
                3 => alone.lost(relay),
                _ => for needed in alone.step(now) {
                    prop_assert!(back_off.get(&needed).is_none_or(|until| *until <= at(now * 1000)), "asked before its time");
                },
            }
            alone.shared.now = at(now * 1000);
            for (relay, entry) in &alone.machine.relays {
                if let State::BackOff { until: Some(until) } = entry.state {
                    back_off.insert(relay.clone(), until);
                }
            }
            prop_assert!(alone.machine.held() <= wanted);
        }
        (0..6).for_each(|relay| alone.lost(relay));
        prop_assert_eq!(alone.machine.held(), 0);
        prop_assert_eq!(alone.step(now + 100).len(), wanted);
    }
}

#[test]
fn a_silent_relay_is_asked_again_at_once_but_not_without_a_pause() {
    let mut alone = Alone::new(1, 1);
    assert_eq!(alone.step(0), [identity(0)]);
    let request = alone.connected(0).unwrap();
    alone.machine.granted(&mut alone.shared, request);
    alone.machine.silent(&alone.shared, &identity(0));
    let mut asked = 0;
    // Without a network each dial fails at once.
    for millis in 0..2_000 {
        alone.shared.now = at(millis);
        alone.lost(0);
        alone.machine.step(&mut alone.shared);
        let needed = std::iter::from_fn(|| alone.shared.next_signal()).filter(|signal| matches!(signal, Signal::RelayNeeded(_)));
        asked += needed.count();
        assert!(asked >= 1 || millis < 50, "at once");
    }
    assert!(asked <= 12, "{asked}");
}

#[test]
fn without_a_cadence_a_relay_is_asked_again_when_it_is_told_once_more() {
    let mut alone = Alone::new(1, 1);
    alone.machine.cadence = RetryCadence::never();
    assert_eq!(alone.step(0), [identity(0)]);
    alone.machine.add(&alone.shared, identity(0));
    assert_eq!(alone.step(0), [], "it is under way");
    alone.lost(0);
    let reported = alone.reported();
    assert!(matches!(reported[..], [ReservationState::Lost { retry_in: None, .. }]), "{reported:?}");
    assert_eq!((alone.machine.deadline(), alone.step(100_000)), (None, vec![]));
    alone.machine.add(&alone.shared, identity(0));
    assert_eq!(alone.step(100_000), [identity(0)]);
}
