//! Stops statements that nobody waits for any more. A request that is given up, or whose client
//! went away, is dropped where it stands; its statement would run on in the database, and its
//! connection would be of no use until then.
//!
//! - SQLite asks a progress handler now and then whether to go on.
//! - PostgreSQL and MySQL are told by another connection to end the session. Its statement alone
//!   will not do: sqlx does not know where the answer to a dropped statement begins and ends on a
//!   connection to MySQL, and takes parts of it for the answer to the next; nor can a statement be
//!   stopped in the gap between its preparation and its start. What they cannot be told, since no
//!   other connection can be had, ends by a limit of the session.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use sea_orm::sqlx::mysql::MySqlConnection;
use sea_orm::sqlx::postgres::PgConnection;
use sea_orm::sqlx::{AssertSqlSafe, query, query_as, query_scalar};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, SqlxError};

use super::connect::Access;
use super::sqlite_file::{Identity, SqliteFile};

/// SQLite asks after so many of its instructions: every tenth of a millisecond or so.
const SQLITE_INSTRUCTIONS: i32 = 10_000;

/// One connection as its database knows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    /// PostgreSQL's process id, MySQL's connection id; that of the last connection that was made.
    id: Arc<AtomicU64>,
    /// SQLite's running statement is to stop.
    stopping: Arc<AtomicBool>,
    /// SQLite's file, and the one that the connection opened.
    file: OnceLock<SqliteFile>,
    opened: Arc<Mutex<Option<Identity>>>,
}

impl Session {
    /// Has each connection that `options` make become this session, whose statements end after
    /// `limit` where the database knows such a limit.
    pub(super) fn attach(
        &self,
        options: &mut ConnectOptions,
        access: Access,
        limit: Option<Duration>,
    ) {
        let (stopping, opened) = (self.stopping.clone(), self.opened.clone());
        if let Some(file) = SqliteFile::of(options.get_url()) {
            let opened = opened.clone();
            let _ = self.file.set(file.clone());
            options.map_sqlx_sqlite_before_acquire(move |_, _| {
                let same = file.identity() == *lock(&opened);
                Box::pin(std::future::ready(Ok(same)))
            });
        }
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

    /// Whether its connection is to the file that stands there now.
    pub(super) fn is_of_its_file(&self) -> bool {
        self.file.get().is_none_or(|file| file.identity() == *lock(&self.opened))
    }

    /// Has SQLite stop the statement that runs, and every other until `resume`.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn resume(&self) {
        self.stopping.store(false, Ordering::Relaxed);
    }

    /// Ends the session on PostgreSQL or MySQL; `control` is another one of the same user.
    pub(super) async fn end(&self, control: &DatabaseConnection) -> Result<(), DbErr> {
        // A number that the server gave; MySQL binds no value here.
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
        // A plan that is kept was made for tables as they were then: empty ones are read from end to
        // end, and still are with a hundred thousand keys in them, until someone analyzes them.
        let set = query("SET plan_cache_mode = force_custom_plan").execute(&mut *connection);
        if let Err(error) = set.await {
            tracing::debug!(%error, "this PostgreSQL does not let plans be made anew");
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
    if let Some(limit) = limit {
        let set = if version.contains("MariaDB") {
            format!("SET SESSION max_statement_time = {}", limit.as_secs())
        } else {
            format!("SET SESSION max_execution_time = {}", limit.as_millis())
        };
        // Servers of another age have no such limit, and serve as well without it.
        if let Err(error) = query(AssertSqlSafe(set)).execute(connection).await {
            tracing::debug!(%error, "the statements of a session cannot be limited");
        }
    }
    Ok(id)
}
