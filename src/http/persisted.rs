//! Automatic persisted queries: documents that clients sent once with their hash and name by it from
//! then on. Their texts are kept, which are far smaller than what they parse to.

use std::sync::Arc;

use crate::kept::{Kept, Room};

/// All texts together.
const MAX_BYTES: usize = 16 << 20;

/// Texts by their hash.
pub(super) struct PersistedQueries(Kept<Arc<str>>);

impl PersistedQueries {
    pub fn new(entries: usize) -> Self {
        Self(Kept::new(Room { entries, bytes: MAX_BYTES, bytes_each: MAX_BYTES / 64 }))
    }

    pub fn find(&self, hash: &str) -> Option<Arc<str>> {
        self.0.find(hash)
    }

    /// Keeps the text of a document that was found to be valid.
    pub fn keep(&self, hash: String, text: &str) {
        self.0.keep(hash, text.len(), text.into());
    }
}
