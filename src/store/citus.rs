//! Tables of Citus. Those of the gateway have shards on its workers: the calls and the error logs of a key are on one
//! of them. Callscope's own tables are on the coordinator.

use sea_orm::sea_query::PostgresQueryBuilder;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};

use super::engine::Engine;
use super::{failure, index};
use crate::domain::table::LogTable;

/// Creates the `missing` tables with shards. Fails if another one is not distributed by its key.
pub(super) async fn create_tables(
    connection: &DatabaseConnection,
    missing: &[LogTable],
) -> Result<(), DbErr> {
    if Engine::find(connection).await? != Engine::Citus {
        let error = "the database has no Citus: CREATE EXTENSION citus, then SELECT citus_set_coordinator_host(…), and \
                     citus_add_node(…) for each worker";
        return Err(DbErr::Custom(error.to_owned()));
    }
    for table in LogTable::ALL {
        let (name, key) = (table.name(), table.key());
        if missing.contains(&table) {
            create_table(connection, table).await?;
        } else if index::texts(connection, &distribution_sql(table)).await? != [key] {
            let error = format!(
                "{name} exists, and is not distributed by {key}. Create a new database, and import this one \
                 into it: docs/SCALING.md"
            );
            return Err(DbErr::Custom(error));
        }
    }
    Ok(())
}

/// All or nothing: a table without shards would stay on the coordinator.
async fn create_table(connection: &DatabaseConnection, table: LogTable) -> Result<(), DbErr> {
    let (name, key) = (table.name(), table.key());
    let with = match table {
        LogTable::Calls => "default",
        LogTable::ErrorLogs => LogTable::Calls.name(),
    };
    let create = async {
        for sql in [
            "BEGIN".to_owned(),
            // A key would need the API key in each row.
            migration::table_without_key(name).to_string(PostgresQueryBuilder),
            format!("CREATE INDEX callscope_{}_id ON {name} (id)", &name[2..]),
            format!(
                "SELECT create_distributed_table('{name}', '{key}', colocate_with => '{with}')"
            ),
            "COMMIT".to_owned(),
        ] {
            connection.execute_unprepared(&sql).await?;
        }
        Ok(())
    };
    let created = create.await;
    if created.is_err() {
        // The error of the statement matters, not that of a lost connection.
        let _ = connection.execute_unprepared("ROLLBACK").await;
    }
    created
}

/// The column by which a table is distributed; no row if it is not.
pub(super) fn distribution_sql(table: LogTable) -> String {
    format!(
        "SELECT column_to_column_name(logicalrelid, partkey) FROM pg_dist_partition \
         WHERE logicalrelid = to_regclass('{}') AND partmethod = 'h'",
        table.name()
    )
}

/// Tables of Callscope that a transaction changes together with those of the gateway. Unless Citus has them in its metadata,
/// it commits rows on one worker before the rest of the transaction: if the coordinator ends between, an idempotency
/// key is missing, and a repetition records the calls again.
const COMMITTED_TOGETHER: [&str; 3] =
    ["callscope_idempotency", "callscope_imports", "callscope_audit"];

/// The tables of Citus, and those of Callscope on the coordinator that it manages.
pub(super) const MANAGED: &str = "SELECT CAST(logicalrelid AS TEXT) FROM pg_dist_partition";

/// Makes Citus manage the tables of Callscope that need it, if tables of the gateway have shards.
pub(super) async fn manage_tables(connection: &DatabaseConnection) -> Result<(), DbErr> {
    for (table, function) in unmanaged(&index::texts(connection, MANAGED).await?) {
        connection.execute_unprepared(&format!("SELECT {function}('{table}')")).await?;
    }
    Ok(())
}

pub(super) async fn are_tables_managed(connection: &DatabaseConnection) -> Result<bool, DbErr> {
    Ok(unmanaged(&index::texts(connection, MANAGED).await?).is_empty())
}

/// The tables that Citus has to manage and does not, and its functions for them.
pub(super) fn unmanaged(managed: &[String]) -> Vec<(&'static str, &'static str)> {
    let is_managed = |table: &str| managed.iter().any(|name| name == table);
    let mut needed = vec![];
    if LogTable::ALL.iter().any(|table| is_managed(table.name())) {
        needed.extend(COMMITTED_TOGETHER.map(|table| (table, "citus_add_local_table_to_metadata")));
    }
    if is_managed(LogTable::ErrorLogs.name()) {
        // It is joined with error logs on each worker.
        needed.push((failure::TABLE, "create_reference_table"));
    }
    needed.retain(|(table, _)| !is_managed(table));
    needed
}
