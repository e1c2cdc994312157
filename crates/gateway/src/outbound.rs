//! kaspad's connections to a peer.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use kaspath_domain::{Direction, DuplexStream, ListenError, PeerIdentity, RetryCadence};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    ControlError, GatewayEvent, Hold, NodeControl,
    activity::Activity,
    control::NodeState,
    gateway::Shared,
    inbound::{not_here, pass_panic_on},
    owner, pipe,
    sessions::Place,
};

/// Time for kaspad to come once it was asked to dial; its connection manager
/// may be busy with other dials.
const KASPAD_COMES: Duration = Duration::from_secs(15);
/// Connections to a peer's address that are looked at at once; kaspad opens one.
const MAX_CONNECTIONS: usize = 16;
/// A session shorter than this counts as a failure for the cadence.
const SHORT: Duration = Duration::from_secs(10);

/// Opens a stream to one peer, by whatever means.
#[async_trait]
pub trait Reach: Send + Sync {
    /// The peer.
    fn peer(&self) -> &PeerIdentity;

    /// A stream, or why there is none. kaspad waits ten seconds for it. Dropping
    /// the future cancels the attempt.
    async fn reach(&self) -> Result<DuplexStream, String>;

    /// A number between 0 and 1 by which retries are spread.
    fn random(&self) -> f64;
}

/// A stream that waits for kaspad's connection.
struct Parked {
    stream: DuplexStream,
    place: Place,
}

struct Remote {
    shared: Arc<Shared>,
    reach: Arc<dyn Reach>,
    local: SocketAddr,
    parked: Mutex<Option<Parked>>,
    taken: Notify,
}

pub(crate) async fn keep(
    shared: Arc<Shared>,
    reach: Arc<dyn Reach>,
    listening: impl FnOnce(SocketAddr) + Send,
) -> Result<(), ListenError> {
    let peer = reach.peer().clone();
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
    let remote = Arc::new(Remote { shared, reach, local, parked: Mutex::default(), taken: Notify::new() });
    let dialling = async {
        match control {
            Some(control) => remote.keep_dialled(control.as_ref()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = remote.accept(listener) => {}
        () = dialling => {}
    }
    Ok(())
}

impl Remote {
    fn peer(&self) -> &PeerIdentity {
        self.reach.peer()
    }

    fn parked(&self) -> std::sync::MutexGuard<'_, Option<Parked>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_banned(&self) -> bool {
        self.shared.table.is_banned(self.peer(), (self.shared.wall_clock)())
    }

    fn refused(&self, cause: String) {
        self.shared.refuse(Direction::Outbound, self.peer(), cause);
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
            None if self.shared.sessions.contains(self.peer()) => return Ok(()),
            None => match self.open().await? {
                Some(parked) => parked,
                None => return Ok(()),
            },
        };
        let hold: Hold = self.shared.table.hold(self.peer(), (self.shared.wall_clock)()).map_err(|error| error.to_string())?;
        let (clock, report) = (self.shared.clock, |event| self.shared.report(event));
        pipe::run(hold, Direction::Outbound, stream, kaspad, place, clock, report).await;
        Ok(())
    }

    /// A stream to the peer and a place for it; none if the peer's own call came
    /// first and is the one to keep.
    async fn open(&self) -> Result<Option<Parked>, String> {
        let stream = self.reach.reach().await?;
        let activity = Arc::new(Activity::new(stream.counters(), self.shared.clock.now()));
        let place = self.shared.sessions.enter(self.peer(), None, stream.path_watch(), activity);
        Ok(place.map(|place| Parked { stream, place }))
    }

    /// Whenever there is no session: opens a stream, then has kaspad dial, so that
    /// kaspad never waits for a peer that is not there.
    async fn keep_dialled(&self, control: &dyn NodeControl) {
        let cadence = RetryCadence::persistent();
        let mut failures = 0;
        let mut told = false;
        loop {
            self.wanted().await;
            let begin = self.shared.clock.now();
            match self.dial(control).await {
                Ok(()) => {
                    self.parted().await;
                    let stood = self.shared.clock.now().since(begin);
                    failures = if stood < SHORT { failures + 1 } else { 0 };
                }
                Err(DialFailure::NotAllowed(cause)) => {
                    if !std::mem::replace(&mut told, true) {
                        self.shared.report(GatewayEvent::PeersNotAdded { cause });
                    }
                    // kaspad's flags only change with a restart.
                    self.restarted().await;
                    continue;
                }
                Err(DialFailure::Other(cause)) => {
                    failures += 1;
                    self.refused(cause);
                }
            }
            let delay = cadence.delay(failures.max(1), self.reach.random());
            sleep(delay.unwrap_or(Duration::from_secs(120))).await;
        }
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

    /// Returns when kaspad runs, the peer may be reached and there is no session.
    async fn wanted(&self) {
        let (mut node, mut sessions) = (self.shared.node.subscribe(), self.shared.sessions.changes());
        loop {
            let up = *node.borrow_and_update() == NodeState::Up;
            sessions.borrow_and_update();
            if up && !self.shared.sessions.contains(self.peer()) && !self.is_banned() {
                return;
            }
            tokio::select! {
                _ = node.changed() => {}
                _ = sessions.changed() => {}
                // A ban ends without a word.
                () = sleep(SHORT) => {}
            }
        }
    }

    /// Returns when there is no session.
    async fn parted(&self) {
        let mut sessions = self.shared.sessions.changes();
        while self.shared.sessions.contains(self.peer()) {
            if sessions.changed().await.is_err() {
                return;
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

enum DialFailure {
    NotAllowed(String),
    Other(String),
}

// Other systems have no list of sockets to try this with.
#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests;
