use std::{collections::HashMap, hash::Hash, time::Duration};

use kaspath_domain::{Moment, RetryCadence, make_room};

#[derive(Clone, Copy, Debug)]
struct BackOff {
    failures: u32,
    since: Moment,
    until: Moment,
}

/// Who is not dialled after failures, and until when. Bounded: beyond the limit the one
/// whose failure is oldest is forgotten.
#[derive(Clone, Debug)]
pub(crate) struct BackOffs<K> {
    cadence: RetryCadence,
    limit: usize,
    waiting: HashMap<K, BackOff>,
}

impl<K: Clone + Eq + Hash> BackOffs<K> {
    /// By this cadence, without its jitter.
    pub(crate) fn new(cadence: RetryCadence, limit: usize) -> Self {
        Self { cadence, limit: limit.max(1), waiting: HashMap::new() }
    }

    /// How long its back-off still lasts; zero if it has none.
    pub(crate) fn left(&self, key: &K, now: Moment) -> Duration {
        self.left_within(key, now, Duration::MAX)
    }

    /// The same, if no back-off lasts longer than that.
    pub(crate) fn left_within(&self, key: &K, now: Moment, longest: Duration) -> Duration {
        let Some(back_off) = self.waiting.get(key) else { return Duration::ZERO };
        back_off.until.since(now).min(longest.saturating_sub(now.since(back_off.since)))
    }

    /// It has failed: its back-off is longer than the last one. Until that has ended,
    /// further failures are the echo of the first.
    pub(crate) fn failed(&mut self, key: &K, now: Moment) {
        self.failed_within(key, now, Duration::MAX);
    }

    /// The same, if no back-off lasts longer than that; then the next one is no longer
    /// either.
    pub(crate) fn failed_within(&mut self, key: &K, now: Moment, longest: Duration) {
        if !self.left_within(key, now, longest).is_zero() {
            return;
        }
        let before = self.waiting.get(key).map_or(0, |back_off| back_off.failures);
        let mut failures = before.saturating_add(1);
        let Some(mut delay) = self.cadence.delay(failures, 0.5) else { return };
        if delay > longest {
            (failures, delay) = (before, longest);
        }
        make_room(&mut self.waiting, key, self.limit, |back_off| back_off.since);
        self.waiting.insert(key.clone(), BackOff { failures, since: now, until: now + delay });
    }

    /// It has worked: its failures are forgotten.
    pub(crate) fn worked(&mut self, key: &K) {
        self.waiting.remove(key);
    }

    /// How many are remembered.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}
