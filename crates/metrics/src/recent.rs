//! A bounded table that forgets what was entered longest ago, at no cost for each entry.

use std::{collections::HashMap, hash::Hash, mem};

/// Two generations: when the young one is full, it takes the place of the old one, whose
/// entries are forgotten.
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    generation: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// Remembers the last `generation` entries, and never more than twice as many.
    pub(crate) fn new(generation: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.generation && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.young.get_mut(key).or_else(|| self.old.get_mut(key))
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entries_are_remembered_and_never_many_more() {
        let mut recent = Recent::new(10);
        for n in 0..1000 {
            recent.insert(n, n);
            assert!(recent.young.len() + recent.old.len() <= 20);
            for kept in (n - 9).max(0)..=n {
                assert_eq!(recent.get_mut(&kept).copied(), Some(kept), "{kept} of {n}");
            }
        }
        recent.insert(995, 7);
        assert_eq!((recent.remove(&995), recent.remove(&995), recent.remove(&0)), (Some(7), None, None));
    }
}
