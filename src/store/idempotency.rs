//! `callscope_idempotency`: what was recorded under which key. A claim is part of the transaction that
//! records, so that of two servers that try at once one waits for the other.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait, OnConflict, Query};
use sea_orm::{ConnectionTrait, DatabaseTransaction};

use super::database::Database;
use super::dialect::Dialect;
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
    /// When, as a text that is compared as such.
    at: String,
}

/// Claims keys, each another one, and tells for each what it stands for where somebody claimed it
/// before. They are to come in one order, so that two servers do not wait for each other.
pub(super) async fn claim(
    transaction: &DatabaseTransaction,
    claims: &[&Claim],
    Moment { now, remember_since }: Moment,
) -> Result<Vec<Option<Earlier>>> {
    let mut found = Vec::with_capacity(claims.len());
    for claims in chunks(claims, FEW_CLAIMS, CLAIMS_PER_STATEMENT) {
        // No list of ids: by it those are known that are claimed now.
        let mark = format!("?{:016x}", rand::random::<u64>());
        if insert(transaction, claims, &mark, now).await? == claims.len() as u64 {
            found.extend(claims.iter().map(|_| None));
            continue;
        }
        let mut known = read(transaction, claims, &mark).await?;
        let is_old = |digest: &str| {
            let earlier = known.get(digest);
            earlier.is_some_and(|earlier| earlier.at < time_text(remember_since))
        };
        let old: Vec<&Claim> =
            claims.iter().filter(|claim| is_old(&claim.digest)).copied().collect();
        if !old.is_empty() {
            // Only now: on MySQL, two servers that both read a row wait for each other to delete it.
            forget_these(transaction, &old).await?;
            insert(transaction, &old, &mark, now).await?;
            old.iter().for_each(|claim| drop(known.remove(&claim.digest)));
        }
        found.extend(claims.iter().map(|claim| known.remove(&claim.digest)));
    }
    Ok(found)
}

/// Enters those claims that nobody entered before; tells how many.
async fn insert(
    transaction: &DatabaseTransaction,
    claims: &[&Claim],
    mark: &str,
    now: DateTime<Utc>,
) -> Result<u64> {
    let backend = transaction.get_database_backend();
    let mut insert = Query::insert();
    insert.into_table(TABLE).columns(["digest", "content", "call_ids", "error_ids", "at"]);
    for claim in claims {
        let Claim { digest, content } = claim;
        let values = [digest.as_str(), content, mark, "", &time_text(now)];
        insert.values(values.map(Expr::val)).map_err(Error::internal)?;
    }
    // MySQL counts a row that it leaves as it was, unless it ignores the conflict.
    if Dialect::of(backend) != Dialect::MySql {
        insert.on_conflict(OnConflict::new().do_nothing().to_owned());
    }
    let mut insert = backend.build(&insert);
    if Dialect::of(backend) == Dialect::MySql {
        insert.sql = insert.sql.replacen("INSERT", "INSERT IGNORE", 1);
    }
    Ok(transaction.execute_raw(insert).await?.rows_affected())
}

async fn forget_these(transaction: &DatabaseTransaction, claims: &[&Claim]) -> Result<()> {
    let these = Expr::col("digest").is_in(claims.iter().map(|claim| claim.digest.as_str()));
    transaction.execute(&Query::delete().from_table(TABLE).and_where(these).take()).await?;
    Ok(())
}

/// What keys stand for, by their digests, but for those that were claimed with this mark.
async fn read(
    transaction: &DatabaseTransaction,
    claims: &[&Claim],
    mark: &str,
) -> Result<HashMap<String, Earlier>> {
    let mut select = Query::select();
    select
        .columns(["digest", "content", "call_ids", "error_ids", "at"])
        .from(TABLE)
        .and_where(Expr::col("digest").is_in(claims.iter().map(|claim| claim.digest.as_str())));
    // MySQL's transactions read as of their begin, which may lie before the other's commit; a
    // locking read does not.
    select.lock_shared();
    let mut known = HashMap::new();
    for row in transaction.query_all(&select).await? {
        let text = |index| row.try_get_by_index::<String>(index);
        let (call_ids, error_ids) = (text(2)?, text(3)?);
        if call_ids != mark {
            let recorded =
                Recorded { call_ids: read_ids(&call_ids), error_ids: read_ids(&error_ids) };
            known.insert(text(0)?, Earlier { content: text(1)?, recorded, at: text(4)? });
        }
    }
    Ok(known)
}

/// Tells what was recorded under claimed keys.
pub(super) async fn fulfil(
    transaction: &DatabaseTransaction,
    fulfilled: &[(&Claim, &Recorded)],
) -> Result<()> {
    for fulfilled in chunks(fulfilled, FEW_CLAIMS, CLAIMS_PER_STATEMENT) {
        let ids_by = |ids: fn(&Recorded) -> &[i64]| {
            let cases = CaseStatement::new();
            fulfilled.iter().fold(cases, |cases, (claim, recorded)| {
                cases.case(Expr::col("digest").eq(&claim.digest), write_ids(ids(recorded)))
            })
        };
        let update = Query::update()
            .table(TABLE)
            .value("call_ids", ids_by(|recorded| &recorded.call_ids))
            .value("error_ids", ids_by(|recorded| &recorded.error_ids))
            .and_where(Expr::col("digest").is_in(fulfilled.iter().map(|(claim, _)| &claim.digest)))
            .take();
        transaction.execute(&update).await?;
    }
    Ok(())
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
    let delete = Query::delete().from_table(TABLE).and_where(Expr::col("digest").is_in(old)).take();
    db.execute("idempotency_forget", &delete).await
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
