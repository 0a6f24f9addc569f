//! The connections that read, and those that write. Each is a pool of one, so that it is known which
//! session of the database runs a statement and whom to stop when nobody waits for it any more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::{Sqlite, SqliteConnection};
use sea_orm::{
    ConnAcquireErr, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, RuntimeErr,
};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use super::cancel::Session;
use super::connect::{Access, connect_session, is_sqlite};
use super::fair_queue::{Claim, FairQueue, NoTurn, Turn};
use super::pool::PoolState;
use super::statements::{Logged, StatementLog};
use crate::config::DatabaseConfig;
use crate::error::Result;
use crate::observe::RequestMarks;

/// How long the database may take to stop a statement, or connections to close.
const PATIENCE: Duration = Duration::from_secs(6);

#[derive(Debug)]
pub(super) struct Connections {
    options: Options,
    backend: DbBackend,
    /// Opened when a session has to be ended, and closed soon after; SQLite has none.
    control: Option<DatabaseConnection>,
    /// The longest unused first: sqlx greets a connection after each use, which takes a moment.
    free: Mutex<VecDeque<Slot>>,
    count: usize,
    /// One turn for each that is free.
    queue: Arc<FairQueue>,
    /// Connections that one request may hold.
    per_request: usize,
}

#[derive(Clone, Debug)]
struct Options {
    config: DatabaseConfig,
    access: Access,
    statement_limit: Option<Duration>,
}

#[derive(Debug)]
struct Slot {
    connection: DatabaseConnection,
    session: Session,
    /// SQLite's connection while it is out of its pool, which is empty as long.
    taken: Option<PoolConnection<Sqlite>>,
}

impl Connections {
    /// Opens the first connection, so that what is wrong with the database is known; the others
    /// open when they are needed, as the first does if it is `lazy`.
    pub(super) async fn open(
        config: &DatabaseConfig,
        access: Access,
        statement_limit: Option<Duration>,
        lazy: bool,
    ) -> Result<Self, DbErr> {
        let options = Options { config: config.clone(), access, statement_limit };
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
            false => Some(connect_session(config, Access::Control, None, true).await?),
        };
        Ok(Self {
            options,
            backend: slots
                .front()
                .map_or(DbBackend::Sqlite, |slot| slot.connection.get_database_backend()),
            control,
            count,
            queue: FairQueue::new(
                count,
                // The last connection is for cheap statements.
                (count - 1).max(1),
                config.max_database_seconds_per_minute,
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

    /// A connection for one statement or transaction. A request waits without limit for connections
    /// that it holds itself, and then for `--database-wait-seconds` for those of other requests.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Lease, NoTurn> {
        let claim = self.claim().await?;
        let wait = Duration::from_secs(self.options.config.database_wait_seconds);
        let turn = self.queue.turn(claim, Instant::now() + wait).await?;
        let slot = self.free().pop_front().ok_or(NoTurn::Closed)?;
        Ok(Lease { connections: self.clone(), held: Some((slot, turn)), finished: false })
    }

    /// The claim of the request that this task serves, or of the server itself.
    async fn claim(&self) -> Result<Claim, NoTurn> {
        let Some(request) = RequestMarks::current() else { return Ok(Claim::default()) };
        let mut claim =
            Claim { caller: request.share().cloned(), heavy: request.is_heavy(), of_request: None };
        // Not those that write: a request may read while it holds one.
        if self.options.access == Access::Read {
            let connections = request.connections(self.per_request).clone();
            claim.of_request = Some(connections.acquire_owned().await.map_err(|_| NoTurn::Closed)?);
        }
        Ok(claim)
    }

    fn free(&self) -> MutexGuard<'_, VecDeque<Slot>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, (slot, turn): Held) {
        self.free().push_back(slot);
        drop(turn);
    }

    /// Stops what a connection runs and gives one that is of use in its place. Until then its
    /// turn is held: there are never more connections than the configuration allows.
    async fn recover(&self, mut slot: Slot) -> Slot {
        slot.give_back();
        if let Some(control) = &self.control {
            match timeout(PATIENCE, slot.session.end(control)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "a statement could not be stopped"),
                Err(_) => tracing::warn!("a statement could not be stopped"),
            }
        } else {
            // A write is short, and sqlx loses count of its transactions where one is stopped.
            if self.options.access != Access::Write {
                slot.session.stop();
            }
            // Waits for its turn behind the statement.
            let stopped = timeout(PATIENCE, slot.connection.ping()).await;
            slot.session.resume();
            if stopped.is_ok_and(|answer| answer.is_ok()) {
                return slot;
            }
        }
        let Ok(replacement) = self.options.open(true).await else { return slot };
        // Whatever sqlx still does with the old connection, it does not keep it.
        let _ = timeout(PATIENCE, slot.connection.close_by_ref()).await;
        replacement
    }

    /// How many of them there are. One in use is open.
    pub(super) fn state(&self, name: &'static str) -> PoolState {
        let free = self.free();
        let idle = free.iter().filter(|slot| slot.is_open()).count();
        let most = self.count;
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let open = number(most - free.len().min(most) + idle);
        PoolState { name, most: number(most), open, idle: number(idle) }
    }

    /// Closes the connections; those that do not answer are left.
    pub(super) async fn close(&self) -> Result<(), DbErr> {
        // A closed queue grants nothing, so that what is free stays free.
        self.queue.close();
        let mut slots = std::mem::take(&mut *self.free());
        slots.iter_mut().for_each(Slot::give_back);
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
            Some(_) => timeout(PATIENCE, close).await.unwrap_or(Ok(())),
            // SQLite folds its log into the file, which takes as long as it takes.
            None => close.await,
        }
    }
}

impl Options {
    async fn open(&self, lazy: bool) -> Result<Slot, DbErr> {
        let session = Session::default();
        let tracked = Some((&session, self.statement_limit));
        let connection = connect_session(&self.config, self.access, tracked, lazy).await?;
        Ok(Slot { connection, session, taken: None })
    }
}

impl Slot {
    /// Gives its pool back what was taken out.
    fn give_back(&mut self) {
        self.taken = None;
    }

    /// Whether its connection is open, which it is from its first use on.
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
        // A pool takes nothing back where nothing runs any more.
        if let Some(taken) = self.taken.take()
            && Handle::try_current().is_err()
        {
            drop(taken.leak());
        }
    }
}

type Held = (Slot, Turn);

/// A connection in use. Dropped before its work is finished, it has the work stopped.
pub(super) struct Lease {
    connections: Arc<Connections>,
    held: Option<Held>,
    finished: bool,
}

impl Lease {
    pub(super) fn connection(&mut self) -> Result<&DatabaseConnection, DbErr> {
        let slot = self.slot()?;
        slot.give_back();
        Ok(&slot.connection)
    }

    /// SQLite's connection itself, for statements that each are a transaction. It stays out of its pool
    /// from one lease to the next: the pool greets what comes back, which is a way to SQLite's thread
    /// and back for every group of calls, in which the next one waits.
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

    /// The work has ended, well or not, and nothing is left of it.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some((slot, turn)) = self.held.take() else { return };
        let connections = self.connections.clone();
        if self.finished {
            connections.give_back((slot, turn));
        } else if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let slot = connections.recover(slot).await;
                connections.give_back((slot, turn));
            });
        }
    }
}

/// Statements that count all or not at all. Dropped before `commit`, they do not.
pub struct WriteTransaction {
    // Dropped first: it still needs its connection.
    transaction: DatabaseTransaction,
    lease: Lease,
    statements: Arc<StatementLog>,
}

impl WriteTransaction {
    pub(super) fn new(
        transaction: DatabaseTransaction,
        lease: Lease,
        statements: Arc<StatementLog>,
    ) -> Self {
        Self { transaction, lease, statements }
    }

    /// To run statements in, which are counted.
    pub(super) fn inner(&self) -> Logged<'_, DatabaseTransaction> {
        self.statements.of(&self.transaction)
    }

    /// Undoes what was done.
    pub(super) async fn rollback(self) -> Result<()> {
        let Self { transaction, mut lease, .. } = self;
        transaction.rollback().await?;
        lease.finish();
        Ok(())
    }

    pub async fn commit(self) -> Result<()> {
        let Self { transaction, mut lease, .. } = self;
        transaction.commit().await?;
        lease.finish();
        Ok(())
    }
}
