//! Compares the standbys that answer queries with the primary, several times per second.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::error::Error;
use crate::observe::Observer;
use crate::observe::redact::without_values;
use crate::store::Database;
use crate::store::replica::{Problem, Replica};
use crate::supervisor::{Job, supervise};

/// How often each server is asked for its position. A client that has written reads from the primary for about so
/// long.
const INTERVAL: Duration = Duration::from_millis(200);
/// Failures in a row after which a standby is unavailable.
const MOST_FAILURES: u32 = 2;

/// Starts the job if there are standbys.
pub fn start(
    db: &Arc<Database>,
    observer: &Arc<Observer>,
    stopping: watch::Receiver<bool>,
) -> Option<JoinHandle<()>> {
    let job = ReplicaWatch { db: db.clone(), stopping };
    (!db.replicas().is_empty()).then(|| tokio::spawn(supervise(observer.clone(), job)))
}

struct ReplicaWatch {
    db: Arc<Database>,
    stopping: watch::Receiver<bool>,
}

impl Job for ReplicaWatch {
    fn name(&self) -> &'static str {
        "replicas"
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    async fn run(&mut self) {
        let mut stopping = self.stopping.clone();
        let replicas = self.db.replicas().iter().map(|replica| self.watch(replica));
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => {}
            _ = join_all(replicas) => {}
            () = self.watch_primary() => {}
        }
    }
}

impl ReplicaWatch {
    async fn watch_primary(&self) {
        loop {
            if let Err(error) = self.db.find_primary_position().await {
                tracing::debug!(%error, "the position of the primary is unknown");
            }
            sleep(INTERVAL).await;
        }
    }

    /// A slow standby does not delay the others.
    async fn watch(&self, replica: &Replica) {
        let (mut was_used, mut failures) = (None, 0);
        loop {
            let found = self.db.find_replica_position(replica).await;
            failures = if found.is_ok() { 0 } else { failures + 1 };
            // A single failure may be that of a slow machine.
            if failures >= MOST_FAILURES {
                replica.set_unavailable();
            }
            let problem = self.db.replicas().problem_of(replica);
            if was_used != Some(problem.is_none()) {
                log(replica, problem, found.err());
            }
            was_used = Some(problem.is_none());
            sleep(INTERVAL).await;
        }
    }
}

fn log(replica: &Replica, problem: Option<Problem>, error: Option<Error>) {
    let replica = replica.name();
    let Some(problem) = problem else {
        return tracing::info!(replica, "a standby answers queries");
    };
    let cause =
        error.as_ref().and_then(std::error::Error::source).map(|cause| without_values(&cause));
    tracing::warn!(replica, %problem, cause, "a standby answers no queries; the primary does");
}
