use kaspath_domain::Direction;

use super::*;
use crate::core::tests::{address, connection, identity, outputs, shared};

const RELAY: u64 = 9;

fn via() -> Option<TransportAddress> {
    Some(address("/ip4/203.0.113.1/tcp/4001"))
}

fn circuit() -> String {
    format!("/ip4/203.0.113.1/tcp/4001/p2p/{}/p2p-circuit", identity(RELAY))
}

fn open(circuits: &mut Circuits, shared: &mut Shared, waiter: u64, punch: TransportSet) {
    circuits.open(shared, WaiterId(waiter), (identity(RELAY), via()), identity(1), punch);
}

fn dial(shared: &mut Shared) -> OperationId {
    match &outputs(shared)[..] {
        [Output::DialCircuit { dial, .. }] => *dial,
        other => panic!("{other:?}"),
    }
}

#[test]
fn callers_share_a_dial_and_then_the_circuit_that_came_of_it() {
    let (mut circuits, mut shared) = (Circuits::default(), shared());
    open(&mut circuits, &mut shared, 1, TransportSet::NONE);
    let first = dial(&mut shared);
    open(&mut circuits, &mut shared, 2, TransportSet::NONE);
    assert!(outputs(&mut shared).is_empty());
    circuits.give_up(WaiterId(1));
    shared.connections.insert(ConnId(5), connection(1, Direction::Outbound, &circuit()));
    circuits.connected(&mut shared, ConnId(5), Some(first));
    open(&mut circuits, &mut shared, 3, TransportSet::NONE);
    let answered: Vec<u64> = outputs(&mut shared)
        .iter()
        .map(|output| match output {
            Output::Answer { waiter, result: Ok(ConnId(5)) } => waiter.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(answered, [2, 3]);
}

#[test]
fn what_a_peer_may_punch_is_known_while_a_circuit_of_ours_stands_or_is_dialled() {
    let (mut circuits, mut shared) = (Circuits::default(), shared());
    open(&mut circuits, &mut shared, 1, TransportSet::TCP);
    let first = dial(&mut shared);
    assert_eq!(shared.punch_transports(&identity(1)), TransportSet::TCP);
    // A circuit that the peer dialled comes and goes meanwhile.
    circuits.disconnected(&mut shared, &identity(1));
    assert_eq!(shared.punch_transports(&identity(1)), TransportSet::TCP);
    circuits.failed(&mut shared, first, &DialError::Unreachable { address: String::new(), cause: "refused".to_owned() });
    assert_eq!(shared.punch_transports(&identity(1)), TransportSet::ALL);
    assert!(shared.punchable.is_empty());
}

#[test]
fn a_relay_that_is_not_linked_is_unreachable_and_nothing_is_kept() {
    let (mut circuits, mut shared) = (Circuits::default(), shared());
    circuits.open(&mut shared, WaiterId(2), (identity(RELAY), None), identity(1), TransportSet::TCP);
    let answer = outputs(&mut shared);
    assert!(matches!(&answer[..], [Output::Answer { result: Err(DialError::RelayUnreachable { .. }), .. }]), "{answer:?}");
    assert!(shared.punchable.is_empty() && circuits.held() == 0);
}

#[test]
fn a_circuit_that_the_peer_dialled_does_not_keep_what_counts_for_ours() {
    let (mut circuits, mut shared) = (Circuits::default(), shared());
    shared.connections.insert(ConnId(5), connection(1, Direction::Outbound, &circuit()));
    shared.connections.insert(ConnId(6), connection(1, Direction::Inbound, &circuit()));
    open(&mut circuits, &mut shared, 1, TransportSet::TCP);
    assert_eq!(shared.punch_transports(&identity(1)), TransportSet::TCP);
    shared.connections.remove(ConnId(5));
    circuits.disconnected(&mut shared, &identity(1));
    assert!(shared.punchable.is_empty());
}

#[test]
fn what_may_be_punched_stays_while_another_circuit_is_being_dialled() {
    let (mut circuits, mut shared) = (Circuits::default(), shared());
    let mut dials = Vec::new();
    for relay in [RELAY, RELAY + 1] {
        circuits.open(&mut shared, WaiterId(relay), (identity(relay), via()), identity(1), TransportSet::TCP);
        dials.push(dial(&mut shared));
    }
    let failure = DialError::Unreachable { address: String::new(), cause: "refused".to_owned() };
    circuits.failed(&mut shared, dials[0], &failure);
    assert_eq!(shared.punch_transports(&identity(1)), TransportSet::TCP);
    circuits.failed(&mut shared, dials[1], &failure);
    assert!(shared.punchable.is_empty());
}

#[test]
fn a_circuit_that_stands_is_punched_again_for_a_caller_that_asks() {
    let (mut circuits, mut shared) = (Circuits::default(), shared());
    shared.connections.insert(ConnId(5), connection(1, Direction::Outbound, &circuit()));
    open(&mut circuits, &mut shared, 1, TransportSet::NONE);
    assert!(shared.next_signal().is_none());
    open(&mut circuits, &mut shared, 2, TransportSet::ALL);
    assert!(matches!(shared.next_signal(), Some(Signal::PunchWanted(ConnId(5)))));
}

#[test]
fn only_who_dialled_a_circuit_closes_it_when_it_is_punched() {
    let (circuits, mut shared) = (&mut Circuits::default(), shared());
    shared.connections.insert(ConnId(5), connection(1, Direction::Outbound, &circuit()));
    shared.connections.insert(ConnId(6), connection(1, Direction::Inbound, &circuit()));
    circuits.punched(&mut shared, ConnId(5));
    circuits.punched(&mut shared, ConnId(6));
    assert!(matches!(outputs(&mut shared)[..], [Output::CloseIfUnused(ConnId(5))]));
}

#[test]
fn a_circuit_that_a_session_has_left_is_closed_if_the_peer_is_direct() {
    let (circuits, mut shared) = (&mut Circuits::default(), shared());
    shared.connections.insert(ConnId(5), connection(1, Direction::Outbound, &circuit()));
    circuits.left(&mut shared, ConnId(5));
    assert!(outputs(&mut shared).is_empty(), "it may have gone to another circuit");
    shared.connections.insert(ConnId(7), connection(1, Direction::Outbound, "/ip4/198.51.100.1/tcp/4001"));
    circuits.left(&mut shared, ConnId(5));
    circuits.left(&mut shared, ConnId(6));
    assert!(matches!(outputs(&mut shared)[..], [Output::CloseIfUnused(ConnId(5))]));
}
