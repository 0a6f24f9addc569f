//! `callscope_idempotency`: what was recorded under which key. A claim is part of the transaction that
//! records, so that of two servers that try at once one waits for the other.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement};

use super::database::Database;
use super::dialect::Dialect;
use super::rows::columns;
use super::token::time_text;
use crate::error::Result;

const TABLE: &str = "callscope_idempotency";

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

/// Claims a key; tells what it stands for where somebody did so before.
pub(super) async fn claim(
    transaction: &DatabaseTransaction,
    claim: &Claim,
    Moment { now, remember_since }: Moment,
) -> Result<Option<Earlier>> {
    let backend = transaction.get_database_backend();
    // MySQL counts a row that it leaves as it was, unless it ignores the conflict.
    let (verb, end, marks) = match Dialect::of(backend) {
        Dialect::MySql => ("INSERT IGNORE INTO", "", "?, ?, '', '', ?"),
        Dialect::Sqlite => ("INSERT INTO", " ON CONFLICT DO NOTHING", "?, ?, '', '', ?"),
        Dialect::Postgres => ("INSERT INTO", " ON CONFLICT DO NOTHING", "$1, $2, '', '', $3"),
    };
    let sql =
        format!("{verb} {TABLE} (digest, content, call_ids, error_ids, at) VALUES ({marks}){end}");
    let values = [claim.digest.clone().into(), claim.content.clone().into(), time_text(now).into()];
    let insert = Statement::from_sql_and_values(backend, sql, values);
    if transaction.execute_raw(insert).await?.rows_affected() > 0 {
        return Ok(None);
    }
    let anew = Query::update()
        .table(TABLE)
        .values([
            ("content", claim.content.as_str().into()),
            ("call_ids", "".into()),
            ("error_ids", "".into()),
            ("at", time_text(now).into()),
        ])
        .and_where(Expr::col("digest").eq(&claim.digest))
        .and_where(Expr::col("at").lt(time_text(remember_since)))
        .take();
    if transaction.execute(&anew).await?.rows_affected() > 0 {
        return Ok(None);
    }
    let mut select = Query::select();
    select
        .columns(["content", "call_ids", "error_ids"])
        .from(TABLE)
        .and_where(Expr::col("digest").eq(&claim.digest));
    // MySQL's transactions read as of their begin, which may lie before the other's commit; a
    // locking read does not.
    select.lock_shared();
    let Some(row) = transaction.query_one(&select).await? else { return Ok(None) };
    let ids = |index| row.try_get_by_index::<String>(index).map(|text| read_ids(&text));
    let recorded = Recorded { call_ids: ids(1)?, error_ids: ids(2)? };
    Ok(Some(Earlier { content: row.try_get_by_index(0)?, recorded }))
}

/// Tells what was recorded under a claimed key.
pub(super) async fn fulfil(
    transaction: &DatabaseTransaction,
    claim: &Claim,
    recorded: &Recorded,
) -> Result<()> {
    let update = Query::update()
        .table(TABLE)
        .value("call_ids", write_ids(&recorded.call_ids))
        .value("error_ids", write_ids(&recorded.error_ids))
        .and_where(Expr::col("digest").eq(&claim.digest))
        .take();
    transaction.execute(&update).await?;
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
