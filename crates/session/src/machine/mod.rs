//! One side of a session: which bytes are sent on which path, and when a path is given
//! up. It does no I/O and reads no clock.

mod incoming;
mod liveness;
mod outgoing;
mod owner;
mod path;
mod paths;
mod plain;
mod receiving;
mod sending;
#[cfg(test)]
mod tests;
mod time;
mod violation;

use std::time::Duration;

use kaspath_domain::Moment;
use serde::Serialize;
use thiserror::Error;

use crate::{
    budget::Budget,
    wire::{BootId, Hello, MAX_DATA, SessionId},
};
use incoming::{Incoming, MIN_WINDOW};
use liveness::Liveness;
use outgoing::Outgoing;
pub(crate) use path::PathId;
use path::{PathState, Stage};
pub use violation::Violation;

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
const FRAME_DATA: usize = MAX_DATA;

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
    /// The peer broke the protocol.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SessionStats {
    /// How often it moved to another path.
    pub moves: u64,
    /// Bytes that were sent again on another path.
    pub replayed: u64,
    /// The longest time without a usable path.
    #[serde(serialize_with = "kaspath_domain::time::seconds")]
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
            // Most sessions have one for all their life, and a first push makes room for four.
            paths: Vec::with_capacity(1),
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

    /// The smoothed round trip of the path in use, if one was measured.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.liveness.round_trip()
    }

    /// The path in use, if the peer has agreed to it.
    pub(crate) fn carrying(&self) -> Option<PathId> {
        self.sending().filter(|path| path.stage == Stage::Attached).map(|path| path.id)
    }

    /// Bytes that are sent on the path in use and were sent on another before, those
    /// included that are still to be sent.
    pub(crate) fn replays(&self) -> u64 {
        let left = |path: &PathState| self.highest_sent.saturating_sub(path.cursor.max(self.out.acked()));
        self.sending().map_or(0, |path| path.replayed + left(path))
    }

    /// Whether the peer has confirmed that it has the session.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.peer_boot.is_some()
    }

    /// Whether a hello with this boot id shows that the peer has restarted. One of an earlier
    /// start only shows that it comes late.
    pub(crate) fn has_restarted(&self, boot: BootId) -> bool {
        self.peer_boot.is_some_and(|known| known < boot)
    }

    /// Whether this boot id is of another start of the peer's program than the session.
    fn is_of_another_start(&self, boot: BootId) -> bool {
        self.peer_boot.is_some_and(|known| known != boot)
    }

    /// Since when the session, which has begun, has no usable path.
    pub(crate) fn parked_since(&self) -> Option<Moment> {
        self.stalled_since.filter(|_| self.has_begun && self.end.is_none())
    }

    /// Whether another path is needed: there is none, or the one in use is silent.
    pub(crate) fn needs_path(&self) -> bool {
        self.end.is_none() && self.stalled_since.is_some()
    }

    /// Whether that path is suspect, if its stream is still wanted.
    pub(crate) fn is_suspect(&self, path: PathId) -> Option<bool> {
        self.paths.iter().find(|state| state.id == path).map(|path| path.suspect)
    }

    /// Whether the peer is to see on that path that the session has ended. This side's program
    /// may end next, and take along what has not left yet.
    pub(crate) fn is_end_to_be_seen(&self, path: PathId) -> bool {
        self.current == Some(path) && matches!(self.end, Some(SessionEnd::Closed | SessionEnd::Dropped))
    }

    /// Whether the stream of that path is still wanted.
    pub(crate) fn has_path(&self, path: PathId) -> bool {
        self.paths.iter().any(|state| state.id == path)
    }
}
