//! Rows and sizes of the tables, for `serverInfo.storage`. No statement scans a large table: such a
//! number is estimated or left out.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::Order;

use super::database::Database;
use super::dialect::Dialect;
use super::engine::Engine;
use super::index::id_span_sql;
use super::inspect;
use super::retention::{UNREADABLE_TIMES, times};
use super::stored_time::StoredTime;
use crate::domain::table::{ID, LogTable, TIME};
use crate::error::Result;

/// Up to so many rows are counted; more are estimated.
const COUNTED_ROWS: i64 = 100_000;
/// The largest file of SQLite of which table sizes are measured, which reads the whole file.
const WALKED_BYTES: i64 = 64 << 20;

/// The rows and the size of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableStorage {
    pub rows: i64,
    pub rows_are_estimated: bool,
    /// Including indexes; None if measuring would take long.
    pub bytes: Option<i64>,
    pub oldest: Option<DateTime<Utc>>,
    pub newest: Option<DateTime<Utc>>,
}

/// Measures `table` with at most five statements.
pub async fn find(db: &Database, table: LogTable) -> Result<TableStorage> {
    let (rows, rows_are_estimated) = rows(db, table).await?;
    Ok(TableStorage {
        rows,
        rows_are_estimated,
        bytes: table_bytes(db, table.name()).await?,
        oldest: end(db, table, Order::Asc).await?,
        newest: end(db, table, Order::Desc).await?,
    })
}

/// Counts a small table, estimates a large one. The span of ids is an upper bound and costs nothing.
async fn rows(db: &Database, table: LogTable) -> Result<(i64, bool)> {
    let name = table.name();
    let text = if db.dialect() == Dialect::MySql { "CHAR" } else { "TEXT" };
    let most = inspect::number(db, id_span_sql(db.dialect(), table)).await?.unwrap_or(0).max(0);
    if most <= COUNTED_ROWS {
        let exact = inspect::number(db, format!("SELECT CAST(COUNT(*) AS {text}) FROM {name}"));
        return Ok((exact.await?.unwrap_or(0), false));
    }
    let known = match db.dialect() {
        Dialect::Sqlite => None,
        Dialect::Postgres | Dialect::MySql => inspect::estimate_rows(db, name).await?,
    };
    // Before the first ANALYZE there is no estimate.
    Ok((known.filter(|rows| *rows > 0).map_or(most, |rows| rows.min(most)), true))
}

/// The size of a table with its indexes; None if measuring would take long.
pub(super) async fn table_bytes(db: &Database, name: &'static str) -> Result<Option<i64>> {
    if db.engine() == Engine::Citus {
        // A table that is not distributed is in no row.
        let sql = format!(
            "SELECT CAST(citus_total_relation_size(logicalrelid) AS TEXT) FROM pg_dist_partition \
             WHERE logicalrelid = to_regclass('{name}')"
        );
        let distributed = inspect::number(db, sql).await?;
        if distributed.is_some() {
            return Ok(distributed);
        }
    }
    let sql = match db.dialect() {
        Dialect::Sqlite => {
            let all = inspect::bytes(db).await?;
            if all.is_none_or(|all| all > WALKED_BYTES) {
                return Ok(None);
            }
            format!(
                "SELECT CAST(SUM(pgsize) AS TEXT) FROM dbstat WHERE aggregate = TRUE AND name IN \
                 (SELECT name FROM sqlite_schema WHERE tbl_name = '{name}')"
            )
        }
        // A partitioned table itself is empty.
        Dialect::Postgres => format!(
            "SELECT CAST(CAST(SUM(pg_total_relation_size(part)) AS BIGINT) AS TEXT) FROM \
             (SELECT to_regclass('{name}') AS part UNION ALL \
             SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('{name}')) AS parts"
        ),
        Dialect::MySql => format!(
            "SELECT CAST(data_length + index_length AS CHAR) FROM information_schema.tables \
             WHERE table_name = '{name}' AND table_schema = DATABASE()"
        ),
    };
    inspect::number(db, sql).await
}

/// The first or the last readable time, by the index.
async fn end(db: &Database, table: LogTable, order: Order) -> Result<Option<DateTime<Utc>>> {
    let mut select = times(table, db.dialect().time_range(None, None));
    select.order_by(TIME, order.clone()).order_by(ID, order).limit(UNREADABLE_TIMES);
    let times = db.fetch_values::<StoredTime>("storage.end", &select).await?;
    let readable = times.into_iter().find(StoredTime::is_readable);
    Ok(readable.map(|stored| db.zone().to_utc(stored.at)))
}
