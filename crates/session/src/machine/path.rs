use kaspath_domain::Moment;

use crate::{
    budget::SMALL,
    wire::{Decoder, Frame},
};

/// Names a path of one session; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PathId(pub(super) u32);

/// Where a path is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// We said hello; the peer has not answered.
    Attaching,
    /// Both sides agreed on it.
    Attached,
    /// The session is on another path. What still comes is taken.
    Leaving,
}

/// One stream that carries the session, or did.
pub(super) struct PathState {
    pub(super) id: PathId,
    pub(super) epoch: u32,
    pub(super) stage: Stage,
    /// When the stage began.
    pub(super) since: Moment,
    /// The offset of the next byte that it carries.
    pub(super) cursor: u64,
    /// Bytes sent on it that had been sent on another.
    pub(super) replayed: u64,
    /// The end was sent on it.
    pub(super) end_sent: bool,
    /// Encoded frames, written up to `at`.
    frames: Vec<u8>,
    at: usize,
    pub(super) decoder: Decoder,
    /// The last frame is written: the stream's write side is to be closed.
    pub(super) closing: bool,
    /// Nothing was heard on it for too long while an answer was due.
    pub(super) suspect: bool,
    /// The number of the ping that was not answered yet, and when it was sent.
    pub(super) ping: Option<(u32, Moment)>,
}

impl PathState {
    pub(super) fn new(id: PathId, epoch: u32, stage: Stage, cursor: u64, now: Moment) -> Self {
        Self {
            id,
            epoch,
            stage,
            since: now,
            cursor,
            replayed: 0,
            end_sent: false,
            frames: Vec::new(),
            at: 0,
            decoder: Decoder::default(),
            closing: false,
            suspect: false,
            ping: None,
        }
    }

    /// Writes a frame next.
    pub(super) fn push(&mut self, frame: Frame) {
        frame.encode(&mut self.frames);
    }

    /// Writes these bytes, which belong to the data frame before them.
    pub(super) fn push_data(&mut self, bytes: &[u8]) {
        self.frames.extend(bytes);
    }

    /// What is still to be written.
    pub(super) fn pending(&self) -> &[u8] {
        &self.frames[self.at..]
    }

    pub(super) fn wrote(&mut self, count: usize) {
        self.at += count;
        // Half at least is dropped, so that a byte is moved once on average, and a peer that
        // always leaves something unread makes nothing grow.
        if 2 * self.at >= self.frames.len() {
            self.frames.drain(..self.at);
            self.at = 0;
        }
        if self.frames.capacity() <= SMALL {
            self.rest();
        }
    }

    /// Whether there is memory to release.
    pub(super) fn is_restless(&self) -> bool {
        self.frames.is_empty() && self.frames.capacity() > 0
    }

    /// Releases memory that nothing is kept in.
    pub(super) fn rest(&mut self) {
        if self.frames.is_empty() {
            self.frames = Vec::new();
        }
    }

    /// Memory held for frames, for tests.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.frames.capacity()
    }

    pub(super) fn enter(&mut self, stage: Stage, now: Moment) {
        (self.stage, self.since) = (stage, now);
    }

    /// The offset after what was sent on it, the end included.
    pub(super) fn sent(&self) -> u64 {
        self.cursor + u64::from(self.end_sent)
    }
}
