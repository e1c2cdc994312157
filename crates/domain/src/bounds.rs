//! What bounds are made of: a bucket, one for each key, counts, and room in a full table.

mod counts;
mod rates;
mod slots;

use std::{collections::HashMap, hash::Hash, time::Duration};

use crate::Moment;

pub use counts::Counts;
pub use rates::Rates;
pub use slots::{Slot, Slots};

/// A bucket of tokens: so many at once, then one more at every interval.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    burst: f64,
    every: Duration,
    left: f64,
    at: Moment,
}

impl TokenBucket {
    /// A full bucket; one of none never gives any.
    pub fn new(burst: u32, every: Duration) -> Self {
        let burst = f64::from(burst);
        // Full already, it earns nothing by having been asked last at the start.
        Self { burst, every: every.max(Duration::from_nanos(1)), left: burst, at: Moment::default() }
    }

    /// Takes one, or says how long until there is one. A moment before the last one
    /// neither gives nor takes.
    pub fn take(&mut self, now: Moment) -> Result<(), Duration> {
        self.take_many(1, now)
    }

    /// Takes `count` or none, and says how long until there are that many. More
    /// than the bucket holds it never gives.
    pub fn take_many(&mut self, count: u32, now: Moment) -> Result<(), Duration> {
        let count = f64::from(count);
        self.left = self.level(now);
        self.at = self.at.max(now);
        if self.left >= count {
            self.left -= count;
            Ok(())
        } else {
            Err(self.every.mul_f64(count - self.left))
        }
    }

    /// Whether `count` could be taken now.
    pub fn has(&self, count: u32, now: Moment) -> bool {
        self.level(now) >= f64::from(count)
    }

    fn level(&self, now: Moment) -> f64 {
        let earned = now.since(self.at).as_secs_f64() / self.every.as_secs_f64();
        (self.left + earned).min(self.burst)
    }

    /// When it was last asked.
    fn last_asked(&self) -> Moment {
        self.at
    }
}

/// Makes room for `key` in a table of at most `limit` entries: if it is new and the
/// table full, the entry with the least `age` goes.
pub fn make_room<K: Clone + Eq + Hash, V, T: Ord>(map: &mut HashMap<K, V>, key: &K, limit: usize, age: impl Fn(&V) -> T) {
    if map.len() < limit || map.contains_key(key) {
        return;
    }
    let oldest = map.iter().min_by_key(|(_, value)| age(value)).map(|(key, _)| key.clone());
    if let Some(oldest) = oldest {
        map.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_taken_together_or_not_at_all() {
        let at = |seconds| Moment::after_start(Duration::from_secs(seconds));
        let mut bucket = TokenBucket::new(10, Duration::from_secs(1));
        assert_eq!(bucket.take_many(7, at(0)), Ok(()));
        assert_eq!(bucket.take_many(5, at(0)), Err(Duration::from_secs(2)));
        assert!(bucket.has(3, at(0)) && !bucket.has(4, at(0)) && bucket.has(4, at(1)));
        assert_eq!(bucket.take_many(5, at(2)), Ok(()));
        assert!(bucket.take_many(11, at(1000)).is_err(), "never more than it holds");
    }

    #[test]
    fn only_a_new_key_in_a_full_table_takes_the_oldests_room() {
        let mut map = HashMap::from([("a", 3), ("b", 1)]);
        make_room(&mut map, &"c", 3, |age| *age);
        make_room(&mut map, &"a", 2, |age| *age);
        assert_eq!(map.len(), 2);
        make_room(&mut map, &"c", 2, |age| *age);
        assert_eq!(map, HashMap::from([("a", 3)]));
    }
}
