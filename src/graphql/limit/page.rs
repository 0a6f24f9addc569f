//! How many items the lists of an operation have, as far as its text and variables tell.

use async_graphql::parser::types::{Field, OperationDefinition};
use async_graphql::{Name, Value, Variables};
use async_graphql_value::Value as Literal;

use super::cost::Items;
use super::types;

/// What the numbers of `first` and `last` are read from.
pub struct Pages<'a> {
    pub operation: Option<&'a OperationDefinition>,
    pub variables: &'a Variables,
    pub default: u64,
    pub most: u64,
}

impl Pages<'_> {
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
        let given = |name| match &field.get_argument(name)?.node {
            Literal::Number(number) => Some(number.as_u64().unwrap_or(0)),
            Literal::Variable(variable) => match self.variable(variable)? {
                Value::Number(number) => Some(number.as_u64().unwrap_or(0)),
                _ => None,
            },
            _ => None,
        };
        let given = given("first").max(given("last"));
        given.or(known.default_page).unwrap_or(self.default).min(self.most)
    }

    /// How long the list of an argument is.
    fn length(&self, field: &Field, argument: &str) -> u64 {
        match field.get_argument(argument).map(|value| &value.node) {
            Some(Literal::List(values)) => values.len() as u64,
            Some(Literal::Variable(variable)) => match self.variable(variable) {
                Some(Value::List(values)) => values.len() as u64,
                _ => 1,
            },
            _ => 1,
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
