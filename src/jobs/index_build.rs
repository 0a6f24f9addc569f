//! Builds the indexes that a start leaves, on the databases where the gateway goes on writing meanwhile.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::DatabaseConfig;
use crate::observe::redact::without_values;
use crate::store::Database;
use crate::store::dialect::Dialect;
use crate::store::index_build::{self, Scope};

/// Between two attempts.
const RETRY_PAUSE: Duration = Duration::from_secs(60);

/// Starts the job, if there is something to build. A build stops with the server, and starts again with
/// the next.
pub fn start(
    db: &Database,
    config: &DatabaseConfig,
    stopping: watch::Receiver<bool>,
) -> Option<JoinHandle<()>> {
    let is_online = db.dialect() != Dialect::Sqlite;
    (is_online && db.lacks_indexes()).then(|| tokio::spawn(run(config.clone(), stopping)))
}

async fn run(config: DatabaseConfig, stopping: watch::Receiver<bool>) {
    loop {
        match index_build::build(&config, Scope::Online, stopped(stopping.clone())).await {
            Ok(None) => return,
            Ok(Some(left)) if left.is_empty() => {
                tracing::info!("all indexes are built");
                return;
            }
            Ok(Some(left)) => {
                let names: Vec<&str> = left.iter().map(|pending| pending.index.name).collect();
                tracing::warn!(
                    indexes = names.join(", "),
                    "the database refuses to build these indexes online; run `callscope migrate` at a \
                     quiet hour: the gateway's writes wait until they are built"
                );
                return;
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| without_values(&cause));
                tracing::warn!(%error, cause, "an index could not be built; trying again in a minute");
            }
        }
        tokio::select! {
            () = stopped(stopping.clone()) => return,
            () = tokio::time::sleep(RETRY_PAUSE) => {}
        }
    }
}

/// Ends when the server stops, or is gone.
async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
