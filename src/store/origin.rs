//! Records which of the gateway's tables Callscope created. Any other table counts as external, and
//! retention does not delete from it unless configured.

use migration::SchemaManager;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};

use super::database::Database;
use super::setting;
use crate::domain::table::LogTable;
use crate::error::Result;

/// The setting with the tables that Callscope created, separated by commas.
const CREATED_TABLES: &str = "tables_made";

/// The tables that a migration will create.
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

/// Records that the migration created `tables`, as far as they exist now. On other nodes of a cluster, servers
/// may record the same tables or others at once.
pub(super) async fn record_created(
    connection: &DatabaseConnection,
    tables: &[LogTable],
) -> Result<(), DbErr> {
    let missing = missing_tables(connection).await?;
    let created = tables.iter().filter(|table| !missing.contains(table));
    let mut names: Vec<String> = created.map(|table| table.name().to_owned()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let insert = Query::insert()
        .into_table(setting::TABLE)
        .columns(["name", "value"])
        .values_panic([CREATED_TABLES.into(), names.join(",").into()])
        .on_conflict(OnConflict::column("name").do_nothing_on(["name"]).to_owned())
        .take();
    connection.execute(&insert).await?;
    let mut select = Query::select();
    select.column("value").from(setting::TABLE).and_where(Expr::col("name").eq(CREATED_TABLES));
    let row = connection.query_one(&select).await?;
    let known: String = row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or_default();
    names.retain(|name| !known.split(',').any(|known| known == name));
    if names.is_empty() {
        return Ok(());
    }
    let update = Query::update()
        .table(setting::TABLE)
        .value("value", format!("{known},{}", names.join(",")))
        .and_where(Expr::col("name").eq(CREATED_TABLES))
        .and_where(Expr::col("value").eq(&known))
        .take();
    match connection.execute(&update).await?.rows_affected() {
        1 => Ok(()),
        // Another server has changed it.
        _ => Err(DbErr::RecordNotUpdated),
    }
}

/// The tables that Callscope did not create, as far as recorded.
pub async fn external_tables(db: &Database) -> Result<Vec<LogTable>> {
    let created = match db.has_own_tables().await? {
        true => setting::find(db, CREATED_TABLES).await?.unwrap_or_default(),
        false => String::new(),
    };
    let is_created = |table: &LogTable| created.split(',').any(|name| name == table.name());
    Ok(LogTable::ALL.into_iter().filter(|table| !is_created(table)).collect())
}
