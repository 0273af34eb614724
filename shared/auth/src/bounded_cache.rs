use std::collections::HashMap;
use std::hash::Hash;

/// Entries per generation. A busy instance sees a few hundred callers an hour.
const GENERATION: usize = 500;

/// A cache of bounded size without a search for the oldest entry: when the younger generation is full, the whole older one
/// is dropped.
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
    /// The latest value for `key`, unless evicted.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.younger.get(key).or_else(|| self.older.get(key))
    }

    /// As [`Self::get`], but mutable.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.younger.get_mut(key).or_else(|| self.older.get_mut(key))
    }

    /// Replaces the value for `key`.
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
    fn the_cache_is_bounded_and_keeps_the_latest_entries() {
        let mut cache = BoundedCache::default();
        for number in 0..100_000 {
            cache.insert(number, number);
            assert!(cache.len() <= 2 * GENERATION);
        }
        for number in 100_000 - GENERATION..100_000 {
            assert_eq!(cache.get(&number), Some(&number));
        }
        assert_eq!(cache.get(&7), None);
    }

    #[test]
    fn a_later_value_for_a_key_replaces_the_earlier_one() {
        let mut cache = BoundedCache::default();
        cache.insert(0, "first");
        for number in 1..=GENERATION {
            cache.insert(number, "other");
        }
        cache.insert(0, "second");
        assert_eq!(cache.get(&0), Some(&"second"));
    }
}
