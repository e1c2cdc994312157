//! The public handle.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kaspath_domain::{DialError, PeerAddress, PeerIdentity, PeerLocator, RelayAddress, TransportAddress};
use libp2p::Multiaddr;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::{
    Libp2pDialer, Libp2pDiscovery, Libp2pListener, NetworkConfig, NetworkFailure, NodeKey, PunchConfig, Reachability, RelayLoad,
    RelayServerConfig, RelayServerError, RelayToken, Resolver, StartError, convert,
    discovery::{Answering, Here},
    listening::listen,
    swarm::{Actor, Announcing, Command, Handle, RelayServerCommand, RoundTrips, build},
};

/// A running libp2p node. Dropping the last handle ends it; [`Network::shutdown`]
/// also waits for that.
pub struct Network {
    local: PeerIdentity,
    handle: Handle,
    listener: Arc<Libp2pListener>,
    listening: Vec<PeerLocator>,
    announced: watch::Receiver<Vec<PeerLocator>>,
    reachability: watch::Receiver<Vec<(PeerLocator, Reachability)>>,
    round_trips: RoundTrips,
    protocol: Arc<str>,
    resolver: Resolver,
    discovery: Arc<Libp2pDiscovery>,
    ended: watch::Receiver<Option<Result<(), NetworkFailure>>>,
}

impl Network {
    /// Starts a node, and returns once it listens. Reservations follow in the
    /// background; [`NetworkConfig::observers`] are notified of them.
    pub async fn start(key: NodeKey, config: NetworkConfig) -> Result<Network, StartError> {
        let (accepted_sender, accepted) = mpsc::channel(config.inbound_queue.max(1));
        let here = Arc::new(Here::default());
        let mut swarm = build(&key, &config, accepted_sender, here.clone())?;
        let local = key.identity();

        let (direct, circuits): (Vec<_>, Vec<_>) =
            config.listen.iter().cloned().partition(|locator| matches!(locator.address, PeerAddress::Direct(_)));
        let external = resolve_all(&config.external).await;
        let mut announcing = Announcing::new(*swarm.local_peer_id(), config.is_relay(), external.clone());
        let listening = listen(&mut swarm, &direct, config.listen_everywhere, &mut announcing).await?;
        let announced = announcing.announced();
        announcing.publish(&announced);
        for address in announced {
            swarm.add_external_address(address);
        }
        let (announced, reachability) = (announcing.watch(), announcing.watch_reachability());
        let relays = relay_addresses(config.relays.iter().chain(&circuits))?;
        let round_trips = RoundTrips::to(relays.iter().map(|relay| relay.relay.clone()));

        let protocol: Arc<str> = config.protocols.first().map(String::as_str).unwrap_or_default().into();
        let resolver = config.resolver.clone();
        let (handle, commands) = Handle::channel();
        let answering = Arc::new(Answering::new());
        let (own, own_now) = watch::channel(Vec::new());
        let allow_local = config.punch.allow_local_candidates;
        let discovery = Arc::new(Libp2pDiscovery::new(&key, allow_local, handle.clone(), (answering.clone(), here), own_now));
        let actor = Actor::new(swarm, config, announcing, &external, relays, (round_trips.clone(), answering, own), commands);
        let ended = watched(tokio::spawn(actor.run()));
        let listener = Arc::new(Libp2pListener::new(accepted, handle.health()));
        Ok(Network {
            local,
            handle,
            listener,
            listening,
            announced,
            reachability,
            round_trips,
            protocol,
            resolver,
            discovery,
            ended,
        })
    }

    /// Who this node is.
    pub fn local_peer(&self) -> &PeerIdentity {
        &self.local
    }

    /// Where it listened directly when it started, with its peer id, public addresses
    /// first. Many of these can only be reached from nearby: see [`Network::announced`].
    pub fn listening(&self) -> &[PeerLocator] {
        &self.listening
    }

    /// The direct addresses that are announced to peers now: configured or public ones. They
    /// change with the addresses of this host's interfaces.
    pub fn announced(&self) -> Vec<PeerLocator> {
        self.announced.borrow().clone()
    }

    /// The last round trip that was measured to a relay of the settings, or to one that was
    /// added; on any of the connections with it.
    pub fn round_trip(&self, relay: &PeerIdentity) -> Option<Duration> {
        self.round_trips.last(relay)
    }

    /// Returns when the network has ended: `Ok` after [`Network::shutdown`], an error if
    /// it ended by itself. Dropping the future is safe.
    ///
    /// # Errors
    /// The failure that ended it.
    pub async fn ended(&self) -> Result<(), NetworkFailure> {
        let mut ended = self.ended.clone();
        let lost = || Err(NetworkFailure::Panicked("its end was lost".to_owned()));
        ended.wait_for(Option::is_some).await.ok().and_then(|end| end.clone()).unwrap_or_else(lost)
    }

    /// Opens streams.
    pub fn dialer(&self) -> Libp2pDialer {
        Libp2pDialer::new(self.handle.clone(), self.protocol.clone(), self.resolver.clone())
    }

    /// Opens streams for sessions.
    pub fn session_dialer(&self) -> Libp2pDialer {
        self.dialer().for_sessions()
    }

    /// Asks relays and peers whom they know, and lists this node at relays.
    pub fn discovery(&self) -> Arc<Libp2pDiscovery> {
        self.discovery.clone()
    }

    /// Accepts streams. All clones share one queue.
    pub fn listener(&self) -> Arc<Libp2pListener> {
        self.listener.clone()
    }

    /// Punches by these settings from now on. If other transports may be punched
    /// than before, circuits with peers are closed, and begin again by the new rule.
    pub async fn set_punch(&self, punch: PunchConfig) {
        let _ = self.handle.ask(|reply| Command::SetPunch { punch: Box::new(punch), reply }).await;
    }

    /// The router forwards these addresses to this node, eight at most: they are offered as
    /// candidates from now on, and replace the former ones. Each is announced once nodes of two
    /// networks have come in there. If there were any, the router may have restarted, so the
    /// links to relays are asked for an answer.
    pub async fn set_mapped(&self, addresses: Vec<TransportAddress>) {
        let _ = self.handle.ask(|reply| Command::SetMapped { addresses, reply }).await;
    }

    /// What is known now of the addresses of this node: whether others can reach it there.
    /// Those of which nothing is known are left out.
    pub fn reachability(&self) -> Vec<(PeerLocator, Reachability)> {
        self.reachability.borrow().clone()
    }

    /// Holds a reservation at one more relay, or knows one more address of a relay, from
    /// now on. [`NetworkConfig::observers`] are notified of the reservation. Dropping the future
    /// may leave the relay added.
    ///
    /// # Errors
    /// [`DialError::LimitReached`] if there are 64 relays already, and
    /// [`DialError::ShuttingDown`] if the network has ended.
    pub async fn add_relay(&self, relay: RelayAddress) -> Result<(), DialError> {
        self.reserve_at(&relay.relay, vec![relay.via]).await
    }

    /// The same with several addresses of the relay at once. A relay whose reservation was
    /// lost, and is not asked for again by itself, is asked at once.
    ///
    /// # Errors
    /// As [`Network::add_relay`].
    pub async fn reserve_at(&self, relay: &PeerIdentity, at: Vec<TransportAddress>) -> Result<(), DialError> {
        self.handle.ask(|reply| Command::AddRelay { relay: relay.clone(), at, reply }).await?
    }

    /// Releases the reservation at a relay and does not ask there again. Connections to the
    /// relay are closed, unless a circuit or a dial needs them; then they go when nothing
    /// has used them for five minutes. Dropping the future may leave the relay removed.
    pub async fn remove_relay(&self, relay: &PeerIdentity) {
        let _ = self.handle.ask(|reply| Command::RemoveRelay { relay: relay.clone(), reply }).await;
    }

    /// Gives these tokens to private relays from now on, each to its relay. A relay that
    /// has refused this node is asked again when its back-off ends.
    pub async fn set_relay_tokens(&self, tokens: BTreeMap<PeerIdentity, RelayToken>) {
        let _ = self.handle.ask(|reply| Command::SetRelayTokens { tokens, reply }).await;
    }

    /// Serves as a relay by these settings from now on. What is there and still allowed
    /// stays, also if it is more than the new limits; circuits that have lasted longer than
    /// the new durations end. Peers that the new access or the new tokens do not
    /// allow lose their reservations and circuits. Rates change within a second.
    ///
    /// # Errors
    /// There is no relay server, or no network any more.
    pub async fn set_relay_server(&self, config: RelayServerConfig) -> Result<(), RelayServerError> {
        let config = Box::new(config);
        self.handle.ask_relay(|reply| RelayServerCommand::Set { config, reply }).await
    }

    /// Ends the relay's work in order: it grants no more reservations and circuits, and
    /// its peers that speak the relay protocol learn that they have so much time for another
    /// path. Returns when the circuits are gone, a second at least, or when the time is over,
    /// and gives the number of circuits that are left. After that the relay still takes
    /// nothing new; [`Network::shutdown`] ends the rest. Dropping the future leaves it draining.
    ///
    /// # Errors
    /// There is no relay server, or no network any more.
    pub async fn drain(&self, allowed: Duration) -> Result<usize, RelayServerError> {
        self.handle.ask_relay(|reply| RelayServerCommand::Drain { allowed, reply }).await
    }

    /// What the relay does now and has done since it started. It reads the
    /// counters of each circuit.
    ///
    /// # Errors
    /// There is no relay server, or no network any more.
    pub async fn relay_load(&self) -> Result<RelayLoad, RelayServerError> {
        self.handle.ask_relay(|reply| RelayServerCommand::Load { reply }).await
    }

    /// Memory is short: until this is taken back, no inbound connection is let in, and a
    /// relay grants no circuits and no new reservations. What is there stays, and
    /// reservations are renewed.
    pub async fn set_pressure(&self, is_under_pressure: bool) {
        let _ = self.handle.ask(|reply| Command::SetPressure { is_under_pressure, reply }).await;
    }

    /// Closes every connection and returns when the actor has ended, within a second.
    /// A QUIC port is free again a moment later, when its connections have drained
    /// (RFC 9000, section 10.2).
    pub async fn shutdown(&self) {
        self.handle.shutdown().await;
        let _ = self.ended().await;
    }
}

/// Makes the end of the actor's task visible, a panic included.
fn watched(task: JoinHandle<Result<(), NetworkFailure>>) -> watch::Receiver<Option<Result<(), NetworkFailure>>> {
    let (sender, ended) = watch::channel(None);
    tokio::spawn(async move {
        let end = match task.await {
            Ok(end) => end,
            Err(error) if error.is_panic() => Err(NetworkFailure::Panicked(error.to_string())),
            // The runtime is going away.
            Err(_) => Ok(()),
        };
        sender.send_replace(Some(end));
    });
    ended
}

async fn resolve_all(addresses: &[TransportAddress]) -> Vec<Multiaddr> {
    let mut resolved = Vec::new();
    for address in addresses {
        match Resolver::system().resolve(address).await {
            Ok(found) => resolved.extend(found.iter().map(convert::to_multiaddr)),
            Err(error) => tracing::warn!(%error, "an external address is left out"),
        }
    }
    resolved
}

/// The relays to reserve at, in the order given. Names are resolved when a relay is
/// dialled, and again each time: at boot there may be no DNS yet, and a relay may move.
fn relay_addresses<'a>(relays: impl Iterator<Item = &'a PeerLocator>) -> Result<Vec<RelayAddress>, StartError> {
    relays.map(|locator| locator.relay().ok_or_else(|| StartError::RelayWithoutPeerId(locator.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::sys::socket::{Shutdown, shutdown};
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    /// The file descriptor of this process's socket that listens on a TCP port of 127.0.0.1.
    fn listening_socket(port: u16) -> i32 {
        let sockets = fs::read_to_string("/proc/self/net/tcp").expect("Linux");
        let listens = format!("0100007F:{port:04X} 00000000:0000 0A");
        let line = sockets.lines().find(|line| line.contains(&listens)).expect("a listening socket");
        let link = format!("socket:[{}]", line.split_whitespace().nth(9).expect("an inode"));
        let of_socket =
            |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == link.as_str());
        let found = fs::read_dir("/proc/self/fd").expect("Linux").flatten().find(of_socket).expect("the socket's descriptor");
        found.file_name().to_str().and_then(|name| name.parse().ok()).expect("a number")
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_loss_of_a_listening_socket_ends_the_network_and_names_the_address() {
        let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
        let config = NetworkConfig { listen, ..NetworkConfig::default() };
        let network = Network::start(NodeKey::generate(), config).await.expect("a network");
        let PeerAddress::Direct(address) = &network.listening()[0].address else { panic!("a direct address") };
        // As the system does when an administrator ends the socket.
        shutdown(listening_socket(address.port), Shutdown::Both).expect("shut down");
        let end = timeout(SOON, network.ended()).await.expect("in time").expect_err("a failure");
        let NetworkFailure::Listener { address: named, cause } = &end else { panic!("{end:?}") };
        assert!(address.to_string() == *named && cause.contains("Invalid argument"), "{end}");
    }

    #[tokio::test]
    async fn a_panic_of_the_network_task_is_seen_as_its_end() {
        let mut ended = watched(tokio::spawn(async { panic!("a defect") }));
        let end = timeout(SOON, ended.wait_for(Option::is_some)).await.expect("in time").expect("an end").clone();
        let Some(Err(NetworkFailure::Panicked(cause))) = end else { panic!("{end:?}") };
        assert!(cause.contains("a defect"), "{cause}");
    }
}
