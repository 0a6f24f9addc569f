//! Idempotency keys (`callscope_idempotency`) and the ids that were recorded under each. The transaction
//! that records rows also inserts the key. When two servers record under one key at once, the insert of
//! the second waits for the first and fails; the second then retries and finds the first result.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{DeleteStatement, Expr, ExprTrait, Func, Query};
use sea_orm::{ConnectionTrait, DbErr, SqlErr};

use super::database::Database;
use super::insert::chunks;
use super::rows::VALUE;
use super::token::time_text;
use crate::error::{Error, Result};

const TABLE: &str = "callscope_idempotency";

/// The most claims of one statement; up to `FEW_CLAIMS` are always one statement.
const CLAIMS_PER_STATEMENT: usize = 64;
const FEW_CLAIMS: usize = 8;

/// The most consecutive ids of one batch: above the rows of any batch.
const LONGEST_RUN: i64 = 10_000_000;

/// The most expired keys that one statement deletes.
const EXPIRED_PER_STATEMENT: u64 = 1000;

/// An idempotency key of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The digest of the key and its caller.
    pub digest: String,
    /// The digest of the content to record.
    pub content: String,
}

/// The time of a claim.
#[derive(Clone, Copy, Debug)]
pub struct ClaimTime {
    pub now: DateTime<Utc>,
    /// Keys that were used before this have expired, whether they are deleted or not.
    pub valid_since: DateTime<Utc>,
}

/// The ids of recorded rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    pub call_ids: Vec<i64>,
    pub error_ids: Vec<i64>,
}

/// A claim of an earlier batch.
pub(super) struct StoredClaim {
    pub content: String,
    pub recorded: Recorded,
}

/// Looks up the stored claim of each key, and deletes expired keys.
pub(super) async fn find(
    transaction: &impl ConnectionTrait,
    claims: &[&Claim],
    valid_since: DateTime<Utc>,
) -> Result<Vec<Option<StoredClaim>>> {
    let (mut known, mut old) = (HashMap::new(), vec![]);
    for claims in chunks(claims, FEW_CLAIMS, CLAIMS_PER_STATEMENT) {
        let mut select = Query::select();
        select
            .columns(["digest", "content", "call_ids", "error_ids", "at"])
            .from(TABLE)
            .and_where(Expr::col("digest").is_in(claims.iter().map(|claim| claim.digest.as_str())));
        for row in transaction.query_all(&select).await? {
            let text = |index| row.try_get_by_index::<String>(index);
            let digest = text(0)?;
            if text(4)? < time_text(valid_since) {
                old.push(digest);
                continue;
            }
            let recorded =
                Recorded { call_ids: read_ids(&text(2)?)?, error_ids: read_ids(&text(3)?)? };
            known.insert(digest, StoredClaim { content: text(1)?, recorded });
        }
    }
    if !old.is_empty() {
        transaction.execute(&removal(old, valid_since)).await?;
    }
    Ok(claims.iter().map(|claim| known.remove(&claim.digest)).collect())
}

/// Deletes these keys, unless they were used again at the same time.
fn removal(digests: Vec<String>, before: DateTime<Utc>) -> DeleteStatement {
    // Not the plain column: with its index, MySQL would lock gaps and block inserts of new keys.
    let at = Func::coalesce([Expr::col("at"), Expr::val("")]);
    Query::delete()
        .from_table(TABLE)
        .and_where(Expr::col("digest").is_in(digests))
        .and_where(Expr::expr(at).lt(time_text(before)))
        .take()
}

/// Inserts distinct keys with their recorded ids. All servers must insert keys in the same order to
/// prevent deadlocks. Returns false if another server has inserted one of them: the transaction must then
/// be rolled back.
pub(super) async fn insert(
    transaction: &impl ConnectionTrait,
    entries: &[(&Claim, &Recorded)],
    now: DateTime<Utc>,
) -> Result<bool> {
    for entries in chunks(entries, FEW_CLAIMS, CLAIMS_PER_STATEMENT) {
        let mut insert = Query::insert();
        insert.into_table(TABLE).columns(["digest", "content", "call_ids", "error_ids", "at"]);
        for (Claim { digest, content }, Recorded { call_ids, error_ids }) in entries {
            let (call_ids, error_ids) = (write_ids(call_ids), write_ids(error_ids));
            let values = [digest, content, &call_ids, &error_ids, &time_text(now)];
            insert.values(values.map(Expr::val)).map_err(Error::internal)?;
        }
        match transaction.execute(&insert).await {
            Ok(_) => {}
            Err(error) if is_taken(&error) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

fn is_taken(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
}

/// Deletes a bounded number of keys that were last used before `before`; returns how many.
pub async fn delete_expired(db: &Database, before: DateTime<Utc>) -> Result<u64> {
    let mut select = Query::select();
    select
        .expr_as(Expr::col("digest"), VALUE)
        .from(TABLE)
        .and_where(Expr::col("at").lt(time_text(before)))
        .limit(EXPIRED_PER_STATEMENT);
    let old: Vec<String> = db.fetch_values("idempotency_find_old", &select).await?;
    if old.is_empty() {
        return Ok(0);
    }
    db.execute("idempotency_forget", &removal(old, before)).await
}

/// `3-5,9` for 3, 4, 5 and 9: the ids of a batch are mostly consecutive.
fn write_ids(ids: &[i64]) -> String {
    let runs = ids.chunk_by(|one, next| one.checked_add(1) == Some(*next));
    let texts: Vec<String> = runs
        .map(|run| match run {
            [only] => only.to_string(),
            [first, .., last] => format!("{first}-{last}"),
            [] => String::new(),
        })
        .collect();
    texts.join(",")
}

/// Parses the text of [`write_ids`] and fails on anything else: with a missing id, a retry would report
/// fewer rows than were recorded.
fn read_ids(text: &str) -> Result<Vec<i64>> {
    let mut ids = vec![];
    for run in text.split(',').filter(|_| !text.is_empty()) {
        let read = read_run(run).ok_or_else(|| {
            Error::internal(format!("{TABLE} holds ids that cannot be read: `{text}`"))
        })?;
        ids.extend(read);
    }
    Ok(ids)
}

fn read_run(run: &str) -> Option<RangeInclusive<i64>> {
    // A minus at the start is a sign.
    let (first, last) = match run.get(1..)?.find('-') {
        Some(at) => (&run[..=at], &run[at + 2..]),
        None => (run, run),
    };
    let (first, last): (i64, i64) = (first.parse().ok()?, last.parse().ok()?);
    let length = last.checked_sub(first)?;
    (0..LONGEST_RUN).contains(&length).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stored_as_runs() {
        for (ids, text) in [
            (vec![], ""),
            (vec![7], "7"),
            (vec![3, 4, 5, 9, 11, 12], "3-5,9,11-12"),
            (vec![-7], "-7"),
            (vec![-9, -3, -2, -1, 0, 1, 5], "-9,-3-1,5"),
            (vec![-5, -4, i64::MAX - 1, i64::MAX, i64::MIN], ""),
        ] {
            let written = write_ids(&ids);
            if !text.is_empty() {
                assert_eq!(written, text);
            }
            assert_eq!(read_ids(&written).unwrap(), ids);
        }
    }

    #[test]
    fn ids_that_cannot_be_read_are_an_error() {
        for text in ["x", "3-", "-", "5-3", "1,,2", "1-2-3", "é-3", "1-9223372036854775807", "1,x"]
        {
            assert!(read_ids(text).is_err(), "{text}");
        }
    }
}
