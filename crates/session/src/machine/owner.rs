//! What a session's owner does with it.

use kaspath_domain::Moment;

use super::{LINGER, Machine, SessionEnd};
use crate::wire::Frame;

impl Machine {
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

    /// Ends the session and closes its paths. Only if it was dropped here the peer is told, on
    /// each of them.
    pub(crate) fn finish(&mut self, end: SessionEnd) {
        if self.end.is_some() {
            return;
        }
        // A peer that forgot the session has got all that it was to get.
        let is_done = self.out.is_ended() && self.incoming.is_ended();
        let end = if end == SessionEnd::Unknown && is_done { SessionEnd::Closed } else { end };
        self.end = Some(end);
        if end == SessionEnd::Restarted {
            // Nobody is there who would take the last bytes.
            self.paths.clear();
        }
        for path in &mut self.paths {
            if matches!(end, SessionEnd::Dropped) {
                path.push(Frame::Reset);
            }
            path.closing = true;
        }
    }
}
