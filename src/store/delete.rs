//! Deletions of error logs, in batches of their own transaction each: a large one never holds the
//! database up, and one that is stopped has deleted what it counted. Rows that arrive meanwhile stay:
//! they have higher ids than the last row, which therefore goes last, since SQLite would give its id again.

use entity::error_log::{Column, Entity};
use sea_orm::sea_query::{Expr, ExprTrait, Query};

use super::database::Database;
use super::error_log::ErrorScope;
use super::import::last_id;
use super::log_table::LogTable;
use super::rows::columns;
use crate::error::Result;

/// The highest id of the error logs, 0 without any.
pub async fn last_error_log(db: &Database) -> Result<i64> {
    last_id(db, LogTable::ErrorLogs.name()).await
}

/// Which ids are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    Below(i64),
    Only(i64),
}

/// Some error logs that match `scope`, of those that `ids` means.
pub async fn find_error_logs(
    db: &Database,
    scope: &ErrorScope,
    ids: Ids,
    limit: u32,
) -> Result<Vec<i64>> {
    let id = Expr::col(Column::Id);
    let mut select = Query::select();
    let width = columns(&mut select, [db.dialect().integer(Column::Id)]);
    select
        .from(Entity)
        .cond_where(scope.condition_at_any_time(db))
        .and_where(match ids {
            Ids::Below(last) => id.lt(last),
            Ids::Only(last) => id.eq(last),
        })
        .limit(limit.into());
    let rows = db.fetch::<(i64,)>("delete_find", &select, width).await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}
