use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

type Peers = Table<u32, u32>;

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

/// Host `host` of the /24 numbered `block`.
fn from(block: u8, host: u8) -> Origin {
    Origin::of(Ipv4Addr::new(198, 18, block, host).into())
}

fn table(change: impl FnOnce(&mut RelayServerConfig)) -> Peers {
    let mut config = RelayServerConfig::default();
    change(&mut config);
    Table::new(config)
}

/// As many as anybody asks for, so that only caps count.
fn at_any_rate(config: &mut RelayServerConfig) {
    config.reservations_per_peer_burst = u32::MAX;
    config.reservations_per_ip_burst = u32::MAX;
    config.circuits_per_peer_burst = u32::MAX;
    config.circuits_per_ip_burst = u32::MAX;
}

/// Reserves and connects over a connection that has the peer's number.
fn reserve(table: &mut Peers, peer: u32, origin: Origin, now: Moment) -> Result<bool, Denial> {
    table.connected(peer, peer);
    table.reserve(&peer, peer, origin, now).map(|granted| granted.renewed)
}

fn ask(table: &mut Peers, source: u32, origin: Origin, destination: u32, now: Moment) -> Result<Accepted<u32, u32>, Denial> {
    table.connected(source, source);
    table.connect(&source, source, origin, &destination, now)
}

fn open(table: &mut Peers, source: u32, origin: Origin, destination: u32, now: Moment) -> Result<CircuitId, Denial> {
    let accepted = ask(table, source, origin, destination, now)?;
    assert!(table.opened(accepted.id, accepted.destination, now).is_some());
    Ok(accepted.id)
}

#[test]
fn nine_hosts_cannot_hold_all_reservations_nor_can_one_prefix() {
    let mut table = table(at_any_rate);
    // Nine hosts in nine prefixes, as many identities as they like, for a day.
    for round in 0..24 {
        for peer in 0..9 * 100 {
            let _ = reserve(&mut table, peer, from((peer % 9) as u8, 1), at(round * 3000));
        }
    }
    assert_eq!(table.reservations.len(), 9 * 8);
    // A whole /24 beside them.
    for peer in 0..250 {
        let _ = reserve(&mut table, 10_000 + peer, from(100, peer as u8), at(24 * 3000));
    }
    assert_eq!(table.reservations.len(), 9 * 8 + 32);
    assert_eq!(reserve(&mut table, 20_000, from(200, 1), at(24 * 3000)), Ok(false), "an honest peer");
}

#[test]
fn sixteen_identities_on_three_hosts_cannot_hold_all_circuits() {
    let mut table = table(at_any_rate);
    for peer in 0..16 {
        reserve(&mut table, peer, from((peer % 3) as u8, 1), at(0)).unwrap();
    }
    for (source, destination) in
        (0..16).flat_map(|source| (0..16).map(move |destination| (source, destination))).cycle().take(10_000)
    {
        let _ = open(&mut table, source, from((source % 3) as u8, 1), destination, at(1));
    }
    assert_eq!(table.circuits.len(), 3 * 32);
    reserve(&mut table, 100, from(100, 1), at(2)).unwrap();
    assert!(open(&mut table, 101, from(101, 1), 100, at(2)).is_ok(), "honest peers");
}

#[test]
fn two_hosts_cannot_take_all_circuits_to_one_destination() {
    let mut table = table(at_any_rate);
    reserve(&mut table, 0, from(0, 1), at(0)).unwrap();
    for source in 1..1000 {
        let _ = open(&mut table, source, from(1 + (source % 2) as u8, 1), 0, at(1));
    }
    assert_eq!(table.circuits.len(), 2 * 8);
    assert!(open(&mut table, 1000, from(9, 1), 0, at(1)).is_ok());
}

#[test]
fn four_hosts_leave_a_destination_room_for_another_request() {
    let mut table = table(at_any_rate);
    reserve(&mut table, 0, from(0, 1), at(0)).unwrap();
    let pending: Vec<_> =
        (1..1000).filter_map(|source| ask(&mut table, source, from((source % 4) as u8, 9), 0, at(1)).ok()).collect();
    assert_eq!(pending.len(), 8);
    assert_eq!(ask(&mut table, 1000, from(0, 9), 0, at(1)).map(|_| ()), Err(Denial::ConnectingTooFast));
    assert!(ask(&mut table, 1001, from(9, 1), 0, at(1)).is_ok());
    table.opened(pending[3].id, 0, at(1)).unwrap();
    assert!(ask(&mut table, 1002, from(0, 9), 0, at(1)).is_ok(), "one that stands takes no such place");
}

#[test]
fn a_full_relay_renews_and_refuses_newcomers() {
    let mut table = table(|config| config.max_reservations = 2);
    reserve(&mut table, 1, from(1, 1), at(0)).unwrap();
    reserve(&mut table, 2, from(2, 1), at(0)).unwrap();
    assert_eq!(reserve(&mut table, 3, from(3, 1), at(1)), Err(Denial::TooManyReservations));
    assert_eq!(reserve(&mut table, 1, from(1, 1), at(2700)), Ok(true));
    // Its network changed: another address, another connection.
    table.connected(22, 22);
    assert_eq!(table.reserve(&2, 22, from(4, 1), at(2700)).map(|granted| granted.renewed), Ok(true));
    let changes = table.connection_closed(&1, 1);
    assert_eq!(changes.reservations, [1]);
    assert_eq!(reserve(&mut table, 3, from(3, 1), at(2701)), Ok(false), "a place came back");
}

#[test]
fn a_peer_may_move_within_its_full_prefix() {
    let mut table = table(|config| config.max_reservations_per_prefix = 2);
    reserve(&mut table, 1, from(1, 1), at(0)).unwrap();
    reserve(&mut table, 2, from(1, 2), at(0)).unwrap();
    assert_eq!(reserve(&mut table, 3, from(1, 3), at(1)), Err(Denial::TooManyReservationsOfPrefix));
    table.connected(22, 22);
    assert!(table.reserve(&2, 22, from(1, 4), at(1)).is_ok());
}

#[test]
fn a_circuit_is_not_opened_to_a_connection_that_has_closed_meanwhile() {
    let mut table = table(|_| {});
    reserve(&mut table, 1, from(1, 1), at(0)).unwrap();
    let id = ask(&mut table, 2, from(2, 1), 1, at(0)).unwrap().id;
    // Its exchange still has to tell the source.
    assert!(table.connection_closed(&1, 1).circuits.is_empty());
    assert!(table.opened(id, 1, at(1)).is_none());
    assert!(table.remove(id).is_some());
}

#[test]
fn one_peer_is_one_reservation_and_is_reached_where_it_asked_last() {
    let mut table = table(|config| config.max_reservations_per_ip = 1);
    let here = from(1, 1);
    let again = |table: &mut Peers, connection, now| {
        table.connected(connection, connection);
        table.reserve(&1, connection, here, at(now)).unwrap()
    };
    assert_eq!(again(&mut table, 10, 0), Granted { renewed: false, released: None, unanswered: vec![] });
    assert_eq!(again(&mut table, 11, 1), Granted { renewed: true, released: None, unanswered: vec![] });
    let reached = |table: &mut Peers, now| {
        let accepted = ask(table, 9, from(9, 9), 1, at(now)).unwrap();
        table.remove(accepted.id);
        accepted.destination
    };
    assert_eq!(reached(&mut table, 2), 11);
    // A third one replaces the one that asked longest ago.
    again(&mut table, 10, 3);
    assert_eq!(again(&mut table, 12, 4).released, Some(11));
    assert_eq!(reached(&mut table, 5), 12);
    // The newest closes: the one before it is there.
    assert!(table.connection_closed(&1, 12).reservations.is_empty());
    assert_eq!(reached(&mut table, 6), 10);
    assert_eq!(table.connection_closed(&1, 10).reservations, [1]);
    assert_eq!(ask(&mut table, 9, from(9, 9), 1, at(7)).unwrap_err(), Denial::NoReservation);
}

#[test]
fn who_reserves_over_a_new_connection_is_asked_there_for_what_it_has_not_answered() {
    let mut table = table(|_| {});
    reserve(&mut table, 1, from(1, 1), at(0)).unwrap();
    let waits = ask(&mut table, 2, from(2, 1), 1, at(1)).unwrap();
    open(&mut table, 3, from(3, 1), 1, at(1)).unwrap();
    let again = |table: &mut Peers, connection| {
        table.connected(connection, 1);
        table.reserve(&1, connection, from(4, 1), at(2)).unwrap().unanswered
    };
    assert_eq!(again(&mut table, 1), [], "it is asked there already");
    assert_eq!(again(&mut table, 11), [waits.id], "and not for the one that it has answered");
    assert_eq!(again(&mut table, 11), []);
    let circuit = table.opened(waits.id, 11, at(3)).unwrap();
    assert_eq!((circuit.destination_connection, circuit.destination_origin), (11, from(4, 1)));
    // It is on the new connection.
    assert_eq!(table.connection_closed(&1, 1).circuits.len(), 1);
    assert_eq!(table.connection_closed(&1, 11).circuits[0].id, waits.id);
}

#[test]
fn a_connection_that_may_hold_no_reservation_any_more_carries_no_circuit() {
    let mut table = table(|_| {});
    reserve(&mut table, 1, from(1, 1), at(0)).unwrap();
    let waits = ask(&mut table, 2, from(2, 1), 1, at(1)).unwrap();
    table.connected(11, 1);
    assert_eq!(table.reserve(&1, 11, from(4, 1), at(2)).unwrap().unanswered, [waits.id]);
    let changes = table.revoke(|_, origin| *origin != from(4, 1), |_, _| true);
    assert_eq!((changes.released, changes.circuits.len()), (vec![(1, 11)], 0));
    assert!(table.opened(waits.id, 11, at(3)).is_none(), "it agreed where it is not allowed");
}

#[test]
fn a_reservation_that_is_not_renewed_ends() {
    let mut table = table(|_| {});
    reserve(&mut table, 1, from(1, 1), at(0)).unwrap();
    table.connected(11, 11);
    table.reserve(&1, 11, from(1, 1), at(1000)).unwrap();
    assert_eq!(table.next_end(), Some(at(3600)));
    let changes = table.expire(at(3600));
    assert_eq!((changes.released, changes.reservations), (vec![(1, 1)], vec![]));
    assert_eq!(table.next_end(), Some(at(4600)));
    let changes = table.expire(at(4600));
    assert_eq!((changes.released, changes.reservations), (vec![(1, 11)], vec![1]));
    assert_eq!(table.next_end(), None);
}

#[test]
fn the_rate_of_strangers_is_by_address_and_that_of_known_peers_is_their_own() {
    let mut table = table(|config| config.max_circuits_per_ip_to_destination = 1000);
    reserve(&mut table, 1, from(1, 1), at(0)).unwrap();
    let here = from(2, 2);
    let try_one = |table: &mut Peers, source| {
        let id = ask(table, source, here, 1, at(1))?.id;
        table.remove(id);
        Ok(())
    };
    let granted = (1000..1500).filter(|source| try_one(&mut table, *source).is_ok()).count();
    assert_eq!(granted, 120, "strangers of one address");
    assert_eq!(try_one(&mut table, 2000), Err(Denial::ConnectingTooFast));
    reserve(&mut table, 2000, here, at(1)).unwrap();
    let granted = (0..500).filter(|_| try_one(&mut table, 2000).is_ok()).count();
    assert_eq!(granted, 60, "one that has a reservation there");

    let granted =
        (3000..3500).filter(|peer| reserve(&mut table, *peer, from(3, 3), at(1)) != Err(Denial::ReservingTooFast)).count();
    assert_eq!(granted, 60, "strangers that reserve");
    let renewed = (0..500).filter(|_| reserve(&mut table, 2000, here, at(1)).is_ok()).count();
    assert_eq!(renewed, 29, "and one that renews");
}

#[test]
fn the_shortest_reservation_can_be_renewed_for_ever() {
    let mut table = table(|config| config.reservation_duration = Duration::from_secs(4));
    for n in 0..200 {
        reserve(&mut table, 1, from(1, 1), at(3 * n)).unwrap();
    }
}

#[test]
fn a_circuit_ends_when_it_is_idle_or_old_and_not_before() {
    let mut table = table(|_| {});
    reserve(&mut table, 1, from(1, 1), at(0)).unwrap();
    let circuit = open(&mut table, 2, from(2, 2), 1, at(100)).unwrap();
    assert!(table.expire(at(699)).circuits.is_empty());
    let mut now = 100;
    while now + 300 < 100 + 24 * 3600 {
        now += 300;
        table.active(circuit, at(now));
        reserve(&mut table, 1, from(1, 1), at(now)).unwrap();
        assert!(table.expire(at(now)).circuits.is_empty(), "{now}");
    }
    let ended = table.expire(at(100 + 24 * 3600));
    assert_eq!((ended.circuits[0].id, ended.circuits[0].reason), (circuit, CircuitEnd::Lifetime));

    let silent = open(&mut table, 2, from(2, 2), 1, at(100_000)).unwrap_err();
    assert_eq!(silent, Denial::NoReservation);
    reserve(&mut table, 1, from(1, 1), at(100_000)).unwrap();
    let silent = open(&mut table, 2, from(2, 2), 1, at(100_000)).unwrap();
    let ended = table.expire(at(100_600));
    assert_eq!((ended.circuits[0].id, ended.circuits[0].reason), (silent, CircuitEnd::Idle));
}

#[test]
fn a_silent_circuit_of_a_crowd_makes_room_for_a_newcomer_from_elsewhere() {
    let mut table = table(|config| {
        config.max_circuits = 4;
        config.max_circuits_per_ip_to_destination = 4;
    });
    reserve(&mut table, 1, from(1, 1), at(0)).unwrap();
    // Three of one prefix, and an honest one that is as silent.
    let honest = open(&mut table, 10, from(9, 1), 1, at(0)).unwrap();
    let crowd: Vec<_> = (0..3).map(|n| open(&mut table, 20 + n, from(5, n as u8), 1, at(n.into())).unwrap()).collect();
    table.active(crowd[0], at(50));
    let connect = |table: &mut Peers, origin, now| ask(table, 30, origin, 1, at(now));
    assert_eq!(connect(&mut table, from(6, 1), 60).unwrap_err(), Denial::TooManyCircuits, "nobody has been silent for long");
    assert_eq!(connect(&mut table, from(5, 9), 90).unwrap_err(), Denial::TooManyCircuits, "one more of the crowd");
    let accepted = connect(&mut table, from(6, 1), 90).unwrap();
    let evicted = accepted.evicted.unwrap();
    assert_eq!((evicted.id, evicted.reason), (crowd[1], CircuitEnd::Evicted));
    assert_eq!(table.circuits.len(), 4);
    // Two of the crowd are left, as many as the newcomer's would be.
    assert_eq!(connect(&mut table, from(6, 1), 300).unwrap_err(), Denial::TooManyCircuits);
    assert!(connect(&mut table, from(7, 1), 300).unwrap().evicted.is_some_and(|evicted| evicted.id == crowd[2]));
    assert!(table.circuits.contains_key(&honest));
}

#[test]
fn pending_circuits_count_and_give_their_places_back() {
    let mut table = table(|config| config.max_circuits = 2);
    reserve(&mut table, 1, from(1, 1), at(0)).unwrap();
    let connect = |table: &mut Peers, source: u32| ask(table, source, from(source as u8, 1), 1, at(0));
    let first = connect(&mut table, 2).unwrap().id;
    let second = connect(&mut table, 3).unwrap().id;
    assert_eq!(connect(&mut table, 4).unwrap_err(), Denial::TooManyCircuits);
    // The exchange failed; the source left; the exchange never ended.
    assert!(table.remove(first).is_some() && table.remove(first).is_none());
    assert_eq!(table.connection_closed(&3, 3).circuits[0].id, second);
    assert!(table.opened(second, 1, at(0)).is_none());
    connect(&mut table, 4).unwrap();
    assert_eq!(table.expire(at(30)).circuits.len(), 1);
    assert!(table.circuits.is_empty());
}

#[test]
fn a_circuit_to_oneself_and_one_to_nobody_are_refused() {
    let mut table = table(|_| {});
    reserve(&mut table, 1, from(1, 1), at(0)).unwrap();
    assert_eq!(ask(&mut table, 1, from(1, 1), 1, at(0)).unwrap_err(), Denial::ToItself);
    assert_eq!(ask(&mut table, 1, from(1, 1), 2, at(0)).unwrap_err(), Denial::NoReservation);
}

#[test]
fn a_request_that_is_read_after_its_connection_has_closed_gets_nothing() {
    let mut table = table(|_| {});
    reserve(&mut table, 1, from(1, 1), at(0)).unwrap();
    table.connected(2, 2);
    table.connection_closed(&2, 2);
    assert_eq!(table.reserve(&2, 2, from(2, 1), at(0)), Err(Denial::SourceGone));
    assert_eq!(table.connect(&2, 2, from(2, 1), &1, at(0)).unwrap_err(), Denial::SourceGone);
}

/// What may happen to a relay, with few peers, hosts and connections, so that it clashes.
#[derive(Clone, Debug)]
enum Step {
    Connected(u32),
    Reserve(u32, u32, u8),
    Connect(u32, u32, u8, u32),
    Opened(usize),
    Failed(usize),
    Active(usize),
    Closed(u32, u32),
    Later(u64),
}

fn step() -> impl Strategy<Value = Step> {
    // A connection belongs to one peer: connection n to peer n / 3.
    let peer = 0..6_u32;
    prop_oneof![
        2 => (0..18_u32).prop_map(Step::Connected),
        2 => (peer.clone(), 0..3_u32, 0..8_u8).prop_map(|(peer, n, host)| Step::Reserve(peer, peer * 3 + n, host)),
        4 => (peer.clone(), 0..3_u32, 0..8_u8, 0..6_u32).prop_map(|(peer, n, host, to)| Step::Connect(peer, peer * 3 + n, host, to)),
        2 => (0..64_usize).prop_map(Step::Opened),
        2 => (0..64_usize).prop_map(Step::Failed),
        2 => (0..64_usize).prop_map(Step::Active),
        1 => (peer, 0..3_u32).prop_map(|(peer, n)| Step::Closed(peer, peer * 3 + n)),
        1 => (0..400_u64).prop_map(Step::Later),
    ]
}

fn small(config: &mut RelayServerConfig) {
    at_any_rate(config);
    config.max_reservations = 4;
    config.max_reservations_per_ip = 2;
    config.max_reservations_per_prefix = 3;
    config.max_circuits = 6;
    config.max_circuits_per_peer = 3;
    config.max_circuits_per_ip = 3;
    config.max_circuits_per_prefix = 4;
    config.max_circuits_per_destination = 4;
    config.max_circuits_per_ip_to_destination = 2;
}

proptest! {
    #[test]
    fn no_cap_is_passed_and_no_place_is_lost(steps in prop::collection::vec(step(), 0..200)) {
        let mut table = table(small);
        // Two hosts in each of four prefixes.
        let from = |host: u8| from(host / 2, host);
        let (mut now, mut ids, mut ended) = (0, Vec::new(), 0);
        for step in steps {
            match step {
                Step::Connected(connection) => table.connected(connection, connection),
                Step::Reserve(peer, connection, host) => drop(table.reserve(&peer, connection, from(host), at(now))),
                Step::Connect(peer, connection, host, to) => {
                    if let Ok(accepted) = table.connect(&peer, connection, from(host), &to, at(now)) {
                        ids.push((accepted.id, accepted.destination));
                        ended += usize::from(accepted.evicted.is_some());
                    }
                }
                Step::Opened(n) => drop(ids.get(n).map(|(id, over)| table.opened(*id, *over, at(now)).is_some())),
                Step::Failed(n) => ended += usize::from(ids.get(n).is_some_and(|(id, _)| table.remove(*id).is_some())),
                Step::Active(n) => drop(ids.get(n).map(|(id, _)| table.active(*id, at(now)))),
                Step::Closed(peer, connection) => ended += table.connection_closed(&peer, connection).circuits.len(),
                Step::Later(seconds) => {
                    now += seconds;
                    ended += table.expire(at(now)).circuits.len();
                    prop_assert!(table.next_end().is_none_or(|end| end > at(now)));
                }
            }
            let count = |of: &dyn Fn(&Circuit<u32, u32>) -> bool| table.circuits.values().filter(|circuit| of(circuit)).count();
            prop_assert!(table.reservations.len() <= 4 && table.circuits.len() <= 6);
            prop_assert!(table.reservations.values().all(|links| (1..=2).contains(&links.len())));
            for n in 0..8 {
                prop_assert!(count(&|circuit| circuit.source == n.into()) <= 3);
                prop_assert!(count(&|circuit| circuit.origin == from(n)) <= 3);
                prop_assert!(count(&|circuit| circuit.destination == n.into()) <= 4);
                prop_assert!(count(&|circuit| circuit.origin.prefix == from(n).prefix) <= 4);
                let here = |links: &&Vec<Link<u32>>| links.iter().any(|link| link.origin == from(n));
                prop_assert!(table.reservations.values().filter(here).count() <= 2);
            }
            // Each circuit that was ever granted is there, or its end was told once.
            prop_assert_eq!(table.circuits.len() + ended, ids.len());
        }
        // Everybody leaves, or time does it.
        for peer in 0..6 {
            for connection in peer * 3..peer * 3 + 3 {
                table.connection_closed(&peer, connection);
            }
        }
        prop_assert!(table.circuits.is_empty() && table.reservations.is_empty() && table.connections.is_empty());
    }
}
