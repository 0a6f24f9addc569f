//! What a document may ask for. Its text is checked before it is parsed, and what was parsed before it
//! is validated: async-graphql's own validation takes seconds for some documents of a kilobyte.

mod cost;
pub mod names;
mod page;
mod refusal;
mod shape;
mod text;
mod types;

pub use self::cost::HEAVY;

use std::sync::Arc;

use async_graphql::parser::types::{ExecutableDocument, OperationDefinition};
use async_graphql::{Positioned, ServerError, Variables};

use self::page::Pages;
use self::refusal::{
    COST_EXCEEDED, DEPTH_EXCEEDED, FRAGMENTS_TOO_LARGE, TOO_MANY_ALIASES, TOO_MANY_DIRECTIVES,
    TOO_MANY_ROOT_FIELDS, refuse,
};
use self::shape::Walk;
use self::types::Types;
use crate::config::GraphqlConfig;

/// The limits of a server.
#[derive(Clone)]
pub struct Limits {
    config: Arc<GraphqlConfig>,
    types: Arc<Types>,
}

impl Limits {
    /// For the schema with this text.
    pub fn new(config: &GraphqlConfig, sdl: &str) -> anyhow::Result<Self> {
        Ok(Self { config: Arc::new(config.clone()), types: Arc::new(Types::parse(sdl)?) })
    }

    /// The most that an operation may cost.
    pub fn max_cost(&self) -> u64 {
        self.config.max_complexity.into()
    }

    /// Refuses a text that must not be parsed.
    pub fn check_text(&self, document: &str) -> Result<(), ServerError> {
        text::check(document, &self.config)
    }

    /// What the operation that is to run costs; nothing where it is not clear which one that is. An
    /// error where the document exceeds any limit but that of the cost.
    pub fn measure(
        &self,
        document: &ExecutableDocument,
        operation_name: Option<&str>,
        variables: &Variables,
    ) -> Result<Option<u64>, ServerError> {
        let chosen = chosen(document, operation_name);
        let config = &self.config;
        let pages = Pages {
            operation: chosen.map(|operation| &operation.node),
            variables,
            default: config.default_page_size.into(),
            most: config.max_page_size.into(),
        };
        let mut walk = Walk::new(&self.types, document, pages, config.max_nesting.into());
        let (mut size, mut shape) = (0u64, None);
        for (_, operation) in document.operations.iter() {
            let found = walk.operation(operation)?;
            size = size.saturating_add(found.size);
            if chosen.is_some_and(|chosen| std::ptr::eq(chosen, operation)) {
                shape = Some(found);
            }
        }
        // Those that nothing spreads too: they are validated all the same.
        for name in document.fragments.keys() {
            size = size.saturating_add(walk.fragment(name, 1)?.size);
        }
        FRAGMENTS_TOO_LARGE.check(config.max_expanded_selections, size)?;
        TOO_MANY_DIRECTIVES.check(config.max_directives, walk.directives)?;
        let Some(shape) = shape else { return Ok(None) };
        if shape.introspection && !config.introspection {
            return Err(refuse("INTROSPECTION_DISABLED", "this server does not tell its schema"));
        }
        TOO_MANY_ROOT_FIELDS.check(config.max_root_fields, shape.fields)?;
        TOO_MANY_ALIASES.check(config.max_aliases, shape.aliases)?;
        DEPTH_EXCEEDED.check(config.max_depth, shape.depth)?;
        Ok(Some(shape.cost()))
    }

    pub fn check_cost(&self, cost: u64) -> Result<(), ServerError> {
        COST_EXCEEDED.check(self.config.max_complexity, cost)
    }
}

/// The operation that a request runs, as the specification finds it.
pub fn chosen<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<&'a Positioned<OperationDefinition>> {
    let mut operations = document.operations.iter();
    match name {
        Some(name) => operations.find(|(found, _)| found.is_some_and(|found| found == name)),
        None if operations.len() == 1 => operations.next(),
        None => None,
    }
    .map(|(_, operation)| operation)
}
