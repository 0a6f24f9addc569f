//! Error logs: lists, single ones, the requests they keep.

use chrono::{DateTime, Utc};
use entity::error_log::{Column, Entity};
use sea_orm::EntityName;
use sea_orm::sea_query::{Condition, Expr, ExprTrait, Query, SelectStatement};

use super::database::Database;
use super::page::{Keyset, Page, PageRequest, count_rows, tagged, unions};
use super::rows::{columns, int};
use super::stored_time::StoredTime;
use crate::error::Result;

/// A stored error log, without the request that failed, which may be large.
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
    pub message: Option<String>,
}

/// Which error logs are meant; all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ErrorScope {
    pub keys: Option<Vec<String>>,
    pub models: Option<Vec<String>>,
    pub error_types: Option<Vec<String>>,
    pub error_codes: Option<Vec<i32>>,
    /// A literal part of the error type or the message, letter case aside.
    pub contains: Option<String>,
    pub since: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
}

impl ErrorScope {
    pub(super) fn condition(&self, db: &Database) -> Condition {
        Condition::all().add(self.in_time(db)).add(self.apart_from_time(db))
    }

    /// The same, with rows without a readable time where no time is asked for.
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
            .add_option(self.contains.as_deref().map(|needle| {
                Condition::any()
                    .add(dialect.contains(Column::ErrorType, needle))
                    .add(dialect.contains(Column::ErrorLog, needle))
            }))
    }
}

/// Where an error log stands in a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCursor {
    pub stored: StoredTime,
    pub id: i64,
}

/// A page of error logs that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ErrorListQuery {
    pub scope: ErrorScope,
    pub newest_first: bool,
    pub page: PageRequest<ErrorCursor>,
}

pub(super) type Columns =
    (i64, StoredTime, Option<String>, Option<String>, Option<String>, Option<i64>, Option<String>);

/// One page of error logs. One statement.
pub async fn list(db: &Database, query: &ErrorListQuery) -> Result<Page<ErrorLogRow>> {
    let (select, width) = list_statement(db, query);
    let rows = db.fetch::<Columns>("error_log.list", &select, width).await?;
    Ok(query.page.page(rows.into_iter().map(|row| error_log_row(db, row)).collect()))
}

fn list_statement(db: &Database, query: &ErrorListQuery) -> (SelectStatement, usize) {
    let (mut select, width) = select(db);
    let dialect = db.dialect();
    select.cond_where(query.scope.condition(db));
    Keyset::by(Column::RequestTime, query.newest_first)
        .apply(&mut select, &query.page, |cursor| (cursor.stored.value(dialect), cursor.id));
    (select, width)
}

/// Many pages at once, in the order of `queries`. One statement for 100 of them.
pub async fn list_many(
    db: &Database,
    queries: &[ErrorListQuery],
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
        i64,
    );
    let pages = queries.iter().map(|query| list_statement(db, query));
    for union in unions(tagged(db.dialect(), pages), 100) {
        for (id, stored, key, model, kind, code, message, tag) in
            db.fetch::<Tagged>("error_log.list_many", &union, 8).await?
        {
            let row = (id, stored, key, model, kind, code, message);
            rows[tag as usize].push(error_log_row(db, row));
        }
    }
    Ok(queries.iter().zip(rows).map(|(query, rows)| query.page.page(rows)).collect())
}

/// How many error logs each of `scopes` has, in their order. One statement for 100 of them.
pub async fn count_many(db: &Database, scopes: &[ErrorScope]) -> Result<Vec<i64>> {
    count_rows(
        db,
        "error_log.count",
        scopes.iter().map(|scope| (Entity.table_ref(), scope.condition(db))),
    )
    .await
}

/// The error logs with these ids, in no order.
pub async fn find(db: &Database, ids: &[i64]) -> Result<Vec<ErrorLogRow>> {
    let (mut select, width) = select(db);
    select
        .cond_where(Expr::col(Column::Id).is_in(ids.iter().copied()))
        .and_where(db.dialect().has_time(Column::RequestTime));
    let rows = db.fetch::<Columns>("error_log.find", &select, width).await?;
    Ok(rows.into_iter().map(|row| error_log_row(db, row)).collect())
}

/// The requests that these error logs keep, as the text of their JSON.
pub async fn find_requests(db: &Database, ids: &[i64]) -> Result<Vec<(i64, String)>> {
    let dialect = db.dialect();
    let mut select = Query::select();
    columns(&mut select, [dialect.integer(Column::Id), dialect.json_text(Column::RequestMsg)]);
    select
        .from(Entity)
        .and_where(Expr::col(Column::Id).is_in(ids.iter().copied()))
        .and_where(Expr::col(Column::RequestMsg).is_not_null());
    db.fetch::<(i64, String)>("error_log.find_requests", &select, 2).await
}

pub(super) fn select(db: &Database) -> (SelectStatement, usize) {
    let dialect = db.dialect();
    let mut select = Query::select();
    let width = columns(
        &mut select,
        [
            dialect.integer(Column::Id),
            Expr::col(Column::RequestTime),
            dialect.text(Column::GeminiKey),
            dialect.text(Column::ModelName),
            dialect.text(Column::ErrorType),
            dialect.integer(Column::ErrorCode),
            dialect.text(Column::ErrorLog),
        ],
    );
    select.from(Entity);
    (select, width)
}

pub(super) fn error_log_row(
    db: &Database,
    (id, stored, key, model, error_type, code, message): Columns,
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
    }
}
