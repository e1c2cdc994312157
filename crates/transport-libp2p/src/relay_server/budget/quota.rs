use std::{collections::HashMap, hash::Hash, time::Duration};

use kaspath_domain::{Moment, make_room};

/// Peers and prefixes whose use is remembered, each.
pub(super) const MAX_REMEMBERED: usize = 4096;

/// Bytes used in a window that began with the first of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Use {
    window: Option<Moment>,
    bytes: u64,
}

impl Use {
    /// What was used of the window that is open now.
    pub(super) fn bytes(&self, window: Duration, now: Moment) -> u64 {
        self.left(window, now).map_or(0, |_| self.bytes)
    }

    /// Until the window ends.
    pub(super) fn left(&self, window: Duration, now: Moment) -> Option<Duration> {
        let left = (self.window? + window).since(now);
        (!left.is_zero()).then_some(left)
    }

    pub(super) fn is_over(&self, quota: u64, window: Duration, now: Moment) -> bool {
        quota > 0 && self.bytes(window, now) >= quota
    }

    pub(super) fn add(&mut self, bytes: u64, window: Duration, now: Moment) {
        if self.left(window, now).is_none() {
            *self = Self { window: Some(now), bytes: 0 };
        }
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// What each has used. When the table is full, the one that used least makes room: free
/// identities do not push out those who used much.
#[derive(Clone, Debug)]
pub(super) struct Uses<K>(HashMap<K, Use>);

impl<K> Default for Uses<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Clone + Eq + Hash> Uses<K> {
    pub(super) fn is_over(&self, key: &K, quota: u64, window: Duration, now: Moment) -> bool {
        self.0.get(key).is_some_and(|used| used.is_over(quota, window, now))
    }

    pub(super) fn add(&mut self, key: &K, bytes: u64, window: Duration, now: Moment) {
        make_room(&mut self.0, key, MAX_REMEMBERED, |used| used.bytes(window, now));
        self.0.entry(key.clone()).or_default().add(bytes, window, now);
    }

    /// How many are over their quota.
    pub(super) fn over(&self, quota: u64, window: Duration, now: Moment) -> usize {
        self.0.values().filter(|used| used.is_over(quota, window, now)).count()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
