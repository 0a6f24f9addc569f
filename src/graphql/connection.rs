//! Relay connections: a page of a list, its edges and its whole number.

use std::borrow::Cow;

use async_graphql::{Context, Object, OutputType, SimpleObject, TypeName};

use super::edges::Edges;
use super::error::Result;
use super::rows::{Row, Rows};
use super::scalar::BigInt;
use super::scope::{Scope, scope};
use crate::store::page::Page;

/// Where a page lies in its list.
#[derive(SimpleObject, Clone, Debug)]
pub struct PageInfo {
    /// Whether there are items behind this page. When paging backward: whether `before` was given.
    pub has_next_page: bool,
    /// Whether there are items in front of this page. When paging forward: whether `after` was given.
    pub has_previous_page: bool,
    /// The cursor of the first item of the page; null where the page is empty.
    pub start_cursor: Option<String>,
    /// The cursor of the last item of the page, to be given as `after` for the next page; null where
    /// the page is empty.
    pub end_cursor: Option<String>,
}

/// What can stand in a connection. `List` is what the items were selected by.
pub trait Item: Row + Clone {
    type List: Send + Sync;

    /// The position of the item in its list.
    fn cursor(&self, list: &Self::List) -> String;

    /// How many items the whole list has.
    fn count(scope: &Scope, list: &Self::List) -> impl Future<Output = Result<i64>> + Send;
}

/// A page of a list.
pub struct Connection<T: Item> {
    page: Page<T>,
    list: T::List,
}

/// An item and its position in the list.
#[derive(SimpleObject)]
#[graphql(name_type)]
pub struct Edge<T: Item> {
    /// The position of the item, to be given as `after` or `before`.
    cursor: String,
    /// The item.
    node: T,
}

impl<T: Item> TypeName for Connection<T> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Connection", <T as OutputType>::type_name()).into()
    }
}

impl<T: Item> TypeName for Edge<T> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Edge", <T as OutputType>::type_name()).into()
    }
}

impl<T: Item> Edge<T> {
    pub fn new(node: &T, list: &T::List) -> Self {
        Self { cursor: node.cursor(list), node: node.clone() }
    }
}

impl<T: Item> Connection<T> {
    pub fn new(page: Page<T>, list: T::List) -> Self {
        Self { page, list }
    }
}

/// A page of a list, and how it goes on.
#[Object(name_type)]
impl<T: Item> Connection<T> {
    /// The items of the page, each with its cursor.
    async fn edges(&self) -> Edges<'_, T> {
        Edges { rows: &self.page.rows, list: &self.list }
    }

    /// The items of the page.
    async fn nodes(&self) -> Rows<'_, T> {
        Rows(&self.page.rows)
    }

    /// Where the page lies in the list.
    async fn page_info(&self) -> PageInfo {
        let rows = &self.page.rows;
        PageInfo {
            has_next_page: self.page.has_next_page,
            has_previous_page: self.page.has_previous_page,
            start_cursor: rows.first().map(|item| item.cursor(&self.list)),
            end_cursor: rows.last().map(|item| item.cursor(&self.list)),
        }
    }

    /// How many items the whole list has, whatever the page. Counted only when it is asked for.
    async fn total_count(&self, ctx: &Context<'_>) -> Result<BigInt> {
        Ok(BigInt(T::count(scope(ctx), &self.list).await?))
    }
}
