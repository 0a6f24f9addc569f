//! The indexes on the gateway's tables: their definitions, which are missing or incomplete, and how long a
//! build takes. It reads only catalogs, ids and a sample of rows, so that the size of a table does not
//! matter.

use std::time::Duration;

use migration::SchemaManager;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};

use super::dialect::Dialect;
use crate::domain::table::LogTable;

/// Rows that a database adds to an index per second, and bytes of a table that it reads: low values of the
/// measurements on the three databases (docs/OPERATIONS.md).
const ROWS_PER_SECOND: u64 = 500_000;
const BYTES_PER_SECOND: u64 = 200_000_000;
/// The number of latest error logs that the average size is computed from.
const SAMPLE: u32 = 100;

/// An index on a table of the gateway.
#[derive(Debug, PartialEq, Eq)]
pub struct Index {
    pub name: &'static str,
    pub table: LogTable,
    columns: &'static [&'static str],
}

/// One index by time and one by key for each table. They contain every column that a statistic reads, so
/// that statistics read no row of the table (docs/adr/0002). `id` follows the time, so that (time, id)
/// pages need no sort.
pub static INDEXES: [Index; 4] = [
    Index {
        name: "callscope_request_log_time",
        table: LogTable::Calls,
        columns: &["request_time", "id", "status_code", "latency_ms", "model_name", "api_key"],
    },
    Index {
        name: "callscope_request_log_key",
        table: LogTable::Calls,
        columns: &["api_key", "request_time", "id", "status_code", "latency_ms", "model_name"],
    },
    Index {
        name: "callscope_error_logs_time",
        table: LogTable::ErrorLogs,
        columns: &["request_time", "id", "error_code", "error_type", "model_name", "gemini_key"],
    },
    Index {
        name: "callscope_error_logs_key",
        table: LogTable::ErrorLogs,
        columns: &["gemini_key", "request_time", "id", "error_code"],
    },
];

/// A missing or incomplete index.
#[derive(Clone, Copy, Debug)]
pub struct PendingIndex {
    pub index: &'static Index,
    /// An interrupted build left it invalid; the database does not use it.
    pub is_invalid: bool,
    /// An upper bound of the rows of the table.
    pub rows: u64,
    /// An estimate.
    pub build_time: Duration,
}

impl Index {
    /// The statement that builds the index. An `online` build does not block writers, or the database
    /// refuses it; SQLite has no such build.
    pub(super) fn create_sql(&self, dialect: Dialect, online: bool) -> String {
        let (name, table, columns) = (self.name, self.table.name(), self.columns.join(", "));
        match dialect {
            Dialect::Postgres if online => {
                format!("CREATE INDEX CONCURRENTLY {name} ON {table} ({columns})")
            }
            Dialect::MySql if online => format!(
                "CREATE INDEX {name} ON {table} ({columns}) ALGORITHM = INPLACE LOCK = NONE"
            ),
            Dialect::Postgres | Dialect::MySql => {
                format!("CREATE INDEX {name} ON {table} ({columns})")
            }
            Dialect::Sqlite => format!("CREATE INDEX IF NOT EXISTS {name} ON {table} ({columns})"),
        }
    }
}

/// The missing or incomplete indexes, fastest builds first. A table that does not exist, or is a view,
/// has none.
pub(super) async fn find_pending(
    connection: &DatabaseConnection,
) -> Result<Vec<PendingIndex>, DbErr> {
    let dialect = Dialect::of(connection.get_database_backend());
    let mut pending = vec![];
    for table in LogTable::ALL {
        let valid = texts(connection, &valid_sql(dialect, table.name())).await?;
        let wanted = INDEXES.iter().filter(|index| index.table == table);
        let missing: Vec<&Index> =
            wanted.filter(|index| !valid.iter().any(|name| name == index.name)).collect();
        if missing.is_empty() || !SchemaManager::new(connection).has_table(table.name()).await? {
            continue;
        }
        let invalid = match invalid_sql(dialect, table.name()) {
            Some(sql) => texts(connection, &sql).await?,
            None => vec![],
        };
        let rows = number(connection, &id_span_sql(dialect, table)).await?;
        let bytes = number(connection, &bytes_sql(dialect, table)).await?;
        let build_time = Duration::from_micros(rows.saturating_mul(1_000_000) / ROWS_PER_SECOND)
            + Duration::from_micros(bytes.saturating_mul(1_000_000) / BYTES_PER_SECOND);
        pending.extend(missing.into_iter().map(|index| {
            let is_invalid = invalid.iter().any(|name| name == index.name);
            PendingIndex { index, is_invalid, rows, build_time }
        }));
    }
    pending.sort_by_key(|pending| pending.build_time);
    Ok(pending)
}

/// Logs a warning for indexes that the start has not built.
pub(super) fn log_pending(pending: &[PendingIndex], dialect: Dialect) {
    if pending.is_empty() {
        return;
    }
    let names: Vec<&str> = pending.iter().map(|pending| pending.index.name).collect();
    let what_to_do = match dialect {
        Dialect::Sqlite => {
            "run `callscope migrate` at a quiet hour: the gateway's writes wait, or fail, for as long as \
             each index takes"
        }
        Dialect::Postgres | Dialect::MySql => {
            "`callscope serve` builds them in the background, `callscope migrate` in the foreground; the \
             gateway goes on writing"
        }
    };
    tracing::warn!(
        indexes = names.join(", "),
        rows = pending.iter().map(|pending| pending.rows).max(),
        expected_seconds = build_time(pending).as_secs_f64(),
        what_to_do,
        "indexes are missing; queries are slower until they are built",
    );
}

/// The estimated time of all builds.
pub fn build_time(pending: &[PendingIndex]) -> Duration {
    pending.iter().map(|pending| pending.build_time).sum()
}

/// The names of the complete indexes of a table.
pub(super) fn valid_sql(dialect: Dialect, table: &str) -> String {
    match dialect {
        Dialect::Sqlite => format!("SELECT name FROM pragma_index_list('{table}')"),
        Dialect::Postgres => postgres_sql(table, "x.indisvalid"),
        Dialect::MySql => format!(
            "SELECT DISTINCT CAST(index_name AS CHAR) FROM information_schema.statistics \
             WHERE table_name = '{table}' AND table_schema = DATABASE()"
        ),
    }
}

/// The names of invalid indexes of interrupted builds; SQLite and MySQL undo such a build.
fn invalid_sql(dialect: Dialect, table: &str) -> Option<String> {
    (dialect == Dialect::Postgres).then(|| postgres_sql(table, "NOT x.indisvalid"))
}

fn postgres_sql(table: &str, condition: &str) -> String {
    format!(
        "SELECT CAST(i.relname AS TEXT) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid \
         WHERE x.indrelid = to_regclass('{table}') AND {condition}"
    )
}

/// An upper bound of the rows of a table, from its lowest and highest id. Two subqueries: SQLite would
/// scan the table for a single one.
pub(super) fn id_span_sql(dialect: Dialect, table: LogTable) -> String {
    let text = if dialect == Dialect::MySql { "CHAR" } else { "TEXT" };
    let table = table.name();
    format!(
        "SELECT CAST((SELECT MAX(id) FROM {table}) - (SELECT MIN(id) FROM {table}) + 1 AS {text})"
    )
}

/// How many bytes of a table a build reads. SQLite reads the texts of an error log, which are stored
/// before the time; of a call it reads little more than the indexed columns.
fn bytes_sql(dialect: Dialect, table: LogTable) -> String {
    let name = table.name();
    match dialect {
        Dialect::Sqlite if table == LogTable::Calls => "SELECT '0'".to_owned(),
        Dialect::Sqlite => format!(
            "SELECT CAST(CAST(((SELECT MAX(id) FROM {name}) - (SELECT MIN(id) FROM {name}) + 1) * \
             AVG(bytes) AS INTEGER) AS TEXT) FROM (SELECT \
             COALESCE(LENGTH(CAST(error_log AS BLOB)), 0) + \
             COALESCE(LENGTH(CAST(request_msg AS BLOB)), 0) AS bytes \
             FROM {name} ORDER BY id DESC LIMIT {SAMPLE})"
        ),
        Dialect::Postgres => {
            format!("SELECT CAST(pg_relation_size(to_regclass('{name}')) AS TEXT)")
        }
        Dialect::MySql => format!(
            "SELECT CAST(data_length AS CHAR) FROM information_schema.tables \
             WHERE table_name = '{name}' AND table_schema = DATABASE()"
        ),
    }
}

/// The index of the texts of error logs that an operator may create on PostgreSQL.
const POSTGRES_TEXT_INDEX: &str = "callscope_error_logs_text";

/// Whether PostgreSQL has the index of texts. Whether SQLite has the tables of `text_index.rs`, and error logs
/// that these can index: the rows of a table with an INTEGER PRIMARY KEY.
pub(super) async fn has_text_index(connection: &DatabaseConnection) -> Result<bool, DbErr> {
    match Dialect::of(connection.get_database_backend()) {
        Dialect::Sqlite => {}
        Dialect::Postgres => {
            let table = LogTable::ErrorLogs.name();
            let valid = texts(connection, &valid_sql(Dialect::Postgres, table)).await?;
            return Ok(valid.iter().any(|name| name == POSTGRES_TEXT_INDEX));
        }
        Dialect::MySql => return Ok(false),
    }
    let sql = "SELECT COUNT(*) = 2 AND COALESCE((SELECT GROUP_CONCAT(LOWER(name || ' ' || type)) \
               FROM pragma_table_info('t_error_logs') WHERE pk > 0), '') = 'id integer' \
               FROM sqlite_master WHERE type = 'table' \
               AND name IN ('t_error_logs', 'callscope_text_progress')";
    let row = connection.query_one_raw(Statement::from_string(DbBackend::Sqlite, sql)).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(false))
}

/// The first column of all rows, as text.
pub(super) async fn texts(
    connection: &impl ConnectionTrait,
    sql: &str,
) -> Result<Vec<String>, DbErr> {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let rows = connection.query_all_raw(statement).await?;
    let texts = rows.iter().map(|row| row.try_get_by_index::<Option<String>>(0));
    Ok(texts.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

async fn number(connection: &DatabaseConnection, sql: &str) -> Result<u64, DbErr> {
    let found = texts(connection, sql).await?;
    Ok(found.first().and_then(|text| text.parse().ok()).unwrap_or(0))
}
