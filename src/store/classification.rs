//! Classifies error logs: fills the table of `store/failure.rs` with what `domain/failure` computes.
//!
//! A background job (`jobs/failures.rs`) adds rows for new error logs, and replaces those of an older [`VERSION`].
//! A query does not rely on it: [`complete`] first adds the missing rows for the time that the query reads. It
//! looks at the last `LATE_IDS` ids, and at older ones that the job has not yet checked. An error log without a
//! row is in no result by class: one that arrives after [`complete`], or becomes visible later with a lower id,
//! until the next query or the job has found it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use entity::ErrorLog;
use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{
    CaseStatement, Condition, Expr, ExprTrait, InsertStatement, OnConflict, Order, Query,
};

use super::database::Database;
use super::dialect::Dialect;
use super::error_log::{self, ErrorScope};
use super::failure::{CLASS, ERROR_ID, TABLE, TEMPLATE, is_classified};
use super::filter::{Cells, Filter};
use super::import::last_id;
use super::partition;
use super::rows::{VALUE, row};
use super::source::Source;
use super::stored_time::StoredTime;
use super::transaction::{Fault, retry};
use crate::domain::failure::VERSION;
use crate::domain::table::{ID, LogTable, TIME};
use crate::error::{Error, Result};
use crate::observe::request;

/// Error logs that one statement classifies.
pub const ROWS_AT_ONCE: u64 = 500;
/// Error logs that a query classifies. If more have no class, it fails and classifies none.
pub const MOST_OF_QUERY: u64 = 2 * ROWS_AT_ONCE;
/// The pause after a step, as a multiple of its time: as long as writers of SQLite that wait for a step need
/// to retry (`prune/pace.rs`).
pub const PAUSE_FACTOR: f64 = 2.0;
/// Bytes of long texts that are in memory at once, unless a single text is longer.
const LONG_AT_ONCE: u64 = 1 << 20;
/// Ids below the highest one that may still become visible, or may lack a row for another reason.
const LATE_IDS: i64 = 1_000;
/// Rows that one statement of the job compares.
const ROWS_OF_A_CHECK: u64 = 5_000;

/// Whether a server has created the table.
pub async fn has_table(db: &Database) -> Result<bool> {
    db.has_table(TABLE).await
}

/// Adds the missing rows of the time that `scopes` select, before a statement that needs them. Two statements if
/// no row is missing, none if no scope has a class or template and `is_grouped` is false.
pub async fn complete<'a>(
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
    let (checked, since_when) = db.failures().checked();
    // A standby may not have the classes yet.
    request::read_after(since_when);
    let last = last_id(db, LogTable::ErrorLogs).await?;
    let settled = settled(last);
    let after = Ord::min(checked, settled);
    // With the window, SQLite would read all of it by the index of times instead of the last ids.
    let window = match after == settled {
        true => Condition::all(),
        false => Filter::new(db).time(since, until).condition(),
    };
    let mut missing = find_missing(db, after, &window).await?;
    if !missing.is_empty() && request::read_primary() {
        // The standby may lack classes only.
        missing = find_missing(db, after, &window).await?;
    }
    if missing.is_empty() {
        return Ok(());
    }
    if db.is_read_only() {
        return Err(unclassified("the server is read-only"));
    }
    if db.failures().is_behind() || missing.len() as u64 > MOST_OF_QUERY {
        return Err(unclassified(match db.keeps_failure_classes() {
            true => "the server is still classifying them",
            false => "the server does so only with --failure-classes true",
        }));
    }
    // Requests that need the same error logs do not classify them at the same time.
    let _turn = db.failures().turn().await;
    add(db, &find_missing(db, after, &window).await?).await
}

/// The first error logs above an id that have no class, one more than a query may classify.
async fn find_missing(db: &Database, after: i64, window: &Condition) -> Result<Vec<i64>> {
    let mut select = Query::select();
    select
        .expr_as(db.dialect().integer(ID), VALUE)
        .from(ErrorLog)
        .and_where(Expr::col(ID).gt(after))
        .cond_where(window.clone())
        .cond_where(is_classified(db.dialect()).not())
        .order_by(ID, Order::Asc)
        .limit(MOST_OF_QUERY + 1);
    db.fetch_values("classification.missing", &select).await
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

/// Classifies the error logs with these ids, at most [`ROWS_AT_ONCE`] in a transaction.
pub async fn add(db: &Database, ids: &[i64]) -> Result<()> {
    for ids in ids.chunks(ROWS_AT_ONCE as usize) {
        store(db, &classify(db, ids).await?).await?;
    }
    Ok(())
}

/// Classifies all error logs without pauses.
pub async fn add_all(db: &Database) -> Result<()> {
    let mut after = i64::MIN;
    loop {
        let checked = check(db, after).await?;
        add(db, &checked.missing).await?;
        match checked.last {
            Some(last) => after = last,
            None => return Ok(()),
        }
    }
}

/// The ids of error logs by their class and template.
type Classified = BTreeMap<(String, String), Vec<i64>>;

async fn classify(db: &Database, ids: &[i64]) -> Result<Classified> {
    let mut rows = error_log::find(db, Source::Here, ids).await?;
    let mut classified = Classified::new();
    let mut read = 0;
    // A part ends before the text that would exceed the limit.
    let parts = rows.chunk_by_mut(|_, row| {
        let bytes = row.long_bytes.unwrap_or(0);
        let fits = read + bytes <= LONG_AT_ONCE;
        read = if fits { read + bytes } else { bytes };
        fits
    });
    for part in parts {
        error_log::read_messages(db, Source::Here, part.iter_mut(), &|_| Ok(())).await?;
        for row in part {
            let label = (row.class().to_string(), row.template().id);
            classified.entry(label).or_default().push(row.id);
            // Frees the text before the next part is read.
            row.message = None;
        }
    }
    Ok(classified)
}

/// Stores rows, which replace those with the same ids, in one transaction. The time is copied by the database:
/// some stored times cannot be read as they are.
async fn store(db: &Database, classified: &Classified) -> Result<()> {
    let _watch = db.watch("classification.store", "INSERT INTO callscope_failures");
    let stored = retry(|| async move {
        let transaction = db.begin_transaction().await.map_err(Fault::Refused)?;
        let stored = async {
            for ((class, template), ids) in classified {
                transaction.inner().execute(&insert(class, template, ids)?).await?;
            }
            Ok(())
        };
        let stored = stored.await;
        transaction.end(stored).await
    });
    stored.await.map_err(Fault::into_error)
}

fn insert(class: &str, template: &str, ids: &[i64]) -> Result<InsertStatement> {
    let mut select = Query::select();
    select
        .expr(Expr::col(ID))
        .expr(Expr::col(TIME))
        .expr(Expr::val(class))
        .expr(Expr::val(template))
        .expr(Expr::val(VERSION))
        .from(ErrorLog)
        .and_where(Expr::col(ID).is_in(ids.iter().copied()));
    let columns = ["logged_at", CLASS, TEMPLATE, "rules"];
    let mut insert = Query::insert();
    insert
        .into_table(TABLE)
        .columns([ERROR_ID].into_iter().chain(columns))
        .select_from(select)
        .map_err(Error::internal)?
        .on_conflict(OnConflict::column(ERROR_ID).update_columns(columns).to_owned());
    Ok(insert)
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

/// Deletes the next rows above an id that have no error log any more; returns the highest id that was looked at, or None
/// at the end. Three statements.
pub async fn sweep(db: &Database, after: i64) -> Result<Option<i64>> {
    row! {
        struct Row { id: i64, logged_at: Option<StoredTime> }
    }
    row! {
        struct Used { id: i64 }
    }
    let mut select = Query::select();
    select
        .expr_as(Expr::col(ERROR_ID), "c_id")
        .expr_as(Expr::col("logged_at"), "c_logged_at")
        .from(TABLE)
        .and_where(Expr::col(ERROR_ID).gt(after))
        .order_by(ERROR_ID, Order::Asc)
        .limit(ROWS_OF_A_CHECK);
    let rows = db.fetch::<Row>("classification.sweep", &select).await?;
    let Some(last) = rows.last().map(|row| row.id) else { return Ok(None) };
    // Citus refuses a subquery for each row.
    let of = |id: Expr, ids: &[i64]| {
        let ids = Expr::col(ID).is_in(ids.iter().copied());
        Query::select().expr_as(id, "c_id").from(ErrorLog).and_where(ids).take()
    };
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let used = db.fetch::<Used>("classification.used", &of(db.dialect().integer(ID), &ids)).await?;
    let used: BTreeSet<i64> = used.into_iter().map(|row| row.id).collect();
    // Read afterwards: a month that was moved meanwhile is among them.
    let moved = partition::moved_spans(db, LogTable::ErrorLogs).await?;
    let is_moved = |row: &Row| {
        let at = row.logged_at.as_ref().map(|stored| stored.at);
        at.is_some_and(|at| moved.iter().any(|span| span.contains(&at)))
    };
    let unused = rows.iter().filter(|row| !used.contains(&row.id) && !is_moved(row));
    let unused: Vec<i64> = unused.map(|row| row.id).collect();
    if !unused.is_empty() {
        let delete = Query::delete()
            .from_table(TABLE)
            .and_where(Expr::col(ERROR_ID).is_in(unused.iter().copied()))
            // An id may have been used again. The column itself: for an expression, MariaDB uses no index.
            .and_where(Expr::col(ERROR_ID).not_in_subquery(of(Expr::col(ID), &unused)))
            .take();
        db.execute("classification.delete", &delete).await?;
    }
    Ok(Some(last))
}

/// A condition as 1 or 0.
fn flag(dialect: Dialect, condition: Condition) -> Expr {
    CaseStatement::new().case(condition, dialect.number(1)).finally(dialect.number(0)).into()
}
