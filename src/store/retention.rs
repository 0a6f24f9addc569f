//! Rows that are older than an instant: counts, finds and deletes them by the index by time, the oldest
//! first. Rows without a readable time are never included.

use chrono::{DateTime, NaiveDateTime, Utc};
use entity::request_log::Column;
use sea_orm::Iden;
use sea_orm::sea_query::{Condition, Expr, ExprTrait, Order, Query};

use super::database::Database;
use super::dialect::Dialect;
use super::log_table::LogTable;
use super::page::{Keyset, PageRequest};
use super::rows::columns;
use super::stored_time::StoredTime;
use crate::error::Result;

/// The usual form of a time in SQLite. Other texts are parsed one by one.
const USUAL: &str =
    "[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9][ T][0-2][0-9]:[0-5][0-9]:[0-5][0-9]*";

/// Rows without a readable time at the end of a range before the search for the newest stops.
const UNREADABLE_TIMES: u64 = 20;

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
    let end = db.zone().to_stored(before);
    let mut select = Query::select();
    let dialect = db.dialect();
    let width = columns(&mut select, [dialect.integer(Column::Id), Expr::col(Column::RequestTime)]);
    select.from(table.name()).cond_where(older(db, end));
    let page = PageRequest { limit: limit.saturating_sub(1), backward: false, after, before: None };
    Keyset::by(Column::RequestTime, false)
        .apply(&mut select, &page, |at| (at.stored.value(dialect), at.id));
    let rows = db.fetch::<(i64, StoredTime)>("old.find", &select, width).await?;
    let is_old = |stored: &StoredTime| stored.is_readable() && stored.at < end;
    let ids = rows.iter().filter(|(_, stored)| is_old(stored)).map(|(id, _)| *id).collect();
    let last = rows.into_iter().last().map(|(id, stored)| Position { stored, id });
    Ok(OldRows { ids, last })
}

/// How many rows are older than `before`. SQLite compares texts, so rows without a readable time are
/// subtracted.
pub async fn count(db: &Database, table: LogTable, before: DateTime<Utc>) -> Result<u64> {
    let end = db.zone().to_stored(before);
    let mut select = Query::select();
    let width = columns(&mut select, [Expr::cust("COUNT(*)")]);
    select.from(table.name()).cond_where(older(db, end));
    let found = db.fetch::<(i64,)>("old.count", &select, width).await?;
    let mut count = found.first().map_or(0, |row| u64::try_from(row.0).unwrap_or(0));
    if db.dialect() == Dialect::Sqlite {
        let mut select = Query::select();
        let width = columns(&mut select, [Expr::col(Column::RequestTime)]);
        // A text with an offset is another time.
        let time = Column::RequestTime.unquoted();
        let unusual = Expr::cust_with_values(
            format!("({time} NOT GLOB ? OR substr({time}, 20) GLOB '*[^0-9.]*')"),
            [USUAL],
        );
        select.from(table.name()).cond_where(older(db, end)).and_where(unusual);
        let unusual = db.fetch::<(StoredTime,)>("old.unusual", &select, width).await?;
        let is_old = |stored: &StoredTime| stored.is_readable() && stored.at < end;
        count -= unusual.iter().filter(|(stored,)| !is_old(stored)).count() as u64;
    }
    Ok(count)
}

/// The time of the newest row before `end` with a readable time. None also if the newest rows all have
/// unreadable times. One statement, the end of a range of the index.
pub async fn newest(
    db: &Database,
    table: LogTable,
    end: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>> {
    let end = db.zone().to_stored(end);
    let mut select = Query::select();
    let width = columns(&mut select, [Expr::col(Column::RequestTime)]);
    select
        .from(table.name())
        .cond_where(older(db, end))
        .order_by(Column::RequestTime, Order::Desc)
        .order_by(Column::Id, Order::Desc)
        .limit(UNREADABLE_TIMES);
    let times = db.fetch::<(StoredTime,)>("old.newest", &select, width).await?;
    let is_usable = |stored: &StoredTime| stored.is_readable() && stored.at < end;
    let found = times.into_iter().map(|row| row.0).find(is_usable);
    Ok(found.map(|stored| db.zone().to_utc(stored.at)))
}

/// How many rows have a time of `since` or later. A range of the index.
pub async fn count_since(db: &Database, table: LogTable, since: DateTime<Utc>) -> Result<u64> {
    let start = db.zone().to_stored(since);
    let mut select = Query::select();
    let width = columns(&mut select, [Expr::cust("COUNT(*)")]);
    let range = db.dialect().time_range(Column::RequestTime, Some(start), None);
    select.from(table.name()).cond_where(range);
    let found = db.fetch::<(i64,)>("old.count_since", &select, width).await?;
    Ok(found.first().map_or(0, |row| u64::try_from(row.0).unwrap_or(0)))
}

/// Deletes rows by id in one transaction and returns their number.
pub async fn delete(db: &Database, table: LogTable, ids: &[i64]) -> Result<u64> {
    let delete = Query::delete()
        .from_table(table.name())
        .and_where(Expr::col(Column::Id).is_in(ids.iter().copied()))
        .take();
    db.execute("delete", &delete).await
}

fn older(db: &Database, end: NaiveDateTime) -> Condition {
    db.dialect().time_range(Column::RequestTime, None, Some(end))
}
