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
    ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, QueryResult,
    SqliteTransactionMode, Statement, StatementBuilder, TransactionOptions, TransactionTrait,
};

use super::cancel::Session;
use super::connections::{Connections, Lease, WriteTransaction};
use super::dialect::Dialect;
use super::zone::StorageZone;
use crate::config::DatabaseConfig;
use crate::error::{Error, Result};

/// What a session of PostgreSQL or MySQL has for a statement beyond the time of a request: who gives
/// a request up stops its statements, and a limit that is met first would take their place.
const STATEMENT_SPARE: Duration = Duration::from_secs(5);

/// How long the connection that stops statements stays open for the next of them.
const CONTROL_IDLE: Duration = Duration::from_secs(10);

/// The open database: several connections that read, and others that write; SQLite has one of
/// these.
#[derive(Debug)]
pub struct Database {
    readers: Arc<Connections>,
    /// None where the database is read-only.
    writers: Option<Arc<Connections>>,
    dialect: Dialect,
    zone: StorageZone,
    statements: AtomicU64,
    /// The statements themselves, values included, once someone asked for them.
    recorded: OnceLock<Mutex<Vec<String>>>,
}

impl Database {
    /// Opens the database and, unless it is read-only, brings its schema up to date.
    pub async fn open(config: &DatabaseConfig) -> Result<Self> {
        Box::pin(Self::open_with(config, None)).await
    }

    /// The same for requests that may take `timeout` each.
    pub async fn open_for_requests(config: &DatabaseConfig, timeout: Duration) -> Result<Self> {
        // Boxed, for the compiler: the futures of connecting nest deeply.
        Box::pin(Self::open_with(config, Some(timeout + STATEMENT_SPARE))).await
    }

    async fn open_with(config: &DatabaseConfig, statement_limit: Option<Duration>) -> Result<Self> {
        let url = config.database_url.expose();
        let mut writers = None;
        if !config.read_only {
            migrate(config).await?;
            // SQLite's at once, which sets its file up; the others' when there is something to write.
            let (access, lazy) = (Access::Write, !is_sqlite(url));
            let opened = Connections::open(config, access, statement_limit, lazy).await?;
            writers = Some(Arc::new(opened));
        }
        let readers = Connections::open(config, Access::Read, statement_limit, false).await?;
        Ok(Self {
            dialect: Dialect::of(readers.backend()),
            readers: Arc::new(readers),
            writers,
            zone: StorageZone(config.storage_time_zone),
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
        self.writers.is_none()
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

    /// Begins to write. Refused for a read-only database.
    pub async fn begin(&self) -> Result<WriteTransaction> {
        // Immediate: SQLite cannot wait for another writer once a transaction has read.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let lease = self.writer().await?;
        let transaction = lease.connection()?.begin_with_options(options).await?;
        Ok(WriteTransaction::new(transaction, lease))
    }

    /// Sends SQLite's writer a text of ours, outside of any transaction.
    pub(super) async fn set_up_writer(&self, sql: &str) -> Result<()> {
        let mut lease = self.writer().await?;
        lease.connection()?.execute_unprepared(sql).await?;
        lease.finish();
        Ok(())
    }

    /// Sends one statement that writes; tells how many rows it changed.
    pub(super) async fn execute(&self, statement: &impl StatementBuilder) -> Result<u64> {
        let transaction = self.begin().await?;
        let changed = transaction.inner().execute(statement).await?.rows_affected();
        transaction.commit().await?;
        Ok(changed)
    }

    /// Refuses what a read-only database cannot take.
    pub fn check_writable(&self) -> Result<()> {
        self.writers().map(|_| ())
    }

    fn writers(&self) -> Result<&Arc<Connections>> {
        let read_only = || Error::Forbidden("the database is opened read-only".into());
        self.writers.as_ref().ok_or_else(read_only)
    }

    async fn writer(&self) -> Result<Lease> {
        Ok(self.writers()?.lease().await?)
    }

    /// All rows of a reading statement.
    pub async fn query_all(&self, statement: &impl StatementBuilder) -> Result<Vec<QueryResult>> {
        self.query_all_raw(self.readers.backend().build(statement)).await
    }

    pub(super) async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        if let Some(recorded) = self.recorded.get() {
            let text = statement.to_string();
            recorded.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
        let mut lease = self.readers.lease().await?;
        let rows = lease.connection()?.query_all_raw(statement).await;
        lease.finish();
        Ok(rows?)
    }

    pub(super) async fn has_table(&self, name: &str) -> Result<bool> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let mut lease = self.readers.lease().await?;
        let found = SchemaManager::new(lease.connection()?).has_table(name).await;
        lease.finish();
        Ok(found?)
    }

    /// Whether the database answers, and has the tables that it is asked for.
    pub async fn ping(&self) -> Result<()> {
        let sql =
            "SELECT EXISTS (SELECT 1 FROM t_request_log), EXISTS (SELECT 1 FROM t_error_logs)";
        self.query_all_raw(Statement::from_string(self.readers.backend(), sql)).await?;
        Ok(())
    }

    /// Closes the pools; SQLite then folds its write-ahead log into the file.
    pub async fn close(&self) -> Result<()> {
        self.readers.close().await?;
        if let Some(writers) = &self.writers {
            writers.close().await?;
        }
        Ok(())
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

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Access {
    /// One connection that reads.
    Read,
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
        session.attach(&mut options, limit);
    }
    let read_only = access == Access::Read;
    // Later, a file that is gone is a fault, and an empty one would hide it.
    let create = access == Access::Migrate;
    options.map_sqlx_sqlite_opts(move |sqlite| {
        let sqlite = sqlite
            .busy_timeout(Duration::from_secs(5))
            .pragma("mmap_size", "268435456")
            .pragma("cache_size", "-32768");
        if read_only {
            return sqlite.read_only(true);
        }
        sqlite
            .create_if_missing(create)
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
