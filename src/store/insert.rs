//! Inserts of calls and error logs: bound values, many rows in a statement.

use std::borrow::Borrow;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::Values;
use sea_orm::sqlx::{AssertSqlSafe, query_with};
use sea_orm::{ConnectionTrait, DbBackend, Statement, Value};
use sea_query_sqlx::SqlxValues;
use serde::de::IgnoredAny;

use super::connections::Lease;
use super::database::Database;
use super::dialect::Dialect;
use super::engine::Engine;
use super::stored_time::sqlite_text;
use super::transaction::exec_error;
use crate::domain::record::{CallRecord, ErrorRecord};
use crate::domain::table::{ColumnKind, LogTable};
use crate::error::{Error, Result};

/// The most rows of one statement: enough to make the cost of a statement negligible, and below the
/// limits on bound values (SQLite 32,766, the others 65,535).
const CALLS_PER_STATEMENT: usize = 1024;
/// An error log has kilobytes, and the limit of a packet of MySQL is 16 MB.
const ERRORS_PER_STATEMENT: usize = 128;

/// Up to so many rows are one statement, which makes a group of callers one round trip. sqlx caches a
/// hundred prepared statements.
const FEW_CALLS: usize = 64;
const FEW_ERRORS: usize = 16;

/// Whether these calls fit into one statement.
pub(super) fn is_one_statement(calls: &[&CallRecord]) -> bool {
    chunks(calls, FEW_CALLS, CALLS_PER_STATEMENT).count() == 1
}

/// Inserts calls with one statement, which commits automatically, and returns the ids.
pub(super) async fn insert_alone(
    db: &Database,
    lease: &mut Lease,
    calls: &[&CallRecord],
) -> Result<Vec<i64>> {
    let values = calls.iter().flat_map(|call| call_values(db, call)).collect();
    if db.dialect() != Dialect::Sqlite {
        let connection = db.statement_log().of(lease.connection()?);
        return insert_rows(&connection, Commit::Automatic, LogTable::Calls, values, Ids::Read)
            .await;
    }
    let sql = insert_sql(Dialect::Sqlite, Commit::Automatic, LogTable::Calls, calls.len());
    let statement = Statement::from_sql_and_values(DbBackend::Sqlite, sql, values);
    db.statement_log().add(|| statement.to_string());
    let values = statement.values.unwrap_or(Values(vec![]));
    let statement = query_with(AssertSqlSafe(statement.sql), SqlxValues(values));
    let inserted = statement.execute(lease.sqlite().await?).await.map_err(exec_error)?;
    sqlite_ids(inserted.last_insert_rowid(), calls.len())
}

/// Inserts calls in the transaction of the caller.
pub(super) async fn insert_calls(
    db: &Database,
    transaction: &impl ConnectionTrait,
    calls: &[impl Borrow<CallRecord>],
    ids: Ids,
) -> Result<Vec<i64>> {
    let mut found = Vec::new();
    for chunk in chunks(calls, FEW_CALLS, CALLS_PER_STATEMENT) {
        let values = chunk.iter().flat_map(|call| call_values(db, call.borrow())).collect();
        found.extend(
            insert_rows(transaction, Commit::ByTransaction, LogTable::Calls, values, ids).await?,
        );
    }
    Ok(found)
}

/// Inserts error logs in the transaction of the caller.
pub(super) async fn insert_errors(
    db: &Database,
    transaction: &impl ConnectionTrait,
    errors: &[impl Borrow<ErrorRecord>],
    ids: Ids,
) -> Result<Vec<i64>> {
    let mut found = Vec::new();
    for chunk in chunks(errors, FEW_ERRORS, ERRORS_PER_STATEMENT) {
        let values = chunk.iter().flat_map(|error| error_values(db, error.borrow())).collect();
        found.extend(
            insert_rows(transaction, Commit::ByTransaction, LogTable::ErrorLogs, values, ids)
                .await?,
        );
    }
    Ok(found)
}

/// Whether to return the ids of new rows.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Ids {
    Read,
    Unread,
}

/// How a statement is committed.
#[derive(Clone, Copy, PartialEq)]
enum Commit {
    Automatic,
    ByTransaction,
}

/// In the order of [`LogTable::columns`].
pub(super) fn call_values(db: &Database, call: &CallRecord) -> [Value; 6] {
    [
        time_value(db, call.timestamp),
        call.model.clone().into(),
        key_value(db, call.key.as_ref()),
        call.is_success().into(),
        call.status_code.into(),
        call.latency_ms.into(),
    ]
}

/// In the order of [`LogTable::columns`]. The request is bound as text, which keeps it unchanged.
pub(super) fn error_values(db: &Database, error: &ErrorRecord) -> [Value; 7] {
    [
        time_value(db, error.timestamp),
        error.model.clone().into(),
        key_value(db, error.key.as_ref()),
        error.error_type.clone().into(),
        error.message.clone().into(),
        error.error_code.into(),
        error.request.as_deref().map(|text| json_text(text, db.dialect())).into(),
    ]
}

/// Citus, which distributes rows by their key, refuses NULL.
fn key_value(db: &Database, key: Option<&String>) -> Value {
    match (key, db.engine()) {
        (None, Engine::Citus) => "".into(),
        (key, _) => key.cloned().into(),
    }
}

/// A text that is not JSON becomes a JSON string, except on SQLite, which stores any text.
fn json_text(text: &str, dialect: Dialect) -> String {
    match dialect == Dialect::Sqlite || serde_json::from_str::<IgnoredAny>(text).is_ok() {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}

/// Splits `rows` into parts of at most `most` rows (a power of two). Parts have few different lengths,
/// so that each statement is prepared once. Up to `few` rows are always one part.
pub(super) fn chunks<T>(mut rows: &[T], few: usize, most: usize) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = match rows.len() {
            0 => return None,
            length if length <= few => length,
            length => most.min(1 << length.ilog2()),
        };
        let (chunk, rest) = rows.split_at(length);
        rows = rest;
        Some(chunk)
    })
}

async fn insert_rows(
    connection: &impl ConnectionTrait,
    commit: Commit,
    table: LogTable,
    values: Vec<Value>,
    ids: Ids,
) -> Result<Vec<i64>> {
    let rows = values.len() / table.columns().len();
    let backend = connection.get_database_backend();
    let mut sql = insert_sql(Dialect::of(backend), commit, table, rows);
    if ids == Ids::Unread {
        connection.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
        return Ok(vec![]);
    }
    if Dialect::of(backend) == Dialect::Postgres {
        sql += " RETURNING CAST(id AS BIGINT)";
        let statement = Statement::from_sql_and_values(backend, sql, values);
        let inserted = connection.query_all_raw(statement).await?;
        let mut ids: Vec<i64> =
            inserted.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
        // Ids ascend with the rows; the order of RETURNING is not specified.
        ids.sort_unstable();
        return Ok(ids);
    }
    // The other databases assign consecutive ids to the rows of one statement. SQLite, with its single
    // writer, returns the last id; MySQL returns the first.
    if Dialect::of(backend) == Dialect::Sqlite {
        // Not SeaORM's last_insert_id, which panics at a negative one.
        sql += "; SELECT last_insert_rowid()";
        let statement = Statement::from_sql_and_values(backend, sql, values);
        let last = connection.query_all_raw(statement).await?;
        let last = last.first().ok_or_else(|| Error::internal("no last_insert_rowid"))?;
        return sqlite_ids(last.try_get_by_index(0)?, rows);
    }
    // Before the insert: a stored batch must not fail afterwards.
    let step = if rows > 1 { mysql_id_step(connection).await? } else { 1 };
    let statement = Statement::from_sql_and_values(backend, sql, values);
    // As CAST(id AS SIGNED) reads an unsigned id.
    let first = connection.execute_raw(statement).await?.last_insert_id().cast_signed();
    // A node that joined or left has changed the step meanwhile. Nothing is committed yet.
    if step > 1 && mysql_id_step(connection).await? != step {
        return Err(Error::Busy);
    }
    let count = i64::try_from(rows).map_err(Error::internal)?;
    Ok((0..count).map(|row| first + row * step).collect())
}

/// The ids of the rows of one statement, from the last id that SQLite returned.
fn sqlite_ids(last: i64, rows: usize) -> Result<Vec<i64>> {
    let rows = i64::try_from(rows).map_err(Error::internal)?;
    Ok((last - rows + 1..=last).collect())
}

/// The text of the statement for so many rows.
fn insert_sql(dialect: Dialect, commit: Commit, table: LogTable, rows: usize) -> String {
    // A failure rolls the whole transaction back. Without FAIL, SQLite would also keep a journal for each
    // statement and write every page twice.
    let verb = match (dialect, commit) {
        (Dialect::Sqlite, Commit::ByTransaction) => "INSERT OR FAIL INTO",
        _ => "INSERT INTO",
    };
    let columns = table.columns();
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    let mut sql = format!("{verb} {} ({}) VALUES ", table.name(), names.join(", "));
    for index in 0..rows * columns.len() {
        let place = index % columns.len();
        sql += match (index, place) {
            (0, _) => "(",
            (_, 0) => "), (",
            _ => ", ",
        };
        match dialect {
            Dialect::Postgres if columns[place].kind == ColumnKind::Json => {
                sql += &format!("CAST(${} AS JSON)", index + 1);
            }
            Dialect::Postgres => sql += &format!("${}", index + 1),
            Dialect::Sqlite | Dialect::MySql => sql.push('?'),
        }
    }
    sql.push(')');
    sql
}

/// The step between two ids: above 1 on a server of a cluster.
async fn mysql_id_step(connection: &impl ConnectionTrait) -> Result<i64> {
    let sql = "SELECT CAST(@@auto_increment_increment AS SIGNED)";
    let row = connection.query_one_raw(Statement::from_string(DbBackend::MySql, sql)).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(1))
}

/// A time in the storage zone, truncated to microseconds.
fn time_value(db: &Database, at: DateTime<Utc>) -> Value {
    let at = DateTime::from_timestamp_micros(at.timestamp_micros()).unwrap_or(at);
    let stored = db.zone().to_stored(at);
    match db.dialect() {
        Dialect::Sqlite => sqlite_text(stored).into(),
        Dialect::Postgres | Dialect::MySql => stored.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_of_few_lengths() {
        let lengths =
            |rows: usize| chunks(&vec![(); rows], 20, 128).map(<[()]>::len).collect::<Vec<_>>();
        assert_eq!(lengths(0), [0; 0]);
        assert_eq!(lengths(17), [17]);
        assert_eq!(lengths(64), [64]);
        assert_eq!(lengths(300), [128, 128, 32, 12]);
    }
}
