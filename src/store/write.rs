//! Inserts into the gateway's two tables.

use chrono::{DateTime, Utc};
use entity::{error_log, request_log};
use sea_orm::sea_query::{Expr, Query};
use sea_orm::{ConnectionTrait, TransactionTrait};

use super::{Database, dialect::Dialect};
use crate::domain::record::{CallRecord, ErrorRecord};
use crate::error::{Error, Result};

/// Rows of one statement: SQLite binds at most 32,766 values.
const ROWS: usize = 500;

/// Inserts all of it in one transaction.
pub async fn insert_records(
    db: &Database,
    calls: &[CallRecord],
    errors: &[ErrorRecord],
) -> Result<()> {
    let transaction = db.writer()?.begin().await?;
    for calls in calls.chunks(ROWS) {
        use request_log::Column;
        let mut insert = Query::insert();
        insert.into_table(request_log::Entity).columns([
            Column::RequestTime,
            Column::ModelName,
            Column::ApiKey,
            Column::IsSuccess,
            Column::StatusCode,
            Column::LatencyMs,
        ]);
        for call in calls {
            insert
                .values([
                    time(db, call.timestamp),
                    call.model.clone().into(),
                    call.key.clone().into(),
                    call.is_success().into(),
                    call.status_code.into(),
                    call.latency_ms.into(),
                ])
                .map_err(Error::internal)?;
        }
        transaction.execute(&insert).await?;
    }
    for errors in errors.chunks(ROWS) {
        use error_log::Column;
        let mut insert = Query::insert();
        insert.into_table(error_log::Entity).columns([
            Column::GeminiKey,
            Column::ModelName,
            Column::ErrorType,
            Column::ErrorLog,
            Column::ErrorCode,
            Column::RequestMsg,
            Column::RequestTime,
        ]);
        for error in errors {
            insert
                .values([
                    error.key.clone().into(),
                    error.model.clone().into(),
                    error.error_type.clone().into(),
                    error.message.clone().into(),
                    error.error_code.into(),
                    error.request.clone().unwrap_or_default().into(),
                    time(db, error.timestamp),
                ])
                .map_err(Error::internal)?;
        }
        transaction.execute(&insert).await?;
    }
    Ok(transaction.commit().await?)
}

/// As gemini-balance writes it: SQLite's text has always six digits after the second.
fn time(db: &Database, at: DateTime<Utc>) -> Expr {
    let stored = db.zone().to_stored(at);
    match db.dialect() {
        Dialect::Sqlite => stored.format("%Y-%m-%d %H:%M:%S%.6f").to_string().into(),
        Dialect::Postgres | Dialect::MySql => stored.into(),
    }
}
