//! Checks the permissions of a whole mutation before its first write. A forbidden field that fails after
//! the commit would replace the acknowledgement by `data: null`, and the client would send it again.

use async_graphql::Context;
use async_graphql::parser::types::{Selection, SelectionSet};

use crate::domain::access::AccessScope;
use crate::graphql::error::Result;
use crate::graphql::scope::{Scope, scope};

/// The scope of a request after a check that the caller has the access scopes of every field of the
/// operation. Each mutation calls it first.
pub fn mutation_scope<'a>(ctx: &Context<'a>) -> Result<&'a Scope> {
    let operation = &ctx.query_env.operation.node;
    check(ctx, &operation.selection_set.node, of_mutation, of_payload)?;
    Ok(scope(ctx))
}

type Needed = fn(&str) -> Option<AccessScope>;

/// `needed` returns the access scope of the fields of `set`, `below` that of nested fields.
fn check(ctx: &Context<'_>, set: &SelectionSet, needed: Needed, below: Needed) -> Result<()> {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) => {
                if let Some(needed) = needed(&field.node.name.node) {
                    scope(ctx).require(needed)?;
                }
                check(ctx, &field.node.selection_set.node, below, below)?;
            }
            Selection::InlineFragment(inline) => {
                check(ctx, &inline.node.selection_set.node, needed, below)?;
            }
            Selection::FragmentSpread(spread) => {
                let fragment = ctx.query_env.fragments.get(&spread.node.fragment_name.node);
                if let Some(fragment) = fragment {
                    check(ctx, &fragment.node.selection_set.node, needed, below)?;
                }
            }
        }
    }
    Ok(())
}

/// The access scope of a field of `Mutation`. A test compares it with the schema.
fn of_mutation(field: &str) -> Option<AccessScope> {
    match field {
        "recordCalls" | "recordErrors" => Some(AccessScope::Record),
        "deleteErrorLogs" | "deleteErrorLogsWhere" | "pruneLogs" => Some(AccessScope::Delete),
        _ => None,
    }
}

/// The access scope of a field in a payload, as its resolver requires it.
fn of_payload(field: &str) -> Option<AccessScope> {
    match field {
        "calls" | "errorLogs" => Some(AccessScope::Read),
        "secret" => Some(AccessScope::RevealKeys),
        "request" => Some(AccessScope::ReadRequests),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_schema;
    use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};

    use super::of_mutation;
    use crate::graphql::schema::sdl;

    #[test]
    fn every_mutation_is_listed() {
        let schema = parse_schema(sdl()).unwrap();
        let fields = schema.definitions.iter().find_map(|definition| {
            let TypeSystemDefinition::Type(definition) = definition else { return None };
            match &definition.node.kind {
                TypeKind::Object(object) if definition.node.name.node == "Mutation" => {
                    Some(&object.fields)
                }
                _ => None,
            }
        });
        let names: Vec<&str> =
            fields.unwrap().iter().map(|field| field.node.name.node.as_str()).collect();
        let missing: Vec<_> = names.iter().filter(|name| of_mutation(name).is_none()).collect();
        assert!(!names.is_empty() && missing.is_empty(), "without a scope: {missing:?}");
    }
}
