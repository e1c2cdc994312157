//! One side of a session: which bytes are sent on which path, and when a path is given
//! up. It does no I/O and reads no clock.

mod incoming;
mod liveness;
mod outgoing;
mod path;
mod plain;
mod receiving;
#[cfg(test)]
mod tests;

use std::time::Duration;

use kaspath_domain::Moment;
use thiserror::Error;

use crate::{
    budget::Budget,
    wire::{BootId, Frame, Hello, Refusal, SessionId},
};
use incoming::{Incoming, MIN_WINDOW};
use liveness::{FIRST_PATIENCE, Liveness};
use outgoing::Outgoing;
pub(crate) use path::PathId;
use path::{PathState, Stage};

/// Bytes of which the peer is told at once.
const ACK_BYTES: u64 = 64 * 1024;
/// The time after which it is told of fewer.
const ACK_DELAY: Duration = Duration::from_millis(25);
/// Without a word from the peer for so long, it is asked whether it is there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a session waits for a path. kaspad waits 120 s for an answer.
const PARKED: Duration = Duration::from_secs(90);
/// How long a peer to which paths come up may acknowledge nothing of what is under way. It
/// would have the same bytes sent on one path after another.
const UNACKNOWLEDGED: Duration = Duration::from_secs(180);
/// How long a hello waits for its answer, and a path that is left for the peer's last byte.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the peer has for taking the last bytes after the owner has gone.
const LINGER: Duration = Duration::from_secs(10);
/// A session without a byte for so long holds no memory for more.
const REST: Duration = Duration::from_secs(1);
/// Streams of a session at once: the one in use, one that is left, and one attaching
/// from each side.
const MAX_PATHS: usize = 4;
/// Data in one frame of ours. It is copied there, so that a path never needs bytes that
/// were acknowledged meanwhile.
const FRAME_DATA: usize = 32 * 1024;

/// What the peer did against the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the peer breaks the session protocol: {0}")]
pub struct Violation(pub(crate) &'static str);

/// Why a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SessionEnd {
    /// Both sides have said that they are done, and each has all of the other's bytes.
    #[error("both sides have closed it")]
    Closed,
    /// Its owner here gave it up.
    #[error("it was dropped here")]
    Dropped,
    /// The peer's side gave it up.
    #[error("the peer has ended it")]
    Reset,
    /// The peer does not know the session: it has ended there.
    #[error("the peer has no such session any more")]
    Unknown,
    /// The peer has restarted.
    #[error("the peer has restarted")]
    Restarted,
    /// No path came up in time.
    #[error("no path to the peer came up in time")]
    NoPath,
    /// The peer took no new session.
    #[error("the peer takes no more sessions now")]
    Limited,
    /// The peer's first answer was nothing that belongs to a session.
    #[error(transparent)]
    Violation(#[from] Violation),
}

/// What a path is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Transmit<'a> {
    /// Write these bytes, then say how many were written.
    Bytes(&'a [u8]),
    /// Nothing now.
    Idle,
    /// Close the write side.
    Close,
}

/// What a session has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// How often it moved to another path.
    pub moves: u64,
    /// Bytes that were sent again on another path.
    pub replayed: u64,
    /// The longest time without a usable path.
    pub longest_stall: Duration,
}

/// A session's state at one of its two sides.
pub(crate) struct Machine {
    id: SessionId,
    boot: BootId,
    peer_boot: Option<BootId>,
    is_opener: bool,
    out: Outgoing,
    incoming: Incoming,
    paths: Vec<PathState>,
    next_path: u32,
    /// The path on which this side sends.
    current: Option<PathId>,
    /// The highest epoch of a path that carried the session.
    epoch: u32,
    /// The highest epoch that this side has proposed.
    proposed: u32,
    liveness: Liveness,
    /// When the peer was last heard.
    heard: Moment,
    /// When bytes last went either way.
    active: Moment,
    /// What the peer was told that we have.
    ack_told: u64,
    /// By when it is to be told more.
    ack_at: Option<Moment>,
    next_ping: u32,
    /// Since when there is no usable path.
    stalled_since: Option<Moment>,
    /// There was a usable path once.
    has_begun: bool,
    highest_sent: u64,
    /// When bytes were acknowledged last, or sent when none were under way.
    progress: Moment,
    /// The peer does not speak the protocol: the bytes go over one plain stream.
    is_plain: bool,
    /// The owner has gone: until when the last bytes may take.
    linger: Option<Moment>,
    end: Option<SessionEnd>,
    stats: SessionStats,
}

impl Machine {
    /// The side that opens a session.
    pub(crate) fn open(id: SessionId, boot: BootId, budget: &Budget, now: Moment) -> Self {
        Self::new(id, boot, None, true, budget, now)
    }

    /// The other side, at the peer's first hello.
    pub(crate) fn accept(hello: &Hello, boot: BootId, budget: &Budget, now: Moment) -> Self {
        Self::new(hello.session, boot, Some(hello.boot), false, budget, now)
    }

    fn new(id: SessionId, boot: BootId, peer_boot: Option<BootId>, is_opener: bool, budget: &Budget, now: Moment) -> Self {
        Self {
            id,
            boot,
            peer_boot,
            is_opener,
            out: Outgoing::new(budget, MIN_WINDOW as u64),
            incoming: Incoming::new(budget),
            paths: Vec::new(),
            next_path: 0,
            current: None,
            epoch: 0,
            proposed: 0,
            liveness: Liveness::default(),
            heard: now,
            active: now,
            ack_told: 0,
            ack_at: None,
            next_ping: 0,
            stalled_since: Some(now),
            has_begun: false,
            highest_sent: 0,
            progress: now,
            is_plain: false,
            linger: None,
            end: None,
            stats: SessionStats::default(),
        }
    }

    pub(crate) fn end(&self) -> Option<SessionEnd> {
        self.end
    }

    pub(crate) fn stats(&self) -> SessionStats {
        self.stats
    }

    pub(crate) fn current(&self) -> Option<PathId> {
        self.current
    }

    /// Whether the peer has confirmed that it has the session.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.peer_boot.is_some()
    }

    /// Whether a hello with this boot id shows that the peer has restarted.
    pub(crate) fn has_restarted(&self, boot: BootId) -> bool {
        self.peer_boot.is_some_and(|known| known != boot)
    }

    /// Whether another path is needed: there is none, or the one in use is silent.
    pub(crate) fn needs_path(&self) -> bool {
        self.end.is_none() && self.stalled_since.is_some()
    }

    /// Whether that path is suspect, if its stream is still wanted.
    pub(crate) fn is_suspect(&self, path: PathId) -> Option<bool> {
        self.paths.iter().find(|state| state.id == path).map(|path| path.suspect)
    }

    /// Whether the stream of that path is still wanted.
    pub(crate) fn has_path(&self, path: PathId) -> bool {
        self.paths.iter().any(|state| state.id == path)
    }

    // ---- the owner's side

    /// Takes bytes for the peer, as far as there is room.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> usize {
        self.out.write(bytes)
    }

    /// Whether a write takes nothing now.
    pub(crate) fn is_full(&self) -> bool {
        self.out.is_full()
    }

    /// No more bytes for the peer follow.
    pub(crate) fn close_write(&mut self) {
        self.out.end();
    }

    pub(crate) fn is_write_closed(&self) -> bool {
        self.out.is_ended()
    }

    /// Bytes that can be read, and whether none follow them.
    pub(crate) fn readable(&self) -> (usize, bool) {
        (self.incoming.available(), self.incoming.is_ended())
    }

    /// Moves up to `most` bytes of the peer's to `take`.
    pub(crate) fn read(&mut self, most: usize, take: impl FnMut(&[u8])) -> usize {
        self.incoming.read(most, take)
    }

    /// Whether the peer should be told of room.
    pub(crate) fn is_limit_due(&self) -> bool {
        self.is_plain || self.incoming.is_limit_due()
    }

    /// The owner has gone. If it had ended its bytes, they have a while to arrive.
    pub(crate) fn abandon(&mut self, now: Moment) {
        if self.out.is_ended() && !self.out.is_finished() {
            self.linger = Some(now + LINGER);
        } else if self.out.is_finished() && self.incoming.is_ended() {
            self.finish(SessionEnd::Closed);
        } else {
            self.finish(SessionEnd::Dropped);
        }
    }

    /// Ends the session; the peer is told on the path in use.
    pub(crate) fn finish(&mut self, end: SessionEnd) {
        if self.end.is_some() {
            return;
        }
        // A peer that forgot the session has got all that it was to get.
        let is_done = self.out.is_ended() && self.incoming.is_ended();
        let end = if end == SessionEnd::Unknown && is_done { SessionEnd::Closed } else { end };
        self.end = Some(end);
        for path in &mut self.paths {
            if matches!(end, SessionEnd::Dropped) {
                path.push(Frame::Reset);
            }
            path.closing = true;
        }
    }

    // ---- paths

    /// Begins to carry the session on a stream that this side opened.
    pub(crate) fn attach(&mut self, now: Moment) -> Option<PathId> {
        // The opener's epochs are even and the other side's odd: two never are the same.
        let least = self.epoch.max(self.proposed).checked_add(1)?;
        let epoch = least.checked_add(u32::from((least % 2 == 0) != self.is_opener))?;
        self.make_room(now);
        self.proposed = epoch;
        let (received, limit) = self.tell();
        let hello = Frame::Hello(Hello {
            session: self.id,
            boot: self.boot,
            epoch,
            received,
            limit,
            is_opener: self.is_opener,
            begins: self.is_opener && !self.is_confirmed(),
        });
        let id = self.add(epoch, Stage::Attaching, hello, now);
        // Nothing can be lost by sending at once: the peer drops what it has.
        if self.stalled_since.is_some() {
            self.send_on(id, now);
        }
        Some(id)
    }

    /// The peer's hello has come on a stream that it opened.
    pub(crate) fn attached(&mut self, hello: &Hello, now: Moment) -> Result<PathId, Refusal> {
        if self.end.is_some() || hello.is_opener == self.is_opener {
            return Err(Refusal::Unknown);
        }
        if self.has_restarted(hello.boot) {
            self.finish(SessionEnd::Restarted);
            return Err(Refusal::Unknown);
        }
        if hello.epoch <= self.epoch {
            return Err(Refusal::Superseded);
        }
        self.make_room(now);
        match self.out.acknowledge(hello.received, hello.limit) {
            Ok(true) => self.progress = now,
            Ok(false) => {}
            Err(violation) => {
                self.finish(violation.into());
                return Err(Refusal::Unknown);
            }
        }
        self.peer_boot = Some(hello.boot);
        let (received, limit) = self.tell();
        let accept = Frame::Accept { boot: self.boot, epoch: hello.epoch, received, limit };
        let id = self.add(hello.epoch, Stage::Attached, accept, now);
        (self.epoch, self.heard) = (hello.epoch, now);
        self.move_to(id, now);
        Ok(id)
    }

    /// Drops the path that waits longest, for its answer or its end, if there are too many:
    /// a newer one is more likely to work.
    fn make_room(&mut self, now: Moment) {
        if self.paths.len() >= MAX_PATHS {
            let waiting = self.paths.iter().filter(|path| path.stage != Stage::Attached);
            let longest = waiting.min_by_key(|path| path.since).map(|path| path.id);
            longest.into_iter().for_each(|id| self.lost(id, now));
        }
    }

    /// What the peer is told of the bytes that came; that counts as an acknowledgement.
    fn tell(&mut self) -> (u64, u64) {
        let received = self.incoming.received();
        (self.ack_told, self.ack_at) = (received, None);
        (received, self.incoming.limit())
    }

    fn add(&mut self, epoch: u32, stage: Stage, first: Frame, now: Moment) -> PathId {
        let id = PathId(self.next_path);
        self.next_path += 1;
        let mut path = PathState::new(id, epoch, stage, self.out.acked(), now);
        path.push(first);
        self.paths.push(path);
        id
    }

    /// The session is on that path from now on; the others are left.
    fn move_to(&mut self, id: PathId, now: Moment) {
        self.stats.moves += u64::from(self.has_begun);
        self.send_on(id, now);
        self.paths.retain_mut(|path| {
            if path.id == id {
                path.suspect = false;
            } else if path.stage == Stage::Attached {
                path.enter(Stage::Leaving, now);
                return !path.suspect;
            }
            true
        });
        self.usable(now);
    }

    /// The path in use works.
    fn usable(&mut self, now: Moment) {
        if let Some(since) = self.stalled_since.take()
            && std::mem::replace(&mut self.has_begun, true)
        {
            self.stats.longest_stall = self.stats.longest_stall.max(now.since(since));
        }
    }

    fn send_on(&mut self, id: PathId, now: Moment) {
        if self.current == Some(id) {
            return;
        }
        self.current = Some(id);
        self.liveness.restart();
        if self.sending().is_some_and(|path| path.stage == Stage::Attaching) {
            self.liveness.asked(now);
        }
    }

    /// A stream has ended or failed.
    pub(crate) fn lost(&mut self, id: PathId, now: Moment) {
        self.paths.retain(|path| path.id != id);
        if self.current == Some(id) {
            self.stall(now);
            self.leave(now);
        }
    }

    /// The path in use is of no more use.
    fn leave(&mut self, now: Moment) {
        self.current = None;
        self.liveness.restart();
        // One that the peer has not accepted yet is better than none.
        match self.paths.iter().rev().find(|path| path.stage == Stage::Attaching).map(|path| path.id) {
            Some(newest) => self.send_on(newest, now),
            None => self.stall(now),
        }
    }

    fn stall(&mut self, now: Moment) {
        self.stalled_since.get_or_insert(now);
    }

    // ---- time

    /// When [`Machine::tick`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        if self.end.is_some() {
            return None;
        }
        let mut earliest = [self.linger, self.rest_at()].into_iter().flatten().min();
        let mut consider = |at: Option<Moment>| earliest = [earliest, at].into_iter().flatten().min();
        consider(self.stalled_since.map(|since| since + PARKED));
        consider((self.highest_sent > self.out.acked()).then(|| self.progress + UNACKNOWLEDGED));
        for path in &self.paths {
            consider((path.stage != Stage::Attached).then(|| path.since + ANSWER));
            consider((path.stage == Stage::Attaching && !path.suspect).then(|| path.since + FIRST_PATIENCE));
        }
        if let Some(path) = self.sending() {
            // What is due while the stream takes nothing is due when it does again.
            consider(self.ack_at.filter(|_| path.pending().is_empty()));
            if !path.suspect {
                consider(self.liveness.late_at());
            }
            if path.ping.is_none() && path.stage == Stage::Attached {
                consider(Some(self.heard + HEARTBEAT));
            }
        }
        earliest
    }

    /// When memory is released that a busy session keeps for its next bytes.
    fn rest_at(&self) -> Option<Moment> {
        (self.out.is_restless() || self.incoming.is_restless()).then(|| self.active + REST)
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Moment) {
        if self.end.is_some() {
            return;
        }
        if self.rest_at().is_some_and(|at| at <= now) {
            self.out.rest();
            self.incoming.rest();
            self.paths.iter_mut().for_each(PathState::rest);
        }
        if self.linger.is_some_and(|until| until <= now) {
            return self.finish(SessionEnd::Dropped);
        }
        let is_stuck = self.highest_sent > self.out.acked() && self.progress + UNACKNOWLEDGED <= now;
        if is_stuck || self.stalled_since.is_some_and(|since| since + PARKED <= now) {
            return self.finish(SessionEnd::NoPath);
        }
        let overdue = |path: &&PathState| path.stage != Stage::Attached && path.since + ANSWER <= now;
        while let Some(id) = self.paths.iter().find(overdue).map(|path| path.id) {
            self.lost(id, now);
        }
        // Each is judged by itself: a newer one may be in use already.
        for path in self.paths.iter_mut().filter(|path| path.stage == Stage::Attaching) {
            path.suspect |= path.since + FIRST_PATIENCE <= now;
        }
        let late = self.liveness.late_at().is_some_and(|late| late <= now);
        let silent = self.heard + HEARTBEAT <= now;
        let number = self.next_ping;
        let Some(path) = self.sending_mut() else { return };
        path.suspect |= late;
        let is_suspect = path.suspect;
        // A suspect path is asked too: what was due on it may be acknowledged on another.
        if (silent || path.suspect) && path.ping.is_none() && path.stage == Stage::Attached {
            path.ping = Some((number, now));
            path.push(Frame::Ping(number));
            self.next_ping = number.wrapping_add(1);
            self.liveness.asked(now);
        }
        if is_suspect {
            self.stall(now);
        }
    }

    fn sending(&self) -> Option<&PathState> {
        self.paths.iter().find(|path| Some(path.id) == self.current)
    }

    fn sending_mut(&mut self) -> Option<&mut PathState> {
        self.paths.iter_mut().find(|path| Some(path.id) == self.current)
    }

    // ---- sending

    /// What the path is to write next. To be asked again until it is idle.
    pub(crate) fn transmit(&mut self, id: PathId, now: Moment) -> Transmit<'_> {
        let Some(index) = self.paths.iter().position(|path| path.id == id) else { return Transmit::Close };
        if self.paths[index].pending().is_empty() && self.end.is_none() {
            self.next_frame(index, now);
        }
        let path = &mut self.paths[index];
        if path.pending().is_empty() {
            return if path.closing { Transmit::Close } else { Transmit::Idle };
        }
        Transmit::Bytes(self.paths[index].pending())
    }

    fn next_frame(&mut self, index: usize, now: Moment) {
        let is_current = self.current == Some(self.paths[index].id);
        let path = &mut self.paths[index];
        if path.stage == Stage::Leaving && !std::mem::replace(&mut path.closing, true) {
            path.push(Frame::Moved);
        }
        if !is_current || path.closing {
            return;
        }
        if self.ack_at.is_some_and(|at| at <= now) || self.incoming.is_limit_due() {
            let (received, limit) = self.tell();
            self.paths[index].push(Frame::Ack { received, limit });
            self.close_if_done();
        }
        let path = &mut self.paths[index];
        if path.suspect || path.closing {
            return;
        }
        // What was acknowledged on another path need not be sent on this one.
        path.cursor = path.cursor.max(self.out.acked().min(self.out.written()));
        let length = self.out.sendable(path.cursor).min(FRAME_DATA);
        if length > 0 {
            path.push(Frame::Data { offset: path.cursor, length: length as u32 });
            let end = path.cursor + length as u64;
            self.stats.replayed += self.highest_sent.min(end).saturating_sub(path.cursor);
            if self.highest_sent <= self.out.acked() {
                self.progress = now;
            }
            self.highest_sent = self.highest_sent.max(end);
            while path.cursor < end {
                let bytes = self.out.bytes(path.cursor, (end - path.cursor) as usize);
                path.push_data(bytes);
                path.cursor += bytes.len() as u64;
            }
            self.liveness.sent(end, now);
            self.active = now;
        } else if self.out.is_ended() && !path.end_sent && path.cursor == self.out.written() {
            path.push(Frame::End { offset: path.cursor });
            path.end_sent = true;
            self.liveness.sent(self.out.target(), now);
        }
    }

    /// The path has written that many of the bytes that it was given.
    pub(crate) fn wrote(&mut self, id: PathId, count: usize) {
        if let Some(path) = self.paths.iter_mut().find(|path| path.id == id) {
            path.wrote(count);
        }
    }
}
