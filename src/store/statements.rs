//! Counts the statements that a [`Database`](super::Database) sends and, for tests, keeps their text. It
//! covers reads, writes and the statements of transactions. It does not cover BEGIN and COMMIT, the set-up
//! of a session, migrations, the statement that ends another session, and the positions of standbys.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement};

/// The statements of one database.
#[derive(Debug, Default)]
pub(super) struct StatementLog {
    sent: AtomicU64,
    /// The texts with their values, from the first call of `take` on.
    texts: OnceLock<Mutex<Vec<String>>>,
}

impl StatementLog {
    /// The number of statements that were sent.
    pub(super) fn count(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Adds one statement. `text` is called only while texts are kept.
    pub(super) fn add(&self, text: impl FnOnce() -> String) {
        self.add_without_text();
        if let Some(texts) = self.texts.get() {
            let text = text();
            texts.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
    }

    /// Adds one statement with a text that a library builds.
    pub(super) fn add_without_text(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the texts since the last call. The first call starts to keep them and returns none.
    pub(super) fn take(&self) -> Vec<String> {
        let texts = self.texts.get_or_init(Mutex::default);
        std::mem::take(&mut texts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Wraps a connection or transaction so that its statements are added.
    pub(super) fn of<'a, C>(&'a self, connection: &'a C) -> Logged<'a, C> {
        Logged { connection, log: self }
    }
}

/// A connection or transaction with the log of its statements.
pub(super) struct Logged<'a, C> {
    connection: &'a C,
    log: &'a StatementLog,
}

#[async_trait]
impl<C: ConnectionTrait> ConnectionTrait for Logged<'_, C> {
    fn get_database_backend(&self) -> DbBackend {
        self.connection.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.log.add(|| statement.to_string());
        self.connection.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.log.add(|| sql.to_owned());
        self.connection.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.log.add(|| statement.to_string());
        self.connection.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.log.add(|| statement.to_string());
        self.connection.query_all_raw(statement).await
    }
}
