//! How often one asks: a token bucket for each, in a bounded table.

use std::{collections::HashMap, hash::Hash, time::Duration};

use kaspath_domain::{Timestamp, TokenBucket, make_room};

/// Buckets kept. Whoever is forgotten begins again with a full one, as a stranger does.
const MAX_BUCKETS: usize = 4096;

pub(super) struct Rates<K> {
    buckets: HashMap<K, TokenBucket>,
    burst: u32,
    every: Duration,
}

impl<K: Clone + Eq + Hash> Rates<K> {
    /// At least one at once: a rate that allows nothing would only look like a full relay.
    pub(super) fn new(burst: u32, every: Duration) -> Self {
        Self { buckets: HashMap::new(), burst: burst.max(1), every }
    }

    /// Whether `key` may ask once more.
    pub(super) fn take(&mut self, key: &K, now: Timestamp) -> bool {
        make_room(&mut self.buckets, key, MAX_BUCKETS, TokenBucket::last_asked);
        let bucket = self.buckets.entry(key.clone()).or_insert_with(|| TokenBucket::new(self.burst, self.every));
        bucket.take(now).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_rate_and_the_table_is_bounded() {
        let mut rates = Rates::new(2, Duration::from_secs(10));
        let now = Timestamp::from_epoch(Duration::from_secs(100));
        assert_eq!([(); 3].map(|()| rates.take(&0, now)), [true, true, false]);
        assert!(rates.take(&1, now));
        assert!(rates.take(&0, now + Duration::from_secs(10)));
        for n in 0..2 * MAX_BUCKETS {
            rates.take(&n, now + Duration::from_secs(20));
        }
        assert_eq!(rates.buckets.len(), MAX_BUCKETS);
    }
}
