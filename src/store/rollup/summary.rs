//! The rollups in figures, for operators.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Expr, ExprTrait, Query};

use super::cache::Phase;
use super::state::refresh;
use super::{CELLS, SERIES, stored};
use crate::domain::rollup::Level;
use crate::error::Result;
use crate::store::database::Database;
use crate::store::rows::VALUE;
use crate::store::storage;

/// The rollups in figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub phase: Phase,
    /// Whether queries use them.
    pub is_used: bool,
    /// The start of the first cell.
    pub since: Option<DateTime<Utc>>,
    /// Earlier calls may be deleted.
    pub kept_since: Option<DateTime<Utc>>,
    pub folded: i64,
    /// An upper bound of the calls that are not folded.
    pub lag: i64,
    pub cells: i64,
    /// None if measuring would take long.
    pub bytes: Option<i64>,
}

/// None if the database has no rollups. Reads no table as a whole. Later queries use the state that it read.
pub async fn summary(db: &Database) -> Result<Option<Summary>> {
    let Some(observed) = refresh(db).await? else { return Ok(None) };
    let mut select = Query::select();
    select
        .expr_as(Expr::col("start").min(), VALUE)
        .from(CELLS)
        .and_where(Expr::col("level").eq(Level::KeyDay.number()));
    let first: Vec<Option<i64>> = db.fetch_values("rollup.first_cell", &select).await?;
    let utc = |micros| db.zone().to_utc(stored(micros));
    let mut bytes = Some(0);
    for table in [CELLS, SERIES] {
        let of_table = storage::table_bytes(db, table).await?;
        bytes = bytes.zip(of_table).map(|(all, one)| all + one);
    }
    let state = &observed.state;
    Ok(Some(Summary {
        phase: state.phase,
        is_used: state.phase == Phase::Ready,
        since: first.into_iter().flatten().next().map(|start| utc(start * 1_000_000)),
        kept_since: state.kept_since.map(utc),
        folded: state.folded,
        lag: observed.lag(),
        cells: state.cells.iter().sum(),
        bytes,
    }))
}
