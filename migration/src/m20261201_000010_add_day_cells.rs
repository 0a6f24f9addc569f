//! Adds the number of cells of days without keys, the first of these days, and the version of the state that these
//! cells belong to: servers of an older version fold without them. The columns are nullable: a server that folds
//! sets them.

use sea_orm_migration::prelude::*;

const TABLE: &str = "callscope_rollup_state";

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["day_cells", "days_since", "days_version"] {
            // MySQL commits each change of a table: an interrupted step leaves the column.
            if !manager.has_column(TABLE, name).await? {
                let mut column = ColumnDef::new(name).big_integer().take();
                let alter = Table::alter().table(TABLE).add_column(&mut column).take();
                manager.alter_table(alter).await?;
            }
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(
            "callscope drops no column: cells of days would be used without it".into(),
        ))
    }
}
