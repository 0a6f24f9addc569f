//! The schema, its text and the execution of a request.

use async_graphql::{
    EmptySubscription, Request, Response, SDLExportOptions, Schema, SchemaBuilder,
};

use super::batch::Batches;
use super::mutation::Mutation;
use super::query::Query;
use super::scope::{Asking, Scope};
use super::types::node::Node;
use crate::config::GraphqlConfig;

pub type CallscopeSchema = Schema<Query, Mutation, EmptySubscription>;

/// The schema as `config` has it. What a document may ask for is checked before (`super::limit`); the
/// levels of selections too, which async-graphql bounds at 32 otherwise.
pub fn build(config: &GraphqlConfig) -> CallscopeSchema {
    builder(config).finish()
}

pub(super) fn builder(config: &GraphqlConfig) -> SchemaBuilder<Query, Mutation, EmptySubscription> {
    let schema = Schema::build(Query::default(), Mutation::default(), EmptySubscription)
        .register_output_type::<Node>()
        .limit_recursive_depth(config.max_nesting as usize);
    match config.introspection {
        true => schema,
        // The hints of errors tell names too.
        false => schema.disable_introspection().disable_suggestions(),
    }
}

/// The schema in GraphQL's own language, as it is committed in `schema.graphql`.
pub fn sdl() -> String {
    let schema = Schema::build(Query::default(), Mutation::default(), EmptySubscription)
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
