//! The open database. Every statement passes through it, is counted and watched.

use std::sync::Arc;
use std::time::Duration;

use migration::SchemaManager;
use sea_orm::{
    ConnectionTrait, DbErr, QueryResult, SqliteTransactionMode, Statement, StatementBuilder,
    TransactionOptions, TransactionTrait,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::connect::{Access, is_sqlite};
use super::connections::{Connections, Lease, WriteTransaction};
use super::dialect::Dialect;
use super::fair_queue::NoTurn;
use super::index::{self, PendingIndex};
use super::pool::PoolState;
use super::schema;
use super::statements::StatementLog;
use super::zone::StorageZone;
use crate::config::DatabaseConfig;
use crate::error::{Error, Result};
use crate::observe::{Observer, StatementWatch};

/// What a session of PostgreSQL or MySQL has for a statement beyond the time of a request: who gives
/// a request up stops its statements, and a limit that is met first would take their place.
const STATEMENT_SPARE: Duration = Duration::from_secs(5);

/// The longest time in which the database answers a health check.
pub const PING_LIMIT: Duration = Duration::from_secs(2);

/// The open database: several connections that read, and others that write; SQLite has one of
/// these.
#[derive(Debug)]
pub struct Database {
    readers: Arc<Connections>,
    /// One connection that no query takes.
    probe: Arc<Connections>,
    /// None where the database is read-only.
    writers: Option<Arc<Connections>>,
    dialect: Dialect,
    zone: StorageZone,
    /// Some of its indexes are left to build.
    lacks_indexes: bool,
    observer: Arc<Observer>,
    /// Told after each commit of calls or error logs.
    commits: watch::Sender<()>,
    statements: Arc<StatementLog>,
}

impl Database {
    /// Opens the database and, unless it is read-only, brings its schema up to date.
    pub async fn open(config: &DatabaseConfig) -> Result<Self> {
        Box::pin(Self::open_with(config, None, Arc::default())).await
    }

    /// The same for requests that may take `timeout` each; `observer` is told of every statement.
    pub async fn open_for_requests(
        config: &DatabaseConfig,
        timeout: Duration,
        observer: Arc<Observer>,
    ) -> Result<Self> {
        // Boxed, for the compiler: the futures of connecting nest deeply.
        Box::pin(Self::open_with(config, Some(timeout + STATEMENT_SPARE), observer)).await
    }

    async fn open_with(
        config: &DatabaseConfig,
        statement_limit: Option<Duration>,
        observer: Arc<Observer>,
    ) -> Result<Self> {
        let url = config.database_url.expose();
        let mut writers = None;
        let mut lacks_indexes = false;
        if !config.read_only {
            let pending = Box::pin(schema::prepare(config)).await?;
            index::log_pending(&pending, Dialect::of_url(url));
            lacks_indexes = !pending.is_empty();
            // SQLite's at once, which sets its file up; the others' when there is something to write.
            let (access, lazy) = (Access::Write, !is_sqlite(url));
            let opened = Connections::open(config, access, statement_limit, lazy).await?;
            writers = Some(Arc::new(opened));
        }
        let readers = Connections::open(config, Access::Read, statement_limit, false).await?;
        let probe = Connections::open(config, Access::Probe, statement_limit, true).await?;
        Ok(Self {
            dialect: Dialect::of(readers.backend()),
            readers: Arc::new(readers),
            probe: Arc::new(probe),
            writers,
            zone: StorageZone(config.storage_time_zone),
            lacks_indexes,
            observer,
            commits: watch::Sender::new(()),
            statements: Arc::default(),
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

    /// Whether indexes were left to build when it was opened.
    pub fn lacks_indexes(&self) -> bool {
        self.lacks_indexes
    }

    pub fn observer(&self) -> &Arc<Observer> {
        &self.observer
    }

    pub(super) fn config(&self) -> &DatabaseConfig {
        self.readers.config()
    }

    /// Calls or error logs were committed here.
    pub(super) fn tell_commit(&self) {
        self.commits.send_replace(());
    }

    /// Changes whenever calls or error logs were committed here.
    pub fn commits(&self) -> watch::Receiver<()> {
        self.commits.subscribe()
    }

    /// How many statements were sent since the database was opened.
    pub fn statements(&self) -> u64 {
        self.statements.count()
    }

    /// Keeps every statement from now on, and hands over those that were kept since the last call.
    /// Tests read the plans of these; a server never calls this, since values are in them.
    pub fn record(&self) -> Vec<String> {
        self.statements.take()
    }

    /// The log of what this database sends, for a connection that is used directly.
    pub(super) fn statement_log(&self) -> &StatementLog {
        &self.statements
    }

    /// Begins to write. Refused for a read-only database.
    pub async fn begin(&self) -> Result<WriteTransaction> {
        // Immediate: SQLite cannot wait for another writer once a transaction has read.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let mut lease = self.writer().await?;
        let transaction = lease.connection()?.begin_with_options(options).await?;
        Ok(WriteTransaction::new(transaction, lease, self.statements.clone()))
    }

    /// Sends a connection that writes a text of ours, outside of any transaction.
    pub(super) async fn set_up_writer(&self, sql: &str) -> Result<()> {
        let mut lease = self.writer().await?;
        self.statements.of(lease.connection()?).execute_unprepared(sql).await?;
        lease.finish();
        Ok(())
    }

    /// Sends one statement that writes; tells how many rows it changed.
    pub(super) async fn execute(
        &self,
        name: &'static str,
        statement: &impl StatementBuilder,
    ) -> Result<u64> {
        let statement = self.readers.backend().build(statement);
        let mut watch = self.watch(name, &statement.sql);
        let transaction = self.begin().await?;
        let changed = transaction.inner().execute_raw(statement).await?.rows_affected();
        transaction.commit().await?;
        watch.answered(0);
        Ok(changed)
    }

    /// Watches what is sent as `name` until the watch is dropped.
    pub(super) fn watch(&self, name: &'static str, sql: &str) -> StatementWatch<'_> {
        self.observer.statement(name, sql)
    }

    /// Refuses what a read-only database cannot take.
    pub fn check_writable(&self) -> Result<()> {
        self.writers().map(|_| ())
    }

    fn writers(&self) -> Result<&Arc<Connections>> {
        let read_only = || Error::Forbidden("the database is opened read-only".into());
        self.writers.as_ref().ok_or_else(read_only)
    }

    /// A connection that writes.
    pub(super) async fn writer(&self) -> Result<Lease> {
        Ok(self.writers()?.lease().await.map_err(DbErr::from)?)
    }

    /// All rows of a reading statement; `name` tells it in metrics and logs.
    pub async fn query_all(
        &self,
        name: &'static str,
        statement: &impl StatementBuilder,
    ) -> Result<Vec<QueryResult>> {
        self.query_all_raw(name, self.readers.backend().build(statement)).await
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
        self.statements.add(|| statement.to_string());
        let mut watch = self.watch(name, &statement.sql);
        let mut lease = self.reader().await?;
        let rows = lease.connection()?.query_all_raw(statement).await;
        lease.finish();
        let rows = rows?;
        watch.answered(rows.len());
        Ok((rows, watch))
    }

    pub(super) async fn has_table(&self, name: &str) -> Result<bool> {
        self.statements.add_without_text();
        let mut lease = self.reader().await?;
        let found = SchemaManager::new(lease.connection()?).has_table(name).await;
        lease.finish();
        Ok(found?)
    }

    /// The indexes that are missing or incomplete now.
    pub async fn pending_indexes(&self) -> Result<Vec<PendingIndex>> {
        self.statements.add_without_text();
        let mut lease = self.reader().await?;
        let pending = index::find_pending(lease.connection()?).await;
        lease.finish();
        Ok(pending?)
    }

    /// Whether a server ever made its tables here.
    pub async fn has_own_tables(&self) -> Result<bool> {
        self.has_table(super::setting::TABLE).await
    }

    /// A connection that reads. A database that answers others meanwhile is busy, not unavailable.
    async fn reader(&self) -> Result<Lease> {
        let asked = Instant::now();
        let leased = self.readers.lease().await;
        self.observer.metrics.connection_waited(asked.elapsed());
        match leased {
            Ok(lease) => Ok(lease),
            Err(NoTurn::Late) if self.ping().await.is_ok() => Err(Error::Busy),
            Err(reason) => Err(DbErr::from(reason).into()),
        }
    }

    /// Whether the database answers in time, and has the tables that it is asked for. The connection is
    /// its own: queries do not delay a health check.
    pub async fn ping(&self) -> Result<()> {
        let sql =
            "SELECT EXISTS (SELECT 1 FROM t_request_log), EXISTS (SELECT 1 FROM t_error_logs)";
        let asked = async {
            let mut lease = self.probe.lease().await.map_err(DbErr::from)?;
            let statement = Statement::from_string(self.probe.backend(), sql);
            self.statements.add(|| statement.to_string());
            let mut watch = self.watch("ping", sql);
            let answer = lease.connection()?.query_all_raw(statement).await;
            lease.finish();
            watch.answered(answer?.len());
            Ok(())
        };
        timeout(PING_LIMIT, asked).await.unwrap_or(Err(Error::Timeout))
    }

    /// The connections of each pool.
    pub fn pools(&self) -> Vec<PoolState> {
        let writers = self.writers.as_ref().map(|writers| writers.state("write"));
        [self.readers.state("read")].into_iter().chain(writers).collect()
    }

    /// Closes the pools; SQLite then folds its write-ahead log into the file.
    pub async fn close(&self) -> Result<()> {
        self.readers.close().await?;
        self.probe.close().await?;
        if let Some(writers) = &self.writers {
            writers.close().await?;
        }
        Ok(())
    }
}
