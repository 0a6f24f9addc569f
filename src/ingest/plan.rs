//! What an import knows of a source before it writes, and of a run when it ends.

use chrono::{DateTime, TimeDelta, Utc};

use super::source::{Chunk, Kind, Source};
use crate::store::import::Import;

/// What a run did, or in a dry run would have done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub calls: u64,
    pub errors: u64,
    /// Left out of sources that were imported.
    pub bad_rows: u64,
    /// Sources that were imported before.
    pub known: u64,
    /// Sources of which nothing was kept.
    pub refused: u64,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

/// A source that was read once, and what is to be done with it.
pub(super) struct Plan {
    pub source: Source,
    pub identity: String,
    pub kind: Kind,
    /// Of the rows that are not imported yet.
    pub survey: Survey,
    /// How far an earlier run came.
    pub earlier: Option<Import>,
    /// The `rows_done` to begin after.
    pub skip: u64,
}

#[derive(Default)]
pub(super) struct Survey {
    pub good: u64,
    pub bad: u64,
    pub times: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Survey {
    pub fn add(&mut self, chunk: &Chunk) {
        self.good += (chunk.calls.len() + chunk.errors.len()) as u64;
        self.bad += chunk.bad.len() as u64;
        self.times = match (self.times, chunk.times()) {
            (Some((oldest, newest)), Some((from, to))) => Some((oldest.min(from), newest.max(to))),
            (known, None) => known,
            (None, found) => found,
        };
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
            rows_done: 0,
            shift_micros: shift.num_microseconds().unwrap_or(0),
            finished: false,
        }
    }

    /// One line for the user.
    pub fn outlook(&self, shift: TimeDelta) -> String {
        let Survey { good, bad, times } = &self.survey;
        let mut line = format!("{}: {good} {}", self.source.label(), self.kind.name());
        if let Some((oldest, newest)) = times {
            let time = |at: &DateTime<Utc>| (*at + shift).format("%Y-%m-%d %H:%M:%SZ").to_string();
            line += &format!(" from {} to {}", time(oldest), time(newest));
        }
        if !shift.is_zero() {
            line += &format!(", moved by {:.6} days", shift.as_seconds_f64() / 86_400.0);
        }
        if *bad > 0 {
            line += &format!(", {bad} bad rows left out");
        }
        if self.skip > 0 {
            line += ", going on where an earlier import ended";
        }
        line
    }
}

impl Summary {
    pub fn count(&mut self, kind: Kind, rows: u64) {
        match kind {
            Kind::Calls => self.calls += rows,
            Kind::Errors => self.errors += rows,
        }
    }
}
