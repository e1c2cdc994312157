//! The task of one session: polls its streams, dials when its machine needs a path, and
//! reports what happens.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use kaspath_domain::{DuplexStream, Health, Moment, Observer, Observers, Path, PeerIdentity, PeerTarget, RelayReason};
use tokio::{sync::watch, time::timeout};
use tokio_stream::{Stream, wrappers::WatchStream};

use crate::{
    MoveKind, SessionEvent, SessionPaths,
    cell::Cell,
    io::PathStream,
    machine::{Machine, PathId, SessionEnd},
    refuse::refuse,
    timer::Timer,
};

/// The opener of a session without a path dials again after this time, whatever became of
/// the dial before; the other side doubles it, up to 16 s.
const DIAL_EVERY: Duration = Duration::from_secs(1);
/// So many dials away from a relay that is about to shut down come each second. After each
/// as many the time between doubles, up to 32 s: the relay may say so and stay.
const LEAVES_EACH_SECOND: u32 = 10;
/// Dials of one session at once.
const MAX_DIALS: usize = 4;
/// How long a dial may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a session that has ended waits for its last frames to leave, and for the peer to
/// close.
const LAST_FRAMES: Duration = Duration::from_secs(2);

type Dial = Pin<Box<dyn Future<Output = Option<DuplexStream>> + Send>>;

/// How a session's task has ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// With the session, whose last path this was, if it had begun.
    Ended(Option<Path>),
    /// The peer at this target does not speak the protocol, and no byte was lost. The owner
    /// is told of the path there.
    Unsupported(PeerTarget, watch::Sender<Path>),
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) cell: Arc<Cell>,
    pub(crate) peer: PeerIdentity,
    pub(crate) target: PeerTarget,
    pub(crate) paths: Arc<dyn SessionPaths>,
    pub(crate) events: Observers<SessionEvent>,
    /// Tells the owner which path carries the session.
    pub(crate) shown: watch::Sender<Path>,
    /// When it was asked for, or when the peer's first message came.
    pub(crate) begun: Moment,
    /// Only the opener makes planned moves, and only the opener dials each second.
    pub(crate) is_opener: bool,
}

/// Runs until the session has ended.
pub(crate) struct Driver {
    parts: Parts,
    best: WatchStream<Option<Path>>,
    /// The best path that there is to the peer is a direct one.
    is_direct_up: bool,
    streams: Vec<PathStream>,
    dials: Vec<Dial>,
    /// Not before this moment the session dials again.
    dial_after: Moment,
    /// Dials since the session lost its path.
    tries: u32,
    /// Not before this moment it asks for a planned move again.
    move_after: Moment,
    /// Dials since its relay is about to shut down.
    leaves: u32,
    timer: Timer,
    seen: Seen,
}

/// What was reported last.
#[derive(Default)]
struct Seen {
    moves: Option<u64>,
    /// The path before a move that is not reported yet.
    from: Option<Path>,
    stalled_at: Option<Moment>,
    ended_at: Option<Moment>,
}

/// How a session is after its streams were polled.
struct View {
    has_ended: bool,
    deadline: Option<Moment>,
    carrying: Option<PathId>,
    needs_path: bool,
    is_confirmed: bool,
    moves: u64,
    replays: u64,
    rtt: Option<Duration>,
}

impl View {
    fn of(machine: &Machine) -> Self {
        Self {
            has_ended: machine.end().is_some(),
            deadline: machine.deadline(),
            carrying: machine.carrying(),
            needs_path: machine.needs_path(),
            is_confirmed: machine.is_confirmed(),
            moves: machine.stats().moves,
            replays: machine.replays(),
            rtt: machine.round_trip(),
        }
    }
}

/// Tells the owner of the path, if it is another than before.
pub(crate) fn show(shown: &watch::Sender<Path>, path: Path) {
    shown.send_if_modified(|shown| {
        let is_another = *shown != path;
        if is_another {
            *shown = path;
        }
        is_another
    });
}

/// The path ends soon, though it still works.
fn is_ending(path: &Path) -> bool {
    matches!(path, Path::Relayed { reason: RelayReason::RelayDraining, .. })
}

fn is_direct(path: &Option<Path>) -> bool {
    path.as_ref().is_some_and(|path| !path.is_relayed())
}

impl Driver {
    /// Drives a session that is attached to its first path.
    pub(crate) fn new(parts: Parts, id: PathId, stream: DuplexStream) -> Self {
        let best = parts.paths.best(&parts.peer);
        let is_direct_up = is_direct(&best.borrow());
        let best = WatchStream::from_changes(best);
        let (streams, never) = (vec![PathStream::new(id, stream)], Moment::default());
        let (dials, leaves, timer, seen) = Default::default();
        Self { parts, best, is_direct_up, streams, dials, dial_after: never, tries: 0, move_after: never, leaves, timer, seen }
    }

    /// Takes the streams on which the peer attaches.
    fn take_attaches(&mut self, now: Moment) {
        let attaches = std::mem::take(&mut self.parts.cell.lock().attaches);
        for (hello, stream) in attaches {
            let attached = self.parts.cell.lock().machine.attached(&hello, now);
            match attached {
                Ok(id) => self.streams.push(PathStream::new(id, stream)),
                Err(refusal) => refuse(stream, refusal),
            }
        }
    }

    /// Attaches on streams that were dialled.
    fn poll_dials(&mut self, cx: &mut Context<'_>, now: Moment) {
        let mut dialled = None;
        self.dials.retain_mut(|dial| match dial.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(stream) => {
                dialled = dialled.take().or(stream);
                false
            }
        });
        let Some(stream) = dialled else { return };
        self.dials.clear();
        let mut state = self.parts.cell.lock();
        // It would be left at once again.
        if is_ending(&stream.path()) && !state.machine.needs_path() {
            return;
        }
        if let Some(id) = state.machine.attach(now) {
            self.streams.push(PathStream::new(id, stream));
        }
    }

    /// Moves bytes. How the session is then; `None` if the peer does not speak the protocol.
    fn poll_streams(&mut self, cx: &mut Context<'_>, now: Moment) -> Option<View> {
        let mut state = self.parts.cell.lock();
        state.wait_for_owner(cx);
        let (mut more, mut unsupported) = (false, false);
        for stream in &mut self.streams {
            match stream.poll(cx, &mut state, now) {
                Ok(again) => more |= again,
                Err(error) => {
                    tracing::debug!(peer = %self.parts.peer.short(), %error, "a session's path has ended");
                    // A session that has ended has nothing to send again.
                    unsupported |= error.kind() == io::ErrorKind::Unsupported
                        && !state.machine.is_confirmed()
                        && state.machine.end().is_none();
                    stream.has_ended = true;
                    state.machine.ended(stream.id, now);
                }
            }
        }
        let is_due = |machine: &Machine| machine.deadline().is_some_and(|at| at <= now);
        let was_due = is_due(&state.machine);
        state.machine.tick(now);
        // The streams have to be polled for what it has put into them.
        more |= was_due && !is_due(&state.machine);
        let machine = &state.machine;
        let gone = self.streams.extract_if(.., |stream| {
            let is_suspect = machine.is_suspect(stream.id);
            match (stream.is_suspect, is_suspect) {
                (false, Some(true)) => stream.stream.report(Health::Suspect),
                (true, Some(false)) => stream.stream.report(Health::Recovered),
                // That the peer has ended it is an answer too.
                (true, None) if stream.has_ended => stream.stream.report(Health::Recovered),
                _ => {}
            }
            stream.is_suspect = is_suspect.unwrap_or(stream.is_suspect && !stream.has_ended);
            let is_seen = || stream.has_ended || !machine.is_end_to_be_seen(stream.id);
            is_suspect.is_none() || (machine.end().is_some() && stream.is_closed() && is_seen())
        });
        for gone in gone {
            if machine.current().is_some_and(|current| current != gone.id) {
                gone.stream.end(if gone.is_suspect { Health::Dead } else { Health::Left });
            }
        }
        // Before its first answer a session has no other path, and the peer may not know it.
        if self.streams.is_empty() && !unsupported && !state.machine.is_confirmed() {
            state.machine.finish(SessionEnd::NoPath);
        }
        state.wake_owner();
        if more {
            cx.waker().wake_by_ref();
        }
        (!unsupported).then(|| View::of(&state.machine))
    }

    /// Tells the owner and the observers what has changed.
    fn report(&mut self, view: &View, now: Moment) {
        let View { carrying, needs_path, is_confirmed, moves, replays, rtt, .. } = *view;
        let peer = || self.parts.peer.clone();
        if self.seen.moves.is_some_and(|before| before < moves) {
            self.seen.from.get_or_insert_with(|| self.parts.shown.borrow().clone());
        }
        let path = self.streams.iter().find(|stream| Some(stream.id) == carrying).map(|stream| stream.stream.path());
        path.into_iter().for_each(|path| show(&self.parts.shown, path));
        // Its first path may have ended already.
        if is_confirmed && self.seen.moves.is_none() {
            self.seen.moves = Some(moves);
            let path = self.parts.shown.borrow().clone();
            let after = now.since(self.parts.begun);
            self.parts.events.observe(&SessionEvent::Began { peer: peer(), path, after, rtt });
        }
        match (self.seen.stalled_at, needs_path) {
            (None, true) if is_confirmed => {
                self.seen.stalled_at = Some(now);
                self.parts.events.observe(&SessionEvent::Stalled { peer: peer() });
            }
            (_, false) => {
                let stall = self.seen.stalled_at.take().map(|since| now.since(since));
                self.seen.moves = self.seen.moves.map(|_| moves);
                if let Some(from) = self.seen.from.take() {
                    let to = self.parts.shown.borrow().clone();
                    let kind = if stall.is_some() { MoveKind::Failover } else { MoveKind::Planned };
                    let stall = stall.unwrap_or_default();
                    let moved = SessionEvent::Moved { peer: peer(), kind, from, to, stall, replayed: replays };
                    self.parts.events.observe(&moved);
                } else if let Some(stall) = stall {
                    self.parts.events.observe(&SessionEvent::Recovered { peer: peer(), stall });
                }
            }
            _ => {}
        }
    }

    /// Begins a dial if one is due; when to look again.
    fn begin_dial(&mut self, needs_path: bool, now: Moment) -> Option<Moment> {
        if !needs_path {
            self.tries = 0;
            return self.begin_move(now);
        }
        // Before its first answer a session's only path is the one that was dialled for it.
        self.seen.moves?;
        if self.dial_after <= now {
            // The opener knows where the peer is. What the other side knows the peer may have
            // announced: such addresses are not dialled each second.
            let every = if self.parts.is_opener { DIAL_EVERY } else { DIAL_EVERY * (1 << self.tries.min(4)) };
            self.dial_after = now + every;
            self.tries += 1;
            // The oldest has had its time: the network may have come back since.
            if self.dials.len() >= MAX_DIALS {
                drop(self.dials.remove(0));
            }
            let (paths, target) = (self.parts.paths.clone(), self.parts.target.clone());
            let peer = self.parts.peer.short();
            self.dial(async move {
                let dialled = paths.again(&target).await;
                dialled.inspect_err(|error| tracing::debug!(%peer, %error, "no path for a session")).ok()
            });
        }
        Some(self.dial_after)
    }

    /// Dials for a planned move: from a relay to a direct path that is up, or to any path
    /// from a relay that is about to shut down. The present path carries the session until then.
    fn begin_move(&mut self, now: Moment) -> Option<Moment> {
        let must_leave = is_ending(&self.parts.shown.borrow());
        self.leaves = if must_leave { self.leaves } else { 0 };
        let may_gain = self.parts.is_opener
            && self.seen.moves.is_some()
            && self.streams.len() == 1
            && self.dials.is_empty()
            && (must_leave || (self.is_direct_up && self.parts.shown.borrow().is_relayed()));
        if !may_gain {
            return None;
        }
        if self.move_after > now {
            return Some(self.move_after);
        }
        if must_leave {
            self.move_after = now + DIAL_EVERY * (1 << (self.leaves / LEAVES_EACH_SECOND).min(5));
            self.leaves = self.leaves.saturating_add(1);
            let (paths, target) = (self.parts.paths.clone(), self.parts.target.clone());
            self.dial(async move { paths.again(&target).await.ok() });
            return Some(self.move_after);
        }
        match self.parts.paths.may_move(&self.parts.peer, now) {
            Err(wait) => self.move_after = now + wait.max(DIAL_EVERY),
            Ok(()) => {
                self.move_after = now + DIAL_EVERY;
                let (paths, target) = (self.parts.paths.clone(), self.parts.target.clone());
                self.dial(async move { paths.direct(&target).await });
            }
        }
        Some(self.move_after)
    }

    fn dial(&mut self, dial: impl Future<Output = Option<DuplexStream>> + Send + 'static) {
        self.dials.push(Box::pin(async move { timeout(DIAL_TIMEOUT, dial).await.ok().flatten() }));
    }
}

impl Future for Driver {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = &mut *self;
        let now = this.parts.cell.now();
        this.take_attaches(now);
        while let Poll::Ready(Some(best)) = Pin::new(&mut this.best).poll_next(cx) {
            this.is_direct_up = is_direct(&best);
        }
        this.poll_dials(cx, now);
        let Some(view) = this.poll_streams(cx, now) else {
            return Poll::Ready(Outcome::Unsupported(std::mem::take(&mut this.parts.target), this.parts.shown.clone()));
        };
        if !view.has_ended {
            this.report(&view, now);
            let before = this.dials.len();
            let dial_at = this.begin_dial(view.needs_path, now);
            if this.dials.len() > before {
                // The new dial has to be polled once.
                cx.waker().wake_by_ref();
            }
            this.timer.wake_at([view.deadline, dial_at].into_iter().flatten().min(), now, cx);
            return Poll::Pending;
        }
        let over = *this.seen.ended_at.get_or_insert(now) + LAST_FRAMES;
        if this.streams.is_empty() || now >= over {
            let last = this.seen.moves.map(|_| this.parts.shown.borrow().clone());
            return Poll::Ready(Outcome::Ended(last));
        }
        this.timer.wake_at(Some(over), now, cx);
        Poll::Pending
    }
}
