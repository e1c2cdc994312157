//! Two nodes in one process whose paths can be cut.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use kaspath_domain::{
    ConnectInfo, ConnectorError, Direction, DuplexStream, Health, ListenError, Moment, MonotonicClock, Observers, Path,
    PathHealth, PathWatch, PeerConnector, PeerIdentity, PeerTarget, RelayReason, StreamListener, Transport, synthetic_address,
};
use kaspath_session::{SessionEvent, SessionLimits, SessionPaths, Sessions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream as TokioDuplex, ReadHalf, WriteHalf, duplex},
    sync::{Mutex as AsyncMutex, mpsc, watch},
    task::AbortHandle,
    time::timeout,
};

pub(crate) const DIRECT: Path = Path::Direct { transport: Transport::Tcp };

pub(crate) fn relayed() -> Path {
    Path::Relayed { relay: peer(9), reason: RelayReason::PunchPending }
}

pub(crate) fn peer(n: u8) -> PeerIdentity {
    PeerIdentity::from_bytes(&[0, 1, n]).unwrap()
}

/// An event with a deadline.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), what).await.expect("in time")
}

/// What lies between two nodes.
#[derive(Clone)]
pub(crate) struct Wire {
    /// The streams that are up.
    up: Arc<Mutex<Vec<AbortHandle>>>,
    /// Which path a dial finds; none means that it fails.
    pub(crate) path: watch::Sender<Option<Path>>,
    /// Whether the peers speak the session protocol.
    pub(crate) speaks: bool,
    /// After which time a planned move may be asked for again; zero allows it.
    pub(crate) move_wait: Arc<Mutex<Duration>>,
    /// What was told of each stream that was opened, by its number.
    pub(crate) health: Arc<Mutex<Vec<(usize, Health)>>>,
    opened: Arc<AtomicUsize>,
    /// Streams carry nothing.
    held: watch::Sender<bool>,
    /// How each stream travels.
    travels: Arc<Mutex<Vec<watch::Sender<Path>>>>,
}

/// Notes what a session tells of one stream.
struct Noted(usize, Arc<Mutex<Vec<(usize, Health)>>>);

impl PathHealth for Noted {
    fn report(&self, health: Health) {
        self.1.lock().unwrap().push((self.0, health));
    }
}

impl Wire {
    pub(crate) fn new(path: Path, speaks: bool) -> Self {
        let (up, move_wait, health, opened, travels) = Default::default();
        let (path, held) = (watch::channel(Some(path)).0, watch::channel(false).0);
        Self { up, path, speaks, move_wait, health, opened, held, travels }
    }

    /// What is written to the streams that are up stays in them.
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    /// What was held passes, and what is written from now on.
    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }

    /// Ends every stream that is up.
    pub(crate) fn cut(&self) {
        self.held.send_replace(false);
        self.up.lock().unwrap().drain(..).for_each(|stream| stream.abort());
    }

    /// How many streams were opened.
    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    /// The relay of all streams that are up is about to shut down; a dial finds `next`.
    pub(crate) fn drain(&self, next: Path) {
        for path in &*self.travels.lock().unwrap() {
            path.send_modify(|path| {
                if let Path::Relayed { reason, .. } = path {
                    *reason = RelayReason::RelayDraining;
                }
            });
        }
        self.path.send_replace(Some(next));
    }

    /// Two ends of a new stream.
    pub(crate) fn stream(
        &self,
        from: &PeerIdentity,
        to: &PeerIdentity,
        path: Path,
        session: bool,
    ) -> (DuplexStream, DuplexStream) {
        let (ours, near) = duplex(256 * 1024);
        let (far, theirs) = duplex(256 * 1024);
        let (near, far) = (tokio::io::split(near), tokio::io::split(far));
        let held = self.held.subscribe();
        let task = tokio::spawn(async move {
            tokio::join!(carry(near.0, far.1, held.clone()), carry(far.0, near.1, held));
        });
        self.up.lock().unwrap().push(task.abort_handle());
        let noted = Arc::new(Noted(self.opened.fetch_add(1, Ordering::Relaxed), self.health.clone()));
        let end = |inner, peer: &PeerIdentity, direction| {
            let remote = "192.0.2.1:1".parse().unwrap();
            let info = ConnectInfo { peer: Some(peer.clone()), direction, remote, synthetic: synthetic_address(peer) };
            let (travels, watch) = PathWatch::channel(path.clone());
            self.travels.lock().unwrap().push(travels);
            let stream = DuplexStream::new(inner, info, watch);
            let health: Arc<dyn PathHealth> = match direction {
                Direction::Outbound => noted.clone(),
                Direction::Inbound => Arc::new(()),
            };
            if session { stream.for_session(health) } else { stream }
        };
        (end(ours, to, Direction::Outbound), end(theirs, from, Direction::Inbound))
    }
}

/// Copies, and holds what it has while the wire is held.
async fn carry(mut from: ReadHalf<TokioDuplex>, mut to: WriteHalf<TokioDuplex>, mut held: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        if held.wait_for(|held| !*held).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        if read == 0 {
            let _ = to.shutdown().await;
            return;
        }
    }
}

/// A stream whose peer does not speak the protocol that was proposed.
struct Unsupported;

impl tokio::io::AsyncRead for Unsupported {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Err(std::io::ErrorKind::Unsupported.into()))
    }
}

impl tokio::io::AsyncWrite for Unsupported {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

/// The paths of one node to the other.
pub(crate) struct Paths {
    pub(crate) wire: Wire,
    from: PeerIdentity,
    to: PeerIdentity,
    streams: mpsc::Sender<DuplexStream>,
}

impl Paths {
    async fn open(&self, path: Path, session: bool) -> Result<DuplexStream, ConnectorError> {
        if session && !self.wire.speaks {
            let (stream, _) = self.wire.stream(&self.from, &self.to, path.clone(), true);
            return Ok(
                DuplexStream::new(Unsupported, (**stream.info()).clone(), PathWatch::fixed(path)).for_session(Arc::new(()))
            );
        }
        let (ours, theirs) = self.wire.stream(&self.from, &self.to, path, session);
        let _ = self.streams.send(theirs).await;
        Ok(ours)
    }

    fn path(&self) -> Result<Path, ConnectorError> {
        self.wire.path.borrow().clone().ok_or(ConnectorError::AllFailed(Vec::new()))
    }
}

#[async_trait]
impl SessionPaths for Paths {
    async fn first(&self, _: &PeerTarget) -> Result<DuplexStream, ConnectorError> {
        self.open(self.path()?, true).await
    }

    async fn again(&self, _: &PeerTarget) -> Result<DuplexStream, ConnectorError> {
        self.open(self.path()?, true).await
    }

    async fn direct(&self, _: &PeerTarget) -> Option<DuplexStream> {
        self.open(DIRECT, true).await.ok()
    }

    async fn plain(&self, _: &PeerTarget) -> Result<DuplexStream, ConnectorError> {
        self.open(self.path()?, false).await
    }

    fn best(&self, _: &PeerIdentity) -> watch::Receiver<Option<Path>> {
        self.wire.path.subscribe()
    }

    fn may_move(&self, _: &PeerIdentity, _: Moment) -> Result<(), Duration> {
        let wait = *self.wire.move_wait.lock().unwrap();
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }
}

struct Streams(AsyncMutex<mpsc::Receiver<DuplexStream>>);

#[async_trait]
impl StreamListener for Streams {
    async fn accept(&self) -> Result<DuplexStream, ListenError> {
        self.0.lock().await.recv().await.ok_or(ListenError::Closed)
    }
}

/// A node: its layer, what comes in, and its events.
pub(crate) struct Node {
    pub(crate) sessions: Sessions,
    pub(crate) listener: Arc<dyn StreamListener>,
    pub(crate) events: mpsc::UnboundedReceiver<SessionEvent>,
    /// Streams put here are the node's inbound ones.
    pub(crate) inbound: mpsc::Sender<DuplexStream>,
}

impl Node {
    pub(crate) async fn connect(&self, to: u8) -> DuplexStream {
        self.try_connect(to).await.unwrap()
    }

    pub(crate) async fn try_connect(&self, to: u8) -> Result<DuplexStream, ConnectorError> {
        self.sessions.connect(&PeerTarget { peer: Some(peer(to)), addresses: Vec::new() }).await
    }

    pub(crate) async fn accept(&self) -> DuplexStream {
        soon(self.listener.accept()).await.unwrap()
    }

    /// The next event that `wanted` is true of.
    pub(crate) async fn event(&mut self, wanted: impl Fn(&SessionEvent) -> bool) -> SessionEvent {
        soon(async {
            loop {
                let event = self.events.recv().await.expect("the layer is there");
                if wanted(&event) {
                    return event;
                }
            }
        })
        .await
    }
}

fn node(wire: &Wire, from: u8, to: u8, outbound: mpsc::Sender<DuplexStream>) -> Node {
    let paths = Paths { wire: wire.clone(), from: peer(from), to: peer(to), streams: outbound };
    let (sender, events) = mpsc::unbounded_channel();
    let observer = move |event: &SessionEvent| drop(sender.send(event.clone()));
    let (clock, observers) = (MonotonicClock::start(), Observers::of(Arc::new(observer)));
    let sessions = Sessions::new(Arc::new(paths), &SessionLimits::default(), clock, observers);
    let (inbound, streams) = mpsc::channel(64);
    let listener = sessions.listener(Arc::new(Streams(AsyncMutex::new(streams))));
    Node { sessions, listener, events, inbound }
}

/// Two nodes, `peer(1)` and `peer(2)`.
pub(crate) fn pair(wire: &Wire) -> (Node, Node) {
    let (sender, mut streams) = mpsc::channel::<DuplexStream>(64);
    let one = node(wire, 1, 2, sender);
    let two = node(wire, 2, 1, one.inbound.clone());
    let inbound = two.inbound.clone();
    tokio::spawn(async move {
        while let Some(stream) = streams.recv().await {
            let _ = inbound.send(stream).await;
        }
    });
    (one, two)
}

/// Another program with the identity of `peer(2)`, whose peer is `one`.
pub(crate) fn restarted(wire: &Wire, one: &Node) -> Node {
    node(wire, 2, 1, one.inbound.clone())
}

/// A node whose streams to its peer come out here as they are.
pub(crate) fn alone(wire: &Wire) -> (Node, mpsc::Receiver<DuplexStream>) {
    let (sender, streams) = mpsc::channel(64);
    (node(wire, 1, 2, sender), streams)
}
