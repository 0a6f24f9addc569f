//! Creates tables with partitions, and recognises them.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};

use crate::domain::month::Month;
use crate::domain::table::{LogTable, TIME};
use crate::store::dialect::Dialect;
use crate::store::index;

/// The comment of a table that Callscope has partitioned.
const COMMENT: &str = "callscope: a partition for each month";

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
    for table in LogTable::ALL.into_iter().filter(|table| !missing.contains(table)) {
        let name = table.name();
        let sql = format!("SELECT obj_description(to_regclass('{name}'), 'pg_class')");
        if !index::texts(connection, &sql).await?.iter().any(|comment| comment == COMMENT) {
            let error = format!(
                "{name} exists without partitions of Callscope. Create a new database with partitions, and import \
                 this one into it: docs/SCALING.md"
            );
            return Err(DbErr::Custom(error));
        }
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
    let by_id = format!("CREATE INDEX callscope_{}_id ON {parent} (id)", &parent[2..]);
    connection.execute_unprepared(&by_id).await?;
    let moved =
        format!("CREATE TABLE {} (LIKE {parent}) PARTITION BY RANGE ({TIME})", moved_months(table));
    connection.execute_unprepared(&moved).await?;
    let first = Ord::min(new.since, new.now);
    let mut parts = vec![format!("before FOR VALUES FROM (MINVALUE) TO ('{}')", bound(first))];
    let mut month = first;
    while month <= new.now.plus(AHEAD) {
        parts.push(format!("{} {}", suffix(month), range(month)));
        month = month.plus(1);
    }
    parts.push("default DEFAULT".to_owned());
    for part in parts {
        let (suffix, values) = part.split_once(' ').unwrap_or((&part, ""));
        let sql = format!("CREATE TABLE {parent}_{suffix} PARTITION OF {parent} {values}");
        connection.execute_unprepared(&sql).await?;
    }
    Ok(())
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
    if Dialect::of(connection.get_database_backend()) != Dialect::Postgres {
        return Ok(false);
    }
    let [calls, errors] = LogTable::ALL.map(LogTable::name);
    let sql = format!(
        "SELECT CAST(relname AS TEXT) FROM pg_class \
         WHERE oid IN (to_regclass('{calls}'), to_regclass('{errors}')) AND relkind = 'p' \
         AND obj_description(oid, 'pg_class') = '{COMMENT}'"
    );
    Ok(index::texts(connection, &sql).await?.len() == LogTable::ALL.len())
}
