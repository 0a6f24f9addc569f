//! Lists of error logs and their lengths.

use sea_orm::sea_query::{Condition, SelectStatement};

use super::classification;
use super::database::Database;
use super::error_log::{ErrorLogRow, ErrorScope, ReserveMemory, read_messages};
use super::list;
use super::page::{Keyset, Page, PageRequest, count_rows};
use super::source::Source;
use super::stored_time::StoredTime;
use crate::domain::table::{LogTable, TIME};
use crate::error::Result;

/// The position of an error log in a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCursor {
    pub stored: StoredTime,
    pub id: i64,
}

/// A request for a page of error logs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ErrorListQuery {
    pub scope: ErrorScope,
    pub newest_first: bool,
    pub page: PageRequest<ErrorCursor>,
}

impl ErrorListQuery {
    fn statement(&self, db: &Database, condition: Condition) -> SelectStatement {
        let dialect = db.dialect();
        let mut select = list::select::<ErrorLogRow>(db);
        let keyset = Keyset::by(TIME, self.newest_first);
        keyset.apply(&mut select, condition, &self.page, |at| (at.stored.value(dialect), at.id));
        select
    }
}

/// One page of error logs. One statement, up to two for the index of texts and for missing classes, and further ones
/// for long messages.
pub async fn list(
    db: &Database,
    query: &ErrorListQuery,
    reserve: ReserveMemory<'_>,
) -> Result<Page<ErrorLogRow>> {
    classification::complete(db, [&query.scope], false).await?;
    let condition = query.scope.fast_condition(db, true).await?;
    let rows = list::fetch(db, "error_log.list", &query.statement(db, condition)).await?;
    let mut page = query.page.page(rows);
    read_messages(db, Source::All, &mut page.rows, reserve).await?;
    Ok(page)
}

/// Many pages at once, in the order of `queries`. One statement for 100 pages, and further ones for
/// long messages.
pub async fn list_many(
    db: &Database,
    queries: &[ErrorListQuery],
    reserve: ReserveMemory<'_>,
) -> Result<Vec<Page<ErrorLogRow>>> {
    classification::complete(db, queries.iter().map(|query| &query.scope), false).await?;
    let statement = |query: &ErrorListQuery| query.statement(db, query.scope.condition(db));
    let pages = queries.iter().map(|query| (statement(query), &query.page)).collect();
    let mut pages = list::many(db, "error_log.list_many", pages).await?;
    read_messages(db, Source::All, pages.iter_mut().flat_map(|page| &mut page.rows), reserve)
        .await?;
    Ok(pages)
}

/// The number of error logs of each of `scopes`, in their order. One statement for 100 scopes, and up to
/// three for the index of texts for each search.
pub async fn count_many(db: &Database, scopes: &[ErrorScope]) -> Result<Vec<i64>> {
    classification::complete(db, scopes, false).await?;
    let mut conditions = Vec::with_capacity(scopes.len());
    for scope in scopes {
        conditions.push(scope.fast_condition(db, false).await?);
    }
    count_rows(db, "error_log.count", LogTable::ErrorLogs, conditions).await
}
