//! Builds the indexes that are missing after the start, while the gateway continues to write.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::DatabaseConfig;
use crate::observe::redact::without_values;
use crate::store::Database;
use crate::store::dialect::Dialect;
use crate::store::index::PendingIndex;
use crate::store::index_build::{self, Scope};
use crate::supervisor::{Job, supervise};

/// The pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_secs(60);

/// Starts the job if an index is missing. A build is cancelled when the server stops; the next server
/// starts it again.
pub fn start(
    db: &Database,
    config: &DatabaseConfig,
    stopping: watch::Receiver<bool>,
) -> Option<JoinHandle<()>> {
    if db.dialect() == Dialect::Sqlite || !db.lacks_indexes() {
        return None;
    }
    let job = IndexBuild { config: config.clone(), stopping };
    Some(tokio::spawn(supervise(db.observer().clone(), job)))
}

struct IndexBuild {
    config: DatabaseConfig,
    stopping: watch::Receiver<bool>,
}

impl Job for IndexBuild {
    fn name(&self) -> &'static str {
        "index_build"
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    async fn run(&mut self) {
        loop {
            let stop = stopped(self.stopping.clone());
            match index_build::build(&self.config, Scope::Online, stop).await {
                Ok(None) => return,
                Ok(Some(left)) => {
                    log_end(&left);
                    return;
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(|one| without_values(&one));
                    tracing::warn!(
                        %error,
                        cause,
                        "index build failed; retrying in one minute"
                    );
                }
            }
            tokio::select! {
                () = stopped(self.stopping.clone()) => return,
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        }
    }
}

fn log_end(left: &[PendingIndex]) {
    if left.is_empty() {
        tracing::info!("all indexes are built");
        return;
    }
    let names: Vec<&str> = left.iter().map(|pending| pending.index.name).collect();
    tracing::warn!(
        indexes = names.join(", "),
        "the database cannot build these indexes online; run `callscope migrate` at a time of low \
         traffic: it blocks the gateway's writes until they are built"
    );
}

/// Completes when the server stops or its sender is dropped.
async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
