//! Checks which field names a document selects: enough to exclude some side effects.

use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};

use super::cost::WEIGHTS;

/// Whether a document selects a field with this name, at any level and of any type.
pub fn selects(document: &ExecutableDocument, name: &str) -> bool {
    any_field(document, &|field| field == name)
}

/// Whether a field below the root fields may send a statement.
pub fn may_send_sql(document: &ExecutableDocument) -> bool {
    any_field(document, &|field| {
        let of_type = |parent: &str| !matches!(parent, "Query" | "Mutation" | "Subscription");
        let weighs = |once: u64, each: u64| once > 0 || each > 0;
        WEIGHTS.iter().any(|(parent, name, weight)| {
            *name == field && of_type(parent) && weighs(weight.once, weight.each)
        })
    })
}

/// Visits each fragment once, used or not.
fn any_field(document: &ExecutableDocument, is_it: &impl Fn(&str) -> bool) -> bool {
    let operations = document.operations.iter().map(|(_, found)| &found.node.selection_set.node);
    let fragments = document.fragments.values().map(|found| &found.node.selection_set.node);
    operations.chain(fragments).any(|set| any_of(set, is_it))
}

fn any_of(set: &SelectionSet, is_it: &impl Fn(&str) -> bool) -> bool {
    set.items.iter().any(|item| match &item.node {
        Selection::Field(field) => {
            is_it(&field.node.name.node) || any_of(&field.node.selection_set.node, is_it)
        }
        Selection::InlineFragment(fragment) => any_of(&fragment.node.selection_set.node, is_it),
        Selection::FragmentSpread(_) => false,
    })
}
