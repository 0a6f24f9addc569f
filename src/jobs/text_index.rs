//! Keeps the index for searches in error logs up to date (`store/text_index.rs`). One server of a database does it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::leader::Leader;
use crate::clock::ClockWatch;
use crate::config::DatabaseConfig;
use crate::error::Result;
use crate::observe::redact::without_values;
use crate::store::Database;
use crate::store::dialect::Dialect;
use crate::store::text_index::{self, Step};
use crate::supervisor::{Job, supervise};

const LEASE: &str = "text_index_lease";
/// The pause after a step, as a multiple of its time: as long as writers of SQLite that wait for a step need
/// to retry (`prune/pace.rs`).
const PAUSE_FACTOR: f64 = 2.0;
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
/// How often new error logs are looked for, and how often a part of the index is compared with its rows.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// Rows that one transaction of a sweep indexes again.
const REPLACED_AT_ONCE: usize = 64;
/// The interval of log lines about the first build.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Deletes the index if it is turned off, so that it takes no space.
pub async fn clear_if_off(db: &Database, config: &DatabaseConfig) -> Result<()> {
    if config.text_index
        || db.dialect() != Dialect::Sqlite
        || db.is_read_only()
        || !text_index::exists(db).await?
    {
        return Ok(());
    }
    let rows = text_index::run(db, &Step::Clear).await?;
    tracing::info!(rows, "deleted the index of texts");
    Ok(())
}

/// Starts the job if the database has this index and can be written.
pub fn start(
    db: &Arc<Database>,
    clock: &Arc<ClockWatch>,
    stopping: watch::Receiver<bool>,
) -> Option<JoinHandle<()>> {
    if db.dialect() != Dialect::Sqlite || !db.has_text_index() || db.is_read_only() {
        return None;
    }
    let job = TextIndexing {
        db: db.clone(),
        leader: Leader::new(db, clock, LEASE),
        stopping,
        build: None,
        swept_at: Instant::now(),
        sweep_id: i64::MIN,
    };
    Some(tokio::spawn(supervise(db.observer().clone(), job)))
}

struct TextIndexing {
    db: Arc<Database>,
    leader: Leader,
    stopping: watch::Receiver<bool>,
    /// The rows that are indexed without a pause in between, for the log.
    build: Option<Build>,
    swept_at: Instant,
    /// The first row of the next part of the sweep.
    sweep_id: i64,
}

struct Build {
    start: Instant,
    logged_at: Option<Instant>,
    rows: usize,
}

impl Job for TextIndexing {
    fn name(&self) -> &'static str {
        "text_index"
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    async fn run(&mut self) {
        let mut stopping = self.stopping.clone();
        while !*stopping.borrow() {
            let pause = self.work().await.unwrap_or_else(|error| {
                let cause = std::error::Error::source(&error).map(|cause| without_values(&cause));
                tracing::warn!(%error, cause, "indexing texts failed; retrying");
                POLL_INTERVAL
            });
            tokio::select! {
                // An error means that the sender was dropped: the server has stopped.
                _ = stopping.wait_for(|stopping| *stopping) => return,
                () = sleep(pause) => {}
            }
        }
    }
}

impl TextIndexing {
    /// Runs the next step; returns the pause after it.
    async fn work(&mut self) -> Result<Duration> {
        let Some(step) = text_index::next_step(&self.db).await? else {
            self.log_end();
            if self.swept_at.elapsed() >= SWEEP_INTERVAL {
                self.sweep().await?;
            }
            return Ok(POLL_INTERVAL);
        };
        if !self.leader.leads().await? {
            return Ok(POLL_INTERVAL);
        }
        let start = Instant::now();
        let rows = text_index::run(&self.db, &step).await?;
        match step {
            Step::Repair => tracing::info!(
                rows,
                "the last indexed error logs were replaced or deleted; indexing from the last unchanged one"
            ),
            _ => self.log_progress(rows),
        }
        Ok(start.elapsed().mul_f64(PAUSE_FACTOR).clamp(SHORTEST_PAUSE, POLL_INTERVAL))
    }

    /// Indexes the changed rows of the next part of the table again.
    async fn sweep(&mut self) -> Result<()> {
        if !self.leader.leads().await? {
            return Ok(());
        }
        let (changed, next) = text_index::find_changed(&self.db, self.sweep_id).await?;
        for ids in changed.chunks(REPLACED_AT_ONCE) {
            let start = Instant::now();
            text_index::run(&self.db, &Step::Replace(ids.to_vec())).await?;
            sleep(start.elapsed().mul_f64(PAUSE_FACTOR).max(SHORTEST_PAUSE)).await;
            if self.is_stopping() {
                return Ok(());
            }
        }
        self.sweep_id = next.unwrap_or(i64::MIN);
        self.swept_at = Instant::now();
        Ok(())
    }

    fn log_progress(&mut self, rows: usize) {
        let build = self.build.get_or_insert_with(|| Build {
            start: Instant::now(),
            logged_at: None,
            rows: 0,
        });
        build.rows += rows;
        let since = build.logged_at.unwrap_or(build.start);
        if since.elapsed() >= PROGRESS_INTERVAL {
            build.logged_at = Some(Instant::now());
            let seconds = build.start.elapsed().as_secs();
            tracing::info!(rows = build.rows, seconds, "indexing the texts of error logs");
        }
    }

    fn log_end(&mut self) {
        if let Some(Build { start, logged_at: Some(_), rows }) = self.build.take() {
            tracing::info!(
                rows,
                seconds = start.elapsed().as_secs(),
                "indexed the texts of error logs"
            );
        }
    }
}
