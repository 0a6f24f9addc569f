//! Classifies error logs: fills the table of `store/failure.rs` with what `domain/failure` computes.
//!
//! A background job (`jobs/failures.rs`) adds rows for new error logs, and replaces those of an older [`VERSION`].
//! A query does not rely on it: `complete` first adds the missing rows for the time that the query reads. It
//! looks at the last `LATE_IDS` ids, and at older ones that the job has not yet checked. An error log that
//! becomes visible later, with a lower id, counts as UNKNOWN until the job has passed it again.

use chrono::{DateTime, Utc};
use entity::ErrorLog;
use sea_orm::sea_query::{CaseStatement, Condition, Expr, ExprTrait, OnConflict, Order, Query};

use super::database::Database;
use super::dialect::Dialect;
use super::error_log::{self, ErrorScope};
use super::failure::{CLASS, ERROR_ID, TABLE, TEMPLATE, is_classified};
use super::filter::{Cells, Filter};
use super::import::last_id;
use super::rows::{VALUE, row};
use crate::domain::failure::VERSION;
use crate::domain::table::{ID, LogTable};
use crate::error::{Error, Result};

/// Error logs that one statement classifies.
pub const ROWS_AT_ONCE: u64 = 500;
/// Statements of a query that finds error logs without a class.
const STATEMENTS_OF_QUERY: u32 = 20;
/// Ids below the highest one that may still become visible, or whose rows may be missing for another reason.
const LATE_IDS: i64 = 1_000;
/// Rows that one statement of the job compares.
const ROWS_OF_A_CHECK: u64 = 5_000;

/// Whether a server has created the table.
pub async fn has_table(db: &Database) -> Result<bool> {
    db.has_table(TABLE).await
}

/// Adds the missing rows of the time that `scopes` select, before a statement that needs them. One statement if
/// the job is up to date, none if no scope has a class or template and `is_grouped` is false.
pub(super) async fn complete<'a>(
    db: &Database,
    scopes: impl IntoIterator<Item = &'a ErrorScope>,
    is_grouped: bool,
) -> Result<()> {
    let Some((since, until)) = hull(scopes, is_grouped) else { return Ok(()) };
    if db.is_read_only() && !has_table(db).await? {
        return Err(unclassified(
            "a server that may write to the database has not yet been started",
        ));
    }
    let last = last_id(db, LogTable::ErrorLogs).await?;
    let mut after = Ord::min(db.failures().get(), last.saturating_sub(LATE_IDS));
    let window = Filter::new(db).bounds(since, until).condition();
    for _ in 0..STATEMENTS_OF_QUERY {
        let mut select = Query::select();
        select
            .expr_as(db.dialect().integer(ID), VALUE)
            .from(ErrorLog)
            .and_where(Expr::col(ID).gt(after))
            .cond_where(window.clone())
            .cond_where(is_classified(db.dialect()).not())
            .order_by(ID, Order::Asc)
            .limit(ROWS_AT_ONCE);
        let missing: Vec<i64> = db.fetch_values("classification.missing", &select).await?;
        let Some(highest) = missing.last() else { return Ok(()) };
        if db.is_read_only() {
            return Err(unclassified("the server is read-only"));
        }
        classify(db, &missing).await?;
        if (missing.len() as u64) < ROWS_AT_ONCE {
            return Ok(());
        }
        after = *highest;
    }
    Err(unclassified("it takes some minutes after an update"))
}

fn unclassified(why: &str) -> Error {
    Error::NotReady(format!(
        "some error logs of this time have no failure class yet ({why}): retry later, or ask for a shorter time"
    ))
}

type Bound = Option<DateTime<Utc>>;

/// The time that contains those of all scopes that need classes or templates.
fn hull<'a>(
    scopes: impl IntoIterator<Item = &'a ErrorScope>,
    is_grouped: bool,
) -> Option<(Bound, Bound)> {
    let needed = scopes.into_iter().filter(|scope| is_grouped || scope.has_failures());
    let earlier = |a: Bound, b: Bound| Some(Ord::min(a?, b?));
    let later = |a: Bound, b: Bound| Some(Ord::max(a?, b?));
    needed
        .map(|scope| (scope.since, scope.until))
        .reduce(|all, one| (earlier(all.0, one.0), later(all.1, one.1)))
}

/// Classifies the error logs with these ids. One statement to read them, one to write, and further ones for long
/// texts.
async fn classify(db: &Database, ids: &[i64]) -> Result<()> {
    let mut rows = error_log::find_at_any_time(db, ids).await?;
    error_log::read_messages(db, &mut rows, &|_| Ok(())).await?;
    if rows.is_empty() {
        return Ok(());
    }
    // Transactions that lock rows in the same order have no deadlock.
    rows.sort_unstable_by_key(|row| row.id);
    let mut insert = Query::insert();
    insert.into_table(TABLE).columns([ERROR_ID, "logged_at", CLASS, TEMPLATE, "rules"]);
    for row in rows {
        let values = [
            row.id.into(),
            row.stored.value(db.dialect()).into(),
            row.class().to_string().into(),
            row.template().id.into(),
            VERSION.into(),
        ];
        insert.values(values).map_err(Error::internal)?;
    }
    let replaced = ["logged_at", CLASS, TEMPLATE, "rules"];
    insert.on_conflict(OnConflict::column(ERROR_ID).update_columns(replaced).to_owned());
    db.execute("classification.store", &insert).await.map(drop)
}

/// What a check of the job found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Error logs without a class, or with one of an older version.
    pub missing: Vec<i64>,
    /// The highest id that was checked; None if there are no more rows.
    pub last: Option<i64>,
}

/// Checks the next error logs above an id. One statement.
pub async fn check(db: &Database, after: i64) -> Result<Checked> {
    row! {
        struct Row { id: i64, is_classified: i64 }
    }
    let mut select = Query::select();
    let is_classified = flag(db.dialect(), is_classified(db.dialect()));
    select
        .expr_as(db.dialect().integer(ID), "c_id")
        .expr_as(is_classified, "c_is_classified")
        .from(ErrorLog)
        .and_where(Expr::col(ID).gt(after))
        .order_by(ID, Order::Asc)
        .limit(ROWS_OF_A_CHECK);
    let rows = db.fetch::<Row>("classification.check", &select).await?;
    let missing = rows.iter().filter(|row| row.is_classified == 0).map(|row| row.id).collect();
    Ok(Checked { missing, last: rows.last().map(|row| row.id) })
}

/// The highest id that can be taken as checked, if the highest id of all is `last`.
pub fn settled(last: i64) -> i64 {
    last.saturating_sub(LATE_IDS)
}

/// Classifies error logs for the job.
pub async fn add(db: &Database, ids: &[i64]) -> Result<()> {
    for ids in ids.chunks(ROWS_AT_ONCE as usize) {
        classify(db, ids).await?;
    }
    Ok(())
}

/// Deletes the next rows above an id whose error logs are gone; returns the highest id that was looked at, or None
/// at the end. Two statements.
pub async fn sweep(db: &Database, after: i64) -> Result<Option<i64>> {
    row! {
        struct Row { id: i64, is_used: i64 }
    }
    let is_used = Expr::exists(
        Query::select()
            .expr(Expr::cust("1"))
            .from(ErrorLog)
            .and_where(Expr::col(ID).equals((TABLE, ERROR_ID)))
            .take(),
    );
    let mut select = Query::select();
    select
        .expr_as(Expr::col(ERROR_ID), "c_id")
        .expr_as(flag(db.dialect(), Condition::all().add(is_used.clone())), "c_is_used")
        .from(TABLE)
        .and_where(Expr::col(ERROR_ID).gt(after))
        .order_by(ERROR_ID, Order::Asc)
        .limit(ROWS_OF_A_CHECK);
    let rows = db.fetch::<Row>("classification.sweep", &select).await?;
    let unused: Vec<i64> = rows.iter().filter(|row| row.is_used == 0).map(|row| row.id).collect();
    if !unused.is_empty() {
        let delete = Query::delete()
            .from_table(TABLE)
            .and_where(Expr::col(ERROR_ID).is_in(unused))
            // An id may have been used again.
            .and_where(is_used.not())
            .take();
        db.execute("classification.delete", &delete).await?;
    }
    Ok(rows.last().map(|row| row.id))
}

/// A condition as 1 or 0.
fn flag(dialect: Dialect, condition: Condition) -> Expr {
    CaseStatement::new().case(condition, dialect.number(1)).finally(dialect.number(0)).into()
}
