//! The ONE write path: GraphQL mutations, HTTP ingestion and `callscope import` all store calls and
//! error logs through here. Nothing else writes to the gateway's tables, and no SQL is written here.

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

/// Stores all of `calls` and `errors`, or, when it fails, nothing. A record that no database could
/// keep is refused with the place and the reason.
pub async fn record(db: &Database, calls: &[CallRecord], errors: &[ErrorRecord]) -> Result<()> {
    validate::batch(calls, errors, db.dialect())?;
    if calls.is_empty() && errors.is_empty() {
        return Ok(());
    }
    write::insert(db, calls, errors, None).await
}
