//! What became of the lines of a stream.

use serde::Serialize;

/// Rejections that are told one by one.
const MAX_TOLD: usize = 100;

/// What became of the first lines of a stream: each was recorded, before or now, or rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many lines these are, blank ones included: whoever resumes goes on behind them.
    pub lines: u64,
    pub recorded: u64,
    /// Recorded before, under the same idempotency key.
    pub duplicates: u64,
    pub rejected: u64,
    /// The first of those that were rejected.
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
        if self.rejections.len() < MAX_TOLD {
            self.rejections.push(Rejection { line, reason });
        }
    }

    /// Adds what became of the lines that follow.
    pub(super) fn add(&mut self, next: Self) {
        self.lines = next.lines;
        self.recorded += next.recorded;
        self.duplicates += next.duplicates;
        self.rejected += next.rejected;
        let left = MAX_TOLD - self.rejections.len();
        self.rejections.extend(next.rejections.into_iter().take(left));
    }

    /// Whether there were rows and none of them could be kept.
    pub fn is_all_rejected(&self) -> bool {
        self.rejected > 0 && self.recorded + self.duplicates == 0
    }
}
