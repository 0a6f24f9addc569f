//! Measures a parsed document in one walk that visits each fragment once. Neither a chain of fragments nor
//! a cycle makes it recurse deeper than the nesting limit.

use std::collections::HashMap;

use async_graphql::parser::types::{
    Directive, ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, ServerError};
use async_graphql_value::Value;

use super::arguments::Arguments;
use super::cost::{Items, PLAIN};
use super::reads::{Estimates, Parts};
use super::refusal::{NESTING_TOO_DEEP, TOO_MANY_UNKNOWN, refuse};
use super::types::{self, Types};

/// The most unknown names: more than a mistake contains, few enough to report all of them.
const MAX_UNKNOWN: usize = 20;

/// The measurements of a selection set with its fragments expanded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape<'a> {
    /// Fields, spreads and uses of variables.
    pub size: u64,
    /// Fields of this level.
    pub fields: u64,
    pub aliases: u64,
    /// The depth of nested fields.
    pub depth: u64,
    /// The depth of nested selection sets.
    pub nesting: u64,
    /// Whether it selects `__schema` or `__type`.
    pub introspection: bool,
    /// The cost that is independent of enclosing lists.
    once: u64,
    /// The cost of each time that the selection set is resolved.
    each: u64,
    /// The cost for each item of the page of the enclosing connection.
    per_row: u64,
    /// The cost of statements that load data of all API keys at once: for one key, and for a list.
    of_key: u64,
    of_keys: u64,
    /// The cost of error logs that the first field which needs their classes classifies.
    classification: u64,
    /// The work that its fields add to the statement of the parent field.
    parts: Parts,
    /// The cost and response name of the most expensive field of this level.
    pub most: Option<(u64, &'a str)>,
}

impl Shape<'_> {
    /// The cost of an operation with this shape.
    pub fn cost(&self) -> u64 {
        let once = self.once.saturating_add(self.of_key);
        let more = [self.each, self.per_row, self.classification];
        more.into_iter().fold(once, u64::saturating_add)
    }

    /// Adds another selection of the same level.
    fn add(&mut self, other: Self) {
        self.size = self.size.saturating_add(other.size);
        self.fields = self.fields.saturating_add(other.fields);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.depth = self.depth.max(other.depth);
        self.nesting = self.nesting.max(other.nesting);
        self.introspection |= other.introspection;
        self.once = self.once.saturating_add(other.once);
        self.each = self.each.saturating_add(other.each);
        self.per_row = self.per_row.saturating_add(other.per_row);
        self.of_key = self.of_key.saturating_add(other.of_key);
        self.of_keys = self.of_keys.saturating_add(other.of_keys);
        self.classification = self.classification.max(other.classification);
        self.parts.add(other.parts);
        self.most = self.most.max(other.most);
    }
}

/// One walk over a document.
pub struct Walk<'a> {
    pub types: &'a Types,
    pub document: &'a ExecutableDocument,
    pub arguments: Arguments<'a>,
    pub estimates: Estimates<'a>,
    pub max_nesting: u64,
    /// Directives of all visited selections; each fragment counts once.
    pub directives: usize,
    unknown: usize,
    /// Shapes of fragments; `None` while a fragment is being visited.
    fragments: HashMap<&'a str, Option<Shape<'a>>>,
}

impl<'a> Walk<'a> {
    pub fn new(
        types: &'a Types,
        document: &'a ExecutableDocument,
        arguments: Arguments<'a>,
        estimates: Estimates<'a>,
        max_nesting: u64,
    ) -> Self {
        let fragments = HashMap::with_capacity(document.fragments.len());
        let (directives, unknown) = (0, 0);
        Self { types, document, arguments, estimates, max_nesting, directives, unknown, fragments }
    }

    pub fn operation(
        &mut self,
        operation: &'a Positioned<OperationDefinition>,
    ) -> Result<Shape<'a>, ServerError> {
        let operation = &operation.node;
        self.directives += operation.directives.len();
        for variable in &operation.variable_definitions {
            self.directives += variable.node.directives.len();
        }
        self.set(&operation.selection_set.node, self.types.root(operation.ty), 1)
    }

    /// Measures a fragment at a nesting level.
    pub fn fragment(&mut self, name: &'a str, level: u64) -> Result<Shape<'a>, ServerError> {
        match self.fragments.get(name) {
            Some(Some(shape)) => {
                NESTING_TOO_DEEP.check(self.max_nesting, level - 1 + shape.nesting)?;
                return Ok(*shape);
            }
            Some(None) => {
                let message = format!("fragment `{name}` contains itself");
                return Err(refuse("GRAPHQL_VALIDATION_FAILED", message));
            }
            None => {}
        }
        let Some(fragment) = self.document.fragments.get(name) else {
            self.name_is_unknown()?;
            return Ok(Shape::default());
        };
        self.fragments.insert(name, None);
        let fragment = &fragment.node;
        self.directives += fragment.directives.len();
        let on = self.types.id(&fragment.type_condition.node.on.node);
        let shape = self.set(&fragment.selection_set.node, on, level)?;
        self.fragments.insert(name, Some(shape));
        Ok(shape)
    }

    fn set(
        &mut self,
        set: &'a SelectionSet,
        of: Option<usize>,
        level: u64,
    ) -> Result<Shape<'a>, ServerError> {
        NESTING_TOO_DEEP.check(self.max_nesting, level)?;
        let mut whole = Shape::default();
        for selection in &set.items {
            whole.add(match &selection.node {
                Selection::Field(field) => self.field(&field.node, of, level)?,
                Selection::FragmentSpread(spread) => {
                    let spread = &spread.node;
                    let uses = self.directives(&spread.directives);
                    let mut shape = self.fragment(&spread.fragment_name.node, level + 1)?;
                    shape.size = shape.size.saturating_add(1 + uses);
                    shape
                }
                Selection::InlineFragment(inline) => {
                    let inline = &inline.node;
                    let uses = self.directives(&inline.directives);
                    let on = match &inline.type_condition {
                        Some(condition) => self.types.id(&condition.node.on.node),
                        None => of,
                    };
                    let mut shape = self.set(&inline.selection_set.node, on, level + 1)?;
                    shape.size = shape.size.saturating_add(1 + uses);
                    shape
                }
            });
        }
        whole.nesting += 1;
        Ok(whole)
    }

    fn field(
        &mut self,
        field: &'a Field,
        of: Option<usize>,
        level: u64,
    ) -> Result<Shape<'a>, ServerError> {
        let name = field.name.node.as_str();
        let known = of.and_then(|of| self.types.field(of, name));
        if known.is_none() && name != "__typename" {
            self.name_is_unknown()?;
        }
        self.check_arguments(field, known)?;
        let uses = self.directives(&field.directives) + uses(&field.arguments);
        let inner = if field.selection_set.node.items.is_empty() {
            Shape::default()
        } else {
            let on = known.and_then(|known| known.type_id);
            self.set(&field.selection_set.node, on, level + 1)?
        };
        let (each, per_row) = self.arguments.children_cost(field, known, inner.each, inner.per_row);
        let weight = known.map_or(PLAIN, |known| known.weight);
        let read = |of_one_key| {
            let (arguments, parts) = (&self.arguments, &inner.parts);
            self.estimates.cost(weight.reads, field, arguments, parts, of_one_key)
        };
        let is_of_key = known.is_some_and(|known| known.of_key);
        let (read, key, keys) =
            if is_of_key { (0, read(true), read(false)) } else { (read(false), 0, 0) };
        // A list may contain all keys.
        let (list, of_key, of_keys) = match weight.items {
            Items::One => (0, inner.of_key, inner.of_keys),
            _ => (inner.of_keys, 0, 0),
        };
        let once = [weight.once, read, list].into_iter().fold(inner.once, u64::saturating_add);
        let mut shape = Shape {
            size: inner.size.saturating_add(1 + uses),
            fields: 1,
            aliases: inner.aliases.saturating_add(field.alias.is_some().into()),
            depth: inner.depth + 1,
            nesting: inner.nesting,
            introspection: inner.introspection || matches!(name, "__schema" | "__type"),
            once,
            each: each.saturating_add(1 + weight.each),
            per_row,
            of_key: of_key.saturating_add(key),
            of_keys: of_keys.saturating_add(keys),
            classification: self
                .estimates
                .classification(weight.reads, field, &self.arguments)
                .max(inner.classification),
            parts: Parts::of(weight.reads, field, &self.arguments),
            most: None,
        };
        shape.most = Some((shape.cost(), field_name(field)));
        Ok(shape)
    }

    /// Counts unknown and duplicate arguments: the validation reports each of them for each field that it
    /// compares with this one.
    fn check_arguments(
        &mut self,
        field: &Field,
        known: Option<&types::Field>,
    ) -> Result<(), ServerError> {
        for (place, (name, _)) in field.arguments.iter().enumerate() {
            let exists =
                known.is_some_and(|known| known.arguments.iter().any(|a| *a == *name.node));
            let again =
                || field.arguments[..place].iter().any(|(other, _)| other.node == name.node);
            if !exists || again() {
                self.name_is_unknown()?;
            }
        }
        Ok(())
    }

    fn name_is_unknown(&mut self) -> Result<(), ServerError> {
        self.unknown += 1;
        TOO_MANY_UNKNOWN.check(MAX_UNKNOWN, self.unknown)
    }

    /// Counts directives; returns the number of variables in them.
    fn directives(&mut self, directives: &[Positioned<Directive>]) -> u64 {
        self.directives += directives.len();
        directives.iter().map(|directive| uses(&directive.node.arguments)).sum()
    }
}

/// The name of a field in the response.
fn field_name(field: &Field) -> &str {
    field.alias.as_ref().map_or(field.name.node.as_str(), |alias| alias.node.as_str())
}

/// The number of variables in arguments: the validation checks each for every operation that reaches it.
fn uses(arguments: &[(Positioned<Name>, Positioned<Value>)]) -> u64 {
    fn variables(value: &Value) -> u64 {
        match value {
            Value::Variable(_) => 1,
            Value::List(values) => values.iter().map(variables).sum(),
            Value::Object(fields) => fields.values().map(variables).sum(),
            _ => 0,
        }
    }
    arguments.iter().map(|(_, value)| variables(&value.node)).sum()
}
