//! The schema, its text and the execution of a request.

use async_graphql::{
    EmptyMutation, EmptySubscription, Request, Response, SDLExportOptions, Schema, SchemaBuilder,
};

use super::batch::Batches;
use super::query::Query;
use super::scope::{Asking, Scope};
use super::types::node::Node;
use crate::config::GraphqlConfig;

pub type CallscopeSchema = Schema<Query, EmptyMutation, EmptySubscription>;

/// The schema with the limits of `config`.
pub fn build(config: &GraphqlConfig) -> CallscopeSchema {
    builder(config).finish()
}

pub(super) fn builder(
    config: &GraphqlConfig,
) -> SchemaBuilder<Query, EmptyMutation, EmptySubscription> {
    Schema::build(Query::default(), EmptyMutation, EmptySubscription)
        .register_output_type::<Node>()
        .limit_depth(config.max_depth as usize)
        .limit_complexity(config.max_complexity as usize)
        .limit_aliases(config.max_aliases as usize)
}

/// The schema in GraphQL's own language, as it is committed in `schema.graphql`.
pub fn sdl() -> String {
    let schema = Schema::build(Query::default(), EmptyMutation, EmptySubscription)
        .register_output_type::<Node>()
        .finish();
    schema.sdl_with_options(SDLExportOptions::new().sorted_enum_items())
}

/// Answers a request.
pub async fn execute(schema: &CallscopeSchema, asking: Asking, request: Request) -> Response {
    let batches = Batches::default();
    let scope = Scope::new(asking, batches.clone());
    batches.run(schema.execute(request.data(scope))).await
}
