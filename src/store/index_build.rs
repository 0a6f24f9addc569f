//! Builds the indexes on the gateway's tables while the gateway writes, outside of any transaction.
//!
//! - PostgreSQL builds them `CONCURRENTLY`. An interrupted build leaves an invalid index, which is dropped
//!   and built again.
//! - MySQL and MariaDB build them `INPLACE` with `LOCK = NONE`, and undo an interrupted build.
//! - SQLite has one writer: each build is a separate transaction, with a pause after it in which the gateway
//!   writes.

use std::pin::pin;
use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbErr, RuntimeErr, SqlxError, SqlxMySqlError,
    SqlxSqliteError,
};
use tokio::time::{Instant, interval_at, sleep, timeout};

use super::cancel::Session;
use super::connect::{Access, Tracked, connect, connect_session};
use super::dialect::Dialect;
use super::engine::Engine;
use super::hosts::Hosts;
use super::index::{self, PendingIndex};
use super::schema::{Lock, try_lock, unlock};
use crate::config::DatabaseConfig;
use crate::error::Result;

/// The interval of log lines about a build.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// The pause between two attempts to take the lock of another server that builds, and how long a start
/// waits for it.
const LOCK_POLL: Duration = Duration::from_millis(100);
const QUICK_LOCK_WAIT: Duration = Duration::from_secs(2);
/// Attempts of a build while another transaction locks the table, and the pause between them.
const MAX_ATTEMPTS: u32 = 24;
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Seconds that a build of MySQL waits for the end of transactions on its table. Every other statement on
/// the table waits meanwhile.
const MYSQL_LOCK_SECONDS: u32 = 3;
/// Time limit in seconds of a quick build of PostgreSQL, which waits for the end of older transactions.
const QUICK_SECONDS: u32 = 10;
/// The longest pause after a build on SQLite: programs that wait for its lock retry within 100 ms.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// Time limit for a stopped build to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);

/// Which of the indexes to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Indexes that take less than `--index-build-seconds`, without waiting for a long build of another server.
    Quick,
    /// Indexes that can be built without blocking writers.
    Online,
    /// All indexes, also if writers have to wait.
    All,
}

/// Builds missing and incomplete indexes; returns those that are left, or None if `stop` ended first.
pub async fn build(
    config: &DatabaseConfig,
    scope: Scope,
    stop: impl Future<Output = ()>,
) -> Result<Option<Vec<PendingIndex>>> {
    let builder = Builder::open(config).await?;
    let left = tokio::select! {
        left = builder.build(scope) => left,
        () = stop => {
            builder.stop().await;
            return Ok(None);
        }
    };
    builder.connection.close().await?;
    Ok(Some(left?))
}

struct Builder<'a> {
    config: &'a DatabaseConfig,
    /// The URL of its host.
    url: String,
    dialect: Dialect,
    connection: DatabaseConnection,
    session: Session,
    /// Galera builds an index on all nodes at once, and their writes wait.
    is_galera: bool,
}

impl<'a> Builder<'a> {
    async fn open(config: &'a DatabaseConfig) -> Result<Self, DbErr> {
        let session = Session::default();
        let url = Hosts::of(config)?.find().await?;
        let tracked = Some(Tracked { session: &session, limit: None, check: None });
        let connection = connect_session(config, &url, Access::Migrate, tracked, false).await?;
        let dialect = Dialect::of(connection.get_database_backend());
        let is_galera = Engine::find(&connection).await? == Engine::Galera;
        Ok(Self { config, url, dialect, connection, session, is_galera })
    }

    async fn build(&self, scope: Scope) -> Result<Vec<PendingIndex>, DbErr> {
        let (wanted, mut left) = self.find(scope).await?;
        if wanted.is_empty() {
            return Ok(left);
        }
        if !self.lock(scope).await? {
            left.extend(wanted);
            return Ok(left);
        }
        self.set_limits(scope).await?;
        // Another server may have built some of them.
        let (wanted, mut left) = self.find(scope).await?;
        for pending in wanted {
            if !self.build_one(pending, scope).await? {
                left.push(pending);
            }
        }
        if self.dialect != Dialect::Sqlite {
            unlock(&self.connection, Lock::Indexes).await?;
        }
        Ok(left)
    }

    /// The pending indexes: those of the scope, and the others.
    async fn find(&self, scope: Scope) -> Result<(Vec<PendingIndex>, Vec<PendingIndex>), DbErr> {
        let limit = Duration::from_secs(self.config.index_build_seconds);
        let pending = index::find_pending(&self.connection).await?;
        Ok(pending.into_iter().partition(|one| scope != Scope::Quick || one.build_time < limit))
    }

    /// Takes the lock of builds; false if another server has it and the scope does not wait. SQLite needs
    /// no lock: a build is one transaction.
    async fn lock(&self, scope: Scope) -> Result<bool, DbErr> {
        if self.dialect == Dialect::Sqlite {
            return Ok(true);
        }
        let (start, mut is_logged) = (Instant::now(), false);
        while !try_lock(&self.connection, Lock::Indexes).await? {
            let is_long = start.elapsed() >= QUICK_LOCK_WAIT;
            if is_long && scope == Scope::Quick {
                return Ok(false);
            }
            if is_long && !is_logged {
                tracing::info!("another server builds indexes; waiting until it has finished");
                is_logged = true;
            }
            sleep(LOCK_POLL).await;
        }
        Ok(true)
    }

    async fn set_limits(&self, scope: Scope) -> Result<(), DbErr> {
        match self.dialect {
            Dialect::Sqlite => {}
            Dialect::Postgres => {
                let seconds = if scope == Scope::Quick { QUICK_SECONDS } else { 0 };
                let sql = format!("SET statement_timeout = '{seconds}s'; SET lock_timeout = 0");
                self.connection.execute_unprepared(&sql).await?;
            }
            Dialect::MySql => {
                let sql = format!("SET SESSION lock_wait_timeout = {MYSQL_LOCK_SECONDS}");
                self.connection.execute_unprepared(&sql).await?;
                // Only MariaDB has this limit for such a statement.
                let sql = "SET SESSION max_statement_time = 0";
                if let Err(error) = self.connection.execute_unprepared(sql).await {
                    tracing::debug!(%error, "this server has no time limit for a build");
                }
            }
        }
        Ok(())
    }

    /// Builds an index; false if the scope skips it.
    async fn build_one(&self, pending: PendingIndex, scope: Scope) -> Result<bool, DbErr> {
        let (index, start) = (pending.index.name, Instant::now());
        if self.is_galera && scope == Scope::Online {
            return Ok(false);
        }
        if pending.is_invalid {
            tracing::warn!(index, "an interrupted build left an invalid index; building it again");
        }
        // An empty table takes no time.
        if pending.rows > 0 {
            tracing::info!(
                index,
                table = pending.index.table.name(),
                rows = pending.rows,
                expected_seconds = pending.build_time.as_secs_f64(),
                blocks_writers = self.dialect == Dialect::Sqlite || self.is_galera,
                "building an index",
            );
        }
        let (mut online, mut attempt) = (true, 1);
        while let Err(error) = self.watch(pending, self.create(pending, online)).await {
            match (Fault::of(&error), scope) {
                (Fault::Exists, _) => break,
                (Fault::Busy | Fault::Stopped, Scope::Quick) => {
                    tracing::warn!(index, %error, "the index cannot be built now; starting without it");
                    return Ok(false);
                }
                (Fault::Refused, Scope::Online) => return Ok(false),
                (Fault::Refused, _) if online => {
                    tracing::warn!(
                        index,
                        "the database refuses to build this index online; the gateway's writes wait \
                         until it is built"
                    );
                    online = false;
                }
                (Fault::Busy, _) if attempt < MAX_ATTEMPTS => {
                    tracing::warn!(
                        index,
                        %error,
                        "another transaction locks the table; retrying in 5 seconds"
                    );
                    attempt += 1;
                    sleep(RETRY_PAUSE).await;
                }
                (Fault::Stopped, _) => {
                    let what =
                        format!("the build of {index} was cancelled in the database: {error}");
                    return Err(DbErr::Custom(what));
                }
                _ => return Err(error),
            }
        }
        if pending.rows > 0 {
            tracing::info!(index, seconds = start.elapsed().as_secs_f64(), "built an index");
        }
        if self.dialect == Dialect::Sqlite {
            sleep(start.elapsed().min(MAX_PAUSE)).await;
        }
        Ok(true)
    }

    async fn create(&self, pending: PendingIndex, online: bool) -> Result<(), DbErr> {
        if self.dialect == Dialect::Postgres {
            // An earlier attempt may have failed.
            let how = if online { "CONCURRENTLY IF EXISTS" } else { "IF EXISTS" };
            let sql = format!("DROP INDEX {how} {}", pending.index.name);
            self.connection.execute_unprepared(&sql).await?;
        }
        let sql = pending.index.create_sql(self.dialect, online);
        self.connection.execute_unprepared(&sql).await.map(drop)
    }

    /// Logs the progress of a build every 5 seconds.
    async fn watch(
        &self,
        pending: PendingIndex,
        build: impl Future<Output = Result<(), DbErr>>,
    ) -> Result<(), DbErr> {
        let mut build = pin!(build);
        let start = Instant::now();
        let mut ticks = interval_at(start + PROGRESS_INTERVAL, PROGRESS_INTERVAL);
        loop {
            tokio::select! {
                built = &mut build => return built,
                _ = ticks.tick() => {}
            }
            let phase = self.phase().await;
            tracing::info!(
                index = pending.index.name,
                phase,
                seconds = start.elapsed().as_secs(),
                expected_seconds = pending.build_time.as_secs_f64(),
                "an index is under construction",
            );
        }
    }

    /// The progress that PostgreSQL reports; None for the other databases.
    async fn phase(&self) -> Option<String> {
        if self.dialect != Dialect::Postgres {
            return None;
        }
        let sql = format!(
            "SELECT CONCAT(phase, CASE WHEN current_locker_pid > 0 \
             THEN CONCAT(' (process ', current_locker_pid, ')') \
             WHEN tuples_total > 0 THEN CONCAT(', ', 100 * tuples_done / tuples_total, ' %') \
             WHEN blocks_total > 0 THEN CONCAT(', ', 100 * blocks_done / blocks_total, ' %') END) \
             FROM pg_stat_progress_create_index WHERE pid = {}",
            self.session.id()
        );
        let other = connect(self.config, Access::Read).await.ok()?;
        let phase = index::texts(&other, &sql).await;
        // It only read.
        let _ = other.close().await;
        phase.ok()?.pop()
    }

    /// Stops the running build. The next build drops the invalid index that PostgreSQL leaves.
    async fn stop(self) {
        let stop = async {
            if self.dialect == Dialect::Sqlite {
                self.session.stop();
            } else {
                let control =
                    connect_session(self.config, &self.url, Access::Control, None, true).await?;
                self.session.end(&control).await?;
                control.close().await?;
            }
            self.connection.close().await
        };
        match timeout(STOP_TIMEOUT, stop).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the build of an index could not be stopped"),
            Err(_) => tracing::warn!("the build of an index did not stop in time"),
        }
    }
}

/// Why a build failed, as far as the next attempt depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Another transaction locks the table.
    Busy,
    /// The database does not support an online build for the table.
    Refused,
    /// Cancelled by the time limit of the statement or by an operator.
    Stopped,
    /// Another program built it.
    Exists,
    Other,
}

impl Fault {
    fn of(error: &DbErr) -> Self {
        let (DbErr::Exec(RuntimeErr::SqlxError(source))
        | DbErr::Query(RuntimeErr::SqlxError(source))) = error
        else {
            return Self::Other;
        };
        let SqlxError::Database(source) = source.as_ref() else { return Self::Other };
        let code = source.code().unwrap_or_default();
        if source.try_downcast_ref::<SqlxSqliteError>().is_some() {
            return match code.parse::<u32>().unwrap_or(0) & 0xff {
                5 | 6 => Self::Busy,
                _ => Self::Other,
            };
        }
        if let Some(source) = source.try_downcast_ref::<SqlxMySqlError>() {
            return match source.number() {
                1061 => Self::Exists,
                // A lock timeout; a deadlock.
                1205 | 1213 => Self::Busy,
                1845 | 1846 => Self::Refused,
                1317 | 1969 | 3024 => Self::Stopped,
                _ => Self::Other,
            };
        }
        match &*code {
            "42P07" => Self::Exists,
            "55P03" | "40P01" => Self::Busy,
            "0A000" => Self::Refused,
            "57014" => Self::Stopped,
            _ => Self::Other,
        }
    }
}
