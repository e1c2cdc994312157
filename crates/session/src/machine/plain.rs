//! A session whose peer does not speak the protocol: its bytes are those of the stream.

use super::{Machine, SessionEnd, incoming::MIN_WINDOW};

impl Machine {
    /// The session has no paths from now on, and waits for none.
    pub(crate) fn begin_plain(&mut self) {
        self.paths.clear();
        // What was sent on them was lost with them.
        self.highest_sent = 0;
        (self.current, self.stalled_since, self.is_plain) = (None, None, true);
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Bytes to be written to the stream next.
    pub(crate) fn plain_pending(&self) -> &[u8] {
        self.out.bytes(self.out.acked(), usize::MAX)
    }

    /// That many of them are written.
    pub(crate) fn plain_wrote(&mut self, count: usize) {
        let written = self.out.acked() + count as u64;
        let _ = self.out.acknowledge(written, written);
        self.close_if_done();
    }

    /// Everything is written, and the stream's write side is to be closed.
    pub(crate) fn is_plain_written(&self) -> bool {
        self.out.is_ended() && self.out.acked() == self.out.written()
    }

    /// The stream's write side is closed.
    pub(crate) fn plain_closed(&mut self) {
        self.plain_wrote(1);
    }

    /// How many bytes may be read from the stream.
    pub(crate) fn plain_room(&self) -> usize {
        MIN_WINDOW.saturating_sub(self.incoming.available())
    }

    /// These bytes were read, or the end.
    pub(crate) fn plain_received(&mut self, bytes: &[u8]) {
        // Nobody is told of the limit; it only has to follow what the owner reads.
        self.incoming.limit();
        let at = self.incoming.received();
        let taken = if bytes.is_empty() { self.incoming.end(at).map(drop) } else { self.incoming.receive(at, bytes).map(drop) };
        if let Err(violation) = taken {
            self.finish(SessionEnd::Violation(violation));
        }
        self.close_if_done();
    }
}
