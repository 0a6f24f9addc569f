//! Limits of a document. The text is checked before it is parsed, and the parsed document before it is
//! validated: async-graphql's validation takes seconds for some documents of a kilobyte.

mod arguments;
mod cost;
pub mod names;
mod reads;
mod refusal;
mod shape;
mod text;
mod types;

pub use self::cost::HEAVY;

use std::sync::Arc;

use async_graphql::parser::types::{ExecutableDocument, OperationDefinition};
use async_graphql::{Positioned, ServerError, Variables};
use chrono::{DateTime, Utc};

use self::arguments::Arguments;
use self::reads::Estimates;
use self::refusal::{
    COST_EXCEEDED, DEPTH_EXCEEDED, FRAGMENTS_TOO_LARGE, TOO_MANY_ALIASES, TOO_MANY_DIRECTIVES,
    TOO_MANY_ROOT_FIELDS, refuse,
};
use self::shape::Walk;
use self::types::Types;
use crate::config::GraphqlConfig;
use crate::store::Database;
use crate::store::density::Density;

/// The limits of a server.
#[derive(Clone)]
pub struct Limits {
    config: Arc<GraphqlConfig>,
    types: Arc<Types>,
}

/// The inputs of the cost estimate of an operation.
pub struct CostContext<'a> {
    pub now: DateTime<Utc>,
    pub density: &'a Density,
    /// With rollups, statistics read cells instead of calls.
    pub db: Option<&'a Database>,
}

/// The cost of an operation, and its most expensive field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    pub total: u64,
    most: Option<(u64, String)>,
}

impl Limits {
    /// Creates the limits for the schema with this SDL.
    pub fn new(config: &GraphqlConfig, sdl: &str) -> anyhow::Result<Self> {
        Ok(Self { config: Arc::new(config.clone()), types: Arc::new(Types::parse(sdl)?) })
    }

    /// The highest cost of an operation.
    pub fn max_cost(&self) -> u64 {
        self.config.max_complexity.into()
    }

    /// Rejects a text that must not be parsed.
    pub fn check_text(&self, document: &str) -> Result<(), ServerError> {
        text::check(document, &self.config)
    }

    /// Measures the operation to execute. Returns `None` if the request does not select one, and an error
    /// if the document exceeds a limit other than the cost.
    pub fn measure(
        &self,
        document: &ExecutableDocument,
        operation_name: Option<&str>,
        variables: &Variables,
        cost_context: &CostContext<'_>,
    ) -> Result<Option<Cost>, ServerError> {
        let selected = selected(document, operation_name);
        let config = &self.config;
        let arguments = Arguments {
            operation: selected.map(|operation| &operation.node),
            variables,
            default_page: config.default_page_size.into(),
            largest_page: config.max_page_size.into(),
            now: cost_context.now,
            zone: config.time_zone,
        };
        let estimates = Estimates { density: cost_context.density, db: cost_context.db };
        let nesting = config.max_nesting.into();
        let mut walk = Walk::new(&self.types, document, arguments, estimates, nesting);
        let (mut size, mut shape) = (0u64, None);
        for (_, operation) in document.operations.iter() {
            let found = walk.operation(operation)?;
            size = size.saturating_add(found.size);
            if selected.is_some_and(|selected| std::ptr::eq(selected, operation)) {
                shape = Some(found);
            }
        }
        // Unused fragments count as well: async-graphql validates them too.
        for name in document.fragments.keys() {
            size = size.saturating_add(walk.fragment(name, 1)?.size);
        }
        FRAGMENTS_TOO_LARGE.check(config.max_expanded_selections, size)?;
        TOO_MANY_DIRECTIVES.check(config.max_directives, walk.directives)?;
        let Some(shape) = shape else { return Ok(None) };
        if shape.introspection && !config.introspection {
            return Err(refuse("INTROSPECTION_DISABLED", "introspection is disabled"));
        }
        TOO_MANY_ROOT_FIELDS.check(config.max_root_fields, shape.fields)?;
        TOO_MANY_ALIASES.check(config.max_aliases, shape.aliases)?;
        DEPTH_EXCEEDED.check(config.max_depth, shape.depth)?;
        let most = shape.most.map(|(cost, name)| (cost, name.to_owned()));
        Ok(Some(Cost { total: shape.cost(), most }))
    }

    /// Rejects an operation above the cost limit; the error names the most expensive field.
    pub fn check_cost(&self, cost: &Cost) -> Result<(), ServerError> {
        COST_EXCEEDED.check(self.config.max_complexity, cost.total).map_err(|mut error| {
            if let Some((most, name)) = &cost.most {
                let total = cost.total;
                error.message += &format!(
                    "; `{name}` costs most, {most} of {total}: choose a shorter window, a smaller page \
                     or fewer fields"
                );
            }
            error
        })
    }
}

/// Selects the operation to execute, as defined by the GraphQL specification.
pub fn selected<'a>(
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
