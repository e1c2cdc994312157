use std::collections::VecDeque;

use super::violation::Violation;
use crate::budget::{Budget, SMALL, Share};

/// What a session may hold for its peer without a share of the common budget.
pub(crate) const MIN_REPLAY: usize = 256 * 1024;
/// What it may hold at most. Over a round trip of 200 ms that is 21 MB/s.
pub(crate) const MAX_REPLAY: usize = 4 * 1024 * 1024;
/// Room that is asked for at once.
const STEP: usize = 256 * 1024;

/// Bytes for the peer, kept until the peer says that it has them. The end of the bytes
/// counts as one more byte, so that it is acknowledged like the others.
pub(crate) struct Outgoing {
    /// The bytes from `acked` to `written`.
    ring: VecDeque<u8>,
    acked: u64,
    written: u64,
    ended: bool,
    /// The peer takes bytes before this offset.
    limit: u64,
    share: Share,
}

impl Outgoing {
    pub(crate) fn new(budget: &Budget, limit: u64) -> Self {
        Self { ring: VecDeque::new(), acked: 0, written: 0, ended: false, limit, share: budget.share() }
    }

    /// Takes bytes, as far as there is room for them.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> usize {
        if self.ended {
            return 0;
        }
        let wanted = self.ring.len() + bytes.len();
        if wanted > MIN_REPLAY {
            let share = (wanted - MIN_REPLAY).next_multiple_of(STEP);
            if share > self.share.bytes() {
                self.share.resize(share.min(MAX_REPLAY - MIN_REPLAY));
                // No more than was taken from the budget.
                self.ring.reserve_exact((MIN_REPLAY + self.share.bytes()).saturating_sub(self.ring.len()));
            }
        }
        let taken = self.room().min(bytes.len());
        self.ring.extend(&bytes[..taken]);
        self.written += taken as u64;
        taken
    }

    fn room(&self) -> usize {
        (MIN_REPLAY + self.share.bytes()).saturating_sub(self.ring.len())
    }

    /// Whether a write would take nothing now.
    pub(crate) fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// No more bytes follow.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// All bytes before this offset are written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The peer has all bytes before this offset.
    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    /// The offset after the last byte and the end, if there is one.
    pub(crate) fn target(&self) -> u64 {
        self.written + u64::from(self.ended)
    }

    /// The peer has everything, the end too.
    pub(crate) fn is_finished(&self) -> bool {
        self.ended && self.acked == self.target()
    }

    /// How many bytes may be sent from an offset on.
    pub(crate) fn sendable(&self, from: u64) -> usize {
        self.written.min(self.limit).saturating_sub(from) as usize
    }

    /// Bytes from an offset on, at least one and at most `limit`, if there are any.
    pub(crate) fn bytes(&self, from: u64, limit: usize) -> &[u8] {
        let skip = from.saturating_sub(self.acked) as usize;
        let (front, back) = self.ring.as_slices();
        let bytes = match skip.checked_sub(front.len()) {
            None => &front[skip..],
            Some(skip) => back.get(skip..).unwrap_or_default(),
        };
        &bytes[..limit.min(bytes.len())]
    }

    /// The peer has all before `received` and takes what is before `limit`. Whether that
    /// is more than it had.
    pub(crate) fn acknowledge(&mut self, received: u64, limit: u64) -> Result<bool, Violation> {
        if received > self.target() {
            return Err(Violation("it acknowledges bytes that were not written"));
        }
        self.limit = self.limit.max(limit);
        if received <= self.acked {
            return Ok(false);
        }
        let freed = (received.min(self.written) - self.acked.min(self.written)) as usize;
        self.ring.drain(..freed);
        self.acked = received;
        // A session that always has a little to send never rests.
        if self.share.bytes() > 0 || self.ring.capacity() <= SMALL {
            self.rest();
        }
        Ok(true)
    }

    /// Releases memory that nothing is kept in.
    pub(crate) fn rest(&mut self) {
        if self.ring.is_empty() {
            self.ring = VecDeque::new();
            self.share.resize(0);
        }
    }

    /// Whether there is memory to release.
    pub(crate) fn is_restless(&self) -> bool {
        self.ring.is_empty() && self.ring.capacity() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_kept_until_acknowledged_and_memory_returns() {
        let mut out = Outgoing::new(&Budget::new(0), 10);
        assert_eq!(out.write(b"hello, world"), 12);
        assert_eq!((out.sendable(0), out.bytes(4, 100)), (10, &b"o, world"[..]));
        assert_eq!(out.acknowledge(5, 100), Ok(true));
        assert_eq!((out.sendable(5), out.bytes(7, 3)), (7, &b"wor"[..]));
        assert_eq!(out.acknowledge(4, 0), Ok(false), "an old one changes nothing");
        out.end();
        assert_eq!(out.write(b"more"), 0);
        assert!(out.acknowledge(14, 0).is_err());
        assert_eq!(out.acknowledge(12, 0), Ok(true));
        assert!(!out.is_finished());
        assert_eq!(out.acknowledge(13, 0), Ok(true));
        assert!(out.is_finished() && !out.is_restless(), "little memory is released at once");
        let mut out = Outgoing::new(&Budget::new(0), u64::MAX);
        out.write(&[7; 2 * SMALL]);
        out.acknowledge(2 * SMALL as u64, 0).unwrap();
        assert!(out.is_restless(), "much is kept for the next bytes");
        out.rest();
        assert!(!out.is_restless());
    }

    #[test]
    fn without_a_share_only_the_minimum_is_held_and_with_one_the_maximum() {
        let bytes = vec![7; 2 * MAX_REPLAY];
        let share = MAX_REPLAY - MIN_REPLAY;
        let budget = Budget::new(8 * share);
        let (mut first, mut second) = (Outgoing::new(&budget, 0), Outgoing::new(&budget, 0));
        assert_eq!((first.write(&bytes), second.write(&bytes)), (MAX_REPLAY, MIN_REPLAY + share / 8 * 7));
        assert!(first.is_full() && second.is_full());
        first.acknowledge(MAX_REPLAY as u64, 0).unwrap();
        assert_eq!(second.write(&bytes), share / 8);
        assert_eq!(Outgoing::new(&Budget::new(0), 0).write(&bytes), MIN_REPLAY);
    }

    #[test]
    fn memory_that_a_burst_took_is_in_the_budget_until_it_is_released() {
        let budget = Budget::new(8 * MAX_REPLAY);
        let mut out = Outgoing::new(&budget, u64::MAX);
        assert_eq!(out.write(&vec![7; MAX_REPLAY]), MAX_REPLAY);
        out.acknowledge(MAX_REPLAY as u64 - 10, 0).unwrap();
        // It never rests, and writes a little more than the minimum now and then.
        for _ in 0..4 {
            out.write(&vec![7; MIN_REPLAY + 1]);
            assert!(out.ring.capacity() <= MIN_REPLAY + out.share.bytes(), "{} {}", out.ring.capacity(), out.share.bytes());
            out.acknowledge(out.written() - 10, 0).unwrap();
        }
        out.acknowledge(out.written(), 0).unwrap();
        assert!((out.share.bytes(), out.ring.capacity()) <= (0, MIN_REPLAY), "all is acknowledged");
    }
}
