//! Sums of calls over spans of time, from cells and from single calls, in one statement.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use sea_orm::sea_query::{
    Asterisk, CaseStatement, Condition, Expr, ExprTrait, JoinType, Query, SelectStatement,
    UnionType,
};
use tokio::time::sleep;

use super::cache::{KnownState, Phase, RollupState, SMALL_LAG};
use super::cells::damaged;
use super::state::{epoch, is_above_watermark, oldest_call, refresh};
use super::{CELLS, GAPS, SERIES, in_span, micros, seconds};
use crate::domain::bucket::Run;
use crate::domain::counts::CallCounts;
use crate::domain::rollup::cover::{Available, Cover};
use crate::domain::rollup::histogram::Latencies;
use crate::domain::rollup::{Level, Micros};
use crate::domain::table::{ID, LATENCY_MS, LogTable};
use crate::error::{Error, Result};
use crate::observe::RequestMarks;
use crate::observe::request::{self, Warning};
use crate::store::call::CallScope;
use crate::store::call_dimension::{CallDimension, bucket_number};
use crate::store::database::Database;
use crate::store::dialect::Dialect;
use crate::store::engine::Engine;
use crate::store::filter::{Filter, succeeded};
use crate::store::rows::{columns, row};
use crate::store::source::Source;
use crate::store::stored_time::StoredTime;

/// Attempts while the state changes between its reading and the statement.
const ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);
/// Percentiles of a span of this length are computed from single calls.
const EXACT_SPAN: Micros = 2 * 3600 * 1_000_000;
/// The number of the row with the state of the statement.
const STATE: i64 = -1;

/// The numbers of the sums to which the calls of a span belong.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Numbering<'a> {
    One(usize),
    /// The bucket of each call.
    Buckets(&'a [Run]),
}

/// How the database finds single calls.
#[derive(Clone, Copy)]
enum By {
    Index,
    Id,
}

/// What to add up.
#[derive(Clone, Debug)]
pub(in crate::store) struct SumRequest<'a> {
    /// The filter; its window does not count.
    pub scope: &'a CallScope,
    pub by: &'a [CallDimension],
    pub latency: bool,
    /// Spans of stored times.
    pub spans: Vec<(Numbering<'a>, Range<Micros>)>,
    /// Times that no cell may contain, except for its start.
    pub borders: &'a [Micros],
    /// Count deleted calls too; otherwise, the calls that a list has.
    pub with_deleted: bool,
}

/// The sum of a number and a group.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Sum {
    pub group: Group,
    pub counts: CallCounts,
    /// The lowest id of a call; of calls of cells, of any call of their series.
    pub first_id: i64,
    pub latencies: Latencies,
}

/// A number and the values of the requested dimensions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::store) struct Group {
    pub number: usize,
    pub key: Option<String>,
    pub model: Option<String>,
    pub code: Option<i64>,
    pub success: Option<i64>,
}

row! {
    struct Part {
        number: i64,
        key: Option<String>,
        model: Option<String>,
        code: Option<i64>,
        success_code: Option<i64>,
        total: i64,
        success: i64,
        first_id: Option<i64>,
        n: Option<i64>,
        sum: Option<i64>,
        min: Option<i64>,
        max: Option<i64>,
        latencies: Option<String>,
        ms: Option<i64>,
        oldest: Option<StoredTime>,
    }
}

/// The sums, in no order; None if single calls must be counted instead: without rollups, or with a filter
/// that cells cannot answer.
pub(in crate::store) async fn sums(
    db: &Database,
    name: &'static str,
    request: &SumRequest<'_>,
) -> Result<Option<Vec<Sum>>> {
    if !db.has_rollups() {
        return Ok(None);
    }
    if db.rollups().get().is_none_or(|known| known.state.phase != Phase::Ready) {
        refresh(db).await?;
    }
    for _ in 0..ATTEMPTS {
        let Some(known) = db.rollups().get() else { return Ok(None) };
        let state = &known.state;
        let statement = match request.uses_cells(db, &known) {
            true => request.statement(db, state),
            false => None,
        };
        let Some(statement) = statement else {
            if request.has_deleted(state) {
                warn(Warning::DeletedCallsMissing);
            }
            return Ok(None);
        };
        // The statement reads single calls above the watermark only.
        request::read_after(known.since);
        let parts = db.fetch::<Part>(name, &statement).await?;
        let is_current = parts.iter().filter(|part| part.number == STATE).any(|part| {
            let oldest = part.oldest.as_ref().map(|oldest| micros(oldest.at));
            part.total == state.epoch && state.kept_since_with(oldest) == state.kept_since
        });
        if is_current {
            return add_up(parts).map(Some);
        }
        // Each batch of a deletion changes the state.
        sleep(PAUSE).await;
        refresh(db).await?;
    }
    Err(Error::Busy)
}

/// Adds a warning to the response of the request.
fn warn(warning: Warning) {
    if let Some(request) = RequestMarks::current() {
        request.warn(warning);
    }
}

/// The sums of the single calls that are stored, in no order.
pub(super) async fn sums_of_calls(
    db: &Database,
    name: &'static str,
    request: &SumRequest<'_>,
) -> Result<Vec<Sum>> {
    let spans = request.spans.iter();
    let branches = spans.map(|(numbering, span)| request.calls(db, *numbering, span));
    match union(branches) {
        Some(statement) => add_up(db.fetch::<Part>(name, &statement).await?),
        None => Ok(vec![]),
    }
}

fn union(branches: impl IntoIterator<Item = SelectStatement>) -> Option<SelectStatement> {
    branches.into_iter().reduce(|mut all, branch| {
        all.union(UnionType::All, branch);
        all
    })
}

fn add_up(parts: Vec<Part>) -> Result<Vec<Sum>> {
    let mut sums: HashMap<Group, (Sum, Vec<String>)> = HashMap::new();
    for part in parts.into_iter().filter(|part| part.number != STATE) {
        if part.total == 0 {
            continue;
        }
        let group = Group {
            number: usize::try_from(part.number).unwrap_or(0),
            key: part.key,
            model: part.model,
            code: part.code,
            success: part.success_code,
        };
        let (sum, encoded) = sums.entry(group).or_insert_with_key(|group| {
            let group = group.clone();
            (Sum { group, first_id: i64::MAX, ..Sum::default() }, vec![])
        });
        sum.counts += CallCounts { total: part.total, success: part.success };
        sum.first_id = Ord::min(sum.first_id, part.first_id.unwrap_or(i64::MAX));
        if let Some(ms) = part.ms {
            sum.latencies.add(ms, part.total);
        }
        if let Some(texts) = part.latencies {
            let exact =
                Latencies::new(part.n.unwrap_or(0), part.sum.unwrap_or(0), part.min, part.max);
            sum.latencies.add_exact(&exact);
            encoded.push(texts);
        }
    }
    let decoded = sums.into_values().map(|(mut sum, encoded)| {
        sum.latencies.add_encoded(encoded.iter().map(String::as_str)).ok_or_else(damaged)?;
        Ok(sum)
    });
    decoded.collect()
}

impl SumRequest<'_> {
    /// Whether cells are needed for deleted calls, or are faster than single calls. Percentiles of few calls
    /// and of a short span are exact.
    fn uses_cells(&self, db: &Database, known: &KnownState) -> bool {
        let KnownState { state, lag, .. } = known;
        let until = self.spans.iter().map(|(_, span)| span.end).max().unwrap_or(0);
        let is_large = state.folded >= i64::try_from(db.rollup_from_calls()).unwrap_or(i64::MAX);
        let is_short = until.saturating_sub(self.since()) <= EXACT_SPAN;
        let is_exact = self.latency && (is_short || !is_large);
        match state.phase {
            Phase::Ready => self.has_deleted(state) || !is_exact && *lag <= SMALL_LAG,
            Phase::Clearing | Phase::Rebuilding => self.has_deleted(state),
            Phase::First | Phase::Unsuitable => false,
        }
    }

    /// Whether deleted calls may belong to the sums.
    fn has_deleted(&self, state: &RollupState) -> bool {
        self.with_deleted && state.kept_since.is_some_and(|kept| self.since() < kept)
    }

    /// The start of the first span.
    fn since(&self) -> Micros {
        self.spans.iter().map(|(_, span)| span.start).min().unwrap_or(0)
    }

    /// None if no span has cells.
    fn statement(&self, db: &Database, state: &RollupState) -> Option<SelectStatement> {
        if self.scope.min_latency_ms.or(self.scope.max_latency_ms).is_some() {
            return None;
        }
        let levels = self.levels(state);
        let (mut branches, mut needs_days) = (vec![], false);
        let mut unfolded: Vec<(Numbering<'_>, Range<Micros>)> = vec![];
        for (numbering, span) in &self.spans {
            let cover = self.cover(span, &levels, state);
            if cover.is_rounded {
                warn(Warning::WindowRounded);
            }
            let is_deleted = |calls: &Range<Micros>| {
                self.with_deleted && state.kept_since.is_some_and(|kept| calls.start < kept)
            };
            if cover.calls.iter().any(is_deleted) {
                warn(Warning::DeletedCallsMissing);
            }
            for span in &cover.calls {
                branches.push(self.calls(db, *numbering, span));
            }
            for (level, span) in &cover.cells {
                branches.push(self.cells(db, *numbering, *level, span));
                needs_days |= *level == Level::Day;
            }
            unfolded.extend(cover.cell_spans().into_iter().map(|span| (*numbering, span)));
        }
        if unfolded.is_empty() {
            return None;
        }
        // During a rebuild, the cells that are left have all calls of their time.
        if state.phase == Phase::Ready {
            branches.extend(self.unfolded(db, state, &unfolded));
        }
        union([state_branch(db, needs_days)].into_iter().chain(branches))
    }

    /// The levels that can answer the request, the coarsest first.
    fn levels(&self, state: &RollupState) -> Vec<Available> {
        let is_keyed = self.scope.has_keys() || self.by.contains(&CallDimension::ApiKey);
        let levels: &[Level] = match is_keyed {
            true => &[Level::KeyDay, Level::KeyHour],
            false => &[Level::Day, Level::Hour, Level::Minute],
        };
        let fits = |level: &Level| self.borders.iter().all(|at| level.floor(*at) == *at);
        levels
            .iter()
            .copied()
            .filter(fits)
            .map(|level| Available { level, since: state.since(level) })
            .collect()
    }

    fn cover(&self, span: &Range<Micros>, levels: &[Available], state: &RollupState) -> Cover {
        let split = |at: Micros| {
            let at = at.clamp(span.start, Ord::max(span.start, span.end));
            (span.start..at, at..span.end)
        };
        let Some(kept_since) = state.kept_since else {
            return Cover::of(span.clone(), levels, None);
        };
        if !self.with_deleted {
            // Up to the first day of which no call is deleted, only single calls are those of a list.
            let (deleted, kept) = split(Level::KeyDay.ceil(kept_since));
            return Cover { calls: vec![deleted], ..Cover::default() }
                .and(Cover::of(kept, levels, None));
        }
        if state.phase == Phase::Ready {
            return Cover::of(span.clone(), levels, Some(kept_since));
        }
        // A rebuild leaves the cells that start before.
        let finest = levels.last().map_or(Level::KeyDay, |finest| finest.level);
        let (left, folded_again) = split(finest.ceil(kept_since));
        Cover::of(left, levels, Some(kept_since))
            .and(Cover { calls: vec![folded_again], ..Cover::default() })
    }

    /// Single calls of a span.
    fn calls(
        &self,
        db: &Database,
        numbering: Numbering<'_>,
        span: &Range<Micros>,
    ) -> SelectStatement {
        let filter = self.filter(db).add(in_span(db.dialect(), span));
        let is_numbered = matches!(numbering, Numbering::Buckets(_));
        self.grouped(db, number_of_call(db.dialect(), numbering), is_numbered, By::Index)
            .from(Source::All.of(LogTable::Calls, db))
            .cond_where(filter)
            .take()
    }

    /// Calls of the spans of cells that are not folded yet: those above the watermark and those in gaps. No
    /// index by time or key may apply, since these are few calls with known ids.
    fn unfolded(
        &self,
        db: &Database,
        state: &RollupState,
        spans: &[(Numbering<'_>, Range<Micros>)],
    ) -> [SelectStatement; 2] {
        let dialect = db.dialect();
        let (mut number, mut inside) = (CaseStatement::new(), Condition::any());
        for (numbering, span) in spans {
            let in_span = in_span(dialect, span);
            number = number.case(in_span.clone(), number_of_call(dialect, *numbering));
            inside = inside.add(in_span);
        }
        let filter = self.filter(db).add(inside);
        let matches: Expr = CaseStatement::new().case(filter, 1).finally(0).into();
        let select = || {
            let mut select = self.grouped(db, number.clone().into(), true, By::Id);
            select.and_where(matches.clone().eq(1)).take()
        };
        // The watermark never decreases within an epoch: the planner knows from the number that few rows match.
        let above = select()
            .from(LogTable::Calls.name())
            .and_where(is_above_watermark())
            .and_where(Expr::col(ID).gt(state.watermark))
            .take();
        let is_inside = Condition::all()
            .add(Expr::col(ID).gte(Expr::col("first_id")))
            .add(Expr::col(ID).lte(Expr::col("last_id")))
            .add(
                Condition::any()
                    .add(Expr::col("step").is_null())
                    .add(Expr::col(ID).sub(Expr::col("first_id")).modulo(Expr::col("step")).eq(0)),
            );
        // From each gap to its calls: a join in the other order would read all calls.
        let mut in_gaps = select();
        in_gaps.from(GAPS);
        match dialect {
            Dialect::Sqlite => {
                in_gaps.join(JoinType::CrossJoin, LogTable::Calls.name(), Condition::all());
                in_gaps.cond_where(is_inside);
            }
            Dialect::MySql => {
                in_gaps.join(JoinType::StraightJoin, LogTable::Calls.name(), is_inside);
            }
            // Citus refuses an OFFSET there, and sends the gaps to its workers.
            Dialect::Postgres if db.engine() == Engine::Citus => {
                in_gaps.join(JoinType::InnerJoin, LogTable::Calls.name(), is_inside);
            }
            Dialect::Postgres => {
                let mut calls = Query::select();
                calls.column(Asterisk).from(LogTable::Calls.name()).cond_where(is_inside).offset(0);
                let all = Expr::cust("TRUE");
                in_gaps.join_lateral(JoinType::InnerJoin, calls, "calls", all);
            }
        }
        [above, in_gaps]
    }

    /// The values of the requested dimensions, in the order of the columns of [`Part`].
    fn labels(&self, dialect: Dialect) -> [Expr; 4] {
        let all = [
            CallDimension::ApiKey,
            CallDimension::Model,
            CallDimension::StatusCode,
            CallDimension::Success,
        ];
        all.map(|dimension| match self.by.contains(&dimension) {
            true => dimension.label(dialect),
            false => dialect.null(dimension.is_text()),
        })
    }

    fn filter(&self, db: &Database) -> Condition {
        self.scope.add_to(Filter::new(db)).condition()
    }

    /// Selects calls by dimension, by latency if requested, and by number if there are several.
    fn grouped(&self, db: &Database, number: Expr, is_numbered: bool, by: By) -> SelectStatement {
        let dialect = db.dialect();
        let mut select = Query::select();
        let [key, model, code, success_code] = self.labels(dialect);
        let success: Expr = CaseStatement::new().case(succeeded(), 1).into();
        let null = || dialect.null(false);
        let first_id = match self.by.contains(&CallDimension::ApiKey) {
            true => Expr::cust(dialect.to_integer("MIN(id)")),
            false => null(),
        };
        let ms = if self.latency { dialect.integer(LATENCY_MS) } else { null() };
        columns::<Part>(
            &mut select,
            [
                number,
                key,
                model,
                code,
                success_code,
                Expr::cust("COUNT(*)"),
                success.count(),
                first_id,
                null(),
                null(),
                null(),
                null(),
                dialect.null(true),
                ms,
                dialect.null_time(),
            ],
        );
        if is_numbered {
            select.group_by_col("c_number");
        }
        select.add_group_by(self.by.iter().map(|dimension| match (dimension, by) {
            (CallDimension::StatusCode, _) => Expr::col("c_code"),
            (CallDimension::Success, _) => Expr::col("c_success_code"),
            (_, By::Index) => dimension.expression(dialect),
            (_, By::Id) => dimension.unindexed(dialect),
        }));
        if self.latency {
            select.group_by_col("c_ms");
        }
        select
    }

    /// The cells of a span, by number and series. With latencies, MySQL returns each cell: a setting limits the
    /// length of texts that it joins.
    fn cells(
        &self,
        db: &Database,
        numbering: Numbering<'_>,
        level: Level,
        span: &Range<Micros>,
    ) -> SelectStatement {
        let dialect = db.dialect();
        let is_joined = !(self.latency && dialect == Dialect::MySql);
        let of_cells = |function: &str, column: &str| match is_joined {
            true => format!("{function}({column})"),
            false => column.to_owned(),
        };
        let sum = |column| Expr::cust(dialect.to_integer(&of_cells("SUM", column)));
        let mut cells = Query::select();
        cells
            .expr_as(sum("total"), "total")
            .expr_as(sum("success"), "success")
            .from(CELLS)
            .and_where(Expr::col("level").eq(level.number()))
            .and_where(Expr::col("start").gte(seconds(span.start)))
            .and_where(Expr::col("start").lt(seconds(span.end)));
        let number = match numbering {
            Numbering::One(number) => dialect.number(number),
            Numbering::Buckets(runs) => {
                cells.column("start");
                if is_joined {
                    // In the order of the primary key, which needs no sort.
                    cells.group_by_col("start");
                }
                bucket_of_cell(dialect, runs)
            }
        };
        if self.latency {
            let texts = match dialect {
                Dialect::Sqlite => "group_concat(latencies, ' ')",
                Dialect::Postgres => "string_agg(latencies, ' ')",
                Dialect::MySql => "latencies",
            };
            cells
                .expr_as(sum("latency_count"), "latency_count")
                .expr_as(sum("latency_sum"), "latency_sum")
                .expr_as(Expr::cust(of_cells("MIN", "latency_min")), "latency_min")
                .expr_as(Expr::cust(of_cells("MAX", "latency_max")), "latency_max")
                .expr_as(Expr::cust(texts), "latencies");
        }
        let has_labels = !self.by.is_empty();
        if has_labels {
            cells.column("series");
            if is_joined {
                cells.group_by_col("series");
            }
        }
        if self.scope.has_labels() {
            let mut series = Query::select();
            series.column("id").from(SERIES).cond_where(self.filter(db));
            cells.and_where(Expr::col("series").in_subquery(series));
        }
        let null = || dialect.null(false);
        let [key, model, code, success_code] = self.labels(dialect);
        let latency = |column: &'static str| match self.latency {
            true => Expr::col(column),
            false => null(),
        };
        let texts = if self.latency { Expr::col("latencies") } else { dialect.null(true) };
        let mut select = Query::select();
        columns::<Part>(
            &mut select,
            [
                number,
                key,
                model,
                code,
                success_code,
                // A sum of no cells.
                Expr::cust("COALESCE(total, 0)"),
                Expr::cust("COALESCE(success, 0)"),
                if has_labels { Expr::col("first_id") } else { null() },
                latency("latency_count"),
                latency("latency_sum"),
                latency("latency_min"),
                latency("latency_max"),
                texts,
                null(),
                dialect.null_time(),
            ],
        );
        select.from_subquery(cells, "cells");
        if has_labels {
            let is_series = Expr::col((SERIES, "id")).equals(("cells", "series"));
            select.join(JoinType::InnerJoin, SERIES, is_series);
        }
        select
    }
}

/// The epoch of the state and the time of the oldest call.
fn state_branch(db: &Database, needs_days: bool) -> SelectStatement {
    let dialect = db.dialect();
    let null = || dialect.null(false);
    let text = || dialect.null(true);
    let mut select = Query::select();
    columns::<Part>(
        &mut select,
        [
            Expr::cust(dialect.to_integer("-1")),
            text(),
            text(),
            null(),
            null(),
            epoch(needs_days),
            dialect.number(0),
            null(),
            null(),
            null(),
            null(),
            null(),
            text(),
            null(),
            oldest_call(db),
        ],
    );
    select
}

fn number_of_call(dialect: Dialect, numbering: Numbering<'_>) -> Expr {
    match numbering {
        Numbering::One(number) => dialect.number(number),
        Numbering::Buckets(runs) => bucket_number(dialect, runs),
    }
}

/// The bucket of a cell: one division for each run of buckets.
fn bucket_of_cell(dialect: Dialect, runs: &[Run]) -> Expr {
    let seconds = |run: &Run| run.start.and_utc().timestamp();
    let number = |run: &Run| match run.step {
        None => dialect.number(run.first),
        Some(step) => {
            let division = if dialect == Dialect::MySql { "DIV" } else { "/" };
            Expr::cust(format!("{} + (start - {}) {division} {step}", run.first, seconds(run)))
        }
    };
    let [runs @ .., last] = runs else { return dialect.number(0) };
    let ends = runs.iter().skip(1).chain([last]);
    let mut case = CaseStatement::new();
    for (run, end) in runs.iter().zip(ends) {
        case = case.case(Expr::col("start").lt(seconds(end)), number(run));
    }
    if runs.is_empty() { number(last) } else { case.finally(number(last)).into() }
}
