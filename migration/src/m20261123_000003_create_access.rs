//! Tokens and the audit log. Times are texts (UTC, RFC 3339, to the microsecond), which sort alike in
//! every database.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(tokens()).await?;
        manager.create_table(audit()).await
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("callscope drops no table: the audit log must last".into()))
    }
}

/// Bearer tokens, as digests: the tokens themselves are never stored.
fn tokens() -> TableCreateStatement {
    Table::create()
        .table("callscope_tokens")
        .if_not_exists()
        .col(ColumnDef::new("name").string_len(64).not_null().primary_key())
        .col(ColumnDef::new("id").string_len(16).not_null())
        .col(ColumnDef::new("digest").string_len(64).not_null())
        .col(ColumnDef::new("scopes").string_len(255).not_null())
        .col(ColumnDef::new("created_at").string_len(32).not_null())
        .col(ColumnDef::new("expires_at").string_len(32))
        .col(ColumnDef::new("revoked_at").string_len(32))
        .take()
}

fn audit() -> TableCreateStatement {
    Table::create()
        .table("callscope_audit")
        .if_not_exists()
        .col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key())
        .col(ColumnDef::new("at").string_len(32).not_null())
        .col(ColumnDef::new("caller").string_len(64).not_null())
        .col(ColumnDef::new("address").string_len(64).not_null())
        .col(ColumnDef::new("action").string_len(32).not_null())
        .col(ColumnDef::new("subject").text().not_null())
        .take()
}
