//! Keeps the classes and templates of error logs up to date (`store/classification.rs`). Every server checks which rows
//! are there; one of them adds the missing ones.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::leader::Leader;
use crate::clock::ClockWatch;
use crate::domain::failure::VERSION;
use crate::domain::table::LogTable;
use crate::error::Result;
use crate::observe::redact::without_values;
use crate::store::Database;
use crate::store::classification::{self, Checked, MOST_OF_QUERY, PAUSE_FACTOR, ROWS_AT_ONCE};
use crate::store::error_days::{self, DayCounter};
use crate::store::import::last_id;
use crate::store::rollup::micros;
use crate::supervisor::{Job, supervise};

const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
/// How often new error logs are looked for: in general, and while many arrive.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
const BUSY_INTERVAL: Duration = Duration::from_millis(250);
/// How often a part of the table is checked again.
const SWEEP_INTERVAL: Duration = Duration::from_secs(4);
/// How often a read-only server looks for the table.
const MISSING_TABLE_INTERVAL: Duration = Duration::from_secs(30);
/// The interval of log lines about many rows.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Starts the job if it is on.
pub fn start(
    db: &Arc<Database>,
    clock: &Arc<ClockWatch>,
    stopping: watch::Receiver<bool>,
) -> Option<JoinHandle<()>> {
    if !db.keeps_failure_classes() {
        return None;
    }
    let job = Failures {
        db: db.clone(),
        // A server with older rules must not keep newer ones from working.
        leader: Leader::new(db, clock, format!("failures_lease_{VERSION}")),
        stopping,
        checked: i64::MIN,
        last: i64::MIN,
        swept: [i64::MIN; 2],
        swept_at: Instant::now(),
        days: DayCounter::default(),
        counts_days: true,
        has_failed_days: false,
        clock: clock.clone(),
        backlog: None,
        has_failed: false,
    };
    Some(tokio::spawn(supervise(db.observer().clone(), job)))
}

struct Failures {
    db: Arc<Database>,
    leader: Leader,
    stopping: watch::Receiver<bool>,
    /// All error logs up to this id have a class.
    checked: i64,
    /// The highest id of an error log.
    last: i64,
    /// Up to which ids the sweep has checked the error logs, and the rows of the table.
    swept: [i64; 2],
    swept_at: Instant,
    days: DayCounter,
    /// Whether a day is to be counted, or compared with its rows.
    counts_days: bool,
    /// The log has the first day that could not be counted.
    has_failed_days: bool,
    clock: Arc<ClockWatch>,
    /// The rows that are added without a pause in between, for the log.
    backlog: Option<Backlog>,
    /// The log has the first failure of an outage.
    has_failed: bool,
}

struct Backlog {
    start: Instant,
    logged_at: Option<Instant>,
    rows: usize,
}

impl Job for Failures {
    fn name(&self) -> &'static str {
        "failures"
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    async fn run(&mut self) {
        let mut stopping = self.stopping.clone();
        while !*stopping.borrow() {
            let done = self.work().await;
            if let Err(error) = &done
                && !self.has_failed
            {
                let cause = std::error::Error::source(error).map(|cause| without_values(&cause));
                tracing::warn!(%error, cause, "classifying error logs failed; retrying");
            }
            self.has_failed = done.is_err();
            let pause = done.unwrap_or(POLL_INTERVAL);
            tokio::select! {
                // An error means that the sender was dropped: the server has stopped.
                _ = stopping.wait_for(|stopping| *stopping) => return,
                () = sleep(pause) => {}
            }
        }
    }
}

impl Failures {
    /// Checks the next error logs and classifies those that have no class; returns the pause afterwards.
    async fn work(&mut self) -> Result<Duration> {
        if self.db.is_read_only() && !classification::has_table(&self.db).await? {
            return Ok(MISSING_TABLE_INTERVAL);
        }
        let start = Instant::now();
        let last = last_id(&self.db, LogTable::ErrorLogs).await?;
        if last < self.last {
            // The last rows were deleted: SQLite uses their ids again.
            self.checked = i64::MIN;
            if !self.db.is_read_only() && self.leader.leads().await? {
                error_days::forget(&self.db).await?;
                self.counts_days = true;
            }
        }
        self.last = last;
        let Checked { missing, last } = classification::check(&self.db, self.checked).await?;
        let settled = classification::settled(self.last);
        let is_behind = missing.len() as u64 > MOST_OF_QUERY || last.is_some_and(|id| id < settled);
        self.db.failures().set(self.checked, is_behind);
        let Some(added) = self.add(&missing).await? else { return Ok(POLL_INTERVAL) };
        if let Some(checked) = added.or(last) {
            self.checked = Ord::min(checked, settled);
            self.db.failures().set(self.checked, is_behind);
        }
        if added.or(last).is_some_and(|checked| checked < settled) {
            return Ok(start.elapsed().mul_f64(PAUSE_FACTOR).clamp(SHORTEST_PAUSE, POLL_INTERVAL));
        }
        self.log_end();
        if self.swept_at.elapsed() >= SWEEP_INTERVAL {
            self.sweep().await?;
        }
        if self.counts_days && !is_behind && self.count_days().await? {
            return Ok(start.elapsed().mul_f64(PAUSE_FACTOR).clamp(SHORTEST_PAUSE, POLL_INTERVAL));
        }
        let many_arrive = missing.len() as u64 >= ROWS_AT_ONCE / 2;
        Ok(if many_arrive { BUSY_INTERVAL } else { POLL_INTERVAL })
    }

    /// Adds the first of the missing rows. Returns the last id if some are left, and None if another server adds
    /// them.
    async fn add(&mut self, missing: &[i64]) -> Result<Option<Option<i64>>> {
        if missing.is_empty() {
            return Ok(Some(None));
        }
        if self.db.is_read_only() || !self.leader.leads().await? {
            return Ok(None);
        }
        let some = &missing[..missing.len().min(ROWS_AT_ONCE as usize)];
        classification::add(&self.db, some).await?;
        self.log_progress(some.len());
        Ok(Some(some.last().copied().filter(|_| some.len() < missing.len())))
    }

    /// Counts the next day; returns whether there may be another one to count.
    async fn count_days(&mut self) -> Result<bool> {
        self.counts_days = false;
        if self.db.is_read_only() {
            return Ok(false);
        }
        if self.leader.leads().await? {
            let now = micros(self.db.zone().to_stored(self.clock.time().now));
            let counted = self.days.step(&self.db, now).await;
            if let Err(error) = &counted
                && !std::mem::replace(&mut self.has_failed_days, true)
            {
                let cause = std::error::Error::source(error).map(|cause| without_values(&cause));
                tracing::warn!(%error, cause, "counting the error logs of a day failed; retrying");
            }
            // Without a day that cannot be counted, the others are of use.
            self.counts_days = counted.unwrap_or(false);
        }
        self.db.failures().set_has_days(error_days::exist(&self.db).await?);
        Ok(self.counts_days)
    }

    /// Checks the next part of both tables again, and lets the next day be counted.
    async fn sweep(&mut self) -> Result<()> {
        self.swept_at = Instant::now();
        self.counts_days = true;
        if self.db.is_read_only() || !self.leader.leads().await? {
            return Ok(());
        }
        let [rows, classes] = self.swept;
        let Checked { missing, last } = classification::check(&self.db, rows).await?;
        classification::add(&self.db, &missing).await?;
        let classes = classification::sweep(&self.db, classes).await?;
        self.swept = [last, classes].map(|id| id.unwrap_or(i64::MIN));
        Ok(())
    }

    fn log_progress(&mut self, rows: usize) {
        let start = Instant::now();
        let backlog = self.backlog.get_or_insert(Backlog { start, logged_at: None, rows: 0 });
        backlog.rows += rows;
        let since = backlog.logged_at.unwrap_or(backlog.start);
        if since.elapsed() >= PROGRESS_INTERVAL {
            backlog.logged_at = Some(Instant::now());
            let seconds = backlog.start.elapsed().as_secs();
            tracing::info!(rows = backlog.rows, seconds, "classifying error logs");
        }
    }

    fn log_end(&mut self) {
        if let Some(Backlog { start, logged_at: Some(_), rows }) = self.backlog.take() {
            tracing::info!(rows, seconds = start.elapsed().as_secs(), "classified error logs");
        }
    }
}
