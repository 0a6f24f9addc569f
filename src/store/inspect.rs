//! Facts about a database, for `callscope doctor`: version, tables, indexes, sizes, rights and limits.
//! It reads catalogs only, so that the size of a table does not matter.

use chrono::{DateTime, Utc};
use sea_orm::Statement;

use super::citus;
use super::database::Database;
use super::dialect::Dialect;
use crate::domain::table::LogTable;
use crate::error::{Error, Result};

/// A column and its type as the database names it.
#[derive(Clone, Debug)]
pub struct ColumnInfo {
    pub name: String,
    pub kind: String,
}

/// The first column of all rows, as text; rows without a value are left out.
pub(super) async fn texts(db: &Database, sql: String) -> Result<Vec<String>> {
    Ok(pairs(db, sql, 1).await?.into_iter().map(|(first, _)| first).collect())
}

async fn pairs(db: &Database, sql: String, width: usize) -> Result<Vec<(String, String)>> {
    let backend = db.dialect().backend();
    let rows = db.query_all_raw("inspect", Statement::from_string(backend, sql)).await?;
    let mut pairs = vec![];
    for row in rows {
        let first: Option<String> = row.try_get_by_index(0)?;
        let second: Option<String> = if width > 1 { row.try_get_by_index(1)? } else { None };
        pairs.extend(first.map(|first| (first, second.unwrap_or_default())));
    }
    Ok(pairs)
}

/// The number that a statement returns as text.
pub(super) async fn number(db: &Database, sql: String) -> Result<Option<i64>> {
    let found = texts(db, sql).await?;
    Ok(found.first().and_then(|text| text.parse().ok()))
}

/// `3.51.0`, `15.18 (Debian …)`, `10.11.19-MariaDB`.
pub async fn version(db: &Database) -> Result<String> {
    let sql = match db.dialect() {
        Dialect::Sqlite => "SELECT sqlite_version()",
        Dialect::Postgres => "SELECT current_setting('server_version')",
        Dialect::MySql => "SELECT CAST(VERSION() AS CHAR)",
    };
    Ok(texts(db, sql.to_owned()).await?.pop().unwrap_or_default())
}

/// The columns of a table; empty if the table does not exist. `table` must be a constant.
pub async fn columns(db: &Database, table: &str) -> Result<Vec<ColumnInfo>> {
    let (text, schema) = match db.dialect() {
        Dialect::Sqlite => {
            let sql = format!("SELECT name, type FROM pragma_table_info('{table}')");
            return Ok(column_infos(pairs(db, sql, 2).await?));
        }
        Dialect::Postgres => ("TEXT", "current_schema()"),
        Dialect::MySql => ("CHAR", "DATABASE()"),
    };
    let sql = format!(
        "SELECT CAST(column_name AS {text}), CAST(data_type AS {text}) FROM \
         information_schema.columns WHERE table_name = '{table}' AND table_schema = {schema}"
    );
    Ok(column_infos(pairs(db, sql, 2).await?))
}

fn column_infos(pairs: Vec<(String, String)>) -> Vec<ColumnInfo> {
    pairs.into_iter().map(|(name, kind)| ColumnInfo { name, kind }).collect()
}

/// An estimate of the rows of a table, without counting them.
pub async fn estimate_rows(db: &Database, table: &str) -> Result<Option<i64>> {
    let sql = match db.dialect() {
        Dialect::Sqlite => format!("SELECT CAST(COALESCE(MAX(id), 0) AS TEXT) FROM {table}"),
        Dialect::Postgres => format!(
            "SELECT CAST(CAST(SUM(GREATEST(reltuples, 0)) AS BIGINT) AS TEXT) FROM pg_class \
             WHERE relkind <> 'p' AND (oid = to_regclass('{table}') OR oid IN \
             (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('{table}')))"
        ),
        Dialect::MySql => format!(
            "SELECT CAST(table_rows AS CHAR) FROM information_schema.tables \
             WHERE table_name = '{table}' AND table_schema = DATABASE()"
        ),
    };
    number(db, sql).await
}

/// The size of the database in bytes, if the server reports it.
pub async fn bytes(db: &Database) -> Result<Option<i64>> {
    let sql = match db.dialect() {
        Dialect::Sqlite => {
            "SELECT CAST(page_count * page_size AS TEXT) FROM pragma_page_count, pragma_page_size"
        }
        Dialect::Postgres => "SELECT CAST(pg_database_size(current_database()) AS TEXT)",
        Dialect::MySql => {
            "SELECT CAST(SUM(data_length + index_length) AS CHAR) FROM information_schema.tables \
             WHERE table_schema = DATABASE()"
        }
    };
    number(db, sql.to_owned()).await
}

/// The time of the database server; None for SQLite, which runs in this process.
pub async fn now(db: &Database) -> Result<Option<DateTime<Utc>>> {
    let sql = match db.dialect() {
        Dialect::Sqlite => return Ok(None),
        Dialect::Postgres => {
            "SELECT CAST(CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) AS TEXT)"
        }
        Dialect::MySql => "SELECT CAST(CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED) AS CHAR)",
    };
    let micros = number(db, sql.to_owned()).await?;
    Ok(micros.and_then(DateTime::from_timestamp_micros))
}

/// SQLite's journal: `wal`, `delete`, …
pub async fn journal_mode(db: &Database) -> Result<String> {
    let sql = "SELECT journal_mode FROM pragma_journal_mode".to_owned();
    Ok(texts(db, sql).await?.pop().unwrap_or_default())
}

/// The settings that let the database confirm a commit before it is on the disk, with their values.
/// None for SQLite, whose connections wait for the disk.
pub async fn durability_risks(db: &Database) -> Result<Vec<String>> {
    let sql = match db.dialect() {
        Dialect::Sqlite => return Ok(vec![]),
        Dialect::Postgres => {
            "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', \
             'synchronous_commit') AND setting = 'off'"
        }
        Dialect::MySql => {
            "SELECT 'innodb_flush_log_at_trx_commit', CAST(@@innodb_flush_log_at_trx_commit AS CHAR) \
             FROM DUAL WHERE @@innodb_flush_log_at_trx_commit <> 1"
        }
    };
    let found = pairs(db, sql.to_owned(), 2).await?;
    Ok(found.into_iter().map(|(name, value)| format!("{name} = {value}")).collect())
}

/// Descriptions of the rights that this user lacks. `tables` says whether Callscope's own tables are
/// still to be created.
pub async fn missing_rights(db: &Database, tables: bool) -> Result<Vec<String>> {
    match db.dialect() {
        Dialect::Sqlite => Ok(vec![]),
        Dialect::Postgres => missing_postgres_rights(db, tables).await,
        Dialect::MySql => missing_mysql_rights(db).await,
    }
}

async fn missing_postgres_rights(db: &Database, tables: bool) -> Result<Vec<String>> {
    let mut missing = vec![];
    let no = async |sql: String| {
        Ok::<_, Error>(texts(db, sql).await?.first().is_some_and(|no| no == "no"))
    };
    let answer = |right: &str| format!("SELECT CASE WHEN {right} THEN 'yes' ELSE 'no' END");
    if tables && no(answer("has_schema_privilege(current_schema(), 'CREATE')")).await? {
        missing.push("CREATE on the schema, to create its own tables".to_owned());
    }
    for table in LogTable::ALL.map(LogTable::name) {
        let class = format!("FROM pg_class WHERE oid = to_regclass('{table}')");
        let read = answer("has_table_privilege(oid, 'SELECT')");
        if no(format!("{read} {class}")).await? {
            missing.push(format!("SELECT on {table}"));
        }
        let own = answer("pg_has_role(relowner, 'USAGE')");
        if no(format!("{own} {class}")).await? {
            missing.push(format!("ownership of {table}, without which no index can be added"));
        }
    }
    Ok(missing)
}

async fn missing_mysql_rights(db: &Database) -> Result<Vec<String>> {
    let grantee = "CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')";
    let sql = format!(
        "SELECT CAST(privilege_type AS CHAR) FROM information_schema.user_privileges \
         WHERE grantee = {grantee} UNION SELECT CAST(privilege_type AS CHAR) FROM \
         information_schema.schema_privileges \
         WHERE grantee = {grantee} AND DATABASE() LIKE table_schema"
    );
    let granted = texts(db, sql).await?;
    let wanted = ["SELECT", "INSERT", "CREATE", "INDEX"];
    let missing = wanted.into_iter().filter(|right| !granted.iter().any(|one| one == right));
    Ok(missing.map(|right| format!("{right} on the database")).collect())
}

/// The most connections that the server accepts, and the open ones. None for SQLite, without such a
/// limit.
pub async fn connections(db: &Database) -> Result<Option<(i64, i64)>> {
    let (most, open) = match db.dialect() {
        Dialect::Sqlite => return Ok(None),
        Dialect::Postgres => (
            "SELECT current_setting('max_connections')",
            "SELECT CAST(COUNT(*) AS TEXT) FROM pg_stat_activity WHERE backend_type = 'client backend'",
        ),
        Dialect::MySql => (
            "SELECT CAST(@@max_connections AS CHAR)",
            "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.processlist",
        ),
    };
    let (most, open) = (number(db, most.to_owned()).await?, number(db, open.to_owned()).await?);
    Ok(most.zip(open))
}

/// A node of Galera, as its server describes it.
#[derive(Clone, Debug)]
pub struct GaleraNode {
    pub size: i64,
    /// `Primary` with a majority of the nodes.
    pub status: String,
    /// `Synced`, `Donor/Desynced`, …
    pub state: String,
    pub autoinc_lock_mode: String,
    pub auto_increment_control: String,
    pub auto_increment_increment: String,
}

pub async fn galera_node(db: &Database) -> Result<GaleraNode> {
    let value = async |kind: &str, name: &str| -> Result<String> {
        let found = pairs(db, format!("SHOW GLOBAL {kind} LIKE '{name}'"), 2).await?;
        Ok(found.into_iter().next().map(|(_, value)| value).unwrap_or_default())
    };
    Ok(GaleraNode {
        size: value("STATUS", "wsrep_cluster_size").await?.parse().unwrap_or(0),
        status: value("STATUS", "wsrep_cluster_status").await?,
        state: value("STATUS", "wsrep_local_state_comment").await?,
        autoinc_lock_mode: value("VARIABLES", "innodb_autoinc_lock_mode").await?,
        auto_increment_control: value("VARIABLES", "wsrep_auto_increment_control").await?,
        auto_increment_increment: value("VARIABLES", "auto_increment_increment").await?,
    })
}

/// The replication of a PostgreSQL server.
#[derive(Clone, Copy, Debug)]
pub struct Replication {
    pub is_standby: bool,
    /// The age of the last transaction that a standby has replayed.
    pub lag_seconds: Option<i64>,
    /// A standby cancels queries that need rows which the primary removes.
    pub may_cancel_queries: bool,
    /// The connected standbys of a primary.
    pub standbys: i64,
    /// Whether the primary waits for a standby before it confirms a commit.
    pub is_synchronous: bool,
}

pub async fn replication(db: &Database) -> Result<Replication> {
    let text =
        async |sql: &str| -> Result<Option<String>> { Ok(texts(db, sql.to_owned()).await?.pop()) };
    let is = |found: Option<String>| found.is_some_and(|text| text == "true");
    let lag = "SELECT CAST(CAST(EXTRACT(EPOCH FROM now() - pg_last_xact_replay_timestamp()) AS BIGINT) \
               AS TEXT)";
    let cancels = "SELECT CAST(current_setting('hot_standby_feedback') = 'off' AND \
                   current_setting('max_standby_streaming_delay') <> '-1' AS TEXT)";
    let synchronous = "SELECT CAST(current_setting('synchronous_standby_names') <> '' AS TEXT)";
    let standbys = "SELECT CAST(COUNT(*) AS TEXT) FROM pg_stat_replication";
    let is_standby = is(text("SELECT CAST(pg_is_in_recovery() AS TEXT)").await?);
    Ok(Replication {
        is_standby,
        lag_seconds: text(lag).await?.and_then(|lag| lag.parse().ok()),
        may_cancel_queries: is_standby && is(text(cancels).await?),
        standbys: number(db, standbys.to_owned()).await?.unwrap_or(0),
        is_synchronous: is(text(synchronous).await?),
    })
}

/// The partitions of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitions {
    pub count: i64,
    /// Foreign tables: partitions on other servers.
    pub remote: i64,
}

/// How Citus stores the tables.
pub struct Shards {
    /// The servers with shards.
    pub workers: u64,
    /// The tables that are not distributed by their key.
    pub undistributed: Vec<&'static str>,
    /// Tables of Callscope that Citus has to manage, and does not.
    pub unmanaged: Vec<&'static str>,
}

pub async fn shards(db: &Database) -> Result<Shards> {
    let workers =
        "SELECT CAST(COUNT(*) AS TEXT) FROM pg_dist_node WHERE isactive AND shouldhaveshards";
    let workers = number(db, workers.to_owned()).await?.unwrap_or(0).unsigned_abs();
    let mut undistributed = vec![];
    for table in LogTable::ALL {
        if texts(db, citus::distribution_sql(table)).await? != [table.key()] {
            undistributed.push(table.name());
        }
    }
    let managed = texts(db, citus::MANAGED.to_owned()).await?;
    let unmanaged = citus::unmanaged(&managed).into_iter().map(|(table, _)| table).collect();
    Ok(Shards { workers, undistributed, unmanaged })
}

/// None if the table has no partitions. `table` must be a constant.
pub async fn partitions(db: &Database, table: &str) -> Result<Option<Partitions>> {
    let sql = match db.dialect() {
        Dialect::Sqlite => return Ok(None),
        Dialect::Postgres => format!(
            "SELECT CAST(COUNT(*) AS TEXT), CAST(COUNT(*) FILTER (WHERE c.relkind = 'f') AS TEXT) \
             FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
             WHERE i.inhparent = to_regclass('{table}')"
        ),
        Dialect::MySql => format!(
            "SELECT CAST(COUNT(*) AS CHAR), '0' FROM information_schema.partitions \
             WHERE table_schema = DATABASE() AND table_name = '{table}' AND partition_name IS NOT NULL"
        ),
    };
    let found = pairs(db, sql, 2).await?.pop();
    let parsed = found.and_then(|(count, remote)| {
        Some(Partitions { count: count.parse().ok()?, remote: remote.parse().ok()? })
    });
    Ok(parsed.filter(|partitions| partitions.count > 0))
}
