//! Deletes calls and error logs that are too old, in small batches with pauses between them, so that
//! nobody who writes has to wait for long; then gives back what they took. Whoever stops it knows how
//! much was deleted until then.

pub mod deletion;
pub mod guard;
mod pace;
mod space;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use chrono::{DateTime, Utc};

pub use pace::Pace;
pub use space::{give_back, is_shrinkable, rewrite};

use crate::error::Result;
use crate::store::delete::Ids;
use crate::store::error_log::ErrorScope;
use crate::store::log_table::LogTable;
use crate::store::{Database, delete, old};

/// Whether to stop after the batch at hand.
pub type Stopped<'a> = &'a (dyn Fn() -> bool + Sync);

/// What is too old: from before these instants, nothing of a table without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cutoffs {
    pub calls: Option<DateTime<Utc>>,
    pub error_logs: Option<DateTime<Utc>>,
}

impl Cutoffs {
    /// Error logs first: they are the larger rows.
    fn each(self) -> impl Iterator<Item = (LogTable, DateTime<Utc>)> {
        let error_logs = self.error_logs.map(|before| (LogTable::ErrorLogs, before));
        error_logs.into_iter().chain(self.calls.map(|before| (LogTable::Calls, before)))
    }
}

/// How many rows are too old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub calls: u64,
    pub error_logs: u64,
}

impl Counts {
    pub fn total(self) -> u64 {
        self.calls + self.error_logs
    }

    fn of(self, table: LogTable) -> u64 {
        match table {
            LogTable::Calls => self.calls,
            LogTable::ErrorLogs => self.error_logs,
        }
    }
}

/// What was deleted so far. It is kept apart from the work, which may be given up.
#[derive(Debug, Default)]
pub struct Tally {
    calls: AtomicU64,
    error_logs: AtomicU64,
}

impl Tally {
    pub fn counts(&self) -> Counts {
        Counts {
            calls: self.calls.load(Ordering::Relaxed),
            error_logs: self.error_logs.load(Ordering::Relaxed),
        }
    }

    fn add(&self, table: LogTable, rows: u64) {
        match table {
            LogTable::Calls => self.calls.fetch_add(rows, Ordering::Relaxed),
            LogTable::ErrorLogs => self.error_logs.fetch_add(rows, Ordering::Relaxed),
        };
    }
}

/// How many rows are too old now. A range of an index for each table, however many there are.
pub async fn count(db: &Database, cutoffs: Cutoffs) -> Result<Counts> {
    let mut counts = Counts::default();
    for (table, before) in cutoffs.each() {
        let rows = old::count(db, table, before).await?;
        match table {
            LogTable::Calls => counts.calls = rows,
            LogTable::ErrorLogs => counts.error_logs = rows,
        }
    }
    Ok(counts)
}

/// Deletes what is too old, and counts it in `tally`; false when it was stopped before the end.
pub async fn prune(
    db: &Database,
    cutoffs: Cutoffs,
    mut pace: Pace,
    tally: &Tally,
    stopped: Stopped<'_>,
) -> Result<bool> {
    for (table, before) in cutoffs.each() {
        let mut after = None;
        loop {
            if stopped() {
                return Ok(false);
            }
            let rows = old::find(db, table, before, after, pace.batch()).await?;
            let Some(last) = rows.last else { break };
            after = Some(last);
            if rows.ids.is_empty() {
                continue;
            }
            let began = Instant::now();
            tally.add(table, old::delete(db, table, &rows.ids).await?);
            pace.rest(began.elapsed()).await;
        }
    }
    Ok(true)
}

/// Deletes the error logs that match `scope`, but for those that arrive meanwhile, and counts them in
/// `tally`; false when it was stopped before the end.
pub async fn delete_error_logs(
    db: &Database,
    scope: &ErrorScope,
    mut pace: Pace,
    tally: &Tally,
    stopped: Stopped<'_>,
) -> Result<bool> {
    let last = delete::last_error_log(db).await?;
    let mut meant = Ids::Below(last);
    while !stopped() {
        let ids = delete::find_error_logs(db, scope, meant, pace.batch()).await?;
        if ids.is_empty() {
            match meant {
                Ids::Below(_) => meant = Ids::Only(last),
                Ids::Only(_) => return Ok(true),
            }
            continue;
        }
        let began = Instant::now();
        tally.add(LogTable::ErrorLogs, old::delete(db, LogTable::ErrorLogs, &ids).await?);
        pace.rest(began.elapsed()).await;
    }
    Ok(false)
}

/// Deletes the error logs with these ids, and counts them in `tally`; false when it was stopped before the
/// end.
pub async fn delete_ids(
    db: &Database,
    ids: &[i64],
    mut pace: Pace,
    tally: &Tally,
    stopped: Stopped<'_>,
) -> Result<bool> {
    let mut left = ids;
    while !left.is_empty() {
        if stopped() {
            return Ok(false);
        }
        let (batch, later) = left.split_at(left.len().min(pace.batch() as usize));
        let started = Instant::now();
        tally.add(LogTable::ErrorLogs, old::delete(db, LogTable::ErrorLogs, batch).await?);
        left = later;
        if !left.is_empty() {
            pace.rest(started.elapsed()).await;
        }
    }
    Ok(true)
}
