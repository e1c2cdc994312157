use std::{collections::HashMap, hash::Hash};

/// How many there are of each key. A key of which there is none takes no memory, so the
/// table is as large as what is counted.
#[derive(Clone, Debug)]
pub struct Counts<K>(HashMap<K, usize>);

impl<K: Eq + Hash> Counts<K> {
    /// How many there are of a key.
    pub fn of(&self, key: &K) -> usize {
        self.0.get(key).copied().unwrap_or(0)
    }

    /// Counts one more.
    pub fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    /// Counts one less; nothing if there is none.
    pub fn remove(&mut self, key: &K) {
        if let Some(count) = self.0.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(key);
            }
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none of anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_gone_with_its_last_and_none_is_never_less_than_none() {
        let mut counts = Counts::default();
        ["a", "a", "b"].into_iter().for_each(|key| counts.add(key));
        assert_eq!((counts.of(&"a"), counts.of(&"b"), counts.of(&"c"), counts.len()), (2, 1, 0, 2));
        ["a", "b", "b", "c"].iter().for_each(|key| counts.remove(key));
        assert_eq!((counts.of(&"a"), counts.len()), (1, 1));
        counts.remove(&"a");
        assert!(counts.is_empty());
    }
}
