//! Records one stream: a chunk gathers while the previous one is being written.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{Intake, StreamRequest};
use crate::domain::table::LogTable;
use crate::error::{Error, Result};
use crate::ingest::chunk::{Chunk, ChunkLimits, Report};
use crate::ingest::claim::claim;
use crate::ingest::lines::{Line, Lines};
use crate::ingest::object::read_row;
use crate::ingest::recorder::{PendingReceipt, Receipt};
use crate::ingest::row::Row;
use crate::store::key_directory::KeySnapshot;

/// Enough lines to make the cost of a commit small, few enough that other writers wait less than about
/// 50 ms.
const CHUNK: ChunkLimits = ChunkLimits { rows: 4096, bytes: 1 << 20 };

/// A chunk that is not full is recorded after this time. Not with an idempotency key: the chunk borders
/// must be the same on each retry.
const GATHER: Duration = Duration::from_millis(100);

/// Why reading a stream stopped early.
#[derive(Clone, Debug)]
pub enum Halt {
    /// The connection failed, or the compressed data is invalid.
    Unreadable,
    /// The compression ratio of the body is above the limit.
    TooDense,
    /// No row arrived within the timeout.
    Stalled(Duration),
    /// The server is shutting down.
    Stopping,
    /// Recording failed.
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Intake {
    /// Records a stream of lines in chunks, until it ends or `stopped` resolves. The report covers all
    /// lines, or if the stream was halted, the first ones.
    pub async fn record_stream<E: Into<Halt>>(
        &self,
        request: StreamRequest,
        parts: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
        stopped: impl Future<Output = ()>,
    ) -> (Report, Result<(), Halt>) {
        let mut state = StreamState {
            intake: self,
            lines: Lines::new(self.limits.line_bytes),
            chunk: Chunk::new(request.key.is_some()),
            room: None,
            since: None,
            position: 0,
            writing: None,
            report: Report::default(),
            key_snapshot: KeySnapshot::default(),
            time_left: self.limits.timeout,
            request,
        };
        // Cancelling drops only a line that is not yet in a chunk.
        let read = tokio::select! {
            biased;
            read = state.read(parts) => read,
            () = stopped => Err(Halt::Stopping),
        };
        let settled = state.settle().await;
        (state.report, read.and(settled))
    }
}

struct StreamState<'a> {
    intake: &'a Intake,
    request: StreamRequest,
    lines: Lines,
    chunk: Chunk,
    /// The share of the memory limit of the chunk, and when its first line arrived.
    room: Option<OwnedSemaphorePermit>,
    since: Option<Instant>,
    /// The number of the current chunk.
    position: u64,
    writing: Option<PendingChunk>,
    report: Report,
    /// Resolves key ids of the current chunk. Renewed for each chunk: a stream may last for days.
    key_snapshot: KeySnapshot,
    /// Time left for the next row. Blank lines do not count as rows: a client that sends only those would
    /// keep its stream open for ever. Time that the server takes does not count.
    time_left: Duration,
}

/// A chunk that is being written. Writing continues after the client disconnects; a retry finds the chunk
/// by its idempotency key.
struct PendingChunk {
    receipt: PendingReceipt,
    report: Report,
    accepted: u64,
}

impl StreamState<'_> {
    async fn read<E: Into<Halt>>(
        &mut self,
        parts: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    ) -> Result<(), Halt> {
        while let Some(part) = self.next_part(parts).await? {
            self.take_part(&part).await?;
        }
        if let Some(line) = self.lines.last() {
            let line = parse(line, self.intake, self.request.table);
            self.take_line(line).await?;
        }
        self.submit().await
    }

    async fn next_part<E: Into<Halt>>(
        &mut self,
        parts: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    ) -> Result<Option<Bytes>, Halt> {
        loop {
            let is_idle = self.writing.is_none();
            let gathered_at = self.since.filter(|_| is_idle && self.request.key.is_none());
            let start = Instant::now();
            tokio::select! {
                // First: a part that has arrived needs no timer.
                biased;
                part = timeout_at(start + self.time_left, parts.next()) => {
                    self.time_left = self.time_left.saturating_sub(start.elapsed());
                    return match part {
                        Err(_) => Err(Halt::Stalled(self.intake.limits.timeout)),
                        Ok(None) => Ok(None),
                        Ok(Some(part)) => part.map(Some).map_err(Into::into),
                    };
                }
                recorded = recorded(&mut self.writing) => {
                    self.time_left = self.time_left.saturating_sub(start.elapsed());
                    self.finish(recorded)?;
                }
                () = wait_until_due(gathered_at) => {
                    self.time_left = self.time_left.saturating_sub(start.elapsed());
                    self.submit().await?;
                }
            }
        }
    }

    async fn take_part(&mut self, mut part: &[u8]) -> Result<(), Halt> {
        while let Some(line) = self.lines.next(&mut part) {
            let line = parse(line, self.intake, self.request.table);
            self.take_line(line).await?;
        }
        // Checked here as well, for streams that never have to wait for a part.
        if self.time_left.is_zero() {
            return Err(Halt::Stalled(self.intake.limits.timeout));
        }
        Ok(())
    }

    async fn take_line(&mut self, line: Parsed) -> Result<(), Halt> {
        let Parsed { number, bytes, row } = line;
        let Some(mut row) = row else {
            self.chunk.add_blank(number);
            return self.submit_if_full().await;
        };
        self.time_left = self.intake.limits.timeout;
        if self.room.is_none() {
            // A chunk with its share is recorded without acquiring more, so that shares are always released.
            let room = pin!(self.intake.room.clone().acquire_owned());
            let room = timeout(self.intake.limits.timeout, room).await;
            let room = room.map_err(|_| Error::Busy)?;
            self.room = room.ok();
            self.since = Some(Instant::now());
        }
        if let Ok(found) = &mut row
            && let Err(reason) = self.intake.resolve_key(found, &self.key_snapshot).await?
        {
            row = Err(reason);
        }
        self.chunk.add(number, bytes, row, self.intake.db.dialect());
        self.submit_if_full().await
    }

    async fn submit_if_full(&mut self) -> Result<(), Halt> {
        match self.chunk.is_full(CHUNK) {
            true => self.submit().await,
            false => Ok(()),
        }
    }

    /// Submits the current chunk after the previous one is recorded: nothing may be recorded after a
    /// failed chunk, because a client that resumes would send it again.
    async fn submit(&mut self) -> Result<(), Halt> {
        self.settle().await?;
        if self.chunk.is_empty() {
            return Ok(());
        }
        self.key_snapshot = KeySnapshot::default();
        let new = Chunk::new(self.request.key.is_some());
        let Chunk { mut batch, content, report, accepted, .. } =
            std::mem::replace(&mut self.chunk, new);
        let room = self.room.take();
        self.since = None;
        let position = self.position;
        self.position += 1;
        if accepted == 0 {
            self.report.add(report);
            return Ok(());
        }
        if let (Some(key), Some(content)) = (&self.request.key, content) {
            let what = match self.request.table {
                LogTable::Calls => format!("ingest/calls {position}"),
                LogTable::ErrorLogs => format!("ingest/errors {position}"),
            };
            batch.claim = Some(claim(&self.request.caller, &what, key, content));
        }
        let room = room.ok_or_else(|| {
            Error::internal("a chunk of rows without a share of the memory limit")
        })?;
        let receipt = self.intake.recorder.submit(batch, room)?;
        self.writing = Some(PendingChunk { receipt, report, accepted });
        Ok(())
    }

    /// Waits for the outcome of the chunk that is being written.
    async fn settle(&mut self) -> Result<(), Halt> {
        match self.writing {
            Some(_) => {
                let recorded = recorded(&mut self.writing).await;
                self.finish(recorded)
            }
            None => Ok(()),
        }
    }

    fn finish(&mut self, (receipt, pending): (Result<Receipt>, PendingChunk)) -> Result<(), Halt> {
        let PendingChunk { mut report, accepted, .. } = pending;
        match receipt?.duplicate {
            true => report.duplicates = accepted,
            false => report.recorded = accepted,
        }
        self.report.add(report);
        Ok(())
    }
}

/// The outcome of the chunk that is being written; without one, never resolves.
async fn recorded(writing: &mut Option<PendingChunk>) -> (Result<Receipt>, PendingChunk) {
    let receipt = match writing {
        Some(writing) => (&mut writing.receipt).await,
        None => pending().await,
    };
    match writing.take() {
        Some(writing) => (receipt, writing),
        None => pending().await,
    }
}

/// Resolves when the chunk has gathered for `GATHER`; without one, never.
async fn wait_until_due(since: Option<Instant>) {
    match since {
        // Boxed, to keep the future of the common case small.
        Some(since) => Box::pin(sleep_until(since + GATHER)).await,
        None => pending().await,
    }
}

/// A parsed line.
struct Parsed {
    number: u64,
    bytes: usize,
    /// `None` for a blank line.
    row: Option<Result<Row, String>>,
}

fn parse(line: Line<'_>, intake: &Intake, table: LogTable) -> Parsed {
    let Line { number, text } = line;
    let (bytes, row) = match text {
        None => {
            let reason = format!("longer than {} bytes", intake.limits.line_bytes);
            (0, Some(Err(reason)))
        }
        Some([]) => (0, None),
        Some(text) => {
            let (bytes, row) = read_row(text, table, intake.db.zone(), intake.clock.now());
            (bytes, Some(row))
        }
    };
    Parsed { number, bytes, row }
}
