//! Rows from before an instant: counted, found and deleted by the index by time, the oldest first.
//! Rows whose time cannot be read are none of them.

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

/// What the usual texts of times begin with in SQLite; any other is looked at.
const USUAL: &str =
    "[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9][ T][0-2][0-9]:[0-5][0-9]:[0-5][0-9]*";

/// Rows without a readable time at the end of a range, before the search for the newest gives up.
const UNREADABLE_TIMES: u64 = 20;

/// Where a row stands by its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub stored: StoredTime,
    pub id: i64,
}

/// Some rows, by their time.
#[derive(Clone, Debug, Default)]
pub struct OldRows {
    /// Those that are older than the instant.
    pub ids: Vec<i64>,
    /// The last that was looked at; nothing where there are no more.
    pub last: Option<Position>,
}

/// The next rows behind `after` that are older than `before`; looks at `limit` of them. One
/// statement, a range of the index. Behind the last position, since the entries of deleted rows stay
/// at the begin of PostgreSQL's and MySQL's indexes for a while.
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

/// How many rows are older than `before`. SQLite compares texts, of which those that are no times are
/// taken off again.
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
        // An offset behind it makes another time of it.
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

/// The time of the newest row before `end` whose time can be read; None also where the newest of these
/// rows all have times that cannot be read. One statement, the end of a range of the index.
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

/// Deletes rows by their ids, in a transaction of its own; tells how many there were.
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
