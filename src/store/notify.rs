//! LISTEN/NOTIFY between servers of one PostgreSQL database after rows were stored. It is a hint: a server
//! that misses a notification finds the rows at its next poll.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sea_query::{Expr, Query};
use sea_orm::sqlx::postgres::{PgListener, PgPoolOptions};
use sea_orm::{DbErr, RuntimeErr, SqlxError};

use super::database::Database;
use super::dialect::Dialect;
use crate::error::Result;

const CHANNEL: &str = "callscope_recorded";

/// A separate connection that receives notifications.
pub struct Listener(PgListener);

impl Listener {
    /// Waits for a notification and returns the name of its sender. None after the connection was lost and
    /// restored: notifications may be missing.
    pub async fn receive(&mut self) -> Result<Option<String>> {
        let received = self.0.try_recv().await.map_err(connection_lost)?;
        Ok(received.map(|notification| notification.payload().to_owned()))
    }
}

impl Database {
    /// Whether the database supports notifications.
    pub fn has_notifications(&self) -> bool {
        self.dialect() == Dialect::Postgres
    }

    /// Starts to listen. A standby of PostgreSQL refuses it.
    pub async fn listen(&self) -> Result<Listener> {
        let config = self.config();
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(Duration::from_secs(config.database_wait_seconds))
            .connect(&self.host_url())
            .await
            .map_err(connection_lost)?;
        let mut listener = PgListener::connect_with(&pool).await.map_err(connection_lost)?;
        listener.listen(CHANNEL).await.map_err(connection_lost)?;
        Ok(Listener(listener))
    }

    /// Notifies all servers; `sender` is the name of this one.
    pub async fn notify(&self, sender: &str) -> Result<()> {
        let call = Expr::cust_with_values("pg_notify($1, $2)", [CHANNEL, sender]);
        let notify = Query::select().expr(call).to_owned();
        self.execute("notify", &notify).await.map(|_| ())
    }
}

fn connection_lost(error: SqlxError) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))
}
