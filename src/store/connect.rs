//! Connects to the database: pragmas of SQLite, limits of sessions.

use std::time::Duration;

use sea_orm::sqlx::mysql::MySqlConnectOptions;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous,
};
use sea_orm::{ConnectOptions, DatabaseConnection, DbErr};

use super::cancel::Session;
use super::dialect::Dialect;
use super::hosts::Hosts;
pub use super::schema::migrate;
use super::sqlite_file::is_new_sqlite_file;
use crate::config::DatabaseConfig;

/// The page cache of a SQLite connection in KiB. The file is not mapped into memory: a mapped file that
/// is truncated or unreadable ends the process by SIGBUS.
const CACHE_KIB: &str = "-16384";

/// Pages (16 MB) between two checkpoints of SQLite's write-ahead log, four times the default. Groups of
/// calls write the same pages repeatedly, and a checkpoint copies only the last version: a commit of 32
/// calls takes 12 % less time, one of 64 a quarter less.
const CHECKPOINT_PAGES: &str = "4000";

/// The idle time after which the connection that ends sessions is closed.
const CONTROL_IDLE: Duration = Duration::from_secs(10);

pub(super) fn is_sqlite(url: &str) -> bool {
    url.starts_with("sqlite:")
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Access {
    /// One connection that reads.
    Read,
    /// One connection for health checks.
    Probe,
    /// One connection that writes.
    Write,
    /// One connection with a lock during changes of the schema.
    Migrate,
    /// One connection that ends other sessions, used rarely.
    Control,
}

pub(super) async fn connect(
    config: &DatabaseConfig,
    access: Access,
) -> Result<DatabaseConnection, DbErr> {
    let url = Hosts::of(config)?.find().await?;
    connect_session(config, &url, access, None, false).await
}

/// What is set and checked when a session starts.
pub(super) struct Tracked<'a> {
    pub session: &'a Session,
    /// The time limit of its statements.
    pub limit: Option<Duration>,
    /// A statement that returns 1 on a host of the wanted kind.
    pub check: Option<&'static str>,
}

/// Connects to one host, immediately or (`lazy`) at the first use.
pub(super) async fn connect_session(
    config: &DatabaseConfig,
    url: &str,
    access: Access,
    tracked: Option<Tracked<'_>>,
    lazy: bool,
) -> Result<DatabaseConnection, DbErr> {
    check_url(url)?;
    let mut options = ConnectOptions::new(url);
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
        // Its lock ends with the connection, which a pool replaces after half an hour by default.
        options.idle_timeout(None).max_lifetime(None);
    }
    if let Some(tracked) = tracked {
        tracked.session.attach(&mut options, access, &tracked);
    }
    let read_only = matches!(access, Access::Read | Access::Probe);
    // Afterwards, a missing file is an error that a new, empty file would hide.
    let create = access == Access::Migrate;
    // Set for a new file only: later it needs a rewrite of the file.
    let shrinks = create && is_new_sqlite_file(url);
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
            // An acknowledged row survives a power failure; groups of callers share the cost.
            .synchronous(SqliteSynchronous::Full)
    });
    sea_orm::Database::connect(options).await
}

/// Rejects an invalid URL with an error; SeaORM would panic.
fn check_url(url: &str) -> Result<(), DbErr> {
    let checked = match Dialect::of_url(url) {
        Dialect::Sqlite => url.parse::<SqliteConnectOptions>().map(|_| ()),
        Dialect::Postgres => url.parse::<PgConnectOptions>().map(|_| ()),
        Dialect::MySql => url.parse::<MySqlConnectOptions>().map(|_| ()),
    };
    checked.map_err(|error| DbErr::Custom(format!("the database URL cannot be read: {error}")))
}
