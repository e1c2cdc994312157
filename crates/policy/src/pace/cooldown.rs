use std::{collections::HashMap, hash::Hash, time::Duration};

use kaspath_domain::{Moment, RetryCadence, make_room};

#[derive(Clone, Copy, Debug)]
struct Rest {
    failures: u32,
    since: Moment,
    until: Moment,
}

/// Who rests after failures, and until when. Bounded: beyond the limit the one
/// whose failure is oldest is forgotten.
#[derive(Clone, Debug)]
pub struct Cooldowns<K> {
    cadence: RetryCadence,
    limit: usize,
    resting: HashMap<K, Rest>,
}

impl<K: Clone + Eq + Hash> Cooldowns<K> {
    /// Rests by this cadence, without its jitter.
    pub fn new(cadence: RetryCadence, limit: usize) -> Self {
        Self { cadence, limit: limit.max(1), resting: HashMap::new() }
    }

    /// How long it still rests; zero if it does not.
    pub fn left(&self, key: &K, now: Moment) -> Duration {
        self.resting.get(key).map_or(Duration::ZERO, |rest| rest.until.since(now))
    }

    /// It has failed: it rests longer than the last time. While it rests, further
    /// failures are the echo of the first.
    pub fn failed(&mut self, key: &K, now: Moment) {
        if !self.left(key, now).is_zero() {
            return;
        }
        let failures = self.resting.get(key).map_or(0, |rest| rest.failures).saturating_add(1);
        let Some(delay) = self.cadence.delay(failures, 0.5) else { return };
        make_room(&mut self.resting, key, self.limit, |rest| rest.since);
        self.resting.insert(key.clone(), Rest { failures, since: now, until: now + delay });
    }

    /// It has worked: all is forgotten.
    pub fn worked(&mut self, key: &K) {
        self.resting.remove(key);
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.resting.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.resting.is_empty()
    }
}
