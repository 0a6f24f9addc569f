//! The connections that read, and those that write. Each is a pool of one connection, so that the session
//! of each statement is known and can be ended when the request is dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::{Sqlite, SqliteConnection};
use sea_orm::{ConnAcquireErr, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, RuntimeErr};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

use super::cancel::Session;
use super::connect::{Access, Tracked, connect_session, is_sqlite};
use super::fair_queue::{Claim, FairQueue, Permit, QueueError};
use super::hosts::Hosts;
use super::pool::PoolState;
use super::transaction::ROLLBACK_TIMEOUT;
use crate::config::DatabaseConfig;
use crate::error::Error;
use crate::observe::RequestMarks;

/// Time limit for the database to stop a statement, and for connections to close.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);

/// Pause after a connection could not be replaced.
const REPLACE_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Connections {
    options: Options,
    backend: DbBackend,
    /// Opened to end a session, and closed soon after; None for SQLite. With several hosts, each session has
    /// its own.
    control: Option<DatabaseConnection>,
    /// The longest unused first: sqlx pings a connection after each use, which takes some time.
    free: Mutex<VecDeque<Slot>>,
    count: usize,
    /// One permit for each free connection.
    queue: Arc<FairQueue>,
    /// Connections that one request may hold.
    per_request: usize,
}

#[derive(Clone, Debug)]
struct Options {
    config: DatabaseConfig,
    hosts: Arc<Hosts>,
    access: Access,
    statement_limit: Option<Duration>,
}

#[derive(Debug)]
struct Slot {
    connection: DatabaseConnection,
    session: Session,
    /// The URL of its host.
    url: String,
    /// SQLite's connection while it is outside of its pool, which is empty meanwhile.
    taken: Option<PoolConnection<Sqlite>>,
}

impl Connections {
    /// Opens the first connection, unless `lazy`, to detect errors of the database. The others open at
    /// their first use.
    pub(super) async fn open(
        config: &DatabaseConfig,
        hosts: &Arc<Hosts>,
        access: Access,
        statement_limit: Option<Duration>,
        lazy: bool,
    ) -> Result<Self, DbErr> {
        let (config, hosts) = (config.clone(), hosts.clone());
        let options = Options { config, hosts, access, statement_limit };
        let config = &options.config;
        let single = access == Access::Write && is_sqlite(config.database_url.expose());
        let count = match access {
            Access::Probe => 1,
            _ if single => 1,
            _ => config.database_connections as usize,
        };
        let mut slots = VecDeque::new();
        for index in 0..count {
            slots.push_back(options.open(lazy || index > 0).await?);
        }
        let control = match is_sqlite(config.database_url.expose()) {
            true => None,
            false => {
                let url = options.hosts.current();
                Some(connect_session(config, &url, Access::Control, None, true).await?)
            }
        };
        let seconds_per_minute = config.max_database_seconds_per_minute;
        Ok(Self {
            options,
            backend: slots
                .front()
                .map_or(DbBackend::Sqlite, |slot| slot.connection.get_database_backend()),
            control,
            count,
            queue: FairQueue::new(
                count,
                // The last connection is reserved for cheap statements.
                (count - 1).max(1),
                seconds_per_minute,
            ),
            per_request: (count / 2).max(1),
            free: Mutex::new(slots),
        })
    }

    pub(super) fn config(&self) -> &DatabaseConfig {
        &self.options.config
    }

    pub(super) fn backend(&self) -> DbBackend {
        self.backend
    }

    /// A connection for one statement or transaction. A request waits without limit for connections that
    /// it holds itself, then up to `--database-wait-seconds` for those of other requests.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Lease, QueueError> {
        let claim = self.claim().await?;
        let wait = Duration::from_secs(self.options.config.database_wait_seconds);
        let permit = self.queue.acquire(claim, Instant::now() + wait).await?;
        let mut slot = self.free().pop_front().ok_or(QueueError::Closed)?;
        if slot.url != self.options.hosts.current() {
            slot = self.move_to_current_host(slot).await;
        }
        Ok(Lease { connections: self.clone(), held: Some((slot, permit)), finished: false })
    }

    /// The claim of the request that this task serves, or of the server itself.
    async fn claim(&self) -> Result<Claim, QueueError> {
        let Some(request) = RequestMarks::current() else { return Ok(Claim::default()) };
        let mut claim =
            Claim { caller: request.share().cloned(), heavy: request.is_heavy(), of_request: None };
        // Connections that write are not counted: a request may read while it holds one.
        if self.options.access == Access::Read {
            let connections = request.connections(self.per_request).clone();
            claim.of_request =
                Some(connections.acquire_owned().await.map_err(|_| QueueError::Closed)?);
        }
        Ok(claim)
    }

    /// Replaces a connection to a host that is not used any more. Boxed for the compiler: the futures of
    /// connecting are deeply nested.
    fn move_to_current_host(&self, slot: Slot) -> BoxFuture<'_, Slot> {
        let moving = async move {
            match self.options.open(true).await {
                Ok(moved) => {
                    tokio::spawn(async move {
                        // The host may not answer.
                        let _ = timeout(STOP_TIMEOUT, slot.connection.close_by_ref()).await;
                    });
                    moved
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to another host cannot be prepared");
                    slot
                }
            }
        };
        moving.boxed()
    }

    fn free(&self) -> MutexGuard<'_, VecDeque<Slot>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, (slot, permit): Held) {
        self.free().push_back(slot);
        drop(permit);
    }

    /// Stops the statement of a connection and returns a usable connection. Its permit is held until then,
    /// so there are never more connections than configured. A connection that may be in a transaction is
    /// always replaced: a ping cannot detect a transaction.
    async fn recover(&self, mut slot: Slot) -> Slot {
        slot.return_taken();
        match &self.control {
            Some(control) => {
                let own = self.options.control(&slot).await;
                let control = own.as_ref().unwrap_or(control);
                match timeout(STOP_TIMEOUT, slot.session.end(control)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "a statement could not be stopped"),
                    Err(_) => tracing::warn!("a statement could not be stopped"),
                }
                // The old connections are not used again, also if closing them fails.
                let _ = timeout(STOP_TIMEOUT, slot.connection.close_by_ref()).await;
                if let Some(own) = own {
                    let _ = timeout(STOP_TIMEOUT, own.close()).await;
                }
            }
            None if self.options.access != Access::Write => {
                slot.session.stop();
                // The ping waits for the end of the statement.
                let stopped = timeout(STOP_TIMEOUT, slot.connection.ping()).await;
                slot.session.resume();
                if stopped.is_ok_and(|answer| answer.is_ok()) {
                    return slot;
                }
                let _ = timeout(STOP_TIMEOUT, slot.connection.close_by_ref()).await;
            }
            // SQLite's writer keeps the lock of the file until it is closed, and its statement runs to the
            // end. A second writer would wait for it.
            None => {
                let _ = slot.connection.close_by_ref().await;
            }
        }
        self.replace().await
    }

    /// A new connection, which opens at its first use.
    async fn replace(&self) -> Slot {
        loop {
            // Another host may have taken over.
            while let Err(error) = self.options.hosts.find().await {
                tracing::debug!(%error, "no database host can be used; retrying");
                sleep(REPLACE_PAUSE).await;
            }
            match self.options.open(true).await {
                Ok(slot) => return slot,
                Err(error) => tracing::warn!(%error, "connection could not be replaced; retrying"),
            }
            sleep(REPLACE_PAUSE).await;
        }
    }

    /// The number of connections. A connection in use counts as open.
    pub(super) fn state(&self, name: impl Into<String>) -> PoolState {
        let free = self.free();
        let idle = free.iter().filter(|slot| slot.is_open()).count();
        let most = self.count;
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let open = number(most - free.len().min(most) + idle);
        PoolState { name: name.into(), most: number(most), open, idle: number(idle) }
    }

    /// Closes the connections, except for those that do not answer.
    pub(super) async fn close(&self) -> Result<(), DbErr> {
        // A closed queue grants nothing, so free connections stay free.
        self.queue.close();
        let mut slots = std::mem::take(&mut *self.free());
        slots.iter_mut().for_each(Slot::return_taken);
        let close = async {
            for slot in &slots {
                slot.connection.close_by_ref().await?;
            }
            match &self.control {
                Some(control) => control.close_by_ref().await,
                None => Ok(()),
            }
        };
        match self.control {
            Some(_) => timeout(STOP_TIMEOUT, close).await.unwrap_or(Ok(())),
            // SQLite runs a checkpoint, without a time limit.
            None => close.await,
        }
    }
}

impl Options {
    /// Opens a connection to the current host or, unless `lazy`, to the first one that can be used.
    async fn open(&self, lazy: bool) -> Result<Slot, DbErr> {
        let url = match lazy {
            true => self.hosts.current(),
            false => self.hosts.find().await?,
        };
        let session = Session::default();
        let (limit, check) = (self.statement_limit, self.hosts.check());
        let tracked = Some(Tracked { session: &session, limit, check });
        let connection = connect_session(&self.config, &url, self.access, tracked, lazy).await?;
        Ok(Slot { connection, session, url, taken: None })
    }

    /// With several hosts, a connection to the host of a session, to end it.
    async fn control(&self, slot: &Slot) -> Option<DatabaseConnection> {
        if !self.hosts.are_several() {
            return None;
        }
        connect_session(&self.config, &slot.url, Access::Control, None, true).await.ok()
    }
}

impl Slot {
    /// Returns the taken connection to its pool.
    fn return_taken(&mut self) {
        self.taken = None;
    }

    /// Whether its connection is open: from its first use on.
    fn is_open(&self) -> bool {
        let connection = &self.connection;
        let size = match connection.get_database_backend() {
            DbBackend::Postgres => connection.get_postgres_connection_pool().size(),
            DbBackend::MySql => connection.get_mysql_connection_pool().size(),
            _ => connection.get_sqlite_connection_pool().size(),
        };
        size > 0
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Without a runtime, a pool cannot take a connection back.
        if let Some(taken) = self.taken.take()
            && Handle::try_current().is_err()
        {
            drop(taken.leak());
        }
    }
}

type Held = (Slot, Permit);

/// A connection in use. If it is dropped before [`Lease::finish`], its statement is stopped.
pub(super) struct Lease {
    connections: Arc<Connections>,
    held: Option<Held>,
    finished: bool,
}

impl Lease {
    pub(super) fn connection(&mut self) -> Result<&DatabaseConnection, DbErr> {
        let slot = self.slot()?;
        slot.return_taken();
        Ok(&slot.connection)
    }

    /// SQLite's raw connection, for statements that commit automatically. It stays outside of its pool
    /// between leases: the pool pings each returned connection, which would be one more round trip to
    /// SQLite's thread for every group of calls.
    pub(super) async fn sqlite(&mut self) -> Result<&mut SqliteConnection, DbErr> {
        let slot = self.slot()?;
        let taken = match slot.taken.take().filter(|_| slot.session.is_of_its_file()) {
            Some(taken) => taken,
            None => {
                let pool = slot.connection.get_sqlite_connection_pool();
                pool.acquire()
                    .await
                    .map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))?
            }
        };
        Ok(slot.taken.insert(taken))
    }

    fn slot(&mut self) -> Result<&mut Slot, DbErr> {
        let slot = self.held.as_mut().map(|(slot, _)| slot);
        slot.ok_or(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed))
    }

    /// Marks the connection as reusable. Only for a connection outside of any transaction: after reading,
    /// or after the database confirmed a COMMIT or a ROLLBACK.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    /// The same after a statement outside of any transaction. With several hosts, the connection is replaced
    /// if it or its host failed.
    pub(super) fn finish_after<T>(&mut self, done: &Result<T, DbErr>) {
        match done {
            Err(error) if self.leaves_host(&error.clone().into()) => {}
            _ => self.finish(),
        }
    }

    /// Whether another host may have taken over after this error.
    pub(super) fn leaves_host(&self, error: &Error) -> bool {
        let leaves = self.connections.options.hosts.are_several()
            && matches!(error, Error::DatabaseUnavailable(_))
            && !error.is_conflict()
            && error.unconnected_server().is_none();
        if leaves
            && error.has_lost_connection()
            && let Some((slot, _)) = &self.held
        {
            slot.session.forget();
        }
        leaves
    }

    /// Cleans up after a refused single statement. The connection is used again only if the database
    /// confirms a ROLLBACK; SQLite refuses one outside of a transaction.
    pub(super) async fn roll_back(mut self) {
        if self.connections.backend == DbBackend::Sqlite {
            return;
        }
        let Ok(connection) = self.connection() else { return };
        let rolled_back =
            timeout(ROLLBACK_TIMEOUT, connection.execute_unprepared("ROLLBACK")).await;
        self.finished = rolled_back.is_ok_and(|answer| answer.is_ok());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some((slot, mut permit)) = self.held.take() else { return };
        let connections = self.connections.clone();
        if self.finished {
            connections.give_back((slot, permit));
        } else if let Ok(runtime) = Handle::try_current() {
            // The request may send the statement to another server meanwhile.
            permit.leave_request();
            runtime.spawn(async move {
                let slot = connections.recover(slot).await;
                connections.give_back((slot, permit));
            });
        }
    }
}
