//! The rows of one transaction, from any source. Chunk borders depend on the rows only, so that a stream
//! that is sent again has the same chunks.

use serde::Serialize;

use super::claim::Content;
use super::row::Row;
use super::validate;
use crate::domain::record::{ErrorRecord, Record};
use crate::store::dialect::Dialect;
use crate::store::write::Batch;

/// Maximum of rejections that a report lists.
const MAX_REJECTIONS: usize = 100;

/// When a chunk is full: at a number of rows, or at an approximate size, because error logs can be long.
#[derive(Clone, Copy, Debug)]
pub struct ChunkLimits {
    pub rows: u64,
    pub bytes: usize,
}

#[derive(Debug, Default)]
pub struct Chunk {
    pub batch: Batch,
    /// Hash of the rows, if they have an idempotency key.
    pub content: Option<Content>,
    /// The report of its rows, of which `accepted` are added when the chunk is recorded.
    pub report: Report,
    pub accepted: u64,
    rows: u64,
    bytes: usize,
}

/// The outcome of the first `lines` lines of a stream: each was recorded, recorded before, or rejected.
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
    /// Counted from 1; for a row of another database, its id.
    pub line: u64,
    pub reason: String,
}

impl Chunk {
    pub fn new(keyed: bool) -> Self {
        Self { content: keyed.then(Content::default), ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub fn is_full(&self, limits: ChunkLimits) -> bool {
        self.rows >= limits.rows || self.bytes >= limits.bytes
    }

    /// Adds the row of the line `number` and of `bytes`, or why the line is invalid.
    pub fn add(&mut self, number: u64, bytes: usize, row: Result<Row, String>, to: Dialect) {
        self.add_blank(number);
        self.bytes += bytes;
        match row.and_then(|row| self.add_valid(row, to)) {
            Ok(()) => self.accepted += 1,
            Err(reason) => self.report.reject(number, reason),
        }
    }

    /// Counts the blank line `number`.
    pub fn add_blank(&mut self, number: u64) {
        self.rows += 1;
        self.report.lines = number;
    }

    /// Adds a row if a database of this kind can store it.
    pub fn add_valid(&mut self, mut row: Row, to: Dialect) -> Result<(), String> {
        match &row.record {
            Record::Call(call) => validate::call(call)?,
            Record::Error(error) => validate::error(error, to)?,
        }
        let error = row.take_error_log()?;
        if let Some(error) = &error {
            validate::error(error, to).map_err(|reason| format!("in error: {reason}"))?;
        }
        self.push(row, error);
        Ok(())
    }

    /// Adds a row that [`super::recorder::Recorder::record`] validates.
    pub fn add_unchecked(&mut self, mut row: Row) -> Result<(), &'static str> {
        let error = row.take_error_log()?;
        self.push(row, error);
        Ok(())
    }

    fn push(&mut self, row: Row, error_of_call: Option<ErrorRecord>) {
        let Row { record, timed, .. } = row;
        if let Some(content) = &mut self.content {
            content.add(&record, timed);
        }
        match record {
            Record::Call(call) => self.batch.calls.push(call),
            Record::Error(error) => self.batch.errors.push(error),
        }
        if let Some(error) = error_of_call {
            if let Some(content) = &mut self.content {
                content.add_error(&error, timed);
            }
            self.batch.errors.push(error);
        }
    }
}

impl Report {
    fn reject(&mut self, line: u64, reason: String) {
        self.rejected += 1;
        if self.rejections.len() < MAX_REJECTIONS {
            self.rejections.push(Rejection { line, reason });
        }
    }

    /// Adds the report of the next lines.
    pub fn add(&mut self, next: Self) {
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
