//! What is recorded together, as one transaction.

use super::connections::WriteTransaction;
use super::database::Database;
use super::idempotency::{self, Claim, Moment, Recorded};
use super::import::{self, Step};
use super::insert::{self, Ids, insert_calls, insert_errors};
use super::stored_error::StoredError;
use crate::domain::record::{CallRecord, ErrorRecord};
use crate::error::{Error, Result};

/// Stores calls and error logs, and with them how far an import came, in one transaction.
pub async fn insert(
    db: &Database,
    calls: &[CallRecord],
    errors: &[impl StoredError],
    step: Option<&Step>,
) -> Result<()> {
    let transaction = db.begin().await?;
    insert_calls(db, &transaction.inner(), calls, Ids::Unread).await?;
    insert_errors(db, &transaction.inner(), errors, Ids::Unread).await?;
    if let Some(step) = step {
        import::advance(&transaction.inner(), step).await?;
    }
    transaction.commit().await?;
    db.tell_commit();
    Ok(())
}

/// What one caller records, which is kept whole or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub calls: Vec<CallRecord>,
    pub errors: Vec<ErrorRecord>,
    pub claim: Option<Claim>,
}

/// How often a transaction is begun in which others are first to record under the same keys.
const ATTEMPTS: u32 = 10;

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Recorded(Recorded),
    /// Its key stands for the same content, which was recorded before.
    Duplicate(Recorded),
    /// Its key stands for something else.
    Conflict,
}

/// Why batches were not stored.
#[derive(Debug)]
pub enum Fault {
    /// The database took none of them.
    Refused(Error),
    /// It was asked to commit and did not say that it had: they are stored, all of them, or not.
    Unsure(Error),
}

impl Fault {
    pub fn into_error(self) -> Error {
        match self {
            Self::Refused(error) | Self::Unsure(error) => error,
        }
    }
}

/// Stores all of `batches` in one transaction, and tells what became of each. No two of them may
/// have the same claim.
pub async fn insert_batches(
    db: &Database,
    batches: &[Batch],
    moment: Moment,
) -> Result<Vec<Outcome>, Fault> {
    let mut watch = db.watch("record", "INSERT INTO t_request_log, t_error_logs");
    let outcomes = match one_statement(batches) {
        Some(calls) => fill_alone(db, batches, &calls).await?,
        None => fill_together(db, batches, moment).await?,
    };
    db.tell_commit();
    watch.answered(0);
    Ok(outcomes)
}

/// The calls of batches that are nothing else, where one statement takes them all.
fn one_statement(batches: &[Batch]) -> Option<Vec<&CallRecord>> {
    let plain = |batch: &Batch| batch.errors.is_empty() && batch.claim.is_none();
    if !batches.iter().all(plain) {
        return None;
    }
    let calls: Vec<&CallRecord> = batches.iter().flat_map(|batch| &batch.calls).collect();
    insert::is_one_statement(&calls).then_some(calls)
}

/// A statement is a transaction by itself, which spares two ways to the database and back.
async fn fill_alone(
    db: &Database,
    batches: &[Batch],
    calls: &[&CallRecord],
) -> Result<Vec<Outcome>, Fault> {
    let mut lease = db.writer().await.map_err(Fault::Refused)?;
    let inserted = insert::insert_alone(db, &mut lease, calls).await;
    // Where the database said no, the connection is as it was.
    if matches!(inserted, Ok(_) | Err(Error::Internal(_))) {
        lease.finish();
    }
    let mut ids = inserted
        .map_err(|error| match error {
            Error::Internal(_) => Fault::Refused(error),
            _ => Fault::Unsure(error),
        })?
        .into_iter();
    Ok(batches
        .iter()
        .map(|batch| {
            let call_ids = ids.by_ref().take(batch.calls.len()).collect();
            Outcome::Recorded(Recorded { call_ids, error_ids: vec![] })
        })
        .collect())
}

async fn fill_together(
    db: &Database,
    batches: &[Batch],
    moment: Moment,
) -> Result<Vec<Outcome>, Fault> {
    for _ in 0..ATTEMPTS {
        let transaction = db.begin().await.map_err(Fault::Refused)?;
        match fill(db, &transaction, batches, moment).await.map_err(Fault::Refused)? {
            Some(outcomes) => {
                transaction.commit().await.map_err(Fault::Unsure)?;
                return Ok(outcomes);
            }
            None => transaction.rollback().await.map_err(Fault::Refused)?,
        }
    }
    Err(Fault::Refused(Error::Busy))
}

/// Nothing where another server recorded under one of the keys meanwhile.
async fn fill(
    db: &Database,
    transaction: &WriteTransaction,
    batches: &[Batch],
    moment: Moment,
) -> Result<Option<Vec<Outcome>>> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; batches.len()];
    let (claims, places): (Vec<&Claim>, Vec<usize>) = batches
        .iter()
        .enumerate()
        .filter_map(|(index, batch)| Some((batch.claim.as_ref()?, index)))
        .unzip();
    let earlier = idempotency::find(&transaction.inner(), &claims, moment.remember_since).await?;
    for ((claim, index), earlier) in claims.into_iter().zip(places).zip(earlier) {
        outcomes[index] = earlier.map(|earlier| match earlier.content == claim.content {
            true => Outcome::Duplicate(earlier.recorded),
            false => Outcome::Conflict,
        });
    }
    let new: Vec<usize> = (0..batches.len()).filter(|index| outcomes[*index].is_none()).collect();
    let calls: Vec<&CallRecord> = new.iter().flat_map(|index| &batches[*index].calls).collect();
    let errors: Vec<&ErrorRecord> = new.iter().flat_map(|index| &batches[*index].errors).collect();
    let mut call_ids = insert_calls(db, &transaction.inner(), &calls, Ids::Read).await?.into_iter();
    let mut error_ids =
        insert_errors(db, &transaction.inner(), &errors, Ids::Read).await?.into_iter();
    let recorded: Vec<(usize, Recorded)> = new
        .into_iter()
        .map(|index| {
            let call_ids = call_ids.by_ref().take(batches[index].calls.len()).collect();
            let error_ids = error_ids.by_ref().take(batches[index].errors.len()).collect();
            (index, Recorded { call_ids, error_ids })
        })
        .collect();
    let mut entries: Vec<(&Claim, &Recorded)> = recorded
        .iter()
        .filter_map(|(index, recorded)| Some((batches[*index].claim.as_ref()?, recorded)))
        .collect();
    entries.sort_by(|(one, _), (other, _)| one.digest.cmp(&other.digest));
    if !idempotency::enter(&transaction.inner(), &entries, moment.now).await? {
        return Ok(None);
    }
    for (index, recorded) in recorded {
        outcomes[index] = Some(Outcome::Recorded(recorded));
    }
    Ok(Some(outcomes.into_iter().flatten().collect()))
}
