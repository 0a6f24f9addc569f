//! Records streams of rows of any length. Lines are parsed and validated while the chunk before them is
//! being written. A stream is read no faster than it is recorded, which limits memory.

mod chunk;
pub mod lines;
mod report;
pub mod row;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

pub use report::{Rejection, Report};
pub use stream::Halt;

use super::recorder::{Receipt, Recorder};
use super::source::Kind;
use crate::clock::Clock;
use crate::domain::access::Caller;
use crate::error::Result;
use crate::store::Database;
use crate::store::key_directory::{KeyDirectory, KeySnapshot};
use crate::store::write::Batch;

/// Records streams and spans; one instance per server.
pub struct Intake {
    recorder: Recorder,
    db: Arc<Database>,
    keys: Arc<KeyDirectory>,
    clock: Clock,
    room: Arc<Semaphore>,
    limits: IntakeLimits,
}

/// Limits of streams.
#[derive(Clone, Copy, Debug)]
pub struct IntakeLimits {
    pub line_bytes: usize,
    /// Timeout for the next row, and for the memory of a new chunk.
    pub timeout: Duration,
    /// Maximum of chunks in memory over all streams, about 1 MiB each.
    pub chunks: usize,
}

/// What a stream contains, its sender, and its idempotency key.
#[derive(Clone, Debug)]
pub struct StreamRequest {
    pub kind: Kind,
    pub caller: Arc<Caller>,
    pub key: Option<String>,
}

impl Intake {
    pub fn new(
        recorder: Recorder,
        db: Arc<Database>,
        keys: Arc<KeyDirectory>,
        clock: Clock,
        limits: IntakeLimits,
    ) -> Self {
        Self { recorder, db, keys, clock, room: Arc::new(Semaphore::new(limits.chunks)), limits }
    }

    /// Fails on a read-only database, before a stream is read.
    pub fn check_writable(&self) -> Result<()> {
        self.db.check_writable()
    }

    /// The API key with the id `text`, or why the row is rejected.
    pub(super) async fn resolve(
        &self,
        text: String,
        snapshot: &KeySnapshot,
    ) -> Result<Result<String, String>> {
        let key = self.keys.resolve(&self.db, &text, snapshot).await?;
        Ok(key.map(|key| key.to_string()).ok_or_else(|| "no API key has the id in key".into()))
    }

    pub(super) fn db(&self) -> &Database {
        &self.db
    }

    pub(super) async fn record(&self, batch: Batch) -> Result<Receipt> {
        self.recorder.record(batch).await
    }
}
