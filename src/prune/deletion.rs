//! Deletions that clients request. A deletion runs in a separate task: when the request is dropped
//! the task finishes its batch, stops, and completes the entry in the audit log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{RwLock, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Counts, Cutoffs, Pace, StopCheck, Tally, delete_error_logs, delete_ids, prune};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::observe::redact::without_values;
use crate::observe::request;
use crate::store::Database;
use crate::store::deletion_log::{self, DeletionEntry, DeletionStart, Ending, Outcome};
use crate::store::error_log::ErrorScope;
use crate::store::token::time_text;

/// Delays before the outcome is written again while the database fails, for a background task.
const DELAYS: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
];
/// The delays for a command or a job, which delay other work.
pub const SHORT_DELAYS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];
/// How long the answer to a client waits for the audit entry.
const ENTRY_WAIT: Duration = Duration::from_millis(500);
/// How long a server that shuts down waits for batches in progress and for their audit entries.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// Which rows to delete.
#[derive(Clone, Debug)]
pub enum Rows {
    /// The error logs with these ids.
    Ids(Vec<i64>),
    /// The error logs that match.
    Matching(Box<ErrorScope>),
    /// Calls and error logs by their age.
    Older(Cutoffs),
}

/// Time limits of a deletion.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// No batch starts after this.
    pub last_batch: Instant,
    /// The batch in progress is cancelled.
    pub cancel: Instant,
    /// The client is answered, whether the audit entry is complete or not.
    pub answer: Instant,
}

/// The deletions of a server.
#[derive(Clone, Debug)]
pub struct Deletions {
    db: Arc<Database>,
    clock: Clock,
    /// Read by each task until it ends.
    running: Arc<RwLock<()>>,
}

/// A deletion in progress. Dropped, it stops after its batch.
pub struct Deletion {
    stop: Arc<AtomicBool>,
    ended: oneshot::Receiver<Result<Ended>>,
    task: JoinHandle<()>,
    answer: Instant,
}

/// How a deletion ended.
#[derive(Debug)]
pub struct Ended {
    pub outcome: Outcome,
    pub counts: Counts,
    /// The cause of a failure.
    pub error: Option<Error>,
    /// Whether a batch was cancelled, which may have been committed nevertheless.
    pub was_cancelled: bool,
}

impl Deletions {
    pub fn new(db: Arc<Database>, clock: Clock) -> Self {
        Self { db, clock, running: Arc::default() }
    }

    /// Starts a deletion: it is entered in the audit log before the first row is deleted.
    pub fn start(&self, start: DeletionStart, rows: Rows, limits: TimeLimits) -> Deletion {
        let stop = Arc::new(AtomicBool::new(false));
        let (answer, ended) = oneshot::channel();
        let work = self.clone().enter_and_run(start, rows, limits, (stop.clone(), answer));
        // Boxed: each mutation in progress takes as much memory as the largest there is.
        let task = tokio::spawn(request::inherit(Box::pin(work)));
        Deletion { stop, ended, task, answer: limits.answer }
    }

    async fn enter_and_run(
        self,
        start: DeletionStart,
        rows: Rows,
        limits: TimeLimits,
        (stop, answer): (Arc<AtomicBool>, oneshot::Sender<Result<Ended>>),
    ) {
        let _running = self.running.read().await;
        let entry = match deletion_log::start(&self.db, start).await {
            Ok(entry) => entry,
            Err(error) => {
                // A disconnected client needs no answer: nothing was deleted.
                let _ = answer.send(Err(error));
                return;
            }
        };
        self.db.note_write();
        let done = self.run(&rows, limits, &stop).await;
        self.db.note_write();
        let ending = ending(&self.clock, done.outcome, done.counts);
        if let Err(Ok(Ended { error: Some(error), .. })) = answer.send(Ok(done)) {
            let cause = std::error::Error::source(&error).map(|cause| without_values(&cause));
            tracing::warn!(%error, cause, "a deletion failed after its client disconnected");
        }
        complete(&self.db, &entry, &ending, &DELAYS).await;
        self.db.note_write();
    }

    async fn run(&self, rows: &Rows, limits: TimeLimits, stop: &AtomicBool) -> Ended {
        let tally = Tally::default();
        let is_stopped = || stop.load(Ordering::Relaxed) || Instant::now() >= limits.last_batch;
        let work = delete(&self.db, rows, &tally, &is_stopped);
        let (outcome, error, was_cancelled) = match timeout_at(limits.cancel, work).await {
            Ok(worked) => {
                let outcome = match outcome(&worked) {
                    Outcome::Stopped if !stop.load(Ordering::Relaxed) => Outcome::Timeout,
                    other => other,
                };
                (outcome, worked.err(), false)
            }
            Err(_) => (Outcome::Timeout, None, true),
        };
        Ended { outcome, counts: tally.counts(), error, was_cancelled }
    }

    /// Waits a bounded time for deletions that were stopped; their requests have ended.
    pub async fn finish(&self) {
        if timeout(SHUTDOWN_WAIT, self.running.write()).await.is_err() {
            tracing::warn!("deletions did not stop in time; their audit entries have no outcome");
        }
    }
}

impl Deletion {
    /// Waits for the end of the deletion and its audit entry. If the database fails, the client is
    /// answered while the task retries to write the entry.
    pub async fn ended(mut self) -> Result<Ended> {
        let ended = (&mut self.ended).await.map_err(Error::internal)??;
        let limit = self.answer.min(Instant::now() + ENTRY_WAIT);
        let _ = timeout_at(limit, &mut self.task).await;
        Ok(ended)
    }
}

impl Drop for Deletion {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn delete(db: &Database, rows: &Rows, tally: &Tally, stopped: StopCheck<'_>) -> Result<bool> {
    let pace = Pace::foreground(db);
    match rows {
        Rows::Ids(ids) => delete_ids(db, ids, pace, tally, stopped).await,
        Rows::Matching(scope) => delete_error_logs(db, scope, pace, tally, stopped).await,
        Rows::Older(cutoffs) => prune(db, *cutoffs, pace, tally, stopped).await,
    }
}

/// The outcome of work that returns whether it deleted all rows.
pub fn outcome(worked: &Result<bool>) -> Outcome {
    match worked {
        Ok(true) => Outcome::Completed,
        Ok(false) => Outcome::Stopped,
        Err(Error::Timeout) => Outcome::Timeout,
        Err(_) => Outcome::Failed,
    }
}

/// The end of a deletion that ends now.
pub fn ending(clock: &Clock, outcome: Outcome, Counts { calls, error_logs }: Counts) -> Ending {
    Ending { at: time_text(clock.now()), outcome, calls, error_logs }
}

/// Completes the audit entry of a deletion that has ended. While the database fails it retries after
/// each of `delays`; the log has the outcome in any case.
pub async fn complete(db: &Database, entry: &DeletionEntry, ending: &Ending, delays: &[Duration]) {
    entry.log(ending);
    let mut delays = delays.iter();
    while let Err(error) = deletion_log::complete(db, entry, ending).await {
        let Some(delay) = delays.next() else {
            tracing::error!(%error, "the outcome of a deletion is missing in the audit log");
            return;
        };
        tracing::warn!(%error, "writing the outcome of a deletion failed; retrying");
        sleep(*delay).await;
    }
}
