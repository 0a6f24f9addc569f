//! Opens the database: pools, SQLite's pragmas, migrations. Every statement passes through
//! [`Database`], which counts them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use migration::{Migrator, MigratorTrait, SchemaManager};
use sea_orm::sqlx::mysql::MySqlConnectOptions;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, QueryResult, Statement,
    StatementBuilder,
};

use super::dialect::Dialect;
use super::pool::PoolState;
use super::zone::StorageZone;
use crate::config::DatabaseConfig;
use crate::error::{Error, Result};
use crate::observe::{Observer, StatementWatch};

/// The open database. SQLite has one connection that writes and several that read; the others use
/// one pool for both.
#[derive(Debug)]
pub struct Database {
    reader: DatabaseConnection,
    writer: DatabaseConnection,
    read_only: bool,
    dialect: Dialect,
    zone: StorageZone,
    observer: Arc<Observer>,
    statements: AtomicU64,
    /// The statements themselves, values included, once someone asked for them.
    recorded: OnceLock<Mutex<Vec<String>>>,
}

impl Database {
    /// Opens the database and, unless it is read-only, brings its schema up to date.
    pub async fn open(config: &DatabaseConfig) -> Result<Self> {
        Self::open_observed(config, Arc::default()).await
    }

    /// The same, and `observer` is told of every statement.
    pub async fn open_observed(config: &DatabaseConfig, observer: Arc<Observer>) -> Result<Self> {
        let url = config.database_url.expose();
        let writer = if is_sqlite(url) && !config.read_only {
            connect(config, Access::Write).await?
        } else {
            connect(config, Access::Read).await?
        };
        if !config.read_only {
            migrate(config).await?;
        }
        let reader = if is_sqlite(url) && !config.read_only {
            connect(config, Access::Read).await?
        } else {
            writer.clone()
        };
        Ok(Self {
            dialect: Dialect::of(reader.get_database_backend()),
            reader,
            writer,
            read_only: config.read_only,
            zone: StorageZone(config.storage_time_zone),
            observer,
            statements: AtomicU64::new(0),
            recorded: OnceLock::new(),
        })
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub fn zone(&self) -> StorageZone {
        self.zone
    }

    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// How many statements were sent since the database was opened.
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// Keeps every statement from now on, and hands over those that were kept since the last call.
    /// Tests read the plans of these; a server never calls this, since values are in them.
    pub fn record(&self) -> Vec<String> {
        let recorded = self.recorded.get_or_init(Mutex::default);
        std::mem::take(&mut recorded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The connection for writing, where transactions begin. Refused for a read-only database.
    pub fn writer(&self) -> Result<&DatabaseConnection> {
        if self.read_only {
            return Err(Error::Forbidden("the database is opened read-only".into()));
        }
        Ok(&self.writer)
    }

    /// All rows of a reading statement; `name` tells it in metrics and logs.
    pub async fn query_all(
        &self,
        name: &'static str,
        statement: &impl StatementBuilder,
    ) -> Result<Vec<QueryResult>> {
        self.query_all_raw(name, self.reader.get_database_backend().build(statement)).await
    }

    pub(super) async fn query_all_raw(
        &self,
        name: &'static str,
        statement: Statement,
    ) -> Result<Vec<QueryResult>> {
        Ok(self.query_watched(name, statement).await?.0)
    }

    /// The same, with the watch that tells of the statement once it is dropped.
    pub(super) async fn query_watched(
        &self,
        name: &'static str,
        statement: Statement,
    ) -> Result<(Vec<QueryResult>, StatementWatch<'_>)> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        if let Some(recorded) = self.recorded.get() {
            let text = statement.to_string();
            recorded.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
        let mut watch = self.observer.statement(name, &statement.sql);
        let rows = self.reader.query_all_raw(statement).await?;
        watch.answered(rows.len());
        Ok((rows, watch))
    }

    pub(super) async fn has_table(&self, name: &str) -> Result<bool> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        Ok(SchemaManager::new(&self.reader).has_table(name).await?)
    }

    /// Whether a server ever made its tables here.
    pub async fn has_own_tables(&self) -> Result<bool> {
        self.has_table(super::setting::TABLE).await
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        let statement = Statement::from_string(self.reader.get_database_backend(), "SELECT 1");
        self.query_all_raw("ping", statement).await?;
        Ok(())
    }

    /// The connections of each pool.
    pub fn pools(&self) -> Vec<PoolState> {
        let reader = PoolState::of("read", &self.reader, self.dialect);
        // Without a writer of its own, SQLite's reader is all there is.
        let alone = self.dialect != Dialect::Sqlite || self.read_only;
        let writer = (!alone).then(|| PoolState::of("write", &self.writer, self.dialect));
        [reader].into_iter().chain(writer).collect()
    }

    /// Closes the pools; SQLite then folds its write-ahead log into the file.
    pub async fn close(&self) -> Result<()> {
        self.reader.close_by_ref().await?;
        Ok(self.writer.close_by_ref().await?)
    }
}

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
    let migrated = Migrator::up(&connection, None).await;
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

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Access {
    /// Reads; on PostgreSQL and MySQL writes too.
    Read,
    /// SQLite's single writer.
    Write,
    /// One connection that holds a lock while the schema changes.
    Migrate,
}

pub(super) async fn connect(
    config: &DatabaseConfig,
    access: Access,
) -> Result<DatabaseConnection, DbErr> {
    check_url(config.database_url.expose())?;
    let mut options = ConnectOptions::new(config.database_url.expose());
    let connections = if access == Access::Read { config.database_connections } else { 1 };
    options
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(config.database_wait_seconds))
        .connect_timeout(Duration::from_secs(config.database_wait_seconds))
        .test_before_acquire_if_idle_for(Duration::from_secs(1))
        .sqlx_logging(false);
    let read_only = access == Access::Read;
    options.map_sqlx_sqlite_opts(move |sqlite| {
        let sqlite = sqlite
            .busy_timeout(Duration::from_secs(5))
            .pragma("mmap_size", "268435456")
            .pragma("cache_size", "-32768");
        if read_only {
            return sqlite.read_only(true);
        }
        sqlite
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
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
