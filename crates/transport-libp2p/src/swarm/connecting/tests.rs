use kaspath_domain::TransportAddress;
use libp2p::{
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    swarm::{ConnectionClosed, FromSwarm, NetworkBehaviour},
};
use tokio::sync::{broadcast, mpsc, oneshot, oneshot::error::TryRecvError};

use super::*;
use crate::{
    NetworkConfig, NodeKey,
    swarm::{Announcing, Handle, build},
};

const VIA: &str = "/ip4/198.51.100.1/tcp/4001";

/// An actor that knows these relays, all of them at [`VIA`].
fn actor(relays: &[PeerId]) -> Actor {
    let config = NetworkConfig::default();
    let swarm = build(&NodeKey::generate(), &config, mpsc::channel(1).0).unwrap();
    let announcing = Announcing::new(*swarm.local_peer_id(), false, Vec::new());
    let via: TransportAddress = convert::transport_address(&VIA.parse().unwrap()).unwrap();
    let relays = relays.iter().map(|relay| (*relay, vec![via.clone()])).collect();
    Actor::new(swarm, config, announcing, Vec::new(), relays, Handle::channel().1, broadcast::channel(16).0)
}

fn circuit_address(relay: PeerId) -> Multiaddr {
    convert::circuit(VIA.parse().unwrap(), relay)
}

fn outbound(actor: &mut Actor, id: usize, peer: PeerId, address: &Multiaddr) {
    let streams = &mut actor.swarm.behaviour_mut().streams;
    let id = ConnectionId::new_unchecked(id);
    streams.handle_established_outbound_connection(id, peer, address, Endpoint::Dialer, PortUse::Reuse).unwrap();
}

fn inbound(actor: &mut Actor, id: usize, peer: PeerId, local: &Multiaddr) {
    let streams = &mut actor.swarm.behaviour_mut().streams;
    let remote = Multiaddr::empty().with(Protocol::P2p(peer));
    streams.handle_established_inbound_connection(ConnectionId::new_unchecked(id), peer, local, &remote).unwrap();
}

/// The connection that we dialled at that address is closed.
fn closed(actor: &mut Actor, id: usize, peer: PeerId, address: &Multiaddr) {
    let endpoint = ConnectedPoint::Dialer { address: address.clone(), role_override: Endpoint::Dialer, port_use: PortUse::Reuse };
    actor.swarm.behaviour_mut().streams.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
        peer_id: peer,
        connection_id: ConnectionId::new_unchecked(id),
        endpoint: &endpoint,
        cause: None,
        remaining_established: 0,
    }));
    actor.forget_circuit(peer);
}

fn circuit(
    actor: &mut Actor,
    relay: PeerId,
    peer: PeerId,
    punch: TransportSet,
) -> oneshot::Receiver<Result<ConnectionId, DialError>> {
    let (reply, answer) = oneshot::channel();
    actor.circuit(relay, peer, punch, reply);
    answer
}

/// The circuit's dial through that relay fails.
fn fail_dial(actor: &mut Actor, through: PeerId) {
    let is_it = |purpose: &Purpose| matches!(purpose, Purpose::Circuit { relay, .. } if *relay == through);
    let (connection, _) = actor.connecting.dials.iter().find(|(_, purpose)| is_it(purpose)).unwrap();
    actor.on_dial_failed(*connection, None, &SwarmDialError::Aborted);
}

#[tokio::test]
async fn what_may_be_punched_is_forgotten_when_the_relay_is_not_linked() {
    let (relay, peer) = (PeerId::random(), PeerId::random());
    let mut actor = actor(&[relay]);
    let answer = circuit(&mut actor, relay, peer, TransportSet::TCP).try_recv().unwrap();
    assert!(matches!(answer, Err(DialError::RelayUnreachable { .. })), "{answer:?}");
    assert_eq!(actor.connecting.punchable(&peer), None);
}

#[tokio::test]
async fn a_circuit_that_the_peer_dialled_does_not_keep_what_counts_for_ours() {
    let (relay, peer) = (PeerId::random(), PeerId::random());
    let mut actor = actor(&[relay]);
    let address = circuit_address(relay);
    outbound(&mut actor, 1, peer, &address);
    inbound(&mut actor, 2, peer, &address);
    let answer = circuit(&mut actor, relay, peer, TransportSet::TCP).try_recv().unwrap();
    assert_eq!(answer.unwrap(), ConnectionId::new_unchecked(1));
    assert_eq!(actor.connecting.punchable(&peer), Some(TransportSet::TCP));
    closed(&mut actor, 1, peer, &address);
    assert_eq!(actor.connecting.punchable(&peer), None);
}

#[tokio::test]
async fn what_may_be_punched_stays_while_another_circuit_is_being_dialled() {
    let (first, second, peer) = (PeerId::random(), PeerId::random(), PeerId::random());
    let mut actor = actor(&[first, second]);
    outbound(&mut actor, 1, first, &VIA.parse().unwrap());
    outbound(&mut actor, 2, second, &VIA.parse().unwrap());
    let mut answers = [first, second].map(|relay| circuit(&mut actor, relay, peer, TransportSet::TCP));
    let answered = answers.each_mut().map(|answer| answer.try_recv());
    assert!(answered.iter().all(|answer| matches!(answer, Err(TryRecvError::Empty))), "both are dialled: {answered:?}");
    fail_dial(&mut actor, first);
    assert_eq!(actor.connecting.punchable(&peer), Some(TransportSet::TCP));
    fail_dial(&mut actor, second);
    assert_eq!(actor.connecting.punchable(&peer), None);
}
