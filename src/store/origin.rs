//! Who made the gateway's tables: Callscope, where they were missing, or somebody else. What is not
//! known counts as somebody else's, and nothing deletes from it unasked.

use migration::SchemaManager;
use sea_orm::sea_query::{OnConflict, Query};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};

use super::database::Database;
use super::log_table::LogTable;
use super::setting;
use crate::error::Result;

/// The setting that names the tables that Callscope made, with commas between.
const MADE: &str = "tables_made";

/// Those of the tables that a migration is about to make.
pub(super) async fn missing_tables(
    connection: &DatabaseConnection,
) -> Result<Vec<LogTable>, DbErr> {
    let schema = SchemaManager::new(connection);
    let mut missing = vec![];
    for table in LogTable::ALL {
        if !schema.has_table(table.name()).await? {
            missing.push(table);
        }
    }
    Ok(missing)
}

/// Notes that the migration made `tables`.
pub(super) async fn note_made(
    connection: &DatabaseConnection,
    tables: &[LogTable],
) -> Result<(), DbErr> {
    if tables.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = tables.iter().map(|table| table.name()).collect();
    let insert = Query::insert()
        .into_table(setting::TABLE)
        .columns(["name", "value"])
        .values_panic([MADE.into(), names.join(",").into()])
        .on_conflict(OnConflict::column("name").do_nothing_on(["name"]).to_owned())
        .take();
    connection.execute(&insert).await?;
    Ok(())
}

/// Those of the tables that Callscope did not make, as far as it knows.
pub async fn tables_of_others(db: &Database) -> Result<Vec<LogTable>> {
    let made = match db.has_own_tables().await? {
        true => setting::find(db, MADE).await?.unwrap_or_default(),
        false => String::new(),
    };
    let is_made = |table: &LogTable| made.split(',').any(|name| name == table.name());
    Ok(LogTable::ALL.into_iter().filter(|table| !is_made(table)).collect())
}
