//! Deletes expired calls and error logs: whole partitions first, then small batches with pauses, so that writers wait
//! only briefly. Then it releases their space. When it is stopped, it has counted the deleted rows.

pub mod deletion;
pub mod guard;
mod pace;
mod space;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::time::timeout;

pub use pace::Pace;
pub use space::{release_space, releases_space, rewrite};

use crate::domain::table::LogTable;
use crate::error::{Error, Result};
use crate::observe::redact::without_values;
use crate::store::delete::Ids;
use crate::store::error_log::ErrorScope;
use crate::store::partition::{self, moved};
use crate::store::rollup::Deletable;
use crate::store::{Database, classification, delete, retention, rollup};

/// Returns whether to stop after the current batch.
pub type StopCheck<'a> = &'a (dyn Fn() -> bool + Sync);

/// The rows of partitions are counted for so long before they are dropped. Then they are deleted in batches.
const DROP_TIME: Duration = Duration::from_secs(20);

/// The time limits of expired rows. A table without a limit has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cutoffs {
    /// The time of the clock.
    pub now: DateTime<Utc>,
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

/// The number of rows of each table.
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

/// Counts deleted rows. It is separate from the work, which may be dropped.
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

/// Counts expired rows, with a range of an index for each table, and those of months on other servers.
pub async fn count(db: &Database, cutoffs: Cutoffs) -> Result<Counts> {
    let mut counts = Counts::default();
    for (table, before) in cutoffs.each() {
        let (moved, _) = partition::moved_rows(db, table, before).await?;
        let rows = retention::count(db, table, before).await? + moved;
        match table {
            LogTable::Calls => counts.calls = rows,
            LogTable::ErrorLogs => counts.error_logs = rows,
        }
    }
    Ok(counts)
}

/// Deletes expired rows and counts them in `tally`; false if it was stopped before the end.
pub async fn prune(
    db: &Database,
    cutoffs: Cutoffs,
    mut pace: Pace,
    tally: &Tally,
    stopped: StopCheck<'_>,
) -> Result<bool> {
    for (table, before) in cutoffs.each() {
        let deletable = match table {
            LogTable::ErrorLogs => Some(Deletable::All),
            // The statistics keep the calls that are folded.
            LogTable::Calls => rollup::prepare_deletion(db, before, cutoffs.now, stopped).await?,
        };
        let Some(deletable) = deletable else { return Ok(false) };
        if db.has_partitions()
            && !drop_partitions(db, table, before, &deletable, tally, stopped).await
        {
            return Ok(false);
        }
        let mut after = None;
        loop {
            if stopped() {
                return Ok(false);
            }
            let mut rows = retention::find(db, table, before, after, pace.batch()).await?;
            rows.ids.retain(|id| deletable.contains(*id));
            let Some(last) = rows.last else { break };
            after = Some(last);
            if rows.ids.is_empty() {
                continue;
            }
            let start = Instant::now();
            tally.add(table, retention::delete(db, table, &rows.ids).await?);
            pace.pause(start.elapsed()).await;
        }
    }
    Ok(true)
}

/// Drops the partitions with expired rows only; false if it was stopped before the end. If a partition cannot be
/// dropped, as in a long transaction of another program, its rows are left for batches.
async fn drop_partitions(
    db: &Database,
    table: LogTable,
    before: DateTime<Utc>,
    deletable: &Deletable,
    tally: &Tally,
    stopped: StopCheck<'_>,
) -> bool {
    // Another server may be frozen.
    let dropped = |rows| tally.add(table, rows);
    let drop = moved::drop_expired(db, table, before, &dropped);
    match timeout(DROP_TIME, drop).await.unwrap_or(Err(Error::Timeout)) {
        Ok(()) => {}
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| without_values(&cause));
            tracing::warn!(%error, cause, "a month on another server was not dropped");
        }
    }
    let end = Instant::now() + DROP_TIME;
    let ended = || stopped() || Instant::now() >= end;
    while !stopped() {
        match partition::drop_oldest(db, table, before, deletable, &ended).await {
            Ok(Some(rows)) => tally.add(table, rows),
            Ok(None) => return !stopped(),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| without_values(&cause));
                tracing::warn!(%error, cause, "a partition was not dropped; deleting its rows");
                return true;
            }
        }
    }
    false
}

/// Deletes the error logs that match `scope`, except for those that arrive meanwhile, and counts them in
/// `tally`; false if it was stopped before the end.
pub async fn delete_error_logs(
    db: &Database,
    scope: &ErrorScope,
    mut pace: Pace,
    tally: &Tally,
    stopped: StopCheck<'_>,
) -> Result<bool> {
    classification::complete(db, [scope], false).await?;
    let last = delete::last_error_log(db).await?;
    let mut range = Ids::Below(last);
    while !stopped() {
        let ids = delete::find_error_logs(db, scope, range, pace.batch()).await?;
        if ids.is_empty() {
            match range {
                Ids::Below(_) => range = Ids::Only(last),
                Ids::Only(_) => return Ok(true),
            }
            continue;
        }
        let start = Instant::now();
        tally.add(LogTable::ErrorLogs, retention::delete(db, LogTable::ErrorLogs, &ids).await?);
        pace.pause(start.elapsed()).await;
    }
    Ok(false)
}

/// Deletes the error logs with these ids and counts them in `tally`; false if it was stopped before the
/// end.
pub async fn delete_ids(
    db: &Database,
    ids: &[i64],
    mut pace: Pace,
    tally: &Tally,
    stopped: StopCheck<'_>,
) -> Result<bool> {
    let mut left = ids;
    while !left.is_empty() {
        if stopped() {
            return Ok(false);
        }
        let (batch, later) = left.split_at(left.len().min(pace.batch() as usize));
        let start = Instant::now();
        tally.add(LogTable::ErrorLogs, retention::delete(db, LogTable::ErrorLogs, batch).await?);
        left = later;
        if !left.is_empty() {
            pace.pause(start.elapsed()).await;
        }
    }
    Ok(true)
}
