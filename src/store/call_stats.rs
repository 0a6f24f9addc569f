//! Counts and exact latency percentiles of grouped calls. The database counts the calls of each
//! latency, ranks the latencies and returns one row per group. Percentiles are the same on every
//! database, and the memory of the server does not grow with the calls.

use entity::request_log::{Column, Entity};
use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait, Query, SelectStatement};
use sea_orm::{QueryResult, TryGetError, TryGetableMany};
use serde::{Deserialize, Deserializer};

use super::call::{CallScope, succeeded};
use super::database::Database;
use super::rows::{columns, int};
use crate::domain::counts::{CallCounts, LatencyStats, PERCENTILES, interpolate};
use crate::error::Result;

/// Statistics of a set of calls. The latency is empty unless it was requested.
#[derive(Clone, Debug, Default)]
pub struct CallStats {
    pub counts: CallCounts,
    pub latency: LatencyStats,
}

/// The names of the dimensions of [`select`]: texts, then numbers.
const DIMENSIONS: [&str; 5] = [KEY, "by_model", "by_code", "by_success", "by_bucket"];
pub(super) const KEY: &str = "by_key";
const TEXT_DIMENSIONS: usize = 2;
/// The latency columns, in the order of [`StatsRow::latency`].
const LATENCY: [&str; 4] = ["n", "latency_sum", "latency_min", "latency_max"];

/// The lowest id of a group, which breaks ties between groups of keys. Sorting by the keys would let a
/// caller without access to full keys find them by guessing.
pub(super) const FIRST_ID: &str = "first_id";

/// A statement with one row per group: its `dimensions` (each a name of [`DIMENSIONS`] and an
/// expression), `total`, `success`, [`FIRST_ID`] if keys are a dimension, and with `latency` also `n`,
/// `p95_below`, `p95_above` and so on. It can be sorted by all of these.
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
    let dimension_columns = DIMENSIONS.iter().enumerate().map(|(index, name)| {
        match (names.contains(name), index < TEXT_DIMENSIONS) {
            (true, true) => dialect.to_text(name),
            (true, false) => Expr::col(*name),
            (false, of_text) => dialect.null(of_text),
        }
    });
    let percentiles = PERCENTILES.iter().flat_map(|percent| [below(*percent), above(*percent)]);
    let latencies = LATENCY.iter().map(|name| (*name).to_owned()).chain(percentiles);
    let latencies =
        latencies.map(|name| if latency { Expr::col(name) } else { dialect.null(false) });
    let counts = ["total", "success"].map(Expr::col);
    columns(&mut select, dimension_columns.chain(counts).chain(latencies));
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
        .from(Entity)
        .cond_where(scope.condition(db));
    for (name, expression) in dimensions {
        select.expr_as(expression.clone(), *name).group_by_col(*name);
        if *name == KEY {
            select.expr_as(Expr::col(Column::Id).min(), FIRST_ID);
        }
    }
    if latency {
        select.expr_as(db.dialect().integer(Column::LatencyMs), "ms").group_by_col("ms");
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
    db.fetch(name, select, StatsRow::WIDTH).await
}

/// A group. Only the fields of the requested dimensions are set.
#[derive(Debug)]
pub(super) struct StatsRow {
    pub by_key: Option<String>,
    pub by_model: Option<String>,
    pub by_code: Option<i64>,
    pub by_success: Option<i64>,
    pub by_bucket: Option<i64>,
    counts: CallCounts,
    /// Count, sum, minimum and maximum; then the values below and above each percentile.
    latency: [Option<i64>; 12],
}

impl StatsRow {
    const WIDTH: usize = 19;

    pub(super) fn stats(&self) -> CallStats {
        CallStats { counts: self.counts, latency: self.latency() }
    }

    fn latency(&self) -> LatencyStats {
        let [count, sum, min, max, ..] = self.latency;
        let count = count.unwrap_or(0);
        let ranks = &self.latency[4..];
        let percentile = |index: usize| {
            let (below, above) = (ranks[2 * index]?, ranks[2 * index + 1]?);
            Some(interpolate(PERCENTILES[index], count, below, above))
        };
        LatencyStats {
            count,
            avg: sum.filter(|_| count > 0).map(|sum| sum as f64 / count as f64),
            min: int(min),
            max: int(max),
            percentiles: std::array::from_fn(percentile),
        }
    }

    fn read<E>(
        text: impl Fn(usize) -> Result<Option<String>, E>,
        number: impl Fn(usize) -> Result<Option<i64>, E>,
    ) -> Result<Self, E> {
        let mut latency = [None; 12];
        for (index, value) in latency.iter_mut().enumerate() {
            *value = number(7 + index)?;
        }
        Ok(Self {
            by_key: text(0)?,
            by_model: text(1)?,
            by_code: number(2)?,
            by_success: number(3)?,
            by_bucket: number(4)?,
            counts: CallCounts { total: number(5)?.unwrap_or(0), success: number(6)?.unwrap_or(0) },
            latency,
        })
    }
}

impl<'de> Deserialize<'de> for StatsRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let cells = Vec::<serde_json::Value>::deserialize(deserializer)?;
        Self::read(
            |index| Ok(cells.get(index).and_then(|cell| cell.as_str()).map(str::to_owned)),
            |index| Ok(cells.get(index).and_then(serde_json::Value::as_i64)),
        )
    }
}

impl TryGetableMany for StatsRow {
    fn try_get_many(row: &QueryResult, _: &str, _: &[String]) -> Result<Self, TryGetError> {
        Self::try_get_many_by_index(row)
    }

    fn try_get_many_by_index(row: &QueryResult) -> Result<Self, TryGetError> {
        Self::read(
            |index| row.try_get_by_index_nullable(index),
            |index| row.try_get_by_index_nullable(index),
        )
    }
}
