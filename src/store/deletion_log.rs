//! Deletions in `callscope_audit`. The entry is written before the first row is deleted and completed
//! when the deletion has ended. Without an outcome, the deletion is in progress or its process was
//! killed.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Expr, ExprTrait, Query};

use super::audit::{AuditAction, TABLE};
use super::database::Database;
use super::rows::{row, select_own};
use super::token::time_text;
use crate::error::{Error, Result};

/// How a deletion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of its rows are deleted.
    Completed,
    /// The client disconnected, the command was interrupted or the server shut down.
    Stopped,
    /// The database or the server failed.
    Failed,
    /// The time limit of the request was reached.
    Timeout,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Completed, Self::Stopped, Self::Failed, Self::Timeout];

    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
        }
    }
}

/// The end of a deletion: the outcome and the rows of committed batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub at: String,
    pub outcome: Outcome,
    pub calls: u64,
    pub error_logs: u64,
}

row! {
    /// The columns of an [`Ending`].
    pub(super) struct StoredEnding {
        ended_at: Option<String>,
        outcome: Option<String>,
        deleted_calls: Option<i64>,
        deleted_error_logs: Option<i64>,
    }
}

impl StoredEnding {
    pub(super) fn decode(self) -> Option<Ending> {
        let outcome = self.outcome?;
        let count = |rows: Option<i64>| rows.and_then(|rows| rows.try_into().ok()).unwrap_or(0);
        Some(Ending {
            at: self.ended_at.unwrap_or_default(),
            outcome: Outcome::ALL.into_iter().find(|one| one.name() == outcome)?,
            calls: count(self.deleted_calls),
            error_logs: count(self.deleted_error_logs),
        })
    }
}

/// A deletion that is about to start.
#[derive(Clone, Debug)]
pub struct DeletionStart {
    /// The name of the caller's token, of a command or of a job of the server.
    pub caller: String,
    /// The client's address; `-` for a command or a job, so that no token can be confused with one.
    pub address: String,
    pub at: DateTime<Utc>,
    pub action: AuditAction,
    /// The filter, the ids or the age, as JSON.
    pub subject: String,
    /// The client's own id of the deletion.
    pub id: Option<String>,
}

/// The entry of a deletion that has started.
#[derive(Clone, Debug)]
pub struct DeletionEntry {
    caller: String,
    id: String,
}

/// Adds the entry of a deletion. Fails if the caller has used the id before.
pub async fn start(db: &Database, start: DeletionStart) -> Result<DeletionEntry> {
    let DeletionStart { caller, address, at, action, subject, id } = start;
    let id = match id {
        Some(id) if find(db, &caller, &id).await?.is_some() => {
            let message = "the id was used for an earlier deletion: send a new one";
            return Err(Error::bad_input("deletionId", message));
        }
        Some(id) => id,
        None => format!("{:032x}", rand::random::<u128>()),
    };
    tracing::info!(
        target: "callscope::audit",
        caller,
        address,
        action = action.name(),
        // A filter may hold any text, so that it is stored in the table only.
        subject = (action != AuditAction::DeleteErrorLogs).then_some(subject.as_str()),
        deletion_id = id,
        "audit"
    );
    let insert = Query::insert()
        .into_table(TABLE)
        .columns(["at", "caller", "address", "action", "subject", "deletion_id"])
        .values_panic([
            time_text(at).into(),
            caller.as_str().into(),
            address.into(),
            action.name().into(),
            subject.into(),
            id.as_str().into(),
        ])
        .take();
    db.execute("deletion_start", &insert).await?;
    Ok(DeletionEntry { caller, id })
}

/// Completes the entry of a deletion that has ended.
pub async fn complete(db: &Database, entry: &DeletionEntry, ending: &Ending) -> Result<()> {
    let count = |rows: u64| i64::try_from(rows).unwrap_or(i64::MAX);
    let update = Query::update()
        .table(TABLE)
        .value("ended_at", ending.at.as_str())
        .value("outcome", ending.outcome.name())
        .value("deleted_calls", count(ending.calls))
        .value("deleted_error_logs", count(ending.error_logs))
        .and_where(Expr::col("caller").eq(entry.caller.as_str()))
        .and_where(Expr::col("deletion_id").eq(entry.id.as_str()))
        .take();
    db.execute("deletion_end", &update).await?;
    Ok(())
}

impl DeletionEntry {
    /// Logs the end of the deletion, in case the entry cannot be completed.
    pub fn log(&self, ending: &Ending) {
        tracing::info!(
            target: "callscope::audit",
            caller = self.caller,
            deletion_id = self.id,
            outcome = ending.outcome.name(),
            deleted_calls = ending.calls,
            deleted_error_logs = ending.error_logs,
            "deletion ended"
        );
    }
}

/// A deletion in the audit log.
#[derive(Clone, Debug)]
pub struct DeletionRow {
    pub started_at: String,
    pub ending: Option<Ending>,
}

/// The deletion of `caller` with this id.
pub async fn find(db: &Database, caller: &str, id: &str) -> Result<Option<DeletionRow>> {
    row! {
        struct Start { at: String }
    }
    let mut select = select_own::<(Start, StoredEnding)>(TABLE);
    select.and_where(Expr::col("caller").eq(caller)).and_where(Expr::col("deletion_id").eq(id));
    let found = db.fetch::<(Start, StoredEnding)>("deletion_find", &select).await?.pop();
    Ok(found.map(|(start, ending)| DeletionRow { started_at: start.at, ending: ending.decode() }))
}
