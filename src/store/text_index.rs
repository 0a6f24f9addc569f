//! The index for searches in error logs. On PostgreSQL an operator may create it (docs/OPERATIONS.md). On
//! SQLite it has the trigrams of the texts, in an FTS5 table of Callscope's own. The gateway's table has no
//! trigger; a background job calls [`run`].
//!
//! A search does not rely on the job. `candidates` has the rows that the index finds and all rows that are
//! not indexed, and the statement compares each candidate with the pattern. Exact at every moment are
//! searches
//!
//! - with new rows: ids from `next_id` on are candidates;
//! - with deleted rows: an index entry without its row finds nothing;
//! - with ids that SQLite uses again, which are those of the last rows: the row before `next_id` must be the
//!   one that was indexed. Otherwise all rows are candidates until [`Step::Repair`] has found the last row
//!   that is still the same; the rows after it are indexed again.
//!
//! A row that another program changes in place, or inserts with an id below the highest one, is found as
//! soon as [`find_changed`] has compared it with the digest of the indexed row.

use std::collections::{BTreeMap, BTreeSet};

use entity::ErrorLog;
use sea_orm::sea_query::{Condition, Expr, Query};
use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement};
use sha2::{Digest, Sha256};

use super::contains::{TextPattern, trigrams};
use super::database::Database;
use super::dialect::Dialect;
use super::rows::{VALUE, row};
use super::transaction::{Fault, retry};
use crate::domain::table::{ERROR_LOG, ERROR_TYPE};
use crate::error::Result;

/// The searched columns.
pub(super) const TEXTS: [&str; 2] = [ERROR_TYPE, ERROR_LOG];

const TABLE: &str = "callscope_text_index";

/// Rows and bytes of texts that one transaction indexes. The gateway's writes wait for it.
const ROWS_AT_ONCE: u32 = 64;
const BYTES_AT_ONCE: i64 = 128 << 10;
/// Rows with more bytes are not indexed: each search reads them.
const LONG_TEXT: i64 = 256 << 10;
/// New rows are indexed from this number on: each transaction adds a segment to the index, and a search
/// reads a few rows faster than it finds them by the index.
const PENDING: i64 = 64;
/// Rows or index entries that one step of a sweep compares.
const ROWS_OF_A_SWEEP: u32 = 2_000;
/// Index entries that one step of a repair compares with their rows.
const ROWS_OF_A_REPAIR: u32 = 256;

/// Rows that are read through the index at any rate, and rows from which on the statement without the index
/// may be faster.
const FEW: u64 = 256;
const MANY: u64 = 1_000;
/// The most rows that are counted to choose between both.
const MOST_COUNTED: u64 = 1_000_000;
/// The most trigrams of a pattern that are looked up.
const TRIGRAMS: usize = 8;

/// The first id that is not indexed, if the row before it is the one that was indexed.
const FIRST_UNINDEXED: &str = "\
SELECT p.next_id FROM callscope_text_progress p JOIN t_error_logs t ON t.id = p.next_id - 1 \
WHERE p.request_time IS t.request_time AND p.error_type IS t.error_type \
AND p.error_log IS t.error_log";

/// Below every id: nothing is indexed.
const NO_ID: i64 = i64::MIN;
/// A row with the highest possible id makes SQLite assign random ids to new rows.
const HAS_RANDOM_IDS: &str = "EXISTS (SELECT 1 FROM t_error_logs WHERE id = 9223372036854775807)";

/// A condition for the rows that may contain `text`, which is faster than the search in all rows. None if
/// the index cannot find them, as for less than three characters in a row that it compares exactly, or if the
/// search is faster without it: for a sorted page of a frequent text, or if the index finds more rows than
/// `others`, the other conditions of the search. Up to three statements.
pub(super) async fn candidates(
    db: &Database,
    text: Option<&str>,
    others: Option<Condition>,
    is_page: bool,
) -> Result<Option<Condition>> {
    let Some(text) = text.filter(|_| db.has_text_index()) else { return Ok(None) };
    let Some(pattern) = pattern(text) else { return Ok(None) };
    if db.dialect() == Dialect::Postgres {
        // Its planner chooses.
        return Ok(Some(TextPattern::new(Dialect::Postgres, text).exact_in(&TEXTS)));
    }
    let found = count_candidates(db, &pattern, MANY).await?;
    let is_faster = match others {
        _ if found < FEW => true,
        _ if is_page && found == MANY => false,
        None => true,
        Some(others) => {
            let most = if found < MANY { found + 1 } else { MOST_COUNTED };
            let rows = count_rows(db, others, most).await?;
            rows > found && (found < MANY || count_candidates(db, &pattern, rows).await? < rows)
        }
    };
    let condition = Expr::cust_with_values(format!("id IN ({})", candidate_ids()), [pattern]);
    Ok(is_faster.then(|| Condition::all().add(condition)))
}

/// The ids of all rows that the index finds, that are not indexed, or that may differ from the index.
fn candidate_ids() -> String {
    format!(
        "SELECT rowid FROM {TABLE} WHERE {TABLE} MATCH ? UNION ALL \
         SELECT id FROM callscope_text_rows WHERE digest IS NULL UNION ALL \
         SELECT id FROM t_error_logs WHERE id >= \
         COALESCE(({FIRST_UNINDEXED} AND NOT {HAS_RANDOM_IDS}), {NO_ID})"
    )
}

/// Counts the candidates up to a limit.
async fn count_candidates(db: &Database, pattern: &str, most: u64) -> Result<u64> {
    let sql = format!("SELECT COUNT(*) FROM ({} LIMIT {most})", candidate_ids());
    let statement = Statement::from_sql_and_values(DbBackend::Sqlite, sql, [pattern.into()]);
    let rows = db.query_all_raw("text_index.count", statement).await?;
    let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get_by_index(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Counts the rows with these conditions up to a limit.
async fn count_rows(db: &Database, conditions: Condition, most: u64) -> Result<u64> {
    let rows = Query::select()
        .expr(Expr::cust("1"))
        .from(ErrorLog)
        .cond_where(conditions)
        .limit(most)
        .take();
    let mut select = Query::select();
    select.expr_as(Expr::cust("COUNT(*)"), VALUE).from_subquery(rows, "found");
    let counts = db.fetch_values::<i64>("text_index.count_others", &select).await?;
    Ok(counts.first().map_or(0, |count| u64::try_from(*count).unwrap_or(0)))
}

/// The query of FTS5 for some of the trigrams of a text.
fn pattern(text: &str) -> Option<String> {
    let all = trigrams(text);
    let step = all.len().div_ceil(TRIGRAMS).max(1);
    let quoted = all.iter().step_by(step).map(|one| format!("\"{}\"", one.replace('"', "\"\"")));
    let some: Vec<String> = quoted.collect();
    (!some.is_empty()).then(|| some.join(" AND "))
}

/// What the job does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Indexes the next rows.
    Advance,
    /// Finds the last indexed row that is unchanged.
    Repair,
    /// Indexes these rows again.
    Replace(Vec<i64>),
    /// Deletes the index.
    Clear,
}

/// The next step; None if there is nothing to do. One statement.
pub async fn next_step(db: &Database) -> Result<Option<Step>> {
    row! {
        struct State { is_new: i64, is_valid: i64, pending: i64 }
    }
    let sql = format!(
        "SELECT next_id = {NO_ID} AS c_is_new, ({FIRST_UNINDEXED}) IS NOT NULL AS c_is_valid, \
         (SELECT COUNT(*) FROM (SELECT 1 FROM t_error_logs WHERE id >= next_id LIMIT {PENDING})) \
         AS c_pending FROM callscope_text_progress WHERE NOT {HAS_RANDOM_IDS}"
    );
    let state = db.fetch_text::<State>("text_index.state", &sql).await?.pop();
    Ok(state.and_then(|State { is_new, is_valid, pending }| match (is_new, is_valid) {
        (0, 0) => Some(Step::Repair),
        _ => (pending >= PENDING).then_some(Step::Advance),
    }))
}

/// Whether there are rows in the index.
pub async fn exists(db: &Database) -> Result<bool> {
    if !db.has_table("callscope_text_progress").await? {
        return Ok(false);
    }
    let sql = "SELECT 1 FROM callscope_text_rows LIMIT 1";
    let statement = Statement::from_string(DbBackend::Sqlite, sql);
    Ok(!db.query_all_raw("text_index.exists", statement).await?.is_empty())
}

/// Runs a step in one transaction; returns how many rows it indexed or deleted.
pub async fn run(db: &Database, step: &Step) -> Result<usize> {
    let _watch = db.watch("text_index.step", "INSERT INTO callscope_text_index");
    let done = retry(|| async move {
        let transaction = db.begin_transaction().await.map_err(Fault::Refused)?;
        let done = match step {
            Step::Advance => advance(&transaction.inner()).await,
            Step::Repair => repair(&transaction.inner()).await,
            Step::Replace(ids) => replace(&transaction.inner(), ids).await,
            Step::Clear => clear(&transaction.inner()).await,
        };
        transaction.end(done).await
    });
    done.await.map_err(Fault::into_error)
}

async fn advance(transaction: &impl ConnectionTrait) -> Result<usize> {
    // Rows may have been deleted and their ids used again since the step was chosen.
    let sql = format!(
        "SELECT 1 FROM callscope_text_progress WHERE NOT {HAS_RANDOM_IDS} \
         AND (next_id = {NO_ID} OR ({FIRST_UNINDEXED}) IS NOT NULL)"
    );
    if query(transaction, &sql).await?.is_empty() {
        return Ok(0);
    }
    let sql = format!(
        "SELECT id, {LENGTH} FROM t_error_logs WHERE id >= (SELECT next_id FROM \
         callscope_text_progress) ORDER BY id LIMIT {ROWS_AT_ONCE}"
    );
    let (mut ids, mut bytes) = (Vec::<i64>::new(), 0);
    for row in query(transaction, &sql).await? {
        let length: i64 = row.try_get_by_index(1)?;
        bytes += if length > LONG_TEXT { 0 } else { length };
        if !ids.is_empty() && bytes > BYTES_AT_ONCE {
            break;
        }
        ids.push(row.try_get_by_index(0)?);
    }
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(0) };
    // Entries of rows that were deleted before their ids were used again.
    let sql = format!("SELECT id FROM callscope_text_rows WHERE id BETWEEN {first} AND {last}");
    remove(transaction, &read_ids(&query(transaction, &sql).await?)?).await?;
    insert(transaction, &ids).await?;
    move_behind(transaction, *last).await?;
    Ok(ids.len())
}

/// Every row after the first one that SQLite replaced is another one, so the last unchanged row shows that
/// all rows before it are those that were indexed.
async fn repair(transaction: &impl ConnectionTrait) -> Result<usize> {
    let sql = format!(
        "SELECT id, digest FROM callscope_text_rows WHERE digest IS NOT NULL AND id < \
         (SELECT next_id FROM callscope_text_progress) ORDER BY id DESC LIMIT {ROWS_OF_A_REPAIR}"
    );
    let entries = read_digests(&query(transaction, &sql).await?)?;
    let ids: Vec<i64> = entries.keys().copied().collect();
    let rows = digests(transaction, &format!("id IN ({})", list(&ids))).await?;
    let unchanged = entries.iter().rev().find(|(id, digest)| rows.get(id) == Some(digest));
    match unchanged {
        Some((id, _)) => move_behind(transaction, *id).await?,
        // No row has this time, so that the next step continues the repair.
        None => {
            let next = ids.first().copied().unwrap_or(NO_ID);
            let sql = format!(
                "UPDATE callscope_text_progress SET next_id = {next}, request_time = x'00'"
            );
            execute(transaction, &sql).await?;
        }
    }
    Ok(ids.len())
}

async fn replace(transaction: &impl ConnectionTrait, ids: &[i64]) -> Result<usize> {
    remove(transaction, ids).await?;
    let sql = format!(
        "SELECT id FROM t_error_logs WHERE id IN ({}) AND id < \
         (SELECT next_id FROM callscope_text_progress)",
        list(ids)
    );
    let indexed = read_ids(&query(transaction, &sql).await?)?;
    insert(transaction, &indexed).await?;
    Ok(ids.len())
}

async fn clear(transaction: &impl ConnectionTrait) -> Result<usize> {
    let rows = query(transaction, "SELECT COUNT(*) FROM callscope_text_rows").await?;
    let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get_by_index(0))?;
    if count > 0 {
        execute(transaction, &format!("INSERT INTO {TABLE}({TABLE}) VALUES ('delete-all')"))
            .await?;
        execute(transaction, "DELETE FROM callscope_text_rows").await?;
    }
    let sql = format!(
        "UPDATE callscope_text_progress SET next_id = {NO_ID}, request_time = NULL, \
         error_type = NULL, error_log = NULL"
    );
    execute(transaction, &sql).await?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Deletes the entries of these ids.
async fn remove(transaction: &impl ConnectionTrait, ids: &[i64]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids = list(ids);
    let indexed = format!(
        "DELETE FROM {TABLE} WHERE rowid IN (SELECT id FROM callscope_text_rows \
         WHERE digest IS NOT NULL AND id IN ({ids}))"
    );
    execute(transaction, &indexed).await?;
    execute(transaction, &format!("DELETE FROM callscope_text_rows WHERE id IN ({ids})")).await
}

/// Indexes the rows with these ids, which have no entries.
async fn insert(transaction: &impl ConnectionTrait, ids: &[i64]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let rows = digests(transaction, &format!("id IN ({})", list(ids))).await?;
    let short: Vec<i64> = rows.iter().filter_map(|(id, digest)| digest.map(|_| *id)).collect();
    // Bytes count as the text that LIKE compares.
    let sql = format!(
        "INSERT INTO {TABLE} (rowid, error_type, error_log) SELECT id, CAST(error_type AS TEXT), \
         CAST(error_log AS TEXT) FROM t_error_logs WHERE id IN ({})",
        list(&short)
    );
    execute(transaction, &sql).await?;
    let values: Vec<String> = rows
        .iter()
        .map(|(id, digest)| format!("({id}, {})", digest.map_or("NULL".into(), |d| d.to_string())))
        .collect();
    let sql = format!("INSERT INTO callscope_text_rows (id, digest) VALUES {}", values.join(", "));
    execute(transaction, &sql).await
}

/// The rows up to this one are indexed.
async fn move_behind(transaction: &impl ConnectionTrait, id: i64) -> Result<()> {
    let sql = format!(
        "UPDATE callscope_text_progress SET (next_id, request_time, error_type, error_log) = \
         (SELECT id + 1, request_time, error_type, error_log FROM t_error_logs WHERE id = {id})"
    );
    execute(transaction, &sql).await
}

/// The rows from `first` on that differ from their entries in the index, of the next 2,000 rows, and the
/// first row after these. Two statements.
pub async fn find_changed(db: &Database, first: i64) -> Result<(Vec<i64>, Option<i64>)> {
    let limit = format!("ORDER BY id LIMIT {ROWS_OF_A_SWEEP}");
    let condition =
        format!("id >= {first} AND id < (SELECT next_id FROM callscope_text_progress) {limit}");
    let rows = db.query_all_raw("text_index.rows", digest_statement(&condition)).await?;
    let rows = read_row_digests(&rows)?;
    let sql = format!("SELECT id, digest FROM callscope_text_rows WHERE id >= {first} {limit}");
    let statement = Statement::from_string(DbBackend::Sqlite, sql);
    let entries = read_digests(&db.query_all_raw("text_index.entries", statement).await?)?;
    let full = |found: &BTreeMap<i64, _>| match found.len() >= ROWS_OF_A_SWEEP as usize {
        true => found.keys().next_back().copied(),
        false => None,
    };
    let last = full(&rows).into_iter().chain(full(&entries)).min();
    let ids = rows.keys().chain(entries.keys()).copied();
    let changed: BTreeSet<i64> = ids
        .filter(|id| last.is_none_or(|last| *id <= last) && rows.get(id) != entries.get(id))
        .collect();
    Ok((changed.into_iter().collect(), last.map(|last| last + 1)))
}

/// The bytes of the texts of a row.
const LENGTH: &str = "COALESCE(OCTET_LENGTH(error_type), 0) + COALESCE(OCTET_LENGTH(error_log), 0)";

/// The digests of the rows that match a condition; None for those with long texts.
async fn digests(
    transaction: &impl ConnectionTrait,
    condition: &str,
) -> Result<BTreeMap<i64, Option<i64>>> {
    read_row_digests(&transaction.query_all_raw(digest_statement(condition)).await?)
}

fn digest_statement(condition: &str) -> Statement {
    let sql = format!(
        "SELECT id, {LENGTH} > {LONG_TEXT}, CAST(request_time AS BLOB), CAST(gemini_key AS BLOB), \
         CAST(error_type AS BLOB), \
         CASE WHEN {LENGTH} <= {LONG_TEXT} THEN CAST(error_log AS BLOB) END \
         FROM t_error_logs WHERE {condition}"
    );
    Statement::from_string(DbBackend::Sqlite, sql)
}

fn read_row_digests(rows: &[QueryResult]) -> Result<BTreeMap<i64, Option<i64>>> {
    let digest = |row: &QueryResult| {
        let id: i64 = row.try_get_by_index(0)?;
        if row.try_get_by_index::<i64>(1)? == 1 {
            return Ok((id, None));
        }
        let mut hash = Sha256::new();
        for column in 2..=5 {
            match row.try_get_by_index::<Option<Vec<u8>>>(column)? {
                Some(bytes) => {
                    hash.update(bytes.len().to_le_bytes());
                    hash.update(bytes);
                }
                None => hash.update(u64::MAX.to_le_bytes()),
            }
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hash.finalize()[..8]);
        Ok((id, Some(i64::from_le_bytes(first))))
    };
    rows.iter().map(digest).collect()
}

fn read_digests(rows: &[QueryResult]) -> Result<BTreeMap<i64, Option<i64>>> {
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}

fn read_ids(rows: &[QueryResult]) -> Result<Vec<i64>> {
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

fn list(ids: &[i64]) -> String {
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
}

async fn query(transaction: &impl ConnectionTrait, sql: &str) -> Result<Vec<QueryResult>> {
    Ok(transaction.query_all_raw(Statement::from_string(DbBackend::Sqlite, sql)).await?)
}

async fn execute(transaction: &impl ConnectionTrait, sql: &str) -> Result<()> {
    transaction.execute_unprepared(sql).await?;
    Ok(())
}
