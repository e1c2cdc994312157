//! How many bytes a circuit may still move.

use std::task::{Context, Poll};

/// A circuit's byte limit. Each read asks it first, so this is also where a limit in
/// bytes per second belongs: it answers `Pending`, keeps the waker, and wakes when
/// there is more. What is not read meanwhile holds the sender back.
#[derive(Debug)]
pub(super) struct Quota {
    left: u64,
}

impl Quota {
    /// So many bytes both ways together; 0 is unlimited.
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { left: if max_bytes == 0 { u64::MAX } else { max_bytes } }
    }

    /// How many of `wanted` bytes may be read now; 0 when the limit is reached.
    pub(super) fn poll_permit(&self, _cx: &mut Context<'_>, wanted: usize) -> Poll<usize> {
        Poll::Ready(usize::try_from(self.left).map_or(wanted, |left| left.min(wanted)))
    }

    /// That many bytes were read.
    pub(super) fn take(&mut self, bytes: usize) {
        if self.left != u64::MAX {
            self.left = self.left.saturating_sub(bytes as u64);
        }
    }
}
