//! Automatic persisted queries: documents that clients sent once with their hash and name by it from
//! then on. Texts are kept, not what they parse to: a field of two letters is some hundred bytes
//! once it is parsed, and parsing costs microseconds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// All texts together.
const MAX_BYTES: usize = 16 << 20;
/// One text: it is no use to keep one at the cost of all others.
const MAX_TEXT_BYTES: usize = MAX_BYTES / 64;

/// Texts by their hash; those that were asked for least recently go first.
pub(super) struct PersistedQueries {
    entries: usize,
    kept: Mutex<Kept>,
}

struct Kept {
    /// Bounded by what `keep` does, which counts the bytes of all that leaves.
    texts: LruCache<String, Arc<str>>,
    bytes: usize,
}

impl PersistedQueries {
    pub fn new(entries: usize) -> Self {
        Self { entries, kept: Mutex::new(Kept { texts: LruCache::unbounded(), bytes: 0 }) }
    }

    pub fn find(&self, hash: &str) -> Option<Arc<str>> {
        self.lock().texts.get(hash).cloned()
    }

    /// Keeps the text of a document that was found to be valid, as long as there is room.
    pub fn keep(&self, hash: String, text: &str) {
        if text.len() > MAX_TEXT_BYTES {
            return;
        }
        let mut kept = self.lock();
        kept.bytes += text.len();
        if let Some((_, before)) = kept.texts.push(hash, text.into()) {
            kept.bytes -= before.len();
        }
        while kept.texts.len() > self.entries || kept.bytes > MAX_BYTES {
            let Some((_, oldest)) = kept.texts.pop_lru() else { break };
            kept.bytes -= oldest.len();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_bytes_are_bounded() {
        let queries = PersistedQueries::new(2);
        for hash in ["a", "b", "b", "c"] {
            // What is asked for stays.
            queries.find("a");
            queries.keep(hash.to_owned(), "text");
        }
        assert!(queries.find("a").is_some() && queries.find("b").is_none());
        assert_eq!(queries.lock().bytes, 8);

        let queries = PersistedQueries::new(1000);
        let text = "x".repeat(MAX_TEXT_BYTES);
        (0..100).for_each(|hash| queries.keep(hash.to_string(), &text));
        let (texts, bytes) = {
            let kept = queries.lock();
            (kept.texts.len(), kept.bytes)
        };
        assert_eq!((texts, bytes), (64, MAX_BYTES));
        queries.keep("large".to_owned(), &format!("{text}x"));
        assert!(queries.find("large").is_none() && queries.find("99").is_some());
    }
}
