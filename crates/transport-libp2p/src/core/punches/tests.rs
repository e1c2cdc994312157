use kaspath_domain::{Direction, IpPrefix, TransportSet};

use super::*;
use crate::core::tests::{address, at, connection, identity, outputs, shared};

const CIRCUIT: ConnId = ConnId(1);
const PEER: u64 = 1;

/// A circuit on which the peer called us, and our exchange on it.
fn begun() -> (Punches, Shared, OperationId) {
    let (mut punches, mut shared) = (Punches::new(vec![address("/ip4/198.51.100.1/tcp/1")], 64, true), shared());
    let circuit = format!("/ip4/203.0.113.1/tcp/4001/p2p/{}/p2p-circuit", identity(9));
    shared.connections.insert(CIRCUIT, connection(PEER, Direction::Inbound, &circuit));
    punches.connected(&mut shared, CIRCUIT, None);
    punches.step(&mut shared);
    let exchange = exchange(&mut shared).unwrap();
    (punches, shared, exchange)
}

fn exchange(shared: &mut Shared) -> Option<OperationId> {
    outputs(shared).into_iter().find_map(|output| match output {
        Output::Exchange { exchange, .. } => Some(exchange),
        _ => None,
    })
}

fn theirs() -> Vec<TransportAddress> {
    vec![address("/ip4/203.0.113.7/tcp/7"), address("/ip4/203.0.113.7/udp/7/quic-v1")]
}

const RTT: Duration = Duration::from_millis(100);

fn dials(outputs: Vec<Output>) -> Vec<DialKindOrSync> {
    outputs
        .into_iter()
        .filter_map(|output| match output {
            Output::Dial { kind, .. } => Some(DialKindOrSync::Dial(kind)),
            Output::Synchronize { .. } => Some(DialKindOrSync::Sync),
            _ => None,
        })
        .collect()
}

#[derive(Debug, PartialEq)]
enum DialKindOrSync {
    Dial(crate::core::DialKind),
    Sync,
}

#[test]
fn the_initiator_opens_for_quic_before_sync_and_dials_tcp_half_a_round_trip_after() {
    use crate::core::DialKind::{PunchAsDialer, PunchAsListener};
    use DialKindOrSync::{Dial, Sync};
    let (mut punches, mut shared, exchange) = begun();
    punches.offered(&mut shared, exchange, &theirs(), RTT);
    assert_eq!(dials(outputs(&mut shared)), [Dial(PunchAsListener(Transport::Quic)), Sync]);
    punches.sync_sent(&mut shared, exchange);
    for (millis, expected) in
        [(50, PunchAsListener(Transport::Tcp)), (250, PunchAsDialer { new_port: false }), (450, PunchAsDialer { new_port: true })]
    {
        assert_eq!(punches.deadline(), Some(at(millis)));
        shared.now = at(millis);
        punches.step(&mut shared);
        assert_eq!(dials(outputs(&mut shared)), [Dial(expected)]);
    }
}

#[test]
fn dials_to_come_end_with_their_attempt() {
    let (mut punches, mut shared, exchange) = begun();
    punches.offered(&mut shared, exchange, &theirs(), Duration::from_secs(8));
    punches.sync_sent(&mut shared, exchange);
    outputs(&mut shared);
    shared.now = at(10_500);
    punches.step(&mut shared);
    assert!(punches.punches[&CIRCUIT].later.is_empty(), "the attempt has failed");
    assert_eq!(punches.deadline(), Some(at(12_500)), "the next one");
}

#[test]
fn answers_to_an_attempt_that_timed_out_do_not_count_for_the_next_one() {
    let (mut punches, mut shared, first) = begun();
    shared.now = at(10_500);
    punches.step(&mut shared);
    let ended = |output: &Output| matches!(output, Output::EndExchange { exchange } if *exchange == first);
    assert!(outputs(&mut shared).iter().any(ended), "it is broken off");
    shared.now = at(12_500);
    punches.step(&mut shared);
    let second = exchange(&mut shared).unwrap();
    let before = punches.deadline();
    punches.offered(&mut shared, first, &theirs(), RTT);
    punches.sync_sent(&mut shared, first);
    punches.exchange_failed(&mut shared, first, true, "late");
    assert!(outputs(&mut shared).is_empty());
    assert_eq!(punches.deadline(), before);
    punches.offered(&mut shared, second, &theirs(), RTT);
    assert!(!outputs(&mut shared).is_empty());
}

#[test]
fn a_direct_connection_ends_the_punch_and_its_exchange() {
    let (mut punches, mut shared, exchange) = begun();
    shared.connections.insert(ConnId(2), connection(PEER, Direction::Inbound, "/ip4/203.0.113.7/tcp/7"));
    punches.connected(&mut shared, ConnId(2), None);
    assert!(matches!(outputs(&mut shared)[..], [Output::EndExchange { exchange: ended }] if ended == exchange));
    assert!(matches!(shared.next_signal(), Some(Signal::Punched(CIRCUIT))));
    assert_eq!(punches.held(), 0);
}

#[test]
fn what_is_under_way_outlives_its_circuit_and_nothing_follows() {
    let (mut punches, mut shared, exchange) = begun();
    punches.offered(&mut shared, exchange, &theirs(), RTT);
    punches.sync_sent(&mut shared, exchange);
    shared.connections.remove(CIRCUIT);
    punches.circuit_closed(CIRCUIT);
    outputs(&mut shared);
    shared.now = at(50);
    punches.step(&mut shared);
    assert_eq!(dials(outputs(&mut shared)).len(), 1, "the peer may be direct already");
    shared.now = at(20_000);
    punches.step(&mut shared);
    assert!(punches.punches.is_empty());
}

#[test]
fn a_candidate_that_comes_late_is_offered_at_once() {
    let (mut punches, mut shared) = (Punches::new(Vec::new(), 64, true), shared());
    let circuit = format!("/ip4/203.0.113.1/tcp/4001/p2p/{}/p2p-circuit", identity(9));
    shared.connections.insert(CIRCUIT, connection(PEER, Direction::Inbound, &circuit));
    punches.connected(&mut shared, CIRCUIT, None);
    punches.step(&mut shared);
    assert_eq!(exchange(&mut shared), None, "there is nothing to offer");
    punches.observed(&mut shared, identity(9), IpPrefix::network([203, 0, 113, 1].into()), address("/ip4/198.51.100.1/tcp/1"));
    punches.step(&mut shared);
    assert!(exchange(&mut shared).is_some());
}

#[test]
fn a_stranger_has_few_exchanges_answered() {
    let (mut punches, mut shared) = (Punches::new(Vec::new(), 64, true), shared());
    shared.punch.transports = TransportSet::ALL;
    let mut answered = 0;
    for n in 0..6 {
        let circuit = format!("/ip4/203.0.113.1/tcp/4001/p2p/{}/p2p-circuit", identity(9));
        shared.connections.insert(ConnId(n), connection(PEER, Direction::Inbound, &circuit));
        punches.connected(&mut shared, ConnId(n), None);
        let exchange = shared.operation();
        punches.requested(&mut shared, exchange, ConnId(n));
        answered += usize::from(matches!(outputs(&mut shared)[..], [Output::Respond { .. }]));
    }
    assert_eq!(answered, 4);
    assert_eq!(punches.exchanges.len(), 4);
}

/// The circuit on which an exchange begins now.
fn exchanging(punches: &mut Punches, shared: &mut Shared) -> Vec<ConnId> {
    punches.step(shared);
    let ids = outputs(shared).into_iter().filter_map(|output| match output {
        Output::Exchange { id, .. } => Some(id),
        _ => None,
    });
    ids.collect()
}

#[test]
fn a_circuit_that_leads_and_fails_lets_the_next_one_lead() {
    let (mut punches, mut shared) = (Punches::new(vec![address("/ip4/198.51.100.1/tcp/1")], 64, true), shared());
    // Of equal rank but for the relay, of which the smaller leads.
    let mut circuits = Vec::new();
    for (id, relay) in [(1, 8), (2, 9)] {
        let circuit = format!("/ip4/203.0.113.1/tcp/4001/p2p/{}/p2p-circuit", identity(relay));
        shared.connections.insert(ConnId(id), connection(PEER, Direction::Inbound, &circuit));
        punches.connected(&mut shared, ConnId(id), None);
        circuits.push((identity(relay), ConnId(id)));
    }
    circuits.sort();
    let [first, second] = [circuits[0].1, circuits[1].1];
    punches.step(&mut shared);
    let exchange = outputs(&mut shared).into_iter().find_map(|output| match output {
        Output::Exchange { exchange, id, .. } => Some((exchange, id)),
        _ => None,
    });
    let (exchange, leader) = exchange.unwrap();
    assert_eq!(leader, first);
    // The relay carries the peer's answer, and loses what comes after it.
    punches.offered(&mut shared, exchange, &theirs(), RTT);
    shared.now = at(9_000);
    assert_eq!(exchanging(&mut punches, &mut shared), []);
    shared.now = at(10_500);
    punches.step(&mut shared);
    assert_eq!(exchanging(&mut punches, &mut shared), [second]);
}
