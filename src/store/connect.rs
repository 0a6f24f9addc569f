//! Connects to the database: SQLite's pragmas, the limits of sessions.

use std::time::Duration;

use sea_orm::sqlx::mysql::MySqlConnectOptions;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous,
};
use sea_orm::{ConnectOptions, DatabaseConnection, DbErr};

use super::cancel::Session;
use super::dialect::Dialect;
pub use super::schema::migrate;
use super::sqlite_file::is_new_sqlite_file;
use crate::config::DatabaseConfig;

/// The page cache of a SQLite connection in KiB. The file is not mapped into memory: a mapped file that
/// is cut or cannot be read ends the process by SIGBUS.
const CACHE_KIB: &str = "-32768";

/// After so many pages, 16 MB, SQLite folds its log into the file; by itself it does so four times as
/// often. Groups of calls write the same pages again and again, of which only the last is folded: a
/// commit of 32 calls takes 12 % less time, one of 64 a quarter less.
const CHECKPOINT_PAGES: &str = "4000";

/// How long the connection that stops statements stays open for the next of them.
const CONTROL_IDLE: Duration = Duration::from_secs(10);

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
    if access == Access::Migrate {
        // Its lock ends with the connection, which the pool would replace after half an hour.
        options.idle_timeout(None).max_lifetime(None);
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
            .pragma("mmap_size", "0")
            .pragma("cache_size", CACHE_KIB);
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
