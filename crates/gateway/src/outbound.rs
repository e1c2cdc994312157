//! kaspad's connections to a peer.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kaspath_domain::{Activity, Direction, DuplexStream, ListenError, PeerConnector, PeerIdentity, PeerTarget};
use kaspath_policy::{Keeper, KeeperEvent};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    GatewayEvent, Hold, Kaspad, KaspadError, RefusalReason,
    kaspad::KaspadState,
    owner, pipe,
    sessions::SessionSlot,
    shared::{Refused, Shared, not_here, pass_panic_on},
};

/// Time for kaspad to come once it was asked to dial; its connection manager
/// may be busy with other dials.
const KASPAD_COMES: Duration = Duration::from_secs(15);
/// Connections to a peer's address that are looked at at once; kaspad opens one.
const MAX_CONNECTIONS: usize = 16;
/// Between two checks whether a ban has ended, which nothing reports.
const BAN_POLL: Duration = Duration::from_secs(10);

/// A peer that kaspad is to reach.
pub struct KeptPeer {
    /// Who.
    pub peer: PeerIdentity,
    /// Where, with its identity.
    pub target: PeerTarget,
    /// What opens streams to it. kaspad waits ten seconds for one.
    pub connector: Arc<dyn PeerConnector>,
    /// What keeps kaspad's session with it.
    pub keeper: Keeper,
}

/// A stream that waits for kaspad's connection.
struct Parked {
    stream: DuplexStream,
    slot: SessionSlot,
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
    let KeptPeer { peer, target, connector, keeper } = kept;
    let hold = shared
        .table
        .hold(&peer, (shared.parts.wall_clock)())
        .map_err(|error| ListenError::Bind { address: peer.short(), cause: std::io::Error::other(error.to_string()) })?;
    let local = SocketAddr::new(IpAddr::V4(hold.address()), shared.parts.port);
    let listener = TcpListener::bind(local).await.map_err(|cause| {
        let cause = match cause.kind() {
            std::io::ErrorKind::AddrNotAvailable => std::io::Error::other(not_here(hold.address(), &cause)),
            _ => cause,
        };
        ListenError::Bind { address: local.to_string(), cause }
    })?;
    listening(local);
    shared.sessions.pin(&peer);
    let rpc = shared.parts.rpc.clone();
    let remote = Arc::new(Remote {
        shared,
        peer,
        target,
        connector,
        local,
        parked: Mutex::default(),
        taken: Notify::new(),
        is_forbidden: AtomicBool::new(false),
    });
    let keeping = async {
        match rpc {
            Some(rpc) => {
                let report = |event| {
                    if let KeeperEvent::Failed { cause } = event {
                        remote.refused(Refused { reason: RefusalReason::PeerUnreachable, cause });
                    }
                };
                keeper.keep(|| remote.session(rpc.as_ref()), report).await;
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
    fn parked(&self) -> std::sync::MutexGuard<'_, Option<Parked>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_banned(&self) -> bool {
        self.shared.table.is_banned(&self.peer, (self.shared.parts.wall_clock)())
    }

    fn refused(&self, refused: Refused) {
        self.shared.refuse(Direction::Outbound, &self.peer, refused);
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
                    Err(cause) => Err(Refused { reason: RefusalReason::NotKaspad, cause }),
                };
                if let Err(refused) = joined {
                    remote.refused(refused);
                }
            });
        }
    }

    /// Whether whoever connected may have what is the peer's.
    async fn may_join(&self, from: SocketAddr) -> Result<(), String> {
        let sockets = self.shared.sockets;
        let listed = tokio::task::spawn_blocking(sockets).await.map_err(|error| error.to_string())?;
        // Without a list there is no telling, and no local user can take it away.
        owner::may_join(&listed.unwrap_or_default(), self.shared.parts.kaspad, self.local, from)
    }

    async fn join(&self, kaspad: TcpStream) -> Result<(), Refused> {
        let parked = self.parked().take();
        self.taken.notify_one();
        if let Some(refused) = self.shared.closed() {
            return Err(refused);
        }
        if self.is_banned() {
            return Err(Refused::by(RefusalReason::Banned)("kaspad dials it, but has banned it"));
        }
        let Parked { stream, slot } = match parked {
            Some(parked) => parked,
            // There is the peer's own call: kaspad has it as an inbound peer.
            None if self.shared.sessions.contains(&self.peer) => return Ok(()),
            None => match self.open().await.map_err(Refused::by(RefusalReason::PeerUnreachable))? {
                Some(parked) => parked,
                None => return Ok(()),
            },
        };
        let hold: Hold = self
            .shared
            .table
            .hold(&self.peer, (self.shared.parts.wall_clock)())
            .map_err(Refused::by(RefusalReason::NoAddress))?;
        let (clock, report) = (self.shared.parts.clock, |event| self.shared.report(event));
        pipe::run(hold, Direction::Outbound, stream, kaspad, slot, clock, report).await;
        Ok(())
    }

    /// A stream to the peer and a slot for it; none if the peer's own call came
    /// first and is the one to keep.
    async fn open(&self) -> Result<Option<Parked>, String> {
        let stream = self.connector.connect(&self.target).await.map_err(|error| error.to_string())?;
        let activity = Arc::new(Activity::new(stream.counters(), self.shared.parts.clock.now()));
        let slot = self.shared.sessions.enter(&self.peer, None, stream.path_watch(), activity);
        Ok(slot.map(|slot| Parked { stream, slot }))
    }

    async fn dial(&self, rpc: &dyn Kaspad) -> Result<(), KaspadError> {
        let Some(parked) = self.open().await.map_err(KaspadError::Failed)? else { return Ok(()) };
        *self.parked() = Some(parked);
        let came = async {
            rpc.add_peer(self.local).await?;
            let came = timeout(KASPAD_COMES, self.parked_taken()).await;
            came.map_err(|_| KaspadError::Failed(format!("kaspad was asked to dial {} but did not", self.local)))
        };
        let came = came.await;
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

    /// Returns when `holds`, which is given whether kaspad runs on our network.
    async fn until(&self, holds: impl Fn(bool) -> bool) {
        let (mut node, mut sessions) = (self.shared.kaspad.subscribe(), self.shared.sessions.changes());
        loop {
            sessions.borrow_and_update();
            let is_up = *node.borrow_and_update() == KaspadState::Up;
            if holds(is_up) {
                return;
            }
            tokio::select! {
                _ = node.changed() => {}
                _ = sessions.changed() => {}
                () = sleep(BAN_POLL) => {}
            }
        }
    }

    /// kaspad's session with the peer, until it has ended: opens a stream, then has kaspad
    /// dial, so that kaspad never waits for a peer that is not there. A session that
    /// somebody else began is as good.
    async fn session(&self, rpc: &dyn Kaspad) -> Result<(), String> {
        let exists = || self.shared.sessions.contains(&self.peer);
        loop {
            self.until(|is_up| exists() || (is_up && !self.is_banned())).await;
            if exists() {
                break;
            }
            match self.dial(rpc).await {
                Ok(()) => break,
                Err(KaspadError::NotAllowed(cause)) => {
                    if !self.is_forbidden.swap(true, Ordering::Relaxed) {
                        self.shared.report(GatewayEvent::PeersNotAdded { cause });
                    }
                    // kaspad's flags only change with a restart.
                    self.restarted().await;
                }
                Err(KaspadError::Failed(cause)) => return Err(cause),
            }
        }
        self.until(|_| !exists()).await;
        Ok(())
    }

    /// Returns when kaspad has gone and come again.
    async fn restarted(&self) {
        let mut node = self.shared.kaspad.subscribe();
        let _ = node.wait_for(|node| *node != KaspadState::Up).await;
        let _ = node.wait_for(|node| *node == KaspadState::Up).await;
    }
}

// Other systems have no list of sockets to try this with.
#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests;
