//! The rows that one transaction records. Its borders follow from the lines alone, so that the same
//! stream has the same chunks whenever it is sent.

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

/// Lines of one chunk: enough that a commit costs little beside them, and few enough that others who
/// record wait for some hundredths of a second.
pub const CHUNK_LINES: u64 = 4096;
/// Error logs can be long: a chunk ends at about this many bytes, too.
const CHUNK_BYTES: usize = 1 << 20;

#[derive(Default)]
pub struct Chunk {
    pub batch: Batch,
    /// What its key stands for, where there is one.
    pub content: Option<Content>,
    /// What will have become of its lines, and `kept` of them, once it is recorded.
    pub report: Report,
    pub kept: u64,
    lines: u64,
    bytes: usize,
    /// When its first line came, and the room that it takes since.
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

    /// Adds the line `number`, which weighs so many bytes: a row, or what cannot be read.
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
        let kept = line.and_then(|row| row.map(|row| self.keep(row, to)).transpose());
        match kept {
            Ok(row) => self.kept += u64::from(row.is_some()),
            Err(reason) => self.report.reject(number, reason),
        }
    }

    /// Adds the blank line `number`. It has a place of its own in the chunk and costs nothing else.
    pub fn add_blank(&mut self, number: u64) {
        self.lines += 1;
        self.report.lines = number;
    }

    fn keep(&mut self, row: Row, to: Dialect) -> Result<(), String> {
        match row.record {
            Record::Call(call) => self.keep_call(call, row.error, row.timed, to),
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

    fn keep_call(
        &mut self,
        call: CallRecord,
        error: Option<CallError>,
        timed: bool,
        to: Dialect,
    ) -> Result<(), String> {
        validate::call(&call)?;
        let error = error.map(|error| error.of(&call)).transpose()?;
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
