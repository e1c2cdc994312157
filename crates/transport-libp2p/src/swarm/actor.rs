//! The loop, and which module gets which event.

use std::{
    collections::{HashMap, HashSet},
    io,
    time::{Duration, Instant},
};

use futures::StreamExt;
use kaspath_domain::{Direction, Moment, Observer, Path, RelayReason, Transport, TransportAddress};
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::{ConnectedPoint, transport::ListenerId},
    identify, ping, relay,
    swarm::{ConnectionId, SwarmEvent},
};
use tokio::{
    sync::{broadcast, mpsc},
    task::JoinSet,
    time::{sleep_until, timeout},
};

use super::{
    addressing::Announcing,
    behaviour::{Behaviour, BehaviourEvent},
    boxed::Boxed,
    build::punching,
    commands::Command,
    connecting::Connecting,
    exchanging::Progress,
    punching::Punching,
    relays::Relaying,
};
use crate::{NetworkConfig, NetworkEvent, NetworkFailure, PunchConfig, convert, limits, reservations::Reservations, streams};

/// Time for close frames to leave at shutdown.
const CLOSE_GRACE: Duration = Duration::from_millis(400);
/// Tasks' messages that may wait.
const MAX_PROGRESS: usize = 256;

pub(crate) struct Actor {
    pub(super) swarm: Swarm<Boxed<Behaviour>>,
    commands: mpsc::Receiver<Command>,
    events: broadcast::Sender<NetworkEvent>,
    origin: Instant,
    pub(super) config: NetworkConfig,
    pub(super) tasks: JoinSet<()>,
    progress: mpsc::Receiver<Progress>,
    pub(super) connecting: Connecting,
    pub(super) relaying: Relaying,
    pub(super) reservations: Reservations,
    pub(super) circuit_listeners: HashMap<ListenerId, PeerId>,
    /// Circuit listeners whose address has been reported.
    pub(super) reachable_through: HashSet<ListenerId>,
    pub(super) announcing: Announcing,
    /// Why the loop must end.
    pub(super) failure: Option<NetworkFailure>,
    pub(super) punching: Punching,
}

impl Actor {
    /// `relays` are those to reserve at, with their addresses as given, the
    /// preferred first.
    pub(crate) fn new(
        swarm: Swarm<Boxed<Behaviour>>,
        config: NetworkConfig,
        announcing: Announcing,
        external: Vec<Multiaddr>,
        relays: Vec<(PeerId, Vec<TransportAddress>)>,
        commands: mpsc::Receiver<Command>,
        events: broadcast::Sender<NetworkEvent>,
    ) -> Self {
        let (progress_sender, progress) = mpsc::channel(MAX_PROGRESS);
        let reservations = Reservations::new(
            relays.iter().map(|(relay, _)| *relay),
            config.wanted_reservations,
            config.reservation_cadence.clone(),
            Moment::default(),
        );
        Self {
            swarm,
            commands,
            events,
            origin: Instant::now(),
            tasks: JoinSet::new(),
            progress,
            connecting: Connecting::default(),
            relaying: Relaying::new(relays),
            reservations,
            circuit_listeners: HashMap::new(),
            reachable_through: HashSet::new(),
            announcing,
            failure: None,
            punching: Punching::new(external, config.limits.pending_punches as usize, progress_sender),
            config,
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment::after_start(self.origin.elapsed())
    }

    pub(super) fn report(&self, event: NetworkEvent) {
        tracing::debug!(?event);
        self.config.observers.observe(&event);
        let _ = self.events.send(event);
    }

    /// Runs until it is told to shut down or nobody holds a handle any more; an
    /// error is what ended it before.
    pub(crate) async fn run(mut self) -> Result<(), NetworkFailure> {
        loop {
            if let Some(failure) = self.failure.take() {
                self.close().await;
                return Err(failure);
            }
            self.step();
            let deadline = self.deadline();
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                Some(progress) = self.progress.recv() => self.on_progress(progress),
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        self.failure = Some(NetworkFailure::panicked(error.into_panic().as_ref()));
                    }
                }
                () = sleep_until(deadline.into()) => {}
                command = self.commands.recv() => match command {
                    Some(Command::Shutdown { reply }) => {
                        self.close().await;
                        let _ = reply.send(());
                        return Ok(());
                    }
                    Some(command) => self.on_command(command),
                    None => {
                        self.close().await;
                        return Ok(());
                    }
                },
            }
        }
    }

    fn step(&mut self) {
        self.step_relays();
        self.step_reservations();
        self.step_punches();
    }

    fn deadline(&self) -> Instant {
        let next = [self.relaying.deadline(), self.reservations.deadline(), self.punching.deadline()].into_iter().flatten().min();
        // Without a deadline, wake now and then all the same.
        let wait = next.map_or(Duration::from_secs(60), |next| next.since(self.now()));
        Instant::now() + wait
    }

    async fn close(&mut self) {
        self.tasks.abort_all();
        let open: Vec<ConnectionId> = self.swarm.behaviour().streams.all().collect();
        for connection in open {
            self.swarm.close_connection(connection);
        }
        let _ = timeout(CLOSE_GRACE, async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        })
        .await;
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Connect { peer, addresses, reply } => self.connect(peer, addresses, reply),
            Command::MeetRelay { relay, via, transports, reply } => self.meet_relay(relay, via, transports, reply),
            Command::Circuit { relay, peer, punch, reply } => self.circuit(relay, peer, punch, reply),
            Command::AwaitDirect { peer, transports, reply } => self.await_direct(peer, transports, reply),
            Command::Open { connection, reply } => {
                self.swarm.behaviour_mut().streams.open_data(connection, reply);
            }
            Command::RelayReason { connection, reply } => {
                let path = self.swarm.behaviour().streams.connection(connection).map(|meta| meta.path());
                let reason = match path {
                    Some(Path::Relayed { reason, .. }) => Some(reason),
                    _ => None,
                };
                let _ = reply.send(reason);
            }
            Command::SetPunch { punch, reply } => {
                self.set_punch(*punch);
                let _ = reply.send(());
            }
            Command::Shutdown { .. } => unreachable!("handled in the loop"),
        }
    }

    /// Circuits that stand have been told whether they may be punched, so they end;
    /// their dialers open new ones.
    fn set_punch(&mut self, punch: PunchConfig) {
        let changed = punch.transports != self.config.punch.transports;
        self.config.punch = punch;
        if !changed {
            return;
        }
        let (protocol, reason) = punching(&self.config);
        let streams = &mut self.swarm.behaviour_mut().streams;
        streams.set_punching(protocol, reason);
        let is_circuit = |id: &ConnectionId| streams.connection(*id).is_some_and(|meta| meta.path().is_relayed());
        let circuits: Vec<ConnectionId> = streams.all().filter(is_circuit).collect();
        for circuit in circuits {
            self.swarm.close_connection(circuit);
        }
        self.link_all_relays();
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, endpoint, cause, .. } => {
                self.on_closed(peer_id, connection_id, &endpoint, cause.map(|cause| convert::error_chain(&cause)));
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.on_dial_failed(connection_id, peer_id, &error);
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                self.on_listen_address(listener_id, address);
            }
            SwarmEvent::ExpiredListenAddr { listener_id, address } => self.on_listen_address_gone(listener_id, address),
            SwarmEvent::ListenerClosed { listener_id, reason, addresses } => {
                let cause =
                    reason.err().map_or_else(|| "the other side ended it".to_owned(), |error| convert::error_chain(&error));
                self.on_listener_closed(listener_id, &addresses, cause);
            }
            // libp2p tries again, whatever it is; a socket that is gone never comes back.
            SwarmEvent::ListenerError { listener_id, error } if is_lost(&error) => {
                self.on_listener_closed(listener_id, &[], convert::error_chain(&error));
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
                self.on_punch_request(connection, peer, *stream);
            }
            BehaviourEvent::Limits(limits::Event::Refused(refused)) => self.report(NetworkEvent::ConnectionsRefused { refused }),
            BehaviourEvent::Streams(streams::Event::Refused { total }) => self.report(NetworkEvent::StreamsRefused { total }),
            BehaviourEvent::Identify(identify::Event::Received { connection_id, peer_id, info }) => {
                self.on_identified(connection_id, peer_id, &info);
            }
            BehaviourEvent::RelayClient(relay::client::Event::ReservationReqAccepted { relay_peer_id, renewal, .. }) => {
                self.on_reservation_accepted(relay_peer_id, renewal);
            }
            BehaviourEvent::Ping(ping::Event { connection, result: Ok(round_trip), .. }) => {
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

    fn on_established(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let Some(meta) = self.swarm.behaviour().streams.connection(connection).cloned() else { return };
        self.swarm.behaviour_mut().limits.watch(meta.clone());
        let direction = if endpoint.is_dialer() { Direction::Outbound } else { Direction::Inbound };
        let path = meta.path();
        let relayed = path.is_relayed();
        self.report(NetworkEvent::Connected { peer: convert::identity(&peer), direction, path, remote: meta.remote.clone() });
        self.on_dial_succeeded(connection);
        if relayed {
            self.on_relayed_connection(&meta);
        } else {
            self.on_direct_connection(&meta);
        }
    }

    fn on_closed(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint, cause: Option<String>) {
        let path = match endpoint {
            ConnectedPoint::Dialer { address, .. } => path_of(address),
            ConnectedPoint::Listener { local_addr, .. } if convert::is_relayed(local_addr) => path_of(local_addr),
            ConnectedPoint::Listener { send_back_addr, .. } => path_of(send_back_addr),
        };
        self.report(NetworkEvent::Disconnected { peer: convert::identity(&peer), path: path.clone(), cause: cause.clone() });
        if path.is_relayed() {
            self.punching.circuit_closed(connection);
        } else {
            self.on_direct_connection_closed(peer);
        }
        self.on_relay_connection_closed(peer, connection, cause);
    }

    /// Connections on which a reservation or a circuit depends are in use.
    fn note_service(&mut self, event: &NetworkEvent) {
        let limits = &mut self.swarm.behaviour_mut().limits;
        match event {
            NetworkEvent::RelayReservationAccepted { peer, renewed: false } => limits.service_began(convert::peer_id(peer)),
            NetworkEvent::RelayReservationEnded { peer } => limits.service_ended(convert::peer_id(peer)),
            NetworkEvent::RelayCircuitOpened { source, destination } => {
                limits.service_began(convert::peer_id(source));
                limits.service_began(convert::peer_id(destination));
            }
            NetworkEvent::RelayCircuitClosed { source, destination, .. } => {
                limits.service_ended(convert::peer_id(source));
                limits.service_ended(convert::peer_id(destination));
            }
            _ => {}
        }
    }
}

/// Whether an error of a listener says that its socket listens no more: EINVAL, accept(2).
/// Others pass: too many open files, a peer that left before it was accepted. libp2p wraps
/// the system's error so that only its text can be had.
fn is_lost(error: &io::Error) -> bool {
    error.to_string().contains("(os error 22)")
}

/// How a connection that is gone travelled; the reason for a relay is gone with it.
fn path_of(address: &Multiaddr) -> Path {
    match convert::relay_of(address) {
        Some(relay) => Path::Relayed { relay: relay.relay, reason: RelayReason::PunchPending },
        None => Path::Direct { transport: convert::transport(address).unwrap_or(Transport::Tcp) },
    }
}
