//! The schema, its text and the execution of a request.

use std::sync::Arc;

use async_graphql::{
    EmptyMutation, EmptySubscription, Request, Response, SDLExportOptions, Schema,
};

use super::batch::Batches;
use super::query::Query;
use super::scope::{Asking, Scope};
use super::trace::FieldSpans;
use super::types::node::Node;
use crate::config::GraphqlConfig;
use crate::observe::Observer;

pub type CallscopeSchema = Schema<Query, EmptyMutation, EmptySubscription>;

/// The schema with the limits of `config`.
pub fn build(config: &GraphqlConfig, observer: Arc<Observer>) -> CallscopeSchema {
    let mut schema = Schema::build(Query::default(), EmptyMutation, EmptySubscription)
        .register_output_type::<Node>()
        .limit_depth(config.max_depth as usize)
        .limit_complexity(config.max_complexity as usize)
        .limit_aliases(config.max_aliases as usize);
    if observer.tracing.is_some() {
        schema = schema.extension(FieldSpans(observer));
    }
    schema.finish()
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
