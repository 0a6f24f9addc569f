//! Lists of rows. async-graphql makes a future for every field of every row; for a thousand calls
//! these cost more than the database does. Here the columns of a row are read directly, and only
//! what must be loaded is awaited (docs/adr/0004).

use std::borrow::Cow;
use std::collections::HashMap;

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{Field, Selection, SelectionSet};
use async_graphql::registry::Registry;
use async_graphql::resolver_utils::{ContainerType, resolve_list};
use async_graphql::{ContextSelectionSet, Name, OutputType, Positioned, ServerResult, Value};
use futures_util::future::try_join_all;

use super::connection::{Edge, Item};

/// An object most of whose fields are columns of a row.
pub trait Row: ContainerType + OutputType {
    /// How a field that is a column is read; nothing for a field that must be resolved.
    fn column(field: &str) -> Option<fn(&Self) -> Value>;

    /// Whether a field that must be resolved is null for this row.
    fn is_null(&self, field: &str) -> bool;

    /// What a field that must be resolved depends on alone, if rows may share its value.
    fn shared(&self, field: &Field) -> Option<&str>;
}

/// A list of rows as the value of a field.
pub struct Rows<'a, T>(pub &'a [T]);

impl<T: Row> OutputType for Rows<'_, T> {
    fn type_name() -> Cow<'static, str> {
        <&[T]>::type_name()
    }

    fn qualified_type_name() -> String {
        <&[T]>::qualified_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <&[T]>::create_type_info(registry)
    }

    async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        let Some(plan) = Plan::<T>::of(ctx, ctx.item) else {
            return resolve_list(ctx, field, self.0, Some(self.0.len())).await;
        };
        plan.resolve(ctx, None, self.0).await.map(Value::List)
    }
}

/// What is selected of each row.
pub struct Plan<'a, T> {
    columns: Vec<(Name, Option<fn(&T) -> Value>)>,
    /// The place among the columns of each field that must be resolved.
    resolved: Vec<(usize, &'a Positioned<Field>)>,
}

impl<'a, T: Row> Plan<'a, T> {
    /// Nothing where a field that must be resolved is selected twice, so that two selections of it
    /// would have to be merged.
    pub fn of(
        ctx: &ContextSelectionSet<'a>,
        selection: &'a Positioned<SelectionSet>,
    ) -> Option<Self> {
        let mut plan = Self { columns: vec![], resolved: vec![] };
        plan.add(ctx, &selection.node).then_some(plan)
    }

    fn add(&mut self, ctx: &ContextSelectionSet<'a>, selection: &'a SelectionSet) -> bool {
        selection.items.iter().all(|item| match &item.node {
            Selection::Field(field) => self.add_field(field),
            // A document was validated: its fragments apply to the object.
            Selection::InlineFragment(fragment) => self.add(ctx, &fragment.node.selection_set.node),
            Selection::FragmentSpread(spread) => {
                let fragment = ctx.query_env.fragments.get(&spread.node.fragment_name.node);
                fragment.is_some_and(|fragment| self.add(ctx, &fragment.node.selection_set.node))
            }
        })
    }

    fn add_field(&mut self, field: &'a Positioned<Field>) -> bool {
        let key = field.node.response_key().node.clone();
        let read = match field.node.name.node.as_str() {
            "__typename" => {
                let read: fn(&T) -> Value = |_| Value::String(T::type_name().into_owned());
                Some(read)
            }
            name => T::column(name),
        };
        let known = self.columns.iter().any(|(name, _)| *name == key);
        match (known, read) {
            (true, read) => read.is_some(),
            (false, read) => {
                if read.is_none() {
                    self.resolved.push((self.columns.len(), field));
                }
                self.columns.push((key, read));
                true
            }
        }
    }

    /// The objects of `rows`. `via` is the field between an item of the list and its row, if any.
    pub async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        via: Option<&Positioned<Field>>,
        rows: &[T],
    ) -> ServerResult<Vec<Value>> {
        let mut objects: Vec<_> = rows.iter().map(|row| self.read(row)).collect();
        // All fields of all rows together, so that their loaders make one batch.
        let mut wanted = vec![];
        let mut places = vec![];
        for (column, field) in &self.resolved {
            for (row, source) in sources(rows, field, &mut wanted).into_iter().enumerate() {
                places.extend(source.map(|source| (row, *column, source)));
            }
        }
        let values =
            wanted.iter().map(|(row, field)| resolve_field(ctx, via, &rows[*row], *row, field));
        let values = try_join_all(values).await?;
        for (row, column, source) in places {
            if let Some((_, value)) = objects[row].get_index_mut(column) {
                *value = values[source].clone();
            }
        }
        Ok(objects.into_iter().map(Value::Object).collect())
    }

    /// The columns of a row, null where something must be resolved.
    fn read(&self, row: &T) -> IndexMap<Name, Value> {
        let value = |read: &Option<fn(&T) -> Value>| read.map_or(Value::Null, |read| read(row));
        self.columns.iter().map(|(name, read)| (name.clone(), value(read))).collect()
    }
}

/// Where each row takes the value of a field from, as a place in `wanted`, which is told the rows
/// that the field must be resolved for; nothing for a row whose value is null.
fn sources<'f, T: Row>(
    rows: &[T],
    field: &'f Positioned<Field>,
    wanted: &mut Vec<(usize, &'f Positioned<Field>)>,
) -> Vec<Option<usize>> {
    let mut shared: HashMap<&str, usize> = HashMap::new();
    let mut source = |row: usize| {
        wanted.push((row, field));
        wanted.len() - 1
    };
    rows.iter()
        .enumerate()
        .map(|(index, row)| match row.shared(&field.node) {
            _ if row.is_null(field.node.name.node.as_str()) => None,
            Some(text) => Some(*shared.entry(text).or_insert_with(|| source(index))),
            None => Some(source(index)),
        })
        .collect()
}

/// One field of one row, as async-graphql resolves it.
async fn resolve_field<T: Row>(
    ctx: &ContextSelectionSet<'_>,
    via: Option<&Positioned<Field>>,
    row: &T,
    index: usize,
    field: &Positioned<Field>,
) -> ServerResult<Value> {
    let item = ctx.with_index(index);
    let value = match via {
        None => row.resolve_field(&item.with_field(field)).await?,
        Some(via) => {
            let between = item.with_field(via);
            let row_ctx = between.with_selection_set(&via.node.selection_set);
            row.resolve_field(&row_ctx.with_field(field)).await?
        }
    };
    Ok(value.unwrap_or_default())
}

/// The items of `edges`: the cursor and the row of each.
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

/// The usual selection of an edge: the node, and the cursor before it or not at all.
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
