//! Classifies errors that async-graphql itself creates, and finds the argument of an invalid value: these
//! errors have no type, and most of them contain only the position of the value.

use std::cell::OnceCell;
use std::collections::HashMap;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{Selection, SelectionSet};
use async_graphql::{Name, Pos, ServerError};

/// The text of the validation rule `ArgumentsOfCorrectType`, up to the name of the argument. The error has
/// no other mark of its rule; a test fails when the crate changes the text.
const INVALID_ARGUMENT: &str = "Invalid value for argument \"";

/// The code and the argument of an error.
#[derive(Debug, PartialEq, Eq)]
pub struct ErrorClass {
    pub code: &'static str,
    pub argument: Option<String>,
}

/// Classifies the errors of one document.
pub struct ErrorClassifier<'a> {
    query: &'a str,
    /// The arguments of the document by the positions of their values, collected at the first lookup.
    arguments: OnceCell<HashMap<Pos, Name>>,
}

impl<'a> ErrorClassifier<'a> {
    pub fn new(query: &'a str) -> Self {
        Self { query, arguments: OnceCell::new() }
    }

    /// The class of an error that no resolver of ours returned.
    pub fn classify(&self, error: &ServerError) -> ErrorClass {
        let named = error.message.strip_prefix(INVALID_ARGUMENT);
        // Only errors of the execution have a path: a value of an argument could not be parsed.
        if named.is_none() && error.path.is_empty() {
            return ErrorClass { code: "GRAPHQL_VALIDATION_FAILED", argument: None };
        }
        // A dot separates the argument from the field of its value.
        let named = named.and_then(|rest| rest.split(['"', '.']).next()).map(str::to_owned);
        let found = || self.argument_at(*error.locations.first()?);
        ErrorClass { code: "BAD_USER_INPUT", argument: named.or_else(found) }
    }

    /// The name of the argument that has its value at `position`.
    pub fn argument_at(&self, position: Pos) -> Option<String> {
        let arguments = self.arguments.get_or_init(|| arguments(self.query));
        arguments.get(&position).map(ToString::to_string)
    }
}

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
    use async_graphql::{
        EmptyMutation, EmptySubscription, InputObject, Object, Request, Schema, Variables,
    };
    use serde_json::json;

    use super::*;

    #[derive(InputObject)]
    struct Range {
        from: i32,
    }

    struct Query;

    #[Object]
    impl Query {
        async fn number(&self, value: i32) -> i32 {
            value
        }

        async fn start(&self, range: Range) -> i32 {
            range.from
        }
    }

    /// The texts and rules of async-graphql that the classification depends on.
    #[tokio::test]
    async fn errors_of_the_crate_are_classified() {
        let schema = Schema::new(Query, EmptyMutation, EmptySubscription);
        let value_error = |argument: &str| ErrorClass {
            code: "BAD_USER_INPUT",
            argument: Some(argument.to_owned()),
        };
        let document_error = ErrorClass { code: "GRAPHQL_VALIDATION_FAILED", argument: None };
        for (query, class) in [
            // Rejected by the validation.
            ("{ number(value: \"1\") }", value_error("value")),
            ("{ start(range: { from: true }) }", value_error("range")),
            ("query ($value: Int!) { number(value: $value) }", value_error("value")),
            // Rejected when the value is parsed.
            ("{ number(value: 3000000000) }", value_error("value")),
            ("{ start(range: { from: 3000000000 }) }", value_error("range")),
            ("{ missing }", document_error),
        ] {
            let variables = Variables::from_json(json!({ "value": "text" }));
            let response = schema.execute(Request::new(query).variables(variables)).await;
            let error = response.errors.first().unwrap();
            assert_eq!(ErrorClassifier::new(query).classify(error), class, "{query}: {error:?}");
        }
    }

    #[test]
    fn the_argument_at_a_position_is_found() {
        let query = "{ a { b(x: 1, y: $v) } ... on Q { c(z: \"t\") } }";
        let classifier = ErrorClassifier::new(query);
        let at = |column| classifier.argument_at(Pos { line: 1, column });
        assert_eq!(at(12).as_deref(), Some("x"));
        assert_eq!(at(18).as_deref(), Some("y"));
        assert_eq!(at(40).as_deref(), Some("z"));
        assert_eq!(at(3), None);
    }
}
