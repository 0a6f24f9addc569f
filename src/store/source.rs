//! Which rows of a table a statement reads. Months may be on other servers (`partition/moved.rs`): only statements about a
//! span of time, and those about ids that this server does not have, read them. All others, and all that write, use the
//! table, which is on this server alone.

use std::collections::HashSet;

use sea_orm::sea_query::{
    Alias, Expr, ExprTrait, IntoIden, IntoTableRef, Query, SelectStatement, TableRef, UnionType,
};

use super::database::Database;
use super::partition::tables::moved_months;
use super::rows::Row;
use crate::domain::table::{ID, LogTable};
use crate::error::Result;

/// The rows that a statement reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Those on this server.
    Here,
    /// Those of months on other servers.
    Moved,
    /// Both. PostgreSQL reads only the months of the times in the statement.
    All,
}

impl Source {
    /// The rows, under the name of the table.
    pub(super) fn of(self, table: LogTable, db: &Database) -> TableRef {
        let name = table.name();
        match self {
            Self::All if db.has_partitions() => {
                let all = columns(table, name)
                    .union(UnionType::All, columns(table, moved_months(table)))
                    .take();
                TableRef::SubQuery(Box::new(all), Alias::new(name).into_iden())
            }
            Self::Here | Self::All => name.into_table_ref(),
            Self::Moved => moved_months(table).into_table_ref().alias(Alias::new(name)),
        }
    }
}

/// The rows of a source with these ids; of all, those on this server, then the missing ones on other servers. `select` has
/// no source.
pub(super) async fn rows_of_ids<T: Row>(
    db: &Database,
    name: &'static str,
    (source, table): (Source, LogTable),
    select: &SelectStatement,
    ids: &[i64],
    id: impl Fn(&T) -> i64,
) -> Result<Vec<T>> {
    let rows_of = async |source: Source, ids: &[i64]| {
        let mut select = select.clone();
        select.from(source.of(table, db)).and_where(Expr::col(ID).is_in(ids.iter().copied()));
        db.fetch::<T>(name, &select).await
    };
    let mut rows = rows_of(Source::Here, ids).await?;
    if source == Source::All && db.has_partitions() && rows.len() < ids.len() {
        let found: HashSet<i64> = rows.iter().map(id).collect();
        let missing: Vec<i64> = ids.iter().copied().filter(|id| !found.contains(id)).collect();
        if !missing.is_empty() {
            rows.extend(rows_of(Source::Moved, &missing).await?);
        }
    }
    Ok(rows)
}

fn columns(table: LogTable, name: &'static str) -> SelectStatement {
    let columns = table.columns().iter().map(|column| column.name);
    Query::select().columns([ID].into_iter().chain(columns)).from(name).take()
}
