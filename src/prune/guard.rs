//! Guards deletions by age against a wrong clock: with a clock that is one year ahead, every row is old.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Counts, Cutoffs, count};
use crate::clock::{Clock, ClockWatch};
use crate::domain::duration;
use crate::domain::table::LogTable;
use crate::error::Result;
use crate::store::{Database, inspect, partition, retention};

/// The largest normal difference between the clocks of server and database.
const TOLERANCE: TimeDelta = TimeDelta::hours(1);
/// Up to so many old rows of a table are deleted without a check of their share.
const SMALL: u64 = 1000;

/// How long the rows of each table are kept; without an age, forever.
#[derive(Clone, Copy, Debug)]
pub struct Ages {
    pub calls: Option<TimeDelta>,
    pub error_logs: Option<TimeDelta>,
}

/// The old rows, and a reason not to delete them.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub now: DateTime<Utc>,
    pub cutoffs: Cutoffs,
    pub counts: Counts,
    pub refusal: Option<Refusal>,
}

/// Why nothing is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The wall clock was changed by this span.
    ClockChanged(TimeDelta),
    /// The wall clock is ahead of the database's clock by this span.
    DatabaseClock(TimeDelta),
    /// The newest row of both tables has this age and would be deleted.
    NewestRow(TimeDelta),
    /// Most rows of a table would be deleted, and there is a gap between them and the newest rows.
    Share { table: LogTable, old: u64, kept: u64 },
}

impl Refusal {
    /// The name in metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ClockChanged(_) => "clock_changed",
            Self::DatabaseClock(_) => "database_clock",
            Self::NewestRow(_) => "newest_row",
            Self::Share { .. } => "share",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = |span: &TimeDelta| {
            let side = if *span < TimeDelta::zero() { "back" } else { "forward" };
            (duration::format(TimeDelta::seconds(span.abs().num_seconds())), side)
        };
        match self {
            Self::ClockChanged(change) => {
                let (span, side) = by(change);
                write!(formatter, "the system clock was set {side} by {span}")
            }
            Self::DatabaseClock(ahead) => {
                let (span, side) = by(ahead);
                let side = if side == "back" { "behind" } else { "ahead of" };
                write!(formatter, "the system clock is {span} {side} the database's clock")
            }
            Self::NewestRow(age) => {
                let (age, _) = by(age);
                write!(formatter, "the newest row is {age} old and would be deleted too")
            }
            Self::Share { table, old, kept } => write!(
                formatter,
                "{old} of {} rows of {} would be deleted, and all later rows are much newer",
                old + kept,
                table.name()
            ),
        }
    }
}

/// Counts the rows that are older than `ages`, and checks the clock and the rows for a refusal.
pub async fn plan(db: &Database, clock: &ClockWatch, ages: Ages) -> Result<Plan> {
    let now = clock.time().now;
    let refusal = check_clock(db, clock).await?;
    let before = |age: Option<TimeDelta>| age.and_then(|age| now.checked_sub_signed(age));
    let cutoffs = Cutoffs { now, calls: before(ages.calls), error_logs: before(ages.error_logs) };
    let mut plan = Plan { now, cutoffs, counts: count(db, cutoffs).await?, refusal };
    if plan.refusal.is_none() {
        plan.refusal = check_rows(db, &plan).await?;
    }
    Ok(plan)
}

/// Whether the clock may be wrong.
pub async fn check_clock(db: &Database, clock: &ClockWatch) -> Result<Option<Refusal>> {
    let time = clock.time();
    if let Some(change) = time.change {
        return Ok(Some(Refusal::ClockChanged(change)));
    }
    // The clock of a test differs from that of the database.
    if !matches!(clock.clock(), Clock::System) {
        return Ok(None);
    }
    let theirs = inspect::now(db).await?;
    let ahead = theirs.map_or(TimeDelta::zero(), |theirs| time.now.signed_duration_since(theirs));
    Ok((ahead.abs() > TOLERANCE).then_some(Refusal::DatabaseClock(ahead)))
}

/// Checks the rows for a refusal. It considers the newest row of both tables, because a gateway without
/// failures has no new error logs.
async fn check_rows(db: &Database, plan: &Plan) -> Result<Option<Refusal>> {
    if plan.counts.total() == 0 {
        return Ok(None);
    }
    let mut newest = None;
    for table in [LogTable::Calls, LogTable::ErrorLogs] {
        newest = newest.max(retention::newest(db, table, plan.now + TOLERANCE).await?);
    }
    for (table, cutoff) in plan.cutoffs.each() {
        let old = plan.counts.of(table);
        if old > 0 && newest.is_none_or(|newest| newest < cutoff) {
            let age = plan.now.signed_duration_since(newest.unwrap_or(cutoff));
            return Ok(Some(Refusal::NewestRow(age)));
        }
        if old > SMALL && !is_continuous(db, cutoff, plan.now).await? {
            let (_, moved) = partition::moved_rows(db, table, cutoff).await?;
            let kept = retention::count_since(db, table, cutoff).await? + moved;
            if old > kept {
                return Ok(Some(Refusal::Share { table, old, kept }));
            }
        }
    }
    Ok(None)
}

/// Whether rows were stored in the older half of the retention time. If the clock is ahead there are no
/// such rows: all rows are old, or were stored after the clock changed.
async fn is_continuous(db: &Database, cutoff: DateTime<Utc>, now: DateTime<Utc>) -> Result<bool> {
    let middle = cutoff + (now - cutoff) / 2;
    for table in [LogTable::Calls, LogTable::ErrorLogs] {
        if retention::newest(db, table, middle).await?.is_some_and(|newest| newest >= cutoff) {
            return Ok(true);
        }
        let [cutoff, middle] = [cutoff, middle].map(|at| db.zone().to_stored(at));
        let moved = partition::moved_spans(db, table).await?;
        if moved.iter().any(|span| span.start < middle && span.end > cutoff) {
            return Ok(true);
        }
    }
    Ok(false)
}
