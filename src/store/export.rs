//! Stored rows for `callscope export`: all columns, sorted by time, in pages.

use chrono::{DateTime, Utc};
use entity::{error_log, request_log};
use sea_orm::Iden;
use sea_orm::sea_query::{Condition, Expr, Query};

use super::database::Database;
use super::dialect::Dialect;
use super::log_table::LogTable;
use super::page::{Keyset, PageRequest};
use super::retention::Position;
use super::rows::columns;
use super::stored_time::StoredTime;
use crate::error::Result;

/// The kind of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    Text,
    /// A number. SQLite may have a text instead.
    Number,
    /// `true` or `false`.
    Flag,
    /// JSON. SQLite may have any text.
    Json,
}

/// A column of an exported row, except for the id and the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub kind: ColumnKind,
    pub is_key: bool,
}

const fn column(name: &'static str, kind: ColumnKind) -> Column {
    Column { name, kind, is_key: false }
}

const fn key(name: &'static str) -> Column {
    Column { name, kind: ColumnKind::Text, is_key: true }
}

const CALLS: [Column; 5] = [
    column("model_name", ColumnKind::Text),
    key("api_key"),
    column("is_success", ColumnKind::Flag),
    column("status_code", ColumnKind::Number),
    column("latency_ms", ColumnKind::Number),
];
const ERROR_LOGS: [Column; 6] = [
    column("model_name", ColumnKind::Text),
    key("gemini_key"),
    column("error_type", ColumnKind::Text),
    column("error_log", ColumnKind::Text),
    column("error_code", ColumnKind::Number),
    column("request_msg", ColumnKind::Json),
];

impl LogTable {
    /// The columns after the id and the time.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Calls => &CALLS,
            Self::ErrorLogs => &ERROR_LOGS,
        }
    }
}

/// A filter of exported rows. A row must match every field that is set.
#[derive(Clone, Debug, Default)]
pub struct ExportScope {
    pub since: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
    pub keys: Option<Vec<String>>,
    pub models: Option<Vec<String>>,
}

/// A stored row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRow {
    pub id: i64,
    pub at: DateTime<Utc>,
    /// In the order of [`LogTable::columns`]; None for NULL.
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

type CallColumns = (
    i64,
    StoredTime,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
);
type ErrorColumns = (
    i64,
    StoredTime,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
);

/// The next rows after `after`, at most `limit`. One statement.
pub async fn page(
    db: &Database,
    table: LogTable,
    scope: &ExportScope,
    after: Option<Position>,
    limit: u32,
) -> Result<ExportPage> {
    let dialect = db.dialect();
    let time = request_log::Column::RequestTime;
    let mut select = Query::select();
    let cells = table.columns().iter().map(|column| cell(dialect, column));
    let first = [dialect.integer(request_log::Column::Id), Expr::col(time)];
    let width = columns(&mut select, first.into_iter().chain(cells));
    select.from(table.name()).cond_where(condition(db, table, scope));
    let request =
        PageRequest { limit: limit.saturating_sub(1), backward: false, after, before: None };
    Keyset::by(time, false).apply(&mut select, &request, |at| (at.stored.value(dialect), at.id));
    let rows: Vec<(i64, StoredTime, Vec<Option<String>>)> = match table {
        LogTable::Calls => db
            .fetch::<CallColumns>("export.calls", &select, width)
            .await?
            .into_iter()
            .map(|(id, at, a, b, c, d, e)| (id, at, vec![a, b, c, d, e]))
            .collect(),
        LogTable::ErrorLogs => db
            .fetch::<ErrorColumns>("export.error_logs", &select, width)
            .await?
            .into_iter()
            .map(|(id, at, a, b, c, d, e, f)| (id, at, vec![a, b, c, d, e, f]))
            .collect(),
    };
    let mut page = ExportPage::default();
    if let Some((id, stored, _)) = rows.last() {
        page.last = Some(Position { stored: stored.clone(), id: *id });
    }
    for (id, stored, cells) in rows {
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
    let time = request_log::Column::RequestTime;
    let outside = Condition::any()
        .add(Expr::cust(format!("{} IS NULL", time.unquoted())))
        .add(db.dialect().time_range(time, None, None).not());
    let mut select = Query::select();
    let width = columns(&mut select, [Expr::cust("COUNT(*)")]);
    select.from(table.name()).cond_where(outside);
    let found = db.fetch::<(i64,)>("export.without_time", &select, width).await?;
    Ok(found.first().map_or(0, |row| u64::try_from(row.0).unwrap_or(0)))
}

fn condition(db: &Database, table: LogTable, scope: &ExportScope) -> Condition {
    let (dialect, zone) = (db.dialect(), db.zone());
    let stored = |at: Option<DateTime<Utc>>| at.map(|at| zone.to_stored(at));
    let (since, until) = (stored(scope.since), stored(scope.until));
    let keys = scope.keys.as_ref().map(|keys| match table {
        LogTable::Calls => dialect.text_in(request_log::Column::ApiKey, keys),
        LogTable::ErrorLogs => dialect.text_in(error_log::Column::GeminiKey, keys),
    });
    let models = scope.models.as_ref();
    let models = models.map(|models| dialect.text_in(request_log::Column::ModelName, models));
    Condition::all()
        .add(dialect.time_range(request_log::Column::RequestTime, since, until))
        .add_option(keys)
        .add_option(models)
}

/// A column as its exact text.
fn cell(dialect: Dialect, column: &Column) -> Expr {
    let name = column.name;
    let text = if dialect == Dialect::MySql { "CHAR" } else { "TEXT" };
    Expr::cust(match column.kind {
        ColumnKind::Flag => format!("CASE WHEN {name} THEN 'true' ELSE 'false' END"),
        ColumnKind::Text if dialect == Dialect::MySql => {
            format!("CONVERT({name} USING utf8mb4)")
        }
        ColumnKind::Text | ColumnKind::Number | ColumnKind::Json => {
            format!("CAST({name} AS {text})")
        }
    })
}
