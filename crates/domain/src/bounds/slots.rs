use std::{
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Counts;

/// A bounded number of slots, of which each key has a share. Cheap to clone; all clones
/// are the same slots.
#[derive(Clone, Debug)]
pub struct Slots<K> {
    limit: usize,
    /// In all and for each key.
    taken: Arc<Mutex<(usize, Counts<K>)>>,
}

impl<K: Clone + Eq + Hash> Slots<K> {
    /// So many in all.
    pub fn new(limit: usize) -> Self {
        Self { limit, taken: Arc::default() }
    }

    /// Takes a slot that counts for each of `shares`, a key with its limit. `None` if all
    /// slots are taken, or all of the share of one of these keys.
    pub fn take(&self, shares: impl IntoIterator<Item = (K, usize)>) -> Option<Slot<K>> {
        let mut taken = lock(&self.taken);
        let (all, by_key) = &mut *taken;
        let with_room = |(key, limit)| (by_key.of(&key) < limit).then_some(key);
        let keys: Vec<K> = shares.into_iter().map(with_room).collect::<Option<_>>().filter(|_| *all < self.limit)?;
        *all += 1;
        keys.iter().for_each(|key| by_key.add(key.clone()));
        Some(Slot { taken: self.taken.clone(), keys })
    }

    /// How many slots are taken.
    pub fn taken(&self) -> usize {
        lock(&self.taken).0
    }
}

/// One slot, which is free again when this is dropped.
#[derive(Debug)]
pub struct Slot<K: Eq + Hash> {
    taken: Arc<Mutex<(usize, Counts<K>)>>,
    keys: Vec<K>,
}

impl<K: Eq + Hash> Drop for Slot<K> {
    fn drop(&mut self) {
        let (all, by_key) = &mut *lock(&self.taken);
        *all -= 1;
        self.keys.iter().for_each(|key| by_key.remove(key));
    }
}

/// Nothing panics while it is held.
fn lock<T>(taken: &Mutex<T>) -> MutexGuard<'_, T> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_share_and_all_of_it_comes_back() {
        let slots = Slots::new(5);
        let greedy: Vec<_> = std::iter::from_fn(|| slots.take([("greedy", 3), ("both", 4)])).collect();
        assert_eq!(greedy.len(), 3);
        let other = slots.take([("other", 3), ("both", 4)]).expect("another key has a share");
        assert!(slots.take([("third", 3), ("both", 4)]).is_none(), "keys may share a share");
        assert!(slots.take([]).is_some());
        assert_eq!(slots.taken(), 4);
        drop((greedy, other));
        assert_eq!(slots.taken(), 0);
        assert!(lock(&slots.taken).1.is_empty(), "nothing is remembered of what is free again");
    }

    #[test]
    fn the_whole_is_bounded_and_clones_are_the_same() {
        let slots: Slots<u8> = Slots::new(2);
        let _first = slots.take([(1, 9)]).unwrap();
        let second = slots.clone().take([]).unwrap();
        assert!(slots.take([(2, 9)]).is_none());
        drop(second);
        assert!(slots.take([(2, 9)]).is_some());
    }
}
