//! Keyset pages: the rows after or before a row, in an order that ends with the id. No row is skipped or
//! repeated while rows are added.

use sea_orm::sea_query::{
    Condition, Expr, ExprTrait, Order, Query, SelectStatement, SqliteQueryBuilder, UnionType, Value,
};

use super::database::Database;
use super::dialect::Dialect;
use super::rows::{Row, columns, row};
use super::source::Source;
use crate::domain::table::{ID, LogTable};
use crate::error::Result;

/// A request for a page of a list; `C` is the position of a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PageRequest<C> {
    pub limit: u32,
    /// The last rows of the list instead of the first.
    pub backward: bool,
    pub after: Option<C>,
    pub before: Option<C>,
}

/// A page of rows, in the order of the list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub rows: Vec<T>,
    pub has_next_page: bool,
    pub has_previous_page: bool,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { rows: vec![], has_next_page: false, has_previous_page: false }
    }
}

impl<T> Page<T> {
    pub fn map<U>(self, map: impl Fn(T) -> U) -> Page<U> {
        Page {
            rows: self.rows.into_iter().map(map).collect(),
            has_next_page: self.has_next_page,
            has_previous_page: self.has_previous_page,
        }
    }
}

impl<C> PageRequest<C> {
    /// How many rows a statement fetches: one more than the page, which shows whether there are more.
    pub(super) fn fetch_limit(&self) -> u64 {
        u64::from(self.limit) + 1
    }

    /// The page of the fetched rows, which are in reverse order if `backward`.
    pub fn page<T>(&self, mut rows: Vec<T>) -> Page<T> {
        let more = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        if self.backward {
            rows.reverse();
            Page { rows, has_next_page: self.before.is_some(), has_previous_page: more }
        } else {
            Page { rows, has_next_page: more, has_previous_page: self.after.is_some() }
        }
    }
}

/// An order by one expression, then by id.
pub(super) struct Keyset {
    pub expression: Expr,
    pub descending: bool,
}

impl Keyset {
    pub(super) fn by(column: &'static str, descending: bool) -> Self {
        Self { expression: Expr::col(column), descending }
    }

    /// Restricts and sorts `select` to the rows of `condition` and `request`; a cursor is a value of the expression
    /// and an id. Of two lower (or upper) bounds of the expression, SQLite starts at the first one in the
    /// statement: with that of a window, each page would read all pages before it.
    pub(super) fn apply<C>(
        &self,
        select: &mut SelectStatement,
        condition: Condition,
        request: &PageRequest<C>,
        position: impl Fn(&C) -> (Value, i64),
    ) {
        if let Some(cursor) = &request.after {
            select.cond_where(self.beyond(position(cursor), self.descending));
        }
        if let Some(cursor) = &request.before {
            select.cond_where(self.beyond(position(cursor), !self.descending));
        }
        let order = if self.descending != request.backward { Order::Desc } else { Order::Asc };
        select
            .cond_where(condition)
            .order_by_expr(self.expression.clone(), order.clone())
            .order_by_expr(Expr::col(ID), order)
            .limit(request.fetch_limit());
    }

    /// Rows after a position. The first comparison is a range of the index.
    fn beyond(&self, (value, id): (Value, i64), descending: bool) -> Condition {
        let column = || self.expression.clone();
        let id_column = Expr::col(ID);
        let (range, value_beyond, id_beyond) = if descending {
            (column().lte(value.clone()), column().lt(value), id_column.lt(id))
        } else {
            (column().gte(value.clone()), column().gt(value), id_column.gt(id))
        };
        Condition::all().add(range).add(Condition::any().add(value_beyond).add(id_beyond))
    }
}

/// The most bound values of one statement: the limit of SQLite is 32,766, of the others 65,535.
const MAX_VALUES: usize = 30_000;

/// Joins the branches to statements of at most `most` branches and [`MAX_VALUES`] values.
pub(super) fn unions(
    branches: impl IntoIterator<Item = SelectStatement>,
    most: usize,
) -> Vec<SelectStatement> {
    let mut unions: Vec<SelectStatement> = vec![];
    let (mut count, mut values) = (0, 0);
    for branch in branches {
        let own = branch.build(SqliteQueryBuilder).1.0.len();
        match unions.last_mut() {
            Some(union) if count < most && values + own <= MAX_VALUES => {
                union.union(UnionType::All, branch);
                (count, values) = (count + 1, values + own);
            }
            _ => {
                unions.push(branch);
                (count, values) = (1, own);
            }
        }
    }
    unions
}

row! {
    /// The number of a page in a statement with many.
    pub(super) struct Tag { tag: i64 }
}

/// Pages with the columns of `T` as branches of a statement. Each row has the [`Tag`] of its page.
pub(super) fn tagged<T: Row>(
    dialect: Dialect,
    pages: impl IntoIterator<Item = SelectStatement>,
) -> impl Iterator<Item = SelectStatement> {
    pages.into_iter().enumerate().map(move |(tag, page)| {
        let mut branch = Query::select();
        let own = T::columns().into_iter().map(Expr::col);
        columns::<(T, Tag)>(&mut branch, own.chain([dialect.number(tag)]));
        branch.from_subquery(page, "page").take()
    })
}

/// The number of rows of a table that match each condition, in their order. One statement for 100
/// conditions.
pub(super) async fn count_rows(
    db: &Database,
    name: &'static str,
    table: LogTable,
    conditions: impl IntoIterator<Item = Condition>,
) -> Result<Vec<i64>> {
    row! {
        struct Count { number: i64, rows: i64 }
    }
    let branches: Vec<SelectStatement> = conditions
        .into_iter()
        .enumerate()
        .map(|(number, condition)| {
            let mut branch = Query::select();
            let number = db.dialect().number(number);
            columns::<Count>(&mut branch, [number, Expr::cust("COUNT(*)")]);
            branch.from(Source::All.of(table, db)).cond_where(condition).take()
        })
        .collect();
    let mut counts = vec![0; branches.len()];
    for union in unions(branches, 100) {
        for Count { number, rows } in db.fetch::<Count>(name, &union).await? {
            counts[number as usize] = rows;
        }
    }
    Ok(counts)
}
