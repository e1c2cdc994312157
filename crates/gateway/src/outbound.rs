//! kaspad's connections to a peer.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use kaspath_domain::{Activity, Direction, DuplexStream, ListenError, Path, PeerConnector, PeerIdentity, PeerTarget};
use kaspath_policy::{Keeper, KeeperEvent, KeptSession};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    ControlError, GatewayEvent, Hold, NodeControl,
    control::NodeState,
    owner, pipe,
    sessions::Place,
    shared::{Shared, not_here, pass_panic_on},
};

/// Time for kaspad to come once it was asked to dial; its connection manager
/// may be busy with other dials.
const KASPAD_COMES: Duration = Duration::from_secs(15);
/// Connections to a peer's address that are looked at at once; kaspad opens one.
const MAX_CONNECTIONS: usize = 16;
/// Between two looks whether a ban has ended, of which nobody tells.
const BAN_POLL: Duration = Duration::from_secs(10);

/// A peer that kaspad is to reach.
pub struct KeptPeer {
    /// Who.
    pub peer: PeerIdentity,
    /// Where, with its identity.
    pub target: PeerTarget,
    /// What opens streams to it. kaspad waits ten seconds for one.
    pub connector: Arc<dyn PeerConnector>,
    /// The best path that there is to it.
    pub best: watch::Receiver<Option<Path>>,
    /// What keeps kaspad's session with it.
    pub keeper: Keeper,
}

/// A stream that waits for kaspad's connection.
struct Parked {
    stream: DuplexStream,
    place: Place,
}

struct Remote {
    shared: Arc<Shared>,
    peer: PeerIdentity,
    target: PeerTarget,
    connector: Arc<dyn PeerConnector>,
    local: SocketAddr,
    parked: Mutex<Option<Parked>>,
    taken: Notify,
    /// It was reported that kaspad lets no peer be added.
    is_forbidden: AtomicBool,
}

pub(crate) async fn keep(
    shared: Arc<Shared>,
    kept: KeptPeer,
    listening: impl FnOnce(SocketAddr) + Send,
) -> Result<(), ListenError> {
    let KeptPeer { peer, target, connector, best, keeper } = kept;
    let hold = shared
        .table
        .hold(&peer, (shared.wall_clock)())
        .map_err(|error| ListenError::Bind { address: peer.short(), cause: std::io::Error::other(error.to_string()) })?;
    let local = SocketAddr::new(IpAddr::V4(hold.address()), shared.port);
    let listener = TcpListener::bind(local).await.map_err(|cause| {
        let cause = match cause.kind() {
            std::io::ErrorKind::AddrNotAvailable => std::io::Error::other(not_here(hold.address(), &cause)),
            _ => cause,
        };
        ListenError::Bind { address: local.to_string(), cause }
    })?;
    listening(local);
    shared.sessions.pin(&peer);
    let control = shared.control.clone();
    let remote = Arc::new(Remote::new(shared, peer, target, connector, local));
    let keeping = async {
        match control {
            Some(control) => {
                let session = Dialled { remote: &remote, control: control.as_ref() };
                keeper.keep(&session, Some(&remote.peer), best).await;
            }
            // kaspad dials by itself, or never.
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = remote.accept(listener) => {}
        () = keeping => {}
    }
    Ok(())
}

impl Remote {
    fn new(
        shared: Arc<Shared>,
        peer: PeerIdentity,
        target: PeerTarget,
        connector: Arc<dyn PeerConnector>,
        local: SocketAddr,
    ) -> Self {
        let is_forbidden = AtomicBool::new(false);
        Self { shared, peer, target, connector, local, parked: Mutex::default(), taken: Notify::new(), is_forbidden }
    }

    fn parked(&self) -> std::sync::MutexGuard<'_, Option<Parked>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_banned(&self) -> bool {
        self.shared.table.is_banned(&self.peer, (self.shared.wall_clock)())
    }

    fn refused(&self, cause: String) {
        self.shared.refuse(Direction::Outbound, &self.peer, cause);
    }

    /// Joins what kaspad opens. kaspad dials one after the other, so each
    /// connection is accepted at once, whatever follows.
    async fn accept(self: &Arc<Self>, listener: TcpListener) {
        let mut running = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(ended) = running.join_next() => {
                    pass_panic_on(ended);
                    continue;
                }
            };
            let Ok((kaspad, from)) = accepted else {
                // Out of file descriptors, most likely: not a reason to spin.
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            // Dropping a connection fails kaspad's dial fast; it tries again by itself.
            if running.len() >= MAX_CONNECTIONS {
                continue;
            }
            let remote = self.clone();
            running.spawn(async move {
                let _ = kaspad.set_nodelay(true);
                let joined = match remote.may_join(from).await {
                    Ok(()) => remote.join(kaspad).await,
                    Err(cause) => Err(cause),
                };
                if let Err(cause) = joined {
                    remote.refused(cause);
                }
            });
        }
    }

    /// Whether whoever connected may have what is the peer's.
    async fn may_join(&self, from: SocketAddr) -> Result<(), String> {
        let sockets = self.shared.sockets;
        let listed = tokio::task::spawn_blocking(sockets).await.map_err(|error| error.to_string())?;
        // Without a list there is no telling, and no local user can take it away.
        owner::may_join(&listed.unwrap_or_default(), self.shared.kaspad, self.local, from)
    }

    async fn join(&self, kaspad: TcpStream) -> Result<(), String> {
        let parked = self.parked().take();
        self.taken.notify_one();
        if let Some(cause) = self.shared.closed() {
            return Err(cause);
        }
        if self.is_banned() {
            return Err("kaspad dials it, but has banned it".to_owned());
        }
        let Parked { stream, place } = match parked {
            Some(parked) => parked,
            // The peer's own call stands: kaspad has it as an inbound peer.
            None if self.shared.sessions.contains(&self.peer) => return Ok(()),
            None => match self.open().await? {
                Some(parked) => parked,
                None => return Ok(()),
            },
        };
        let hold: Hold = self.shared.table.hold(&self.peer, (self.shared.wall_clock)()).map_err(|error| error.to_string())?;
        let (clock, report) = (self.shared.clock, |event| self.shared.report(event));
        pipe::run(hold, Direction::Outbound, stream, kaspad, place, clock, report).await;
        Ok(())
    }

    /// A stream to the peer and a place for it; none if the peer's own call came
    /// first and is the one to keep.
    async fn open(&self) -> Result<Option<Parked>, String> {
        let stream = self.connector.connect(&self.target).await.map_err(|error| error.to_string())?;
        let activity = Arc::new(Activity::new(stream.counters(), self.shared.clock.now()));
        let place = self.shared.sessions.enter(&self.peer, None, stream.path_watch(), activity);
        Ok(place.map(|place| Parked { stream, place }))
    }

    async fn dial(&self, control: &dyn NodeControl) -> Result<(), DialFailure> {
        let Some(parked) = self.open().await.map_err(DialFailure::Other)? else { return Ok(()) };
        *self.parked() = Some(parked);
        let asked = control.add_peer(self.local).await;
        let came = match asked {
            Ok(()) => {
                let came = timeout(KASPAD_COMES, self.parked_taken()).await;
                came.map_err(|_| DialFailure::Other(format!("kaspad was asked to dial {} but did not", self.local)))
            }
            Err(ControlError::NotAllowed(cause)) => Err(DialFailure::NotAllowed(cause)),
            Err(ControlError::Unreachable(cause)) => Err(DialFailure::Other(cause)),
        };
        if came.is_err() {
            self.parked().take();
        }
        came
    }

    async fn parked_taken(&self) {
        while self.parked().is_some() {
            self.taken.notified().await;
        }
    }

    /// Returns when there is a session, or when kaspad runs and the peer may be reached.
    async fn wanted(&self) {
        let (mut node, mut sessions) = (self.shared.node.subscribe(), self.shared.sessions.changes());
        loop {
            let up = *node.borrow_and_update() == NodeState::Up;
            sessions.borrow_and_update();
            if self.shared.sessions.contains(&self.peer) || (up && !self.is_banned()) {
                return;
            }
            tokio::select! {
                _ = node.changed() => {}
                _ = sessions.changed() => {}
                () = sleep(BAN_POLL) => {}
            }
        }
    }

    /// Returns when kaspad has gone and come again.
    async fn restarted(&self) {
        let mut node = self.shared.node.subscribe();
        let _ = node.wait_for(|node| *node != NodeState::Up).await;
        let _ = node.wait_for(|node| *node == NodeState::Up).await;
    }
}

/// kaspad's session with the peer, which kaspad is had to dial for.
struct Dialled<'a> {
    remote: &'a Remote,
    control: &'a dyn NodeControl,
}

#[async_trait]
impl KeptSession for Dialled<'_> {
    /// Opens a stream, then has kaspad dial, so that kaspad never waits for a peer that
    /// is not there. A session that somebody else began is as good.
    async fn begin(&self) -> Result<(), String> {
        let Remote { shared, peer, is_forbidden, .. } = self.remote;
        loop {
            self.remote.wanted().await;
            if shared.sessions.contains(peer) {
                return Ok(());
            }
            match self.remote.dial(self.control).await {
                Ok(()) => return Ok(()),
                Err(DialFailure::NotAllowed(cause)) => {
                    if !is_forbidden.swap(true, Ordering::Relaxed) {
                        shared.report(GatewayEvent::PeersNotAdded { cause });
                    }
                    // kaspad's flags only change with a restart.
                    self.remote.restarted().await;
                }
                Err(DialFailure::Other(cause)) => return Err(cause),
            }
        }
    }

    async fn ended(&self) {
        let Remote { shared, peer, .. } = self.remote;
        let mut sessions = shared.sessions.changes();
        while shared.sessions.contains(peer) {
            if sessions.changed().await.is_err() {
                return;
            }
        }
    }

    /// kaspad must run as well, so that it can be had to dial at once.
    async fn relayed(&self) {
        let Remote { shared, peer, .. } = self.remote;
        let (mut node, mut sessions) = (shared.node.subscribe(), shared.sessions.changes());
        loop {
            let up = *node.borrow_and_update() == NodeState::Up;
            sessions.borrow_and_update();
            if up && shared.sessions.is_relayed_outbound(peer) {
                return;
            }
            tokio::select! {
                _ = node.changed() => {}
                _ = sessions.changed() => {}
            }
        }
    }

    /// The session ends; the next one is begun on the direct path.
    async fn move_to_direct(&self) -> Result<(), String> {
        let Remote { shared, peer, .. } = self.remote;
        if shared.sessions.end_relayed_outbound(peer) {
            shared.report(GatewayEvent::GatewayMoving { peer: peer.clone() });
        }
        Ok(())
    }

    fn report(&self, event: KeeperEvent) {
        if let KeeperEvent::Failed { cause } = event {
            self.remote.refused(cause);
        }
    }
}

enum DialFailure {
    NotAllowed(String),
    Other(String),
}

// Other systems have no list of sockets to try this with.
#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests;
