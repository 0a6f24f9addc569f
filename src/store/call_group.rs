//! Groups and series of calls, with exact latency percentiles.

use chrono::{DateTime, NaiveDateTime, Utc};
use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait, Order};

use super::call::CallScope;
pub use super::call_stats::CallStats;
use super::call_stats::{self, FIRST_ID, KEY, StatsRow};
use super::database::Database;
use super::dialect::Dialect;
use super::filter::succeeded;
use super::rows::int;
use crate::domain::bucket::{Run, runs};
use crate::domain::table::{API_KEY, MODEL, STATUS_CODE, TIME};
use crate::error::Result;

/// A dimension that groups calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallDimension {
    ApiKey,
    Model,
    StatusCode,
    Success,
}

impl CallDimension {
    fn expression(self, dialect: Dialect) -> Expr {
        match self {
            Self::ApiKey => dialect.group_text(API_KEY),
            Self::Model => dialect.group_text(MODEL),
            Self::StatusCode => dialect.integer(STATUS_CODE),
            Self::Success => CaseStatement::new()
                .case(succeeded(), dialect.number(1))
                .finally(dialect.number(0))
                .into(),
        }
    }

    /// Its column in the inner statements.
    fn alias(self) -> &'static str {
        match self {
            Self::ApiKey => KEY,
            Self::Model => "by_model",
            Self::StatusCode => "by_code",
            Self::Success => "by_success",
        }
    }
}

/// The order of groups, highest value first. Ties go to the larger group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupOrder {
    Total,
    Failure,
    FailureRate,
    P95Latency,
}

impl GroupOrder {
    /// The sort expression before the total.
    fn expression(self) -> Option<&'static str> {
        match self {
            Self::Total => None,
            Self::Failure => Some("total - success"),
            // As a float: MySQL's decimals would keep five digits.
            Self::FailureRate => Some("(total - success) * 1e0 / total"),
            // The percentile in exact hundredths.
            Self::P95Latency => Some(
                "COALESCE(p95_below * 100 + (p95_above - p95_below) * ((95 * (n - 1)) % 100), -1)",
            ),
        }
    }
}

/// A request for groups. Latencies cost the database a sort.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupQuery {
    pub scope: CallScope,
    pub by: Vec<CallDimension>,
    pub order: GroupOrder,
    pub limit: u32,
    pub latency: bool,
}

/// A group of calls. Only the fields of the requested dimensions are set.
#[derive(Clone, Debug)]
pub struct GroupRow {
    pub key: Option<String>,
    pub model: Option<String>,
    pub status_code: Option<i32>,
    pub success: Option<bool>,
    pub stats: CallStats,
}

/// The groups of calls, sorted, at most `limit`. One statement.
pub async fn groups(db: &Database, query: &GroupQuery) -> Result<Vec<GroupRow>> {
    let dialect = db.dialect();
    let dimensions: Vec<(&'static str, Expr)> =
        query.by.iter().map(|by| (by.alias(), by.expression(dialect))).collect();
    let mut select = call_stats::select(db, &query.scope, &dimensions, query.latency);
    if let Some(rank) = query.order.expression() {
        select.order_by_expr(Expr::cust(rank), Order::Desc);
    }
    select.order_by("total", Order::Desc);
    for dimension in &query.by {
        select.order_by_expr(Expr::col(dimension.alias()).is_null(), Order::Asc);
        if *dimension != CallDimension::ApiKey {
            select.order_by(dimension.alias(), Order::Asc);
        }
    }
    if query.by.contains(&CallDimension::ApiKey) {
        select.order_by(FIRST_ID, Order::Asc);
    }
    select.limit(query.limit.into());
    let rows = call_stats::fetch(db, "call_group.groups", &select).await?;
    Ok(rows.into_iter().map(group_row).collect())
}

fn group_row(row: StatsRow) -> GroupRow {
    GroupRow {
        stats: row.stats(),
        key: row.by_key,
        model: row.by_model,
        status_code: int(row.by_code),
        success: row.by_success.map(|success| success == 1),
    }
}

/// The calls of each bucket between two of `bounds`; a bucket without calls is all zeros. One statement.
pub async fn series(
    db: &Database,
    scope: &CallScope,
    bounds: &[DateTime<Utc>],
    latency: bool,
) -> Result<Vec<CallStats>> {
    let mut buckets = vec![CallStats::default(); bounds.len().saturating_sub(1)];
    if buckets.is_empty() {
        return Ok(buckets);
    }
    let stored: Vec<NaiveDateTime> = bounds.iter().map(|at| db.zone().to_stored(*at)).collect();
    let number = bucket_number(db.dialect(), &runs(&stored));
    let select = call_stats::select(db, scope, &[("by_bucket", number)], latency);
    for row in call_stats::fetch(db, "call_group.series", &select).await? {
        let bucket = row.by_bucket.and_then(|number| usize::try_from(number).ok());
        if let Some(bucket) = bucket.and_then(|number| buckets.get_mut(number)) {
            *bucket = row.stats();
        }
    }
    Ok(buckets)
}

/// The bucket number of a call: one division for each run of buckets.
fn bucket_number(dialect: Dialect, runs: &[Run]) -> Expr {
    let number = |run: &Run| dialect.bucket(run);
    let [runs @ .., last] = runs else { return dialect.number(0) };
    let ends = runs.iter().skip(1).chain([last]).map(|next| dialect.range_end(next.start));
    let mut case = CaseStatement::new();
    for (run, end) in runs.iter().zip(ends) {
        case = case.case(Expr::col(TIME).lt(end), number(run));
    }
    if runs.is_empty() { number(last) } else { case.finally(number(last)).into() }
}
