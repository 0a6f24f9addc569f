//! Write transactions: how a transaction ends, whether its connection can be reused, and which failed
//! transactions are retried.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{DatabaseTransaction, DbErr, RuntimeErr, SqlxError, TransactionSession, sqlx};
use tokio::time::{Instant, sleep, timeout};

use super::connections::Lease;
use super::statements::{Logged, StatementLog};
use crate::error::{Error, Result};

/// Time limit of a ROLLBACK.
pub(super) const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(6);

/// Attempts of a transaction with deadlocks or serialization failures.
const ATTEMPTS: u32 = 5;
/// The mean pause before the second attempt; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// No attempt starts later than this after the first one: a lock timeout of MySQL takes 50 s.
const RETRY_LIMIT: Duration = Duration::from_secs(60);

/// Why a transaction failed.
#[derive(Debug)]
pub enum Fault {
    /// Nothing of it is stored.
    Refused(Error),
    /// The COMMIT was sent and its result is unknown: all of it is stored, or nothing.
    Unknown(Error),
}

impl Fault {
    pub fn into_error(self) -> Error {
        match self {
            Self::Refused(error) | Self::Unknown(error) => error,
        }
    }
}

/// An open write transaction. Dropping it stores nothing and replaces its connection.
pub struct WriteTransaction<S = DatabaseTransaction> {
    // Dropped first, since it needs its connection.
    transaction: S,
    lease: Lease,
    statements: Arc<StatementLog>,
}

/// A transaction of PostgreSQL that can COPY; SeaORM's cannot.
pub struct PostgresTransaction(pub(super) sqlx::Transaction<'static, sqlx::Postgres>);

#[async_trait]
impl TransactionSession for PostgresTransaction {
    async fn commit(self) -> Result<(), DbErr> {
        self.0.commit().await.map_err(exec_error)
    }

    async fn rollback(self) -> Result<(), DbErr> {
        self.0.rollback().await.map_err(exec_error)
    }
}

impl WriteTransaction {
    /// The transaction for statements, which are counted.
    pub(super) fn inner(&self) -> Logged<'_, DatabaseTransaction> {
        self.statements.of(&self.transaction)
    }
}

impl WriteTransaction<PostgresTransaction> {
    /// The connection of the transaction.
    pub(super) fn connection(&mut self) -> &mut sqlx::PgConnection {
        &mut self.transaction.0
    }
}

impl<S: TransactionSession> WriteTransaction<S> {
    pub(super) fn new(transaction: S, lease: Lease, statements: Arc<StatementLog>) -> Self {
        Self { transaction, lease, statements }
    }

    /// Commits after successful work, and rolls back after any error: PostgreSQL answers the COMMIT
    /// of a failed transaction without an error.
    pub(super) async fn end<T>(self, work: Result<T>) -> Result<T, Fault> {
        match work {
            Ok(done) => self.commit().await.map(|()| done),
            // Dropped: its connection is replaced, which ends the transaction.
            Err(error) if self.lease.leaves_host(&error) => Err(Fault::Refused(error)),
            Err(error) => {
                self.rollback().await;
                Err(Fault::Refused(error))
            }
        }
    }

    /// The connection is used again only after a COMMIT that succeeded.
    async fn commit(self) -> Result<(), Fault> {
        let Self { transaction, mut lease, .. } = self;
        match transaction.commit().await.map_err(Error::from) {
            Ok(()) => {
                lease.finish();
                Ok(())
            }
            Err(error) if error.is_rolled_back() => Err(Fault::Refused(error)),
            Err(error) => Err(Fault::Unknown(error)),
        }
    }

    /// The connection is used again only if the database confirms the ROLLBACK. After some errors
    /// SQLite has already rolled back and refuses it, and sqlx still counts a transaction.
    pub(super) async fn rollback(self) {
        let Self { transaction, mut lease, .. } = self;
        match timeout(ROLLBACK_TIMEOUT, transaction.rollback()).await {
            Ok(Ok(())) => lease.finish(),
            Ok(Err(error)) => tracing::debug!(%error, "rollback failed; replacing the connection"),
            Err(_) => tracing::debug!("rollback timed out; replacing the connection"),
        }
    }
}

/// The error of a statement that is sent without SeaORM.
pub(super) fn exec_error(error: SqlxError) -> DbErr {
    DbErr::Exec(RuntimeErr::SqlxError(Arc::new(error)))
}

/// Runs a transaction again after a deadlock, a serialization failure or a lock timeout, for a limited
/// number of times. Every failed attempt is rolled back before the next one.
pub(super) async fn retry<T, F>(transaction: impl Fn() -> F) -> Result<T, Fault>
where
    F: Future<Output = Result<T, Fault>>,
{
    let first = Instant::now();
    let mut pause = FIRST_PAUSE;
    for attempt in 1..ATTEMPTS {
        match transaction().await {
            Err(Fault::Refused(error)) if error.is_conflict() && first.elapsed() < RETRY_LIMIT => {
                tracing::debug!(attempt, "transaction conflict; retrying");
            }
            ended => return ended,
        }
        // Jitter prevents that the same two transactions conflict again.
        sleep(pause.mul_f64(0.5 + rand::random::<f64>())).await;
        pause *= 2;
    }
    transaction().await
}
