//! Deletions and their results, from the audit log.

use async_graphql::{Enum, ID, SimpleObject};
use chrono::Utc;

use crate::graphql::error::{Failure, Result};
use crate::graphql::scalar::{BigInt, DateTime};
use crate::store::deletion_log::{self, DeletionRow};

const MAX_ID: usize = 64;

/// How a deletion ended.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "deletion_log::Outcome")]
pub enum DeletionOutcome {
    /// All selected rows are deleted.
    Completed,
    /// The client disconnected or the server shut down.
    Stopped,
    /// The database or the server failed.
    Failed,
    /// The time limit of the request was reached.
    Timeout,
}

/// A deletion and its result.
#[derive(SimpleObject)]
pub struct Deletion {
    /// The `deletionId` of its mutation.
    pub id: ID,
    /// When it started.
    pub started_at: DateTime,
    /// When it ended; null while it runs, and permanently if its server was killed.
    pub ended_at: Option<DateTime>,
    /// How it ended; null until then.
    pub outcome: Option<DeletionOutcome>,
    /// The number of deleted calls; null until it ended. If the deletion failed or timed out, the last
    /// batch may not be counted.
    pub deleted_calls: Option<BigInt>,
    /// The number of deleted error logs, with the same limitations.
    pub deleted_error_logs: Option<BigInt>,
}

impl Deletion {
    pub fn new(id: ID, row: &DeletionRow) -> Self {
        let ending = row.ending.as_ref();
        let count = |rows: u64| BigInt(i64::try_from(rows).unwrap_or(i64::MAX));
        Self {
            id,
            started_at: time(&row.started_at).unwrap_or(DateTime(chrono::DateTime::UNIX_EPOCH)),
            ended_at: ending.and_then(|ending| time(&ending.at)),
            outcome: ending.map(|ending| ending.outcome.into()),
            deleted_calls: ending.map(|ending| count(ending.calls)),
            deleted_error_logs: ending.map(|ending| count(ending.error_logs)),
        }
    }
}

fn time(text: &str) -> Option<DateTime> {
    let at = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    Some(DateTime(at.with_timezone(&Utc)))
}

/// Rejects an invalid deletion id.
pub fn check_deletion_id(argument: &'static str, id: &str) -> Result<()> {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=MAX_ID).contains(&id.len()) && id.bytes().all(is_valid) {
        return Ok(());
    }
    let message = format!("a deletion id must be 1 to {MAX_ID} letters, digits, `-` and `_`");
    Err(Failure::bad_input(argument, message))
}
