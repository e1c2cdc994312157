//! What a session's own bytes show of it.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kaspath_domain::{ByteCounters, Moment};

/// Less than any Kaspa handshake: HTTP/2's preface, its settings, the request's
/// headers and a Version message are several times as many bytes.
const HANDSHAKE_BYTES: u64 = 64;

/// One session's bytes and times, by the gateway's clock.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    since: Moment,
    counters: Arc<ByteCounters>,
    /// When the peer last sent something, in milliseconds of that clock.
    last: AtomicU64,
    /// The round trip as kaspad measured it.
    round_trip: RwLock<Option<Duration>>,
}

impl Activity {
    /// Of a session that begins now.
    pub(crate) fn new(counters: Arc<ByteCounters>, now: Moment) -> Self {
        Self { since: now, counters, last: AtomicU64::new(millis(now)), round_trip: RwLock::default() }
    }

    /// When it began.
    pub(crate) fn since(&self) -> Moment {
        self.since
    }

    /// Bytes that the peer has sent so far.
    pub(crate) fn received(&self) -> u64 {
        self.counters.received()
    }

    /// Bytes from the peer, and bytes to it.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.counters.received(), self.counters.sent())
    }

    /// The peer has sent something.
    pub(crate) fn note(&self, now: Moment) {
        self.last.store(millis(now), Ordering::Relaxed);
    }

    /// When the peer last sent something; its beginning if it never did.
    pub(crate) fn last(&self) -> Moment {
        Moment::after_start(Duration::from_millis(self.last.load(Ordering::Relaxed))).max(self.since)
    }

    /// Whether both sides have said as much as a handshake takes.
    pub(crate) fn has_begun(&self) -> bool {
        let (received, sent) = self.bytes();
        received >= HANDSHAKE_BYTES && sent > 0
    }

    /// Bytes of the direction that moved fewer: what one side sends unasked counts
    /// for nothing.
    pub(crate) fn useful_bytes(&self) -> u64 {
        let (received, sent) = self.bytes();
        received.min(sent)
    }

    /// Notes what kaspad measured; the least counts.
    pub(crate) fn measured(&self, round_trip: Duration) {
        let mut least = self.round_trip.write().unwrap_or_else(PoisonError::into_inner);
        *least = Some(least.map_or(round_trip, |least| least.min(round_trip)));
    }

    /// The least round trip that kaspad has measured.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        *self.round_trip.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(time: Moment) -> u64 {
    u64::try_from(time.since_start().as_millis()).unwrap_or(u64::MAX)
}
