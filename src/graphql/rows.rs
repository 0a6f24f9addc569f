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
use futures_util::future::{try_join, try_join_all};

use super::answer::{self, weight};
use super::error::Result;
use super::scope::Scope;

/// How a column of a row is read.
pub type Read<T> = fn(&T) -> Value;

/// An object most of whose fields are columns of a row.
pub trait Row: ContainerType + OutputType {
    /// The row that a field of this row names.
    type Related: Row;

    /// Whether a field names a row of that type.
    fn is_related(field: &str) -> bool;

    /// The rows that such a field names, for each of `rows`, loaded together.
    fn related(
        scope: &Scope,
        rows: &[Self],
    ) -> impl Future<Output = Result<Vec<Option<Self::Related>>>> + Send
    where
        Self: Sized;

    /// How a field that is a column is read; nothing for a field that must be resolved.
    fn column(field: &str) -> Option<Read<Self>>;

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
            let answer = &ctx.data_unchecked::<Scope>().answer;
            let counted = answer.add_list(ctx, &ctx.item.node, self.0.len());
            counted.map_err(|error| answer::at(ctx, error))?;
            return resolve_list(ctx, field, self.0, Some(self.0.len())).await;
        };
        plan.resolve(ctx, None, self.0).await.map(Value::List)
    }
}

/// What is selected of each row.
pub struct Plan<'a, T> {
    columns: Vec<(Name, Option<Read<T>>)>,
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
                let read: Read<T> = |_| Value::String(T::type_name().into_owned());
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
        let mut objects = rows
            .iter()
            .map(|row| self.counted(ctx, self.read(row)))
            .collect::<ServerResult<Vec<_>>>()?;
        // All fields of all rows together, so that their loaders make one batch.
        let (mut related, mut wanted, mut places) = (vec![], vec![], vec![]);
        for (column, field) in &self.resolved {
            match related_plan::<T>(ctx, field) {
                Some(plan) => related.push(load_related(ctx, rows, *column, field, plan)),
                None => add_wanted(rows, *column, field, &mut wanted, &mut places),
            }
        }
        let values = resolve_all(ctx, via, rows, &wanted);
        let (related, values) = try_join(try_join_all(related), values).await?;
        place(ctx, &mut objects, places, &values)?;
        // What could not be loaded together fails field by field, each at its own place.
        let (mut wanted, mut places) = (vec![], vec![]);
        for (column, field, loaded) in related {
            match loaded {
                Some(values) => {
                    let values = objects.iter_mut().zip(values);
                    values.for_each(|(object, value)| put(object, column, value));
                }
                None => add_wanted(rows, column, field, &mut wanted, &mut places),
            }
        }
        let values = resolve_all(ctx, via, rows, &wanted).await?;
        place(ctx, &mut objects, places, &values)?;
        Ok(objects.into_iter().map(Value::Object).collect())
    }

    /// The columns of a row, null where something must be resolved.
    fn read(&self, row: &T) -> Object {
        let value = |read: &Option<Read<T>>| read.map_or(Value::Null, |read| read(row));
        self.columns.iter().map(|(name, read)| (name.clone(), value(read))).collect()
    }

    /// Counts the object of a row as a part of the answer.
    fn counted(&self, ctx: &ContextSelectionSet<'_>, object: Object) -> ServerResult<Object> {
        let json = |(name, value): (&Name, &Value)| weight(value).1 + name.len() as u64 + 4;
        let bytes = object.iter().map(json).sum();
        let answer = &ctx.data_unchecked::<Scope>().answer;
        answer.add(object.len() as u64, bytes).map_err(|error| answer::at(ctx, error))?;
        Ok(object)
    }
}

type Object = IndexMap<Name, Value>;
/// A field to resolve for a row.
type Wanted<'a> = (usize, &'a Positioned<Field>);
/// A row, a column of it, and the place among the wanted ones that its value comes from.
type Place = (usize, usize, usize);

fn put(object: &mut Object, column: usize, value: Value) {
    if let Some((_, old)) = object.get_index_mut(column) {
        *old = value;
    }
}

fn place(
    ctx: &ContextSelectionSet<'_>,
    objects: &mut [Object],
    places: Vec<Place>,
    values: &[Value],
) -> ServerResult<()> {
    let answer = &ctx.data_unchecked::<Scope>().answer;
    for (row, column, source) in places {
        answer.add_object(&values[source]).map_err(|error| answer::at(ctx, error))?;
        put(&mut objects[row], column, values[source].clone());
    }
    Ok(())
}

fn add_wanted<'f, T: Row>(
    rows: &[T],
    column: usize,
    field: &'f Positioned<Field>,
    wanted: &mut Vec<Wanted<'f>>,
    places: &mut Vec<Place>,
) {
    for (row, source) in sources(rows, field, wanted).into_iter().enumerate() {
        places.extend(source.map(|source| (row, column, source)));
    }
}

/// The plan of a field that names another row of which nothing but columns is selected.
fn related_plan<'a, T: Row>(
    ctx: &ContextSelectionSet<'a>,
    field: &'a Positioned<Field>,
) -> Option<Plan<'a, T::Related>> {
    let related = T::is_related(field.node.name.node.as_str());
    let plan = related.then(|| Plan::of(ctx, &field.node.selection_set)).flatten()?;
    plan.resolved.is_empty().then_some(plan)
}

/// The values of such a field for all rows; nothing where they could not be loaded.
async fn load_related<'f, T: Row>(
    ctx: &ContextSelectionSet<'_>,
    rows: &[T],
    column: usize,
    field: &'f Positioned<Field>,
    plan: Plan<'_, T::Related>,
) -> ServerResult<(usize, &'f Positioned<Field>, Option<Vec<Value>>)> {
    let Ok(found) = T::related(ctx.data_unchecked::<Scope>(), rows).await else {
        return Ok((column, field, None));
    };
    let object = |row: Option<T::Related>| match row {
        Some(row) => plan.counted(ctx, plan.read(&row)).map(Value::Object),
        None => Ok(Value::Null),
    };
    let objects = found.into_iter().map(object).collect::<ServerResult<_>>()?;
    Ok((column, field, Some(objects)))
}

async fn resolve_all<T: Row>(
    ctx: &ContextSelectionSet<'_>,
    via: Option<&Positioned<Field>>,
    rows: &[T],
    wanted: &[Wanted<'_>],
) -> ServerResult<Vec<Value>> {
    let values =
        wanted.iter().map(|(row, field)| resolve_field(ctx, via, &rows[*row], *row, field));
    try_join_all(values).await
}

/// Where each row takes the value of a field from, as a place in `wanted`, which is told the rows
/// that the field must be resolved for; nothing for a row whose value is null.
fn sources<'f, T: Row>(
    rows: &[T],
    field: &'f Positioned<Field>,
    wanted: &mut Vec<Wanted<'f>>,
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
