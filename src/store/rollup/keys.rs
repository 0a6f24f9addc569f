//! Keys of deleted calls.

use chrono::NaiveDateTime;
use sea_orm::sea_query::{Expr, ExprTrait, Query};

use super::{SERIES, stored};
use crate::error::Result;
use crate::store::database::Database;
use crate::store::rows::{VALUE, columns, row};

/// The most keys of a statement.
const KEYS: usize = 500;

/// Every key of a folded call, if calls are deleted; in no order, and some of them several times.
pub(in crate::store) async fn deleted_keys(db: &Database) -> Result<Vec<String>> {
    if !has_deleted(db) {
        return Ok(vec![]);
    }
    let mut select = Query::select();
    select
        .expr_as(Expr::col("api_key"), VALUE)
        .distinct()
        .from(SERIES)
        .and_where(Expr::col("api_key").is_not_null());
    db.fetch_values("rollup.keys", &select).await
}

/// The first and the last time of the folded calls of `keys`, with the place of each key, if calls are
/// deleted.
pub(in crate::store) async fn key_activity(
    db: &Database,
    keys: &[String],
) -> Result<Vec<(usize, NaiveDateTime, NaiveDateTime)>> {
    row! {
        struct Activity { key: String, first: i64, last: i64 }
    }
    let mut found = vec![];
    if !has_deleted(db) {
        return Ok(found);
    }
    for part in keys.chunks(KEYS) {
        let mut select = Query::select();
        let ends = [Expr::col("first_time").min(), Expr::col("last_time").max()];
        columns::<Activity>(&mut select, [Expr::col("api_key")].into_iter().chain(ends));
        select.from(SERIES).and_where(Expr::col("api_key").is_in(part)).group_by_col("api_key");
        for Activity { key, first, last } in db.fetch("rollup.key_activity", &select).await? {
            let places = keys.iter().enumerate().filter(|(_, one)| **one == key);
            found.extend(places.map(|(place, _)| (place, stored(first), stored(last))));
        }
    }
    Ok(found)
}

/// Whether the rollups know calls that may be deleted.
fn has_deleted(db: &Database) -> bool {
    db.rollups().get().is_some_and(|known| known.state.kept_since.is_some())
}
