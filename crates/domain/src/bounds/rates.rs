use std::{collections::HashMap, hash::Hash, time::Duration};

use super::{TokenBucket, make_room};
use crate::Moment;

/// A token bucket for each key, all of one size, in a bounded table. A key that is not
/// in the table has a full bucket. When the table is full, a new key takes the room of
/// the one that asked longest ago, whose next bucket is full again: what keys that are
/// free to make can do with that is to be bounded by another rate.
#[derive(Clone, Debug)]
pub struct Rates<K> {
    new: TokenBucket,
    limit: usize,
    buckets: HashMap<K, TokenBucket>,
}

impl<K: Clone + Eq + Hash> Rates<K> {
    /// Each key has `burst` tokens at once, then one more in `every`. At most `limit`
    /// keys are remembered.
    pub fn new(burst: u32, every: Duration, limit: usize) -> Self {
        Self { new: TokenBucket::new(burst, every), limit: limit.max(1), buckets: HashMap::new() }
    }

    /// Takes one of the key's tokens, or says how long until there is one.
    pub fn take(&mut self, key: &K, now: Moment) -> Result<(), Duration> {
        self.take_many(key, 1, now)
    }

    /// Takes `count` of the key's tokens or none, and says how long until there are
    /// that many.
    pub fn take_many(&mut self, key: &K, count: u32, now: Moment) -> Result<(), Duration> {
        make_room(&mut self.buckets, key, self.limit, TokenBucket::last_asked);
        self.buckets.entry(key.clone()).or_insert_with(|| self.new.clone()).take_many(count, now)
    }

    /// Whether `count` of the key's tokens could be taken now. Remembers nothing.
    pub fn has(&self, key: &K, count: u32, now: Moment) -> bool {
        self.buckets.get(key).unwrap_or(&self.new).has(count, now)
    }

    /// Forgets what the key has taken.
    pub fn forget(&mut self, key: &K) {
        self.buckets.remove(key);
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn each_key_has_its_own_rate() {
        let mut rates = Rates::new(2, Duration::from_secs(10), 8);
        assert_eq!([(); 3].map(|()| rates.take(&"a", at(0))), [Ok(()), Ok(()), Err(Duration::from_secs(10))]);
        assert_eq!(rates.take(&"b", at(0)), Ok(()));
        assert_eq!([rates.take(&"a", at(10)), rates.take(&"a", at(11))], [Ok(()), Err(Duration::from_secs(9))]);
        rates.forget(&"a");
        assert_eq!(rates.take_many(&"a", 2, at(11)), Ok(()));
    }

    #[test]
    fn asking_what_there_is_takes_and_remembers_nothing() {
        let mut rates = Rates::new(2, Duration::from_secs(10), 8);
        assert!(rates.has(&"a", 2, at(0)) && !rates.has(&"a", 3, at(0)) && rates.is_empty());
        rates.take(&"a", at(0)).unwrap();
        assert!(rates.has(&"a", 1, at(0)) && !rates.has(&"a", 2, at(0)) && rates.has(&"a", 2, at(10)));
    }

    #[test]
    fn however_many_keys_ask_so_many_are_remembered_and_the_stalest_goes() {
        let mut rates = Rates::new(1, Duration::from_secs(1_000_000), 4);
        for key in 0..1_000 {
            rates.take(&key, at(key)).unwrap();
            assert!(rates.len() <= 4);
        }
        assert_eq!([999, 996].map(|key| rates.has(&key, 1, at(1_000))), [false, false]);
        assert!(rates.has(&995, 1, at(1_000)));
    }
}
