//! Calls: lists, counts of lists, single calls.

use chrono::{DateTime, Utc};
use entity::request_log::{Column, Entity};
use sea_orm::EntityName;
use sea_orm::sea_query::{
    CaseStatement, Condition, Expr, ExprTrait, Query, SelectStatement, Value,
};

use super::database::Database;
use super::dialect::Dialect;
use super::page::{Keyset, Page, PageRequest, count_rows, tagged, unions};
use super::rows::{columns, int};
use super::stored_time::StoredTime;
use crate::domain::window::Window;
use crate::error::Result;

/// A stored call.
#[derive(Clone, Debug)]
pub struct CallRow {
    pub id: i64,
    pub timestamp: DateTime<Utc>,
    /// The time as it is stored.
    pub stored: StoredTime,
    pub key: Option<String>,
    pub model: Option<String>,
    /// None also where SQLite holds text.
    pub status_code: Option<i32>,
    pub latency_ms: Option<i32>,
}

impl CallRow {
    pub fn is_success(&self) -> bool {
        self.status_code.is_some_and(|code| (200..=299).contains(&code))
    }
}

/// A filter of calls. A call must match every field that is set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallScope {
    pub window: Window,
    pub keys: Option<Vec<String>>,
    pub models: Option<Vec<String>>,
    pub success: Option<bool>,
    pub status_codes: Option<Vec<i32>>,
    pub min_latency_ms: Option<i32>,
    pub max_latency_ms: Option<i32>,
}

impl CallScope {
    pub fn of(window: Window) -> Self {
        Self {
            window,
            keys: None,
            models: None,
            success: None,
            status_codes: None,
            min_latency_ms: None,
            max_latency_ms: None,
        }
    }

    pub(super) fn condition(&self, db: &Database) -> Condition {
        let dialect = db.dialect();
        let latency = || dialect.integer(Column::LatencyMs);
        let zone = db.zone();
        let (since, until) = (zone.to_stored(self.window.since), zone.to_stored(self.window.until));
        Condition::all()
            .add(dialect.time_range(Column::RequestTime, Some(since), Some(until)))
            .add_option(self.keys.as_ref().map(|keys| dialect.text_in(Column::ApiKey, keys)))
            .add_option(self.models.as_ref().map(|names| dialect.text_in(Column::ModelName, names)))
            .add_option(self.success.map(|success| if success { succeeded() } else { failed() }))
            .add_option(
                self.status_codes.clone().map(|codes| Expr::col(Column::StatusCode).is_in(codes)),
            )
            .add_option(self.min_latency_ms.map(|least| latency().gte(least)))
            .add_option(self.max_latency_ms.map(|most| latency().lte(most)))
    }
}

/// A status code of 200 to 299. SQLite sorts text after every number.
pub(super) fn succeeded() -> Expr {
    Expr::col(Column::StatusCode).between(200, 299)
}

fn failed() -> Expr {
    let code = || Expr::col(Column::StatusCode);
    code().is_null().or(code().lt(200)).or(code().gt(299))
}

/// The order of a list of calls; ids break ties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallOrder {
    NewestFirst,
    OldestFirst,
    /// Calls without a latency are at the end.
    SlowestFirst,
}

/// The position of a call in a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallCursor {
    pub rank: CallRank,
    pub id: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallRank {
    Time(StoredTime),
    /// Milliseconds; -1 for none.
    Latency(i64),
}

impl CallCursor {
    pub fn of(row: &CallRow, order: CallOrder) -> Self {
        let rank = match order {
            CallOrder::SlowestFirst => CallRank::Latency(row.latency_ms.map_or(-1, i64::from)),
            _ => CallRank::Time(row.stored.clone()),
        };
        Self { rank, id: row.id }
    }

    fn position(&self, dialect: Dialect) -> (Value, i64) {
        let value = match &self.rank {
            CallRank::Time(stored) => stored.value(dialect),
            CallRank::Latency(latency) => (*latency).into(),
        };
        (value, self.id)
    }
}

/// A request for a page of calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallListQuery {
    pub scope: CallScope,
    pub order: CallOrder,
    pub page: PageRequest<CallCursor>,
}

pub(super) type Columns =
    (i64, StoredTime, Option<String>, Option<String>, Option<i64>, Option<i64>);

/// One page of calls. One statement.
pub async fn list(db: &Database, query: &CallListQuery) -> Result<Page<CallRow>> {
    let (select, width) = list_statement(db, query);
    let rows = db.fetch::<Columns>("call.list", &select, width).await?;
    Ok(query.page.page(rows.into_iter().map(|row| call_row(db, row)).collect()))
}

fn list_statement(db: &Database, query: &CallListQuery) -> (SelectStatement, usize) {
    let (mut select, width) = select(db);
    let dialect = db.dialect();
    select.cond_where(query.scope.condition(db));
    let keyset = match query.order {
        CallOrder::NewestFirst => Keyset::by(Column::RequestTime, true),
        CallOrder::OldestFirst => Keyset::by(Column::RequestTime, false),
        CallOrder::SlowestFirst => Keyset { expression: latency_rank(dialect), descending: true },
    };
    keyset.apply(&mut select, &query.page, |cursor| cursor.position(dialect));
    (select, width)
}

/// The latency as [`CallRow`] has it: -1 for none, and for a value of SQLite that exceeds 32 bits.
fn latency_rank(dialect: Dialect) -> Expr {
    let latency = || dialect.integer(Column::LatencyMs);
    let shown = latency().between(i32::MIN, i32::MAX);
    CaseStatement::new().case(shown, latency()).finally(Expr::cust("-1")).into()
}

/// Many pages at once, in the order of `queries`. One statement for 100 pages.
pub async fn list_many(db: &Database, queries: &[CallListQuery]) -> Result<Vec<Page<CallRow>>> {
    let mut rows: Vec<Vec<CallRow>> = queries.iter().map(|_| vec![]).collect();
    type Tagged = (i64, StoredTime, Option<String>, Option<String>, Option<i64>, Option<i64>, i64);
    let pages = queries.iter().map(|query| list_statement(db, query));
    for union in unions(tagged(db.dialect(), pages), 100) {
        for (id, stored, key, model, code, latency, tag) in
            db.fetch::<Tagged>("call.list_many", &union, 7).await?
        {
            rows[tag as usize].push(call_row(db, (id, stored, key, model, code, latency)));
        }
    }
    Ok(queries.iter().zip(rows).map(|(query, rows)| query.page.page(rows)).collect())
}

/// The number of calls of each of `scopes`, in their order. One statement for 100 scopes.
pub async fn count_many(db: &Database, scopes: &[CallScope]) -> Result<Vec<i64>> {
    count_rows(
        db,
        "call.count",
        scopes.iter().map(|scope| (Entity.table_ref(), scope.condition(db))),
    )
    .await
}

/// The calls with these ids, unordered.
pub async fn find(db: &Database, ids: &[i64]) -> Result<Vec<CallRow>> {
    let (mut select, width) = select(db);
    select
        .cond_where(Expr::col(Column::Id).is_in(ids.iter().copied()))
        .and_where(db.dialect().has_time(Column::RequestTime));
    let rows = db.fetch::<Columns>("call.find", &select, width).await?;
    Ok(rows.into_iter().map(|row| call_row(db, row)).collect())
}

pub(super) fn select(db: &Database) -> (SelectStatement, usize) {
    let dialect = db.dialect();
    let mut select = Query::select();
    let width = columns(
        &mut select,
        [
            dialect.integer(Column::Id),
            Expr::col(Column::RequestTime),
            dialect.text(Column::ApiKey),
            dialect.text(Column::ModelName),
            dialect.integer(Column::StatusCode),
            dialect.integer(Column::LatencyMs),
        ],
    );
    select.from(Entity);
    (select, width)
}

pub(super) fn call_row(db: &Database, (id, stored, key, model, code, latency): Columns) -> CallRow {
    CallRow {
        id,
        timestamp: db.zone().to_utc(stored.at),
        stored,
        key,
        model,
        status_code: int(code),
        latency_ms: int(latency),
    }
}
