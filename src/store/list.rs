//! Lists of rows of the two tables: pages, single rows, rows by condition.

use sea_orm::sea_query::{Condition, Expr, Order, SelectStatement};

use super::database::Database;
use super::dialect::Dialect;
use super::page::{Page, PageRequest, Tag, tagged, unions};
use super::rows::{Row, select_columns, select_from};
use super::source::{Source, rows_of_ids};
use crate::domain::table::{ID, LogTable};
use crate::error::Result;

/// A row of a list.
pub(super) trait ListRow: Sized {
    /// Its columns.
    type Stored: Row;
    const TABLE: LogTable;

    fn id(stored: &Self::Stored) -> i64;

    /// Expressions of the columns that the table does not have.
    fn computed(_: Dialect) -> Vec<(&'static str, Expr)> {
        vec![]
    }

    fn decode(db: &Database, stored: Self::Stored) -> Self;
}

/// Selects all columns of the rows, also of those on other servers.
pub(super) fn select<R: ListRow>(db: &Database) -> SelectStatement {
    let computed = R::computed(db.dialect());
    let mut select = select_columns::<R::Stored>(db.dialect(), R::TABLE, &computed);
    select.from(Source::All.of(R::TABLE, db)).take()
}

/// The rows of a statement of [`select`].
pub(super) async fn fetch<R: ListRow>(
    db: &Database,
    name: &'static str,
    select: &SelectStatement,
) -> Result<Vec<R>> {
    let rows = db.fetch::<R::Stored>(name, select).await?;
    Ok(rows.into_iter().map(|row| R::decode(db, row)).collect())
}

/// The rows with these ids, unordered.
pub(super) async fn find<R: ListRow>(
    db: &Database,
    name: &'static str,
    source: Source,
    ids: &[i64],
) -> Result<Vec<R>> {
    let computed = R::computed(db.dialect());
    let mut select = select_columns::<R::Stored>(db.dialect(), R::TABLE, &computed);
    select.and_where(db.dialect().has_time());
    let rows = rows_of_ids(db, name, (source, R::TABLE), &select, ids, R::id).await?;
    Ok(rows.into_iter().map(|row| R::decode(db, row)).collect())
}

/// Many pages, each of a statement of [`select`]. One statement for 100 pages.
pub(super) async fn many<R: ListRow, C>(
    db: &Database,
    name: &'static str,
    pages: Vec<(SelectStatement, &PageRequest<C>)>,
) -> Result<Vec<Page<R>>> {
    let (statements, requests): (Vec<_>, Vec<_>) = pages.into_iter().unzip();
    let mut rows: Vec<Vec<R>> = requests.iter().map(|_| vec![]).collect();
    for union in unions(tagged::<R::Stored>(db.dialect(), statements), 100) {
        for (row, Tag { tag }) in db.fetch::<(R::Stored, Tag)>(name, &union).await? {
            rows[tag as usize].push(R::decode(db, row));
        }
    }
    Ok(requests.into_iter().zip(rows).map(|(request, rows)| request.page(rows)).collect())
}

/// The rows that match a condition and have a readable time, sorted by id. One statement.
pub(super) async fn by_id<R: ListRow>(
    db: &Database,
    name: &'static str,
    condition: Condition,
    order: Order,
    limit: u64,
) -> Result<Vec<R>> {
    // PostgreSQL would underestimate the rows of the CASE and sort them all; the other databases would use
    // the index by time for a range.
    let has_time = match db.dialect() {
        Dialect::Postgres => Dialect::Postgres.time_range(None, None),
        dialect => Condition::all().add(dialect.has_time()),
    };
    let computed = R::computed(db.dialect());
    let mut select = select_from::<R::Stored>(db.dialect(), R::TABLE, &computed);
    select.cond_where(condition).cond_where(has_time).order_by(ID, order).limit(limit);
    fetch(db, name, &select).await
}
