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

use kaspath_domain::{DuplexStream, Health, Moment, Observer, Observers, Path, PeerIdentity, PeerTarget};
use tokio::{
    sync::{mpsc, watch},
    time::{Sleep, sleep, timeout},
};
use tokio_stream::{Stream, wrappers::WatchStream};

use crate::{
    SessionEvent, SessionPaths,
    cell::Cell,
    io::PathStream,
    machine::{PathId, SessionEnd},
    refuse::refuse,
    wire::Hello,
};

/// A session without a path dials again after this time, whatever became of the dial
/// before.
const DIAL_EVERY: Duration = Duration::from_secs(1);
/// Dials of one session at once.
const MAX_DIALS: usize = 4;
/// How long a dial may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last frames of a session that has ended may take.
const LAST_FRAMES: Duration = Duration::from_secs(2);

type Dial = Pin<Box<dyn Future<Output = Option<DuplexStream>> + Send>>;

/// How a session's task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With the session.
    Ended(SessionEnd),
    /// The peer does not speak the protocol, and no byte was lost.
    Unsupported,
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) cell: Arc<Cell>,
    pub(crate) peer: PeerIdentity,
    pub(crate) target: PeerTarget,
    pub(crate) paths: Arc<dyn SessionPaths>,
    pub(crate) events: Observers<SessionEvent>,
    /// Streams on which the peer attaches, with its hello.
    pub(crate) attaches: mpsc::Receiver<(Hello, DuplexStream)>,
    /// Tells the owner which path carries the session.
    pub(crate) shown: watch::Sender<Path>,
    /// Planned moves are the opener's, so that both sides do not make them.
    pub(crate) is_opener: bool,
}

/// Runs until the session has ended.
pub(crate) struct Driver {
    parts: Parts,
    best: WatchStream<Option<Path>>,
    streams: Vec<PathStream>,
    dials: Vec<Dial>,
    /// Not before this moment the session dials again.
    dial_after: Moment,
    timer: Option<Pin<Box<Sleep>>>,
    seen: Seen,
}

/// What was reported last.
#[derive(Default)]
struct Seen {
    moves: Option<u64>,
    /// The path that the transport was told to be suspect.
    suspect: Option<PathId>,
    stalled_at: Option<Moment>,
    ended_at: Option<Moment>,
}

impl Driver {
    /// Drives a session that is attached to its first path.
    pub(crate) fn new(parts: Parts, id: PathId, stream: DuplexStream) -> Self {
        let best = WatchStream::from_changes(parts.paths.best(&parts.peer));
        let (streams, timer, seen) = (vec![PathStream::new(id, stream)], None, Seen::default());
        Self { parts, best, streams, dials: Vec::new(), dial_after: Moment::default(), timer, seen }
    }

    /// The session's state and its peer.
    pub(crate) fn session(&self) -> (Arc<Cell>, PeerTarget) {
        (self.parts.cell.clone(), self.parts.target.clone())
    }

    /// Takes the streams on which the peer attaches.
    fn poll_attaches(&mut self, cx: &mut Context<'_>, now: Moment) {
        while let Poll::Ready(Some((hello, stream))) = self.parts.attaches.poll_recv(cx) {
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
        if let Some(id) = self.parts.cell.lock().machine.attach(now) {
            self.streams.push(PathStream::new(id, stream));
        }
    }

    /// Moves bytes. Whether the peer does not speak the protocol.
    fn poll_streams(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
        let mut state = self.parts.cell.lock();
        state.wait_for_owner(cx);
        let (mut more, mut unsupported) = (false, false);
        for stream in &mut self.streams {
            match stream.poll(cx, &mut state, now) {
                Ok(again) => more |= again,
                Err(error) => {
                    tracing::debug!(peer = %self.parts.peer.short(), %error, "a session's path has ended");
                    unsupported |= error.kind() == io::ErrorKind::Unsupported && !state.machine.is_confirmed();
                    state.machine.ended(stream.id, now);
                }
            }
        }
        state.machine.tick(now);
        let (machine, suspect) = (&state.machine, self.seen.suspect);
        self.streams.retain(|stream| {
            let is_kept = machine.has_path(stream.id) && !(machine.end().is_some() && stream.is_closed());
            if !is_kept && suspect == Some(stream.id) && machine.current().is_some_and(|current| current != stream.id) {
                stream.stream.report(Health::Dead);
            }
            is_kept
        });
        state.wake_owner();
        if more {
            cx.waker().wake_by_ref();
        }
        unsupported
    }

    /// Tells the owner and the observers what has changed.
    fn report(&mut self, now: Moment) {
        let (current, stalled, stats) = {
            let machine = &self.parts.cell.lock().machine;
            (machine.current(), machine.needs_path(), machine.stats())
        };
        let peer = || self.parts.peer.clone();
        let path = self.streams.iter().find(|stream| Some(stream.id) == current).map(|stream| stream.stream.path());
        if let Some(path) = &path {
            self.parts.shown.send_if_modified(|shown| std::mem::replace(shown, path.clone()) != *path);
        }
        match (self.seen.stalled_at, stalled) {
            (None, true) if self.seen.moves.is_some() => {
                self.seen.stalled_at = Some(now);
                if let Some(stream) = self.streams.iter().find(|stream| Some(stream.id) == current) {
                    stream.stream.report(Health::Suspect);
                    self.seen.suspect = current;
                }
                self.parts.events.observe(&SessionEvent::Stalled { peer: peer() });
            }
            (Some(_), false) | (None, false) => {
                let stall = self.seen.stalled_at.take().map(|since| now.since(since));
                let to = self.parts.shown.borrow().clone();
                match self.seen.moves.replace(stats.moves) {
                    None => self.parts.events.observe(&SessionEvent::Began { peer: peer(), path: to }),
                    Some(before) if before < stats.moves => {
                        self.parts.events.observe(&SessionEvent::Moved { peer: peer(), to, stall: stall.unwrap_or_default() });
                    }
                    Some(_) => {
                        let suspect = self.seen.suspect.take();
                        if let Some(stream) = self.streams.iter().find(|stream| Some(stream.id) == suspect) {
                            stream.stream.report(Health::Recovered);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Begins a dial if one is due; when to look again.
    fn begin_dial(&mut self, now: Moment) -> Option<Moment> {
        let needed = self.parts.cell.lock().machine.needs_path();
        let is_begun = self.seen.moves.is_some();
        if !needed {
            return self.begin_move(now);
        }
        // Before its first answer a session's only path is the one that was dialled for it.
        if !is_begun || self.dials.len() >= MAX_DIALS {
            return None;
        }
        if self.dial_after <= now {
            self.dial_after = now + DIAL_EVERY;
            let (paths, target) = (self.parts.paths.clone(), self.parts.target.clone());
            let peer = self.parts.peer.short();
            self.dial(async move {
                let dialled = paths.again(&target).await;
                dialled.inspect_err(|error| tracing::debug!(%peer, %error, "no path for a session")).ok()
            });
        }
        Some(self.dial_after)
    }

    /// Dials for a planned move, from a relay to a direct path that is up.
    fn begin_move(&mut self, now: Moment) -> Option<Moment> {
        let is_direct = |path: &Option<Path>| path.as_ref().is_some_and(|path| !path.is_relayed());
        let may_gain = self.parts.is_opener
            && self.seen.moves.is_some()
            && self.streams.len() == 1
            && self.dials.is_empty()
            && self.parts.shown.borrow().is_relayed()
            && is_direct(&self.parts.paths.best(&self.parts.peer).borrow());
        if !may_gain {
            return None;
        }
        if self.dial_after > now {
            return Some(self.dial_after);
        }
        match self.parts.paths.may_move(&self.parts.peer, now) {
            Err(wait) => self.dial_after = now + wait.max(DIAL_EVERY),
            Ok(()) => {
                self.dial_after = now + DIAL_EVERY;
                let (paths, target) = (self.parts.paths.clone(), self.parts.target.clone());
                self.dial(async move { paths.direct(&target).await });
            }
        }
        Some(self.dial_after)
    }

    fn dial(&mut self, dial: impl Future<Output = Option<DuplexStream>> + Send + 'static) {
        self.dials.push(Box::pin(async move { timeout(DIAL_TIMEOUT, dial).await.ok().flatten() }));
    }

    /// Has the task woken at that moment.
    fn wake_at(&mut self, at: Option<Moment>, now: Moment, cx: &mut Context<'_>) {
        self.timer = at.map(|at| Box::pin(sleep(at.since(now))));
        if let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
    }
}

impl Future for Driver {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = &mut *self;
        let now = this.parts.cell.now();
        this.poll_attaches(cx, now);
        while let Poll::Ready(Some(_)) = Pin::new(&mut this.best).poll_next(cx) {}
        this.poll_dials(cx, now);
        if this.poll_streams(cx, now) {
            return Poll::Ready(Outcome::Unsupported);
        }
        let (end, deadline) = {
            let machine = &this.parts.cell.lock().machine;
            (machine.end(), machine.deadline())
        };
        let Some(end) = end else {
            this.report(now);
            let before = this.dials.len();
            let dial_at = this.begin_dial(now);
            if this.dials.len() > before {
                // The new dial has to be polled once.
                cx.waker().wake_by_ref();
            }
            this.wake_at([deadline, dial_at].into_iter().flatten().min(), now, cx);
            return Poll::Pending;
        };
        let over = *this.seen.ended_at.get_or_insert(now) + LAST_FRAMES;
        if this.streams.is_empty() || now >= over {
            return Poll::Ready(Outcome::Ended(end));
        }
        this.wake_at(Some(over), now, cx);
        Poll::Pending
    }
}
