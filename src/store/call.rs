//! Calls: lists, counts of lists, single calls.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{CaseStatement, Condition, Expr, ExprTrait, SelectStatement, Value};

use super::database::Database;
use super::dialect::Dialect;
use super::filter::{Cell, Cells, Filter};
use super::list::{self, ListRow};
use super::page::{Keyset, Page, PageRequest};
use super::rows::{int, row};
use super::source::Source;
use super::stored_time::StoredTime;
use crate::domain::table::{API_KEY, LATENCY_MS, LogTable, MODEL, STATUS_CODE, TIME};
use crate::domain::window::Window;
use crate::error::Result;

row! {
    /// The columns of a [`CallRow`].
    pub(super) struct StoredCall {
        id: i64,
        request_time: StoredTime,
        api_key: Option<String>,
        model_name: Option<String>,
        status_code: Option<i64>,
        latency_ms: Option<i64>,
    }
}

/// A stored call.
#[derive(Clone, Debug)]
pub struct CallRow {
    pub id: i64,
    pub timestamp: DateTime<Utc>,
    /// The time as it is stored.
    pub stored: StoredTime,
    pub key: Option<String>,
    pub model: Option<String>,
    /// None also where SQLite has text.
    pub status_code: Option<i32>,
    pub latency_ms: Option<i32>,
    /// SQLite may have a latency of more than 32 bits.
    pub(super) stored_latency_ms: Option<i64>,
}

impl CallRow {
    pub fn is_success(&self) -> bool {
        self.status_code.is_some_and(|code| (200..=299).contains(&code))
    }
}

impl ListRow for CallRow {
    type Stored = StoredCall;
    const TABLE: LogTable = LogTable::Calls;

    fn id(stored: &StoredCall) -> i64 {
        stored.id
    }

    fn decode(db: &Database, stored: StoredCall) -> Self {
        Self {
            id: stored.id,
            timestamp: db.zone().to_utc(stored.request_time.at),
            stored: stored.request_time,
            key: stored.api_key,
            model: stored.model_name,
            status_code: int(stored.status_code),
            latency_ms: int(stored.latency_ms),
            stored_latency_ms: stored.latency_ms,
        }
    }
}

impl Cells for CallRow {
    fn time(&self) -> &StoredTime {
        &self.stored
    }

    fn cell(&self, column: &'static str) -> Cell<'_> {
        match column {
            API_KEY => Cell::Text(self.key.as_deref()),
            MODEL => Cell::Text(self.model.as_deref()),
            STATUS_CODE => Cell::Number(self.status_code.map(i64::from)),
            LATENCY_MS => Cell::Number(self.stored_latency_ms),
            _ => Cell::Text(None),
        }
    }
}

/// A filter of calls. A call must match every field that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CallScope {
    pub window: Window,
    pub keys: Option<Vec<String>>,
    pub models: Option<Vec<String>>,
    pub success: Option<bool>,
    pub status_codes: Option<Vec<i32>>,
    /// Calls without a value match.
    pub exclude_keys: Vec<String>,
    pub exclude_models: Vec<String>,
    pub exclude_status_codes: Vec<i32>,
    pub min_latency_ms: Option<i32>,
    pub max_latency_ms: Option<i32>,
}

impl CallScope {
    pub fn of(window: Window) -> Self {
        Self { window, ..Self::default() }
    }

    pub(super) fn condition(&self, db: &Database) -> Condition {
        let in_window = Filter::new(db).time(Some(self.window.since), Some(self.window.until));
        self.add_to(in_window).condition()
    }

    /// The filter for calls in memory, without the window.
    pub fn row_filter(&self, db: &Database) -> Filter {
        self.add_to(Filter::new(db)).for_rows()
    }

    /// Whether it restricts key, model or status code.
    pub(super) fn has_labels(&self) -> bool {
        self.has_keys()
            || self.models.is_some()
            || self.success.is_some()
            || self.status_codes.is_some()
            || !self.exclude_models.is_empty()
            || !self.exclude_status_codes.is_empty()
    }

    /// Whether it restricts keys.
    pub(super) fn has_keys(&self) -> bool {
        self.keys.is_some() || !self.exclude_keys.is_empty()
    }

    /// Adds the criteria, without the window.
    pub(super) fn add_to(&self, filter: Filter) -> Filter {
        filter
            .texts(API_KEY, self.keys.as_ref())
            .texts(MODEL, self.models.as_ref())
            .success(self.success)
            .numbers(STATUS_CODE, self.status_codes.as_ref())
            .other_texts(API_KEY, &self.exclude_keys)
            .other_texts(MODEL, &self.exclude_models)
            .other_numbers(STATUS_CODE, &self.exclude_status_codes)
            .between(LATENCY_MS, [self.min_latency_ms, self.max_latency_ms])
    }
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

impl CallListQuery {
    fn statement(&self, db: &Database) -> SelectStatement {
        let dialect = db.dialect();
        let keyset = match self.order {
            CallOrder::NewestFirst => Keyset::by(TIME, true),
            CallOrder::OldestFirst => Keyset::by(TIME, false),
            CallOrder::SlowestFirst => {
                Keyset { expression: latency_rank(dialect), descending: true }
            }
        };
        let mut select = list::select::<CallRow>(db);
        let condition = self.scope.condition(db);
        keyset.apply(&mut select, condition, &self.page, |cursor| cursor.position(dialect));
        select
    }
}

/// The latency as [`CallRow`] has it: -1 for none, and for a value of SQLite that exceeds 32 bits.
fn latency_rank(dialect: Dialect) -> Expr {
    let latency = || dialect.integer(LATENCY_MS);
    let shown = latency().between(i32::MIN, i32::MAX);
    CaseStatement::new().case(shown, latency()).finally(Expr::cust("-1")).into()
}

/// One page of calls. One statement.
pub async fn list(db: &Database, query: &CallListQuery) -> Result<Page<CallRow>> {
    Ok(query.page.page(list::fetch(db, "call.list", &query.statement(db)).await?))
}

/// Many pages at once, in the order of `queries`. One statement for 100 pages.
pub async fn list_many(db: &Database, queries: &[CallListQuery]) -> Result<Vec<Page<CallRow>>> {
    let pages = queries.iter().map(|query| (query.statement(db), &query.page)).collect();
    list::many(db, "call.list_many", pages).await
}

/// The calls with these ids, unordered.
pub async fn find(db: &Database, ids: &[i64]) -> Result<Vec<CallRow>> {
    list::find(db, "call.find", Source::All, ids).await
}
