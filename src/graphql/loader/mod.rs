//! DataLoader implementations, one file for each kind of data. Each loader calls the store once for all
//! keys of a batch.

pub mod api_key;
pub mod audit;
pub mod call;
pub mod diagnosis;
pub mod error_log;
pub mod statistics;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use tokio::sync::Mutex;

use self::diagnosis::DiagnosesAt;
use super::scope::RequestInfo;
use crate::diagnoses::DiagnosedWindow;
use crate::error::Result;
use crate::store::call::CallRow;
use crate::store::error_log::ErrorLogRow;

/// Implements `Loader` for each key type.
pub struct StoreLoader {
    request: RequestInfo,
    /// Diagnoses that were computed: fields in different places of a document load them in separate batches.
    diagnosed: Mutex<HashMap<DiagnosesAt, Arc<DiagnosedWindow>>>,
}

impl StoreLoader {
    pub fn new(request: RequestInfo) -> Self {
        Self { request, diagnosed: Mutex::default() }
    }

    /// Records the size of a batch in the metrics.
    fn batch(&self, loader: &'static str, size: usize) {
        self.request.services.observer.metrics.batch(loader, size);
    }
}

/// The most rows of a statement for several lists: rows are counted after each statement.
const ROWS_AT_ONCE: u32 = 10_000;

/// Splits list queries into parts, one for each statement. `limit` is the most rows of a query.
fn in_parts<Q>(queries: &[Q], limit: impl Fn(&Q) -> u32) -> impl Iterator<Item = &[Q]> {
    let largest = queries.iter().map(limit).max().unwrap_or(1).max(1);
    queries.chunks((ROWS_AT_ONCE / largest).max(1) as usize)
}

/// Memory of a row in addition to its texts, in bytes.
const ROW_MEMORY: u64 = 256;

/// The memory of a row in bytes.
pub trait MemorySize {
    fn memory_size(&self) -> u64;
}

impl MemorySize for CallRow {
    fn memory_size(&self) -> u64 {
        ROW_MEMORY + texts(&[&self.key, &self.model])
    }
}

impl MemorySize for ErrorLogRow {
    fn memory_size(&self) -> u64 {
        let row = ROW_MEMORY + texts(&[&self.key, &self.model, &self.error_type]);
        match self.long_bytes {
            // A long text was counted before it was read.
            Some(_) => row,
            None => row + texts(&[&self.message]),
        }
    }
}

fn texts(texts: &[&Option<String>]) -> u64 {
    texts.iter().filter_map(|text| text.as_ref()).map(|text| text.len() as u64).sum()
}

impl StoreLoader {
    /// Reserves the memory of rows that were read.
    fn reserve<'a, R: MemorySize + 'a>(&self, rows: impl IntoIterator<Item = &'a R>) -> Result<()> {
        self.request.answer.reserve(rows.into_iter().map(MemorySize::memory_size).sum())
    }
}

/// Maps `keys` to the values at the same positions.
fn zip<K: Clone + Eq + Hash, V>(keys: &[K], values: impl IntoIterator<Item = V>) -> HashMap<K, V> {
    keys.iter().cloned().zip(values).collect()
}

/// The same as [`zip`], without keys that have no value.
fn zip_found<K: Clone + Eq + Hash, V>(
    keys: &[K],
    values: impl IntoIterator<Item = Option<V>>,
) -> HashMap<K, V> {
    keys.iter().cloned().zip(values).filter_map(|(key, value)| Some((key, value?))).collect()
}
