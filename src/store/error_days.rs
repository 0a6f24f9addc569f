//! Error logs of past days, counted by key, model, type, code, failure class and template: groups of long windows add
//! up the cells of days instead of single rows.
//!
//! A cell is not trusted. A statement that reads cells also counts the rows of the same days and adds up their ids, which
//! reads only the index by time. If one of them differs from the numbers of the counted rows, rows were added or
//! deleted since: the statement is repeated without cells ([`super::error_group`]), and the job counts these days again
//! (docs/adr/0025).

use std::ops::Range;

use chrono::NaiveDate;
use entity::ErrorLog;
use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{
    CaseStatement, Condition, Expr, ExprTrait, Order, Query, SelectStatement,
};

use super::database::Database;
use super::dialect::Dialect;
use super::error_log::ErrorScope;
use super::failure::{self, CLASS, TEMPLATE};
use super::insert::chunks;
use super::partition::moved_spans;
use super::rollup::{in_span, micros, seconds};
use super::rows::{Row, VALUE, columns, field, row};
use super::stored_time::StoredTime;
use super::transaction::{Fault, retry};
use crate::domain::failure::VERSION;
use crate::domain::rollup::{Level, Micros};
use crate::domain::table::{ERROR_CODE, ERROR_TYPE, GEMINI_KEY, LogTable, MODEL, TIME};
use crate::error::{Error, Result};

const DAYS: &str = "callscope_error_days";
pub(super) const CELLS: &str = "callscope_error_cells";

/// A day is counted so long after its end, since some rows arrive late.
const LATE: Micros = 3600 * 1_000_000;
/// The most cells of a day: with more of them, it is not worth it.
const MOST_CELLS: u64 = 20_000;
const CELLS_PER_STATEMENT: usize = 1024;
/// Fewer error logs are counted as fast as the days are looked up.
const FEWEST_ROWS: i64 = 5_000;
/// The latest days that a query looks at.
const MOST_DAYS: u64 = 1_000;
/// Stored times of an unknown day that are skipped.
const MOST_UNKNOWN: usize = 100;
/// The ids of rows are added up modulo this prime, so that no sum of ids exceeds 64 bits.
const PRIME: i64 = 2_147_483_647;

/// The rows of some days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub total: i64,
    pub id_sum: i64,
}

row! {
    struct Day {
        day: i64,
        total: i64,
        cells: i64,
        rules: i64,
    }
}

impl Day {
    fn is_usable(&self) -> bool {
        self.cells > 0 && self.rules == i64::from(VERSION)
    }
}

/// Whole days, of which all are counted: from the start of the first to the end of the last, as stored times. None if
/// single rows are as fast, or if the cells cannot answer. Up to two statements.
pub(super) async fn counted_span(
    db: &Database,
    scope: &ErrorScope,
) -> Result<Option<Range<Micros>>> {
    // The rows of some keys are found by their index; the comparison would read those of all keys.
    if !db.failures().has_days() || scope.contains.is_some() || scope.keys.is_some() {
        return Ok(None);
    }
    let bound = |at| micros(db.zone().to_stored(at));
    let since = scope.since.map_or(EARLIEST, |since| Level::Day.ceil(bound(since)));
    let until = scope.until.map_or(Micros::MAX / 2, |until| Level::Day.floor(bound(until)));
    if since >= until {
        return Ok(None);
    }
    let mut select = Query::select();
    columns::<Day>(
        &mut select,
        Day::columns().into_iter().map(|name| Expr::cust(db.dialect().to_integer(field(name)))),
    );
    select
        .from(DAYS)
        .cond_where(in_days(&(since..until)))
        .order_by("day", Order::Desc)
        .limit(MOST_DAYS);
    let mut days = db.fetch::<Day>("error_days.find", &select).await?;
    let total = |days: &[Day]| days.iter().map(|day| day.total).sum::<i64>();
    if total(&days) < FEWEST_ROWS {
        return Ok(None);
    }
    // The oldest day may be half deleted.
    let Some(oldest) = first_row(db, EARLIEST..until).await? else { return Ok(None) };
    days.retain(|day| day.day * SECOND >= Level::Day.ceil(oldest));
    days.reverse();
    // Cells have the rows on this server only.
    let moved = moved_spans(db, LogTable::ErrorLogs).await?;
    let moved: Vec<_> = moved.iter().map(|span| micros(span.start)..micros(span.end)).collect();
    let overlaps = |from: i64, to: i64| {
        moved.iter().any(|span| from * SECOND < span.end && to * SECOND > span.start)
    };
    let is_usable = |day: &Day| day.is_usable() && !overlaps(day.day, day.day + 1);
    let runs = days.chunk_by(|day, next| {
        is_usable(day) && is_usable(next) && !overlaps(day.day, next.day + 1)
    });
    let runs = runs.filter(|run| run.iter().all(is_usable));
    let Some(run) = runs.max_by_key(|run| total(run)) else { return Ok(None) };
    let cells = run.iter().map(|day| day.cells).sum::<i64>();
    let is_worth_it = total(run) >= FEWEST_ROWS && 2 * cells <= total(run);
    let ends = run.first().zip(run.last()).filter(|_| is_worth_it);
    Ok(ends.map(|(first, last)| first.day * SECOND..last.day * SECOND + Level::Day.length()))
}

const SECOND: Micros = 1_000_000;

/// Rows of a table of days in a span.
pub(super) fn in_days(span: &Range<Micros>) -> Condition {
    Condition::all()
        .add(Expr::col("day").gte(seconds(span.start)))
        .add(Expr::col("day").lt(seconds(span.end)))
}

/// The columns of a [`Fingerprint`] of the stored rows of a span.
pub(super) fn stored_fingerprint(
    dialect: Dialect,
    span: &Range<Micros>,
) -> ([Expr; 2], SelectStatement) {
    let select = Query::select().from(ErrorLog).cond_where(in_span(dialect, span)).take();
    ([Expr::cust("COUNT(*)"), id_sum(dialect)], select)
}

/// The same of the rows that the cells of a span were made of.
pub(super) fn counted_fingerprint(
    dialect: Dialect,
    span: &Range<Micros>,
) -> ([Expr; 2], SelectStatement) {
    let select = Query::select().from(DAYS).cond_where(usable_days(span)).take();
    let sum = |name: &str| Expr::cust(dialect.to_integer(&format!("COALESCE(SUM({name}), 0)")));
    ([sum("total"), sum("id_sum")], select)
}

fn usable_days(span: &Range<Micros>) -> Condition {
    in_days(span).add(Expr::col("cells").gt(0)).add(Expr::col("rules").eq(VERSION))
}

fn id_sum(dialect: Dialect) -> Expr {
    Expr::cust(dialect.to_integer(&format!("COALESCE(SUM(id % {PRIME}), 0)")))
}

/// Cells of a span that match a filter.
pub(super) fn filtered(db: &Database, scope: &ErrorScope, span: &Range<Micros>) -> Condition {
    let ErrorScope { classes, exclude_classes, templates, exclude_templates, .. } = scope;
    let names = |classes: &[_]| classes.iter().map(ToString::to_string).collect::<Vec<_>>();
    let given = |values: Vec<String>| (!values.is_empty()).then_some(values);
    let class = || Expr::col(CLASS);
    let template = || Expr::col(TEMPLATE);
    // The days of the fingerprint, and no others.
    let days = Query::select().column("day").from(DAYS).cond_where(usable_days(span)).take();
    in_days(span)
        .add(Expr::col("day").in_subquery(days))
        .add(scope.condition_of_columns(db))
        .add_option(classes.as_deref().map(|classes| class().is_in(names(classes))))
        .add_option(given(names(exclude_classes)).map(|names| class().is_not_in(names)))
        .add_option(templates.clone().map(|ids| template().is_in(ids)))
        .add_option(given(exclude_templates.clone()).map(|ids| template().is_not_in(ids)))
}

row! {
    /// The error logs of a day with the same values.
    struct Cell {
        key: Option<String>,
        model: Option<String>,
        error_type: Option<String>,
        error_code: Option<i64>,
        class: String,
        template: String,
        total: i64,
        id_sum: i64,
        first_time: StoredTime,
        last_time: StoredTime,
        first_id: i64,
        is_odd: i64,
    }
}

/// Counts the days that have ended, and counts a day again if rows of it have changed.
#[derive(Debug)]
pub struct DayCounter {
    /// The next day that is compared with its rows.
    position: Micros,
    /// New days before this one are left to the comparison: they had no row with a class, or could not be counted.
    new_from: Micros,
}

impl Default for DayCounter {
    fn default() -> Self {
        Self { position: EARLIEST, new_from: EARLIEST }
    }
}

/// Before every day.
pub const EARLIEST: Micros = Micros::MIN / 2;

impl DayCounter {
    /// Counts the first day after all counted ones, else compares the next one with its rows. Returns whether there
    /// may be another one to count. `now` is the stored time of the clock. After an error the next step continues
    /// with the next day. Dropped half-way, it has counted nothing.
    pub async fn step(&mut self, db: &Database, now: Micros) -> Result<bool> {
        if let Some(day) = first_new(db, self.new_from, now).await? {
            self.new_from = day + Level::Day.length();
            count_day(db, day).await?;
            return Ok(true);
        }
        let with_rows = first_day_of_rows(db, self.position..ended(now)).await?;
        let counted = next_day(db, self.position).await?;
        let Some(day) = [with_rows, counted].into_iter().flatten().min() else {
            self.position = EARLIEST;
            return Ok(false);
        };
        self.position = day + Level::Day.length();
        let has_changed = find(db, day).await? != fingerprint(db, day).await?;
        if has_changed {
            count_day(db, day).await?;
        }
        Ok(has_changed)
    }
}

fn ended(now: Micros) -> Micros {
    Level::Day.floor(now - LATE)
}

/// The first day with rows that has ended, after all days that are counted and not before `from`. Two statements.
pub async fn first_new(db: &Database, from: Micros, now: Micros) -> Result<Option<Micros>> {
    let since = last_day(db).await?.map_or(EARLIEST, |day| day + Level::Day.length());
    first_day_of_rows(db, Ord::max(since, from)..ended(now)).await
}

/// Whether a day is counted. One statement.
pub async fn exist(db: &Database) -> Result<bool> {
    Ok(last_day(db).await?.is_some())
}

/// Forgets all days: a row with the id of a deleted one would not be noticed.
pub async fn forget(db: &Database) -> Result<()> {
    let _watch = db.watch("error_days.forget", "DELETE FROM callscope_error_days");
    let forgotten = retry(|| async move {
        let transaction = db.begin_transaction().await.map_err(Fault::Refused)?;
        let deleted = async {
            for table in [CELLS, DAYS] {
                let delete = Query::delete().from_table(table).take();
                transaction.inner().execute(&delete).await?;
            }
            Ok(())
        };
        let deleted = deleted.await;
        transaction.end(deleted).await
    });
    forgotten.await.map_err(Fault::into_error)
}

async fn last_day(db: &Database) -> Result<Option<Micros>> {
    day(db, Expr::col("day").max(), Condition::all()).await
}

async fn next_day(db: &Database, since: Micros) -> Result<Option<Micros>> {
    day(db, Expr::col("day").min(), Condition::all().add(Expr::col("day").gte(seconds(since))))
        .await
}

async fn day(db: &Database, expression: Expr, condition: Condition) -> Result<Option<Micros>> {
    let select = Query::select().expr_as(expression, VALUE).from(DAYS).cond_where(condition).take();
    let found = db.fetch_values::<Option<i64>>("error_days.next", &select).await?;
    Ok(found.into_iter().flatten().next().map(|day| day * SECOND))
}

/// The time of the first error log in a span, without those of an unknown day.
async fn first_row(db: &Database, span: Range<Micros>) -> Result<Option<Micros>> {
    let mut after: Option<StoredTime> = None;
    for _ in 0..MOST_UNKNOWN {
        let later = after.map(|time| Expr::col(TIME).gt(time.value(db.dialect())));
        let select = Query::select()
            .expr_as(Expr::col(TIME).min(), VALUE)
            .from(ErrorLog)
            .cond_where(Condition::all().add_option(later).add(in_span(db.dialect(), &span)))
            .take();
        let found = db.fetch_values::<Option<StoredTime>>("error_days.first_row", &select).await?;
        let Some(time) = found.into_iter().flatten().next() else { return Ok(None) };
        match place(&time) {
            Some(at) => return Ok(Some(at.clamp(span.start, span.end - 1))),
            None => after = Some(time),
        }
    }
    Ok(None)
}

/// The time that a stored time is sorted as: SQLite compares texts, of which some are read as another
/// time, or as none. None if that day is unknown.
fn place(time: &StoredTime) -> Option<Micros> {
    let at = micros(time.at);
    let Some(text) = &time.text else { return Some(at) };
    let number = |part: Range<usize>| text.get(part)?.parse::<u32>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    // `2026-02-30` is sorted as a part of the last day of February.
    let year = i32::try_from(year).ok()?;
    let date =
        (1..=Ord::min(day, 31)).rev().find_map(|day| NaiveDate::from_ymd_opt(year, month, day));
    let day = micros(date?.into());
    Some(if Level::Day.floor(at) == day { at } else { day })
}

async fn first_day_of_rows(db: &Database, span: Range<Micros>) -> Result<Option<Micros>> {
    if span.is_empty() {
        return Ok(None);
    }
    Ok(first_row(db, span).await?.map(|at| Level::Day.floor(at)))
}

fn span_of(day: Micros) -> Range<Micros> {
    day..day + Level::Day.length()
}

row! {
    struct Found { total: i64, id_sum: i64 }
}

/// What the stored rows of a day are.
async fn fingerprint(db: &Database, day: Micros) -> Result<Option<Fingerprint>> {
    let (expressions, mut select) = stored_fingerprint(db.dialect(), &span_of(day));
    columns::<Found>(&mut select, expressions);
    let found = db.fetch::<Found>("error_days.rows", &select).await?.pop();
    Ok(found.map(Fingerprint::from).filter(|found| found.total > 0))
}

/// What a counted day was made of; of older rules, what no day is made of. Those of newer rules are not counted again
/// by a server with older ones.
async fn find(db: &Database, day: Micros) -> Result<Option<Fingerprint>> {
    let is_current = CaseStatement::new()
        .case(Expr::col("rules").gte(VERSION), Expr::col("total"))
        .finally(Expr::cust(db.dialect().to_integer("-1")));
    let mut select = Query::select();
    columns::<Found>(&mut select, [is_current.into(), Expr::col("id_sum")]);
    select.from(DAYS).cond_where(in_days(&span_of(day)));
    Ok(db.fetch::<Found>("error_days.day", &select).await?.pop().map(Fingerprint::from))
}

impl From<Found> for Fingerprint {
    fn from(Found { total, id_sum }: Found) -> Self {
        Self { total, id_sum }
    }
}

/// Counts the rows of a day and stores its cells in one transaction, in place of those that it had. A day without rows
/// is forgotten; one that cells do not suit has none.
async fn count_day(db: &Database, day: Micros) -> Result<()> {
    let mut cells = read_cells(db, day).await?;
    let is_unsuitable =
        cells.len() as u64 > MOST_CELLS || cells.iter().any(|cell| cell.is_odd != 0);
    let of_cells = Fingerprint {
        total: cells.iter().map(|cell| cell.total).sum(),
        id_sum: cells.iter().map(|cell| cell.id_sum).sum(),
    };
    let counted = match is_unsuitable {
        true => {
            cells.clear();
            fingerprint(db, day).await?
        }
        false => Some(of_cells).filter(|counted| counted.total > 0),
    };
    let _watch = db.watch("error_days.store", "INSERT INTO callscope_error_cells");
    let cells = &cells;
    let stored = retry(|| async move {
        let transaction = db.begin_transaction().await.map_err(Fault::Refused)?;
        let stored = store(&transaction.inner(), db.dialect(), day, counted, cells).await;
        transaction.end(stored).await
    });
    stored.await.map_err(Fault::into_error)
}

async fn read_cells(db: &Database, day: Micros) -> Result<Vec<Cell>> {
    let dialect = db.dialect();
    let read = |name| dialect.read(LogTable::ErrorLogs, name);
    let number = |sql: &str| Expr::cust(dialect.to_integer(sql));
    let is_odd = match dialect {
        // A filter compares bytes and numbers with other results than the text of a cell.
        Dialect::Sqlite => {
            let odd = [GEMINI_KEY, MODEL, ERROR_TYPE]
                .map(|name| format!("typeof({name}) NOT IN ('text', 'null')"));
            number(&format!("MAX({})", odd.join(" OR ")))
        }
        _ => dialect.number(0),
    };
    let mut select = Query::select();
    columns::<Cell>(
        &mut select,
        [
            read(GEMINI_KEY),
            read(MODEL),
            read(ERROR_TYPE),
            read(ERROR_CODE),
            Expr::col(CLASS),
            Expr::col(TEMPLATE),
            Expr::cust("COUNT(*)"),
            id_sum(dialect),
            Expr::col(TIME).min(),
            Expr::col(TIME).max(),
            number("MIN(id)"),
            is_odd,
        ],
    );
    select.from(ErrorLog).cond_where(in_span(dialect, &span_of(day)));
    failure::join(dialect, &mut select);
    select.add_group_by(
        ["c_key", "c_model", "c_error_type", "c_error_code", "c_class", "c_template"]
            .map(Expr::col),
    );
    select.limit(MOST_CELLS + 1);
    db.fetch("error_days.cells", &select).await
}

async fn store(
    transaction: &impl ConnectionTrait,
    dialect: Dialect,
    day: Micros,
    counted: Option<Fingerprint>,
    cells: &[Cell],
) -> Result<()> {
    for table in [CELLS, DAYS] {
        let delete = Query::delete().from_table(table).cond_where(in_days(&span_of(day))).take();
        transaction.execute(&delete).await?;
    }
    let Some(Fingerprint { total, id_sum }) = counted else { return Ok(()) };
    let numbered: Vec<(usize, &Cell)> = cells.iter().enumerate().collect();
    for part in chunks(&numbered, 1, CELLS_PER_STATEMENT) {
        let mut insert = Query::insert();
        insert.into_table(CELLS).columns([
            "day",
            "cell",
            GEMINI_KEY,
            MODEL,
            ERROR_TYPE,
            ERROR_CODE,
            CLASS,
            TEMPLATE,
            "total",
            "first_time",
            "last_time",
            "first_id",
        ]);
        for (number, cell) in part {
            insert
                .values([
                    seconds(day).into(),
                    (*number as i64).into(),
                    cell.key.as_deref().into(),
                    cell.model.as_deref().into(),
                    cell.error_type.as_deref().into(),
                    cell.error_code.into(),
                    cell.class.as_str().into(),
                    cell.template.as_str().into(),
                    cell.total.into(),
                    Expr::val(cell.first_time.value(dialect)),
                    Expr::val(cell.last_time.value(dialect)),
                    cell.first_id.into(),
                ])
                .map_err(Error::internal)?;
        }
        transaction.execute(&insert).await?;
    }
    let insert = Query::insert()
        .into_table(DAYS)
        .columns(["day", "total", "id_sum", "cells", "rules"])
        .values_panic([
            seconds(day).into(),
            total.into(),
            id_sum.into(),
            (cells.len() as i64).into(),
            VERSION.into(),
        ])
        .take();
    transaction.execute(&insert).await?;
    Ok(())
}
