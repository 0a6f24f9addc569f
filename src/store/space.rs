//! The room that a database takes, and how what deletions freed is given back. SQLite keeps freed
//! pages in its file; a file that Callscope made gives them back a few at a time, any other by a
//! rewrite. PostgreSQL and MySQL use the room for new rows.

use super::database::Database;
use super::dialect::Dialect;
use super::inspect;
use super::log_table::LogTable;
use crate::error::Result;

/// How large a database is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub bytes: u64,
    /// Of these, the room that new rows take before anything grows; nothing where it is not known.
    pub free_bytes: Option<u64>,
}

/// The room that the database takes now. Catalogs alone.
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

/// Free pages that the file can give back now: none of one without incremental vacuum, none of other
/// databases.
pub async fn releasable_pages(db: &Database) -> Result<u64> {
    if db.dialect() != Dialect::Sqlite {
        return Ok(0);
    }
    let sql = "SELECT CAST(CASE WHEN auto_vacuum = 2 THEN freelist_count ELSE 0 END AS TEXT) FROM \
               pragma_auto_vacuum, pragma_freelist_count";
    let pages = inspect::number(db, sql.to_owned()).await?;
    Ok(pages.map_or(0, |pages| u64::try_from(pages).unwrap_or(0)))
}

/// Whether room is given back without a rewrite; what PostgreSQL and MySQL do is their own matter.
pub async fn gives_back(db: &Database) -> Result<bool> {
    if db.dialect() != Dialect::Sqlite {
        return Ok(true);
    }
    let sql = "SELECT CAST(auto_vacuum AS TEXT) FROM pragma_auto_vacuum".to_owned();
    Ok(inspect::number(db, sql).await? == Some(2))
}

/// Lets a connection that only deletes commit without waiting for the disk, and so others wait less: what
/// a power cut undoes is deleted by the next run, and the file is sound all the same.
pub async fn spare_syncs(db: &Database) -> Result<()> {
    match db.dialect() {
        Dialect::Sqlite => db.set_up_writer("PRAGMA synchronous = NORMAL").await,
        Dialect::Postgres | Dialect::MySql => Ok(()),
    }
}

/// Gives back so many of these pages. The file shrinks once its write-ahead log is folded into it.
pub async fn release(db: &Database, pages: u32) -> Result<()> {
    db.set_up_writer(&format!("PRAGMA incremental_vacuum({pages})")).await
}

/// Folds SQLite's write-ahead log into the file, as far as nobody has to wait for it; with `truncate`
/// all of it, though writers wait for readers meanwhile, for seconds if need be.
pub async fn checkpoint(db: &Database, truncate: bool) -> Result<()> {
    if db.dialect() != Dialect::Sqlite {
        return Ok(());
    }
    let mode = if truncate { "TRUNCATE" } else { "PASSIVE" };
    db.set_up_writer(&format!("PRAGMA wal_checkpoint({mode})")).await
}

/// Rewrites the tables without their gaps. SQLite writes the whole file anew, and needs as much room
/// again meanwhile; from then on it gives pages back a few at a time. PostgreSQL frees rows for reuse
/// and cuts off what is free at the end of a table. MySQL writes both tables anew.
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
