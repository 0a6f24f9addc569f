//! Collects rows into chunks with a maximum of rows and bytes.

use chrono::{DateTime, Utc};

use super::ReadOptions;
use super::row::Record;
use crate::domain::record::{CallRecord, ImportedError};
use crate::ingest::validate;

/// Maximum of rows in one chunk, which is one transaction. A transaction also writes an index page per API
/// key, so that smaller chunks halve the speed with a thousand keys. Holds SQLite's lock for 0.2 s.
pub const CHUNK_ROWS: u64 = 20_480;
/// Maximum of bytes in one chunk, approximately: error logs can be long.
const CHUNK_BYTES: usize = 4 << 20;

/// Validated rows, and the bad rows between them.
#[derive(Debug, Default)]
pub struct Chunk {
    pub calls: Vec<CallRecord>,
    pub errors: Vec<ImportedError>,
    pub bad: Vec<BadRow>,
    /// Rows of the file up to the end of this chunk; for a table, the last id.
    pub rows_done: u64,
    /// The position of the reader, in units of `Source::size`.
    pub offset: u64,
    bytes: usize,
}

/// A row that cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// `line 7` of a file, `id 7` of a table.
    pub place: String,
    pub reason: String,
}

impl Chunk {
    /// An empty chunk after the first `rows_done` rows.
    pub fn after(rows_done: u64) -> Self {
        Self { rows_done, ..Self::default() }
    }

    /// Good and bad rows.
    pub fn rows(&self) -> u64 {
        (self.calls.len() + self.errors.len() + self.bad.len()) as u64
    }

    pub fn is_full(&self) -> bool {
        self.rows() >= CHUNK_ROWS || self.bytes >= CHUNK_BYTES
    }

    /// The oldest and the newest time.
    pub fn times(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let calls = self.calls.iter().map(|call| call.timestamp);
        let errors = self.errors.iter().map(|error| error.record.timestamp);
        calls.chain(errors).fold(None, |range, at| {
            let (oldest, newest) = range.unwrap_or((at, at));
            Some((at.min(oldest), at.max(newest)))
        })
    }

    /// Shifts and validates the row at `place`, and adds it as good or bad.
    pub fn add(
        &mut self,
        place: impl FnOnce() -> String,
        parsed: Result<Record, String>,
        options: &ReadOptions,
    ) {
        if let Err(reason) = parsed.and_then(|record| self.add_row(record, options)) {
            self.bad.push(BadRow { place: place(), reason });
        }
    }

    fn add_row(&mut self, record: Record, options: &ReadOptions) -> Result<(), String> {
        let moved = |at: DateTime<Utc>| {
            at.checked_add_signed(options.shift).ok_or("the shifted time is out of range")
        };
        match record {
            Record::Call(mut call) => {
                call.timestamp = moved(call.timestamp)?;
                validate::call(&call)?;
                self.calls.push(call);
            }
            Record::Error(mut error) => {
                error.record.timestamp = moved(error.record.timestamp)?;
                validate::error(&error.record, options.dialect)?;
                let request = error.request_text.as_deref().unwrap_or_default();
                validate::request_text(request, options.dialect)?;
                let message = error.record.message.as_ref().map_or(0, String::len);
                self.bytes += message + request.len();
                self.errors.push(error);
            }
        }
        Ok(())
    }
}
