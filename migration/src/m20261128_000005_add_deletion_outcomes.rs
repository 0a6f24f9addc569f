//! Adds the outcome of deletions to the audit log: the deleted rows and how the deletion ended. All columns
//! are nullable: older entries, and entries of other actions, have no values.

use sea_orm_migration::prelude::*;

const TABLE: &str = "callscope_audit";

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [
            ColumnDef::new("deletion_id").string_len(64).take(),
            ColumnDef::new("outcome").string_len(16).take(),
            ColumnDef::new("deleted_calls").big_integer().take(),
            ColumnDef::new("deleted_error_logs").big_integer().take(),
            ColumnDef::new("ended_at").string_len(32).take(),
        ];
        for mut column in columns {
            // MySQL commits each change of a table: an interrupted step leaves some of the columns.
            if !manager.has_column(TABLE, column.get_column_name()).await? {
                let alter = Table::alter().table(TABLE).add_column(&mut column).take();
                manager.alter_table(alter).await?;
            }
        }
        let name = "callscope_audit_deletion";
        if !manager.has_index(TABLE, name).await? {
            let index = Index::create()
                .name(name)
                .table(TABLE)
                .col("caller")
                .col("deletion_id")
                .unique()
                .take();
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("callscope drops no column: the audit log must last".into()))
    }
}
