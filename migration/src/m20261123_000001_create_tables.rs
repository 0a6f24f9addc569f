//! Creates the gateway's two tables, if missing, with the columns of gemini-balance, and Callscope's
//! tables of settings and imports.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        for table in [request_log(backend), error_logs(backend), settings(), imports()] {
            manager.create_table(table).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("callscope drops no table: they may be the gateway's own".into()))
    }
}

/// One of the gateway's tables in PostgreSQL without a primary key, which a table with partitions or shards cannot
/// have: ids are unique by their sequence only.
pub fn table_without_key(name: &str) -> TableCreateStatement {
    let backend = DbBackend::Postgres;
    let id = ColumnDef::new("id").big_integer().not_null().auto_increment().take();
    match name {
        "t_request_log" => with_calls(own_table("t_request_log").col(id).take(), backend),
        _ => with_error_logs(own_table("t_error_logs").col(id).take(), backend),
    }
}

fn request_log(backend: DbBackend) -> TableCreateStatement {
    with_calls(gateway_table("t_request_log", backend), backend)
}

fn error_logs(backend: DbBackend) -> TableCreateStatement {
    with_error_logs(gateway_table("t_error_logs", backend), backend)
}

fn with_calls(mut table: TableCreateStatement, backend: DbBackend) -> TableCreateStatement {
    table
        .col(request_time(backend))
        .col(text("model_name", 100))
        .col(text("api_key", 100))
        .col(ColumnDef::new("is_success").boolean().not_null())
        .col(ColumnDef::new("status_code").integer())
        .col(ColumnDef::new("latency_ms").integer())
        .take()
}

fn with_error_logs(mut table: TableCreateStatement, backend: DbBackend) -> TableCreateStatement {
    table
        .col(text("gemini_key", 100))
        .col(text("model_name", 100))
        .col(text("error_type", 50))
        .col(ColumnDef::new("error_log").text())
        .col(ColumnDef::new("error_code").integer())
        .col(ColumnDef::new("request_msg").json())
        .col(request_time(backend))
        .take()
}

fn settings() -> TableCreateStatement {
    own_table("callscope_settings")
        .col(ColumnDef::new("name").string_len(64).not_null().primary_key())
        .col(ColumnDef::new("value").text().not_null())
        .take()
}

/// The progress of the import of each source: a stopped import continues there.
fn imports() -> TableCreateStatement {
    own_table("callscope_imports")
        .col(ColumnDef::new("source").string_len(64).not_null().primary_key())
        .col(ColumnDef::new("rows_done").big_integer().not_null())
        .col(ColumnDef::new("shift_micros").big_integer().not_null())
        .col(ColumnDef::new("finished").boolean().not_null())
        .take()
}

fn own_table(name: &'static str) -> TableCreateStatement {
    Table::create().table(name).if_not_exists().take()
}

/// Unlike those of gemini-balance, ids have 64 bits. In MySQL, texts compare by bytes: API keys are case-sensitive.
fn gateway_table(name: &'static str, backend: DbBackend) -> TableCreateStatement {
    let mut table = own_table(name);
    if backend == DbBackend::MySql {
        table.character_set("utf8mb4").collate("utf8mb4_bin");
    }
    table.col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key()).take()
}

fn text(name: &'static str, length: u32) -> ColumnDef {
    ColumnDef::new(name).string_len(length).take()
}

/// Naive, in the storage time zone, to the microsecond. SQLite has no such type and stores text.
fn request_time(backend: DbBackend) -> ColumnDef {
    let kind = match backend {
        DbBackend::Postgres => "TIMESTAMP WITHOUT TIME ZONE",
        DbBackend::MySql => "DATETIME(6)",
        _ => "DATETIME",
    };
    ColumnDef::new("request_time").custom(kind).take()
}
