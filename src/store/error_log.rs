//! Error logs: lists, single error logs, the failed requests that they store.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use entity::error_log::{Column, Entity};
use sea_orm::sea_query::{CaseStatement, Condition, Expr, ExprTrait, Query, SelectStatement};
use sea_orm::{EntityName, Iden};

use super::database::Database;
use super::dialect::Dialect;
use super::page::{Keyset, Page, PageRequest, count_rows, tagged, unions};
use super::rows::{columns, int};
use super::stored_time::StoredTime;
use crate::error::Result;

/// A stored error log, without the failed request, which may be large.
#[derive(Clone, Debug)]
pub struct ErrorLogRow {
    pub id: i64,
    pub timestamp: DateTime<Utc>,
    /// The time as it is stored.
    pub stored: StoredTime,
    pub key: Option<String>,
    pub model: Option<String>,
    pub error_type: Option<String>,
    pub error_code: Option<i32>,
    /// None for a long message, until [`read_messages`] has read it.
    pub message: Option<String>,
    /// The length of a long message.
    pub long_bytes: Option<u64>,
}

/// A longer text is read by a separate statement, after its memory was reserved: stored texts have no
/// maximum length, and the memory of a page of rows must be bounded.
pub const SHORT_BYTES: u64 = 2048;
/// Bytes of long texts that one statement reads, unless a single text is longer.
const LONG_AT_ONCE: u64 = 1 << 20;

/// Reserves memory before long texts of so many bytes are read. It fails when the memory is used up.
pub type ReserveMemory<'a> = &'a (dyn Fn(u64) -> Result<()> + Sync);

/// A filter of error logs. An error log must match every field that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ErrorScope {
    pub keys: Option<Vec<String>>,
    pub models: Option<Vec<String>>,
    pub error_types: Option<Vec<String>>,
    pub error_codes: Option<Vec<i32>>,
    /// A literal part of the error type or the message, ignoring case.
    pub contains: Option<String>,
    pub since: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
}

impl ErrorScope {
    pub(super) fn condition(&self, db: &Database) -> Condition {
        Condition::all().add(self.in_time(db)).add(self.apart_from_time(db))
    }

    /// Without a time limit, this condition also matches rows without a readable time.
    pub(super) fn condition_at_any_time(&self, db: &Database) -> Condition {
        let timed = self.since.is_some() || self.until.is_some();
        Condition::all().add_option(timed.then(|| self.in_time(db))).add(self.apart_from_time(db))
    }

    fn in_time(&self, db: &Database) -> Condition {
        let stored = |at: Option<DateTime<Utc>>| at.map(|at| db.zone().to_stored(at));
        db.dialect().time_range(Column::RequestTime, stored(self.since), stored(self.until))
    }

    fn apart_from_time(&self, db: &Database) -> Condition {
        let dialect = db.dialect();
        Condition::all()
            .add_option(self.keys.as_ref().map(|keys| dialect.text_in(Column::GeminiKey, keys)))
            .add_option(self.models.as_ref().map(|names| dialect.text_in(Column::ModelName, names)))
            .add_option(
                self.error_types.as_ref().map(|types| dialect.text_in(Column::ErrorType, types)),
            )
            .add_option(
                self.error_codes.clone().map(|codes| Expr::col(Column::ErrorCode).is_in(codes)),
            )
            .add_option(self.contains.as_deref().map(|text| {
                Condition::any()
                    .add(dialect.contains(Column::ErrorType, text))
                    .add(dialect.contains(Column::ErrorLog, text))
            }))
    }
}

/// The position of an error log in a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCursor {
    pub stored: StoredTime,
    pub id: i64,
}

/// A request for a page of error logs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ErrorListQuery {
    pub scope: ErrorScope,
    pub newest_first: bool,
    pub page: PageRequest<ErrorCursor>,
}

pub(super) type Columns = (
    i64,
    StoredTime,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<String>,
    Option<i64>,
);

/// One page of error logs. One statement, and further ones for long messages.
pub async fn list(
    db: &Database,
    query: &ErrorListQuery,
    reserve: ReserveMemory<'_>,
) -> Result<Page<ErrorLogRow>> {
    let (select, width) = list_statement(db, query);
    let rows = db.fetch::<Columns>("error_log.list", &select, width).await?;
    let mut page = query.page.page(rows.into_iter().map(|row| error_log_row(db, row)).collect());
    read_messages(db, &mut page.rows, reserve).await?;
    Ok(page)
}

/// Reads the long messages of `rows`. One statement for each megabyte.
pub async fn read_messages(
    db: &Database,
    rows: impl IntoIterator<Item = &mut ErrorLogRow>,
    reserve: ReserveMemory<'_>,
) -> Result<()> {
    let mut long: Vec<(&mut ErrorLogRow, u64)> = rows
        .into_iter()
        .filter(|row| row.message.is_none())
        .filter_map(|row| row.long_bytes.map(|bytes| (row, bytes)))
        .collect();
    let lengths = long.iter().map(|(row, bytes)| (row.id, *bytes)).collect();
    let text = db.dialect().text(Column::ErrorLog);
    let mut texts = read_long(db, "error_log.messages", text, lengths, reserve).await?;
    for (row, _) in &mut long {
        row.message = texts.remove(&row.id);
    }
    Ok(())
}

/// The long texts of a column of the rows with these ids and lengths.
async fn read_long(
    db: &Database,
    name: &'static str,
    text: Expr,
    lengths: Vec<(i64, u64)>,
    reserve: ReserveMemory<'_>,
) -> Result<HashMap<i64, String>> {
    let mut texts = HashMap::new();
    if lengths.is_empty() {
        return Ok(texts);
    }
    reserve(lengths.iter().map(|(_, bytes)| bytes).sum())?;
    let mut read = lengths.first().map_or(0, |(_, bytes)| *bytes);
    // A part ends before the text that would exceed the limit.
    let parts = lengths.chunk_by(|_, (_, bytes)| {
        let fits = read + bytes <= LONG_AT_ONCE;
        read = if fits { read + bytes } else { *bytes };
        fits
    });
    let ids: Vec<Vec<i64>> = parts.map(|part| part.iter().map(|(id, _)| *id).collect()).collect();
    for ids in ids {
        let mut select = Query::select();
        columns(&mut select, [db.dialect().integer(Column::Id), text.clone()]);
        select.from(Entity).and_where(Expr::col(Column::Id).is_in(ids));
        let found = db.fetch::<(i64, Option<String>)>(name, &select, 2).await?;
        texts.extend(found.into_iter().filter_map(|(id, text)| Some((id, text?))));
    }
    Ok(texts)
}

/// Two columns: a short text, and the length of a long one.
fn short_and_long(dialect: Dialect, column: &str, text: Expr) -> [Expr; 2] {
    let bytes = || Expr::cust(dialect.to_integer(&format!("OCTET_LENGTH({column})")));
    let is_long = || bytes().gt(SHORT_BYTES as i64);
    let short = CaseStatement::new().case(is_long().not(), text);
    [short.into(), CaseStatement::new().case(is_long(), bytes()).into()]
}

fn list_statement(db: &Database, query: &ErrorListQuery) -> (SelectStatement, usize) {
    let (mut select, width) = select(db);
    let dialect = db.dialect();
    select.cond_where(query.scope.condition(db));
    Keyset::by(Column::RequestTime, query.newest_first)
        .apply(&mut select, &query.page, |cursor| (cursor.stored.value(dialect), cursor.id));
    (select, width)
}

/// Many pages at once, in the order of `queries`. One statement for 100 pages, and further ones for
/// long messages.
pub async fn list_many(
    db: &Database,
    queries: &[ErrorListQuery],
    reserve: ReserveMemory<'_>,
) -> Result<Vec<Page<ErrorLogRow>>> {
    let mut rows: Vec<Vec<ErrorLogRow>> = queries.iter().map(|_| vec![]).collect();
    type Tagged = (
        i64,
        StoredTime,
        Option<String>,
        Option<String>,
        Option<String>,
        Option<i64>,
        Option<String>,
        Option<i64>,
        i64,
    );
    let pages = queries.iter().map(|query| list_statement(db, query));
    for union in unions(tagged(db.dialect(), pages), 100) {
        for (id, stored, key, model, kind, code, message, long, tag) in
            db.fetch::<Tagged>("error_log.list_many", &union, 9).await?
        {
            let row = (id, stored, key, model, kind, code, message, long);
            rows[tag as usize].push(error_log_row(db, row));
        }
    }
    read_messages(db, rows.iter_mut().flatten(), reserve).await?;
    Ok(queries.iter().zip(rows).map(|(query, rows)| query.page.page(rows)).collect())
}

/// The number of error logs of each of `scopes`, in their order. One statement for 100 scopes.
pub async fn count_many(db: &Database, scopes: &[ErrorScope]) -> Result<Vec<i64>> {
    count_rows(
        db,
        "error_log.count",
        scopes.iter().map(|scope| (Entity.table_ref(), scope.condition(db))),
    )
    .await
}

/// The error logs with these ids, unordered, without long messages ([`read_messages`]).
pub async fn find(db: &Database, ids: &[i64]) -> Result<Vec<ErrorLogRow>> {
    let (mut select, width) = select(db);
    select
        .cond_where(Expr::col(Column::Id).is_in(ids.iter().copied()))
        .and_where(db.dialect().has_time(Column::RequestTime));
    let rows = db.fetch::<Columns>("error_log.find", &select, width).await?;
    Ok(rows.into_iter().map(|row| error_log_row(db, row)).collect())
}

/// The failed requests that these error logs store, as JSON text. One statement, and further ones for
/// long requests.
pub async fn find_requests(
    db: &Database,
    ids: &[i64],
    reserve: ReserveMemory<'_>,
) -> Result<Vec<(i64, String)>> {
    let dialect = db.dialect();
    let text = || dialect.json_text(Column::RequestMsg);
    let mut select = Query::select();
    let [short, bytes] = short_and_long(dialect, &json_bytes(dialect), text());
    columns(&mut select, [dialect.integer(Column::Id), short, bytes]);
    select
        .from(Entity)
        .and_where(Expr::col(Column::Id).is_in(ids.iter().copied()))
        .and_where(Expr::col(Column::RequestMsg).is_not_null());
    type Columns = (i64, Option<String>, Option<i64>);
    let rows = db.fetch::<Columns>("error_log.find_requests", &select, 3).await?;
    let long = rows.iter().filter_map(|(id, _, bytes)| Some((*id, (*bytes)? as u64))).collect();
    let long = read_long(db, "error_log.long_requests", text(), long, reserve).await?;
    let short = rows.into_iter().filter_map(|(id, text, _)| Some((id, text?)));
    Ok(short.chain(long).collect())
}

/// The expression for the length of a request. PostgreSQL's JSON is not a text type.
fn json_bytes(dialect: Dialect) -> String {
    match dialect {
        Dialect::Postgres => format!("CAST({} AS TEXT)", Column::RequestMsg.unquoted()),
        _ => Column::RequestMsg.unquoted().to_owned(),
    }
}

pub(super) fn select(db: &Database) -> (SelectStatement, usize) {
    let dialect = db.dialect();
    let mut select = Query::select();
    let text = dialect.text(Column::ErrorLog);
    let [message, long_bytes] = short_and_long(dialect, Column::ErrorLog.unquoted(), text);
    let width = columns(
        &mut select,
        [
            dialect.integer(Column::Id),
            Expr::col(Column::RequestTime),
            dialect.text(Column::GeminiKey),
            dialect.text(Column::ModelName),
            dialect.text(Column::ErrorType),
            dialect.integer(Column::ErrorCode),
            message,
            long_bytes,
        ],
    );
    select.from(Entity);
    (select, width)
}

pub(super) fn error_log_row(
    db: &Database,
    (id, stored, key, model, error_type, code, message, long_bytes): Columns,
) -> ErrorLogRow {
    ErrorLogRow {
        id,
        timestamp: db.zone().to_utc(stored.at),
        stored,
        key,
        model,
        error_type,
        error_code: int(code),
        message,
        long_bytes: long_bytes.and_then(|bytes| u64::try_from(bytes).ok()),
    }
}
