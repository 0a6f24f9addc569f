//! Reads arguments from a document and its variables: page sizes, time windows and filters.

use async_graphql::parser::types::{Field, OperationDefinition};
use async_graphql::{InputType, Name, Value, Variables};
use async_graphql_value::Value as Literal;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::cost::Items;
use super::types;
use crate::domain::window::Window;
use crate::graphql::args::Period;
use crate::graphql::scalar::{self, TimeZone};

/// The sources of the arguments of an operation.
pub struct Arguments<'a> {
    pub operation: Option<&'a OperationDefinition>,
    pub variables: &'a Variables,
    pub default_page: u64,
    pub largest_page: u64,
    /// The defaults of `asOf` and `timeZone`.
    pub now: DateTime<Utc>,
    pub zone: Tz,
}

/// The value of an argument: a literal of the document, or the value of a variable.
#[derive(Clone, Copy)]
pub enum ArgumentValue<'a> {
    Literal(&'a Literal),
    Value(&'a Value),
}

impl Arguments<'_> {
    /// The cost of the children of a field: in total, and for each item of the enclosing page. `each`
    /// and `per_row` are their costs for one item.
    pub fn children_cost(
        &self,
        field: &Field,
        known: Option<&types::Field>,
        each: u64,
        per_row: u64,
    ) -> (u64, u64) {
        let Some(known) = known else { return (each.saturating_add(per_row), 0) };
        // The object of an item costs 1 in addition to its fields.
        let item = each.saturating_add(per_row).saturating_add(1);
        match known.weight.items {
            Items::One => (each.saturating_add(per_row), 0),
            Items::OfPage => (0, item),
            Items::Estimated(items) => (item.saturating_mul(items), 0),
            Items::Argument(argument) => (item.saturating_mul(self.length(field, argument)), 0),
            Items::Page => {
                let page = self.page(field, known);
                let items = if known.is_list { item } else { per_row };
                let own = if known.is_list { 0 } else { each };
                (items.saturating_mul(page).saturating_add(own), 0)
            }
        }
    }

    /// The page size. A larger one than allowed is rejected later and counts as the largest.
    fn page(&self, field: &Field, known: &types::Field) -> u64 {
        let given = |name| self.get(field, name)?.number();
        let given = given("first").max(given("last"));
        given.or(known.default_page).unwrap_or(self.default_page).min(self.largest_page)
    }

    /// The length of a list argument.
    pub fn length(&self, field: &Field, argument: &str) -> u64 {
        self.get(field, argument).and_then(ArgumentValue::length).unwrap_or(1)
    }

    /// The window of `period`, `asOf`, `timeZone` and `between`; `None` if they are invalid, which the
    /// resolver rejects.
    pub fn window(&self, field: &Field) -> Option<Window> {
        match (self.get(field, "period"), self.get(field, "between")) {
            (Some(period), None) => {
                let period: Period = period.parse()?;
                Window::of(period.into(), self.as_of(field)?, self.zone(field)?)
            }
            (None, Some(between)) => Some(Window {
                since: self.instant(between, "since")?,
                until: self.instant(between, "until")?,
            }),
            _ => None,
        }
    }

    /// The argument `asOf`, now by default; `None` if it is invalid.
    pub fn as_of(&self, field: &Field) -> Option<DateTime<Utc>> {
        match self.get(field, "asOf") {
            Some(given) => given.parse::<scalar::DateTime>().map(|at| at.0),
            None => Some(self.now),
        }
    }

    /// The argument `timeZone`; `None` if it is invalid.
    pub fn zone(&self, field: &Field) -> Option<Tz> {
        match self.get(field, "timeZone") {
            Some(given) => given.parse::<TimeZone>().map(|zone| zone.0),
            None => Some(self.zone),
        }
    }

    /// An instant in a field of an object.
    pub fn instant(&self, object: ArgumentValue<'_>, name: &str) -> Option<DateTime<Utc>> {
        self.field(object, name)?.parse::<scalar::DateTime>().map(|at| at.0)
    }

    /// The value of an argument; `None` if it is missing or null.
    pub fn get<'b>(&'b self, field: &'b Field, name: &str) -> Option<ArgumentValue<'b>> {
        self.resolve(ArgumentValue::Literal(&field.get_argument(name)?.node))
    }

    /// The value of a field of an object; `None` if it is missing or null.
    pub fn field<'b>(&'b self, object: ArgumentValue<'b>, name: &str) -> Option<ArgumentValue<'b>> {
        self.resolve(match object {
            ArgumentValue::Literal(Literal::Object(fields)) => {
                ArgumentValue::Literal(fields.get(name)?)
            }
            ArgumentValue::Value(Value::Object(fields)) => ArgumentValue::Value(fields.get(name)?),
            _ => return None,
        })
    }

    /// Whether the argument `filter` has this field with a value that is not null.
    pub fn has_filter(&self, field: &Field, name: &str) -> bool {
        self.get(field, "filter").is_some_and(|filter| self.field(filter, name).is_some())
    }

    /// Whether a list argument contains an enum value, or is no list.
    pub fn lists(&self, field: &Field, argument: &str, value: &str) -> bool {
        let is_value = |item: ArgumentValue<'_>| item.text().is_none_or(|text| text == value);
        match self.get(field, argument) {
            Some(ArgumentValue::Literal(Literal::List(items))) => items
                .iter()
                .any(|item| self.resolve(ArgumentValue::Literal(item)).is_none_or(is_value)),
            Some(ArgumentValue::Value(Value::List(items))) => {
                items.iter().any(|item| is_value(ArgumentValue::Value(item)))
            }
            other => other.is_none_or(is_value),
        }
    }

    /// The texts of a list argument, or of a single value.
    pub fn texts(&self, field: &Field, argument: &str) -> Vec<String> {
        let text = |value: ArgumentValue<'_>| value.text().map(str::to_owned);
        let literal = |item| self.resolve(ArgumentValue::Literal(item)).and_then(text);
        match self.get(field, argument) {
            Some(ArgumentValue::Literal(Literal::List(items))) => {
                items.iter().filter_map(literal).collect()
            }
            Some(ArgumentValue::Value(Value::List(items))) => {
                items.iter().filter_map(|item| text(ArgumentValue::Value(item))).collect()
            }
            other => other.and_then(text).into_iter().collect(),
        }
    }

    /// Whether an object has a field with a value that is not null.
    pub fn has_fields(&self, object: ArgumentValue<'_>) -> bool {
        match object {
            ArgumentValue::Literal(Literal::Object(fields)) => {
                fields.values().any(|value| self.resolve(ArgumentValue::Literal(value)).is_some())
            }
            ArgumentValue::Value(Value::Object(fields)) => {
                fields.values().any(|value| *value != Value::Null)
            }
            _ => false,
        }
    }

    fn resolve<'b>(&'b self, given: ArgumentValue<'b>) -> Option<ArgumentValue<'b>> {
        match given {
            ArgumentValue::Literal(Literal::Variable(name)) => {
                self.variable(name).filter(|value| **value != Value::Null).map(ArgumentValue::Value)
            }
            ArgumentValue::Literal(Literal::Null) | ArgumentValue::Value(Value::Null) => None,
            given => Some(given),
        }
    }

    fn variable(&self, name: &Name) -> Option<&Value> {
        self.variables.get(name).or_else(|| {
            let mut definitions = self.operation?.variable_definitions.iter();
            let definition = definitions.find(|definition| definition.node.name.node == *name)?;
            definition.node.default_value()
        })
    }
}

impl ArgumentValue<'_> {
    /// The text of a string or an enum value.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Literal(Literal::String(text)) | Self::Value(Value::String(text)) => Some(text),
            Self::Literal(Literal::Enum(name)) | Self::Value(Value::Enum(name)) => Some(name),
            _ => None,
        }
    }

    fn number(self) -> Option<u64> {
        match self {
            Self::Literal(Literal::Number(number)) | Self::Value(Value::Number(number)) => {
                Some(number.as_u64().unwrap_or(0))
            }
            _ => None,
        }
    }

    fn length(self) -> Option<u64> {
        match self {
            Self::Literal(Literal::List(values)) => Some(values.len() as u64),
            Self::Value(Value::List(values)) => Some(values.len() as u64),
            _ => None,
        }
    }

    /// Parses a scalar or an enum value; `None` if it is invalid.
    pub fn parse<T: InputType>(self) -> Option<T> {
        T::parse(Some(Value::String(self.text()?.to_owned()))).ok()
    }
}
