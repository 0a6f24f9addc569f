//! The ONE write path: GraphQL mutations, HTTP ingestion and `callscope import` all store calls and
//! error logs through here. Nothing else writes to the gateway's tables, and no SQL is written here.

pub mod import;
mod plan;
pub mod progress;
pub mod source;
pub mod validate;

use crate::domain::record::{CallRecord, ErrorRecord};
use crate::error::{Error, Result};
use crate::store::{Database, write};

/// Stores all of `calls` and `errors`, or, when it fails, nothing. A record that no database could
/// keep is refused with the place and the reason.
pub async fn record(db: &Database, calls: &[CallRecord], errors: &[ErrorRecord]) -> Result<()> {
    for (index, call) in calls.iter().enumerate() {
        validate::call(call)
            .map_err(|reason| Error::bad_input("calls", format!("calls[{index}]: {reason}")))?;
    }
    for (index, error) in errors.iter().enumerate() {
        validate::error(error, db.dialect())
            .map_err(|reason| Error::bad_input("errors", format!("errors[{index}]: {reason}")))?;
    }
    if calls.is_empty() && errors.is_empty() {
        return Ok(());
    }
    write::insert(db, calls, errors, None).await
}
