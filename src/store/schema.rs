//! Updates the schema: the steps of `migration`, then the indexes on the gateway's tables.

use std::time::Duration;

use futures_util::FutureExt;
use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};
use tokio::time::{Instant, sleep};

use super::citus;
use super::connect::{Access, connect};
use super::dialect::Dialect;
use super::engine::{self, Engine};
use super::index::{self, PendingIndex};
use super::index_build::{self, Scope};
use super::origin;
use super::partition::tables::{self as partitions, NewPartitions};
use crate::config::DatabaseConfig;
use crate::domain::table::LogTable;
use crate::error::{Error, Result};

/// The pause between two attempts to take a lock.
const LOCK_POLL: Duration = Duration::from_millis(100);
/// Steps are quick: a server that keeps their lock for longer is stuck.
const STEPS_TIMEOUT: Duration = Duration::from_secs(600);
/// Attempts while servers change the schema on other nodes: with each, at least one more step is applied.
const MOST_ATTEMPTS: u32 = 50;
/// A lock that is waited for longer belongs to a long transaction.
const REPEAT_TIME: Duration = Duration::from_secs(60);

/// How missing tables of a gateway are created.
#[derive(Clone, Copy, Debug)]
pub enum NewTables {
    Plain,
    /// In PostgreSQL, with a partition for each month.
    Partitions(NewPartitions),
    /// In Citus, with shards on its workers.
    Shards,
}

/// Creates all missing tables and indexes.
pub async fn migrate(config: &DatabaseConfig) -> Result<()> {
    migrate_until(config, NewTables::Plain, std::future::pending()).await.map(drop)
}

/// Creates all missing tables and indexes until `stop` ends; returns whether all are created.
pub async fn migrate_until(
    config: &DatabaseConfig,
    tables: NewTables,
    stop: impl Future<Output = ()>,
) -> Result<bool> {
    run_steps(config, tables).await?;
    let stop = stop.shared();
    Ok(repeat(|| index_build::build(config, Scope::All, stop.clone())).await?.is_some())
}

/// Creates missing tables and the indexes that are quick to build; returns the other missing indexes.
pub(super) async fn prepare(config: &DatabaseConfig) -> Result<Vec<PendingIndex>> {
    run_steps(config, NewTables::Plain).await?;
    let build = || index_build::build(config, Scope::Quick, std::future::pending());
    Ok(repeat(build).await?.unwrap_or_default())
}

/// Runs the missing steps. Without missing steps it takes no lock: an index of SQLite may be under
/// construction.
async fn run_steps(config: &DatabaseConfig, tables: NewTables) -> Result<()> {
    let connection = connect(config, Access::Migrate).await?;
    let done = async {
        let engine = Engine::find(&connection).await?;
        engine::refuse(engine)?;
        let pending = repeat(|| Migrator::get_pending_migrations_read_only(&connection));
        let is_incomplete = !pending.await?.is_empty()
            || engine == Engine::Citus && !citus::are_tables_managed(&connection).await?;
        if is_incomplete || !matches!(tables, NewTables::Plain) {
            run_steps_locked(&connection, engine, tables).await?;
        }
        Ok(())
    };
    let done = done.await;
    // After a failure the lock ends with its connection, and SQLite rolls its transaction back.
    connection.close().await?;
    done
}

async fn run_steps_locked(
    connection: &DatabaseConnection,
    engine: Engine,
    tables: NewTables,
) -> Result<()> {
    let dialect = Dialect::of(connection.get_database_backend());
    if dialect == Dialect::Sqlite {
        connection.execute_unprepared("BEGIN IMMEDIATE").await?;
    } else {
        let start = Instant::now();
        while !try_lock(connection, Lock::Steps).await? {
            if start.elapsed() > STEPS_TIMEOUT {
                let error = "another server has been changing the schema for 10 minutes; stop it, \
                             or end its session in the database";
                return Err(DbErr::Custom(error.to_owned()).into());
            }
            sleep(LOCK_POLL).await;
        }
    }
    let mut created = repeat(|| origin::missing_tables(connection)).await?;
    match tables {
        NewTables::Plain => {}
        NewTables::Partitions(new) => partitions::create_tables(connection, &created, new).await?,
        NewTables::Shards => citus::create_tables(connection, &created).await?,
    }
    if !matches!(tables, NewTables::Plain) {
        // Also those that an interrupted migration has created.
        created = LogTable::ALL.to_vec();
    }
    repeat(|| apply_steps(connection, &created)).await?;
    if engine == Engine::Citus {
        match (citus::manage_tables(connection).await, tables) {
            (Ok(()), _) => {}
            (Err(error), NewTables::Shards) => return Err(error.into()),
            // A server may start without the rights.
            (Err(error), _) => {
                tracing::warn!(%error, "Citus does not manage all tables that it needs to")
            }
        }
    }
    match dialect {
        Dialect::Sqlite => connection.execute_unprepared("COMMIT").await.map(drop)?,
        Dialect::Postgres | Dialect::MySql => unlock(connection, Lock::Steps).await?,
    }
    Ok(())
}

/// Runs `change` again while it fails because a server changes the schema on another node of Galera at the same
/// time: its statements end those that use the same table here, reading ones too.
async fn repeat<T, E, F>(change: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T, E>>,
    Error: From<E>,
{
    let (start, mut attempt) = (Instant::now(), 1);
    loop {
        let may_repeat = attempt < MOST_ATTEMPTS && start.elapsed() < REPEAT_TIME;
        match change().await.map_err(Error::from) {
            Err(error) if may_repeat && error.is_concurrent_change() => {
                tracing::info!(attempt, %error, "another node changes the schema; repeating the change here");
                attempt += 1;
                sleep(LOCK_POLL.mul_f64(0.5 + rand::random::<f64>())).await;
            }
            done => return done,
        }
    }
}

async fn apply_steps(connection: &DatabaseConnection, created: &[LogTable]) -> Result<(), DbErr> {
    Migrator::up(connection, None).await?;
    origin::record_created(connection, created).await
}

/// A lock of a session of PostgreSQL or MySQL, shared by the servers of one database. On Galera it is local to
/// a node: servers of other nodes may have it as well.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lock {
    /// Held briefly.
    Steps,
    /// Held during the builds of indexes.
    Indexes,
    /// Held while existing tables get partitions, which only PostgreSQL has.
    Conversion,
}

impl Lock {
    /// Its name in PostgreSQL, and an expression for it in MySQL.
    pub(super) fn name(self, dialect: Dialect) -> &'static str {
        match (dialect, self) {
            (Dialect::Postgres, Self::Steps) => "7163098412",
            (Dialect::Postgres, Self::Indexes) => "7163098413",
            (_, Self::Conversion) => "7163098414",
            (_, Self::Steps) => "CONCAT('callscope ', DATABASE())",
            (_, Self::Indexes) => "CONCAT('callscope indexes ', MD5(DATABASE()))",
        }
    }
}

/// Takes a lock unless another session has it, without waiting. A session of PostgreSQL that waits keeps
/// its snapshot, and the concurrent build of an index, which the holder of the lock runs, waits for the
/// end of every older snapshot.
pub(super) async fn try_lock(connection: &DatabaseConnection, lock: Lock) -> Result<bool, DbErr> {
    let dialect = Dialect::of(connection.get_database_backend());
    let name = lock.name(dialect);
    let sql = match dialect {
        Dialect::Postgres => format!("SELECT CAST(pg_try_advisory_lock({name}) AS TEXT)"),
        _ => format!("SELECT CASE GET_LOCK({name}, 0) WHEN 1 THEN 'true' ELSE 'false' END"),
    };
    Ok(index::texts(connection, &sql).await?.first().is_some_and(|taken| taken == "true"))
}

pub(super) async fn unlock(connection: &DatabaseConnection, lock: Lock) -> Result<(), DbErr> {
    let dialect = Dialect::of(connection.get_database_backend());
    let name = lock.name(dialect);
    let sql = match dialect {
        Dialect::Postgres => format!("SELECT pg_advisory_unlock({name})"),
        _ => format!("SELECT RELEASE_LOCK({name})"),
    };
    connection.execute_unprepared(&sql).await.map(drop)
}
