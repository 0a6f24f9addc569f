//! Builds the schema, exports its SDL and executes requests.

use std::sync::Arc;

use async_graphql::{Request, Response, SDLExportOptions, Schema, SchemaBuilder, ServerError};
use futures_util::StreamExt;

use super::batch::Batches;
use super::mutation::Mutation;
use super::query::Query;
use super::scope::{RequestInfo, Scope};
use super::subscription::{EventSource, SourceEvent, SourceSlot, Subscription};
use super::trace::FieldSpans;
use super::types::node::Node;
use crate::config::GraphqlConfig;
use crate::observe::Observer;

pub type CallscopeSchema = Schema<Query, Mutation, Subscription>;

/// Builds the schema for `config`. `super::limit` checks the limits of a document before; the depth
/// limit here replaces async-graphql's default of 32.
pub fn build(config: &GraphqlConfig, observer: Arc<Observer>) -> CallscopeSchema {
    let schema = builder(config);
    match observer.tracing.is_some() {
        true => schema.extension(FieldSpans(observer)).finish(),
        false => schema.finish(),
    }
}

pub(super) fn builder(config: &GraphqlConfig) -> SchemaBuilder<Query, Mutation, Subscription> {
    let schema = Schema::build(Query::default(), Mutation::default(), Subscription)
        .register_output_type::<Node>()
        .limit_recursive_depth(config.max_nesting as usize);
    match config.introspection {
        true => schema,
        // Suggestions in errors reveal names too.
        false => schema.disable_introspection().disable_suggestions(),
    }
}

/// The schema in SDL, as committed in `schema.graphql`.
pub fn sdl() -> String {
    let schema = Schema::build(Query::default(), Mutation::default(), Subscription)
        .register_output_type::<Node>()
        .finish();
    schema.sdl_with_options(SDLExportOptions::new().sorted_enum_items().include_specified_by())
}

/// Executes a query or mutation.
pub async fn execute(schema: &CallscopeSchema, info: RequestInfo, request: Request) -> Response {
    let batches = Batches::default();
    let scope = Scope::new(info, batches.clone());
    // Boxed: otherwise it enlarges every outer future, which are moved.
    batches.run(Box::pin(schema.execute(request.data(scope)))).await
}

/// Starts a subscription: returns its event source, or the errors of the first execution.
pub async fn subscribe(
    schema: &CallscopeSchema,
    info: RequestInfo,
    request: Request,
) -> Result<EventSource, Response> {
    let slot = SourceSlot::default();
    match answer_once(schema, info, request.data(slot.clone())).await {
        Some(refused) => Err(refused),
        None => slot.take().ok_or_else(|| {
            let message = "the subscription selects no field";
            Response::from_errors(vec![ServerError::new(message, None)])
        }),
    }
}

/// Executes a subscription for one event.
pub async fn answer_event(
    schema: &CallscopeSchema,
    info: RequestInfo,
    request: Request,
    event: SourceEvent,
) -> Option<Response> {
    answer_once(schema, info, request.data(event)).await
}

/// Executes one event with separate data and batches: rows that were loaded for one event must not be
/// reused for the next.
async fn answer_once(
    schema: &CallscopeSchema,
    info: RequestInfo,
    request: Request,
) -> Option<Response> {
    let batches = Batches::default();
    let scope = Scope::new(info, batches.clone());
    let mut answers = schema.execute_stream(request.data(scope));
    batches.run(answers.next()).await
}
