//! What a session shows of its peer, for when all places are taken.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kaspath_domain::{ByteCounters, Candidate, Moment, PeerClass};
use tokio::time::Instant;

/// One session's times.
#[derive(Debug)]
pub(super) struct Activity {
    started: Instant,
    /// When the peer's last message came, in milliseconds since then, and one more;
    /// 0 before the first.
    last: AtomicU64,
    /// The least that one of our pings took.
    round_trip: Mutex<Option<Duration>>,
}

impl Activity {
    /// Of a session that begins now.
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), last: AtomicU64::new(0), round_trip: Mutex::default() }
    }

    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// A message of the peer has come.
    pub(super) fn note(&self) {
        let millis = u64::try_from(self.age().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis.saturating_add(1), Ordering::Relaxed);
    }

    /// A ping of ours was answered; the least round trip counts.
    pub(super) fn measured(&self, round_trip: Duration) {
        let mut least = self.round_trip.lock().unwrap_or_else(PoisonError::into_inner);
        *least = Some(least.map_or(round_trip, |least| least.min(round_trip)));
    }

    /// The session as one of those that may have to go, by the clock that reads `now`.
    pub(super) fn candidate<Id>(&self, id: Id, class: PeerClass, bytes: &ByteCounters, now: Moment) -> Candidate<Id, PeerClass> {
        let since = now - self.age();
        let last = self.last.load(Ordering::Relaxed);
        Candidate {
            id,
            group: class,
            since,
            round_trip: *self.round_trip.lock().unwrap_or_else(PoisonError::into_inner),
            // What one side sends unasked counts for nothing.
            useful_bytes: bytes.received().min(bytes.sent()),
            last_activity: last.checked_sub(1).map(|millis| since + Duration::from_millis(millis)),
            pinned: false,
        }
    }
}
