//! The loaders: one file per kind of thing that many items of a list ask for. Each asks the store
//! once for all that a request wants together.

pub mod api_key;
pub mod call;
pub mod counts;
pub mod error_log;
pub mod error_match;
pub mod key_search;
pub mod latency;
pub mod models;
pub mod secret;

use std::collections::HashMap;
use std::hash::Hash;

use super::scope::Asking;

/// Loads every kind; which one is told by the type of the key.
pub struct StoreLoader {
    asking: Asking,
}

impl StoreLoader {
    pub fn new(asking: Asking) -> Self {
        Self { asking }
    }

    /// Tells that so many things of a kind are loaded together.
    fn batch(&self, loader: &'static str, size: usize) {
        self.asking.services.observer.metrics.batch(loader, size);
    }
}

/// `keys` with the values that stand at their places.
fn zip<K: Clone + Eq + Hash, V>(keys: &[K], values: impl IntoIterator<Item = V>) -> HashMap<K, V> {
    keys.iter().cloned().zip(values).collect()
}

/// The same where some have no value.
fn zip_found<K: Clone + Eq + Hash, V>(
    keys: &[K],
    values: impl IntoIterator<Item = Option<V>>,
) -> HashMap<K, V> {
    keys.iter().cloned().zip(values).filter_map(|(key, value)| Some((key, value?))).collect()
}
