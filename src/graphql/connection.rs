//! Relay connections: a page of a list, its edges and the total count.

use std::borrow::Cow;

use async_graphql::{Context, Object, OutputType, SimpleObject, TypeName};

use super::edges::Edges;
use super::error::Result;
use super::rows::{Row, Rows};
use super::scalar::BigInt;
use super::scope::{Scope, scope};
use crate::store::page::Page;

/// The position of a page in its list.
#[derive(SimpleObject, Clone, Debug)]
pub struct PageInfo {
    /// Whether more items follow this page. When paging backward: whether `before` was given.
    pub has_next_page: bool,
    /// Whether items precede this page. When paging forward: whether `after` was given.
    pub has_previous_page: bool,
    /// The cursor of the first item of the page; null if the page is empty.
    pub start_cursor: Option<String>,
    /// The cursor of the last item of the page: pass it as `after` to get the next page. Null if the
    /// page is empty.
    pub end_cursor: Option<String>,
}

/// An item of a connection. `List` holds the arguments that selected the items.
pub trait Item: Row + Clone {
    type List: Send + Sync;

    /// The position of the item in its list.
    fn cursor(&self, list: &Self::List) -> String;

    /// The number of items of the whole list.
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
    /// The position of the item: pass it as `after` or `before`.
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

/// A page of a list, with the cursors of the next and previous page.
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

    /// The position of the page in the list.
    async fn page_info(&self) -> PageInfo {
        let rows = &self.page.rows;
        PageInfo {
            has_next_page: self.page.has_next_page,
            has_previous_page: self.page.has_previous_page,
            start_cursor: rows.first().map(|item| item.cursor(&self.list)),
            end_cursor: rows.last().map(|item| item.cursor(&self.list)),
        }
    }

    /// The number of items of the whole list. Counted only when this field is selected.
    async fn total_count(&self, ctx: &Context<'_>) -> Result<BigInt> {
        Ok(BigInt(T::count(scope(ctx), &self.list).await?))
    }
}
