//! `callscope_audit`: who was shown a key and who deleted what. Entries are added, never changed.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Expr, Query};

use super::database::Database;
use super::rows::columns;
use super::token::time_text;
use crate::error::Result;

const TABLE: &str = "callscope_audit";

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
    let from = Origin { caller: actor.caller, address: &actor.address.to_string(), at: actor.at };
    enter(db, from, action, subjects).await
}

/// Enters what no request asked for: `caller` is a job of the server's, or a command.
pub async fn record_own(
    db: &Database,
    caller: &str,
    at: DateTime<Utc>,
    (action, subject): (AuditAction, String),
) -> Result<()> {
    // No token can be mistaken for it: whoever shows one has an address.
    enter(db, Origin { caller, address: "-", at }, action, [subject]).await
}

struct Origin<'a> {
    caller: &'a str,
    address: &'a str,
    at: DateTime<Utc>,
}

async fn enter(
    db: &Database,
    Origin { caller, address, at }: Origin<'_>,
    action: AuditAction,
    subjects: impl IntoIterator<Item = String>,
) -> Result<()> {
    let at = time_text(at);
    let mut insert = Query::insert();
    insert.into_table(TABLE).columns(["at", "caller", "address", "action", "subject"]);
    for subject in subjects {
        tracing::info!(
            target: "callscope::audit",
            caller,
            address,
            action = action.name(),
            // A filter may hold any text; the table keeps it.
            subject = (action != AuditAction::DeleteErrorLogs).then_some(subject.as_str()),
            "audit"
        );
        insert.values_panic([
            at.clone().into(),
            caller.into(),
            address.into(),
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
}

/// The last `limit` entries, the latest first.
pub async fn list(db: &Database, limit: u64) -> Result<Vec<AuditRow>> {
    let mut select = Query::select();
    let names = ["at", "caller", "address", "action", "subject"];
    let width = columns(&mut select, names.map(Expr::col));
    select.from(TABLE).order_by("id", sea_orm::Order::Desc).limit(limit);
    type Columns = (String, String, String, String, String);
    let rows = db.fetch::<Columns>("audit_list", &select, width).await?;
    let entry = |(at, caller, address, action, subject): Columns| AuditRow {
        at,
        caller,
        address,
        action,
        subject,
    };
    Ok(rows.into_iter().map(entry).collect())
}
