//! The sources of an import: files and other databases. Each is a stream of bounded chunks, parsed in
//! another task than the one that writes.

mod chunk;
mod csv;
mod database;
mod file;
mod ndjson;
mod parquet;
pub mod row;

pub use chunk::{BadRow, CHUNK_ROWS, Chunk};
pub use database::{TableSource, public_address};
pub use file::FileSource;

use chrono::TimeDelta;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::store::dialect::Dialect;
use crate::store::zone::StorageZone;

/// The table of a row: calls or error logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Calls,
    Errors,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Errors => "error logs",
        }
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

/// One file, or one table of a database.
#[derive(Clone, Debug)]
pub enum Source {
    File(FileSource),
    Table(TableSource),
}

/// A source that is being read.
pub struct Stream {
    pub chunks: mpsc::Receiver<Chunk>,
    pub end: JoinHandle<Result<End, SourceError>>,
}

/// The result of reading a source to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// `None` for a file without rows.
    pub kind: Option<Kind>,
    /// Identifies the source and its content: at most 64 characters.
    pub identity: String,
}

impl Source {
    /// The name in messages, without a password.
    pub fn label(&self) -> &str {
        match self {
            Self::File(file) => file.label(),
            Self::Table(table) => table.label(),
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

    /// The maximum of [`Chunk::offset`]: the bytes of a file, or the last id of a table.
    pub fn size(&self) -> u64 {
        match self {
            Self::File(file) => file.size(),
            Self::Table(table) => table.last_id(),
        }
    }

    /// Reads after the first `skip` rows of a file, or after the id `skip` of a table.
    pub fn read(&self, skip: u64, options: ReadOptions) -> Stream {
        // At most two chunks wait, which limits memory when the database is slower.
        let (sender, chunks) = mpsc::channel(2);
        let end = match self.clone() {
            Self::File(file) => {
                tokio::task::spawn_blocking(move || file.read(skip, options, &sender))
            }
            Self::Table(table) => {
                tokio::spawn(async move { table.read(skip, options, &sender).await })
            }
        };
        Stream { chunks, end }
    }
}
