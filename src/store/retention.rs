//! Rows that are older than an instant: counts, finds and deletes them by the index by time, the oldest
//! first. Rows without a readable time are never included.

use chrono::{DateTime, NaiveDateTime, Utc};
use sea_orm::sea_query::{Condition, Expr, ExprTrait, Order, Query, SelectStatement};

use super::database::Database;
use super::dialect::Dialect;
use super::page::{Keyset, PageRequest};
use super::rows::{VALUE, row, select_from};
use super::stored_time::StoredTime;
use crate::domain::table::{ID, LogTable, TIME};
use crate::error::Result;

/// The usual form of a time in SQLite. Other texts are parsed one by one.
const USUAL: &str =
    "[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9][ T][0-2][0-9]:[0-5][0-9]:[0-5][0-9]*";

/// Rows without a readable time at the end of a range before the search for the newest stops.
pub(super) const UNREADABLE_TIMES: u64 = 20;

/// The position of a row in the order of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub stored: StoredTime,
    pub id: i64,
}

/// Some rows in the order of time.
#[derive(Clone, Debug, Default)]
pub struct OldRows {
    /// The rows that are older than the instant.
    pub ids: Vec<i64>,
    /// The last row that was read; None at the end.
    pub last: Option<Position>,
}

/// The rows after `after` that are older than `before`, of the next `limit` rows. One statement, a range
/// of the index. It continues after the last position, because PostgreSQL and MySQL keep the index
/// entries of deleted rows until they are cleaned up.
pub async fn find(
    db: &Database,
    table: LogTable,
    before: DateTime<Utc>,
    after: Option<Position>,
    limit: u32,
) -> Result<OldRows> {
    row! {
        struct Timed { id: i64, request_time: StoredTime }
    }
    let end = db.zone().to_stored(before);
    let mut select = select_from::<Timed>(db.dialect(), table, &[]);
    after_position(db.dialect(), &mut select, older(db, end), after, limit);
    let rows = db.fetch::<Timed>("old.find", &select).await?;
    let ids = rows.iter().filter(|row| is_before(&row.request_time, end)).map(|row| row.id);
    let ids = ids.collect();
    let last = rows.into_iter().last();
    let last = last.map(|row| Position { stored: row.request_time, id: row.id });
    Ok(OldRows { ids, last })
}

/// Sorts by time and limits a statement to the next `limit` rows of `condition` after a position.
pub(super) fn after_position(
    dialect: Dialect,
    select: &mut SelectStatement,
    condition: Condition,
    after: Option<Position>,
    limit: u32,
) {
    let page = PageRequest { limit: limit.saturating_sub(1), backward: false, after, before: None };
    Keyset::by(TIME, false).apply(select, condition, &page, |at| (at.stored.value(dialect), at.id));
}

/// Whether a time is readable and before `end`.
fn is_before(stored: &StoredTime, end: NaiveDateTime) -> bool {
    stored.is_readable() && stored.at < end
}

/// How many rows are older than `before`. SQLite compares texts, so rows without a readable time are
/// subtracted.
pub async fn count(db: &Database, table: LogTable, before: DateTime<Utc>) -> Result<u64> {
    let end = db.zone().to_stored(before);
    let mut count = db.count("old.count", table, older(db, end)).await?;
    if db.dialect() == Dialect::Sqlite {
        // A text with an offset is another time.
        let unusual = Expr::cust_with_values(
            format!("({TIME} NOT GLOB ? OR substr({TIME}, 20) GLOB '*[^0-9.]*')"),
            [USUAL],
        );
        let select = times(table, older(db, end).add(unusual));
        let unusual = db.fetch_values::<StoredTime>("old.unusual", &select).await?;
        count -= unusual.iter().filter(|stored| !is_before(stored, end)).count() as u64;
    }
    Ok(count)
}

/// Selects the times of rows.
pub(super) fn times(table: LogTable, condition: Condition) -> SelectStatement {
    Query::select().expr_as(Expr::col(TIME), VALUE).from(table.name()).cond_where(condition).take()
}

/// The time of the newest row before `end` with a readable time. None also if the newest rows all have
/// unreadable times. One statement, the end of a range of the index.
pub async fn newest(
    db: &Database,
    table: LogTable,
    end: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>> {
    let end = db.zone().to_stored(end);
    let mut select = times(table, older(db, end));
    select.order_by(TIME, Order::Desc).order_by(ID, Order::Desc).limit(UNREADABLE_TIMES);
    let times = db.fetch_values::<StoredTime>("old.newest", &select).await?;
    let found = times.into_iter().find(|stored| is_before(stored, end));
    Ok(found.map(|stored| db.zone().to_utc(stored.at)))
}

/// How many rows have a time of `since` or later. A range of the index.
pub async fn count_since(db: &Database, table: LogTable, since: DateTime<Utc>) -> Result<u64> {
    let range = db.dialect().time_range(Some(db.zone().to_stored(since)), None);
    db.count("old.count_since", table, range).await
}

/// Deletes rows by id in one transaction and returns their number.
pub async fn delete(db: &Database, table: LogTable, ids: &[i64]) -> Result<u64> {
    let delete = Query::delete()
        .from_table(table.name())
        .and_where(Expr::col(ID).is_in(ids.iter().copied()))
        .take();
    db.execute("delete", &delete).await
}

fn older(db: &Database, end: NaiveDateTime) -> Condition {
    db.dialect().time_range(None, Some(end))
}
