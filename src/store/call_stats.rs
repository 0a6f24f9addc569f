//! Counts and exact latency percentiles of grouped calls. The database counts the calls of each
//! latency, ranks the latencies and returns one row per group. Percentiles are the same on every
//! database, and the memory of the server does not grow with the calls.

use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait, Query, SelectStatement};

use super::call::CallScope;
use super::call_dimension::KEY;
use super::database::Database;
use super::filter::succeeded;
use super::rows::{Row, columns, field, int, row};
use super::source::Source;
use crate::domain::counts::{CallCounts, LatencyStats, PERCENTILES, interpolate};
use crate::domain::table::{ID, LATENCY_MS, LogTable};
use crate::error::Result;

/// Statistics of a set of calls. The latency is empty unless it was requested.
#[derive(Clone, Debug, Default)]
pub struct CallStats {
    pub counts: CallCounts,
    pub latency: LatencyStats,
}

/// The names of the dimensions of [`select`].
const TEXT_DIMENSIONS: [&str; 2] = [KEY, "by_model"];
const NUMBER_DIMENSIONS: [&str; 3] = ["by_code", "by_success", "by_bucket"];

/// The lowest id of a group, which breaks ties between groups of keys. Sorting by the keys would let a
/// caller without access to full keys find them by guessing.
pub(super) const FIRST_ID: &str = "first_id";

/// A statement with one row per group: its `dimensions` (each a name and an expression), `total`,
/// `success`, [`FIRST_ID`] if keys are a dimension, and with `latency` also `n`, `p95_below`,
/// `p95_above` and so on. It can be sorted by all of these.
pub(super) fn select(
    db: &Database,
    scope: &CallScope,
    dimensions: &[(&'static str, Expr)],
    latency: bool,
) -> SelectStatement {
    let dialect = db.dialect();
    let names: Vec<&'static str> = dimensions.iter().map(|(name, _)| *name).collect();
    let counted = count(db, scope, dimensions, latency);
    let grouped = if latency { summarize(db, rank(db, counted, &names), &names) } else { counted };
    let mut select = Query::select();
    columns::<StatsRow>(
        &mut select,
        StatsRow::columns().into_iter().map(|column| {
            let name = field(column);
            let is_text = TEXT_DIMENSIONS.contains(&name);
            let is_dimension = is_text || NUMBER_DIMENSIONS.contains(&name);
            match name {
                "total" | "success" => Expr::col(name),
                _ if is_dimension && !names.contains(&name) => dialect.null(is_text),
                _ if is_text => dialect.to_text(name),
                _ if is_dimension || latency => Expr::col(name),
                _ => dialect.null(false),
            }
        }),
    );
    select.from_subquery(grouped, "grouped").take()
}

/// The calls of each group; with latencies, of each latency of each group.
fn count(
    db: &Database,
    scope: &CallScope,
    dimensions: &[(&'static str, Expr)],
    latency: bool,
) -> SelectStatement {
    let success: Expr = CaseStatement::new().case(succeeded(), 1).into();
    let mut select = Query::select();
    select
        .expr_as(Expr::cust("COUNT(*)"), "total")
        .expr_as(success.count(), "success")
        .from(Source::All.of(LogTable::Calls, db))
        .cond_where(scope.condition(db));
    for (name, expression) in dimensions {
        select.expr_as(expression.clone(), *name).group_by_col(*name);
        if *name == KEY {
            select.expr_as(Expr::col(ID).min(), FIRST_ID);
        }
    }
    if latency {
        select.expr_as(db.dialect().integer(LATENCY_MS), "ms").group_by_col("ms");
    }
    select
}

/// Adds to each latency the number of calls of its group with at most this latency (`upto`) and with
/// any (`n`).
fn rank(db: &Database, counted: SelectStatement, names: &[&'static str]) -> SelectStatement {
    let group =
        if names.is_empty() { String::new() } else { format!("PARTITION BY {}", names.join(", ")) };
    let with_latency = "SUM(CASE WHEN ms IS NOT NULL THEN total ELSE 0 END)";
    let number = |expression: String| Expr::cust(db.dialect().to_integer(&expression));
    let mut select = Query::select();
    select
        .columns(names.iter().copied().chain(["total", "success", "ms"]).chain(first_id(names)))
        .expr_as(number(format!("{with_latency} OVER ({group} ORDER BY ms)")), "upto")
        .expr_as(number(format!("{with_latency} OVER ({group})")), "n")
        .from_subquery(counted, "counted")
        .take()
}

/// Aggregates the latencies of a group. The value at the fractional rank p(n - 1) is between the values
/// at the whole ranks below and above it. A latency has rank k if more than k calls have at most this
/// latency.
fn summarize(db: &Database, ranked: SelectStatement, names: &[&'static str]) -> SelectStatement {
    let sum = |expression: &str| Expr::cust(db.dialect().to_integer(&format!("SUM({expression})")));
    let mut select = Query::select();
    select
        .columns(names.iter().copied())
        .expr_as(sum("total"), "total")
        .expr_as(sum("success"), "success")
        .expr_as(Expr::cust("MAX(n)"), "n")
        .expr_as(sum("ms * total"), "latency_sum")
        .expr_as(Expr::cust("MIN(ms)"), "latency_min")
        .expr_as(Expr::cust("MAX(ms)"), "latency_max");
    for percent in PERCENTILES {
        let rank = format!("{percent} * (n - 1)");
        let first =
            |condition: String| Expr::cust(format!("MIN(CASE WHEN {condition} THEN ms END)"));
        select
            .expr_as(first(format!("upto * 100 > {rank}")), below(percent))
            .expr_as(first(format!("(upto - 1) * 100 >= {rank}")), above(percent));
    }
    for name in names {
        select.group_by_col(*name);
    }
    if let Some(first_id) = first_id(names) {
        select.expr_as(Expr::col(first_id).min(), first_id);
    }
    select.from_subquery(ranked, "ranked").take()
}

fn first_id(names: &[&'static str]) -> Option<&'static str> {
    names.contains(&KEY).then_some(FIRST_ID)
}

fn below(percent: i64) -> String {
    format!("p{percent}_below")
}

fn above(percent: i64) -> String {
    format!("p{percent}_above")
}

/// The rows of a statement of [`select`].
pub(super) async fn fetch(
    db: &Database,
    name: &'static str,
    select: &SelectStatement,
) -> Result<Vec<StatsRow>> {
    db.fetch(name, select).await
}

row! {
    /// A group. Only the fields of the requested dimensions are set.
    pub(super) struct StatsRow {
        by_key: Option<String>, by_model: Option<String>,
        by_code: Option<i64>, by_success: Option<i64>, by_bucket: Option<i64>,
        total: Option<i64>, success: Option<i64>,
        n: Option<i64>, latency_sum: Option<i64>, latency_min: Option<i64>, latency_max: Option<i64>,
        p50_below: Option<i64>, p50_above: Option<i64>,
        p90_below: Option<i64>, p90_above: Option<i64>,
        p95_below: Option<i64>, p95_above: Option<i64>,
        p99_below: Option<i64>, p99_above: Option<i64>,
    }
}

impl StatsRow {
    pub(super) fn stats(&self) -> CallStats {
        let (total, success) = (self.total.unwrap_or(0), self.success.unwrap_or(0));
        let counts = CallCounts { total, success };
        CallStats { counts, latency: self.latency() }
    }

    fn latency(&self) -> LatencyStats {
        let count = self.n.unwrap_or(0);
        // At PERCENTILES.
        let ranks = [
            self.p50_below.zip(self.p50_above),
            self.p90_below.zip(self.p90_above),
            self.p95_below.zip(self.p95_above),
            self.p99_below.zip(self.p99_above),
        ];
        let percentile = |index: usize| {
            let (below, above) = ranks[index]?;
            Some(interpolate(PERCENTILES[index], count, below as f64, above as f64))
        };
        LatencyStats {
            count,
            avg: self.latency_sum.filter(|_| count > 0).map(|sum| sum as f64 / count as f64),
            min: int(self.latency_min),
            max: int(self.latency_max),
            percentiles: std::array::from_fn(percentile),
            relative_error: 0.0,
        }
    }
}
