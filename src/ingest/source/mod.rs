//! Where an import reads from: files and other databases, both as a stream of bounded chunks that
//! are parsed on another thread than the one that writes.

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

/// What a source holds: one of the gateway's two tables.
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

/// A source that cannot be read on; the text says why.
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

/// How the rows of a source are read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// The zone of naive times.
    pub zone: StorageZone,
    /// The kind of database that the rows are for.
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

/// A source while it is read.
pub struct Stream {
    pub chunks: mpsc::Receiver<Chunk>,
    pub end: JoinHandle<Result<End, SourceError>>,
}

/// What is known when a source was read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// `None`: a file without a row.
    pub kind: Option<Kind>,
    /// Names the source for as long as it stays the same: at most 64 characters.
    pub identity: String,
}

impl Source {
    /// The name in messages; never with a password.
    pub fn label(&self) -> &str {
        match self {
            Self::File(file) => file.label(),
            Self::Table(table) => table.label(),
        }
    }

    /// The identity of a table, which is known before it is read and to which rows are added after
    /// those that were imported. A file's is that of its content.
    pub fn fixed_identity(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            Self::Table(table) => Some(table.identity()),
        }
    }

    /// What [`Chunk::offset`] counts up to: the bytes of a file, the last id of a table.
    pub fn size(&self) -> u64 {
        match self {
            Self::File(file) => file.size(),
            Self::Table(table) => table.last_id(),
        }
    }

    /// Starts to read after the first `skip` rows of a file, or after the id `skip` of a table.
    pub fn read(&self, skip: u64, options: ReadOptions) -> Stream {
        // Two chunks wait at most, so that memory stays flat when the database is the slower side.
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
