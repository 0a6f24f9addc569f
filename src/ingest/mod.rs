//! The only write path: GraphQL mutations, HTTP ingestion and `callscope import` store calls and error
//! logs through this module. It contains no SQL.

pub mod call_error;
pub mod claim;
pub mod import;
pub mod intake;
mod object;
pub mod otlp;
mod plan;
pub mod progress;
pub mod recorder;
pub mod source;
pub mod validate;

use crate::domain::record::{CallRecord, ErrorRecord};
use crate::error::Result;
use crate::store::{Database, write};

/// Stores all of `calls` and `errors` in one transaction. Rejects a record that a database cannot store,
/// with its index and the reason.
pub async fn record(db: &Database, calls: &[CallRecord], errors: &[ErrorRecord]) -> Result<()> {
    validate::batch(calls, errors, db.dialect())?;
    if calls.is_empty() && errors.is_empty() {
        return Ok(());
    }
    write::insert(db, calls, errors, None).await
}
