//! The one write path: every call and every error log that is recorded passes here.

use crate::domain::record::{CallRecord, ErrorRecord};
use crate::error::Result;
use crate::store::{Database, write};

/// Writes all of it or nothing.
pub async fn record(db: &Database, calls: &[CallRecord], errors: &[ErrorRecord]) -> Result<()> {
    write::insert_records(db, calls, errors).await
}
