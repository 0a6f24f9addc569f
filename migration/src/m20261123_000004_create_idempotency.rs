//! The ids that were recorded under each idempotency key: a retry gets the answer of the first request and
//! records nothing. Keys are stored as digests and expire.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("callscope_idempotency")
            .if_not_exists()
            .col(ColumnDef::new("digest").string_len(64).not_null().primary_key())
            .col(ColumnDef::new("content").string_len(64).not_null())
            .col(ColumnDef::new("call_ids").text().not_null())
            .col(ColumnDef::new("error_ids").text().not_null())
            .col(ColumnDef::new("at").string_len(32).not_null())
            .take();
        manager.create_table(table).await?;
        let (table, name) = ("callscope_idempotency", "callscope_idempotency_at");
        if !manager.has_index(table, name).await? {
            let index = Index::create().name(name).table(table).col("at").take();
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("callscope drops no table: retries would record twice".into()))
    }
}
