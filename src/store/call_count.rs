//! Numbers of calls of lists.

use super::call::CallScope;
use super::database::Database;
use super::page::count_rows;
use super::rollup::{Numbering, SumRequest, span, sums};
use crate::domain::table::LogTable;
use crate::error::Result;

/// The number of calls of each of `scopes`, in their order. One statement for all scopes that single calls
/// answer, and one for each of the others.
pub async fn count_many(db: &Database, scopes: &[CallScope]) -> Result<Vec<i64>> {
    let mut counts: Vec<Option<i64>> = vec![];
    for scope in scopes {
        counts.push(count(db, scope).await?);
    }
    let rest = scopes.iter().zip(&counts).filter(|(_, count)| count.is_none());
    let conditions = rest.map(|(scope, _)| scope.condition(db));
    let mut rest = count_rows(db, "call.count", LogTable::Calls, conditions).await?.into_iter();
    Ok(counts.into_iter().filter_map(|count| count.or_else(|| rest.next())).collect())
}

/// The calls of a list, from cells; None without cells.
async fn count(db: &Database, scope: &CallScope) -> Result<Option<i64>> {
    let request = SumRequest {
        scope,
        by: &[],
        latency: false,
        spans: vec![(Numbering::One(0), span(db.zone(), scope.window))],
        borders: &[],
        with_deleted: false,
    };
    let sums = sums(db, "call.count_rollup", &request).await?;
    Ok(sums.map(|sums| sums.iter().map(|sum| sum.counts.total).sum()))
}
