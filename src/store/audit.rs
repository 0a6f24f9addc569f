//! `callscope_audit`: who was shown a key and who deleted what. Entries are added, never removed. The
//! entry of a deletion is completed once, when the deletion has ended (`deletion_log.rs`).

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Expr, Query};

use super::database::Database;
use super::deletion_log::{EndedAt, Ending, OutcomeName, Rows};
use super::rows::columns;
use super::token::time_text;
use crate::error::Result;

pub(super) const TABLE: &str = "callscope_audit";

/// What is answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditAction {
    /// A key was shown in full; the subject is its id.
    RevealKey,
    /// Full keys were searched; the subject is the filter that did it and how many keys matched, never
    /// the searched text.
    SearchKeys,
    /// Error logs were deleted; the subject is their ids, or the filter that names them.
    DeleteErrorLogs,
    /// Calls or error logs were pruned; the subject is from before when.
    PruneLogs,
}

impl AuditAction {
    pub const DELETIONS: [Self; 2] = [Self::DeleteErrorLogs, Self::PruneLogs];

    pub fn name(self) -> &'static str {
        match self {
            Self::RevealKey => "REVEAL_KEY",
            Self::SearchKeys => "SEARCH_KEYS",
            Self::DeleteErrorLogs => "DELETE_ERROR_LOGS",
            Self::PruneLogs => "PRUNE_LOGS",
        }
    }
}

/// Who did it, from where and when.
#[derive(Clone, Debug)]
pub struct Actor<'a> {
    /// The name of the caller's token.
    pub caller: &'a str,
    pub address: IpAddr,
    pub at: DateTime<Utc>,
}

/// Enters that `actor` did something to each of `subjects`, in the log too, and before it is done. A
/// database that is opened read-only has no such table: there the log alone tells.
pub async fn record(
    db: &Database,
    actor: &Actor<'_>,
    action: AuditAction,
    subjects: impl IntoIterator<Item = String>,
) -> Result<()> {
    let (caller, address) = (actor.caller, actor.address.to_string());
    let at = time_text(actor.at);
    let mut insert = Query::insert();
    insert.into_table(TABLE).columns(["at", "caller", "address", "action", "subject"]);
    for subject in subjects {
        tracing::info!(
            target: "callscope::audit",
            caller,
            address,
            action = action.name(),
            subject,
            "audit"
        );
        insert.values_panic([
            at.clone().into(),
            caller.into(),
            address.as_str().into(),
            action.name().into(),
            subject.into(),
        ]);
    }
    if !db.is_read_only() {
        db.execute("audit_insert", &insert).await?;
    }
    Ok(())
}

/// One entry, as it is stored.
#[derive(Clone, Debug)]
pub struct AuditRow {
    pub at: String,
    pub caller: String,
    pub address: String,
    pub action: String,
    pub subject: String,
    /// How it ended; None for other entries, and for a deletion in progress or of a process that
    /// was killed.
    pub ending: Option<Ending>,
}

impl AuditRow {
    /// Whether an ending is to be expected.
    pub fn is_deletion(&self) -> bool {
        AuditAction::DELETIONS.iter().any(|action| action.name() == self.action)
    }
}

/// The last `limit` entries, the latest first.
pub async fn list(db: &Database, limit: u64) -> Result<Vec<AuditRow>> {
    let mut select = Query::select();
    let names = ["at", "caller", "address", "action", "subject"];
    let width = columns(&mut select, names.into_iter().chain(Ending::COLUMNS).map(Expr::col));
    select.from(TABLE).order_by("id", sea_orm::Order::Desc).limit(limit);
    type Columns = (String, String, String, String, String, EndedAt, OutcomeName, Rows, Rows);
    let rows = db.fetch::<Columns>("audit_list", &select, width).await?;
    let entry =
        |(at, caller, address, action, subject, ended, outcome, calls, errors): Columns| AuditRow {
            at,
            caller,
            address,
            action,
            subject,
            ending: Ending::from_columns((ended, outcome, calls, errors)),
        };
    Ok(rows.into_iter().map(entry).collect())
}
