//! Adds the missing ids of an imported table to its import: rows with these ids may appear later. The column is
//! nullable: files and older imports have none.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

const TABLE: &str = "callscope_imports";

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // MySQL commits each change of a table: an interrupted step leaves the column.
        if !manager.has_column(TABLE, "missing").await? {
            let mut column = ColumnDef::new("missing");
            match manager.get_database_backend() {
                // TEXT has 64 KB.
                DbBackend::MySql => column.custom("LONGTEXT"),
                _ => column.text(),
            };
            let alter = Table::alter().table(TABLE).add_column(&mut column).take();
            manager.alter_table(alter).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("callscope drops no column: rows would not be imported".into()))
    }
}
