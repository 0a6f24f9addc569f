//! What is kept for a while by its name, bounded by number and weight: what was asked for least
//! recently goes first.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub entries: usize,
    /// Of all together, in bytes.
    pub bytes: usize,
    /// Of one: it is no use to keep it at the cost of all others.
    pub bytes_each: usize,
}

/// Values by name, each with its weight.
pub(super) struct Kept<V> {
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
        assert_eq!(kept.lock().bytes, 8);

        let kept = Kept::new(Room { entries: 1000, ..room });
        (0..100).for_each(|name| kept.keep(name.to_string(), 100, name));
        let (values, bytes) = {
            let held = kept.lock();
            (held.values.len(), held.bytes)
        };
        assert_eq!((values, bytes), (10, 1000));
        kept.keep("large".to_owned(), 101, 0);
        assert!(kept.find("large").is_none() && kept.find("99") == Some(99));
    }
}
