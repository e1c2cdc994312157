use std::collections::VecDeque;

use super::violation::Violation;
use crate::budget::{Budget, SMALL, Share};

/// What a peer may send before its session's owner reads, in any case and at most. It
/// grows while the owner keeps up.
pub(crate) const MIN_WINDOW: usize = 256 * 1024;
pub(crate) const MAX_WINDOW: usize = 4 * 1024 * 1024;

/// Bytes from the peer until they are read.
pub(crate) struct Incoming {
    ring: VecDeque<u8>,
    received: u64,
    /// The end has come: no byte follows.
    ended: bool,
    /// What the peer was told that it may send.
    limit: u64,
    window: usize,
    /// Bytes read since the window grew.
    read: usize,
    share: Share,
}

impl Incoming {
    pub(crate) fn new(budget: &Budget) -> Self {
        let (limit, window) = (MIN_WINDOW as u64, MIN_WINDOW);
        Self { ring: VecDeque::new(), received: 0, ended: false, limit, window, read: 0, share: budget.share() }
    }

    /// Bytes have come; those that were here before are dropped. How many are new.
    pub(crate) fn receive(&mut self, offset: u64, bytes: &[u8]) -> Result<usize, Violation> {
        let known = self.received.checked_sub(offset).ok_or(Violation("it leaves bytes out"))?;
        let new = &bytes[(known.min(bytes.len() as u64)) as usize..];
        if self.received + new.len() as u64 > self.limit {
            return Err(Violation("it sends more than it may"));
        }
        if self.ended && !new.is_empty() {
            return Err(Violation("it sends bytes after the end"));
        }
        self.ring.extend(new);
        self.received += new.len() as u64;
        Ok(new.len())
    }

    /// The end is at this offset. Whether that is new.
    pub(crate) fn end(&mut self, offset: u64) -> Result<bool, Violation> {
        if offset != self.received {
            return Err(Violation("its end is not where its bytes end"));
        }
        Ok(!std::mem::replace(&mut self.ended, true))
    }

    /// Everything up to here has come, the end included.
    pub(crate) fn received(&self) -> u64 {
        self.received + u64::from(self.ended)
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Bytes that can be read.
    pub(crate) fn available(&self) -> usize {
        self.ring.len()
    }

    /// Moves up to `most` bytes to `take`, in one or two pieces.
    pub(crate) fn read(&mut self, most: usize, mut take: impl FnMut(&[u8])) -> usize {
        let count = most.min(self.ring.len());
        let (front, back) = self.ring.as_slices();
        let first = count.min(front.len());
        take(&front[..first]);
        if count > first {
            take(&back[..count - first]);
        }
        self.ring.drain(..count);
        if self.ring.capacity() <= SMALL {
            self.release();
        }
        self.read += count;
        if self.read >= self.window && self.ring.len() < self.window / 2 && self.window < MAX_WINDOW {
            let wanted = (2 * self.window).min(MAX_WINDOW);
            // A window that grows again must not give back what the peer may still send.
            let share = self.share.resize(wanted.max(self.told()) - MIN_WINDOW);
            (self.window, self.read) = (wanted.min(MIN_WINDOW + share), 0);
        }
        count
    }

    fn release(&mut self) {
        if self.ring.is_empty() {
            self.ring = VecDeque::new();
        }
    }

    /// Releases memory that nothing is kept in, and lets the window begin to grow again.
    pub(crate) fn rest(&mut self) {
        self.release();
        if self.ring.is_empty() {
            (self.window, self.read) = (MIN_WINDOW, 0);
            self.give_back();
        }
    }

    /// Whether there is memory to release.
    pub(crate) fn is_restless(&self) -> bool {
        self.ring.is_empty() && (self.ring.capacity() > 0 || self.window > MIN_WINDOW)
    }

    /// How many bytes there are if the peer sends all that it was told that it may.
    fn told(&self) -> usize {
        (self.limit - (self.received - self.ring.len() as u64)) as usize
    }

    /// Gives back to the budget what neither the window nor the peer needs. The peer may still
    /// send what it was once told that it may.
    fn give_back(&mut self) {
        let needed = self.window.max(self.told()) - MIN_WINDOW;
        if needed < self.share.bytes() {
            self.share.resize(needed);
        }
    }

    /// The limit that the peer should be told.
    pub(crate) fn limit(&mut self) -> u64 {
        let unread = self.ring.len() as u64;
        self.limit = self.limit.max(self.received - unread + self.window as u64);
        self.give_back();
        self.limit
    }

    /// Whether the peer may send so little more that it should be told of the room.
    pub(crate) fn is_limit_due(&self) -> bool {
        let limit = self.received - self.ring.len() as u64 + self.window as u64;
        !self.ended && limit.saturating_sub(self.limit) >= self.window as u64 / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_dropped_and_gaps_refused() {
        let mut incoming = Incoming::new(&Budget::new(0));
        assert_eq!(incoming.receive(0, b"hello"), Ok(5));
        assert_eq!(incoming.receive(3, b"lo, world"), Ok(7));
        assert_eq!(incoming.receive(0, b"hello"), Ok(0));
        assert!(incoming.receive(13, b"x").is_err());
        assert!(incoming.end(11).is_err() && incoming.end(13).is_err());
        assert_eq!((incoming.end(12), incoming.end(12)), (Ok(true), Ok(false)));
        assert!(incoming.receive(12, b"x").is_err());
        assert_eq!((incoming.receive(2, b"llo"), incoming.received()), (Ok(0), 13));
        let mut read = Vec::new();
        assert_eq!(incoming.read(100, |bytes| read.extend(bytes)), 12);
        assert_eq!((&read[..], incoming.is_restless()), (&b"hello, world"[..], false), "little memory is released at once");
    }

    #[test]
    fn a_window_grows_while_it_is_read_and_only_from_the_budget() {
        let budget = Budget::new(8 * MAX_WINDOW);
        let mut incoming = Incoming::new(&budget);
        let bytes = vec![1; MIN_WINDOW];
        assert!(incoming.receive(0, &vec![1; MIN_WINDOW + 1]).is_err());
        let mut most = 0;
        for n in 0..64 {
            incoming.receive(n * MIN_WINDOW as u64, &bytes).unwrap();
            incoming.read(usize::MAX, |_| {});
            let before = incoming.received;
            most = most.max(incoming.limit() - before);
        }
        assert_eq!(most, MAX_WINDOW as u64);
        // After a rest the peer may still send so much, and what it has used comes back.
        assert!(incoming.is_restless());
        incoming.rest();
        assert!(!incoming.is_restless());
        assert_eq!((incoming.window, incoming.share.bytes()), (MIN_WINDOW, MAX_WINDOW - MIN_WINDOW));
        let (start, small) = (incoming.received, MIN_WINDOW / 4);
        for n in 0..16 * 4 {
            incoming.receive(start + (n * small) as u64, &bytes[..small]).unwrap();
            incoming.read(usize::MAX, |_| {});
            incoming.limit();
            // It never reads so much without a rest that the window grows.
            incoming.rest();
        }
        assert_eq!((incoming.share.bytes(), incoming.limit() - incoming.received), (0, MIN_WINDOW as u64));
        assert_eq!(budget.share().resize(usize::MAX), MAX_WINDOW, "the budget is whole again");
        let mut starved = Incoming::new(&Budget::new(0));
        for n in 0..4 {
            starved.receive(n * MIN_WINDOW as u64, &bytes).unwrap();
            assert!(starved.receive((n + 1) * MIN_WINDOW as u64, b"x").is_err());
            starved.read(usize::MAX, |_| {});
            assert!(starved.is_limit_due());
            assert_eq!(starved.limit(), (n + 2) * MIN_WINDOW as u64);
        }
    }

    #[test]
    fn a_window_that_grows_anew_gives_nothing_back_that_the_peer_may_still_send() {
        let budget = Budget::new(8 * MAX_WINDOW);
        let (mut incoming, bytes) = (Incoming::new(&budget), vec![1; MIN_WINDOW]);
        let receive_and_read = |incoming: &mut Incoming| {
            incoming.receive(incoming.received, &bytes).unwrap();
            incoming.read(usize::MAX, |_| {});
        };
        while incoming.window < MAX_WINDOW {
            receive_and_read(&mut incoming);
            incoming.limit();
        }
        incoming.rest();
        for _ in 0..64 {
            receive_and_read(&mut incoming);
            let may_come = (incoming.limit - incoming.received) as usize;
            assert!(may_come <= MIN_WINDOW + incoming.share.bytes(), "{may_come} {}", incoming.share.bytes());
            assert!(incoming.window <= MIN_WINDOW + incoming.share.bytes());
            incoming.limit();
        }
        assert_eq!(incoming.window, MAX_WINDOW, "it grows anew");
    }
}
