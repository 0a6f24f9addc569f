//! The rows of one transaction. Chunk borders depend on the lines only, so that a stream that is sent
//! again has the same chunks.

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::report::Report;
use super::row::Row;
use crate::domain::record::{CallRecord, ImportedError};
use crate::ingest::call_error::CallError;
use crate::ingest::claim::Content;
use crate::ingest::source::row::Record;
use crate::ingest::validate;
use crate::store::dialect::Dialect;
use crate::store::write::Batch;

/// Maximum of lines in one chunk: enough to make the cost of a commit small, few enough that other
/// writers wait less than about 50 ms.
pub const CHUNK_LINES: u64 = 4096;
/// Maximum of bytes in one chunk, approximately: error logs can be long.
const CHUNK_BYTES: usize = 1 << 20;

#[derive(Default)]
pub struct Chunk {
    pub batch: Batch,
    /// Hash of the rows, if the stream has an idempotency key.
    pub content: Option<Content>,
    /// The report of its lines, of which `accepted` are added when the chunk is recorded.
    pub report: Report,
    pub accepted: u64,
    lines: u64,
    bytes: usize,
    /// When its first line arrived, and its share of the memory limit.
    pub since: Option<Instant>,
    pub room: Option<OwnedSemaphorePermit>,
}

impl Chunk {
    pub fn new(keyed: bool) -> Self {
        Self { content: keyed.then(Content::default), ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    pub fn is_full(&self) -> bool {
        self.lines >= CHUNK_LINES || self.bytes >= CHUNK_BYTES
    }

    /// Adds the line `number` of `bytes`: a row, or why the line is invalid.
    pub fn add(
        &mut self,
        number: u64,
        bytes: usize,
        line: Result<Option<Row>, String>,
        to: Dialect,
    ) {
        self.lines += 1;
        self.bytes += bytes;
        self.report.lines = number;
        let added = line.and_then(|row| row.map(|row| self.add_row(row, to)).transpose());
        match added {
            Ok(row) => self.accepted += u64::from(row.is_some()),
            Err(reason) => self.report.reject(number, reason),
        }
    }

    /// Counts the blank line `number`.
    pub fn add_blank(&mut self, number: u64) {
        self.lines += 1;
        self.report.lines = number;
    }

    fn add_row(&mut self, row: Row, to: Dialect) -> Result<(), String> {
        match row.record {
            Record::Call(call) => self.add_call(call, row.error, row.timed, to),
            Record::Error(ImportedError { record: error, .. }) => {
                validate::error(&error, to)?;
                if let Some(content) = &mut self.content {
                    content.add_error(&error, row.timed);
                }
                self.batch.errors.push(error);
                Ok(())
            }
        }
    }

    fn add_call(
        &mut self,
        call: CallRecord,
        error: Option<CallError>,
        timed: bool,
        to: Dialect,
    ) -> Result<(), String> {
        validate::call(&call)?;
        let error = error.map(|error| error.into_error_log(&call)).transpose()?;
        if let Some(error) = &error {
            validate::error(error, to).map_err(|reason| format!("in error: {reason}"))?;
        }
        if let Some(content) = &mut self.content {
            content.add_call(&call, timed);
            error.iter().for_each(|error| content.add_error(error, timed));
        }
        self.batch.errors.extend(error);
        self.batch.calls.push(call);
        Ok(())
    }
}
