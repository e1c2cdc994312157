use std::sync::atomic::{AtomicU64, Ordering};

/// Messages of one session.
#[derive(Debug, Default)]
pub struct MessageCounters {
    received: AtomicU64,
    sent: AtomicU64,
    dropped: AtomicU64,
    drained: AtomicU64,
}

impl MessageCounters {
    /// Messages received.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Messages handed to the transport.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Inventory announcements dropped because their flow was busy.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Messages of kinds that no flow here takes.
    pub fn drained(&self) -> u64 {
        self.drained.load(Ordering::Relaxed)
    }

    pub(super) fn count_received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_drained(&self) {
        self.drained.fetch_add(1, Ordering::Relaxed);
    }
}
