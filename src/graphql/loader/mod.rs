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
use crate::error::Result;
use crate::store::call::CallRow;
use crate::store::error_log::ErrorLogRow;

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

/// Rows that a statement for several lists may return, so that few are held before they are counted.
const ROWS_AT_ONCE: u32 = 10_000;

/// The queries of lists, of which each returns so many rows at most, in parts for a statement each.
fn in_parts<Q>(queries: &[Q], limit: impl Fn(&Q) -> u32) -> impl Iterator<Item = &[Q]> {
    let largest = queries.iter().map(limit).max().unwrap_or(1).max(1);
    queries.chunks((ROWS_AT_ONCE / largest).max(1) as usize)
}

/// Bytes that a row takes in memory beside its texts.
const ROW_MEMORY: u64 = 256;

/// Bytes that rows take.
pub trait Held {
    fn held(&self) -> u64;
}

impl Held for CallRow {
    fn held(&self) -> u64 {
        ROW_MEMORY + texts(&[&self.key, &self.model])
    }
}

impl Held for ErrorLogRow {
    fn held(&self) -> u64 {
        let row = ROW_MEMORY + texts(&[&self.key, &self.model, &self.error_type]);
        match self.long_bytes {
            // It was counted before it was read.
            Some(_) => row,
            None => row + texts(&[&self.message]),
        }
    }
}

fn texts(texts: &[&Option<String>]) -> u64 {
    texts.iter().filter_map(|text| text.as_ref()).map(|text| text.len() as u64).sum()
}

impl StoreLoader {
    /// Counts rows that were read.
    fn hold<'a, R: Held + 'a>(&self, rows: impl IntoIterator<Item = &'a R>) -> Result<()> {
        self.asking.answer.hold(rows.into_iter().map(Held::held).sum())
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
