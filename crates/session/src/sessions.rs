//! The layer: connects and accepts sessions over streams that may end.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use kaspath_domain::{
    ConnectorError, DuplexStream, ListenError, Moment, MonotonicClock, Observer, Observers, Path, PathWatch, PeerConnector,
    PeerIdentity, PeerTarget, Rates, Slot, Slots, StreamListener, make_room, wall_clock,
};
use rand::Rng;
use tokio::{
    io::AsyncReadExt,
    sync::{Mutex as AsyncMutex, mpsc, watch},
    time::timeout,
};

use crate::{
    SessionEvent, SessionPaths,
    budget::Budget,
    cell::{Cell, SessionStream},
    driver::{Driver, Outcome, Parts},
    machine::{Machine, PathId, SessionEnd},
    plain,
    refuse::refuse,
    table::{Full, Table},
    wire::{BootId, Decoder, Frame, HELLO_FRAME, Piece, Refusal, SessionId},
};

/// Streams that may wait for [`StreamListener::accept`].
const ACCEPT_BACKLOG: usize = 32;
/// How long a stream may take for its hello, and for being accepted.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(10);
/// At the end: time for sessions to end by themselves, and for peers to be told of the rest.
const ENDING: Duration = Duration::from_millis(500);
/// Streams that have not said hello or were not accepted yet, of a peer and in all.
const PENDING_BY_PEER: usize = 8;
const MAX_PENDING: usize = 256;
/// Those in all that peers with a session may fill: strangers keep none of them from its
/// next path.
const MAX_PENDING_KNOWN: usize = 2 * MAX_PENDING;
/// A session that has had no path for so long ends for a new one of its peer.
const GIVES_WAY: Duration = Duration::from_secs(10);
/// Hellos of one peer at once, and the time for one more. A session whose paths flap
/// says one each second.
const HELLO_BURST: u32 = 32;
const HELLO_REFILL: Duration = Duration::from_millis(500);
/// Peers remembered for that, and peers remembered as not speaking the protocol.
const MAX_PEERS: usize = 4096;
/// How long a peer is taken not to speak the protocol.
const PLAIN_FOR: Duration = Duration::from_secs(3600);

/// Bounds of a session layer.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    /// Sessions in all, those without a path included.
    pub sessions: usize,
    /// Sessions of one peer.
    pub sessions_by_peer: usize,
    /// Bytes that sessions may hold together, beside 512 KiB of each: what the peers have
    /// not acknowledged, and what their owners have not read.
    pub memory: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { sessions: 4096, sessions_by_peer: 4, memory: 128 * 1024 * 1024 }
    }
}

struct Shared {
    boot: BootId,
    budget: Budget,
    clock: MonotonicClock,
    paths: Arc<dyn SessionPaths>,
    events: Observers<SessionEvent>,
    state: Mutex<State>,
    /// Streams that have not said hello or were not accepted yet, in all (`None`) and by peer.
    pending: Slots<Option<PeerIdentity>>,
    /// Notified when a session has ended.
    ended: watch::Sender<()>,
}

struct State {
    table: Table<Arc<Cell>>,
    /// Those of the table, and those that have ended and gave way to others.
    drivers: usize,
    hellos: Rates<PeerIdentity>,
    /// Peers that do not speak the protocol, and since when that is known.
    plain: HashMap<PeerIdentity, Moment>,
}

/// Gives out sessions in place of streams. Cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<Shared>);

impl Sessions {
    /// A layer without a session.
    pub fn new(
        paths: Arc<dyn SessionPaths>,
        limits: &SessionLimits,
        clock: MonotonicClock,
        events: Observers<SessionEvent>,
    ) -> Self {
        let state = State {
            table: Table::new(limits.sessions, limits.sessions_by_peer),
            drivers: 0,
            hellos: Rates::new(HELLO_BURST, HELLO_REFILL, MAX_PEERS),
            plain: HashMap::new(),
        };
        let boot = BootId::of_start(wall_clock(), rand::thread_rng().r#gen());
        let (budget, state) = (Budget::new(limits.memory), Mutex::new(state));
        let (pending, ended) = (Slots::new(MAX_PENDING_KNOWN), watch::channel(()).0);
        Self(Arc::new(Shared { boot, budget, clock, paths, events, state, pending, ended }))
    }

    /// How many sessions there are, those without a path included.
    pub fn len(&self) -> usize {
        self.0.lock().table.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends every session and tells the peers, which would wait for a path otherwise.
    /// Sessions whose owners have gone end by themselves first. Returns within a second.
    pub async fn shutdown(&self) {
        let mut ended = self.0.ended.subscribe();
        let mut all_ended = async || while self.0.lock().drivers > 0 && ended.changed().await.is_ok() {};
        if timeout(ENDING, all_ended()).await.is_err() {
            self.0.lock().table.all().for_each(|session| session.finish(SessionEnd::Dropped));
            let _ = timeout(ENDING, all_ended()).await;
        }
    }

    /// A listener that gives out the sessions that peers open, and the streams of peers
    /// that do not speak the protocol. It takes `streams` from now on; when they end, it
    /// ends. To be called within a tokio runtime.
    pub fn listener(&self, streams: Arc<dyn StreamListener>) -> Arc<dyn StreamListener> {
        let (sender, accepted) = mpsc::channel(ACCEPT_BACKLOG);
        let shared = self.0.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    stream = streams.accept() => match stream {
                        Ok(stream) => shared.clone().take(stream, &sender),
                        Err(error) => {
                            tracing::debug!(%error, "no more streams come");
                            return;
                        }
                    },
                    // Nobody accepts any more.
                    () = sender.closed() => return,
                }
            }
        });
        Arc::new(SessionListener(AsyncMutex::new(accepted)))
    }
}

#[async_trait]
impl PeerConnector for Sessions {
    /// A new session with the peer, or a plain stream if the peer is known not to speak
    /// the protocol. What is written before the peer has answered is sent at once and kept;
    /// a peer that turns out not to speak the protocol gets it again over a plain stream.
    async fn connect(&self, target: &PeerTarget) -> Result<DuplexStream, ConnectorError> {
        let shared = &self.0;
        let is_plain = target.peer.as_ref().is_none_or(|peer| shared.lock().is_plain(peer, shared.clock.now()));
        if is_plain {
            return shared.paths.plain(target).await;
        }
        if let Some(peer) = &target.peer {
            shared.lock().room(peer, shared.clock.now()).map_err(ConnectorError::from)?;
        }
        let begun = shared.clock.now();
        let stream = shared.paths.first(target).await?;
        let Some(peer) = stream.info().peer.clone() else { return Ok(stream) };
        let id = SessionId(rand::thread_rng().r#gen());
        let now = shared.clock.now();
        let mut machine = Machine::open(id, shared.boot, &shared.budget, now);
        let path = machine.attach(now).expect("a new session has no path");
        let target = PeerTarget { peer: Some(peer), addresses: target.addresses.clone() };
        shared.begin(id, machine, target, path, stream, Begun { at: begun, here: true }).map_err(ConnectorError::from)
    }
}

struct SessionListener(AsyncMutex<mpsc::Receiver<DuplexStream>>);

#[async_trait]
impl StreamListener for SessionListener {
    async fn accept(&self) -> Result<DuplexStream, ListenError> {
        self.0.lock().await.recv().await.ok_or(ListenError::Closed)
    }
}

impl State {
    fn is_plain(&self, peer: &PeerIdentity, now: Moment) -> bool {
        self.plain.get(peer).is_some_and(|since| now.since(*since) < PLAIN_FOR)
    }

    /// Whether one more session with the peer may begin: if so, the one that is to end for it,
    /// if one is.
    fn room(&self, peer: &PeerIdentity, now: Moment) -> Result<Option<SessionId>, Full> {
        let Err(full) = self.table.room(peer) else { return Ok(None) };
        let sessions = self.table.of(peer).iter();
        if full.is_of_peer
            && let Some((ended, _)) = sessions.clone().find(|(_, session)| session.has_ended())
        {
            return Ok(Some(*ended));
        }
        // The peer is up, or is thought to be, so a session that still has no path gets none.
        let parked = sessions.filter_map(|(id, session)| session.parked_since().map(|since| (since, *id))).min();
        parked.filter(|(since, _)| full.is_of_peer && now.since(*since) >= GIVES_WAY).map(|(_, id)| Some(id)).ok_or(full)
    }

    fn begin(&mut self, peer: &PeerIdentity, id: SessionId, session: Arc<Cell>, now: Moment) -> Result<(), Full> {
        if let Some(gives_way) = self.room(peer, now)? {
            self.table.remove(peer, gives_way, |_| true).into_iter().for_each(|session| session.finish(SessionEnd::NoPath));
        }
        self.table.insert(peer, id, session)?;
        self.drivers += 1;
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a stream that a peer opened. Returns at once.
    fn take(self: Arc<Self>, stream: DuplexStream, accepted: &mpsc::Sender<DuplexStream>) {
        let Some(pending) = self.pend(stream.info().peer.as_ref()) else { return };
        let accepted = accepted.clone();
        tokio::spawn(async move {
            let _pending = pending;
            let _ = self.serve(stream, &accepted).await;
        });
    }

    /// A slot for a stream that is not accepted yet.
    fn pend(&self, peer: Option<&PeerIdentity>) -> Option<Slot<Option<PeerIdentity>>> {
        let is_known = peer.is_some_and(|peer| !self.lock().table.of(peer).is_empty());
        let in_all = (None, if is_known { MAX_PENDING_KNOWN } else { MAX_PENDING });
        self.pending.take([in_all].into_iter().chain(peer.map(|peer| (Some(peer.clone()), PENDING_BY_PEER))))
    }

    async fn serve(self: &Arc<Self>, mut stream: DuplexStream, accepted: &mpsc::Sender<DuplexStream>) -> Result<(), ()> {
        let peer = match stream.info().peer.clone() {
            Some(peer) if stream.carries_session() => peer,
            _ => return timeout(ACCEPT_TIMEOUT, accepted.send(stream)).await.map_err(drop)?.map_err(drop),
        };
        let mut bytes = [0; HELLO_FRAME];
        timeout(HELLO_TIMEOUT, stream.read_exact(&mut bytes)).await.map_err(drop)?.map_err(drop)?;
        let Ok(Some(Piece::Frame(Frame::Hello(hello)))) = Decoder::default().next(&mut &bytes[..]) else { return Err(()) };
        let now = self.clock.now();
        let known = {
            let mut state = self.lock();
            state.plain.remove(&peer);
            if state.hellos.take(&peer, now).is_err() {
                drop(state);
                refuse(stream, Refusal::Limited);
                return Err(());
            }
            // They leave room at once: the peer begins as many again.
            state.table.remove_if(&peer, |session| session.restarted(hello.boot));
            state.table.of(&peer).iter().find(|(id, _)| *id == hello.session).map(|(_, session)| session.clone())
        };
        if let Some(session) = known {
            if let Err((stream, refusal)) = session.attach(hello, stream) {
                refuse(stream, refusal);
            }
            return Ok(());
        }
        if !hello.begins {
            refuse(stream, Refusal::Unknown);
            return Ok(());
        }
        let Ok(Ok(permit)) = timeout(ACCEPT_TIMEOUT, accepted.reserve()).await else {
            refuse(stream, Refusal::Limited);
            return Ok(());
        };
        let mut machine = Machine::accept(&hello, self.boot, &self.budget, now);
        match machine.attached(&hello, now) {
            Ok(path) => {
                let target = PeerTarget { peer: Some(peer), addresses: vec![stream.info().remote.clone()] };
                if let Ok(session) = self.begin(hello.session, machine, target, path, stream, Begun { at: now, here: false }) {
                    permit.send(session);
                }
            }
            Err(refusal) => refuse(stream, refusal),
        }
        Ok(())
    }

    /// Enters a session that is attached to its first path into the table, and starts its
    /// task.
    fn begin(
        self: &Arc<Self>,
        id: SessionId,
        machine: Machine,
        target: PeerTarget,
        path: PathId,
        stream: DuplexStream,
        begun: Begun,
    ) -> Result<DuplexStream, Full> {
        let cell = Cell::new(machine, self.clock);
        let peer = target.peer.clone().expect("the caller proved it");
        let entered = self.lock().begin(&peer, id, cell.clone(), self.clock.now());
        if let Err(full) = entered {
            if !begun.here {
                refuse(stream, Refusal::Limited);
            }
            return Err(full);
        }
        let (info, (shown, watch)) = (stream.info().clone(), PathWatch::channel(stream.path()));
        let session = DuplexStream::new(SessionStream(cell.clone()), (*info).clone(), watch);
        let (paths, events) = (self.paths.clone(), self.events.clone());
        let Begun { at: begun, here: is_opener } = begun;
        let registered = Registered { shared: self.clone(), peer: peer.clone(), id, cell: cell.clone() };
        let parts = Parts { cell, peer, target, paths, events, shown, begun, is_opener };
        tokio::spawn(registered.run(Box::pin(Driver::new(parts, path, stream))));
        Ok(session)
    }
}

/// When a session began, and whether this side began it.
struct Begun {
    at: Moment,
    here: bool,
}

/// A session's entry in the table, removed on drop.
struct Registered {
    shared: Arc<Shared>,
    peer: PeerIdentity,
    id: SessionId,
    cell: Arc<Cell>,
}

impl Registered {
    async fn run(self, driver: Pin<Box<Driver>>) {
        // The driver's streams are gone with it. This rare case is boxed, so that it takes no
        // memory of other sessions.
        let path = match driver.await {
            Outcome::Ended(path) => {
                self.cell.without_driver(false);
                path
            }
            Outcome::Unsupported(target, shown) => {
                self.cell.without_driver(true);
                Box::pin(self.go_on_plain(&target, &shown)).await;
                None
            }
        };
        let (end, stats) = self.cell.ended();
        self.shared.events.observe(&SessionEvent::Ended { peer: self.peer.clone(), end, path, stats });
    }

    /// The peer does not speak the protocol: it gets the same bytes on a plain stream.
    async fn go_on_plain(&self, target: &PeerTarget, shown: &watch::Sender<Path>) {
        {
            let (now, mut state) = (self.shared.clock.now(), self.shared.lock());
            make_room(&mut state.plain, &self.peer, MAX_PEERS, |since| *since);
            state.plain.insert(self.peer.clone(), now);
        }
        match self.shared.paths.plain(target).await {
            Ok(stream) => plain::carry(&self.cell, stream, shown).await,
            Err(error) => {
                tracing::debug!(peer = %self.peer.short(), %error, "no plain stream");
                self.cell.finish(SessionEnd::NoPath);
            }
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.drivers -= 1;
        let removed = state.table.remove(&self.peer, self.id, |session| Arc::ptr_eq(session, &self.cell));
        drop(state);
        drop(removed);
        self.shared.ended.send_replace(());
    }
}
