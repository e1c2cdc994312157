use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use kaspath_domain::{Counts, MonotonicClock};
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{
    ConnectionLimits, RefusedConnections,
    origin::Origin,
    refusal::{Class, Refusal},
    table::Table,
};
use crate::{convert, streams::Traffic};

/// Time between two reports of what was refused.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// Denies connections that there is no room for, and closes some for others.
pub(crate) struct Behaviour {
    table: Table,
    clock: MonotonicClock,
    /// No stranger is let in.
    is_under_pressure: bool,
    /// Dials that are about to be made.
    expected: HashMap<ConnectionId, Class>,
    refused: RefusedConnections,
    reported: RefusedConnections,
    /// Has a tick when the next report may be.
    reports: Interval,
}

impl Behaviour {
    /// Must be called within a tokio runtime.
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        let mut reports = interval(REPORT_EVERY);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            table: Table::new(limits),
            clock: MonotonicClock::start(),
            is_under_pressure: false,
            expected: HashMap::new(),
            refused: RefusedConnections::default(),
            reported: RefusedConnections::default(),
            reports,
        }
    }

    /// Says why the dial with this id, which is about to be given to the swarm, is
    /// made. A dial of which nothing was said is one of a peer, or of a circuit.
    pub(crate) fn expect(&mut self, dial: ConnectionId, class: Class) {
        self.expected.insert(dial, class);
    }

    /// While memory is short, no inbound connection is begun. Those that are there stay.
    pub(crate) fn set_pressure(&mut self, is_under_pressure: bool) {
        self.is_under_pressure = is_under_pressure;
    }

    /// Watches how an established connection is used, until it closes.
    pub(crate) fn watch(&mut self, connection: ConnectionId, traffic: Arc<Traffic>) {
        self.table.watch(connection, traffic);
    }

    /// A ping was answered.
    pub(crate) fn round_trip(&mut self, connection: ConnectionId, measured: Duration) {
        self.table.round_trip(connection, measured, self.clock.now());
    }

    /// Reservations and circuits of peers at our relay. As long as a peer has one, its
    /// connections are in use.
    pub(crate) fn served(&mut self) -> &mut Counts<PeerId> {
        &mut self.table.served
    }

    fn judge(&mut self, judged: Result<(), Refusal>) -> Result<dummy::ConnectionHandler, ConnectionDenied> {
        judged.map(|()| dummy::ConnectionHandler).map_err(|refusal| {
            tracing::debug!(%refusal, "a connection is denied");
            self.refused.count(&refusal);
            ConnectionDenied::new(refusal)
        })
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.expected.remove(&connection);
        self.table.remove(connection);
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = RefusedConnections;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let judged = match self.is_under_pressure {
            true => Err(Refusal::Pressure),
            false => self.table.pending_inbound(id, Origin::inbound(local, remote), self.clock.now()),
        };
        self.judge(judged).map(drop)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let judged = self.table.established(id, peer, Origin::inbound(local, remote), self.clock.now());
        self.judge(judged)
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
        let judged = self.table.pending_outbound(id, class, self.clock.now());
        self.judge(judged).map(|_| Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        _role: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let judged = self.table.established(id, peer, Origin::outbound(remote), self.clock.now());
        self.judge(judged)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => self.forget(closed.connection_id),
            // Also of what we denied ourselves, or another behaviour after us.
            FromSwarm::DialFailure(failure) => self.forget(failure.connection_id),
            FromSwarm::ListenFailure(failure) => self.forget(failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some((connection, peer_id)) = self.table.evicted.pop_front() {
            self.refused.evicted += 1;
            return Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(connection) });
        }
        if self.refused != self.reported && self.reports.poll_tick(cx).is_ready() {
            self.reported = self.refused.clone();
            return Poll::Ready(ToSwarm::GenerateEvent(self.refused.clone()));
        }
        Poll::Pending
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
            ToSwarm::GenerateEvent(refused) => refused,
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

    #[tokio::test]
    async fn while_memory_is_short_nobody_new_comes_in() {
        let mut behaviour = Behaviour::new(ConnectionLimits::default());
        behaviour.set_pressure(true);
        refuse(&mut behaviour);
        assert_eq!(report(&mut behaviour).await, RefusedConnections { pressure: 1, ..RefusedConnections::default() });
        behaviour.set_pressure(false);
        let (local, remote) = ("/ip4/192.0.2.1/tcp/1".parse().unwrap(), "/ip4/203.0.113.7/tcp/2".parse().unwrap());
        behaviour.handle_pending_inbound_connection(ConnectionId::new_unchecked(2), &local, &remote).unwrap();
    }

    #[tokio::test]
    async fn a_dial_takes_the_room_of_what_it_is_for_and_leaves_nothing_behind() {
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
