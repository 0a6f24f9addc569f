//! The classes of error logs, so that lists and groups by class read no texts.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// A row belongs to the error log with its id and time: SQLite uses the ids of deleted rows again. The time is
/// stored as the gateway's table has it.
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut time = ColumnDef::new("logged_at");
        match manager.get_database_backend() {
            // Without a type, so that every value is stored unchanged.
            DbBackend::Sqlite => time.custom("BLOB"),
            DbBackend::MySql => time.custom("DATETIME(6)"),
            _ => time.timestamp(),
        };
        let table = Table::create()
            .table("callscope_failures")
            .if_not_exists()
            .col(ColumnDef::new("error_id").big_integer().not_null().primary_key())
            .col(time)
            .col(ColumnDef::new("class").string_len(32).not_null())
            .col(ColumnDef::new("template").string_len(32).not_null())
            .col(ColumnDef::new("rules").integer().not_null())
            .take();
        manager.create_table(table).await
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("callscope drops no table".into()))
    }
}
