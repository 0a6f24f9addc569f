//! Deletions, in batches of their own transaction each: a large one never holds the database up, and
//! one that is stopped has deleted what it counted. Rows that arrive meanwhile stay.

use chrono::{DateTime, Utc};
use entity::{error_log, request_log};
use sea_orm::sea_query::{Condition, Expr, ExprTrait, Query};
use sea_orm::{EntityName, Iden};

use super::database::Database;
use super::error_log::ErrorScope;
use super::import::last_id;
use super::rows::columns;
use crate::error::Result;

/// Rows of one transaction.
const BATCH: usize = 1000;

/// Deletes the error logs with these ids; tells how many there were.
pub async fn error_logs(db: &Database, ids: &[i64]) -> Result<u64> {
    let mut deleted = 0;
    for batch in ids.chunks(BATCH) {
        deleted += delete_batch::<error_log::Entity, _>(db, error_log::Column::Id, batch).await?;
    }
    Ok(deleted)
}

/// Deletes the error logs that match `scope`; tells how many there were.
pub async fn error_logs_where(db: &Database, scope: &ErrorScope) -> Result<u64> {
    let last = last_id(db, "t_error_logs").await?;
    let condition = scope.condition_at_any_time(db);
    delete_where::<error_log::Entity, _>(db, error_log::Column::Id, &condition, last).await
}

/// Deletes the error logs from before an instant. Those without a readable time stay.
pub async fn error_logs_before(db: &Database, before: DateTime<Utc>) -> Result<u64> {
    let last = last_id(db, "t_error_logs").await?;
    let condition = until(db, error_log::Column::RequestTime, before);
    delete_where::<error_log::Entity, _>(db, error_log::Column::Id, &condition, last).await
}

/// Deletes the calls from before an instant. Those without a readable time stay.
pub async fn calls_before(db: &Database, before: DateTime<Utc>) -> Result<u64> {
    let last = last_id(db, "t_request_log").await?;
    let condition = until(db, request_log::Column::RequestTime, before);
    delete_where::<request_log::Entity, _>(db, request_log::Column::Id, &condition, last).await
}

fn until(db: &Database, time: impl Iden + Copy, before: DateTime<Utc>) -> Condition {
    db.dialect().time_range(time, None, Some(db.zone().to_stored(before)))
}

async fn delete_where<E: EntityName + Default, C: Iden + Copy>(
    db: &Database,
    id: C,
    condition: &Condition,
    last: i64,
) -> Result<u64> {
    let mut deleted = 0;
    loop {
        let mut select = Query::select();
        let width = columns(&mut select, [db.dialect().integer(id)]);
        select
            .from(E::default().table_ref())
            .cond_where(condition.clone())
            .and_where(Expr::col(id).lte(last))
            .limit(BATCH as u64);
        let ids: Vec<i64> = db
            .fetch::<(i64,)>("delete_find", &select, width)
            .await?
            .into_iter()
            .map(|row| row.0)
            .collect();
        if ids.is_empty() {
            return Ok(deleted);
        }
        deleted += delete_batch::<E, C>(db, id, &ids).await?;
    }
}

async fn delete_batch<E: EntityName + Default, C: Iden + Copy>(
    db: &Database,
    id: C,
    ids: &[i64],
) -> Result<u64> {
    let delete = Query::delete()
        .from_table(E::default().table_ref())
        .and_where(Expr::col(id).is_in(ids.iter().copied()))
        .take();
    db.execute("delete", &delete).await
}
