//! Word among the servers of one PostgreSQL database that rows were stored. It is a hint: whoever does
//! not hear it finds the rows a little later.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sea_query::{Expr, Query};
use sea_orm::sqlx::postgres::{PgListener, PgPoolOptions};
use sea_orm::{DbErr, RuntimeErr, SqlxError};

use super::database::Database;
use super::dialect::Dialect;
use crate::error::Result;

const CHANNEL: &str = "callscope_recorded";

/// A connection of its own that hears what is told.
pub struct Listener(PgListener);

impl Listener {
    /// Waits until something is told. Nothing where the connection was lost and is there again, so that
    /// something may not have been heard. The text is of whoever told.
    pub async fn heard(&mut self) -> Result<Option<String>> {
        let told = self.0.try_recv().await.map_err(lost)?;
        Ok(told.map(|told| told.payload().to_owned()))
    }
}

impl Database {
    /// Whether its servers can tell each other anything.
    pub fn has_notifications(&self) -> bool {
        self.dialect() == Dialect::Postgres
    }

    /// Begins to listen. A standby of PostgreSQL refuses it.
    pub async fn listen(&self) -> Result<Listener> {
        let config = self.config();
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(Duration::from_secs(config.database_wait_seconds))
            .connect(config.database_url.expose())
            .await
            .map_err(lost)?;
        let mut listener = PgListener::connect_with(&pool).await.map_err(lost)?;
        listener.listen(CHANNEL).await.map_err(lost)?;
        Ok(Listener(listener))
    }

    /// Tells the other servers; `who` tells them apart.
    pub async fn notify(&self, who: &str) -> Result<()> {
        let text = "pg_notify($1, $2)";
        let notify = Query::select().expr(Expr::cust_with_values(text, [CHANNEL, who])).to_owned();
        self.execute("notify", &notify).await.map(|_| ())
    }
}

fn lost(error: SqlxError) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))
}
