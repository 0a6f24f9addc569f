//! Inserts of calls and error logs. Values are bound, many rows a statement, one transaction.

use chrono::{DateTime, Datelike, NaiveDateTime, Timelike, Utc};
use sea_orm::sea_query::{InsertStatement, Query, SimpleExpr};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait,
};
use serde::{Serialize, Serializer};

use entity::{error_log, request_log};

use super::connect::Database;
use super::dialect::Dialect;
use super::import::{self, Step};
use super::zone::StorageZone;
use crate::domain::record::{CallRecord, ErrorRecord};
use crate::error::{Error, Result};

/// Rows in one statement: enough that the statement's own cost disappears.
const CALLS_PER_STATEMENT: usize = 1000;
/// Error logs are kilobytes each, and MySQL's packets end at 16 MB.
const ERRORS_PER_STATEMENT: usize = 100;

/// SQLite takes all rows as one JSON document: one text to bind instead of one value per column,
/// and a statement that is the same, so prepared once, for any number of rows.
const SQLITE_CALLS: &str = "INSERT INTO t_request_log \
    (request_time, model_name, api_key, is_success, status_code, latency_ms) \
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5 FROM json_each(?)";
const SQLITE_ERRORS: &str = "INSERT INTO t_error_logs \
    (request_time, model_name, gemini_key, error_type, error_log, error_code, request_msg) \
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6 \
    FROM json_each(?)";

/// Stores calls and error logs, and with them how far an import came, in one transaction.
pub async fn insert(
    db: &Database,
    calls: &[CallRecord],
    errors: &[ErrorRecord],
    step: Option<&Step>,
) -> Result<()> {
    // Immediate: SQLite cannot wait for another writer once a transaction has read.
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let transaction = db.writer()?.begin_with_options(options).await?;
    for chunk in calls.chunks(CALLS_PER_STATEMENT) {
        insert_calls(&transaction, db, chunk).await?;
    }
    for chunk in errors.chunks(ERRORS_PER_STATEMENT) {
        insert_errors(&transaction, db, chunk).await?;
    }
    if let Some(step) = step {
        import::advance(&transaction, step).await?;
    }
    Ok(transaction.commit().await?)
}

async fn insert_calls(
    transaction: &DatabaseTransaction,
    db: &Database,
    calls: &[CallRecord],
) -> Result<()> {
    if db.dialect() == Dialect::Sqlite {
        let rows = calls.iter().map(|call| {
            let time = StoredText(to_stored(db.zone(), call.timestamp));
            let success = i32::from(call.is_success());
            (time, &call.model, &call.key, success, call.status_code, call.latency_ms)
        });
        return insert_json(transaction, SQLITE_CALLS, rows).await;
    }
    use request_log::Column;
    let mut statement = Query::insert();
    statement.into_table(request_log::Entity).columns([
        Column::RequestTime,
        Column::ModelName,
        Column::ApiKey,
        Column::IsSuccess,
        Column::StatusCode,
        Column::LatencyMs,
    ]);
    for call in calls {
        let row: [SimpleExpr; 6] = [
            to_stored(db.zone(), call.timestamp).into(),
            call.model.clone().into(),
            call.key.clone().into(),
            call.is_success().into(),
            call.status_code.into(),
            call.latency_ms.into(),
        ];
        add_row(&mut statement, row)?;
    }
    transaction.execute(&statement).await?;
    Ok(())
}

async fn insert_errors(
    transaction: &DatabaseTransaction,
    db: &Database,
    errors: &[ErrorRecord],
) -> Result<()> {
    // JSON null says no more than NULL does, and gateways write both.
    let requests = errors.iter().map(|error| error.request.as_ref().filter(|json| !json.is_null()));
    if db.dialect() == Dialect::Sqlite {
        let rows = errors.iter().zip(requests).map(|(error, request)| {
            let time = StoredText(to_stored(db.zone(), error.timestamp));
            let request = request.map(ToString::to_string);
            let (kind, code) = (&error.error_type, error.error_code);
            (time, &error.model, &error.key, kind, &error.message, code, request)
        });
        return insert_json(transaction, SQLITE_ERRORS, rows).await;
    }
    use error_log::Column;
    let mut statement = Query::insert();
    statement.into_table(error_log::Entity).columns([
        Column::RequestTime,
        Column::ModelName,
        Column::GeminiKey,
        Column::ErrorType,
        Column::ErrorLog,
        Column::ErrorCode,
        Column::RequestMsg,
    ]);
    for (error, request) in errors.iter().zip(requests) {
        let row: [SimpleExpr; 7] = [
            to_stored(db.zone(), error.timestamp).into(),
            error.model.clone().into(),
            error.key.clone().into(),
            error.error_type.clone().into(),
            error.message.clone().into(),
            error.error_code.into(),
            request.cloned().into(),
        ];
        add_row(&mut statement, row)?;
    }
    transaction.execute(&statement).await?;
    Ok(())
}

fn add_row<const N: usize>(statement: &mut InsertStatement, row: [SimpleExpr; N]) -> Result<()> {
    statement.values(row).map(|_| ()).map_err(Error::internal)
}

async fn insert_json<T: Serialize>(
    transaction: &DatabaseTransaction,
    sql: &str,
    rows: impl Iterator<Item = T>,
) -> Result<()> {
    let mut document = Vec::new();
    serde_json::Serializer::new(&mut document).collect_seq(rows).map_err(Error::internal)?;
    let document = String::from_utf8(document).map_err(Error::internal)?;
    let backend = transaction.get_database_backend();
    let statement = Statement::from_sql_and_values(backend, sql, [document.into()]);
    transaction.execute_raw(statement).await?;
    Ok(())
}

/// Cut to microseconds, in the zone of the tables.
fn to_stored(zone: StorageZone, at: DateTime<Utc>) -> NaiveDateTime {
    zone.to_stored(DateTime::from_timestamp_micros(at.timestamp_micros()).unwrap_or(at))
}

/// A time as SQLAlchemy writes it, always with six digits: texts of other lengths compare wrongly.
struct StoredText(NaiveDateTime);

impl Serialize for StoredText {
    /// By hand, since chrono's formatter would take as long as all else on this side of SQLite.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = *b"0000-00-00 00:00:00.000000";
        let (date, time) = (self.0.date(), self.0.time());
        let year = date.year().clamp(0, 9999).unsigned_abs();
        let parts = [
            (0..4, year),
            (5..7, date.month()),
            (8..10, date.day()),
            (11..13, time.hour()),
            (14..16, time.minute()),
            (17..19, time.second()),
            (20..26, time.nanosecond() / 1000),
        ];
        for (place, mut number) in parts {
            for digit in text[place].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        serializer.serialize_str(str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_always_have_six_digits() {
        for text in ["2023-01-09 08:05:04.000000", "2023-11-16 18:15:46.680590"] {
            let time = NaiveDateTime::parse_from_str(text, "%F %T%.f").unwrap();
            assert_eq!(serde_json::to_value(StoredText(time)).unwrap(), text);
        }
    }
}
