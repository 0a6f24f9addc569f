//! A cache by name, bounded by number and weight: the entry that was used least recently is evicted
//! first.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub entries: usize,
    /// Of all together, in bytes.
    pub bytes: usize,
    /// Of one: it is no use to keep it at the cost of all others.
    pub bytes_each: usize,
}

/// Values by name, each with its weight.
pub struct Kept<V> {
    room: Room,
    held: Mutex<Held<V>>,
}

struct Held<V> {
    /// Bounded by what `keep` does, which counts the bytes of all that leaves.
    values: LruCache<String, (usize, V)>,
    bytes: usize,
}

impl<V: Clone> Kept<V> {
    pub fn new(room: Room) -> Self {
        let held = Held { values: LruCache::unbounded(), bytes: 0 };
        Self { room, held: Mutex::new(held) }
    }

    pub fn find(&self, name: &str) -> Option<V> {
        self.lock().values.get(name).map(|(_, value)| value.clone())
    }

    /// Whether something of so many bytes would be kept.
    pub fn takes(&self, bytes: usize) -> bool {
        bytes <= self.room.bytes_each
    }

    /// Keeps a value of so many bytes as long as there is room.
    pub fn keep(&self, name: String, bytes: usize, value: V) {
        if !self.takes(bytes) {
            return;
        }
        let mut held = self.lock();
        held.bytes += bytes;
        if let Some((_, (before, _))) = held.values.push(name, (bytes, value)) {
            held.bytes -= before;
        }
        while held.values.len() > self.room.entries || held.bytes > self.room.bytes {
            let Some((_, (oldest, _))) = held.values.pop_lru() else { break };
            held.bytes -= oldest;
        }
    }

    /// The number of entries and the bytes of all together.
    #[cfg(test)]
    pub fn size(&self) -> (usize, usize) {
        let held = self.lock();
        (held.values.len(), held.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Held<V>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_bytes_are_bounded() {
        let room = Room { entries: 2, bytes: 1000, bytes_each: 100 };
        let kept = Kept::new(room);
        for name in ["a", "b", "b", "c"] {
            // What is asked for stays.
            kept.find("a");
            kept.keep(name.to_owned(), 4, name);
        }
        assert!(kept.find("a").is_some() && kept.find("b").is_none());
        assert_eq!(kept.size(), (2, 8));

        let kept = Kept::new(Room { entries: 1000, ..room });
        (0..100).for_each(|name| kept.keep(name.to_string(), 100, name));
        assert_eq!(kept.size(), (10, 1000));
        kept.keep("large".to_owned(), 101, 0);
        assert!(kept.find("large").is_none() && kept.find("99") == Some(99));
    }
}
