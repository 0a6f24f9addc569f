//! The audit log `callscope_audit`: revealed keys, searches of keys and deletions, each with its caller.
//! Entries are never removed. The entry of a deletion is completed once, when the deletion has ended
//! (`deletion_log.rs`).

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::Query;

use super::database::Database;
use super::deletion_log::{Ending, StoredEnding};
use super::rows::{row, select_own};
use super::token::time_text;
use crate::error::Result;

pub(super) const TABLE: &str = "callscope_audit";

/// An audited action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditAction {
    /// A full key was returned; the subject is its id.
    RevealKey,
    /// Full keys were searched; the subject is the filter and the number of matching keys, never the
    /// searched text.
    SearchKeys,
    /// Error logs were deleted; the subject has their ids or the filter.
    DeleteErrorLogs,
    /// Calls or error logs were pruned; the subject has the cut-off times.
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

/// The caller, its address and the time.
#[derive(Clone, Debug)]
pub struct Actor<'a> {
    /// The name of the caller's token.
    pub caller: &'a str,
    pub address: IpAddr,
    pub at: DateTime<Utc>,
}

/// Adds an entry for each of `subjects`, and logs it, before the action is performed. A read-only database
/// is not written: it has the log only.
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

/// A stored entry.
#[derive(Clone, Debug)]
pub struct AuditRow {
    pub at: String,
    pub caller: String,
    pub address: String,
    pub action: String,
    pub subject: String,
    /// The end of a deletion; None while it runs, if its process was killed, and for other actions.
    pub ending: Option<Ending>,
}

impl AuditRow {
    /// Whether the entry is of a deletion, which has an ending.
    pub fn is_deletion(&self) -> bool {
        AuditAction::DELETIONS.iter().any(|action| action.name() == self.action)
    }
}

/// The last `limit` entries, the latest first.
pub async fn list(db: &Database, limit: u64) -> Result<Vec<AuditRow>> {
    row! {
        struct Entry { at: String, caller: String, address: String, action: String, subject: String }
    }
    let mut select = select_own::<(Entry, StoredEnding)>(TABLE);
    select.order_by("id", sea_orm::Order::Desc).limit(limit);
    let rows = db.fetch::<(Entry, StoredEnding)>("audit_list", &select).await?;
    let entry = |(entry, ending): (Entry, StoredEnding)| AuditRow {
        at: entry.at,
        caller: entry.caller,
        address: entry.address,
        action: entry.action,
        subject: entry.subject,
        ending: ending.decode(),
    };
    Ok(rows.into_iter().map(entry).collect())
}
