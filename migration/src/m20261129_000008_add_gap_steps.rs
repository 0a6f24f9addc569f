//! Adds the step of the ids of a gap to the rollups: on a node of a MySQL cluster, ids grow in steps. The column
//! is nullable: older gaps have no step.

use sea_orm_migration::prelude::*;

const TABLE: &str = "callscope_rollup_gaps";

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // MySQL commits each change of a table: an interrupted step leaves the column.
        if !manager.has_column(TABLE, "step").await? {
            let mut column = ColumnDef::new("step").big_integer().take();
            let alter = Table::alter().table(TABLE).add_column(&mut column).take();
            manager.alter_table(alter).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("callscope drops no column: gaps would contain folded calls".into()))
    }
}
