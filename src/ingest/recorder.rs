//! Group commit: what many callers record at the same time is stored by one transaction, since a
//! commit costs far more than a row. While one group is being written the next one gathers, so that a
//! single caller waits for nobody. Those who come in crowds are waited for, a moment: they are about to
//! send again, and two halves of a crowd would cost twice the commits, and those who read their share
//! of the processor. An answer goes out after the commit.

use std::collections::{HashSet, VecDeque};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::validate;
use crate::clock::ClockWatch;
use crate::error::{Error, Result};
use crate::store::Database;
use crate::store::idempotency::{self, ClaimTime, Recorded};
use crate::store::transaction::Fault;
use crate::store::write::{self, Batch, Outcome};
use crate::supervisor::{Job, supervise};

/// The name of the job that writes.
pub const RECORDER: &str = "recorder";

/// A transaction is full with so many rows, or KiB: MySQL takes statements of 16 MiB.
const ROWS_PER_GROUP: usize = 4096;
const KIB_PER_GROUP: u32 = 4096;

/// A crowd, and how long a group waits until as many are there as were in the last one. The timer
/// counts whole milliseconds, so that it may be one more.
const CROWD: usize = 8;
const GATHER: Duration = Duration::from_millis(1);

/// What may wait to be written by default, in KiB: more is refused, so that a slow database costs no
/// memory.
const MAX_WAITING_KIB: usize = 64 * 1024;

/// How often old idempotency keys are looked for, and how many statements may then remove them.
const FORGET_EVERY: Duration = Duration::from_secs(60);
const FORGET_PASSES: u32 = 100;

/// Takes what is recorded; cheap to clone. Writing ends when the last one is dropped and what
/// waited is stored.
#[derive(Clone)]
pub struct Recorder {
    db: Arc<Database>,
    queue: UnboundedSender<Submission>,
    room: Arc<Semaphore>,
}

struct Submission {
    batch: Batch,
    reply: oneshot::Sender<Result<Outcome>>,
    kib: u32,
    _room: OwnedSemaphorePermit,
}

/// What was recorded, now or, for a key that was used before, the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub recorded: Recorded,
    pub duplicate: bool,
}

impl Recorder {
    /// Starts the task that writes, and forgets idempotency keys older than `remember`.
    pub fn start(db: Arc<Database>, clock: Arc<ClockWatch>, remember: TimeDelta) -> Self {
        Self::start_with(db, clock, remember, FORGET_EVERY)
    }

    /// The same for a test, which waits for no minute to see keys removed.
    pub fn start_with(
        db: Arc<Database>,
        clock: Arc<ClockWatch>,
        remember: TimeDelta,
        forget_every: Duration,
    ) -> Self {
        let (queue, waiting) = unbounded_channel();
        let writer = Writer {
            db: db.clone(),
            memory: Memory { clock, remember },
            waiting,
            postponed: VecDeque::new(),
            forget_every,
        };
        tokio::spawn(supervise(db.observer().clone(), writer));
        Self { db, queue, room: Arc::new(Semaphore::new(MAX_WAITING_KIB)) }
    }

    /// With another bound for what waits, in KiB.
    pub fn with_room(self, kib: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(kib)), ..self }
    }

    /// Stores all of `batch`, or, when it fails, nothing. Returns once it is committed.
    pub async fn record(&self, batch: Batch) -> Result<Receipt> {
        let room = self.room.clone().try_acquire_many_owned(kib(&batch));
        self.submit(batch, room.map_err(|_| Error::Busy)?)?.await
    }

    /// Puts a batch in line for a caller who bounds what waits by himself: his room is given back as soon
    /// as it is known what became of the batch. It is recorded though nobody waits for that.
    pub fn submit(&self, batch: Batch, room: OwnedSemaphorePermit) -> Result<Submitted> {
        // Before anything is queued: a read-only database never takes it.
        self.db.check_writable()?;
        validate::batch(&batch.calls, &batch.errors, self.db.dialect())?;
        let kib = kib(&batch);
        let (reply, answer) = oneshot::channel();
        let submission = Submission { batch, reply, kib, _room: room };
        self.queue.send(submission).map_err(|_| stopped())?;
        Ok(Submitted(answer))
    }
}

/// A batch in line; ends once it is committed, or is known not to be.
pub struct Submitted(oneshot::Receiver<Result<Outcome>>);

impl Future for Submitted {
    type Output = Result<Receipt>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Receipt>> {
        let answer = Pin::new(&mut self.0).poll(context);
        answer.map(|answer| match answer.map_err(|_| Error::OutcomeUnknown)?? {
            Outcome::Recorded(recorded) => Ok(Receipt { recorded, duplicate: false }),
            Outcome::Duplicate(recorded) => Ok(Receipt { recorded, duplicate: true }),
            Outcome::Conflict => Err(Error::bad_input(
                "idempotencyKey",
                "this idempotency key was used to record something else",
            )),
        })
    }
}

fn stopped() -> Error {
    Error::internal("the recorder has stopped")
}

/// About how many KiB a batch holds while it waits.
fn kib(batch: &Batch) -> u32 {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let calls = batch.calls.iter().map(|call| 128 + text(&call.key) + text(&call.model));
    let errors = batch.errors.iter().map(|error| {
        let request = error.request.as_ref().map_or(0, json_weight);
        256 + text(&error.key) + text(&error.model) + text(&error.message) + request
    });
    // A batch has a weight of its own: one without rows waits as well.
    let bytes = 512 + calls.chain(errors).sum::<usize>();
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

fn json_weight(json: &serde_json::Value) -> usize {
    match json {
        serde_json::Value::String(text) => 32 + text.len(),
        serde_json::Value::Array(items) => 64 + items.iter().map(json_weight).sum::<usize>(),
        serde_json::Value::Object(fields) => {
            64 + fields
                .iter()
                .map(|(name, value)| 96 + name.len() + json_weight(value))
                .sum::<usize>()
        }
        _ => 32,
    }
}

/// How long idempotency keys are remembered.
struct Memory {
    clock: Arc<ClockWatch>,
    remember: TimeDelta,
}

impl Memory {
    /// By a clock that does not jump: a wall clock that is set forward would forget every key, and a
    /// batch that is sent again would be stored twice.
    fn claim_time(&self) -> ClaimTime {
        let now = self.clock.time().now;
        let valid_since = now.checked_sub_signed(self.remember).unwrap_or(DateTime::UNIX_EPOCH);
        ClaimTime { now, valid_since }
    }
}

/// Writes what is recorded. Its queue outlives a panic; the replies of the current group are dropped,
/// which their callers get as [`Error::OutcomeUnknown`].
struct Writer {
    db: Arc<Database>,
    memory: Memory,
    waiting: UnboundedReceiver<Submission>,
    postponed: VecDeque<Submission>,
    forget_every: Duration,
}

impl Job for Writer {
    fn name(&self) -> &'static str {
        RECORDER
    }

    async fn run(&mut self) {
        let Self { db, memory, waiting, postponed, forget_every } = self;
        let mut crowd = 0;
        let mut forgetting = interval_at(Instant::now() + *forget_every, *forget_every);
        forgetting.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let first = match postponed.pop_front() {
                Some(submission) => Some(submission),
                None => tokio::select! {
                    biased;
                    // First, since there may always be something to write.
                    _ = forgetting.tick() => {
                        forget(db, memory.claim_time().valid_since).await;
                        continue;
                    }
                    submission = waiting.recv() => submission,
                },
            };
            let Some(first) = first else { return };
            let group = gather(first, crowd, postponed, waiting).await;
            crowd = if group.len() < CROWD { 0 } else { group.len() };
            write_group(db, memory, group).await;
        }
    }
}

/// Forgets old keys, thousands at a time, so that none are left however fast they come.
async fn forget(db: &Database, before: DateTime<Utc>) {
    if db.is_read_only() {
        return;
    }
    for _ in 0..FORGET_PASSES {
        match idempotency::delete_expired(db, before).await {
            Ok(0) => return,
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => {
                return tracing::warn!(%error, "old idempotency keys could not be removed");
            }
        }
    }
}

/// All that waits, up to a bound, and who comes in a moment where there are fewer than `crowd`. Of two with the same key, the second comes with the next group,
/// where it finds what the first recorded.
async fn gather(
    first: Submission,
    crowd: usize,
    postponed: &mut VecDeque<Submission>,
    waiting: &mut UnboundedReceiver<Submission>,
) -> Vec<Submission> {
    let mut keys = HashSet::new();
    let mut group = vec![];
    let (mut rows, mut kib) = (0, 0);
    let mut next = Some(first);
    let mut gathered = pin!(sleep(GATHER));
    while let Some(submission) = next.take() {
        let claim = submission.batch.claim.as_ref().map(|claim| claim.digest.clone());
        if claim.is_some_and(|digest| !keys.insert(digest)) {
            postponed.push_back(submission);
            // Those behind it may be its further copies: they need not be looked through now.
            break;
        }
        rows += submission.batch.calls.len() + submission.batch.errors.len();
        kib += submission.kib;
        group.push(submission);
        if rows < ROWS_PER_GROUP && kib < KIB_PER_GROUP {
            next = postponed.pop_front().or_else(|| waiting.try_recv().ok());
            if next.is_none() && group.len() < crowd {
                next = tokio::select! {
                    biased;
                    submission = waiting.recv() => submission,
                    () = &mut gathered => None,
                };
            }
        }
    }
    group
}

async fn write_group(db: &Database, memory: &Memory, group: Vec<Submission>) {
    let (batches, replies): (Vec<_>, Vec<_>) = group
        .into_iter()
        .map(|submission| (submission.batch, (submission.reply, submission._room)))
        .unzip();
    let outcomes = match write::insert_batches(db, &batches, memory.claim_time()).await {
        Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
        // One that the database refuses must not take the others with it.
        Err(Fault::Refused(Error::Internal(_))) if batches.len() > 1 => {
            write_each(db, memory, &batches).await
        }
        Err(fault) => {
            let error = fault.into_error();
            batches.iter().map(|_| Err(error.clone())).collect()
        }
    };
    for ((reply, room), outcome) in replies.into_iter().zip(outcomes) {
        drop(room);
        // Who no longer listens finds out by the idempotency key.
        let _ = reply.send(outcome);
    }
}

async fn write_each(db: &Database, memory: &Memory, batches: &[Batch]) -> Vec<Result<Outcome>> {
    let mut outcomes = Vec::with_capacity(batches.len());
    for batch in batches {
        let written =
            write::insert_batches(db, std::slice::from_ref(batch), memory.claim_time()).await;
        outcomes.push(written.map_err(Fault::into_error).and_then(|mut outcomes| {
            outcomes.pop().ok_or_else(|| Error::internal("a batch without an outcome"))
        }));
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn gathered(crowd: usize, senders: usize) -> usize {
        let (queue, mut waiting) = unbounded_channel();
        let room = Arc::new(Semaphore::new(senders));
        let submission = || Submission {
            batch: Batch::default(),
            reply: oneshot::channel().0,
            kib: 1,
            _room: room.clone().try_acquire_owned().unwrap(),
        };
        let first = submission();
        let others: Vec<_> = (1..senders).map(|_| submission()).collect();
        tokio::spawn(async move {
            for other in others {
                tokio::task::yield_now().await;
                let _ = queue.send(other);
            }
            // Somebody may still send, but nobody does.
            std::future::pending::<()>().await;
            drop(queue);
        });
        gather(first, crowd, &mut VecDeque::new(), &mut waiting).await.len()
    }

    #[tokio::test]
    async fn a_crowd_is_waited_for_and_nobody_else() {
        assert_eq!(gathered(0, 12).await, 1, "a single caller waits for nobody");
        assert_eq!(gathered(8, 12).await, 8);
        assert_eq!(gathered(12, 12).await, 12);
        // A part of it that stays away is waited for a moment alone.
        assert_eq!(gathered(20, 12).await, 12);
    }
}
