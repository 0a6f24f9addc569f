//! Does nothing. Earlier it created the four indexes on the gateway's tables in the transaction of the
//! other steps, which blocked the gateway's writes until all were built. The server now builds them
//! outside of the steps (`store/index_build.rs`), checks them at every start, and repairs interrupted
//! builds. The step keeps its name, because migrated databases have it in their table of applied steps.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("callscope drops no index: queries would scan the tables".into()))
    }
}
