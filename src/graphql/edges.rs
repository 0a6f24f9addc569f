//! The edges of a connection. Their nodes are read in the same way as [`super::rows`].

use std::borrow::Cow;

use async_graphql::parser::types::{Field, Selection, SelectionSet};
use async_graphql::registry::Registry;
use async_graphql::resolver_utils::resolve_list;
use async_graphql::{ContextSelectionSet, Name, OutputType, Positioned, ServerResult, Value};

use super::answer;
use super::connection::{Edge, Item};
use super::rows::Plan;
use super::scope::Scope;

/// JSON bytes of an edge without its node.
const CURSOR_BYTES: u64 = 80;

/// The value of `edges`: the cursor and the row of each item.
pub struct Edges<'a, T: Item> {
    pub rows: &'a [T],
    pub list: &'a T::List,
}

impl<T: Item> OutputType for Edges<'_, T> {
    fn type_name() -> Cow<'static, str> {
        <Vec<Edge<T>>>::type_name()
    }

    fn qualified_type_name() -> String {
        <Vec<Edge<T>>>::qualified_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <Vec<Edge<T>>>::create_type_info(registry)
    }

    async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        let plan = cursor_and_node(&ctx.item.node).and_then(|(cursor, node)| {
            Some((cursor, node, Plan::<T>::of(ctx, &node.node.selection_set)?))
        });
        // Cursors and the fields around a node have a bounded size.
        let answer = &ctx.data_unchecked::<Scope>().answer;
        let rows = self.rows.len() as u64;
        let counted = match &plan {
            Some(_) => answer.add(2 * rows, CURSOR_BYTES * rows),
            None => answer.add_list(ctx, &ctx.item.node, self.rows.len()),
        };
        counted.map_err(|error| answer::at(ctx, error))?;
        let Some((cursor, node, plan)) = plan else {
            let edges = self.rows.iter().map(|row| Edge::new(row, self.list));
            return resolve_list(ctx, field, edges, Some(self.rows.len())).await;
        };
        let nodes = plan.resolve(ctx, Some(node), self.rows).await?;
        let object = |(row, value): (&T, Value)| {
            let cursor = cursor.map(|name| (name.clone(), Value::String(row.cursor(self.list))));
            let node = (node.node.response_key().node.clone(), value);
            Value::Object(cursor.into_iter().chain([node]).collect())
        };
        Ok(Value::List(self.rows.iter().zip(nodes).map(object).collect()))
    }
}

/// Matches the usual selections of an edge: `node`, or `cursor` and then `node`.
fn cursor_and_node(selection: &SelectionSet) -> Option<(Option<&Name>, &Positioned<Field>)> {
    let mut fields = selection.items.iter().map(|item| match &item.node {
        Selection::Field(field) => Some(field),
        _ => None,
    });
    let first = fields.next()??;
    let named = |field: &Positioned<Field>, name| field.node.name.node == name;
    let (cursor, node) = if named(first, "cursor") {
        (Some(&first.node.response_key().node), fields.next()??)
    } else {
        (None, first)
    };
    (named(node, "node") && fields.next().is_none()).then_some((cursor, node))
}
