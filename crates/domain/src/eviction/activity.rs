use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::Candidate;
use crate::{ByteCounters, Moment};

/// One session's bytes and times. All moments that it is given are of one clock.
#[derive(Debug, Default)]
pub struct Activity {
    since: Moment,
    counters: Arc<ByteCounters>,
    /// When the peer last sent something, in milliseconds since the beginning, and one
    /// more; 0 if it never did.
    last: AtomicU64,
    round_trip: Mutex<Option<Duration>>,
}

impl Activity {
    /// Of a session that begins now, whose stream has these counters.
    pub fn new(counters: Arc<ByteCounters>, now: Moment) -> Self {
        Self { since: now, counters, last: AtomicU64::new(0), round_trip: Mutex::default() }
    }

    /// When it began.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// Bytes from the peer, and bytes to it.
    pub fn bytes(&self) -> (u64, u64) {
        (self.counters.received(), self.counters.sent())
    }

    /// The peer has sent something.
    pub fn note(&self, now: Moment) {
        let millis = u64::try_from(now.since(self.since).as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis.saturating_add(1), Ordering::Relaxed);
    }

    /// When the peer last sent something; `None` if it never did.
    pub fn last(&self) -> Option<Moment> {
        let millis = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.since + Duration::from_millis(millis))
    }

    /// Notes a round trip; only the least counts.
    pub fn measured(&self, round_trip: Duration) {
        let mut least = self.round_trip.lock().unwrap_or_else(PoisonError::into_inner);
        *least = Some(least.map_or(round_trip, |least| least.min(round_trip)));
    }

    /// The session as one of those that may be evicted. Useful are the bytes of the
    /// direction that moved fewer: what one side sends unasked counts for nothing.
    pub fn candidate<Id, Group>(&self, id: Id, group: Group) -> Candidate<Id, Group> {
        let (received, sent) = self.bytes();
        Candidate {
            id,
            group,
            since: self.since,
            round_trip: *self.round_trip.lock().unwrap_or_else(PoisonError::into_inner),
            useful_bytes: received.min(sent),
            last_activity: self.last(),
            pinned: false,
        }
    }
}
