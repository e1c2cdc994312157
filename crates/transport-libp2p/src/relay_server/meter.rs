//! What a circuit has moved, read by others while it runs.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use kaspath_domain::{Moment, MonotonicClock};

/// Where bytes of a circuit come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source = 0,
    Destination = 1,
}

#[derive(Debug)]
pub(super) struct Meter {
    clock: MonotonicClock,
    bytes: [AtomicU64; 2],
    /// Milliseconds since the clock's start; 0 for never.
    last: AtomicU64,
}

impl Meter {
    /// Times are by `clock`.
    pub(super) fn new(clock: MonotonicClock) -> Self {
        Self { clock, bytes: Default::default(), last: AtomicU64::new(0) }
    }

    /// That many bytes were passed on now.
    pub(super) fn count(&self, from: Side, bytes: usize) {
        self.bytes[from as usize].fetch_add(bytes as u64, Ordering::Relaxed);
        self.last.store(self.clock.now().since_start().as_millis() as u64, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self, from: Side) -> u64 {
        self.bytes[from as usize].load(Ordering::Relaxed)
    }

    /// When bytes were last passed on.
    pub(super) fn last_active(&self) -> Moment {
        Moment::after_start(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}
