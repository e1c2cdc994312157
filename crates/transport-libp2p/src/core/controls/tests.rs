use kaspath_domain::Direction;

use super::*;
use crate::core::tests::{at, connection, identity, outputs, shared};

const RELAY: &str = "/ip4/203.0.113.1/tcp/4001";
const CIRCUIT: &str = "/ip4/203.0.113.1/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN/p2p-circuit";

fn link(shared: &mut Shared, id: u64, relay: u64) {
    shared.connections.insert(ConnId(id), connection(relay, Direction::Outbound, RELAY));
}

fn asked(shared: &mut Shared) -> Vec<(OperationId, u64)> {
    let asked = |output| if let Output::Control { control, id } = output { Some((control, id.0)) } else { None };
    outputs(shared).into_iter().filter_map(asked).collect()
}

/// The relays that are ready, and those that refuse.
fn answers(shared: &mut Shared) -> (Vec<PeerIdentity>, Vec<String>) {
    let (mut ready, mut refused) = (Vec::new(), Vec::new());
    while let Some(signal) = shared.next_signal() {
        match signal {
            Signal::RelayReady(relay) => ready.push(relay),
            Signal::RelayRefused { cause, .. } => refused.push(cause),
            _ => {}
        }
    }
    (ready, refused)
}

#[test]
fn a_reservation_waits_for_the_relays_answer_on_one_of_its_links() {
    let (mut controls, mut shared) = (Controls::default(), shared());
    link(&mut shared, 1, 9);
    link(&mut shared, 2, 9);
    controls.linked(&mut shared, &identity(9), ConnId(1));
    controls.ask(&mut shared, &identity(9));
    let streams = asked(&mut shared);
    assert_eq!(streams.iter().map(|(_, id)| *id).collect::<Vec<_>>(), [1, 2], "each link is asked once");
    assert_eq!(answers(&mut shared), (vec![], vec![]));
    controls.heard(&mut shared, streams[0].0, RelaySays::Refused("a token".to_owned()));
    assert_eq!(answers(&mut shared), (vec![], vec![]), "the other link has not answered");
    controls.heard(&mut shared, streams[1].0, RelaySays::Welcome);
    assert_eq!(answers(&mut shared), (vec![identity(9)], vec![]));
    controls.heard(&mut shared, streams[1].0, RelaySays::Welcome);
    assert_eq!(answers(&mut shared), (vec![], vec![]), "once");
}

#[test]
fn a_relay_that_does_not_speak_the_protocol_is_asked_for_reservations_as_ever() {
    let (mut controls, mut shared) = (Controls::default(), shared());
    link(&mut shared, 1, 9);
    controls.ask(&mut shared, &identity(9));
    let streams = asked(&mut shared);
    controls.ended(&mut shared, streams[0].0);
    assert_eq!(answers(&mut shared), (vec![identity(9)], vec![]));
    controls.ask(&mut shared, &identity(9));
    assert!(asked(&mut shared).is_empty(), "it is known of that link");
    assert_eq!(answers(&mut shared), (vec![identity(9)], vec![]));
}

#[test]
fn a_refusal_is_final_until_a_reservation_is_wanted_again() {
    let (mut controls, mut shared) = (Controls::default(), shared());
    link(&mut shared, 1, 9);
    controls.ask(&mut shared, &identity(9));
    let streams = asked(&mut shared);
    controls.heard(&mut shared, streams[0].0, RelaySays::Refused("a token".to_owned()));
    assert_eq!(answers(&mut shared), (vec![], vec!["a token".to_owned()]));
    assert_eq!(controls.held(), 0);
    controls.ask(&mut shared, &identity(9));
    let again = asked(&mut shared);
    assert_eq!(again.len(), 1);
    controls.heard(&mut shared, streams[0].0, RelaySays::Welcome);
    assert_eq!(answers(&mut shared), (vec![], vec![]), "the first stream is over");
    controls.heard(&mut shared, again[0].0, RelaySays::Welcome);
    assert_eq!(answers(&mut shared).0, [identity(9)]);
    // What was granted may be taken back.
    controls.heard(&mut shared, again[0].0, RelaySays::Refused("not any more".to_owned()));
    assert_eq!(answers(&mut shared).1, ["not any more"]);
}

#[test]
fn a_link_that_closes_leaves_nothing_behind() {
    let (mut controls, mut shared) = (Controls::default(), shared());
    link(&mut shared, 1, 9);
    controls.ask(&mut shared, &identity(9));
    shared.connections.remove(ConnId(1));
    controls.disconnected(&mut shared, ConnId(1));
    assert_eq!(answers(&mut shared), (vec![], vec![]));
    controls.not_needed(&identity(9));
    assert_eq!(controls.held(), 0);
    assert!(controls.all.is_empty());
}

#[test]
fn a_drain_is_believed_once_and_its_circuits_learn_of_it() {
    let (mut controls, mut shared) = (Controls::default(), shared());
    let relay = PeerIdentity::clone(connection(1, Direction::Outbound, CIRCUIT).relay().unwrap());
    shared.connections.insert(ConnId(5), connection(1, Direction::Outbound, CIRCUIT));
    shared
        .connections
        .insert(ConnId(1), crate::core::Connection { peer: relay.clone(), ..connection(9, Direction::Outbound, RELAY) });
    controls.linked(&mut shared, &relay, ConnId(1));
    let streams = asked(&mut shared);
    controls.heard(&mut shared, streams[0].0, RelaySays::Draining(Duration::from_secs(1_000_000)));
    controls.heard(&mut shared, streams[0].0, RelaySays::Draining(Duration::from_secs(1)));
    let put = outputs(&mut shared);
    assert!(matches!(put[..], [Output::Reason { id: ConnId(5), reason: RelayReason::RelayDraining }]), "{put:?}");
    assert!(matches!(shared.next_signal(), Some(Signal::RelayDraining { until, .. }) if until == at(3_600_000)));
    shared.put_reason(ConnId(5), RelayReason::PunchPending);
    assert!(outputs(&mut shared).is_empty(), "no other reason counts meanwhile");
    shared.now = at(3_600_000);
    assert!(!shared.is_draining(&relay));
    shared.put_reason(ConnId(5), RelayReason::PunchPending);
    assert_eq!(outputs(&mut shared).len(), 1);
}

#[test]
fn notices_of_drains_that_are_over_at_once_count_once() {
    let (mut controls, mut shared) = (Controls::default(), shared());
    link(&mut shared, 1, 9);
    controls.linked(&mut shared, &identity(9), ConnId(1));
    let streams = asked(&mut shared);
    (0..1000).for_each(|_| controls.heard(&mut shared, streams[0].0, RelaySays::Draining(Duration::ZERO)));
    let drains =
        std::iter::from_fn(|| shared.next_signal()).filter(|signal| matches!(signal, Signal::RelayDraining { .. })).count();
    assert_eq!(drains, 1, "each is an event, and has sessions dial");
}
