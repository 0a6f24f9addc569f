//! The indexes behind every query: one by time and one by key for each table. They hold each
//! column that a statistic reads, so that statistics touch no row of the table (docs/adr/0002).

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Index, table, columns. `id` follows the time so that (time, id) pages need no sort.
const INDEXES: [(&str, &str, &[&str]); 4] = [
    (
        "callscope_request_log_time",
        "t_request_log",
        &["request_time", "id", "status_code", "latency_ms", "model_name", "api_key"],
    ),
    (
        "callscope_request_log_key",
        "t_request_log",
        &["api_key", "request_time", "id", "status_code", "latency_ms", "model_name"],
    ),
    (
        "callscope_error_logs_time",
        "t_error_logs",
        &["request_time", "id", "error_code", "error_type", "model_name", "gemini_key"],
    ),
    (
        "callscope_error_logs_key",
        "t_error_logs",
        &["gemini_key", "request_time", "id", "error_code"],
    ),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, table, columns) in INDEXES {
            if manager.has_index(table, name).await? {
                continue;
            }
            let mut index = Index::create();
            index.name(name).table(table);
            for column in columns {
                index.col(*column);
            }
            manager.create_index(index.take()).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("callscope drops no index: queries would scan the tables".into()))
    }
}
