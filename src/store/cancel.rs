//! Cancels statements of dropped requests: after a timeout, or when the client has disconnected.
//! Otherwise the statement would keep running, and its connection would be unusable until its end.
//!
//! - SQLite calls a progress handler every [`SQLITE_INSTRUCTIONS`] instructions.
//! - On PostgreSQL and MySQL, another connection ends the session. Cancelling only the statement is not
//!   enough: on MySQL, sqlx can read parts of the result of a dropped statement as the result of the
//!   next one, and a statement between preparation and start cannot be cancelled. If no other connection
//!   is available, a time limit of the session ends the statement.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use sea_orm::sqlx::mysql::MySqlConnection;
use sea_orm::sqlx::postgres::PgConnection;
use sea_orm::sqlx::{AssertSqlSafe, Connection, query, query_as, query_scalar};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, SqlxError};

use super::connect::{Access, Tracked};
use super::sqlite_file::{Identity, SqliteFile};

/// Instructions of SQLite between two calls of the progress handler: about 0.1 ms.
const SQLITE_INSTRUCTIONS: i32 = 10_000;

/// The session of one connection in the database.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    /// PostgreSQL's process id or MySQL's connection id, of the latest connection.
    id: Arc<AtomicU64>,
    /// Stops the running statement of SQLite.
    stopping: Arc<AtomicBool>,
    /// SQLite's file, and the identity of the file that the connection opened.
    file: OnceLock<SqliteFile>,
    opened: Arc<Mutex<Option<Identity>>>,
}

impl Session {
    /// Makes each connection of `options` this session. Its statements end after a limit, if the database
    /// supports one.
    pub(super) fn attach(
        &self,
        options: &mut ConnectOptions,
        access: Access,
        tracked: &Tracked<'_>,
    ) {
        let (limit, check) = (tracked.limit, tracked.check);
        // The pool closes a connection if sqlx still counts a transaction on it: the next transaction
        // would be a savepoint, and its COMMIT would store nothing.
        let (stopping, opened) = (self.stopping.clone(), self.opened.clone());
        if let Some(file) = SqliteFile::of(options.get_url()) {
            let opened = opened.clone();
            let _ = self.file.set(file.clone());
            options.map_sqlx_sqlite_before_acquire(move |connection, _| {
                let usable = file.identity() == *lock(&opened) && !connection.is_in_transaction();
                Box::pin(std::future::ready(Ok(usable)))
            });
        }
        options.map_sqlx_postgres_before_acquire(|connection, _| {
            Box::pin(std::future::ready(Ok(!connection.is_in_transaction())))
        });
        options.map_sqlx_mysql_before_acquire(|connection, _| {
            Box::pin(std::future::ready(Ok(!connection.is_in_transaction())))
        });
        let file = SqliteFile::of(options.get_url());
        options.map_sqlx_sqlite_pool_opts(move |pool| {
            let (stopping, opened, file) = (stopping.clone(), opened.clone(), file.clone());
            pool.after_connect(move |connection, _| {
                let stopping = stopping.clone();
                *lock(&opened) = file.as_ref().and_then(SqliteFile::identity);
                Box::pin(async move {
                    let mut handle = connection.lock_handle().await?;
                    handle.set_progress_handler(SQLITE_INSTRUCTIONS, move || {
                        !stopping.load(Ordering::Relaxed)
                    });
                    Ok(())
                })
            })
        });
        let id = self.id.clone();
        options.map_sqlx_postgres_pool_opts(move |pool| {
            let id = id.clone();
            pool.after_connect(move |connection, _| {
                let id = id.clone();
                Box::pin(async move {
                    if let Some(check) = check {
                        let fits: i32 = query_scalar(check).fetch_one(&mut *connection).await?;
                        fits_target(fits.into())?;
                    }
                    id.store(begin_postgres(connection, access, limit).await?, Ordering::Relaxed);
                    Ok(())
                })
            })
        });
        let id = self.id.clone();
        options.map_sqlx_mysql_pool_opts(move |pool| {
            let id = id.clone();
            pool.after_connect(move |connection, _| {
                let id = id.clone();
                Box::pin(async move {
                    if let Some(check) = check {
                        fits_target(query_scalar(check).fetch_one(&mut *connection).await?)?;
                    }
                    id.store(begin_mysql(connection, limit).await?, Ordering::Relaxed);
                    Ok(())
                })
            })
        });
    }

    /// PostgreSQL's process id, MySQL's connection id.
    pub(super) fn id(&self) -> u64 {
        self.id.load(Ordering::Relaxed)
    }

    /// Forgets a session that has ended with its connection.
    pub(super) fn forget(&self) {
        self.id.store(0, Ordering::Relaxed);
    }

    /// Whether its connection is to the current file at the path.
    pub(super) fn is_of_its_file(&self) -> bool {
        self.file.get().is_none_or(|file| file.identity() == *lock(&self.opened))
    }

    /// Stops the running statement of SQLite, and every further one until `resume`.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn resume(&self) {
        self.stopping.store(false, Ordering::Relaxed);
    }

    /// Ends the session on PostgreSQL or MySQL; `control` is another connection of the same user.
    pub(super) async fn end(&self, control: &DatabaseConnection) -> Result<(), DbErr> {
        // A number from the server; MySQL does not bind values here.
        let id = self.id();
        let statement = match control.get_database_backend() {
            DbBackend::Postgres => format!("SELECT pg_terminate_backend({id})"),
            _ => format!("KILL CONNECTION {id}"),
        };
        // Before the first connection there is nothing to end.
        if id > 0 {
            control.execute_unprepared(&statement).await?;
        }
        Ok(())
    }
}

fn fits_target(fits: i64) -> Result<(), SqlxError> {
    match fits {
        1 => Ok(()),
        _ => Err(SqlxError::Protocol(
            "the host no longer has the wanted target_session_attrs".into(),
        )),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn begin_postgres(
    connection: &mut PgConnection,
    access: Access,
    limit: Option<Duration>,
) -> Result<u64, SqlxError> {
    if let Some(limit) = limit {
        query("SELECT set_config('statement_timeout', $1, false)")
            .bind(limit.as_millis().to_string())
            .execute(&mut *connection)
            .await?;
    }
    if access == Access::Write {
        // A cached plan fits the tables at its time: a plan for empty tables scans them, also when they
        // have a hundred thousand keys, until ANALYZE runs.
        let set = query("SET plan_cache_mode = force_custom_plan").execute(&mut *connection);
        if let Err(error) = set.await {
            tracing::debug!(%error, "this PostgreSQL does not support plan_cache_mode");
        }
    }
    let id: i32 = query_scalar("SELECT pg_backend_pid()").fetch_one(connection).await?;
    Ok(u64::from(id.unsigned_abs()))
}

async fn begin_mysql(
    connection: &mut MySqlConnection,
    limit: Option<Duration>,
) -> Result<u64, SqlxError> {
    let (id, version): (u64, String) =
        query_as("SELECT CAST(CONNECTION_ID() AS UNSIGNED), CAST(VERSION() AS CHAR)")
            .fetch_one(&mut *connection)
            .await?;
    // With other defaults of the server, a single statement would not be committed.
    query("SET SESSION autocommit = 1, SESSION completion_type = 'NO_CHAIN'")
        .execute(&mut *connection)
        .await?;
    if let Some(limit) = limit {
        let set = if version.contains("MariaDB") {
            format!("SET SESSION max_statement_time = {}", limit.as_secs())
        } else {
            format!("SET SESSION max_execution_time = {}", limit.as_millis())
        };
        // Older servers have no such limit, and work without it.
        if let Err(error) = query(AssertSqlSafe(set)).execute(connection).await {
            tracing::debug!(%error, "this server has no time limit for statements");
        }
    }
    Ok(id)
}
