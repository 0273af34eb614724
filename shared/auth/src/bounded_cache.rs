use std::collections::HashMap;
use std::hash::Hash;

/// How many entries a generation has: a busy instance meets some hundred callers in an hour.
const GENERATION: usize = 500;

/// A memory that is bounded without a search: when the younger generation is full, the older one is forgotten as a whole.
pub struct BoundedCache<K, V> {
    younger: HashMap<K, V>,
    older: HashMap<K, V>,
}

impl<K, V> Default for BoundedCache<K, V> {
    fn default() -> Self {
        Self { younger: HashMap::new(), older: HashMap::new() }
    }
}

impl<K: Eq + Hash, V> BoundedCache<K, V> {
    /// The latest entry of `key`, if it isn't forgotten.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.younger.get(key).or_else(|| self.older.get(key))
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.younger.get_mut(key).or_else(|| self.older.get_mut(key))
    }

    /// The latest entry of a key is the one that is found.
    pub fn insert(&mut self, key: K, value: V) {
        if self.younger.len() >= GENERATION {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(key, value);
    }

    pub(crate) fn len(&self) -> usize {
        self.younger.len() + self.older.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_there_are_the_memory_is_bounded_and_the_latest_are_in_it() {
        let mut memory = BoundedCache::default();
        for number in 0..100_000 {
            memory.insert(number, number);
            assert!(memory.len() <= 2 * GENERATION);
        }
        for number in 100_000 - GENERATION..100_000 {
            assert_eq!(memory.get(&number), Some(&number));
        }
        assert_eq!(memory.get(&7), None);
    }

    #[test]
    fn of_two_entries_of_a_key_the_later_one_counts() {
        let mut memory = BoundedCache::default();
        memory.insert(0, "first");
        for number in 1..=GENERATION {
            memory.insert(number, "other");
        }
        memory.insert(0, "second");
        assert_eq!(memory.get(&0), Some(&"second"));
    }
}
