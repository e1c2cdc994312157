use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use super::*;

/// The room for dials of every kind, as configured by default.
const PENDING: usize = 64;

fn at(millis: u64) -> Moment {
    Moment::after_start(Duration::from_millis(millis))
}

/// One that is new each time.
fn peer() -> PeerIdentity {
    crate::core::tests::identity(rand::random())
}

fn relay(n: u8) -> Option<PeerIdentity> {
    Some(PeerIdentity::from_bytes(&[0, 1, n]).unwrap())
}

fn stranger(relayed_by: u8) -> Party {
    Party { peer: peer(), relay: relay(relayed_by), called_us: true }
}

fn known(relayed_by: u8) -> Party {
    Party { called_us: false, ..stranger(relayed_by) }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn dial(budget: &mut Budget, party: &Party, kind: Kind, to: IpAddr, now: Moment) -> Option<Slot<Key>> {
    budget.dial(party, kind, vec![to], |ip| Some(*ip), now).map(|(lease, _)| lease)
}

/// One attempt of one side: QUIC's opening, and a dial and a reversal over each transport.
const ATTEMPT: [Kind; 4] =
    [Kind::Opening, Kind::Handshake(Transport::Tcp), Kind::Handshake(Transport::Quic), Kind::Handshake(Transport::Tcp)];

#[test]
fn an_honest_pair_may_fail_by_the_whole_cadence() {
    let mut budget = Budget::new(PENDING);
    let party = stranger(1);
    // Each attempt fails after 10.5 s; the cadence waits 2, 5, 10 and 20 s, then 5 min.
    for seconds in [0, 12, 28, 49, 79, 390, 700] {
        let now = at(seconds * 1000);
        let exchange = budget.exchange(&party, now);
        assert!(exchange.is_some(), "the exchange at {seconds} s");
        let leases: Vec<_> = ["198.51.100.7", "2001:db8::7"]
            .iter()
            .flat_map(|to| ATTEMPT.map(|kind| (kind, ip(to))))
            .map(|(kind, to)| dial(&mut budget, &party, kind, to, now))
            .collect();
        assert!(leases.iter().all(Option::is_some), "the dials at {seconds} s: {leases:?}");
    }
}

#[test]
fn one_identity_has_few_slots_however_many_circuits_it_has() {
    let mut budget = Budget::new(PENDING);
    let party = stranger(1);
    let leases: Vec<_> = (0..48_u8)
        .filter_map(|n| dial(&mut budget, &party, Kind::Handshake(Transport::Tcp), ip(&format!("198.51.{n}.1")), at(0)))
        .collect();
    assert_eq!(leases.len(), DIALS.per_peer);
    let exchanges: Vec<_> = (0..6).filter_map(|_| budget.exchange(&party, at(0))).collect();
    assert_eq!(exchanges.len(), EXCHANGES.per_peer);
}

#[test]
fn strangers_leave_slots_to_peers_that_we_called() {
    let mut budget = Budget::new(PENDING);
    let mut leases = Vec::new();
    for n in 0..200_u8 {
        let to = ip(&format!("198.51.{n}.1"));
        leases.extend(dial(&mut budget, &stranger(n % 4), Kind::Handshake(Transport::Tcp), to, at(0)));
    }
    assert_eq!(leases.len(), DIALS.called_us);
    for kind in ATTEMPT {
        leases.extend(dial(&mut budget, &known(1), kind, ip("203.0.113.1"), at(0)));
    }
    assert_eq!(leases.len(), DIALS.called_us + ATTEMPT.len());
    leases.clear();
    assert!(dial(&mut budget, &stranger(1), Kind::Opening, ip("203.0.113.1"), at(0)).is_some(), "a lease gives its place back");
}

#[test]
fn one_relays_peers_leave_slots_to_those_of_others() {
    let mut budget = Budget::new(PENDING);
    let dial = |budget: &mut Budget, party, n: u8| {
        dial(budget, &party, Kind::Handshake(Transport::Tcp), ip(&format!("198.51.{n}.1")), at(0))
    };
    let mut leases: Vec<_> = (0..100).filter_map(|n| dial(&mut budget, stranger(1), n)).collect();
    assert_eq!(leases.len(), DIALS.per_relay);
    leases.extend((100..150).filter_map(|n| dial(&mut budget, stranger(2), n)));
    assert_eq!(leases.len(), DIALS.called_us);
    leases.extend((150..200).filter_map(|n| dial(&mut budget, known(1), n)));
    assert_eq!(leases.len(), DIALS.all);
}

#[test]
fn strangers_of_a_relay_use_up_nothing_of_peers_that_we_called_through_it() {
    let mut budget = Budget::new(PENDING);
    let spent = (0..1000).filter(|n| {
        dial(&mut budget, &stranger(1), Kind::Opening, ip(&format!("198.{}.{}.1", n / 250, n % 250)), at(0)).is_some()
    });
    assert!(spent.count() > 50);
    assert!(dial(&mut budget, &stranger(1), Kind::Opening, ip("203.0.113.1"), at(0)).is_none(), "the relay's share is used up");
    assert!(dial(&mut budget, &known(1), Kind::Opening, ip("203.0.113.1"), at(0)).is_some());
}

#[test]
fn punches_take_half_of_few_slots_at_most() {
    for pending in [0, 1, 2, 3, 8, 16, 64, 1000] {
        let mut budget = Budget::new(pending);
        let leases: Vec<_> = (0..200_u8)
            .filter_map(|n| dial(&mut budget, &known(n), Kind::Opening, ip(&format!("198.51.{n}.1")), at(0)))
            .collect();
        assert!(leases.len() <= (pending / 2).max(1), "{} of {pending}", leases.len());
        assert!(!leases.is_empty());
    }
}

#[test]
fn a_victim_is_sent_little_whoever_asks() {
    let mut budget = Budget::new(PENDING);
    let victim = ip("198.51.100.7");
    let mut sent = 0;
    // A new identity, through another relay, every second for an hour.
    for n in 0..3_600_u64 {
        let now = at(n * 1000);
        for kind in ATTEMPT {
            let party = if n % 2 == 0 { stranger((n % 50) as u8) } else { known((n % 50) as u8) };
            if dial(&mut budget, &party, kind, victim, now).is_some() {
                sent += kind.cost();
            }
        }
    }
    assert!(sent <= 64 * 1024 + 256 * 3600, "{sent} bytes in an hour");
}

#[test]
fn an_answer_makes_room_for_the_next_punch() {
    let mut budget = Budget::new(PENDING);
    let honest = ip("198.51.100.7");
    let tries =
        |budget: &mut Budget| (0..100).filter(|_| dial(budget, &known(1), Kind::Opening, honest, at(0)).is_some()).count();
    assert!(tries(&mut budget) < 30);
    assert_eq!(tries(&mut budget), 0);
    budget.answered(honest);
    assert!(tries(&mut budget) > 0);
}

#[test]
fn a_dial_goes_to_those_addresses_that_may_be_sent_more() {
    let mut budget = Budget::new(PENDING);
    let (worn, fresh) = (ip("198.51.100.7"), ip("203.0.113.7"));
    while dial(&mut budget, &known(1), Kind::Handshake(Transport::Tcp), worn, at(0)).is_some() {}
    let (_lease, allowed) =
        budget.dial(&known(1), Kind::Handshake(Transport::Tcp), vec![worn, fresh], |ip| Some(*ip), at(0)).unwrap();
    assert_eq!(allowed, [fresh]);
}

#[derive(Clone, Debug)]
enum Event {
    Wait(u64),
    Dial { peer: usize, relay: u8, kind: Kind, host: u8 },
    Exchange { peer: usize, relay: u8 },
    End(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        2 => (0..5_000_u64).prop_map(Event::Wait),
        8 => (0..20_usize, 0..4_u8, prop::sample::select(ATTEMPT.to_vec()), 0..10_u8)
            .prop_map(|(peer, relay, kind, host)| Event::Dial { peer, relay, kind, host }),
        3 => (0..20_usize, 0..4_u8).prop_map(|(peer, relay)| Event::Exchange { peer, relay }),
        6 => (0..64_usize).prop_map(Event::End),
    ];
    prop::collection::vec(event, 0..300)
}

proptest! {
    /// Whatever is asked for in whatever order: no place is given twice, none leaks,
    /// and no address, prefix or crowd of strangers is sent more than its allowance.
    #[test]
    fn no_sequence_of_events_passes_a_bound(events in events()) {
        let mut budget = Budget::new(PENDING);
        let peers: Vec<PeerIdentity> = (0..20).map(|_| peer()).collect();
        let party = |peer: usize, relayed_by| Party { peer: peers[peer].clone(), relay: relay(relayed_by), called_us: peer.is_multiple_of(2) };
        let mut now = 0;
        let (mut dials, mut exchanges) = (VecDeque::new(), VecDeque::new());
        let (mut sent, mut from_strangers) = (HashMap::<IpAddr, u64>::new(), 0);
        for event in events {
            match event {
                Event::Wait(millis) => now += millis,
                Event::Dial { peer, relay, kind, host } => {
                    let to = ip(&format!("198.51.100.{host}"));
                    let party = party(peer, relay);
                    if let Some(lease) = dial(&mut budget, &party, kind, to, at(now)) {
                        *sent.entry(to).or_default() += u64::from(kind.cost());
                        from_strangers += u64::from(party.called_us) * u64::from(kind.cost());
                        dials.push_back((party, lease));
                    }
                }
                Event::Exchange { peer, relay } => {
                    let party = party(peer, relay);
                    exchanges.extend(budget.exchange(&party, at(now)).map(|lease| (party, lease)));
                }
                Event::End(n) => {
                    dials.remove(n);
                    exchanges.remove(n);
                }
            }
            for (held, shares) in [(&dials, DIALS), (&exchanges, EXCHANGES)] {
                let most = |count: &dyn Fn(&Party) -> usize| held.iter().map(|(party, _)| count(party)).max().unwrap_or(0);
                prop_assert!(held.len() <= shares.all);
                prop_assert!(held.iter().filter(|(party, _)| party.called_us).count() <= shares.called_us);
                prop_assert!(most(&|of| held.iter().filter(|(party, _)| party.peer == of.peer).count()) <= shares.per_peer);
                let of_relay = |of: &Party| held.iter().filter(|(party, _)| party.called_us && party.relay == of.relay).count();
                prop_assert!(most(&of_relay) <= shares.per_relay);
            }
            let allowance = |rate: &Rate| u64::from(rate.burst) + now * 1_000_000 / rate.every.as_nanos() as u64 + 1;
            prop_assert!(sent.values().all(|bytes| *bytes <= allowance(&PER_HOST)));
            prop_assert!(sent.values().sum::<u64>() <= allowance(&PER_PREFIX));
            prop_assert!(from_strangers <= allowance(&CALLED_US));
        }
        drop((dials, exchanges));
        prop_assert!(dial(&mut budget, &known(9), Kind::Handshake(Transport::Tcp), ip("203.0.113.1"), at(now)).is_some());
        prop_assert!(budget.exchange(&known(9), at(now)).is_some());
    }
}
