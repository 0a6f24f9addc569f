//! The size of a database, and how the space of deleted rows is released. SQLite keeps free pages in its
//! file. A file that Callscope created releases them in small steps, other files need a rewrite.
//! PostgreSQL and MySQL reuse the space for new rows.

use super::database::Database;
use super::dialect::Dialect;
use super::inspect;
use crate::domain::table::LogTable;
use crate::error::Result;

/// The size of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub bytes: u64,
    /// The part that new rows use before the database grows; None if unknown.
    pub free_bytes: Option<u64>,
}

/// Measures the size of the database, from catalogs only.
pub async fn measure(db: &Database) -> Result<Space> {
    let bytes = inspect::bytes(db).await?.unwrap_or(0);
    let free = match db.dialect() {
        Dialect::Sqlite => Some(
            "SELECT CAST(freelist_count * page_size AS TEXT) FROM pragma_freelist_count, \
             pragma_page_size"
                .to_owned(),
        ),
        Dialect::Postgres => None,
        Dialect::MySql => Some(format!(
            "SELECT CAST(SUM(data_free) AS CHAR) FROM information_schema.tables WHERE \
             table_schema = DATABASE() AND table_name IN ('{}', '{}')",
            LogTable::Calls.name(),
            LogTable::ErrorLogs.name()
        )),
    };
    let free = match free {
        Some(sql) => inspect::number(db, sql).await?,
        None => None,
    };
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(Space { bytes: unsigned(bytes), free_bytes: free.map(unsigned) })
}

/// Free pages that the file can release: 0 without incremental vacuum, and for the other databases.
pub async fn releasable_pages(db: &Database) -> Result<u64> {
    if db.dialect() != Dialect::Sqlite {
        return Ok(0);
    }
    let sql = "SELECT CAST(CASE WHEN auto_vacuum = 2 THEN freelist_count ELSE 0 END AS TEXT) FROM \
               pragma_auto_vacuum, pragma_freelist_count";
    let pages = inspect::number(db, sql.to_owned()).await?;
    Ok(pages.map_or(0, |pages| u64::try_from(pages).unwrap_or(0)))
}

/// Whether space is released without a rewrite; always true for PostgreSQL and MySQL, which reuse it.
pub async fn releases_pages(db: &Database) -> Result<bool> {
    if db.dialect() != Dialect::Sqlite {
        return Ok(true);
    }
    let sql = "SELECT CAST(auto_vacuum AS TEXT) FROM pragma_auto_vacuum".to_owned();
    Ok(inspect::number(db, sql).await? == Some(2))
}

/// Lets a connection that only deletes commit without waiting for the disk, so that other writers wait
/// less. After a power failure the file is intact, and the next run deletes restored rows again.
pub async fn relax_syncs(db: &Database) -> Result<()> {
    match db.dialect() {
        Dialect::Sqlite => db.set_up_writer("PRAGMA synchronous = NORMAL").await,
        Dialect::Postgres | Dialect::MySql => Ok(()),
    }
}

/// Releases so many of these pages. The file shrinks at the next checkpoint.
pub async fn release(db: &Database, pages: u32) -> Result<()> {
    db.set_up_writer(&format!("PRAGMA incremental_vacuum({pages})")).await
}

/// Runs a checkpoint of SQLite as far as no other connection has to wait. With `truncate` it is complete,
/// and writers may wait seconds for readers.
pub async fn checkpoint(db: &Database, truncate: bool) -> Result<()> {
    if db.dialect() != Dialect::Sqlite {
        return Ok(());
    }
    let mode = if truncate { "TRUNCATE" } else { "PASSIVE" };
    db.set_up_writer(&format!("PRAGMA wal_checkpoint({mode})")).await
}

/// Rewrites the tables without free space. SQLite rewrites the whole file, for which it needs the same
/// space again, and can release pages in small steps afterwards. PostgreSQL frees rows for reuse and
/// truncates free pages at the end of a table. MySQL rewrites both tables.
pub async fn rewrite(db: &Database) -> Result<()> {
    let [calls, errors] = LogTable::ALL.map(LogTable::name);
    let statements = match db.dialect() {
        Dialect::Sqlite => vec!["PRAGMA auto_vacuum = INCREMENTAL".to_owned(), "VACUUM".to_owned()],
        Dialect::Postgres => {
            vec![format!("VACUUM (ANALYZE) {calls}"), format!("VACUUM (ANALYZE) {errors}")]
        }
        Dialect::MySql => vec![format!("OPTIMIZE TABLE {calls}, {errors}")],
    };
    for statement in statements {
        db.set_up_writer(&statement).await?;
    }
    Ok(())
}
