//! Connects to the database: SQLite's pragmas, the limits of sessions, migrations.

use std::time::Duration;

use migration::{Migrator, MigratorTrait};
use sea_orm::sqlx::mysql::MySqlConnectOptions;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous,
};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, DbErr};

use super::cancel::Session;
use super::dialect::Dialect;
use super::origin;
use super::sqlite_file::is_new_sqlite_file;
use crate::config::DatabaseConfig;
use crate::error::Result;

/// So much of a SQLite file is read where the system keeps it, the most that SQLite allows. What lies behind
/// is read anew after each commit of somebody else's, which costs a query over a day twice its time.
const MAPPED_BYTES: &str = "2147418112";

/// After so many pages, 16 MB, SQLite folds its log into the file; by itself it does so four times as
/// often. Groups of calls write the same pages again and again, of which only the last is folded: a
/// commit of 32 calls takes 12 % less time, one of 64 a quarter less.
const CHECKPOINT_PAGES: &str = "4000";

/// How long the connection that stops statements stays open for the next of them.
const CONTROL_IDLE: Duration = Duration::from_secs(10);

/// Creates the tables and indexes that are missing. Two servers that start at once take turns.
pub async fn migrate(config: &DatabaseConfig) -> Result<()> {
    let connection = connect(config, Access::Migrate).await?;
    let (lock, unlock) = match connection.get_database_backend() {
        DbBackend::Postgres => {
            ("SELECT pg_advisory_lock(7163098412)", "SELECT pg_advisory_unlock(7163098412)")
        }
        DbBackend::MySql => (
            "SELECT GET_LOCK(CONCAT('callscope ', DATABASE()), 600)",
            "SELECT RELEASE_LOCK(CONCAT('callscope ', DATABASE()))",
        ),
        _ => ("BEGIN IMMEDIATE", "COMMIT"),
    };
    connection.execute_unprepared(lock).await?;
    let migrated = async {
        let missing = origin::missing_tables(&connection).await?;
        Migrator::up(&connection, None).await?;
        origin::note_made(&connection, &missing).await
    };
    let migrated = migrated.await;
    // After a failure the lock ends with its connection, and what SQLite began is rolled back.
    if migrated.is_ok() {
        connection.execute_unprepared(unlock).await?;
    }
    connection.close().await?;
    Ok(migrated?)
}

pub(super) fn is_sqlite(url: &str) -> bool {
    url.starts_with("sqlite:")
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Access {
    /// One connection that reads.
    Read,
    /// One that answers health checks.
    Probe,
    /// One that writes.
    Write,
    /// One connection that holds a lock while the schema changes.
    Migrate,
    /// One that ends sessions of others, seldom.
    Control,
}

pub(super) async fn connect(
    config: &DatabaseConfig,
    access: Access,
) -> Result<DatabaseConnection, DbErr> {
    connect_session(config, access, None, false).await
}

/// Connects, at once or (`lazy`) when the connection is needed; `tracked` is the session that it
/// becomes, with the limit of its statements.
pub(super) async fn connect_session(
    config: &DatabaseConfig,
    access: Access,
    tracked: Option<(&Session, Option<Duration>)>,
    lazy: bool,
) -> Result<DatabaseConnection, DbErr> {
    check_url(config.database_url.expose())?;
    let mut options = ConnectOptions::new(config.database_url.expose());
    options
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(config.database_wait_seconds))
        .connect_timeout(Duration::from_secs(config.database_wait_seconds))
        .test_before_acquire_if_idle_for(Duration::from_secs(1))
        .connect_lazy(lazy)
        .sqlx_logging(false);
    if access == Access::Control {
        options.idle_timeout(CONTROL_IDLE);
    }
    if let Some((session, limit)) = tracked {
        session.attach(&mut options, access, limit);
    }
    let read_only = matches!(access, Access::Read | Access::Probe);
    // Later, a file that is gone is a fault, and an empty one would hide it.
    let create = access == Access::Migrate;
    // It cannot be had later without a rewrite of the file, and a file of others stays as it is.
    let shrinks = create && is_new_sqlite_file(config.database_url.expose());
    options.map_sqlx_sqlite_opts(move |sqlite| {
        let sqlite = sqlite
            .busy_timeout(Duration::from_secs(5))
            .pragma("mmap_size", MAPPED_BYTES)
            .pragma("cache_size", "-32768");
        if read_only {
            return sqlite.read_only(true);
        }
        let sqlite = match shrinks {
            true => sqlite.auto_vacuum(SqliteAutoVacuum::Incremental),
            false => sqlite,
        };
        sqlite
            .create_if_missing(create)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .journal_mode(SqliteJournalMode::Wal)
            // What is acknowledged survives a power cut; groups share the cost.
            .synchronous(SqliteSynchronous::Full)
    });
    sea_orm::Database::connect(options).await
}

/// Refuses what is no URL with an error; SeaORM panics at it.
fn check_url(url: &str) -> Result<(), DbErr> {
    let checked = match Dialect::of_url(url) {
        Dialect::Sqlite => url.parse::<SqliteConnectOptions>().map(|_| ()),
        Dialect::Postgres => url.parse::<PgConnectOptions>().map(|_| ()),
        Dialect::MySql => url.parse::<MySqlConnectOptions>().map(|_| ()),
    };
    checked.map_err(|error| DbErr::Custom(format!("the database URL cannot be read: {error}")))
}
