//! The loop: what handles ask and tasks report goes to the core, and what the core puts
//! out is done.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, OptionFuture},
    stream::FuturesUnordered,
};
use kaspath_domain::{DialError, Health, Moment, MonotonicClock, Observer, Observers, Path, PeerIdentity, RelayAddress};
use libp2p::{Multiaddr, Swarm, swarm::ConnectionId};
use rand::random;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    announcing::Announcing,
    behaviour::Behaviour,
    boxed::Boxed,
    build::punching,
    commands::{Command, ConnectReply, RelayServerCommand, With},
    dial_backs::DialBacks,
    exchanging::Exchanges,
    ids::Ids,
    interfaces::InterfaceWatch,
    round_trips::RoundTrips,
};
use crate::{
    NetworkConfig, NetworkEvent, NetworkFailure, PunchConfig, RelayToken, Resolver, convert,
    core::{ConnId, Core, CoreConfig, Input, WaiterId},
    discovery::Answering,
    streams::{OpenError, OpenRequest},
};

/// Time for close frames to leave at shutdown.
const CLOSE_GRACE: Duration = Duration::from_millis(400);
/// Reports of tasks that may wait.
const MAX_INPUTS: usize = 256;

pub(crate) struct Actor {
    pub(super) swarm: Swarm<Boxed<Behaviour>>,
    commands: mpsc::Receiver<Command>,
    observers: Observers<NetworkEvent>,
    clock: MonotonicClock,
    pub(super) resolver: Resolver,
    pub(super) core: Core,
    pub(super) ids: Ids,
    pub(super) exchanges: Exchanges,
    /// What private relays are given.
    pub(super) relay_tokens: BTreeMap<PeerIdentity, RelayToken>,
    /// What peers are told of others.
    pub(super) answering: Arc<Answering>,
    pub(super) tasks: JoinSet<()>,
    /// What tasks report.
    inputs: mpsc::Receiver<Input>,
    pub(super) inputs_sender: mpsc::Sender<Input>,
    pub(super) replies: HashMap<WaiterId, oneshot::Sender<Result<ConnId, DialError>>>,
    /// Each ends when nobody waits for that reply any more.
    gone: FuturesUnordered<BoxFuture<'static, WaiterId>>,
    pub(super) announcing: Announcing,
    pub(super) interfaces: InterfaceWatch,
    /// The addresses of our interfaces, for others.
    pub(super) own: watch::Sender<Vec<IpAddr>>,
    pub(super) round_trips: RoundTrips,
    pub(super) dial_backs: DialBacks,
    /// Once the loop must end: as it was asked to, or why it fails.
    pub(super) end: Option<Result<(), NetworkFailure>>,
}

impl Actor {
    /// `relays` are those to reserve at, the preferred first; one relay may have several
    /// addresses.
    pub(crate) fn new(
        swarm: Swarm<Boxed<Behaviour>>,
        config: NetworkConfig,
        announcing: Announcing,
        external: &[Multiaddr],
        relays: Vec<RelayAddress>,
        (round_trips, answering, own): (RoundTrips, Arc<Answering>, watch::Sender<Vec<IpAddr>>),
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let core = CoreConfig {
            local: convert::identity(swarm.local_peer_id()),
            relays,
            wanted_reservations: config.wanted_reservations,
            reservation_cadence: config.reservation_cadence,
            punch: config.punch,
            lan: config.lan,
            external: external.iter().filter_map(convert::transport_address).collect(),
            pending_punches: config.limits.pending_punches as usize,
            reach: config.reach,
        };
        let (inputs_sender, inputs) = mpsc::channel(MAX_INPUTS);
        Self {
            swarm,
            commands,
            observers: config.observers,
            clock: MonotonicClock::start(),
            resolver: config.resolver,
            core: Core::new(core, random, Moment::default()),
            ids: Ids::default(),
            exchanges: Exchanges::default(),
            relay_tokens: config.relay_tokens,
            answering,
            tasks: JoinSet::new(),
            inputs,
            inputs_sender,
            replies: HashMap::new(),
            gone: FuturesUnordered::new(),
            announcing,
            interfaces: InterfaceWatch::start(),
            own,
            round_trips,
            dial_backs: DialBacks::new(config.serve),
            end: None,
        }
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(super) fn input(&mut self, input: Input) {
        let now = self.now();
        self.core.handle(input, now);
    }

    pub(super) fn report(&self, event: NetworkEvent) {
        tracing::debug!(?event);
        self.observers.observe(&event);
    }

    /// Runs until it is asked to shut down or nobody holds a handle any more; an
    /// error is what ended it before.
    pub(crate) async fn run(mut self) -> Result<(), NetworkFailure> {
        self.tell_interfaces();
        loop {
            self.carry_out();
            if let Some(end) = self.end.take() {
                self.close().await;
                return end;
            }
            let wait = self.core.deadline().map(|deadline| sleep(deadline.since(self.now())));
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                Some(input) = self.inputs.recv() => {
                    self.exchanges.heard(&input);
                    self.input(input);
                }
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        self.end = Some(Err(NetworkFailure::Panicked(error.to_string())));
                    }
                }
                Some(waiter) = self.gone.next() => {
                    // Those that were answered are gone too.
                    if self.replies.remove(&waiter).is_some() {
                        self.input(Input::GaveUp { waiter });
                    }
                }
                () = self.interfaces.changed() => self.tell_interfaces(),
                Some(()) = OptionFuture::from(wait) => self.input(Input::Elapsed),
                // Without a handle nobody can use the network any more.
                command = self.commands.recv() => self.on_command(command.unwrap_or(Command::Shutdown)),
            }
        }
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
            Command::Want { waiter, input, reply: ConnectReply { answer, gone } } => {
                self.replies.insert(waiter, answer);
                self.gone.push(gone.map(move |_| waiter).boxed());
                self.input(input);
            }
            Command::AddRelay { relay, at, reply } => {
                let now = self.now();
                self.round_trips.add(relay.clone());
                let _ = reply.send(self.core.add_relay(&relay, at, now));
            }
            Command::RemoveRelay { relay, reply } => {
                let now = self.now();
                self.core.remove_relay(&relay, now);
                self.round_trips.remove(&relay);
                let _ = reply.send(());
            }
            Command::Open { connection, for_session, reply } => match self.ids.libp2p(connection) {
                Some(connection) => self.swarm.behaviour_mut().streams.open_data(connection, for_session, reply),
                None => drop(reply.send(Err(OpenError::ConnectionGone))),
            },
            Command::Speak { with, protocol, reply } => {
                let streams = &mut self.swarm.behaviour_mut().streams;
                let connection = match with {
                    With::Connection(connection) => self.ids.libp2p(connection),
                    With::SessionOf(peer) => streams.with_session(&convert::peer_id(&peer)),
                };
                match connection {
                    Some(connection) => streams.open(connection, OpenRequest { protocols: vec![protocol], reply }),
                    None => drop(reply.send(Err(OpenError::ConnectionGone))),
                }
            }
            Command::Health { connection, health } => {
                if let Some(id) = self.ids.connection(connection) {
                    self.input(match health {
                        Health::Suspect => Input::Suspect { id },
                        Health::Recovered => Input::Recovered { id },
                        Health::Dead => Input::Dead { id },
                        Health::Left => Input::Left { id },
                    });
                }
            }
            Command::RelayReason { connection, reply } => {
                let connection = self.ids.libp2p(connection);
                let meta = connection.and_then(|connection| self.swarm.behaviour().streams.connection(connection));
                let reason = match meta.map(|meta| meta.path()) {
                    Some(Path::Relayed { reason, .. }) => Some(reason),
                    _ => None,
                };
                let _ = reply.send(reason);
            }
            Command::SetPunch { punch, reply } => {
                self.set_punch(*punch);
                let _ = reply.send(());
            }
            Command::SetMapped { addresses, reply } => {
                self.input(Input::Mapped(addresses));
                let _ = reply.send(());
            }
            Command::RelayServer(command) => self.on_relay_command(command),
            Command::SetRelayTokens { tokens, reply } => {
                self.relay_tokens = tokens;
                let _ = reply.send(());
            }
            Command::SetPressure { is_under_pressure, reply } => {
                let behaviour = self.swarm.behaviour_mut();
                behaviour.limits.set_pressure(is_under_pressure);
                if let Some(relay) = behaviour.relay_server.as_mut() {
                    relay.set_pressure(is_under_pressure);
                }
                let _ = reply.send(());
            }
            Command::Shutdown => self.end = Some(Ok(())),
        }
    }

    /// Without a relay server the reply is dropped.
    fn on_relay_command(&mut self, command: RelayServerCommand) {
        let Some(relay) = self.swarm.behaviour_mut().relay_server.as_mut() else { return };
        match command {
            RelayServerCommand::Set { config, reply } => {
                relay.set(*config);
                let _ = reply.send(());
            }
            RelayServerCommand::Drain { allowed, reply } => relay.drain(allowed, reply),
            RelayServerCommand::Load { reply } => drop(reply.send(relay.load())),
        }
    }

    /// What is spoken on new circuits changes; the core has the present ones closed.
    fn set_punch(&mut self, punch: PunchConfig) {
        let (protocol, reason) = punching(&punch);
        self.swarm.behaviour_mut().streams.set_punching(protocol, reason);
        self.input(Input::SetPunch(punch));
    }
}
