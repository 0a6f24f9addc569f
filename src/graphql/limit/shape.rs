//! Measures a parsed document in one walk that enters each fragment once, however often it is spread.
//! Neither a chain of fragments nor a cycle can make it recurse deeper than documents may nest.

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

/// More than a mistake makes, few enough that telling them all is no work.
const MAX_UNKNOWN: usize = 20;

/// What a selection set holds, its fragments put in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape<'a> {
    /// Fields, spreads and uses of variables.
    pub size: u64,
    /// Fields that are answered at this level.
    pub fields: u64,
    pub aliases: u64,
    /// Fields within each other.
    pub depth: u64,
    /// Selection sets within each other.
    pub nesting: u64,
    /// Whether `__schema` or `__type` is among its fields.
    pub introspection: bool,
    /// What is paid once, whatever lists are around it.
    once: u64,
    /// What is paid for each time the selection set is answered.
    each: u64,
    /// The same for each item of the page of the connection that it belongs to.
    per_row: u64,
    /// What statements about API keys cost that are sent once for all of them: where there is one key,
    /// and where there is a list.
    of_key: u64,
    of_keys: u64,
    /// What its fields add to the statement of the field around it.
    parts: Parts,
    /// The field of this level that costs most, as the response names it, and how much.
    pub most: Option<(u64, &'a str)>,
}

impl Shape<'_> {
    /// What an operation of this shape costs.
    pub fn cost(&self) -> u64 {
        let once = self.once.saturating_add(self.of_key);
        once.saturating_add(self.each).saturating_add(self.per_row)
    }

    /// Puts another selection beside this one.
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
        self.parts.add(other.parts);
        self.most = self.most.max(other.most);
    }
}

/// One walk.
pub struct Walk<'a> {
    pub types: &'a Types,
    pub document: &'a ExecutableDocument,
    pub arguments: Arguments<'a>,
    pub estimates: Estimates<'a>,
    pub max_nesting: u64,
    /// Those of all selections that were met, each fragment's once.
    pub directives: usize,
    unknown: usize,
    /// Nothing while a fragment is being walked.
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

    /// A fragment at a level of nesting.
    pub fn fragment(&mut self, name: &'a str, level: u64) -> Result<Shape<'a>, ServerError> {
        match self.fragments.get(name) {
            Some(Some(shape)) => {
                NESTING_TOO_DEEP.check(self.max_nesting, level - 1 + shape.nesting)?;
                return Ok(*shape);
            }
            Some(None) => {
                let message = format!("fragment `{name}` is spread within itself");
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
        let (each, per_row) = self.arguments.answered(field, known, inner.each, inner.per_row);
        let weight = known.map_or(PLAIN, |known| known.weight);
        let read = |of_one_key| {
            let (arguments, parts) = (&self.arguments, &inner.parts);
            self.estimates.cost(weight.reads, field, arguments, parts, of_one_key)
        };
        let is_of_key = known.is_some_and(|known| known.of_key);
        let (read, key, keys) =
            if is_of_key { (0, read(true), read(false)) } else { (read(false), 0, 0) };
        // A list may have all keys.
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
            parts: Parts::of(weight.reads, field, &self.arguments),
            most: None,
        };
        shape.most = Some((shape.cost(), field_name(field)));
        Ok(shape)
    }

    /// Unknown arguments, and those that are given twice: the validation tells each of them for each
    /// field that it compares with this one.
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

    /// Counts directives, and the uses of variables in them.
    fn directives(&mut self, directives: &[Positioned<Directive>]) -> u64 {
        self.directives += directives.len();
        directives.iter().map(|directive| uses(&directive.node.arguments)).sum()
    }
}

/// The name of a field in the response.
fn field_name(field: &Field) -> &str {
    field.alias.as_ref().map_or(field.name.node.as_str(), |alias| alias.node.as_str())
}

/// How often arguments use variables: each use is looked at for each operation that reaches it.
fn uses(arguments: &[(Positioned<Name>, Positioned<Value>)]) -> u64 {
    fn within(value: &Value) -> u64 {
        match value {
            Value::Variable(_) => 1,
            Value::List(values) => values.iter().map(within).sum(),
            Value::Object(fields) => fields.values().map(within).sum(),
            _ => 0,
        }
    }
    arguments.iter().map(|(_, value)| within(&value.node)).sum()
}
