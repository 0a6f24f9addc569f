//! Finds the error logs that a deletion with a filter deletes, batch by batch. Rows that arrive during
//! the deletion are kept: their ids are above the last id at its start. The row with that id is deleted
//! last, because SQLite assigns the highest id again once it is free.

use entity::ErrorLog;
use sea_orm::sea_query::{Expr, ExprTrait, Query};

use super::database::Database;
use super::error_log::ErrorScope;
use super::import::last_id;
use super::rows::VALUE;
use crate::domain::table::{ID, LogTable};
use crate::error::Result;

/// The highest id of the error logs, 0 without any.
pub async fn last_error_log(db: &Database) -> Result<i64> {
    last_id(db, LogTable::ErrorLogs).await
}

/// A limit on ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    Below(i64),
    Only(i64),
}

/// The ids of at most `limit` error logs that match `scope` and `ids`.
pub async fn find_error_logs(
    db: &Database,
    scope: &ErrorScope,
    ids: Ids,
    limit: u32,
) -> Result<Vec<i64>> {
    let id = Expr::col(ID);
    let mut select = Query::select();
    select
        .expr_as(db.dialect().integer(ID), VALUE)
        .from(ErrorLog)
        .cond_where(scope.condition_at_any_time(db))
        .and_where(match ids {
            Ids::Below(last) => id.lt(last),
            Ids::Only(last) => id.eq(last),
        })
        .limit(limit.into());
    db.fetch_values("delete_find", &select).await
}
