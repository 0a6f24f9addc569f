//! Stored rows for `callscope export`: all columns, sorted by time, in pages.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Condition, Expr, Query};
use sea_orm::{DbErr, QueryResult};
use serde::Deserialize;

use super::database::Database;
use super::filter::Filter;
use super::retention::{Position, after_position};
use super::rows::{Row, columns, misread};
use super::source::Source;
use super::stored_time::StoredTime;
use crate::domain::table::{Column, ColumnKind, ID, LogTable, MODEL, TIME};
use crate::error::Result;

/// A filter of exported rows. A row must match every field that is set.
#[derive(Clone, Debug, Default)]
pub struct ExportScope {
    pub since: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
    pub keys: Option<Vec<String>>,
    pub models: Option<Vec<String>>,
}

impl ExportScope {
    fn condition(&self, db: &Database, table: LogTable) -> Condition {
        Filter::new(db)
            .time(self.since, self.until)
            .texts(table.key(), self.keys.as_ref())
            .texts(MODEL, self.models.as_ref())
            .condition()
    }
}

/// The exported columns, except for the id and the time.
pub fn exported_columns(table: LogTable) -> impl Iterator<Item = Column> + Clone {
    table.columns().iter().copied().filter(|column| column.kind != ColumnKind::Time)
}

/// A stored row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRow {
    pub id: i64,
    pub at: DateTime<Utc>,
    /// In the order of [`exported_columns`]; None for NULL.
    pub cells: Vec<Option<String>>,
}

/// A page of rows, sorted by time.
#[derive(Clone, Debug, Default)]
pub struct ExportPage {
    pub rows: Vec<ExportRow>,
    /// Rows without a readable time, which are left out.
    pub unreadable: u64,
    /// The last row; None at the end.
    pub last: Option<Position>,
}

/// A row of [`LogTable::Calls`], or of [`LogTable::ErrorLogs`].
#[derive(Deserialize)]
struct StoredRow<const CALLS: bool> {
    id: i64,
    stored: StoredTime,
    cells: Vec<Option<String>>,
}

impl<const CALLS: bool> StoredRow<CALLS> {
    const TABLE: LogTable = if CALLS { LogTable::Calls } else { LogTable::ErrorLogs };

    fn cells() -> impl Iterator<Item = &'static str> {
        exported_columns(Self::TABLE).map(|column| column.name)
    }
}

impl<const CALLS: bool> Row for StoredRow<CALLS> {
    fn columns() -> Vec<&'static str> {
        ["c_id", "c_time"].into_iter().chain(Self::cells()).collect()
    }

    fn read(row: &QueryResult, positions: &[usize]) -> Result<Self, DbErr> {
        let [id, stored, cells @ ..] = positions else { return Err(misread()) };
        Ok(Self {
            id: row.try_get_by(*id)?,
            stored: row.try_get_by(*stored)?,
            cells: cells.iter().map(|cell| row.try_get_by(*cell)).collect::<Result<_, _>>()?,
        })
    }

    fn json() -> String {
        let cells: Vec<&str> = Self::cells().collect();
        format!("json_array(c_id,c_time,json_array({}))", cells.join(","))
    }
}

/// The next rows after `after`, at most `limit`. One statement.
pub async fn page(
    db: &Database,
    table: LogTable,
    scope: &ExportScope,
    after: Option<Position>,
    limit: u32,
) -> Result<ExportPage> {
    let condition = scope.condition(db, table);
    match table {
        LogTable::Calls => read::<true>(db, "export.calls", condition, after, limit).await,
        LogTable::ErrorLogs => {
            read::<false>(db, "export.error_logs", condition, after, limit).await
        }
    }
}

async fn read<const CALLS: bool>(
    db: &Database,
    name: &'static str,
    condition: Condition,
    after: Option<Position>,
    limit: u32,
) -> Result<ExportPage> {
    let dialect = db.dialect();
    let table = StoredRow::<CALLS>::TABLE;
    let cells = exported_columns(table).map(|column| dialect.exact_text(column));
    let mut select = Query::select();
    let first = [dialect.integer(ID), Expr::col(TIME)];
    columns::<StoredRow<CALLS>>(&mut select, first.into_iter().chain(cells));
    select.from(Source::All.of(table, db));
    after_position(dialect, &mut select, condition, after, limit);
    let rows = db.fetch::<StoredRow<CALLS>>(name, &select).await?;
    let mut page = ExportPage::default();
    if let Some(row) = rows.last() {
        page.last = Some(Position { stored: row.stored.clone(), id: row.id });
    }
    for StoredRow { id, stored, cells } in rows {
        if stored.is_readable() {
            page.rows.push(ExportRow { id, at: db.zone().to_utc(stored.at), cells });
        } else {
            page.unreadable += 1;
        }
    }
    Ok(page)
}

/// How many rows have no time, or one outside of all years, and are in no window.
pub async fn count_without_time(db: &Database, table: LogTable) -> Result<u64> {
    let outside = Condition::any()
        .add(Expr::cust(format!("{TIME} IS NULL")))
        .add(db.dialect().time_range(None, None).not());
    db.count("export.without_time", table, outside).await
}
