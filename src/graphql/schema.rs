//! The schema, its text and the execution of a request.

use std::sync::Arc;

use async_graphql::{Request, Response, SDLExportOptions, Schema, SchemaBuilder, ServerError};
use futures_util::StreamExt;

use super::batch::Batches;
use super::mutation::Mutation;
use super::query::Query;
use super::scope::{Asking, Scope};
use super::subscription::Subscription;
use super::subscription::source::{Beginning, Due, Source};
use super::trace::FieldSpans;
use super::types::node::Node;
use crate::config::GraphqlConfig;
use crate::observe::Observer;

pub type CallscopeSchema = Schema<Query, Mutation, Subscription>;

/// The schema as `config` has it. What a document may ask for is checked before (`super::limit`); the
/// levels of selections too, which async-graphql bounds at 32 otherwise.
pub fn build(config: &GraphqlConfig, observer: Arc<Observer>) -> CallscopeSchema {
    let schema = builder(config);
    match observer.tracing.is_some() {
        true => schema.extension(FieldSpans(observer)).finish(),
        false => schema.finish(),
    }
}

pub(super) fn builder(config: &GraphqlConfig) -> SchemaBuilder<Query, Mutation, Subscription> {
    let schema = Schema::build(Query::default(), Mutation::default(), Subscription::default())
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
    let schema = Schema::build(Query::default(), Mutation::default(), Subscription::default())
        .register_output_type::<Node>()
        .finish();
    schema.sdl_with_options(SDLExportOptions::new().sorted_enum_items().include_specified_by())
}

/// Answers a request.
pub async fn execute(schema: &CallscopeSchema, asking: Asking, request: Request) -> Response {
    let batches = Batches::default();
    let scope = Scope::new(asking, batches.clone());
    // In a box: every future around it would be larger by its size, twice, and is moved with it.
    batches.run(Box::pin(schema.execute(request.data(scope)))).await
}

/// Begins a subscription: where its events come from, or the errors of one that cannot begin.
pub async fn subscribe(
    schema: &CallscopeSchema,
    asking: Asking,
    request: Request,
) -> Result<Source, Response> {
    let beginning = Beginning::default();
    match answer_once(schema, asking, request.data(beginning.clone())).await {
        Some(refused) => Err(refused),
        None => beginning.take().ok_or_else(|| {
            let message = "the subscription selects nothing to follow";
            Response::from_errors(vec![ServerError::new(message, None)])
        }),
    }
}

/// Answers a subscription for the event that is due now.
pub async fn answer_event(
    schema: &CallscopeSchema,
    asking: Asking,
    request: Request,
    due: Due,
) -> Option<Response> {
    answer_once(schema, asking, request.data(due)).await
}

/// Each event with data and batches of its own: what was
/// loaded for one event must not answer the next.
async fn answer_once(
    schema: &CallscopeSchema,
    asking: Asking,
    request: Request,
) -> Option<Response> {
    let batches = Batches::default();
    let scope = Scope::new(asking, batches.clone());
    let mut answers = schema.execute_stream(request.data(scope));
    batches.run(answers.next()).await
}
