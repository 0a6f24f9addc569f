//! The checks of `callscope demo` before it writes: whether the demo created the database, whether it is
//! empty, and whether another process uses it.

use std::path::PathBuf;
use std::str::FromStr;

use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, Query};
use sea_orm::sqlx::sqlite::SqliteConnectOptions;

use super::connect::{Access, connect, is_sqlite};
use super::{Database, setting};
use crate::config::DatabaseConfig;
use crate::domain::table::LogTable;
use crate::error::{Error, Result};

/// The setting that marks a database of the demo.
const MARK: &str = "demo";

/// The file of a SQLite database; None for the other databases.
pub fn sqlite_file(config: &DatabaseConfig) -> Result<Option<PathBuf>> {
    let url = config.database_url.expose();
    if !is_sqlite(url) {
        return Ok(None);
    }
    if url.contains(":memory:") || url.contains("mode=memory") {
        let message = "the demo needs a file: a database in memory ends with its connection";
        return Err(Error::bad_input("databaseUrl", message));
    }
    let options = SqliteConnectOptions::from_str(url).map_err(Error::internal)?;
    Ok(Some(options.get_filename().to_owned()))
}

/// Marks the database as one that the demo may remove.
pub async fn mark(db: &Database, seed: u64) -> Result<()> {
    setting::find_or_insert(db, MARK, &seed.to_string()).await?;
    Ok(())
}

/// Whether the demo created this database.
pub async fn is_marked(db: &Database) -> Result<bool> {
    Ok(db.has_table(setting::TABLE).await? && setting::find(db, MARK).await?.is_some())
}

/// Whether the gateway's tables are missing or empty.
pub async fn is_empty(db: &Database) -> Result<bool> {
    for table in LogTable::ALL.map(LogTable::name) {
        let select = Query::select().expr(Expr::val(1)).from(table).limit(1).take();
        if db.has_table(table).await? && !db.query_all("demo.is_empty", &select).await?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Fails if another process has the SQLite file open. Only for a file of the demo: the check leaves
/// write-ahead mode, which SQLite allows only to the single user of a file.
pub async fn claim_sqlite_file(config: &DatabaseConfig) -> Result<()> {
    let connection = connect(config, Access::Migrate).await?;
    let claimed = connection.execute_unprepared("PRAGMA journal_mode = DELETE").await;
    connection.close().await?;
    claimed?;
    Ok(())
}
