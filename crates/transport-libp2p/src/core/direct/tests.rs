use kaspath_domain::Direction;

use super::*;
use crate::core::tests::{address, connection, identity, outputs, shared};

const AT: &str = "/ip4/198.51.100.1/tcp/4001";

fn dials(outputs: &[Output]) -> Vec<OperationId> {
    outputs.iter().filter_map(|output| if let Output::Dial { dial, .. } = output { Some(*dial) } else { None }).collect()
}

fn answers(outputs: &[Output]) -> Vec<(u64, Result<ConnId, DialError>)> {
    let answer = |output: &Output| match output {
        Output::Answer { waiter, result } => Some((waiter.0, result.clone())),
        _ => None,
    };
    outputs.iter().filter_map(answer).collect()
}

fn failed() -> DialError {
    DialError::Unreachable { address: AT.to_owned(), cause: "refused".to_owned() }
}

#[test]
fn callers_of_the_same_addresses_share_a_dial_and_all_are_told() {
    let (mut direct, mut shared) = (Direct::default(), shared());
    for waiter in 1..=3 {
        direct.connect(&mut shared, WaiterId(waiter), identity(1), vec![address(AT)]);
    }
    let begun = dials(&outputs(&mut shared));
    assert_eq!(begun.len(), 1);
    direct.give_up(WaiterId(2));
    direct.failed(&mut shared, begun[0], &failed());
    let error = Err(DialError::Unreachable { address: AT.to_owned(), cause: "refused".to_owned() });
    assert_eq!(answers(&outputs(&mut shared)), [(1, error.clone()), (3, error)]);
    assert_eq!(direct.held(), 0);
}

#[test]
fn the_end_of_an_earlier_dial_does_not_answer_who_waits_for_a_later_one() {
    let (mut direct, mut shared) = (Direct::default(), shared());
    direct.connect(&mut shared, WaiterId(1), identity(1), vec![address(AT)]);
    let first = dials(&outputs(&mut shared))[0];
    direct.failed(&mut shared, first, &failed());
    direct.connect(&mut shared, WaiterId(2), identity(1), vec![address(AT)]);
    outputs(&mut shared);
    direct.failed(&mut shared, first, &failed());
    assert!(outputs(&mut shared).is_empty());
}

#[test]
fn any_direct_connection_serves_who_waits_for_one_over_its_transport() {
    let (mut direct, mut shared) = (Direct::default(), shared());
    for (waiter, peer, transports) in [(1, 1, TransportSet::ALL), (2, 1, TransportSet::QUIC), (3, 2, TransportSet::ALL)] {
        direct.wait(&mut shared, WaiterId(waiter), identity(peer), transports);
    }
    shared.connections.insert(ConnId(7), connection(1, Direction::Inbound, AT));
    direct.connected(&mut shared, ConnId(7), None);
    assert_eq!(answers(&outputs(&mut shared)), [(1, Ok(ConnId(7)))]);
    direct.wait(&mut shared, WaiterId(4), identity(1), TransportSet::TCP);
    assert_eq!(answers(&outputs(&mut shared)), [(4, Ok(ConnId(7)))], "one stands already");
}

#[test]
fn those_who_wait_are_bounded_and_who_goes_makes_room() {
    let (mut direct, mut shared) = (Direct::default(), shared());
    for waiter in 0..2 * MAX_WAITERS as u64 {
        direct.wait(&mut shared, WaiterId(waiter), identity(1), TransportSet::ALL);
    }
    assert_eq!(answers(&outputs(&mut shared)).len(), MAX_WAITERS);
    direct.give_up(WaiterId(0));
    direct.wait(&mut shared, WaiterId(9999), identity(1), TransportSet::ALL);
    assert!(outputs(&mut shared).is_empty());
}
