use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use kaspath_domain::{Direction, Path, PathWatch, RelayReason, Transport};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
    },
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::PollSender;

use super::{
    ConnectionMeta, DataProtocols, NONE_OF_THEM, OpenError, OpenReply, OpenRequest, OpenStream,
    handler::{FromBehaviour, Handler, ToBehaviour},
};
use crate::convert;

/// What the behaviour reports.
#[derive(Debug)]
pub(crate) enum Event {
    /// The remote of this relayed connection wants to punch.
    Punch { connection: ConnectionId, peer: PeerId, stream: Box<Stream> },
    /// The peer asks whom we know.
    Gossip { connection: ConnectionId, peer: PeerId, stream: Box<Stream> },
    /// The remote of this direct connection opened a stream for that service.
    Service { connection: ConnectionId, peer: PeerId, protocol: StreamProtocol, stream: Box<Stream> },
    /// Inbound streams were refused because there was no room, that many in all.
    Refused { total: u64 },
}

struct Known {
    meta: Arc<ConnectionMeta>,
    path: watch::Sender<Path>,
}

/// The table of connections, and the way to open and accept streams on them.
pub(crate) struct Behaviour {
    data_protocols: DataProtocols,
    punch_protocol: Option<StreamProtocol>,
    services: Arc<[StreamProtocol]>,
    first_reason: RelayReason,
    connections: HashMap<ConnectionId, Known>,
    held: HashSet<PeerId>,
    queue: VecDeque<ToSwarm<Event, FromBehaviour>>,
    accepted: mpsc::Sender<OpenStream>,
    accept_timeout: Duration,
    refused: u64,
}

impl Behaviour {
    /// Inbound data streams go to `accepted`, whose bound is the backpressure. They
    /// wait for a slot there for `accept_timeout`.
    /// `first_reason` is why a relayed connection is relayed until something else is set.
    pub(crate) fn new(
        data_protocols: DataProtocols,
        punch_protocol: Option<StreamProtocol>,
        first_reason: RelayReason,
        accepted: mpsc::Sender<OpenStream>,
        accept_timeout: Duration,
    ) -> Self {
        Self {
            data_protocols,
            punch_protocol,
            services: Arc::new([]),
            first_reason,
            connections: HashMap::new(),
            held: HashSet::new(),
            queue: VecDeque::new(),
            accepted,
            accept_timeout,
            refused: 0,
        }
    }

    /// Also speaks these on direct connections: see [`Event::Service`].
    pub(crate) fn with_services(mut self, services: impl Into<Arc<[StreamProtocol]>>) -> Self {
        self.services = services.into();
        self
    }

    /// Asks for a data stream on that very connection. One for a session is ready before
    /// the peer has answered; that saves a round trip, and the session learns of a
    /// refusal with its first read.
    pub(crate) fn open_data(&mut self, connection: ConnectionId, for_session: bool, reply: OpenReply) {
        if for_session {
            return match self.data_protocols.session.clone() {
                Some(session) => self.open(connection, OpenRequest { protocols: vec![session], reply }),
                None => drop(reply.send(Err(OpenError::Unsupported))),
            };
        }
        // Negotiation is lazy: the last proposal counts as agreed before it is
        // answered. With a last one that nobody has, a peer that refused all others
        // is known at once, and not at the first read.
        let protocols = self.data_protocols.plain.iter().cloned().chain([NONE_OF_THEM]).collect();
        self.open(connection, OpenRequest { protocols, reply });
    }

    /// Asks for a stream on that very connection; the answer goes to the request's reply.
    pub(crate) fn open(&mut self, connection: ConnectionId, request: OpenRequest) {
        match self.connections.get(&connection) {
            Some(known) => self.queue.push_back(notify(&known.meta, FromBehaviour::Open(request))),
            None => drop(request.reply.send(Err(OpenError::ConnectionGone))),
        }
    }

    /// Keeps direct connections to `peer` open though nothing uses them.
    pub(crate) fn hold(&mut self, peer: PeerId) {
        if self.held.insert(peer) {
            self.set_hold(peer, true);
        }
    }

    /// The opposite of [`Behaviour::hold`]: connections that nothing uses time out again.
    pub(crate) fn release(&mut self, peer: PeerId) {
        if self.held.remove(&peer) {
            self.set_hold(peer, false);
        }
    }

    fn set_hold(&mut self, peer: PeerId, hold: bool) {
        for known in self.connections.values().filter(|known| known.meta.peer == peer && !known.meta.path().is_relayed()) {
            self.queue.push_back(notify(&known.meta, FromBehaviour::Hold(hold)));
        }
    }

    /// What is spoken on circuits that are still to come, and why they are relayed at first.
    pub(crate) fn set_punching(&mut self, protocol: Option<StreamProtocol>, first_reason: RelayReason) {
        (self.punch_protocol, self.first_reason) = (protocol, first_reason);
    }

    /// A connection by its id.
    pub(crate) fn connection(&self, id: ConnectionId) -> Option<&Arc<ConnectionMeta>> {
        self.connections.get(&id).map(|known| &known.meta)
    }

    /// A connection with that peer on which a data stream lives, a direct one before a circuit.
    pub(crate) fn with_session(&self, peer: &PeerId) -> Option<ConnectionId> {
        let used =
            self.connections.values().map(|known| &known.meta).filter(|meta| meta.peer == *peer && !meta.traffic.is_idle());
        used.min_by_key(|meta| (meta.path().is_relayed(), meta.id)).map(|meta| meta.id)
    }

    /// Every connection.
    pub(crate) fn all(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.connections.keys().copied()
    }

    /// States why a relayed connection is still relayed; its streams' watchers see it.
    pub(crate) fn set_relay_reason(&mut self, connection: ConnectionId, new: RelayReason) {
        if let Some(known) = self.connections.get(&connection) {
            known.path.send_if_modified(|path| match path {
                Path::Relayed { reason, .. } if *reason != new => {
                    *reason = new;
                    true
                }
                _ => false,
            });
        }
    }

    fn remove(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    fn add(&mut self, id: ConnectionId, peer: PeerId, direction: Direction, remote: &Multiaddr, local: &Multiaddr) -> Handler {
        // On an inbound circuit only the local address names the relay.
        let circuit = [remote, local].into_iter().find_map(|named| Some((named, convert::relay_of(named)?.relay)));
        let relayed = circuit.is_some();
        let (named, path) = match circuit {
            Some((named, relay)) => (named, Path::Relayed { relay, reason: self.first_reason.clone() }),
            None => (remote, Path::Direct { transport: convert::transport(remote).unwrap_or(Transport::Tcp) }),
        };
        let (sender, watch) = PathWatch::channel(path);
        let meta = Arc::new(ConnectionMeta {
            id,
            peer,
            direction,
            remote: convert::locator(named, &peer).unwrap_or_else(|| unnamed(&peer)),
            local: (!relayed).then(|| convert::transport_address(local)).flatten(),
            path: watch,
            traffic: Arc::default(),
        });
        self.connections.insert(id, Known { meta: meta.clone(), path: sender });
        Handler::new(
            meta,
            self.data_protocols.clone(),
            (self.punch_protocol.clone().filter(|_| relayed), if relayed { Arc::new([]) } else { self.services.clone() }),
            !relayed && self.held.contains(&peer),
            PollSender::new(self.accepted.clone()),
            self.accept_timeout,
        )
    }
}

fn notify(on: &ConnectionMeta, event: FromBehaviour) -> ToSwarm<Event, FromBehaviour> {
    ToSwarm::NotifyHandler { peer_id: on.peer, handler: NotifyHandler::One(on.id), event }
}

/// For transports whose addresses the domain cannot express; none is configured.
fn unnamed(peer: &PeerId) -> kaspath_domain::PeerLocator {
    let nowhere = kaspath_domain::TransportAddress::tcp(std::net::SocketAddr::from(([0, 0, 0, 0], 0)));
    kaspath_domain::PeerLocator { peer: Some(convert::identity(peer)), address: kaspath_domain::PeerAddress::Direct(nowhere) }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.add(id, peer, Direction::Inbound, remote, local))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        _role: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.add(id, peer, Direction::Outbound, remote, &Multiaddr::empty()))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => self.remove(closed.connection_id),
            // A later behaviour may deny a connection that `add` has recorded already.
            FromSwarm::DialFailure(failure) => self.remove(failure.connection_id),
            FromSwarm::ListenFailure(failure) => self.remove(failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        let event = match event {
            ToBehaviour::Punch(stream) => Event::Punch { connection, peer, stream: Box::new(stream) },
            ToBehaviour::Gossip(stream) => Event::Gossip { connection, peer, stream: Box::new(stream) },
            ToBehaviour::Service(protocol, stream) => Event::Service { connection, peer, protocol, stream: Box::new(stream) },
            ToBehaviour::Refused(more) => {
                self.refused += more;
                Event::Refused { total: self.refused }
            }
        };
        self.queue.push_back(ToSwarm::GenerateEvent(event));
    }

    fn poll(&mut self, _cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // Everything is queued from within the swarm's own task, which polls again after it.
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(behaviour: &mut Behaviour) -> Vec<bool> {
        let told = behaviour.queue.drain(..).filter_map(|event| match event {
            ToSwarm::NotifyHandler { event: FromBehaviour::Hold(hold), .. } => Some(hold),
            _ => None,
        });
        told.collect()
    }

    #[test]
    fn what_is_held_is_released_again() {
        let (accepted, _streams) = mpsc::channel(1);
        let mut behaviour = Behaviour::new(
            DataProtocols { plain: vec![StreamProtocol::new("/test")], session: None },
            None,
            RelayReason::Policy,
            accepted,
            Duration::from_secs(10),
        );
        let (peer, address) = (PeerId::random(), "/ip4/127.0.0.1/tcp/1".parse().unwrap());
        let _handler = behaviour.add(ConnectionId::new_unchecked(1), peer, Direction::Outbound, &address, &Multiaddr::empty());
        behaviour.release(peer);
        assert_eq!(holds(&mut behaviour), [], "nothing was held");
        behaviour.hold(peer);
        behaviour.hold(peer);
        assert_eq!(holds(&mut behaviour), [true]);
        behaviour.release(peer);
        behaviour.release(peer);
        assert_eq!(holds(&mut behaviour), [false]);
        assert!(behaviour.held.is_empty());
    }
}
