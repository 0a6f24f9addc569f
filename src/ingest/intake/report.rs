//! The report of a stream: recorded and rejected lines.

use serde::Serialize;

/// Maximum of rejections that are listed.
const MAX_REJECTIONS: usize = 100;

/// The outcome of the first `lines` lines: each was recorded, recorded before, or rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Processed lines, including blank ones: a client resumes after them.
    pub lines: u64,
    pub recorded: u64,
    /// Recorded before, under the same idempotency key.
    pub duplicates: u64,
    pub rejected: u64,
    /// The first rejected lines.
    pub rejections: Vec<Rejection>,
}

/// A line that was not recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// Counted from 1.
    pub line: u64,
    pub reason: String,
}

impl Report {
    pub(super) fn reject(&mut self, line: u64, reason: String) {
        self.rejected += 1;
        if self.rejections.len() < MAX_REJECTIONS {
            self.rejections.push(Rejection { line, reason });
        }
    }

    /// Adds the report of the next lines.
    pub(super) fn add(&mut self, next: Self) {
        self.lines = next.lines;
        self.recorded += next.recorded;
        self.duplicates += next.duplicates;
        self.rejected += next.rejected;
        let left = MAX_REJECTIONS - self.rejections.len();
        self.rejections.extend(next.rejections.into_iter().take(left));
    }

    /// Whether there were rows and all were rejected.
    pub fn is_all_rejected(&self) -> bool {
        self.rejected > 0 && self.recorded + self.duplicates == 0
    }
}
