//! The public handle.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::StreamExt;
use kaspath_domain::{PeerAddress, PeerIdentity, PeerLocator, TransportAddress};
use libp2p::{Multiaddr, PeerId, Swarm, core::transport::ListenerId, swarm::NetworkBehaviour, swarm::SwarmEvent};
use tokio::{
    sync::{Mutex, broadcast, mpsc},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    Libp2pDialer, Libp2pListener, NetworkConfig, NetworkEvent, NodeKey, PunchConfig, Resolver, StartError, convert,
    swarm::{Actor, Command, Handle, build},
};

/// Events that a slow observer may fall behind before it loses some.
const EVENT_BACKLOG: usize = 1024;
/// Time for the system to give us our ports.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);

/// A running libp2p node. Dropping the last handle ends it; [`Network::shutdown`]
/// also waits for that.
pub struct Network {
    local: PeerIdentity,
    handle: Handle,
    listener: Arc<Libp2pListener>,
    events: broadcast::Sender<NetworkEvent>,
    listening: Vec<PeerLocator>,
    protocol: Arc<str>,
    resolver: Resolver,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Network {
    /// Starts a node, and returns once it listens. Reservations follow in the
    /// background; [`Network::events`] tells of them.
    pub async fn start(key: NodeKey, config: NetworkConfig) -> Result<Network, StartError> {
        let (accepted_sender, accepted) = mpsc::channel(config.inbound_queue.max(1));
        let mut swarm = build(&key, &config, accepted_sender)?;
        let local = key.identity();

        let (direct, circuits): (Vec<_>, Vec<_>) =
            config.listen.iter().cloned().partition(|locator| matches!(locator.address, PeerAddress::Direct(_)));
        let listening = listen(&mut swarm, &direct, &local).await?;
        let external = resolve_all(&config.external).await;
        announce(&mut swarm, &config, &listening, &external);
        let relays = relay_addresses(config.relays.iter().chain(&circuits))?;

        let protocol: Arc<str> = config.protocols.first().map(String::as_str).unwrap_or_default().into();
        let resolver = config.resolver.clone();
        let (events, _) = broadcast::channel(EVENT_BACKLOG);
        let (handle, commands) = Handle::channel();
        let actor = Actor::new(swarm, config, external, relays, commands, events.clone());
        let task = tokio::spawn(actor.run());
        let listener = Arc::new(Libp2pListener::new(accepted));
        Ok(Network { local, handle, listener, events, listening, protocol, resolver, task: Mutex::new(Some(task)) })
    }

    /// Who this node is.
    pub fn local_peer(&self) -> &PeerIdentity {
        &self.local
    }

    /// Where it listens directly, with its peer id: fit to be given to others in reach.
    pub fn listening(&self) -> &[PeerLocator] {
        &self.listening
    }

    /// Opens streams.
    pub fn dialer(&self) -> Libp2pDialer {
        Libp2pDialer::new(self.handle.clone(), self.protocol.clone(), self.resolver.clone())
    }

    /// Accepts streams. All clones share one queue.
    pub fn listener(&self) -> Arc<Libp2pListener> {
        self.listener.clone()
    }

    /// What happens from now on. An observer that falls too far behind loses the
    /// oldest events, and is told how many.
    pub fn events(&self) -> broadcast::Receiver<NetworkEvent> {
        self.events.subscribe()
    }

    /// Punches by these settings from now on. If other transports may be punched
    /// than before, circuits with peers are closed, and begin again by the new rule.
    pub async fn set_punch(&self, punch: PunchConfig) {
        let _ = self.handle.ask(|reply| Command::SetPunch { punch: Box::new(punch), reply }).await;
    }

    /// Closes every connection and returns when the actor has ended, within a second.
    /// A QUIC port is free again a moment later, when its connections have drained
    /// (RFC 9000, section 10.2).
    pub async fn shutdown(&self) {
        let _ = self.handle.ask(|reply| Command::Shutdown { reply }).await;
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await;
        }
    }
}

/// Listens, and waits for every port to be ours: a dial before that would leave
/// from another port and make a candidate that nobody can punch.
async fn listen<B>(swarm: &mut Swarm<B>, addresses: &[PeerLocator], local: &PeerIdentity) -> Result<Vec<PeerLocator>, StartError>
where
    B: NetworkBehaviour,
{
    let mut pending: HashMap<ListenerId, PeerLocator> = HashMap::new();
    for locator in addresses {
        let failed = |cause: String| StartError::Listen { address: locator.clone(), cause };
        let PeerAddress::Direct(address) = &locator.address else { continue };
        for address in convert::resolve(address).await.map_err(|error| failed(error.to_string()))? {
            let listener = swarm.listen_on(address).map_err(|error| failed(convert::error_chain(&error)))?;
            pending.insert(listener, locator.clone());
        }
    }
    let mut listening = Vec::new();
    let local = convert::peer_id(local);
    while let Some(waiting) = pending.values().next().cloned() {
        let event = timeout(LISTEN_TIMEOUT, swarm.select_next_some()).await.map_err(|_| StartError::Listen {
            address: waiting,
            cause: format!("no port was given within {LISTEN_TIMEOUT:?}"),
        })?;
        match event {
            SwarmEvent::NewListenAddr { listener_id, address } => {
                pending.remove(&listener_id);
                listening.extend(convert::locator(&address, &local));
            }
            SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. } => {
                if let Some(address) = pending.remove(&listener_id) {
                    return Err(StartError::Listen { address, cause: convert::error_chain(&error) });
                }
            }
            _ => {}
        }
    }
    Ok(listening)
}

/// Tells the swarm where we are reachable. A relay needs at least one such
/// address, or its reservations are worth nothing; if none is configured, the
/// addresses it listens on stand in.
fn announce<B: NetworkBehaviour>(
    swarm: &mut Swarm<B>,
    config: &NetworkConfig,
    listening: &[PeerLocator],
    external: &[Multiaddr],
) {
    for address in external {
        swarm.add_external_address(address.clone());
    }
    if config.relay_server.is_none() || !external.is_empty() {
        return;
    }
    let addresses: Vec<_> = listening
        .iter()
        .filter_map(|locator| match &locator.address {
            PeerAddress::Direct(address) => address.socket_addr().map(|socket| (address.transport, socket)),
            PeerAddress::Relayed(_) => None,
        })
        .collect();
    // Loopback is of use to nobody else, unless it is all there is, as in tests.
    let all_loopback = addresses.iter().all(|(_, socket)| socket.ip().is_loopback());
    for (transport, socket) in addresses {
        if all_loopback || !socket.ip().is_loopback() {
            swarm.add_external_address(convert::multiaddr(socket.ip(), socket.port(), transport));
        }
    }
}

async fn resolve_all(addresses: &[TransportAddress]) -> Vec<Multiaddr> {
    let mut resolved = Vec::new();
    for address in addresses {
        match convert::resolve(address).await {
            Ok(found) => resolved.extend(found),
            Err(error) => tracing::warn!(%error, "an external address is left out"),
        }
    }
    resolved
}

/// The relays to reserve at, in the order given. Names are resolved when a relay is
/// dialled, and again each time: at boot there may be no DNS yet, and a relay may move.
fn relay_addresses<'a>(
    relays: impl Iterator<Item = &'a PeerLocator>,
) -> Result<Vec<(PeerId, Vec<TransportAddress>)>, StartError> {
    let mut by_peer: Vec<(PeerId, Vec<TransportAddress>)> = Vec::new();
    for locator in relays {
        let (relay, via) = match (&locator.address, &locator.peer) {
            (PeerAddress::Direct(via), Some(peer)) => (peer, via),
            (PeerAddress::Relayed(relay), _) => (&relay.relay, &relay.via),
            (PeerAddress::Direct(_), None) => return Err(StartError::RelayWithoutPeerId(locator.clone())),
        };
        let peer = convert::peer_id(relay);
        match by_peer.iter_mut().find(|(known, _)| *known == peer) {
            Some((_, addresses)) => addresses.push(via.clone()),
            None => by_peer.push((peer, vec![via.clone()])),
        }
    }
    Ok(by_peer)
}
