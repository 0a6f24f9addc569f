//! Records streams of rows of any length. Lines are parsed and validated while the chunk before them is
//! being written. A stream is read no faster than it is recorded, which limits memory.

mod stream;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

pub use stream::Halt;

use super::recorder::Recorder;
use super::row::Row;
use crate::clock::Clock;
use crate::domain::access::Caller;
use crate::domain::key_id::is_key_id;
use crate::domain::table::LogTable;
use crate::error::Result;
use crate::store::Database;
use crate::store::key_directory::{KeyDirectory, KeySnapshot};

/// Records streams and spans; one instance per server.
pub struct Intake {
    pub(super) recorder: Recorder,
    pub(super) db: Arc<Database>,
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
    pub table: LogTable,
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

    /// Replaces a key id by the key. The inner error is why the row is rejected.
    pub(super) async fn resolve_key(
        &self,
        row: &mut Row,
        snapshot: &KeySnapshot,
    ) -> Result<Result<(), String>> {
        if !row.key_may_be_id {
            return Ok(Ok(()));
        }
        let key = row.key_mut();
        let Some(id) = key.take_if(|text| is_key_id(text)) else { return Ok(Ok(())) };
        *key = self.keys.resolve(&self.db, &id, snapshot).await?.map(|key| key.to_string());
        Ok(if key.is_some() { Ok(()) } else { Err("no API key has the id in key".into()) })
    }
}
