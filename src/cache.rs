//! An LRU cache with text keys, bounded by the number and the bytes of its entries.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// The bounds of a cache.
#[derive(Clone, Copy, Debug)]
pub struct CacheLimits {
    pub entries: usize,
    /// The most bytes of all entries.
    pub bytes: usize,
    /// The most bytes of one entry: a larger one would evict too many others.
    pub bytes_each: usize,
}

/// Values by name, each with its size in bytes.
pub struct BoundedCache<V> {
    limits: CacheLimits,
    entries: Mutex<Entries<V>>,
}

struct Entries<V> {
    /// `insert` enforces the bounds.
    values: LruCache<String, (usize, V)>,
    bytes: usize,
}

impl<V: Clone> BoundedCache<V> {
    pub fn new(limits: CacheLimits) -> Self {
        let entries = Entries { values: LruCache::unbounded(), bytes: 0 };
        Self { limits, entries: Mutex::new(entries) }
    }

    pub fn get(&self, name: &str) -> Option<V> {
        self.lock().values.get(name).map(|(_, value)| value.clone())
    }

    /// Whether an entry of this size is cached.
    pub fn accepts(&self, bytes: usize) -> bool {
        bytes <= self.limits.bytes_each
    }

    /// Inserts a value of this size and evicts the least recently used entries beyond the bounds.
    pub fn insert(&self, name: String, bytes: usize, value: V) {
        if !self.accepts(bytes) {
            return;
        }
        let mut entries = self.lock();
        entries.bytes += bytes;
        if let Some((_, (before, _))) = entries.values.push(name, (bytes, value)) {
            entries.bytes -= before;
        }
        while entries.values.len() > self.limits.entries || entries.bytes > self.limits.bytes {
            let Some((_, (oldest, _))) = entries.values.pop_lru() else { break };
            entries.bytes -= oldest;
        }
    }

    /// The number of entries and their bytes.
    #[cfg(test)]
    pub fn size(&self) -> (usize, usize) {
        let entries = self.lock();
        (entries.values.len(), entries.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Entries<V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_bytes_are_bounded() {
        let limits = CacheLimits { entries: 2, bytes: 1000, bytes_each: 100 };
        let cache = BoundedCache::new(limits);
        for name in ["a", "b", "b", "c"] {
            // A used entry is not evicted.
            cache.get("a");
            cache.insert(name.to_owned(), 4, name);
        }
        assert!(cache.get("a").is_some() && cache.get("b").is_none());
        assert_eq!(cache.size(), (2, 8));

        let cache = BoundedCache::new(CacheLimits { entries: 1000, ..limits });
        (0..100).for_each(|name| cache.insert(name.to_string(), 100, name));
        assert_eq!(cache.size(), (10, 1000));
        cache.insert("large".to_owned(), 101, 0);
        assert!(cache.get("large").is_none() && cache.get("99") == Some(99));
    }
}
