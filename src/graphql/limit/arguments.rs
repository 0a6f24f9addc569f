//! The arguments of fields, as far as a document and its variables give them: how many items a list has,
//! which window of time a field is about, what it filters by.

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

/// What the arguments of an operation are read from.
pub struct Arguments<'a> {
    pub operation: Option<&'a OperationDefinition>,
    pub variables: &'a Variables,
    pub default_page: u64,
    pub largest_page: u64,
    /// The end of windows, and the zone of months, where a field names none.
    pub now: DateTime<Utc>,
    pub zone: Tz,
}

/// A value that an argument has: in the document, or in a variable.
#[derive(Clone, Copy)]
pub enum Given<'a> {
    Literal(&'a Literal),
    Value(&'a Value),
}

impl Arguments<'_> {
    /// What the children of a field cost: by themselves, and for each item of the page around it.
    /// `each` and `per_row` are what they cost once.
    pub fn answered(
        &self,
        field: &Field,
        known: Option<&types::Field>,
        each: u64,
        per_row: u64,
    ) -> (u64, u64) {
        let Some(known) = known else { return (each.saturating_add(per_row), 0) };
        // An item is an object beside its fields.
        let item = each.saturating_add(per_row).saturating_add(1);
        match known.weight.items {
            Items::One => (each.saturating_add(per_row), 0),
            Items::OfPage => (0, item),
            Items::About(items) => (item.saturating_mul(items), 0),
            Items::Given(argument) => (item.saturating_mul(self.length(field, argument)), 0),
            Items::Page => {
                let page = self.page(field, known);
                let items = if known.is_list { item } else { per_row };
                let own = if known.is_list { 0 } else { each };
                (items.saturating_mul(page).saturating_add(own), 0)
            }
        }
    }

    /// A page that is too large is refused when it is read; it counts as the largest.
    fn page(&self, field: &Field, known: &types::Field) -> u64 {
        let given = |name| self.get(field, name)?.number();
        let given = given("first").max(given("last"));
        given.or(known.default_page).unwrap_or(self.default_page).min(self.largest_page)
    }

    /// How long the list of an argument is.
    pub fn length(&self, field: &Field, argument: &str) -> u64 {
        self.get(field, argument).and_then(Given::length).unwrap_or(1)
    }

    /// The window of `period`, `asOf`, `timeZone` and `between`; nothing where they give none, which
    /// the field refuses.
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

    /// The argument `asOf`, by default now; nothing where it is no instant.
    pub fn as_of(&self, field: &Field) -> Option<DateTime<Utc>> {
        match self.get(field, "asOf") {
            Some(given) => given.parse::<scalar::DateTime>().map(|at| at.0),
            None => Some(self.now),
        }
    }

    /// The argument `timeZone`; nothing where it is no zone.
    pub fn zone(&self, field: &Field) -> Option<Tz> {
        match self.get(field, "timeZone") {
            Some(given) => given.parse::<TimeZone>().map(|zone| zone.0),
            None => Some(self.zone),
        }
    }

    /// A field of an object that is an instant.
    pub fn instant(&self, object: Given<'_>, name: &str) -> Option<DateTime<Utc>> {
        self.field(object, name)?.parse::<scalar::DateTime>().map(|at| at.0)
    }

    /// An argument that is given and not null.
    pub fn get<'b>(&'b self, field: &'b Field, name: &str) -> Option<Given<'b>> {
        self.resolve(Given::Literal(&field.get_argument(name)?.node))
    }

    /// A field of an object that is given and not null.
    pub fn field<'b>(&'b self, object: Given<'b>, name: &str) -> Option<Given<'b>> {
        self.resolve(match object {
            Given::Literal(Literal::Object(fields)) => Given::Literal(fields.get(name)?),
            Given::Value(Value::Object(fields)) => Given::Value(fields.get(name)?),
            _ => return None,
        })
    }

    /// Whether an object that is given has fields that are.
    pub fn has_fields(&self, object: Given<'_>) -> bool {
        match object {
            Given::Literal(Literal::Object(fields)) => {
                fields.values().any(|value| self.resolve(Given::Literal(value)).is_some())
            }
            Given::Value(Value::Object(fields)) => {
                fields.values().any(|value| *value != Value::Null)
            }
            _ => false,
        }
    }

    fn resolve<'b>(&'b self, given: Given<'b>) -> Option<Given<'b>> {
        match given {
            Given::Literal(Literal::Variable(name)) => {
                self.variable(name).filter(|value| **value != Value::Null).map(Given::Value)
            }
            Given::Literal(Literal::Null) | Given::Value(Value::Null) => None,
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

impl Given<'_> {
    /// The text of a string or of an enum's value.
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

    /// A scalar or the value of an enum, where the text is one.
    pub fn parse<T: InputType>(self) -> Option<T> {
        T::parse(Some(Value::String(self.text()?.to_owned()))).ok()
    }
}
