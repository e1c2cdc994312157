//! One session: sends queued messages, and routes received ones to flows.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use kaspa_p2p_lib::{
    KaspadMessagePayloadType as Kind, make_message,
    pb::{KaspadMessage, RejectMessage, kaspad_message::Payload},
};
use kaspath_domain::{Activity, ByteCounters, Candidate, ConnectInfo, MonotonicClock, Path, PathWatch, PeerClass};
use prost::Message;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    CloseReason,
    grpc::StreamInfo,
    wire::{Arrival, Ended, Incoming, Outgoing, Received},
};

/// Messages that may wait for a flow, as in kaspad.
const ROUTE_CAPACITY: usize = 256;
/// How long a full outgoing queue is waited for.
const SEND_TIMEOUT: Duration = crate::STANDSTILL;
/// Time for the last messages to leave.
const CLOSE_GRACE: Duration = Duration::from_millis(300);

/// Messages of some kinds of one session, as one flow takes them.
pub struct Route {
    receiver: mpsc::Receiver<Received>,
    router: Arc<Router>,
}

impl Route {
    /// The next message. Waits for the session's end if another flow has taken these
    /// kinds over. Dropping the future loses no message.
    ///
    /// # Errors
    /// The session has ended, and why.
    pub async fn next(&mut self) -> Result<Received, CloseReason> {
        tokio::select! {
            biased;
            Some(message) = self.receiver.recv() => Ok(message),
            () = self.router.closed.cancelled() => Err(self.router.close_reason()),
        }
    }

    /// The next message, which must come in time.
    pub(crate) async fn answer(&mut self, what: &'static str, after: Duration) -> Result<Received, CloseReason> {
        timeout(after, self.next()).await.unwrap_or(Err(CloseReason::Unanswered { what, after }))
    }

    /// A message that is there already.
    pub(crate) fn try_next(&mut self) -> Option<Received> {
        self.receiver.try_recv().ok()
    }
}

/// One session with one peer.
pub struct Router {
    stream: StreamInfo,
    outgoing: Mutex<Option<Outgoing>>,
    routes: Mutex<HashMap<Kind, mpsc::Sender<Received>>>,
    reason: OnceLock<CloseReason>,
    closed: CancellationToken,
    /// Our Ready has been sent: everything may come.
    ready: CancellationToken,
    activity: Activity,
    clock: MonotonicClock,
}

impl Router {
    pub(crate) fn new(stream: StreamInfo, outgoing: Outgoing, clock: MonotonicClock) -> Arc<Self> {
        let activity = Activity::new(stream.bytes.clone(), clock.now());
        Arc::new(Self {
            stream,
            outgoing: Mutex::new(Some(outgoing)),
            routes: Mutex::default(),
            reason: OnceLock::new(),
            closed: CancellationToken::new(),
            ready: CancellationToken::new(),
            activity,
            clock,
        })
    }

    /// Whom the session reaches.
    pub fn info(&self) -> &Arc<ConnectInfo> {
        &self.stream.info
    }

    /// How it travels now.
    pub fn path(&self) -> Path {
        self.stream.path.current()
    }

    /// A watch of how it travels.
    pub fn path_watch(&self) -> PathWatch {
        self.stream.path.clone()
    }

    /// Bytes of the stream beneath, HTTP/2 included.
    pub fn bytes(&self) -> &ByteCounters {
        &self.stream.bytes
    }

    /// Since the session began.
    pub fn age(&self) -> Duration {
        self.clock.now().since(self.activity.since())
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Waits for its end.
    pub async fn closed(&self) -> CloseReason {
        self.closed.cancelled().await;
        self.close_reason()
    }

    /// The session as one of those that may be evicted.
    pub(super) fn candidate<Id>(&self, id: Id) -> Candidate<Id, PeerClass> {
        self.activity.candidate(id, PeerClass::of(self.info(), &self.path()))
    }

    /// A ping of ours was answered.
    pub(crate) fn measured(&self, round_trip: Duration) {
        self.activity.measured(round_trip);
    }

    fn close_reason(&self) -> CloseReason {
        self.reason.get().cloned().unwrap_or(CloseReason::Local)
    }

    /// Takes messages of these kinds from now on. A kind has one taker, the last: so a
    /// flow of one's own may replace one of [`crate::KaspaNode`]'s. Kinds that
    /// a light peer does not understand are never decoded, and come to nobody. Up to
    /// 256 messages wait; then announcements are dropped, and others end the session.
    pub fn subscribe(self: &Arc<Self>, kinds: &[Kind]) -> Route {
        let (sender, receiver) = mpsc::channel(ROUTE_CAPACITY);
        let mut routes = lock(&self.routes);
        for kind in kinds {
            routes.insert(*kind, sender.clone());
        }
        Route { receiver, router: self.clone() }
    }

    /// Every flow is subscribed, and our Ready is on its way.
    pub(crate) fn is_ready(&self) {
        self.ready.cancel();
    }

    /// Receives until the session ends. Subscribe before, lest messages are drained.
    pub(crate) fn start(self: &Arc<Self>, mut incoming: Incoming) {
        let router = self.clone();
        let cut = self.stream.cut.clone();
        tokio::spawn(async move {
            let reason = tokio::select! {
                biased;
                () = router.closed.cancelled() => CloseReason::Local,
                reason = router.receive(&mut incoming) => reason,
            };
            router.close(reason);
            drop(router);
            // Dropping the incoming half resets the whole HTTP/2 stream, and a
            // Reject that is on its way out with it.
            cut.cancelled().await;
            drop(incoming);
        });
    }

    /// Takes messages until the session must end; why.
    async fn receive(&self, incoming: &mut Incoming) -> CloseReason {
        loop {
            let arrival = incoming.next().await;
            self.activity.note(self.clock.now());
            let (kind, received) = match arrival {
                Ok(Some(Arrival::Message(kind, received))) => (kind, received),
                // A light peer need not understand everything, but must keep draining.
                Ok(Some(Arrival::Other)) => continue,
                Ok(None) => return CloseReason::PeerClosed,
                Err(reason) => return reason,
            };
            if let Err(reason) = self.route(kind, *received) {
                return reason;
            }
            if kind == Kind::Ready {
                // What follows may be larger, but only from a peer that we let in.
                self.ready.cancelled().await;
                incoming.is_ready();
            }
        }
    }

    fn route(&self, kind: Kind, received: Received) -> Result<(), CloseReason> {
        if let Some(Payload::Reject(reject)) = &received.message.payload {
            return Err(CloseReason::rejected(&reject.reason));
        }
        let Some(route) = lock(&self.routes).get(&kind).cloned() else { return Ok(()) };
        match route.try_send(received) {
            Ok(()) => Ok(()),
            // Its flow has had what it waited for, like a second Version.
            Err(TrySendError::Closed(_)) => Err(CloseReason::unexpected(kind)),
            Err(TrySendError::Full(_)) if matches!(kind, Kind::InvTransactions | Kind::InvRelayBlock) => Ok(()),
            Err(TrySendError::Full(_)) => Err(CloseReason::Protocol(format!("more than {ROUTE_CAPACITY} {kind:?} at once"))),
        }
    }

    /// Sends a message that must arrive. Waits while the queue is full, up to a
    /// limit; a peer that reads nothing for so long loses its session. Dropping the
    /// future sends the message or not.
    ///
    /// # Errors
    /// The session has ended, and why.
    pub async fn send(&self, message: KaspadMessage) -> Result<(), CloseReason> {
        self.send_made(message.encoded_len(), || message).await
    }

    /// Like [`Self::send`], for a large message of an encoded length that is made
    /// when there is room for it.
    pub(crate) async fn send_made(&self, length: usize, make: impl FnOnce() -> KaspadMessage) -> Result<(), CloseReason> {
        let outgoing = lock(&self.outgoing).clone().ok_or_else(|| self.close_reason())?;
        let sent = tokio::select! {
            () = self.closed.cancelled() => return Err(self.close_reason()),
            sent = timeout(SEND_TIMEOUT, outgoing.send(length, make)) => sent,
        };
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Ended)) => {
                // The receiving half knows better why, in a moment.
                let _ = timeout(CLOSE_GRACE, self.closed.cancelled()).await;
                Err(self.reason.get().cloned().unwrap_or(CloseReason::PeerClosed))
            }
            Err(_) => Err(CloseReason::SlowReader(SEND_TIMEOUT)),
        }
    }

    /// Sends a message that may be lost: with a full queue it is.
    pub(crate) fn offer(&self, message: KaspadMessage) -> bool {
        lock(&self.outgoing).as_ref().is_some_and(|outgoing| outgoing.try_send(message))
    }

    /// Says why, and ends the session.
    pub(crate) fn reject(&self, reason: String, close: CloseReason) {
        self.offer(make_message!(Payload::Reject, RejectMessage { reason }));
        self.close(close);
    }

    /// Ends the session; only the first reason counts. What is queued still has a
    /// moment to leave, then the stream is cut.
    pub fn close(&self, reason: CloseReason) {
        if self.reason.set(reason).is_err() {
            return;
        }
        self.closed.cancel();
        // Without its sender the message stream ends after what is queued.
        drop(lock(&self.outgoing).take());
        lock(&self.routes).clear();
        let cut = self.stream.cut.clone();
        tokio::spawn(async move {
            tokio::time::sleep(CLOSE_GRACE).await;
            cut.cancel();
        });
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // A closed one is cut when its last messages have left.
        if self.reason.get().is_none() {
            self.stream.cut.cancel();
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("info", &self.stream.info).field("closed", &self.reason.get()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
