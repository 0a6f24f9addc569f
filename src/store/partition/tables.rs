//! Creates tables with partitions, and recognises them.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};

use crate::domain::month::Month;
use crate::domain::table::{ID, LogTable, TIME};
use crate::store::dialect::Dialect;
use crate::store::index;

/// The comment of a table that Callscope has partitioned.
pub(super) const COMMENT: &str = "callscope: a partition for each month";

/// The months after the current one that have partitions.
pub(super) const AHEAD: u32 = 3;

/// The form of a bound in the catalog.
pub(super) const BOUND: &str = "%Y-%m-%d %H:%M:%S";

/// The table that has the months on other servers as its partitions.
pub(in crate::store) const fn moved_months(table: LogTable) -> &'static str {
    match table {
        LogTable::Calls => "callscope_moved_calls",
        LogTable::ErrorLogs => "callscope_moved_error_logs",
    }
}

/// Each server with months, and their tables.
pub(in crate::store) const SERVERS_WITH_MONTHS: &str = "\
SELECT CAST(srvname || ' (' || string_agg(CAST(CAST(ftrelid AS regclass) AS TEXT), ', ') || ')' AS TEXT) \
FROM pg_inherits JOIN pg_foreign_table ON ftrelid = inhrelid \
JOIN pg_foreign_server AS server ON server.oid = ftserver \
WHERE inhparent IN (to_regclass('callscope_moved_calls'), to_regclass('callscope_moved_error_logs')) \
GROUP BY srvname ORDER BY srvname";

/// The months that a new database gets partitions for.
#[derive(Clone, Copy, Debug)]
pub struct NewPartitions {
    pub since: Month,
    pub now: Month,
}

/// Creates those of the tables that are missing, with partitions. Fails if a table exists without partitions.
pub(in crate::store) async fn create_tables(
    connection: &DatabaseConnection,
    missing: &[LogTable],
    new: NewPartitions,
) -> Result<(), DbErr> {
    if Dialect::of(connection.get_database_backend()) != Dialect::Postgres {
        let error = "partitions need PostgreSQL";
        return Err(DbErr::Custom(error.to_owned()));
    }
    let partitioned = partitioned(connection).await?;
    let mut others = LogTable::ALL.into_iter().filter(|table| !missing.contains(table));
    if let Some(table) = others.find(|table| !partitioned.contains(table)) {
        let error = format!(
            "{} exists without partitions of Callscope: `callscope partition convert` adds them",
            table.name()
        );
        return Err(DbErr::Custom(error));
    }
    // All or nothing: a table without partitions would reject rows.
    connection.execute_unprepared("BEGIN").await?;
    let create = async {
        for table in missing {
            create_table(connection, *table, new).await?;
        }
        Ok(())
    };
    let created = create.await;
    let end = if created.is_ok() { "COMMIT" } else { "ROLLBACK" };
    connection.execute_unprepared(end).await?;
    created
}

async fn create_table(
    connection: &DatabaseConnection,
    table: LogTable,
    new: NewPartitions,
) -> Result<(), DbErr> {
    let parent = table.name();
    // A key would need a time in each row, and a gateway may store rows without one.
    let mut create = migration::table_without_key(parent);
    connection.execute(create.extra(format!("PARTITION BY RANGE ({TIME})"))).await?;
    connection.execute_unprepared(&format!("COMMENT ON TABLE {parent} IS '{COMMENT}'")).await?;
    let by_id = format!("CREATE INDEX {} ON {parent} ({ID})", id_index(table));
    connection.execute_unprepared(&by_id).await?;
    let first = Ord::min(new.since, new.now);
    let before = format!("CREATE TABLE {} PARTITION OF {parent} {}", before(table), until(first));
    connection.execute_unprepared(&before).await?;
    for (_, create) in later_tables(table, first, new.now.plus(AHEAD)) {
        connection.execute_unprepared(&create).await?;
    }
    Ok(())
}

/// The tables that follow the first partition, with the statements that create them: that of the moved months, the months up
/// to `last`, and the default partition.
pub(super) fn later_tables(table: LogTable, first: Month, last: Month) -> Vec<(String, String)> {
    let parent = table.name();
    let moved = moved_months(table);
    let create = format!("CREATE TABLE {moved} (LIKE {parent}) PARTITION BY RANGE ({TIME})");
    let mut tables = vec![(moved.to_owned(), create)];
    let mut add = |suffix: &str, values: &str| {
        let name = format!("{parent}_{suffix}");
        let create = format!("CREATE TABLE {name} PARTITION OF {parent} {values}");
        tables.push((name, create));
    };
    let mut month = first;
    while month <= last {
        add(&suffix(month), &range(month));
        month = month.plus(1);
    }
    add("default", "DEFAULT");
    tables
}

/// The index by id, for which a table with partitions has no primary key.
pub(super) fn id_index(table: LogTable) -> &'static str {
    match table {
        LogTable::Calls => "callscope_request_log_id",
        LogTable::ErrorLogs => "callscope_error_logs_id",
    }
}

/// The first partition.
pub(super) fn before(table: LogTable) -> String {
    format!("{}_before", table.name())
}

/// The times of the first partition.
pub(super) fn until(first: Month) -> String {
    format!("FOR VALUES FROM (MINVALUE) TO ('{}')", bound(first))
}

pub(super) fn suffix(month: Month) -> String {
    month.to_string().replace('-', "_")
}

pub(super) fn bound(month: Month) -> String {
    month.start().format(BOUND).to_string()
}

pub(super) fn range(month: Month) -> String {
    format!("FOR VALUES FROM ('{}') TO ('{}')", bound(month), bound(month.plus(1)))
}

/// Whether Callscope has partitioned the tables.
pub(in crate::store) async fn exist(connection: &DatabaseConnection) -> Result<bool, DbErr> {
    match Dialect::of(connection.get_database_backend()) {
        Dialect::Postgres => Ok(partitioned(connection).await?.len() == LogTable::ALL.len()),
        _ => Ok(false),
    }
}

/// The tables that Callscope has partitioned.
async fn partitioned(connection: &impl ConnectionTrait) -> Result<Vec<LogTable>, DbErr> {
    Ok(of_names(&index::texts(connection, &partitioned_sql()).await?))
}

pub(super) fn partitioned_sql() -> String {
    let [calls, errors] = LogTable::ALL.map(LogTable::name);
    format!(
        "SELECT CAST(relname AS TEXT) FROM pg_class \
         WHERE oid IN (to_regclass('{calls}'), to_regclass('{errors}')) AND relkind = 'p' \
         AND obj_description(oid, 'pg_class') = '{COMMENT}'"
    )
}

pub(super) fn of_names(names: &[String]) -> Vec<LogTable> {
    let is_named = |table: &LogTable| names.iter().any(|name| name == table.name());
    LogTable::ALL.into_iter().filter(is_named).collect()
}
