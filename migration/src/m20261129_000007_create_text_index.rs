//! The index for searches in the texts of error logs, on SQLite only. The other databases have their own
//! indexes for this, or none.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// - The index contains the trigrams of each error log, and no text.
/// - `callscope_text_rows` has a digest of each indexed error log; none for an error log that is too long to
///   be indexed.
/// - `callscope_text_progress` has a copy of the last indexed error log: its id is used again after it was
///   deleted. The columns have no type, so that the values are stored unchanged.
const STATEMENTS: [&str; 5] = [
    "CREATE VIRTUAL TABLE IF NOT EXISTS callscope_text_index USING fts5(error_type, error_log, \
     content='', contentless_delete=1, detail='none', tokenize='trigram')",
    "CREATE TABLE IF NOT EXISTS callscope_text_rows (id INTEGER PRIMARY KEY NOT NULL, digest INTEGER)",
    "CREATE INDEX IF NOT EXISTS callscope_text_rows_long ON callscope_text_rows (id) \
     WHERE digest IS NULL",
    "CREATE TABLE IF NOT EXISTS callscope_text_progress (next_id INTEGER NOT NULL, \
     request_time, error_type, error_log)",
    "INSERT INTO callscope_text_progress (next_id) SELECT -9223372036854775808 \
     WHERE NOT EXISTS (SELECT 1 FROM callscope_text_progress)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::Sqlite {
            for statement in STATEMENTS {
                manager.get_connection().execute_unprepared(statement).await?;
            }
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("callscope drops no table".into()))
    }
}
