//! The open database. Every statement passes through it, is counted and watched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use migration::SchemaManager;
use sea_orm::{
    ConnectionTrait, DbErr, QueryResult, RuntimeErr, SqliteTransactionMode, SqlxError, Statement,
    StatementBuilder, TransactionOptions, TransactionTrait,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::connect::{Access, is_sqlite};
use super::connections::{Connections, Lease};
use super::dialect::Dialect;
use super::engine::{self, Engine};
use super::failure::Progress;
use super::fair_queue::QueueError;
use super::hosts::Hosts;
use super::index::{self, PendingIndex};
use super::partition::tables;
use super::pool::PoolState;
use super::replica::{PRIMARY_POSITION, Position, REPLICA_POSITION, Replica, Replicas};
use super::rollup::cache::RollupCache;
use super::schema;
use super::statements::StatementLog;
use super::transaction::{Fault, PostgresTransaction, WriteTransaction, retry};
use super::zone::StorageZone;
use crate::config::{DatabaseConfig, ReplicaConfig};
use crate::error::{Error, Result};
use crate::observe::{Observer, RequestMarks, StatementWatch, request};

/// Added to the time limit of a request for the limit of statements in PostgreSQL or MySQL: the server
/// cancels the statements of a request before this limit applies.
const STATEMENT_GRACE: Duration = Duration::from_secs(5);

/// Time limit of a health check.
pub const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Time limit of the position of a standby: its statements end when it does not answer twice, and their time limits have
/// to be longer.
const REPLICA_TIMEOUT: Duration = Duration::from_secs(1);

/// The open database, with separate connections for reading and for writing. SQLite has one writer.
#[derive(Debug)]
pub struct Database {
    readers: Arc<Connections>,
    hosts: Arc<Hosts>,
    /// One connection for health checks only.
    probe: Arc<Connections>,
    /// None if the database is read-only.
    writers: Option<Arc<Connections>>,
    dialect: Dialect,
    engine: Engine,
    zone: StorageZone,
    /// Some of its indexes were not yet built.
    lacks_indexes: bool,
    /// Callscope has partitioned the tables (`partition/`).
    has_partitions: AtomicBool,
    /// Searches use the index of `text_index.rs`.
    has_text_index: bool,
    observer: Arc<Observer>,
    /// Changes after each commit of calls or error logs.
    commits: watch::Sender<()>,
    statements: Arc<StatementLog>,
    rollups: RollupCache,
    failures: Progress,
    replicas: Replicas,
}

impl Database {
    /// Opens the database and, unless it is read-only, brings its schema up to date.
    pub async fn open(config: &DatabaseConfig) -> Result<Self> {
        let db = Box::pin(Self::open_with(config, None, Arc::default())).await?;
        engine::refuse(db.engine)?;
        Ok(db)
    }

    /// Opens the database read-only, whichever engine it is.
    pub async fn open_for_checks(config: &DatabaseConfig) -> Result<Self> {
        let config = DatabaseConfig { read_only: true, ..config.clone() };
        Box::pin(Self::open_with(&config, None, Arc::default())).await
    }

    /// Opens the database for requests with a time limit of `timeout`; `observer` observes every statement.
    pub async fn open_for_requests(
        config: &DatabaseConfig,
        replicas: &ReplicaConfig,
        timeout: Duration,
        observer: Arc<Observer>,
    ) -> Result<Self> {
        // Boxed for the compiler: the futures of connecting are deeply nested.
        let limit = Some(timeout + STATEMENT_GRACE);
        let db = Box::pin(Self::open_with(config, limit, observer)).await?;
        engine::refuse(db.engine)?;
        let replicas = Box::pin(Replicas::open(config, replicas, &db.hosts, limit)).await?;
        Ok(Self { replicas, ..db })
    }

    async fn open_with(
        config: &DatabaseConfig,
        statement_limit: Option<Duration>,
        observer: Arc<Observer>,
    ) -> Result<Self> {
        let url = config.database_url.expose();
        let hosts = Arc::new(Hosts::of(config)?);
        let mut writers = None;
        let mut lacks_indexes = false;
        if !config.read_only {
            let pending = Box::pin(schema::prepare(config)).await?;
            index::log_pending(&pending, Dialect::of_url(url));
            lacks_indexes = !pending.is_empty();
            // SQLite's writer opens now and sets up its file; the others open at the first write.
            let (access, lazy) = (Access::Write, !is_sqlite(url));
            let opened = Connections::open(config, &hosts, access, statement_limit, lazy).await?;
            writers = Some(Arc::new(opened));
        }
        let readers = Arc::new(
            Connections::open(config, &hosts, Access::Read, statement_limit, false).await?,
        );
        let probe = Connections::open(config, &hosts, Access::Probe, statement_limit, true).await?;
        let mut lease = readers.lease().await.map_err(DbErr::from)?;
        let engine = Engine::find(lease.connection()?).await?;
        let has_text_index =
            config.text_index && index::has_text_index(lease.connection()?).await?;
        let has_partitions = tables::exist(lease.connection()?).await?;
        lease.finish();
        Ok(Self {
            dialect: Dialect::of(readers.backend()),
            readers,
            hosts,
            probe: Arc::new(probe),
            writers,
            engine,
            zone: StorageZone(config.storage_time_zone),
            lacks_indexes,
            has_partitions: has_partitions.into(),
            has_text_index,
            observer,
            commits: watch::Sender::new(()),
            statements: Arc::default(),
            rollups: RollupCache::default(),
            failures: Progress::default(),
            replicas: Replicas::none(),
        })
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub fn engine(&self) -> Engine {
        self.engine
    }

    pub fn zone(&self) -> StorageZone {
        self.zone
    }

    pub fn is_read_only(&self) -> bool {
        self.writers.is_none()
    }

    /// Whether indexes were missing after it was opened.
    pub fn lacks_indexes(&self) -> bool {
        self.lacks_indexes
    }

    /// Whether Callscope has partitioned the tables.
    pub fn has_partitions(&self) -> bool {
        self.has_partitions.load(Ordering::Relaxed)
    }

    /// Whether Callscope has partitioned the tables by now.
    pub async fn find_partitions(&self) -> Result<bool> {
        self.statements.add_without_text();
        let mut lease = self.reader().await?;
        let found = tables::exist(lease.connection()?).await;
        lease.finish_after(&found);
        Ok(found?)
    }

    /// From now on, statements and jobs use the partitions.
    pub fn use_partitions(&self) {
        self.has_partitions.store(true, Ordering::Relaxed);
    }

    /// Whether searches in error logs use the index of their texts.
    pub fn has_text_index(&self) -> bool {
        self.has_text_index
    }

    pub fn observer(&self) -> &Arc<Observer> {
        &self.observer
    }

    /// The URL of the host that connections use now.
    pub(super) fn host_url(&self) -> String {
        self.hosts.current()
    }

    pub(super) fn config(&self) -> &DatabaseConfig {
        self.readers.config()
    }

    /// The state of the rollups for queries.
    pub(super) fn rollups(&self) -> &RollupCache {
        &self.rollups
    }

    /// Whether a job classifies new error logs.
    pub fn keeps_failure_classes(&self) -> bool {
        self.config().failure_classes
    }

    /// How far the failure classes are checked.
    pub fn failures(&self) -> &Progress {
        &self.failures
    }

    /// Whether calls are folded into rollups.
    pub fn has_rollups(&self) -> bool {
        self.config().rollups && !self.is_read_only()
    }

    /// With fewer calls, queries count single calls.
    pub(super) fn rollup_from_calls(&self) -> u64 {
        self.config().rollup_from_calls
    }

    /// The standbys that answer queries.
    pub fn replicas(&self) -> &Replicas {
        &self.replicas
    }

    /// From now on, queries of the client of the current request find what it has written.
    pub fn note_write(&self) {
        if let Some(client) = RequestMarks::current().and_then(|request| request.share().cloned()) {
            self.replicas.note_write(&client);
        }
    }

    /// Notifies [`Self::commits`] of a commit of calls or error logs.
    pub(super) fn notify_commit(&self) {
        self.commits.send_replace(());
    }

    /// Changes after each commit of calls or error logs by this server.
    pub fn commits(&self) -> watch::Receiver<()> {
        self.commits.subscribe()
    }

    /// How many statements were sent since the database was opened.
    pub fn statements(&self) -> u64 {
        self.statements.count()
    }

    /// Records every statement from the first call on, and returns those since the last call. Tests read
    /// their plans. A server never calls this, because the texts contain values.
    pub fn record(&self) -> Vec<String> {
        self.statements.take()
    }

    /// The log of statements, for a connection that is used directly.
    pub(super) fn statement_log(&self) -> &StatementLog {
        &self.statements
    }

    /// Starts a write transaction. Fails for a read-only database.
    pub async fn begin_transaction(&self) -> Result<WriteTransaction> {
        // Immediate: SQLite cannot wait for another writer after a transaction has read.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let mut lease = self.writer().await?;
        let transaction = lease.connection()?.begin_with_options(options).await?;
        Ok(WriteTransaction::new(transaction, lease, self.statements.clone()))
    }

    /// Starts a write transaction of PostgreSQL that can COPY.
    pub(super) async fn start_postgres(&self) -> Result<WriteTransaction<PostgresTransaction>> {
        let mut lease = self.writer().await?;
        let started = lease.connection()?.get_postgres_connection_pool().begin().await;
        let failed = |error: SqlxError| DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)));
        let transaction = PostgresTransaction(started.map_err(failed)?);
        Ok(WriteTransaction::new(transaction, lease, self.statements.clone()))
    }

    /// Sends a constant text to a connection that writes, outside of any transaction.
    pub(super) async fn set_up_writer(&self, sql: &str) -> Result<()> {
        let mut lease = self.writer().await?;
        self.statements.of(lease.connection()?).execute_unprepared(sql).await?;
        lease.finish();
        Ok(())
    }

    /// Sends a constant text that takes long to PostgreSQL, without the time limits of its role.
    pub(super) async fn set_up_without_limits(&self, sql: &str) -> Result<()> {
        let mut lease = self.writer().await?;
        let connection = self.statements.of(lease.connection()?);
        connection.execute_unprepared("SET statement_timeout = 0; SET lock_timeout = 0").await?;
        connection.execute_unprepared(sql).await?;
        // Not finished: the connection is replaced, since later statements need their limits.
        Ok(())
    }

    /// Sends one statement that writes, as a transaction, and returns how many rows it changed. Retries
    /// after a conflict with another transaction.
    pub(super) async fn execute(
        &self,
        name: &'static str,
        statement: &impl StatementBuilder,
    ) -> Result<u64> {
        let statement = &self.readers.backend().build(statement);
        let mut watch = self.watch(name, &statement.sql);
        let changed = retry(|| async move {
            let transaction = self.begin_transaction().await.map_err(Fault::Refused)?;
            let changed = transaction.inner().execute_raw(statement.clone()).await;
            transaction.end(changed.map(|done| done.rows_affected()).map_err(Error::from)).await
        });
        let changed = changed.await.map_err(Fault::into_error)?;
        watch.answered(0);
        Ok(changed)
    }

    /// Observes a statement until the watch is dropped.
    pub(super) fn watch(&self, name: &'static str, sql: &str) -> StatementWatch<'_> {
        self.observer.statement(name, sql)
    }

    /// Fails for a read-only database.
    pub fn check_writable(&self) -> Result<()> {
        self.writers().map(|_| ())
    }

    fn writers(&self) -> Result<&Arc<Connections>> {
        let read_only = || Error::Forbidden("the database is opened read-only".into());
        self.writers.as_ref().ok_or_else(read_only)
    }

    /// A connection that writes. A request that writes reads from the primary afterwards.
    pub(super) async fn writer(&self) -> Result<Lease> {
        request::read_primary();
        Ok(self.writers()?.lease().await.map_err(DbErr::from)?)
    }

    /// All rows of a reading statement; `name` is its name in metrics and logs.
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

    /// All rows, with the watch that reports the statement when it is dropped.
    pub(super) async fn query_watched(
        &self,
        name: &'static str,
        statement: Statement,
    ) -> Result<(Vec<QueryResult>, StatementWatch<'_>)> {
        self.statements.add(|| statement.to_string());
        let mut watch = self.watch(name, &statement.sql);
        let rows = match self.replicas.of_request() {
            Some(replica) => self.read_replica(replica, statement).await,
            None => self.read_primary(statement).await,
        };
        let rows = match rows {
            Err(error) if self.has_partitions() => return Err(self.name_months(error).await),
            rows => rows?,
        };
        watch.answered(rows.len());
        Ok((rows, watch))
    }

    /// The error, with the months that are missing if a server that has them is unavailable.
    async fn name_months(&self, error: Error) -> Error {
        let Some(message) = error.unconnected_server() else { return error };
        let statement = Statement::from_string(self.dialect.backend(), tables::SERVERS_WITH_MONTHS);
        let Ok(rows) = self.read_primary(statement).await else { return error };
        let found = rows.iter().filter_map(|row| row.try_get_by_index::<String>(0).ok());
        let servers: Vec<String> = found.collect();
        // Without a name in the message, it may be any of them.
        let is_named = |server: &&String| {
            server.split(' ').next().is_some_and(|name| message.contains(&format!("\"{name}\"")))
        };
        let named: Vec<String> = servers.iter().filter(is_named).cloned().collect();
        let servers = if named.is_empty() { servers } else { named };
        if servers.is_empty() {
            return error;
        }
        tracing::warn!(?servers, error = message, "a server with months of rows is unavailable");
        Error::MonthsUnavailable(format!(
            "the rows of some months are on a server that is unavailable: {}",
            servers.join("; ")
        ))
    }

    async fn read_replica(
        &self,
        replica: &Replica,
        statement: Statement,
    ) -> Result<Vec<QueryResult>> {
        match replica.read(statement.clone()).await {
            // The primary may reach a server of moved months that the standby cannot reach.
            Err(error) if error.unconnected_server().is_some() => {
                request::read_primary();
                self.read_primary(statement).await
            }
            // It is down, or the primary has removed rows that the statement reads.
            Err(error) if error.is_recovery_conflict() || error.has_failed_host() => {
                tracing::debug!(replica = replica.name(), %error, "the primary answers instead");
                replica.failed();
                request::read_primary();
                self.read_primary(statement).await
            }
            rows => rows,
        }
    }

    async fn read_primary(&self, statement: Statement) -> Result<Vec<QueryResult>> {
        // Only PostgreSQL has such conflicts; others need no copy.
        let copy = (self.dialect == Dialect::Postgres).then(|| statement.clone());
        let rows = self.read(statement).await;
        match copy {
            Some(statement) if rows.as_ref().is_err_and(Error::is_recovery_conflict) => {
                self.read(statement).await
            }
            _ => rows,
        }
    }

    async fn read(&self, statement: Statement) -> Result<Vec<QueryResult>> {
        let mut lease = self.reader().await?;
        let rows = lease.connection()?.query_all_raw(statement).await;
        lease.finish_after(&rows);
        Ok(rows?)
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

    /// Whether a server has created its own tables.
    pub async fn has_own_tables(&self) -> Result<bool> {
        self.has_table(super::setting::TABLE).await
    }

    /// A connection that reads. After a timeout, a database that answers a ping is busy, not unavailable.
    async fn reader(&self) -> Result<Lease> {
        let start = Instant::now();
        let leased = self.readers.lease().await;
        self.observer.metrics.connection_waited(start.elapsed());
        match leased {
            Ok(lease) => Ok(lease),
            Err(QueueError::Timeout) if self.ping().await.is_ok() => Err(Error::Busy),
            Err(reason) => Err(DbErr::from(reason).into()),
        }
    }

    /// Checks that the database answers in time and has both tables. It uses a separate connection, so
    /// queries do not delay a health check.
    pub async fn ping(&self) -> Result<()> {
        // Without the limits, Citus would read the whole tables.
        let sql = "SELECT EXISTS (SELECT 1 FROM t_request_log LIMIT 1), \
                   EXISTS (SELECT 1 FROM t_error_logs LIMIT 1)";
        self.statements.add(|| sql.to_owned());
        self.probe(&self.probe, "ping", sql).await.map(|_| ())
    }

    /// The rows of a constant statement, within [`PING_TIMEOUT`].
    async fn probe(
        &self,
        connections: &Arc<Connections>,
        name: &'static str,
        sql: &'static str,
    ) -> Result<Vec<QueryResult>> {
        let answer = async {
            let mut lease = connections.lease().await.map_err(DbErr::from)?;
            let statement = Statement::from_string(connections.backend(), sql);
            let mut watch = self.watch(name, sql);
            let answer = lease.connection()?.query_all_raw(statement).await;
            lease.finish_after(&answer);
            let rows = answer?;
            watch.answered(rows.len());
            Ok(rows)
        };
        timeout(PING_TIMEOUT, answer).await.unwrap_or(Err(Error::Timeout))
    }

    /// Reads how far the primary has written its log.
    pub async fn find_primary_position(&self) -> Result<()> {
        let at = Instant::now();
        let Some(primary) = self.replicas.primary() else { return Ok(()) };
        let rows = self.probe(primary, "replica.primary", PRIMARY_POSITION).await?;
        self.replicas.set_primary(at, Position::of(&rows)?);
        Ok(())
    }

    /// Reads how far a standby has replayed the log.
    pub async fn find_replica_position(&self, replica: &Replica) -> Result<()> {
        let found = self.probe(replica.probe(), "replica.position", REPLICA_POSITION);
        let rows = timeout(REPLICA_TIMEOUT, found).await.unwrap_or(Err(Error::Timeout))?;
        replica.set_position(&self.replicas, Position::of(&rows)?);
        Ok(())
    }

    /// The connections of each pool.
    pub fn pools(&self) -> Vec<PoolState> {
        let writers = self.writers.as_ref().map(|writers| writers.state("write"));
        let replicas = self.replicas.pools();
        [self.readers.state("read")].into_iter().chain(writers).chain(replicas).collect()
    }

    /// Closes the pools; SQLite then runs a checkpoint.
    pub async fn close(&self) -> Result<()> {
        self.readers.close().await?;
        self.probe.close().await?;
        if let Some(writers) = &self.writers {
            writers.close().await?;
        }
        self.replicas.close().await?;
        Ok(())
    }
}
