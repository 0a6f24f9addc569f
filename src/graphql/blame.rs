//! Which argument a value stands for, since async-graphql's errors of values tell only the place.

use async_graphql::Pos;
use async_graphql::parser::parse_query;
use async_graphql::parser::types::{Selection, SelectionSet};

/// The name of the argument whose value stands at `position` of the text of a request.
pub fn argument_at(query: &str, position: Pos) -> Option<String> {
    let document = parse_query(query).ok()?;
    let operations = document.operations.iter().map(|(_, operation)| &operation.node.selection_set);
    let fragments = document.fragments.values().map(|fragment| &fragment.node.selection_set);
    operations.chain(fragments).find_map(|set| argument_in(&set.node, position))
}

fn argument_in(set: &SelectionSet, position: Pos) -> Option<String> {
    set.items.iter().find_map(|selection| match &selection.node {
        Selection::Field(field) => {
            let mut arguments = field.node.arguments.iter();
            let found = arguments.find(|(_, value)| value.pos == position);
            found
                .map(|(name, _)| name.node.to_string())
                .or_else(|| argument_in(&field.node.selection_set.node, position))
        }
        Selection::InlineFragment(fragment) => {
            argument_in(&fragment.node.selection_set.node, position)
        }
        Selection::FragmentSpread(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_at_a_place_is_named() {
        let query = "{ a { b(x: 1, y: $v) } ... on Q { c(z: \"t\") } }";
        let at = |column| argument_at(query, Pos { line: 1, column });
        assert_eq!(at(12).as_deref(), Some("x"));
        assert_eq!(at(18).as_deref(), Some("y"));
        assert_eq!(at(40).as_deref(), Some("z"));
        assert_eq!(at(3), None);
    }
}
