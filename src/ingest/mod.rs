//! The only write path: GraphQL mutations, HTTP ingestion and `callscope import` store calls and error
//! logs through this module. Each source yields [`row::Row`]s, which a [`chunk::Chunk`] validates and
//! collects. It contains no SQL.

pub mod chunk;
pub mod claim;
mod columns;
pub mod import;
pub mod intake;
pub mod lines;
pub mod object;
pub mod otlp;
mod plan;
pub mod progress;
pub mod recorder;
pub mod row;
pub mod source;
pub mod validate;

use crate::error::Result;
use crate::store::Database;
use crate::store::write::{self, Batch};

/// Stores a batch in one transaction. Rejects a record that the database cannot store, with its index and
/// the reason.
pub async fn record(db: &Database, batch: &Batch) -> Result<()> {
    validate::batch(batch, db.dialect())?;
    if batch.calls.is_empty() && batch.errors.is_empty() {
        return Ok(());
    }
    write::insert(db, batch, None).await
}
