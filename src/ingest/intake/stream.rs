//! One stream on its way: one chunk gathers while the one before it is being recorded.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, sleep_until};

use super::chunk::Chunk;
use super::lines::{Line, Lines};
use super::report::Report;
use super::row::{self, Row};
use super::{Intake, Order};
use crate::domain::key_id::is_key_id;
use crate::error::{Error, Result};
use crate::ingest::claim::claim;
use crate::ingest::recorder::{Receipt, Submitted};
use crate::ingest::source::Kind;
use crate::store::key_directory::KeySnapshot;
use crate::within::{Late, within};

/// What came is recorded after this time though its chunk is not full. Not so under a key, whose
/// chunks must have the same borders at each try.
const GATHER: Duration = Duration::from_millis(100);

/// Why a stream was not read to its end.
#[derive(Clone, Debug)]
pub enum Halt {
    /// The connection broke, or what came is not packed as it should be.
    Unreadable,
    /// The body is compressed more than the server takes.
    TooDense,
    /// No row arrived for so long.
    Stalled(Duration),
    /// The server stops.
    Stopping,
    /// Nothing more can be recorded.
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Intake {
    /// Records a stream of lines, whole chunk after whole chunk, until its end or until `stopped` ends;
    /// tells what became of the lines, all of them or, where it was halted, the first.
    pub async fn take<E: Into<Halt>>(
        &self,
        order: Order,
        parts: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
        stopped: impl Future<Output = ()>,
    ) -> (Report, Result<(), Halt>) {
        let mut taking = Taking {
            intake: self,
            lines: Lines::new(self.limits.line_bytes),
            chunk: Chunk::new(order.key.is_some()),
            position: 0,
            writing: None,
            report: Report::default(),
            key_snapshot: KeySnapshot::default(),
            time_left: self.limits.patience,
            order,
        };
        // A line that is given up half way is in no chunk yet.
        let read = tokio::select! {
            biased;
            read = taking.read(parts) => read,
            () = stopped => Err(Halt::Stopping),
        };
        let settled = taking.settle().await;
        (taking.report, read.and(settled))
    }
}

struct Taking<'a> {
    intake: &'a Intake,
    order: Order,
    lines: Lines,
    chunk: Chunk,
    /// Of the chunk in the stream.
    position: u64,
    writing: Option<Writing>,
    report: Report,
    /// For the ids of keys in the chunk that gathers. A stream may last for days.
    key_snapshot: KeySnapshot,
    /// How much longer the stream may take for its next row. Blank lines are no rows: a client that
    /// sends nothing else would keep its place for ever. The time of the server does not count.
    time_left: Duration,
}

/// A chunk that is being recorded. It goes on where nobody waits any more: what is recorded under a
/// key is known by it.
struct Writing {
    submitted: Submitted,
    report: Report,
    kept: u64,
}

impl Taking<'_> {
    async fn read<E: Into<Halt>>(
        &mut self,
        parts: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    ) -> Result<(), Halt> {
        while let Some(part) = self.next_part(parts).await? {
            self.take_part(&part).await?;
        }
        if let Some(line) = self.lines.last() {
            let line = parse(line, self.intake, self.order.kind);
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
            let gathered_at = self.chunk.since.filter(|_| is_idle && self.order.key.is_none());
            let start = Instant::now();
            tokio::select! {
                // First: a part that is there needs no timer.
                biased;
                part = within(start + self.time_left, parts.next()) => {
                    self.time_left = self.time_left.saturating_sub(start.elapsed());
                    return match part {
                        Err(Late) => Err(Halt::Stalled(self.intake.limits.patience)),
                        Ok(None) => Ok(None),
                        Ok(Some(part)) => part.map(Some).map_err(Into::into),
                    };
                }
                recorded = recorded(&mut self.writing) => {
                    self.time_left = self.time_left.saturating_sub(start.elapsed());
                    self.finish(recorded)?;
                }
                () = due(gathered_at) => {
                    self.time_left = self.time_left.saturating_sub(start.elapsed());
                    self.submit().await?;
                }
            }
        }
    }

    async fn take_part(&mut self, mut part: &[u8]) -> Result<(), Halt> {
        while let Some(line) = self.lines.next(&mut part) {
            if line.text.is_some_and(<[u8]>::is_empty) {
                self.chunk.add_blank(line.number);
                if self.chunk.is_full() {
                    self.submit().await?;
                }
                continue;
            }
            self.time_left = self.intake.limits.patience;
            let line = parse(line, self.intake, self.order.kind);
            self.take_line(line).await?;
        }
        // Also of a stream whose next part is always there.
        if self.time_left.is_zero() {
            return Err(Halt::Stalled(self.intake.limits.patience));
        }
        Ok(())
    }

    async fn take_line(&mut self, line: Parsed) -> Result<(), Halt> {
        let Parsed { number, bytes, mut row } = line;
        if self.chunk.room.is_none() {
            // Those that hold room record without asking for more, so that it always comes free.
            let room = pin!(self.intake.room.clone().acquire_owned());
            let room = within(Instant::now() + self.intake.limits.patience, room).await;
            let room = room.map_err(|Late| Error::Busy)?;
            self.chunk.room = room.ok();
            self.chunk.since = Some(Instant::now());
        }
        if let Ok(Some(found)) = &mut row {
            row = self.resolve_key(found).await?.map_or(row, Err);
        }
        self.chunk.add(number, bytes, row, self.intake.db.dialect());
        if self.chunk.is_full() {
            self.submit().await?;
        }
        Ok(())
    }

    /// Puts the key in the place of its id; tells what is wrong with it.
    async fn resolve_key(&self, row: &mut Row) -> Result<Option<String>> {
        if !row.key_may_be_id {
            return Ok(None);
        }
        let key = row.key_mut();
        let Some(text) = key.take_if(|text| is_key_id(text)) else { return Ok(None) };
        Ok(match self.intake.resolve(text, &self.key_snapshot).await? {
            Ok(found) => {
                *key = Some(found);
                None
            }
            Err(reason) => Some(reason),
        })
    }

    /// Begins to record what was gathered, once the chunk before it is recorded: nothing may be
    /// recorded behind a fault, where whoever resumes would send it again.
    async fn submit(&mut self) -> Result<(), Halt> {
        self.settle().await?;
        if self.chunk.is_empty() {
            return Ok(());
        }
        self.key_snapshot = KeySnapshot::default();
        let new = Chunk::new(self.order.key.is_some());
        let Chunk { mut batch, content, report, kept, room, .. } =
            std::mem::replace(&mut self.chunk, new);
        let position = self.position;
        self.position += 1;
        if kept == 0 {
            self.report.add(report);
            return Ok(());
        }
        if let (Some(key), Some(content)) = (&self.order.key, content) {
            let what = match self.order.kind {
                Kind::Calls => format!("ingest/calls {position}"),
                Kind::Errors => format!("ingest/errors {position}"),
            };
            batch.claim = Some(claim(&self.order.caller, &what, key, content));
        }
        let room = room.ok_or_else(|| Error::internal("a chunk of rows without room"))?;
        let submitted = self.intake.recorder.submit(batch, room)?;
        self.writing = Some(Writing { submitted, report, kept });
        Ok(())
    }

    /// Waits until what is being recorded is, or is known not to be.
    async fn settle(&mut self) -> Result<(), Halt> {
        match self.writing {
            Some(_) => {
                let recorded = recorded(&mut self.writing).await;
                self.finish(recorded)
            }
            None => Ok(()),
        }
    }

    fn finish(&mut self, (receipt, writing): (Result<Receipt>, Writing)) -> Result<(), Halt> {
        let Writing { mut report, kept, .. } = writing;
        match receipt?.duplicate {
            true => report.duplicates = kept,
            false => report.recorded = kept,
        }
        self.report.add(report);
        Ok(())
    }
}

/// What became of the chunk that is being recorded; never ends where there is none.
async fn recorded(writing: &mut Option<Writing>) -> (Result<Receipt>, Writing) {
    let receipt = match writing {
        Some(writing) => (&mut writing.submitted).await,
        None => pending().await,
    };
    match writing.take() {
        Some(writing) => (receipt, writing),
        None => pending().await,
    }
}

/// When a chunk has gathered for long enough; never where there is none.
async fn due(since: Option<Instant>) {
    match since {
        // In a box, where it is not in the way of those who never wait.
        Some(since) => Box::pin(sleep_until(since + GATHER)).await,
        None => pending().await,
    }
}

/// A line as it was read.
struct Parsed {
    number: u64,
    bytes: usize,
    row: Result<Option<Row>, String>,
}

fn parse(line: Line<'_>, intake: &Intake, kind: Kind) -> Parsed {
    let Line { number, text } = line;
    let Some(text) = text else {
        let reason = format!("longer than {} bytes", intake.limits.line_bytes);
        return Parsed { number, bytes: 0, row: Err(reason) };
    };
    let (bytes, row) = row::parse(text, kind, intake.db.zone(), intake.clock.now());
    Parsed { number, bytes, row }
}
