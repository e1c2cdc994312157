//! Tells the core what the swarm reports.

use std::net::Ipv4Addr;

use kaspath_domain::{DialError, PeerAddress};
use libp2p::{
    PeerId, identify, ping, relay,
    swarm::{ConnectionId, SwarmEvent},
};

use super::{actor::Actor, behaviour::BehaviourEvent};
use crate::{
    NetworkEvent, convert,
    core::{Connection, Input},
    streams,
};

impl Actor {
    pub(super) fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished { connection_id, .. } => self.on_established(connection_id),
            SwarmEvent::ConnectionClosed { connection_id, cause, .. } => {
                if let Some(id) = self.ids.disconnected(connection_id) {
                    let cause = cause.and_then(|cause| convert::disconnection(&cause));
                    self.input(Input::Disconnected { id, cause });
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => self.on_dial_failed(connection_id, &error),
            SwarmEvent::NewListenAddr { listener_id, address } => self.on_listen_address(listener_id, address),
            SwarmEvent::ExpiredListenAddr { listener_id, address } => self.on_listen_address_gone(listener_id, address),
            SwarmEvent::ListenerClosed { listener_id, reason, addresses } => {
                let cause =
                    reason.err().map_or_else(|| "the other side ended it".to_owned(), |error| convert::error_chain(&error));
                self.on_listener_closed(listener_id, &addresses, cause);
            }
            SwarmEvent::ListenerError { listener_id, error } => {
                tracing::debug!(?listener_id, %error, "listener error");
            }
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Streams(streams::Event::Punch { connection, peer, stream }) => {
                if let Some(id) = self.ids.connection(connection) {
                    let exchange = self.core.operation();
                    self.exchanges.requested(exchange, peer, *stream);
                    self.input(Input::ExchangeRequested { exchange, id });
                }
            }
            BehaviourEvent::Streams(streams::Event::Gossip { connection, peer, stream }) => {
                let Some(meta) = self.swarm.behaviour().streams.connection(connection) else { return };
                // All that come through a relay have its address in common.
                let from = match &meta.remote.address {
                    PeerAddress::Direct(address) => address.ip(),
                    PeerAddress::Relayed(relay) => relay.via.ip(),
                };
                let (answering, from) = (self.answering.clone(), from.unwrap_or(Ipv4Addr::UNSPECIFIED.into()));
                self.tasks.spawn(async move { answering.serve(&convert::identity(&peer), from, *stream).await });
            }
            BehaviourEvent::Streams(streams::Event::Service { connection, peer, protocol, stream }) => {
                self.on_service(connection, peer, &protocol, *stream);
            }
            BehaviourEvent::Limits(refused) => self.report(NetworkEvent::ConnectionsRefused { refused }),
            BehaviourEvent::Streams(streams::Event::Refused { total }) => self.report(NetworkEvent::StreamsRefused { total }),
            BehaviourEvent::Identify(identify::Event::Received { connection_id, peer_id, info }) => {
                self.on_identified(connection_id, &peer_id, &info);
            }
            BehaviourEvent::RelayClient(relay::client::Event::ReservationReqAccepted { relay_peer_id, renewal, limit }) => {
                let relay = convert::identity(&relay_peer_id);
                let (duration, bytes) = (limit.and_then(|limit| limit.duration()), limit.and_then(|limit| limit.data_in_bytes()));
                self.report(NetworkEvent::CircuitLimits { relay: relay.clone(), duration, bytes });
                // The first grant shows at its listener, whose id says which request it answers.
                if renewal {
                    self.input(Input::ReservationRenewed { relay });
                }
            }
            BehaviourEvent::Ping(ping::Event { connection, peer, result: Ok(round_trip) }) => {
                self.round_trips.measured(&convert::identity(&peer), round_trip);
                self.swarm.behaviour_mut().limits.round_trip(connection, round_trip);
            }
            // Only silence shows that a path is dead. A peer without ping answers: with a
            // refusal, which comes as `Other` because negotiation is lazy.
            BehaviourEvent::Ping(ping::Event { connection, result: Err(ping::Failure::Timeout), .. }) => {
                self.swarm.close_connection(connection);
            }
            BehaviourEvent::RelayServer(event) => {
                self.note_service(&event);
                self.report(event);
            }
            _ => {}
        }
    }

    fn on_established(&mut self, connection: ConnectionId) {
        let dial = self.ids.dialled(connection);
        let Some(meta) = self.swarm.behaviour().streams.connection(connection).cloned() else {
            if let Some(dial) = dial {
                let cause = "the connection closed".to_owned();
                self.input(Input::DialFailed { dial, error: DialError::Unreachable { address: "the peer".to_owned(), cause } });
            }
            return;
        };
        self.swarm.behaviour_mut().limits.watch(connection, meta.traffic.clone());
        let id = self.ids.connected(connection);
        let connection = Connection {
            peer: convert::identity(&meta.peer),
            direction: meta.direction,
            path: meta.path(),
            remote: meta.remote.clone(),
            local: meta.local.clone(),
        };
        self.input(Input::Connected { id, dial, connection });
    }

    fn on_identified(&mut self, connection: ConnectionId, peer: &PeerId, info: &identify::Info) {
        if let Some(id) = self.ids.connection(connection) {
            let listens = info.listen_addrs.iter().filter_map(|address| convert::candidate(address, peer)).collect();
            let observed = convert::candidate(&info.observed_addr, self.swarm.local_peer_id());
            self.input(Input::Identified { id, listens, observed });
        }
    }

    /// Connections on which a reservation or a circuit depends are in use.
    fn note_service(&mut self, event: &NetworkEvent) {
        let served = self.swarm.behaviour_mut().limits.served();
        match event {
            NetworkEvent::RelayReservationAccepted { peer, renewed: false } => served.add(convert::peer_id(peer)),
            NetworkEvent::RelayReservationEnded { peer } => served.remove(&convert::peer_id(peer)),
            NetworkEvent::RelayCircuitOpened { source, destination } => {
                served.add(convert::peer_id(source));
                served.add(convert::peer_id(destination));
            }
            NetworkEvent::RelayCircuitClosed { source, destination, .. } => {
                served.remove(&convert::peer_id(source));
                served.remove(&convert::peer_id(destination));
            }
            _ => {}
        }
    }
}
