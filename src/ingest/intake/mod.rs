//! Takes streams of rows of any length: lines are read and checked while those before them are being
//! recorded. A stream is read on only as fast as it is recorded, so that memory stays flat and its
//! sender waits.

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

/// Takes what producers send; one for the whole server.
pub struct Intake {
    recorder: Recorder,
    db: Arc<Database>,
    keys: Arc<KeyDirectory>,
    clock: Clock,
    room: Arc<Semaphore>,
    limits: IntakeLimits,
}

/// What a sender may ask of the server.
#[derive(Clone, Copy, Debug)]
pub struct IntakeLimits {
    pub line_bytes: usize,
    /// How long a line may take to come, and a chunk to find room.
    pub patience: Duration,
    /// Chunks that all streams may hold together, of about a megabyte each.
    pub chunks: usize,
}

/// Who sends a stream, of what, and the key under which it is recorded once.
#[derive(Clone, Debug)]
pub struct Order {
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

    /// Refuses all where nothing can be recorded, before anything is read.
    pub fn check_writable(&self) -> Result<()> {
        self.db.check_writable()
    }

    /// The key that `text` means, or why it means none.
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
