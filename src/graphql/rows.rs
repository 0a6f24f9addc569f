//! Lists of rows. async-graphql creates a future for every field of every row; for a thousand calls these
//! futures cost more than the SQL statement. This module reads the columns of a row directly, and awaits
//! only the fields that need a loader (docs/adr/0004).

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

/// Reads a column of a row.
pub type Read<T> = fn(&T) -> Value;

/// An object type with fields that are mostly columns of a row.
pub trait Row: ContainerType + OutputType {
    /// The type of the rows that a field of this row refers to.
    type Related: Row;

    /// Whether a field refers to a row of that type.
    fn is_related(_field: &str) -> bool {
        false
    }

    /// Loads the related row of each of `rows` in one batch.
    fn related(
        _scope: &Scope,
        rows: &[Self],
    ) -> impl Future<Output = Result<Vec<Option<Self::Related>>>> + Send
    where
        Self: Sized,
    {
        let none = rows.iter().map(|_| None).collect();
        async { Ok(none) }
    }

    /// The reader of a field that is a column; `None` for a field that must be resolved.
    fn column(field: &str) -> Option<Read<Self>>;

    /// Whether a field that must be resolved is null for this row.
    fn is_null(&self, _field: &str) -> bool {
        false
    }

    /// The only input of a field that must be resolved; rows with the same input share its value.
    fn shared(&self, _field: &Field) -> Option<&str> {
        None
    }

    /// Loads what the shared values of a field need. Returns false if that fails: each row then has its own
    /// value, and its own error.
    fn load_shared(
        _scope: &Scope,
        _field: &Field,
        _rows: &[Self],
    ) -> impl Future<Output = bool> + Send
    where
        Self: Sized,
    {
        std::future::ready(true)
    }
}

/// A list of rows as a field value.
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

/// The selection of each row: columns and resolved fields.
pub struct Plan<'a, T> {
    columns: Vec<(Name, Option<Read<T>>)>,
    /// Fields that must be resolved, with their index in `columns`.
    resolved: Vec<(usize, &'a Positioned<Field>)>,
    /// An object with null for each field. Copying it is faster than hashing the names for each row.
    empty: Object,
}

impl<'a, T: Row> Plan<'a, T> {
    /// `None` if a field that must be resolved is selected twice: its two selections must be merged.
    pub fn of(
        ctx: &ContextSelectionSet<'a>,
        selection: &'a Positioned<SelectionSet>,
    ) -> Option<Self> {
        let mut plan = Self { columns: vec![], resolved: vec![], empty: Object::new() };
        let is_mergeable = plan.add(ctx, &selection.node);
        plan.empty = plan.columns.iter().map(|(name, _)| (name.clone(), Value::Null)).collect();
        is_mergeable.then_some(plan)
    }

    fn add(&mut self, ctx: &ContextSelectionSet<'a>, selection: &'a SelectionSet) -> bool {
        selection.items.iter().all(|item| match &item.node {
            Selection::Field(field) => self.add_field(field),
            // The document is valid, so that its fragments apply to the object.
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

    /// The objects of `rows`. `via` is the field between a list item and its row, if any.
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
        // All fields of all rows at once, so that their loaders form one batch.
        let (mut related, mut wanted, mut targets) = (vec![], vec![], vec![]);
        for (column, field) in &self.resolved {
            match related_plan::<T>(ctx, field) {
                Some(plan) => related.push(load_related(ctx, rows, *column, field, plan)),
                None => {
                    let scope = ctx.data_unchecked::<Scope>();
                    let is_shared = T::load_shared(scope, &field.node, rows).await;
                    add_wanted(rows, *column, field, is_shared, &mut wanted, &mut targets);
                }
            }
        }
        let values = resolve_all(ctx, via, rows, &wanted);
        let (related, values) = try_join(try_join_all(related), values).await?;
        fill(ctx, &mut objects, targets, &values)?;
        // If a batch failed, each field is resolved alone and has its own error.
        let (mut wanted, mut targets) = (vec![], vec![]);
        for (column, field, loaded) in related {
            match loaded {
                Some(values) => {
                    let values = objects.iter_mut().zip(values);
                    values.for_each(|(object, value)| put(object, column, value));
                }
                None => add_wanted(rows, column, field, true, &mut wanted, &mut targets),
            }
        }
        let values = resolve_all(ctx, via, rows, &wanted).await?;
        fill(ctx, &mut objects, targets, &values)?;
        Ok(objects.into_iter().map(Value::Object).collect())
    }

    /// The columns of a row, with null for each field that must be resolved.
    fn read(&self, row: &T) -> Object {
        let mut object = self.empty.clone();
        for (value, (_, read)) in object.values_mut().zip(&self.columns) {
            if let Some(read) = read {
                *value = read(row);
            }
        }
        object
    }

    /// Adds the object of a row to the answer size.
    fn counted(&self, ctx: &ContextSelectionSet<'_>, object: Object) -> ServerResult<Object> {
        let json = |(name, value): (&Name, &Value)| weight(value).1 + name.len() as u64 + 4;
        let bytes = object.iter().map(json).sum();
        let answer = &ctx.data_unchecked::<Scope>().answer;
        answer.add(object.len() as u64, bytes).map_err(|error| answer::at(ctx, error))?;
        Ok(object)
    }
}

type Object = IndexMap<Name, Value>;
/// A row index and a field to resolve for it.
type Wanted<'a> = (usize, &'a Positioned<Field>);
/// The index of a row, of its column, and of the resolved value for it.
type ValueTarget = (usize, usize, usize);

fn put(object: &mut Object, column: usize, value: Value) {
    if let Some((_, old)) = object.get_index_mut(column) {
        *old = value;
    }
}

fn fill(
    ctx: &ContextSelectionSet<'_>,
    objects: &mut [Object],
    targets: Vec<ValueTarget>,
    values: &[Value],
) -> ServerResult<()> {
    let answer = &ctx.data_unchecked::<Scope>().answer;
    for (row, column, source) in targets {
        answer.add_object(&values[source]).map_err(|error| answer::at(ctx, error))?;
        put(&mut objects[row], column, values[source].clone());
    }
    Ok(())
}

fn add_wanted<'f, T: Row>(
    rows: &[T],
    column: usize,
    field: &'f Positioned<Field>,
    is_shared: bool,
    wanted: &mut Vec<Wanted<'f>>,
    targets: &mut Vec<ValueTarget>,
) {
    for (row, source) in sources(rows, field, is_shared, wanted).into_iter().enumerate() {
        targets.extend(source.map(|source| (row, column, source)));
    }
}

/// The plan of a related field that selects only columns.
fn related_plan<'a, T: Row>(
    ctx: &ContextSelectionSet<'a>,
    field: &'a Positioned<Field>,
) -> Option<Plan<'a, T::Related>> {
    let related = T::is_related(field.node.name.node.as_str());
    let plan = related.then(|| Plan::of(ctx, &field.node.selection_set)).flatten()?;
    plan.resolved.is_empty().then_some(plan)
}

/// The values of a related field for all rows; `None` if the batch failed.
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

/// For each row the index in `wanted` of the value of a field, or `None` for a null value. Adds to
/// `wanted` each row that the field must be resolved for.
fn sources<'f, T: Row>(
    rows: &[T],
    field: &'f Positioned<Field>,
    is_shared: bool,
    wanted: &mut Vec<Wanted<'f>>,
) -> Vec<Option<usize>> {
    let mut shared: HashMap<&str, usize> = HashMap::new();
    let mut source = |row: usize| {
        wanted.push((row, field));
        wanted.len() - 1
    };
    rows.iter()
        .enumerate()
        .map(|(index, row)| match row.shared(&field.node).filter(|_| is_shared) {
            _ if row.is_null(field.node.name.node.as_str()) => None,
            Some(text) => Some(*shared.entry(text).or_insert_with(|| source(index))),
            None => Some(source(index)),
        })
        .collect()
}

/// Resolves one field of one row with async-graphql.
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
