//! Groups and series of calls. Short windows are computed from single calls, with exact percentiles; long
//! ones from rollups.

use std::cmp::Ordering;

use chrono::{DateTime, NaiveDateTime, Utc};
use sea_orm::sea_query::{Expr, ExprTrait, Order};

use super::call::CallScope;
use super::call_dimension::{CallDimension, bucket_number};
pub use super::call_stats::CallStats;
use super::call_stats::{self, FIRST_ID, StatsRow};
use super::database::Database;
use super::rollup::{self, Numbering, Sum, SumRequest};
use super::rows::int;
use crate::domain::bucket::runs;
use crate::domain::rollup::Micros;
use crate::error::Result;

/// The order of groups, highest value first. Ties go to the larger group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupOrder {
    Total,
    Failure,
    FailureRate,
    P95Latency,
}

impl GroupOrder {
    /// The value before the total, by which groups are sorted.
    fn rank(self, stats: &CallStats) -> f64 {
        let failure = stats.counts.failure() as f64;
        match self {
            Self::Total => 0.0,
            Self::Failure => failure,
            Self::FailureRate => failure / stats.counts.total as f64,
            Self::P95Latency => stats.latency.percentiles[P95].unwrap_or(-1.0),
        }
    }

    /// The same in SQL.
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

/// The place of the 95th percentile in PERCENTILES.
const P95: usize = 2;

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
    let request = SumRequest {
        scope: &query.scope,
        by: &query.by,
        latency: query.latency,
        spans: vec![(Numbering::One(0), rollup::span(db.zone(), query.scope.window))],
        borders: &[],
        with_deleted: true,
    };
    if let Some(sums) = rollup::sums(db, "call_group.groups_rollup", &request).await? {
        return Ok(sorted(sums, query));
    }
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

/// The groups of sums, in the order of the statement.
fn sorted(sums: Vec<Sum>, query: &GroupQuery) -> Vec<GroupRow> {
    let mut groups: Vec<(i64, GroupRow)> = sums.into_iter().map(sum_group).collect();
    groups.sort_unstable_by(|(one_id, one), (other_id, other)| {
        let rank = query.order.rank(&other.stats).total_cmp(&query.order.rank(&one.stats));
        let total = other.stats.counts.total.cmp(&one.stats.counts.total);
        let labels = query.by.iter().map(|dimension| match dimension {
            CallDimension::ApiKey => one.key.is_none().cmp(&other.key.is_none()),
            CallDimension::Model => none_last(&one.model, &other.model),
            CallDimension::StatusCode => none_last(&one.status_code, &other.status_code),
            CallDimension::Success => none_last(&one.success, &other.success),
        });
        rank.then(total)
            .then(labels.fold(Ordering::Equal, Ordering::then))
            .then(one_id.cmp(other_id))
    });
    groups.truncate(query.limit as usize);
    groups.into_iter().map(|(_, group)| group).collect()
}

fn none_last<T: Ord>(one: &Option<T>, other: &Option<T>) -> Ordering {
    one.is_none().cmp(&other.is_none()).then_with(|| one.cmp(other))
}

fn sum_group(sum: Sum) -> (i64, GroupRow) {
    let stats = sum_stats(&sum);
    let group = GroupRow {
        key: sum.group.key,
        model: sum.group.model,
        status_code: int(sum.group.code),
        success: sum.group.success.map(|success| success == 1),
        stats,
    };
    (sum.first_id, group)
}

fn sum_stats(sum: &Sum) -> CallStats {
    CallStats { counts: sum.counts, latency: sum.latencies.stats() }
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
    let runs = runs(&stored);
    let borders: Vec<Micros> = stored.iter().map(|at| rollup::micros(*at)).collect();
    let request = SumRequest {
        scope,
        by: &[],
        latency,
        spans: vec![(Numbering::Buckets(&runs), borders[0]..borders[borders.len() - 1])],
        borders: &borders[1..borders.len() - 1],
        with_deleted: true,
    };
    if let Some(sums) = rollup::sums(db, "call_group.series_rollup", &request).await? {
        for sum in sums {
            if let Some(bucket) = buckets.get_mut(sum.group.number) {
                *bucket = sum_stats(&sum);
            }
        }
        return Ok(buckets);
    }
    let number = bucket_number(db.dialect(), &runs);
    let select = call_stats::select(db, scope, &[("by_bucket", number)], latency);
    for row in call_stats::fetch(db, "call_group.series", &select).await? {
        let bucket = row.by_bucket.and_then(|number| usize::try_from(number).ok());
        if let Some(bucket) = bucket.and_then(|number| buckets.get_mut(number)) {
            *bucket = row.stats();
        }
    }
    Ok(buckets)
}
