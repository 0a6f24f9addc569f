//! `callscope_idempotency`: what was recorded under which key. A key is entered by the transaction that
//! records. Where two servers record under the same key at once, the second waits for the first at its
//! entry, is refused it, and begins anew, when it finds what the first recorded.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{DeleteStatement, Expr, ExprTrait, Func, Query};
use sea_orm::{ConnectionTrait, DbErr, SqlErr};

use super::database::Database;
use super::insert::chunks;
use super::rows::columns;
use super::token::time_text;
use crate::error::{Error, Result};

const TABLE: &str = "callscope_idempotency";

/// Claims of one statement, at most; so few have a statement for each number of them.
const CLAIMS_PER_STATEMENT: usize = 64;
const FEW_CLAIMS: usize = 8;

/// Keys that are forgotten by one statement, at most.
const FORGOTTEN_AT_ONCE: u64 = 1000;

/// A key under which something is to be recorded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Of the key and of who uses it.
    pub digest: String,
    /// Of what is to be recorded.
    pub content: String,
}

/// The moment at which keys are claimed.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub now: DateTime<Utc>,
    /// Keys that were used before this are forgotten, whether their rows were removed yet or not.
    pub remember_since: DateTime<Utc>,
}

/// What was recorded under a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    pub call_ids: Vec<i64>,
    pub error_ids: Vec<i64>,
}

/// What a key stands for already.
pub(super) struct Earlier {
    pub content: String,
    pub recorded: Recorded,
}

/// Tells for each of these keys what it stands for where something was recorded under it; what is to be
/// forgotten is.
pub(super) async fn find(
    transaction: &impl ConnectionTrait,
    claims: &[&Claim],
    remember_since: DateTime<Utc>,
) -> Result<Vec<Option<Earlier>>> {
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
            if text(4)? < time_text(remember_since) {
                old.push(digest);
                continue;
            }
            let recorded =
                Recorded { call_ids: read_ids(&text(2)?), error_ids: read_ids(&text(3)?) };
            known.insert(digest, Earlier { content: text(1)?, recorded });
        }
    }
    if !old.is_empty() {
        transaction.execute(&removal(old, remember_since)).await?;
    }
    Ok(claims.iter().map(|claim| known.remove(&claim.digest)).collect())
}

/// Removes these keys, but for those that were used again meanwhile.
fn removal(digests: Vec<String>, before: DateTime<Utc>) -> DeleteStatement {
    // Not the column itself: by its index MySQL would lock the keys between, those to come included.
    let at = Func::coalesce([Expr::col("at"), Expr::val("")]);
    Query::delete()
        .from_table(TABLE)
        .and_where(Expr::col("digest").is_in(digests))
        .and_where(Expr::expr(at).lt(time_text(before)))
        .take()
}

/// Enters keys, each another one, with what was recorded under them. They are to come in one order, so
/// that two servers do not wait for each other. False where somebody else entered one meanwhile: then
/// nothing of the transaction may stay.
pub(super) async fn enter(
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

/// Forgets keys that were used before `before`, a bounded number of them; tells how many.
pub async fn forget(db: &Database, before: DateTime<Utc>) -> Result<u64> {
    let mut select = Query::select();
    let width = columns(&mut select, [Expr::col("digest")]);
    select.from(TABLE).and_where(Expr::col("at").lt(time_text(before))).limit(FORGOTTEN_AT_ONCE);
    let old: Vec<String> = db
        .fetch::<(String,)>("idempotency_find_old", &select, width)
        .await?
        .into_iter()
        .map(|row| row.0)
        .collect();
    if old.is_empty() {
        return Ok(0);
    }
    db.execute("idempotency_forget", &removal(old, before)).await
}

/// `3-5,9` for 3, 4, 5 and 9: what is recorded together mostly has ids in a row.
fn write_ids(ids: &[i64]) -> String {
    let runs = ids.chunk_by(|one, next| one + 1 == *next);
    let texts: Vec<String> = runs
        .map(|run| match run {
            [only] => only.to_string(),
            [first, .., last] => format!("{first}-{last}"),
            [] => String::new(),
        })
        .collect();
    texts.join(",")
}

fn read_ids(text: &str) -> Vec<i64> {
    let run = |run: &str| {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.split(',').filter_map(run).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kept_as_runs() {
        for (ids, text) in [(vec![], ""), (vec![7], "7"), (vec![3, 4, 5, 9, 11, 12], "3-5,9,11-12")]
        {
            assert_eq!(write_ids(&ids), text);
            assert_eq!(read_ids(text), ids);
        }
    }
}
