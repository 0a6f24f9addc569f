//! Which argument a value stands for, since async-graphql's errors of values tell only the place.

use std::cell::OnceCell;
use std::collections::HashMap;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{Selection, SelectionSet};
use async_graphql::{Name, Pos};

/// The arguments of a request's text, looked for when the first of its errors asks.
pub struct Blame<'a> {
    query: &'a str,
    arguments: OnceCell<HashMap<Pos, Name>>,
}

impl<'a> Blame<'a> {
    pub fn of(query: &'a str) -> Self {
        Self { query, arguments: OnceCell::new() }
    }

    /// The name of the argument whose value stands at `position`.
    pub fn argument_at(&self, position: Pos) -> Option<String> {
        let arguments = self.arguments.get_or_init(|| arguments(self.query));
        arguments.get(&position).map(ToString::to_string)
    }
}

/// By the places of their values.
fn arguments(query: &str) -> HashMap<Pos, Name> {
    let mut found = HashMap::new();
    if let Ok(document) = parse_query(query) {
        let operations =
            document.operations.iter().map(|(_, operation)| &operation.node.selection_set);
        let fragments = document.fragments.values().map(|fragment| &fragment.node.selection_set);
        operations.chain(fragments).for_each(|set| add(&set.node, &mut found));
    }
    found
}

fn add(set: &SelectionSet, found: &mut HashMap<Pos, Name>) {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) => {
                let arguments = field.node.arguments.iter();
                found.extend(arguments.map(|(name, value)| (value.pos, name.node.clone())));
                add(&field.node.selection_set.node, found);
            }
            Selection::InlineFragment(fragment) => add(&fragment.node.selection_set.node, found),
            Selection::FragmentSpread(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_at_a_place_is_named() {
        let query = "{ a { b(x: 1, y: $v) } ... on Q { c(z: \"t\") } }";
        let blame = Blame::of(query);
        let at = |column| blame.argument_at(Pos { line: 1, column });
        assert_eq!(at(12).as_deref(), Some("x"));
        assert_eq!(at(18).as_deref(), Some("y"));
        assert_eq!(at(40).as_deref(), Some("z"));
        assert_eq!(at(3), None);
    }
}
