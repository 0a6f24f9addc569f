//! Group commit: the recorder stores concurrent batches in one transaction, because a commit costs far
//! more than a row. While it writes one group, the next one gathers, so that a single caller never waits
//! for others. If the last group was large, the recorder waits up to 1 ms for the same callers to send
//! again: two half groups would cost twice the commits. Receipts are sent after the commit.

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
use crate::observe::RequestMarks;
use crate::store::Database;
use crate::store::idempotency::{self, ClaimTime, Recorded};
use crate::store::transaction::Fault;
use crate::store::write::{self, Batch, Outcome};
use crate::supervisor::{Job, supervise};

/// The name of the writer job.
pub const RECORDER: &str = "recorder";

/// Limits of one transaction, in rows and KiB. MySQL accepts statements of 16 MiB.
const ROWS_PER_GROUP: usize = 4096;
const KIB_PER_GROUP: u32 = 4096;

/// After a group of at least this size, the next one waits up to `GATHER` for as many batches. The timer
/// counts whole milliseconds, so that the wait may be 1 ms longer.
const LARGE_GROUP: usize = 8;
const GATHER: Duration = Duration::from_millis(1);

/// Default limit of the queue, in KiB. More is rejected, so that a slow database does not use up memory.
const MAX_WAITING_KIB: usize = 64 * 1024;

/// Interval of the deletion of expired idempotency keys, and its maximum of statements.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
const EXPIRE_PASSES: u32 = 100;

/// Handle of the writer job; cheap to clone. The job stops when the last handle is dropped and the queue
/// is stored.
#[derive(Clone)]
pub struct Recorder {
    db: Arc<Database>,
    queue: UnboundedSender<Submission>,
    room: Arc<Semaphore>,
}

struct Submission {
    batch: Batch,
    reply: oneshot::Sender<Result<Outcome>>,
    /// The client of its request.
    client: Option<Arc<str>>,
    kib: u32,
    _room: OwnedSemaphorePermit,
}

/// What was recorded: now, or for a repeated idempotency key, the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub recorded: Recorded,
    pub duplicate: bool,
}

impl Recorder {
    /// Starts the writer job. It deletes idempotency keys older than `retention`.
    pub fn start(db: Arc<Database>, clock: Arc<ClockWatch>, retention: TimeDelta) -> Self {
        Self::start_with(db, clock, retention, EXPIRE_EVERY)
    }

    /// The same with another interval of key deletion, for tests.
    pub fn start_with(
        db: Arc<Database>,
        clock: Arc<ClockWatch>,
        retention: TimeDelta,
        expire_every: Duration,
    ) -> Self {
        let (queue, waiting) = unbounded_channel();
        let writer = Writer {
            db: db.clone(),
            keys: KeyRetention { clock, retention },
            waiting,
            postponed: VecDeque::new(),
            expire_every,
        };
        tokio::spawn(supervise(db.observer().clone(), writer));
        Self { db, queue, room: Arc::new(Semaphore::new(MAX_WAITING_KIB)) }
    }

    /// With another limit of the queue, in KiB.
    pub fn with_room(self, kib: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(kib)), ..self }
    }

    /// Stores `batch` in one transaction. Returns after the commit.
    pub async fn record(&self, batch: Batch) -> Result<Receipt> {
        let room = self.room.clone().try_acquire_many_owned(kib(&batch));
        let room = room.map_err(|_| Error::Busy)?;
        self.db.check_writable()?;
        validate::batch(&batch, self.db.dialect())?;
        self.submit(batch, room)?.await
    }

    /// Queues a batch of valid rows for a caller that limits its queue itself. `room` is released when the outcome is
    /// known. The batch is recorded even if the returned future is dropped.
    pub fn submit(&self, batch: Batch, room: OwnedSemaphorePermit) -> Result<PendingReceipt> {
        // Before queueing: a read-only database would never store it.
        self.db.check_writable()?;
        let kib = kib(&batch);
        let (reply, answer) = oneshot::channel();
        let client = RequestMarks::current().and_then(|request| request.share().cloned());
        let submission = Submission { batch, reply, client, kib, _room: room };
        self.queue.send(submission).map_err(|_| stopped())?;
        Ok(PendingReceipt(answer))
    }
}

/// The receipt of a queued batch; resolves when the outcome is known.
pub struct PendingReceipt(oneshot::Receiver<Result<Outcome>>);

impl Future for PendingReceipt {
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

/// The estimated memory of a queued batch, in KiB.
fn kib(batch: &Batch) -> u32 {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let calls = batch.calls.iter().map(|call| 128 + text(&call.key) + text(&call.model));
    let errors = batch.errors.iter().map(|error| {
        256 + text(&error.key) + text(&error.model) + text(&error.message) + text(&error.request)
    });
    // A batch without rows takes memory in the queue too.
    let bytes = 512 + calls.chain(errors).sum::<usize>();
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// How long idempotency keys are kept.
struct KeyRetention {
    clock: Arc<ClockWatch>,
    retention: TimeDelta,
}

impl KeyRetention {
    /// Uses a clock that does not jump: if a wall clock is set forward, every key would expire, and a
    /// retried batch would be stored twice.
    fn claim_time(&self) -> ClaimTime {
        let now = self.clock.time().now;
        let valid_since = now.checked_sub_signed(self.retention).unwrap_or(DateTime::UNIX_EPOCH);
        ClaimTime { now, valid_since }
    }
}

/// The writer job. Its queue survives a panic. The replies of the current group are dropped, and their
/// callers get [`Error::OutcomeUnknown`].
struct Writer {
    db: Arc<Database>,
    keys: KeyRetention,
    waiting: UnboundedReceiver<Submission>,
    postponed: VecDeque<Submission>,
    expire_every: Duration,
}

impl Job for Writer {
    fn name(&self) -> &'static str {
        RECORDER
    }

    async fn run(&mut self) {
        let Self { db, keys, waiting, postponed, expire_every } = self;
        let mut expected = 0;
        let mut expiry = interval_at(Instant::now() + *expire_every, *expire_every);
        expiry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let first = match postponed.pop_front() {
                Some(submission) => Some(submission),
                None => tokio::select! {
                    biased;
                    // First, because the queue may never be empty.
                    _ = expiry.tick() => {
                        delete_expired_keys(db, keys.claim_time().valid_since).await;
                        continue;
                    }
                    submission = waiting.recv() => submission,
                },
            };
            let Some(first) = first else { return };
            let group = gather(first, expected, postponed, waiting).await;
            expected = if group.len() < LARGE_GROUP { 0 } else { group.len() };
            write_group(db, keys, group).await;
        }
    }
}

/// Deletes expired keys in batches of thousands, faster than new ones can be added.
async fn delete_expired_keys(db: &Database, before: DateTime<Utc>) {
    if db.is_read_only() {
        return;
    }
    for _ in 0..EXPIRE_PASSES {
        match idempotency::delete_expired(db, before).await {
            Ok(0) => return,
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => {
                return tracing::warn!(%error, "cannot delete expired idempotency keys");
            }
        }
    }
}

/// Takes the queued batches, up to the limits of a group. With fewer than `expected`, waits for more until
/// the timer ends. Of two batches with the same key, the second goes to the next group, where it finds
/// the rows of the first.
async fn gather(
    first: Submission,
    expected: usize,
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
            // The batches behind it may be more copies of it.
            break;
        }
        rows += submission.batch.calls.len() + submission.batch.errors.len();
        kib += submission.kib;
        group.push(submission);
        if rows < ROWS_PER_GROUP && kib < KIB_PER_GROUP {
            next = postponed.pop_front().or_else(|| waiting.try_recv().ok());
            if next.is_none() && group.len() < expected {
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

async fn write_group(db: &Database, keys: &KeyRetention, group: Vec<Submission>) {
    let (batches, replies): (Vec<_>, Vec<_>) =
        group.into_iter().map(|one| (one.batch, (one.reply, one.client, one._room))).unzip();
    let outcomes = match write::insert_batches(db, &batches, keys.claim_time()).await {
        Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
        // One batch that the database rejects, or that conflicts with another server, must not fail the others.
        Err(Fault::Refused(error)) if batches.len() > 1 && is_of_one_batch(&error) => {
            write_each(db, keys, &batches).await
        }
        Err(fault) => {
            let error = fault.into_error();
            batches.iter().map(|_| Err(error.clone())).collect()
        }
    };
    for ((reply, client, room), outcome) in replies.into_iter().zip(outcomes) {
        drop(room);
        // Also if the client has disconnected: it may connect again and look for its rows.
        if let Some(client) = client {
            db.replicas().note_write(&client);
        }
        // A caller that is gone can retry with its idempotency key.
        let _ = reply.send(outcome);
    }
}

/// Whether a group may have failed because of one of its batches: its rows, or its idempotency key, under which
/// another server records.
fn is_of_one_batch(error: &Error) -> bool {
    matches!(error, Error::Internal(_) | Error::Busy) || error.is_rolled_back()
}

async fn write_each(db: &Database, keys: &KeyRetention, batches: &[Batch]) -> Vec<Result<Outcome>> {
    let mut outcomes = Vec::with_capacity(batches.len());
    for batch in batches {
        let written =
            write::insert_batches(db, std::slice::from_ref(batch), keys.claim_time()).await;
        outcomes.push(written.map_err(Fault::into_error).and_then(|mut outcomes| {
            outcomes.pop().ok_or_else(|| Error::internal("a batch without an outcome"))
        }));
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn gathered(expected: usize, senders: usize) -> usize {
        let (queue, mut waiting) = unbounded_channel();
        let room = Arc::new(Semaphore::new(senders));
        let submission = || Submission {
            batch: Batch::default(),
            reply: oneshot::channel().0,
            client: None,
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
            // The queue stays open without further batches.
            std::future::pending::<()>().await;
            drop(queue);
        });
        gather(first, expected, &mut VecDeque::new(), &mut waiting).await.len()
    }

    #[tokio::test]
    async fn a_group_waits_for_the_expected_batches_only() {
        assert_eq!(gathered(0, 12).await, 1, "a single caller does not wait");
        assert_eq!(gathered(8, 12).await, 8);
        assert_eq!(gathered(12, 12).await, 12);
        // The wait ends if fewer arrive.
        assert_eq!(gathered(20, 12).await, 12);
    }
}
