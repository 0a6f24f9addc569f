//! Cells (`callscope_rollup_cells`): the counts and latencies of the calls of a series in an interval.

use std::collections::BTreeMap;

use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{
    Condition, Expr, ExprTrait, JoinType, OnConflict, Query, SelectStatement,
};

use super::{CELLS, seconds};
use crate::domain::rollup::histogram::Latencies;
use crate::domain::rollup::{Level, Micros};
use crate::error::{Error, Result};
use crate::store::database::Database;
use crate::store::dialect::Dialect;
use crate::store::insert::chunks;
use crate::store::rows::{Row, columns, field, row};

const KEY_COLUMNS: [&str; 3] = ["level", "start", "series"];
const VALUE_COLUMNS: [&str; 7] =
    ["total", "success", "latency_count", "latency_sum", "latency_min", "latency_max", "latencies"];

/// The most cells that are remembered.
const MAX_KNOWN: usize = 20_000;
/// The most cells of a statement.
const CELLS_PER_STATEMENT: usize = 1024;

/// In the order of the primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CellKey {
    level: i16,
    /// Seconds since 1970.
    start: i64,
    series: i64,
}

impl CellKey {
    /// The cell of a series at `at`.
    pub(super) fn at(level: Level, at: Micros, series: i64) -> Self {
        Self { level: level.number(), start: seconds(level.floor(at)), series }
    }

    /// The series, while it is a number in a batch.
    pub(super) fn number(self) -> usize {
        usize::try_from(self.series).unwrap_or(0)
    }

    pub(super) fn of_series(self, series: i64) -> Self {
        Self { series, ..self }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub total: i64,
    pub success: i64,
    pub latencies: Latencies,
}

impl Cell {
    fn add(&mut self, other: &Self) {
        self.total += other.total;
        self.success += other.success;
        self.latencies.merge(&other.latencies);
    }
}

pub(super) type Cells = BTreeMap<CellKey, Cell>;

row! {
    struct StoredCell {
        level: i64,
        start: i64,
        series: i64,
        total: i64,
        success: i64,
        latency_count: i64,
        latency_sum: i64,
        latency_min: Option<i64>,
        latency_max: Option<i64>,
        latencies: String,
    }
}

/// Adds what the table already has of these cells, and returns how many of each level are new. `known` has
/// cells of the table.
pub(super) async fn add_stored(
    db: &Database,
    cells: &mut Cells,
    known: &Cells,
) -> Result<[i64; Level::ALL.len()]> {
    let mut new = [0; Level::ALL.len()];
    let mut keys = vec![];
    for (key, cell) in cells.iter_mut() {
        match known.get(key) {
            Some(known) => cell.add(known),
            None => {
                new[key.level as usize - 1] += 1;
                keys.push(*key);
            }
        }
    }
    for keys in chunks(&keys, 1, CELLS_PER_STATEMENT) {
        let mut select = Query::select();
        columns::<StoredCell>(
            &mut select,
            StoredCell::columns().into_iter().map(|name| match field(name) {
                "level" => Expr::cust(db.dialect().to_integer("level")),
                name => Expr::col(name),
            }),
        );
        restrict(db.dialect(), &mut select, keys);
        for stored in db.fetch::<StoredCell>("rollup.cells", &select).await? {
            let key = CellKey {
                level: i16::try_from(stored.level).map_err(Error::internal)?,
                start: stored.start,
                series: stored.series,
            };
            let Some(cell) = cells.get_mut(&key) else { continue };
            new[key.level as usize - 1] -= 1;
            let mut latencies = Latencies::new(
                stored.latency_count,
                stored.latency_sum,
                stored.latency_min,
                stored.latency_max,
            );
            latencies.add_encoded([stored.latencies.as_str()]).ok_or_else(damaged)?;
            cell.add(&Cell { total: stored.total, success: stored.success, latencies });
        }
    }
    Ok(new)
}

/// Remembers stored cells: those of the last batches, as long as they are few.
pub(super) fn remember(cells: Cells, known: &mut Cells) {
    if known.len() + cells.len() > MAX_KNOWN {
        known.clear();
    }
    known.extend(cells);
}

/// The error for a text that is not a histogram.
pub(super) fn damaged() -> Error {
    Error::internal(format!("{CELLS} holds latencies that cannot be read"))
}

/// Restricts a statement to rows with one of these primary keys. The databases differ in which form uses the
/// index of the primary key.
fn restrict(dialect: Dialect, select: &mut SelectStatement, keys: &[CellKey]) {
    let tuple = |key: &CellKey| (i64::from(key.level), key.start, key.series);
    if dialect == Dialect::MySql {
        let columns = Expr::tuple(KEY_COLUMNS.map(Expr::col));
        select.from(CELLS).and_where(columns.in_tuples(keys.iter().map(tuple)));
        return;
    }
    let is_key = ["column1", "column2", "column3"]
        .into_iter()
        .zip(KEY_COLUMNS)
        .fold(Condition::all(), |all, (place, column)| {
            all.add(Expr::col((CELLS, column)).equals(("keys", place)))
        });
    select.from_values(keys.iter().map(tuple), "keys").join(JoinType::InnerJoin, CELLS, is_key);
}

/// Stores cells, which replace those with the same keys.
pub(super) async fn store(transaction: &impl ConnectionTrait, cells: &Cells) -> Result<()> {
    let cells: Vec<(&CellKey, &Cell)> = cells.iter().collect();
    for cells in chunks(&cells, 1, CELLS_PER_STATEMENT) {
        let mut insert = Query::insert();
        insert.into_table(CELLS).columns(KEY_COLUMNS.into_iter().chain(VALUE_COLUMNS));
        for (key, cell) in cells {
            let Latencies { count, sum, min, max, .. } = cell.latencies;
            insert
                .values([
                    key.level.into(),
                    key.start.into(),
                    key.series.into(),
                    cell.total.into(),
                    cell.success.into(),
                    count.into(),
                    sum.into(),
                    min.into(),
                    max.into(),
                    cell.latencies.encoded().into(),
                ])
                .map_err(Error::internal)?;
        }
        insert
            .on_conflict(OnConflict::columns(KEY_COLUMNS).update_columns(VALUE_COLUMNS).to_owned());
        transaction.execute(&insert).await?;
    }
    Ok(())
}

/// Deletes cells of a level that start in `[since, until)`, at most those of a bounded span, and returns
/// how many.
pub(super) async fn delete(
    transaction: &impl ConnectionTrait,
    level: Level,
    since: Option<Micros>,
    until: Option<Micros>,
) -> Result<u64> {
    let mut delete = Query::delete();
    delete.from_table(CELLS).and_where(Expr::col("level").eq(level.number()));
    if let Some(since) = since {
        delete.and_where(Expr::col("start").gte(seconds(level.ceil(since))));
    }
    if let Some(until) = until {
        delete.and_where(Expr::col("start").lt(seconds(until)));
    }
    Ok(transaction.execute(&delete).await?.rows_affected())
}
