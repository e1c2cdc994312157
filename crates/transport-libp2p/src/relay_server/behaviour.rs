use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kaspath_domain::{Moment, MonotonicClock, TokenBucket};
use libp2p::{
    Multiaddr, PeerId, Stream,
    core::{Endpoint, transport::PortUse},
    identity::Keypair,
    swarm::{
        ConnectionDenied, ConnectionId, ExternalAddresses, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::{Sleep, sleep},
};

use super::{
    copy::copy,
    denial::Denial,
    exchange::{self, Ask},
    handler::{FromBehaviour, Handler, Hop},
    messages::{HopAnswer, Limit, Reservation},
    meter::{Meter, Side},
    origin::Origin,
    table::{Changes, Circuit, CircuitId, Ended, Table},
    tasks::{Asker, Done, Running, Tasks},
};
use crate::{NetworkEvent, RelayServerConfig, convert};

/// The longest sleep; limits may be longer than a clock can count.
const MAX_SLEEP: Duration = Duration::from_secs(3600);
/// Refused requests that are reported: so many at once, then one at every interval.
const DENIALS_BURST: u32 = 64;
const DENIALS_EVERY: Duration = Duration::from_millis(100);

/// The relay: carries out what the table decides.
pub(crate) struct Behaviour {
    key: Keypair,
    config: RelayServerConfig,
    table: Table<PeerId, ConnectionId>,
    running: HashMap<CircuitId, Running>,
    tasks: Tasks,
    addresses: ExternalAddresses,
    denials: TokenBucket,
    /// The owner has been warned that there is no address.
    warned: bool,
    clock: MonotonicClock,
    timer: Option<(Moment, Pin<Box<Sleep>>)>,
    queue: VecDeque<ToSwarm<NetworkEvent, FromBehaviour>>,
}

impl Behaviour {
    pub(crate) fn new(key: Keypair, config: RelayServerConfig) -> Self {
        Self {
            key,
            table: Table::new(config.clone()),
            config,
            running: HashMap::new(),
            tasks: Tasks::default(),
            addresses: ExternalAddresses::default(),
            denials: TokenBucket::new(DENIALS_BURST, DENIALS_EVERY),
            warned: false,
            clock: MonotonicClock::start(),
            timer: None,
            queue: VecDeque::new(),
        }
    }

    fn report(&mut self, event: NetworkEvent) {
        self.queue.push_back(ToSwarm::GenerateEvent(event));
    }

    /// Requests that are refused cost their sender nothing, so only some are reported.
    fn report_denial(&mut self, event: NetworkEvent) {
        let now = self.clock.now();
        match self.denials.take(now) {
            Ok(()) => self.report(event),
            Err(_) => tracing::debug!(?event, "one of many"),
        }
    }

    fn notify(&mut self, peer_id: PeerId, connection: ConnectionId, event: FromBehaviour) {
        self.queue.push_back(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event });
    }

    fn limit(&self) -> Limit {
        Limit::new(self.config.max_circuit_duration, self.config.max_circuit_bytes)
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Asked { by, stream, ask: Ask::Reserve } => self.reserve(by, stream),
            Done::Asked { by, stream, ask: Ask::Connect(destination) } => self.connect(by, stream, destination),
            Done::Joined { id, source, destination } => self.joined(id, source, destination),
            Done::NotJoined { id, source, slot, denial } => {
                // If it is gone already, so is one of its connections.
                if let Some(circuit) = self.table.remove(id) {
                    self.running.remove(&id);
                    self.deny_circuit(circuit.source, circuit.destination, denial, source, slot);
                }
            }
            Done::Ended { id, why } => {
                if let Some(circuit) = self.table.remove(id) {
                    self.ended(Ended { id, circuit, reason: why });
                }
            }
            Done::Answered => {}
        }
    }

    fn reserve(&mut self, by: Asker, stream: Stream) {
        let Asker { peer, connection, origin, slot } = by;
        let now = self.refresh();
        let granted = match origin {
            None => Err(Denial::Relayed),
            Some(_) if !self.has_address() => Err(Denial::NoAddress),
            Some(origin) => self.table.reserve(&peer, connection, origin, now),
        };
        let answer = match granted {
            Ok(granted) => {
                if let Some(released) = granted.released {
                    self.notify(peer, released, FromBehaviour::Hold(false));
                }
                self.notify(peer, connection, FromBehaviour::Hold(true));
                self.report(NetworkEvent::RelayReservationAccepted { peer: convert::identity(&peer), renewed: granted.renewed });
                HopAnswer::reserved(self.reservation(&peer), self.limit())
            }
            Err(denial) => {
                let (status, cause) = (denial.status(), denial.to_string());
                self.report_denial(NetworkEvent::RelayReservationDenied {
                    peer: convert::identity(&peer),
                    status: status.to_string(),
                    cause,
                });
                HopAnswer::refused(status)
            }
        };
        self.tasks.spawn(async move {
            exchange::answer(stream, answer).await;
            drop(slot);
            Done::Answered
        });
    }

    fn has_address(&mut self) -> bool {
        let any = self.public_addresses().next().is_some();
        if !any && !self.warned {
            tracing::warn!("this relay refuses reservations, because it has no address to give to peers: set external-address");
        }
        // Reported again when the last address is lost.
        self.warned = !any;
        any
    }

    /// A circuit through another relay does not count as an address of a relay.
    fn public_addresses(&self) -> impl Iterator<Item = &Multiaddr> {
        self.addresses.iter().filter(|address| !convert::is_relayed(address))
    }

    fn reservation(&self, peer: &PeerId) -> Reservation {
        let expires = SystemTime::now().checked_add(self.config.reservation_duration);
        let expires = expires.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(u64::MAX, |at| at.as_secs());
        Reservation::new(&self.key, peer, self.public_addresses(), expires)
    }

    fn connect(&mut self, by: Asker, mut stream: Stream, destination: PeerId) {
        let Asker { peer, connection, origin, slot } = by;
        let now = self.refresh();
        let accepted = match origin {
            None => Err(Denial::Relayed),
            Some(origin) => self.table.connect(&peer, connection, origin, &destination, now),
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(denial) => return self.deny_circuit(peer, destination, denial, stream, slot),
        };
        if let Some(evicted) = accepted.evicted {
            self.ended(evicted);
        }
        let (reply, opened) = oneshot::channel();
        self.notify(destination, accepted.destination, FromBehaviour::OpenStop(reply));
        let (id, limit) = (accepted.id, self.limit());
        let task = self.tasks.spawn(async move {
            match exchange::join(&mut stream, &peer, opened, limit).await {
                Ok(destination) => Done::Joined { id, source: stream, destination },
                Err(denial) => Done::NotJoined { id, source: stream, slot, denial },
            }
        });
        self.running.insert(id, Running { task, meter: Arc::new(Meter::new(self.clock)) });
    }

    fn deny_circuit(&mut self, source: PeerId, destination: PeerId, denial: Denial, stream: Stream, slot: OwnedSemaphorePermit) {
        let status = denial.status();
        // An id that the domain does not accept was refused as a malformed message.
        if let Some(destination) = convert::named(&destination) {
            let source = convert::identity(&source);
            let (status, cause) = (status.to_string(), denial.to_string());
            self.report_denial(NetworkEvent::RelayCircuitDenied { source, destination, status, cause });
        }
        self.tasks.spawn(async move {
            exchange::refuse(stream, status).await;
            drop(slot);
            Done::Answered
        });
    }

    fn joined(&mut self, id: CircuitId, source: Stream, destination: Stream) {
        let now = self.clock.now();
        let Some(circuit) = self.table.opened(id, now) else {
            self.table.remove(id);
            self.running.remove(&id);
            return;
        };
        let event = NetworkEvent::RelayCircuitOpened {
            source: convert::identity(&circuit.source),
            destination: convert::identity(&circuit.destination),
        };
        let meter = Arc::new(Meter::new(self.clock));
        let (max_bytes, counted) = (self.config.max_circuit_bytes, meter.clone());
        let task = self.tasks.spawn(async move { Done::Ended { id, why: copy(source, destination, max_bytes, &counted).await } });
        self.running.insert(id, Running { task, meter });
        self.report(event);
    }

    fn ended(&mut self, ended: Ended<PeerId, ConnectionId>) {
        let Ended { id, circuit: Circuit { source, destination, opened, .. }, reason } = ended;
        // Ends the task, and with it both streams.
        let running = self.running.remove(&id);
        if let (Some(opened), Some(running)) = (opened, running) {
            self.report(NetworkEvent::RelayCircuitClosed {
                source: convert::identity(&source),
                destination: convert::identity(&destination),
                from_source: running.meter.bytes(Side::Source),
                from_destination: running.meter.bytes(Side::Destination),
                duration: self.clock.now().since(opened),
                reason,
            });
        }
    }

    fn apply(&mut self, changes: Changes<PeerId, ConnectionId>) {
        for (peer, connection) in changes.released {
            self.notify(peer, connection, FromBehaviour::Hold(false));
        }
        for peer in changes.reservations {
            self.report(NetworkEvent::RelayReservationEnded { peer: convert::identity(&peer) });
        }
        for ended in changes.circuits {
            self.ended(ended);
        }
    }

    /// Reports activity to the table, and ends what is over.
    fn refresh(&mut self) -> Moment {
        for (id, running) in &self.running {
            self.table.active(*id, running.meter.last_active());
        }
        let now = self.clock.now();
        if self.table.next_end().is_some_and(|end| end <= now) {
            let changes = self.table.expire(now);
            self.apply(changes);
        }
        now
    }

    /// Ready when something may be over.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(end) = self.table.next_end() else {
            self.timer = None;
            return Poll::Pending;
        };
        let wait = end.since(self.clock.now()).min(MAX_SLEEP);
        let (_, sleep) = match &mut self.timer {
            Some(timer) if timer.0 == end => timer,
            timer => timer.insert((end, Box::pin(sleep(wait)))),
        };
        ready!(sleep.as_mut().poll(cx));
        self.timer = None;
        Poll::Ready(())
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = NetworkEvent;

    fn handle_established_inbound_connection(
        &mut self,
        _id: ConnectionId,
        _peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new((!convert::is_relayed(local)).then(|| Origin::of_address(remote))))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _id: ConnectionId,
        _peer: PeerId,
        remote: &Multiaddr,
        _role: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new((!convert::is_relayed(remote)).then(|| Origin::of_address(remote))))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.addresses.on_swarm_event(&event);
        match event {
            FromSwarm::ConnectionEstablished(established) => self.table.connected(established.connection_id),
            FromSwarm::ConnectionClosed(closed) => {
                let changes = self.table.connection_closed(&closed.peer_id, closed.connection_id);
                self.apply(changes);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, hop: THandlerOutEvent<Self>) {
        let Hop { stream, origin, slot } = hop;
        self.tasks.spawn(async move {
            match exchange::request(stream).await {
                Some((stream, ask)) => Done::Asked { by: Asker { peer, connection, origin, slot }, stream, ask },
                None => Done::Answered,
            }
        });
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            if let Some(next) = self.queue.pop_front() {
                return Poll::Ready(next);
            }
            if let Poll::Ready(done) = self.tasks.poll_next(cx) {
                self.done(done);
            } else if self.poll_timer(cx).is_ready() {
                self.refresh();
            } else {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests;
