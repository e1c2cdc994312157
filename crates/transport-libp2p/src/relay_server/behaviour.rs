use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use kaspath_domain::{IpPrefix, Moment, MonotonicClock, PeerIdentity, Rates, TokenBucket};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    identity::Keypair,
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, ExternalAddresses, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm, dial_opts::DialOpts,
    },
};
use tokio::{
    sync::oneshot,
    time::{Sleep, sleep},
};

use super::{
    checks::Checks,
    drain::Drain,
    exchange::{self, Ask},
    flow::Flows,
    handler::{FromBehaviour, Handler, Hop, Purpose},
    load::RelayRefusals,
    members::Members,
    messages::Limit,
    origin::Origin,
    rendezvous::{self, Rendezvous},
    table::{Changes, CircuitId, Ended, Table},
    tasks::{Asker, Done, Running, Tasks},
};
use crate::{NetworkEvent, RelayServerConfig, convert, reach, relay_control};

/// The longest sleep; limits may be longer than a clock can count.
const MAX_SLEEP: Duration = Duration::from_secs(3600);
/// Refused requests that are reported: so many at once, then one at every interval.
const DENIALS_BURST: u32 = 64;
const DENIALS_EVERY: Duration = Duration::from_millis(100);
/// Wrong tokens that one host may give: so many at once, then one at every interval.
const GUESSES_BURST: u32 = 16;
const GUESSES_EVERY: Duration = Duration::from_secs(5);
/// Hosts whose wrong tokens are remembered.
const MAX_GUESSING: usize = 4096;

/// The relay: carries out what the table decides.
pub(crate) struct Behaviour {
    pub(super) key: Keypair,
    pub(super) config: RelayServerConfig,
    pub(super) table: Table<PeerId, ConnectionId>,
    /// Who speaks the relay protocol.
    pub(super) members: Members<PeerId, ConnectionId>,
    pub(super) checks: Checks,
    /// Of wrong tokens.
    pub(super) guesses: Rates<IpPrefix>,
    pub(super) running: HashMap<CircuitId, Running>,
    pub(super) tasks: Tasks,
    pub(super) addresses: ExternalAddresses,
    pub(super) flows: Flows,
    /// Who is listed here.
    pub(super) rendezvous: Rendezvous,
    /// Bytes of circuits that have ended.
    pub(super) moved: u64,
    pub(super) refused_reservations: RelayRefusals,
    pub(super) refused_circuits: RelayRefusals,
    /// It speaks the protocols of a relay; if not, nothing is in the table but connections.
    pub(super) is_open: bool,
    pub(super) drain: Option<Drain>,
    pub(super) is_under_pressure: bool,
    denials: TokenBucket,
    /// The owner has been warned that there is no address.
    pub(super) warned: bool,
    pub(super) clock: MonotonicClock,
    timer: Option<(Moment, Pin<Box<Sleep>>)>,
    queue: VecDeque<ToSwarm<NetworkEvent, FromBehaviour>>,
}

impl Behaviour {
    /// One that serves at once, or waits for [`Behaviour::open`].
    pub(crate) fn new(key: Keypair, config: RelayServerConfig, is_open: bool) -> Self {
        Self {
            key,
            table: Table::new(config.clone()),
            members: Members::default(),
            checks: Checks::default(),
            guesses: Rates::new(GUESSES_BURST, GUESSES_EVERY, MAX_GUESSING),
            flows: Flows::new(&config),
            rendezvous: Rendezvous::new(&config),
            config,
            moved: 0,
            refused_reservations: RelayRefusals::new(),
            refused_circuits: RelayRefusals::new(),
            is_open,
            drain: None,
            is_under_pressure: false,
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

    pub(super) fn report(&mut self, event: NetworkEvent) {
        self.queue.push_back(ToSwarm::GenerateEvent(event));
    }

    /// Requests that are refused cost their sender nothing, so only some are reported.
    pub(super) fn report_denial(&mut self, event: NetworkEvent) {
        let now = self.clock.now();
        match self.denials.take(now) {
            Ok(()) => self.report(event),
            Err(_) => tracing::debug!(?event, "one of many"),
        }
    }

    /// Who we are.
    pub(super) fn local(&self) -> PeerIdentity {
        convert::identity(&self.key.public().to_peer_id())
    }

    /// Opens a stream on that connection.
    pub(super) fn open_stream(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        protocol: StreamProtocol,
    ) -> oneshot::Receiver<Stream> {
        let (reply, opened) = oneshot::channel();
        self.notify(peer, connection, FromBehaviour::Open(protocol, reply));
        opened
    }

    pub(super) fn notify(&mut self, peer_id: PeerId, connection: ConnectionId, event: FromBehaviour) {
        self.queue.push_back(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event });
    }

    pub(super) fn dial(&mut self, opts: DialOpts) {
        self.queue.push_back(ToSwarm::Dial { opts });
    }

    pub(super) fn close(&mut self, peer_id: PeerId, connection: ConnectionId) {
        self.queue.push_back(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(connection) });
    }

    pub(super) fn limit(&self) -> Limit {
        Limit::new(self.config.max_circuit_duration, self.config.max_circuit_bytes)
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Asked { by, stream, ask: Ask::Reserve } => self.reserve(by, stream),
            Done::Asked { by, stream, ask: Ask::Connect(destination) } => self.connect(by, stream, destination),
            Done::Joined { id, source, destination, over } => self.joined(id, source, destination, over),
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
            Done::Hello { peer, connection, origin, stream, token } => self.hello((peer, connection), origin, stream, token),
            Done::Rendezvous { by, stream, request } => self.meet(by, stream, *request),
            Done::CheckWanted { by, stream, request } => self.check(by, stream, request),
            Done::Reserved { peer, connection, unanswered } => self.ask_again(peer, connection, unanswered),
            Done::Answered => {}
        }
    }

    pub(super) fn apply(&mut self, changes: Changes<PeerId, ConnectionId>) {
        for (peer, connection) in changes.released {
            self.notify(peer, connection, FromBehaviour::Hold(false));
        }
        let now = self.clock.now();
        for peer in changes.reservations {
            self.rendezvous.gone(&peer, now);
            self.report(NetworkEvent::RelayReservationEnded { peer: convert::identity(&peer) });
        }
        for ended in changes.circuits {
            self.ended(ended);
        }
    }

    /// Reports activity to the table, and ends what is over.
    pub(super) fn refresh(&mut self) -> Moment {
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
        let drain = self.drain.as_ref().and_then(|drain| drain.deadline(self.clock.now()));
        let Some(end) = self.table.next_end().into_iter().chain(drain).min() else {
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
        Ok(Handler::new((!convert::is_relayed(local)).then(|| Origin::of_address(remote)), self.is_open))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _id: ConnectionId,
        _peer: PeerId,
        remote: &Multiaddr,
        _role: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new((!convert::is_relayed(remote)).then(|| Origin::of_address(remote)), self.is_open))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.addresses.on_swarm_event(&event);
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                self.table.connected(established.connection_id, established.peer_id);
                self.dialled(established.connection_id, true);
            }
            FromSwarm::DialFailure(failure) => self.dialled(failure.connection_id, false),
            FromSwarm::ConnectionClosed(closed) => {
                self.members.remove(closed.connection_id);
                let changes = self.table.connection_closed(&closed.peer_id, closed.connection_id);
                self.apply(changes);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, hop: THandlerOutEvent<Self>) {
        let Hop { mut stream, purpose, origin, slot } = hop;
        self.tasks.spawn(async move {
            let by = Asker { peer, connection, origin, slot };
            match purpose {
                Purpose::Control => match relay_control::hello(&mut stream).await {
                    Ok(token) => Done::Hello { peer, connection, origin, stream, token },
                    Err(_) => Done::Answered,
                },
                Purpose::Hop => match exchange::request(stream).await {
                    Some((stream, ask)) => Done::Asked { by, stream, ask },
                    None => Done::Answered,
                },
                Purpose::Check => match reach::receive_request(&mut stream).await {
                    Ok(request) => Done::CheckWanted { by, stream, request },
                    Err(_) => Done::Answered,
                },
                Purpose::Rendezvous => match rendezvous::request(stream).await {
                    Some((stream, request)) => Done::Rendezvous { by, stream, request: Box::new(request) },
                    None => Done::Answered,
                },
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
            } else if !self.finish_drain() {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests;
