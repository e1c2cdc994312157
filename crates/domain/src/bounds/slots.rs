use std::{
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Counts;

/// Slots, each of which counts for several keys. Cheap to clone; all clones share them.
#[derive(Clone, Debug)]
pub struct Slots<K>(Arc<Mutex<Counts<K>>>);

/// A slot, released on drop.
#[derive(Debug)]
pub struct Slot<K: Eq + Hash> {
    slots: Slots<K>,
    keys: Vec<K>,
}

impl<K: Clone + Eq + Hash> Slots<K> {
    /// A slot that counts for each of these keys, unless one of them has as many as its
    /// limit.
    pub fn take(&self, keys: impl IntoIterator<Item = (K, usize)>) -> Option<Slot<K>> {
        let mut counts = self.lock();
        let free = |(key, limit)| (counts.of(&key) < limit).then_some(key);
        let keys: Vec<K> = keys.into_iter().map(free).collect::<Option<_>>()?;
        keys.iter().for_each(|key| counts.add(key.clone()));
        Some(Slot { slots: Self(self.0.clone()), keys })
    }
}

impl<K> Slots<K> {
    fn lock(&self) -> MutexGuard<'_, Counts<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Default for Slots<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut counts = self.slots.lock();
        self.keys.iter().for_each(|key| counts.remove(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_counts_for_all_of_its_keys_or_for_none_and_takes_no_room_once_released() {
        let slots = Slots::default();
        let first = slots.take([("all", 2), ("a", 1)]).unwrap();
        assert!(slots.take([("all", 2), ("a", 1)]).is_none(), "a has its one");
        let second = slots.take([("all", 2), ("b", 1)]).expect("what was refused counts for nothing");
        assert!(slots.take([("all", 2)]).is_none());
        drop(first);
        assert!(slots.take([("all", 2), ("a", 1)]).is_some());
        drop(second);
        assert!(slots.lock().is_empty());
    }
}
