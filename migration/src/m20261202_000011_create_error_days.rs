//! Error logs of past days, counted by key, model, type, code, failure class and template.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(days()).await?;
        let backend = manager.get_database_backend();
        let mut cells = cells(backend);
        if backend == DbBackend::Sqlite {
            // The rows are stored in their primary key, which saves an index.
            cells.extra("WITHOUT ROWID");
        }
        manager.create_table(cells).await
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("callscope drops no table".into()))
    }
}

/// The rows of each day: their number, and a sum of their ids.
fn days() -> TableCreateStatement {
    let number = |name: &'static str| ColumnDef::new(name).big_integer().not_null().take();
    Table::create()
        .table("callscope_error_days")
        .if_not_exists()
        .col(number("day").primary_key())
        .col(number("total"))
        .col(number("id_sum"))
        .col(number("cells"))
        .col(ColumnDef::new("rules").integer().not_null())
        .take()
}

/// The columns of the gateway's table have its names, so that the same filters apply.
fn cells(backend: DbBackend) -> TableCreateStatement {
    let number = |name: &'static str| ColumnDef::new(name).big_integer().take();
    let text = |name: &'static str| {
        let mut column = ColumnDef::new(name).text().take();
        if backend == DbBackend::MySql {
            // The default collations of MySQL ignore case.
            column.extra("CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
        }
        column
    };
    let time = |name: &'static str| {
        let mut column = ColumnDef::new(name);
        match backend {
            // Without a type, so that every value is stored unchanged.
            DbBackend::Sqlite => column.custom("BLOB"),
            DbBackend::MySql => column.custom("DATETIME(6)"),
            _ => column.timestamp(),
        };
        column
    };
    Table::create()
        .table("callscope_error_cells")
        .if_not_exists()
        .col(number("day").not_null())
        .col(number("cell").not_null())
        .col(text("gemini_key"))
        .col(text("model_name"))
        .col(text("error_type"))
        .col(number("error_code"))
        .col(ColumnDef::new("class").string_len(32).not_null())
        .col(ColumnDef::new("template").string_len(32).not_null())
        .col(number("total").not_null())
        .col(time("first_time"))
        .col(time("last_time"))
        .col(number("first_id").not_null())
        .primary_key(Index::create().col("day").col("cell"))
        .take()
}
