//! The plan for one source of an import, and the summary of a run.

use chrono::{DateTime, TimeDelta, Utc};

use super::chunk::Chunk;
use super::source::Source;
use crate::domain::table::LogTable;
use crate::store::import::{Import, Position};

/// Counts of one run. A dry run counts as if it had imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub calls: u64,
    pub errors: u64,
    /// Rows skipped in imported sources.
    pub bad_rows: u64,
    /// Sources that an earlier run imported.
    pub known: u64,
    /// Sources from which nothing was imported.
    pub refused: u64,
    /// Whether the run was interrupted.
    pub stopped: bool,
}

/// A source after its first reading.
pub(super) struct Plan {
    pub source: Source,
    pub identity: String,
    pub table: LogTable,
    /// Covers only rows that are not imported yet.
    pub survey: Survey,
    /// The progress of an earlier run.
    pub earlier: Option<Import>,
    /// Where it continues.
    pub start: Position,
}

#[derive(Default)]
pub(super) struct Survey {
    pub good: u64,
    pub bad: u64,
    pub times: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Survey {
    pub fn add(&mut self, chunk: &Chunk) {
        self.good += chunk.accepted;
        self.bad += chunk.report.rejected;
        let calls = chunk.batch.calls.iter().map(|call| call.timestamp);
        let errors = chunk.batch.errors.iter().map(|error| error.timestamp);
        for at in calls.chain(errors) {
            let (oldest, newest) = self.times.unwrap_or((at, at));
            self.times = Some((at.min(oldest), at.max(newest)));
        }
    }
}

impl Plan {
    pub fn shift(&self, common: TimeDelta) -> TimeDelta {
        let earlier = self.earlier.as_ref();
        earlier.map_or(common, |earlier| TimeDelta::microseconds(earlier.shift_micros))
    }

    pub fn entry(&self, shift: TimeDelta) -> Import {
        Import {
            source: self.identity.clone(),
            position: Position::default(),
            shift_micros: shift.num_microseconds().unwrap_or(0),
            finished: false,
        }
    }

    /// One line for the user.
    pub fn describe(&self, shift: TimeDelta) -> String {
        let Survey { good, bad, times } = &self.survey;
        let mut line = format!("{}: {good} {}", self.source.label(), self.table.rows());
        if let Some((oldest, newest)) = times {
            let time = |at: &DateTime<Utc>| (*at + shift).format("%Y-%m-%d %H:%M:%SZ").to_string();
            line += &format!(" from {} to {}", time(oldest), time(newest));
        }
        if !shift.is_zero() {
            line += &format!(", moved by {:.6} days", shift.as_seconds_f64() / 86_400.0);
        }
        if *bad > 0 {
            line += &format!(", {bad} bad rows skipped");
        }
        if self.start.rows_done > 0 {
            line += ", resuming an earlier import";
        }
        line
    }
}

impl Summary {
    pub fn count(&mut self, table: LogTable, rows: u64) {
        match table {
            LogTable::Calls => self.calls += rows,
            LogTable::ErrorLogs => self.errors += rows,
        }
    }
}
