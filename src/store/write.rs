//! Stores recorded and imported rows, each group in one transaction.

use super::copy;
use super::database::Database;
use super::engine::Engine;
use super::idempotency::{self, Claim, ClaimTime, Recorded};
use super::import::{self, Step};
use super::insert::{self, Ids, insert_calls, insert_errors};
use super::transaction::{Fault, WriteTransaction, retry};
use crate::domain::record::{CallRecord, ErrorRecord};
use crate::error::{Error, Result};

/// Stores a batch and the progress of an import in one transaction.
pub async fn insert(db: &Database, batch: &Batch, step: Option<&Step>) -> Result<()> {
    let inserted = retry(|| async move {
        if let Some(step) = step
            && copy::is_possible(db).await.map_err(Fault::Refused)?
        {
            return copy::insert(db, (&batch.calls, &batch.errors), step).await;
        }
        let transaction = db.begin_transaction().await.map_err(Fault::Refused)?;
        let inserted = insert_step(db, &transaction, batch, step).await;
        transaction.end(inserted).await
    });
    inserted.await.map_err(Fault::into_error)?;
    db.notify_commit();
    Ok(())
}

async fn insert_step(
    db: &Database,
    transaction: &WriteTransaction,
    batch: &Batch,
    step: Option<&Step>,
) -> Result<()> {
    insert_calls(db, &transaction.inner(), &batch.calls, Ids::Unread).await?;
    insert_errors(db, &transaction.inner(), &batch.errors, Ids::Unread).await?;
    match step {
        Some(step) => import::advance(&transaction.inner(), step).await,
        None => Ok(()),
    }
}

/// The rows of one caller, stored together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub calls: Vec<CallRecord>,
    pub errors: Vec<ErrorRecord>,
    pub claim: Option<Claim>,
}

/// Attempts of a transaction when other servers record under the same keys.
const ATTEMPTS: u32 = 10;

/// The result of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Recorded(Recorded),
    /// Its key was used before for the same content.
    Duplicate(Recorded),
    /// Its key was used before for other content.
    Conflict,
}

/// Stores all of `batches` in one transaction and returns the outcome of each. Each claim must be in
/// one batch only.
pub async fn insert_batches(
    db: &Database,
    batches: &[Batch],
    time: ClaimTime,
) -> Result<Vec<Outcome>, Fault> {
    let mut watch = db.watch("record", "INSERT INTO t_request_log, t_error_logs");
    let outcomes = match one_statement(db, batches) {
        Some(calls) => insert_by_statement(db, batches, &calls).await?,
        None => insert_by_transaction(db, batches, time).await?,
    };
    db.notify_commit();
    watch.answered(0);
    Ok(outcomes)
}

/// The calls of all batches, if there is nothing else to store and one statement can hold them. On Galera the
/// ids of several rows are certain only before the commit.
fn one_statement<'a>(db: &Database, batches: &'a [Batch]) -> Option<Vec<&'a CallRecord>> {
    let plain = |batch: &Batch| batch.errors.is_empty() && batch.claim.is_none();
    if !batches.iter().all(plain) {
        return None;
    }
    let calls: Vec<&CallRecord> = batches.iter().flat_map(|batch| &batch.calls).collect();
    let is_certain = db.engine() != Engine::Galera || calls.len() == 1;
    (is_certain && insert::is_one_statement(&calls)).then_some(calls)
}

/// A single statement needs no BEGIN and COMMIT, which saves two round trips.
async fn insert_by_statement(
    db: &Database,
    batches: &[Batch],
    calls: &[&CallRecord],
) -> Result<Vec<Outcome>, Fault> {
    let mut ids = retry(|| insert_alone(db, calls)).await?.into_iter();
    Ok(batches
        .iter()
        .map(|batch| {
            let call_ids = ids.by_ref().take(batch.calls.len()).collect();
            Outcome::Recorded(Recorded { call_ids, error_ids: vec![] })
        })
        .collect())
}

async fn insert_alone(db: &Database, calls: &[&CallRecord]) -> Result<Vec<i64>, Fault> {
    let mut lease = db.writer().await.map_err(Fault::Refused)?;
    match insert::insert_alone(db, &mut lease, calls).await {
        Ok(ids) => {
            lease.finish();
            Ok(ids)
        }
        Err(error) if error.is_refused_statement() || error.is_conflict() => {
            lease.roll_back().await;
            Err(Fault::Refused(error))
        }
        Err(error) => Err(Fault::Unknown(error)),
    }
}

async fn insert_by_transaction(
    db: &Database,
    batches: &[Batch],
    time: ClaimTime,
) -> Result<Vec<Outcome>, Fault> {
    for _ in 0..ATTEMPTS {
        let inserted = retry(|| async move {
            let transaction = db.begin_transaction().await.map_err(Fault::Refused)?;
            match insert_all(db, &transaction, batches, time).await {
                Ok(None) => {
                    transaction.rollback().await;
                    Ok(None)
                }
                inserted => transaction.end(inserted).await,
            }
        });
        if let Some(outcomes) = inserted.await? {
            return Ok(outcomes);
        }
    }
    Err(Fault::Refused(Error::Busy))
}

/// None if another server recorded under one of the keys at the same time.
async fn insert_all(
    db: &Database,
    transaction: &WriteTransaction,
    batches: &[Batch],
    time: ClaimTime,
) -> Result<Option<Vec<Outcome>>> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; batches.len()];
    let (claims, places): (Vec<&Claim>, Vec<usize>) = batches
        .iter()
        .enumerate()
        .filter_map(|(index, batch)| Some((batch.claim.as_ref()?, index)))
        .unzip();
    let earlier = idempotency::find(&transaction.inner(), &claims, time.valid_since).await?;
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
    if !idempotency::insert(&transaction.inner(), &entries, time.now).await? {
        return Ok(None);
    }
    for (index, recorded) in recorded {
        outcomes[index] = Some(Outcome::Recorded(recorded));
    }
    Ok(Some(outcomes.into_iter().flatten().collect()))
}
