//! The sources of an import: files and other databases. Each is a stream of bounded chunks, parsed in
//! another task than the one that writes.

mod csv;
mod database;
mod file;
mod ndjson;
mod parquet;

pub use database::{TableSource, public_address};
pub use file::FileSource;

use chrono::TimeDelta;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::chunk::{Chunk, ChunkLimits};
use crate::domain::record::Record;
use crate::domain::table::LogTable;
use crate::error::Error;
use crate::store::dialect::Dialect;
use crate::store::import::Position;
use crate::store::zone::StorageZone;

/// A transaction also writes an index page per API key, so that smaller chunks halve the speed with a
/// thousand keys. Holds SQLite's lock for 0.2 s.
const CHUNK: ChunkLimits = ChunkLimits { rows: 20_480, bytes: 4 << 20 };

/// A chunk, and the position of the reader after it.
#[derive(Debug, Default)]
pub struct SourceChunk {
    pub chunk: Chunk,
    pub position: Position,
    /// In units of `Source::size`.
    pub offset: u64,
}

impl SourceChunk {
    /// An empty chunk after the first `rows_done` rows.
    fn after(rows_done: u64) -> Self {
        Self { position: Position { rows_done, missing: vec![] }, ..Self::default() }
    }

    /// Adds the row of the line or id `number`, with its time shifted.
    fn add(&mut self, number: u64, record: Result<Record, String>, options: &ReadOptions) {
        let record = record.and_then(|mut record| {
            let timestamp = match &mut record {
                Record::Call(call) => &mut call.timestamp,
                Record::Error(error) => &mut error.timestamp,
            };
            let shifted = timestamp.checked_add_signed(options.shift);
            *timestamp = shifted.ok_or("the shifted time is out of range")?;
            Ok(record)
        });
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let bytes = match &record {
            Ok(Record::Error(error)) => length(&error.message) + length(&error.request),
            _ => 0,
        };
        self.chunk.add(number, bytes, record.map(Into::into), options.dialect);
    }
}

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{0}")]
    Unusable(String),
    #[error(transparent)]
    Read(#[from] std::io::Error),
    #[error(transparent)]
    Database(#[from] Error),
    #[error("the reader stopped")]
    Stopped(#[from] tokio::task::JoinError),
}

/// Options for reading rows.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// The time zone of naive times.
    pub zone: StorageZone,
    /// The target database.
    pub dialect: Dialect,
    /// Added to every time.
    pub shift: TimeDelta,
}

/// Maximum length of a row, so that a missing quote does not load the whole file into memory.
const ROW_BYTES: u64 = 64 << 20;

/// The rows of a file in one of the formats.
trait Rows {
    /// The next row with its line number; `None` at the end of the file.
    fn next(&mut self, options: &ReadOptions) -> Result<Option<Row>, SourceError>;
    /// Skips a row that an earlier run imported.
    fn skip(&mut self) -> Result<(), SourceError>;
    /// `None` until the first valid row.
    fn table(&self) -> Option<LogTable>;
}

struct Row {
    line: u64,
    record: Result<Record, String>,
}

/// One file, or one table of a database.
#[derive(Clone, Debug)]
pub enum Source {
    File(FileSource),
    Table(TableSource),
}

/// A source that is being read.
pub struct Stream {
    pub chunks: mpsc::Receiver<SourceChunk>,
    pub end: JoinHandle<Result<End, SourceError>>,
}

/// The result of reading a source to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// `None` for a file without rows.
    pub table: Option<LogTable>,
    /// Identifies the source and its content: at most 64 characters.
    pub identity: String,
    /// Of a table, ranges of missing ids that are not remembered.
    pub forgotten: usize,
}

impl Source {
    /// The name in messages, without a password.
    pub fn label(&self) -> &str {
        match self {
            Self::File(file) => file.label(),
            Self::Table(table) => table.label(),
        }
    }

    /// What identifies a row in messages.
    pub fn row_label(&self) -> &'static str {
        match self {
            Self::File(_) => "line",
            Self::Table(_) => "id",
        }
    }

    /// The identity of a table, known before it is read: later rows are appended to it. `None` for a file,
    /// which is identified by a hash of its content.
    pub fn fixed_identity(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            Self::Table(table) => Some(table.identity()),
        }
    }

    /// The maximum of [`SourceChunk::offset`]: the bytes of a file, or the last id of a table.
    pub fn size(&self) -> u64 {
        match self {
            Self::File(file) => file.size(),
            Self::Table(table) => table.last_id(),
        }
    }

    /// Reads from a position on.
    pub fn read(&self, from: &Position, options: ReadOptions) -> Stream {
        let from = from.clone();
        // At most two chunks wait, which limits memory when the database is slower.
        let (sender, chunks) = mpsc::channel(2);
        let end = match self.clone() {
            Self::File(file) => {
                tokio::task::spawn_blocking(move || file.read(from.rows_done, options, &sender))
            }
            Self::Table(table) => {
                tokio::spawn(async move { table.read(from, options, &sender).await })
            }
        };
        Stream { chunks, end }
    }
}
