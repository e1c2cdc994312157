use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use kaspath_domain::{Moment, MonotonicClock};
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};
use tokio::time::{Sleep, sleep};

use super::{
    ConnectionLimits, RefusedConnections,
    entry::Usage,
    origin::Origin,
    refusal::{Class, Refusal},
    table::Table,
};
use crate::{convert, streams::ConnectionMeta};

/// Time between two reports of what was refused.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// What the behaviour reports.
#[derive(Debug)]
pub(crate) enum Event {
    /// More connections were refused or closed than at the last report.
    Refused(RefusedConnections),
}

/// Denies connections that there is no room for, and closes some for others.
pub(crate) struct Behaviour {
    table: Table,
    clock: MonotonicClock,
    /// Dials that are about to be made.
    expected: HashMap<ConnectionId, Class>,
    usage: Uses,
    to_close: VecDeque<(ConnectionId, PeerId)>,
    refused: RefusedConnections,
    reported: RefusedConnections,
    /// Until it ends nothing is reported.
    pause: Option<Pin<Box<Sleep>>>,
}

/// What is known of the use of connections, and of peers.
#[derive(Default)]
struct Uses {
    connections: HashMap<ConnectionId, Arc<ConnectionMeta>>,
    /// Reservations and circuits of connected peers at our relay.
    served: HashMap<PeerId, u32>,
}

impl Uses {
    fn of(&self, connection: ConnectionId, peer: PeerId) -> Usage {
        let meta = self.connections.get(&connection);
        Usage {
            bytes: meta.map_or(0, |meta| meta.bytes()),
            busy: meta.is_some_and(|meta| !meta.is_idle()),
            served: self.served.contains_key(&peer),
        }
    }
}

impl Behaviour {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        Self {
            table: Table::new(limits),
            clock: MonotonicClock::start(),
            expected: HashMap::new(),
            usage: Uses::default(),
            to_close: VecDeque::new(),
            refused: RefusedConnections::default(),
            reported: RefusedConnections::default(),
            pause: None,
        }
    }

    /// Says why the dial with this id, which is about to be given to the swarm, is
    /// made. A dial of which nothing was said is one of a peer, or of a circuit.
    pub(crate) fn expect(&mut self, dial: ConnectionId, class: Class) {
        self.expected.insert(dial, class);
    }

    /// Watches how an established connection is used, until it closes.
    pub(crate) fn watch(&mut self, meta: Arc<ConnectionMeta>) {
        self.usage.connections.insert(meta.id, meta);
    }

    /// A ping was answered.
    pub(crate) fn round_trip(&mut self, connection: ConnectionId, measured: Duration) {
        let now = self.now();
        self.table.round_trip(connection, measured);
        self.table.observe(connection, |id, peer| self.usage.of(id, peer), now);
    }

    /// A reservation or a circuit of a connected peer began at our relay. As long as
    /// it has one, its connections are in use.
    pub(crate) fn service_began(&mut self, peer: PeerId) {
        if self.usage.connections.values().any(|meta| meta.peer == peer) {
            *self.usage.served.entry(peer).or_default() += 1;
        }
    }

    /// It ended.
    pub(crate) fn service_ended(&mut self, peer: PeerId) {
        if let Some(count) = self.usage.served.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.usage.served.remove(&peer);
            }
        }
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }

    fn judge(&mut self, judged: Result<(), Refusal>) -> Result<(), ConnectionDenied> {
        let evicted = self.table.take_evicted();
        self.refused.evicted += evicted.len() as u64;
        self.to_close.extend(evicted);
        judged.map_err(|refusal| {
            tracing::debug!(%refusal, "a connection is denied");
            self.refused.count(&refusal);
            ConnectionDenied::new(refusal)
        })
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.expected.remove(&connection);
        self.usage.connections.remove(&connection);
        self.table.remove(connection);
    }

    fn report(&mut self, cx: &mut Context<'_>) -> Option<Event> {
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(cx).is_pending() {
                return None;
            }
            self.pause = None;
        }
        if self.refused == self.reported {
            return None;
        }
        self.reported = self.refused.clone();
        let mut pause = Box::pin(sleep(REPORT_EVERY));
        // So that it wakes us when it is over.
        let _ = pause.as_mut().poll(cx);
        self.pause = Some(pause);
        Some(Event::Refused(self.refused.clone()))
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Event;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let now = self.now();
        let usage = |id, peer| self.usage.of(id, peer);
        let judged = self.table.pending_inbound(id, Origin::inbound(local, remote), now, usage);
        self.judge(judged)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let now = self.now();
        let usage = |id, peer| self.usage.of(id, peer);
        let judged = self.table.established_inbound(id, peer, Origin::inbound(local, remote), now, usage);
        self.judge(judged).map(|()| dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        _peer: Option<PeerId>,
        addresses: &[Multiaddr],
        _role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let circuit = addresses.iter().any(convert::is_relayed);
        let guess = if circuit { Class::Circuit } else { Class::Peer };
        let class = self.expected.remove(&id).unwrap_or(guess);
        let now = self.now();
        let judged = self.table.pending_outbound(id, class, now);
        self.judge(judged).map(|()| Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        _role: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let now = self.now();
        let usage = |id, peer| self.usage.of(id, peer);
        let judged = self.table.established_outbound(id, peer, Origin::outbound(remote), now, usage);
        self.judge(judged).map(|()| dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => {
                self.forget(closed.connection_id);
                if closed.remaining_established == 0 {
                    self.usage.served.remove(&closed.peer_id);
                }
            }
            // Also of what we denied ourselves, or another behaviour after us.
            FromSwarm::DialFailure(failure) => self.forget(failure.connection_id),
            FromSwarm::ListenFailure(failure) => self.forget(failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        let never: Infallible = event;
        match never {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some((connection, peer_id)) = self.to_close.pop_front() {
            return Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(connection) });
        }
        self.report(cx).map_or(Poll::Pending, |event| Poll::Ready(ToSwarm::GenerateEvent(event)))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn refuse(behaviour: &mut Behaviour) {
        let (local, remote) = ("/ip4/192.0.2.1/tcp/1".parse().unwrap(), "/ip4/203.0.113.7/tcp/2".parse().unwrap());
        let id = ConnectionId::new_unchecked(1);
        behaviour.handle_pending_inbound_connection(id, &local, &remote).unwrap_err();
    }

    async fn report(behaviour: &mut Behaviour) -> RefusedConnections {
        match poll_fn(|cx| behaviour.poll(cx)).await {
            ToSwarm::GenerateEvent(Event::Refused(refused)) => refused,
            _ => panic!("a report"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_counted_by_reason_and_reported_at_most_once_a_minute() {
        let limits = ConnectionLimits { pending_inbound_per_address: 0, ..ConnectionLimits::default() };
        let mut behaviour = Behaviour::new(limits);
        refuse(&mut behaviour);
        let begin = tokio::time::Instant::now();
        assert_eq!(report(&mut behaviour).await, RefusedConnections { pending: 1, ..RefusedConnections::default() });
        assert_eq!(begin.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            refuse(&mut behaviour);
        }
        assert_eq!(report(&mut behaviour).await.to_string(), "11 connections refused so far (11 too many unfinished)");
        assert!(begin.elapsed() >= REPORT_EVERY);
    }

    #[test]
    fn a_dial_takes_the_room_of_what_it_is_for_and_leaves_nothing_behind() {
        let limits = ConnectionLimits { pending_outbound: 0, pending_relays: 1, ..ConnectionLimits::default() };
        let mut behaviour = Behaviour::new(limits);
        let address = ["/ip4/203.0.113.7/tcp/2".parse().unwrap()];
        let mut dial = |n, class: Option<Class>| {
            let id = ConnectionId::new_unchecked(n);
            class.into_iter().for_each(|class| behaviour.expect(id, class));
            let dialled = behaviour.handle_pending_outbound_connection(id, None, &address, Endpoint::Dialer);
            assert!(behaviour.expected.is_empty());
            dialled.map_err(|denied| denied.downcast::<Refusal>().unwrap().to_string())
        };
        dial(1, Some(Class::Relay)).unwrap();
        assert_eq!(dial(2, Some(Class::Relay)).unwrap_err(), "too many unfinished connections to relays: 1 are allowed");
        assert_eq!(dial(3, None).unwrap_err(), "too many unfinished connections to peers: 0 are allowed");
        // A dial that the swarm does not even begin.
        let id = ConnectionId::new_unchecked(4);
        behaviour.expect(id, Class::Punch);
        let error = libp2p::swarm::DialError::NoAddresses;
        let failure = libp2p::swarm::behaviour::DialFailure { peer_id: None, error: &error, connection_id: id };
        behaviour.on_swarm_event(FromSwarm::DialFailure(failure));
        assert!(behaviour.expected.is_empty());
    }
}
