//! Starts an operation of a streaming transport: a subscription, which yields an event stream, or a query
//! or mutation, which has one response.

use std::pin::pin;
use std::sync::Arc;

use async_graphql::parser::types::OperationType;
use async_graphql::{Response, ServerError};
use tokio::time::{Instant, timeout_at};

use super::event_stream::{EventExecutor, EventStream};
use super::template::Template;
use crate::error::Error;
use crate::graphql::answer::AnswerSize;
use crate::graphql::schema;
use crate::graphql::subscription::EventSource;
use crate::http::context::RequestContext;
use crate::http::graphql::documents::ResolvedRequest;
use crate::http::graphql::execute::{execute, mark_operation};
use crate::http::graphql::measure;
use crate::http::graphql::negotiate::MediaType;
use crate::http::graphql::read::GraphqlRequest;
use crate::http::graphql::respond::{error_response, finish_errors, with_code};
use crate::http::outcome::{OperationStatus, Outcome};
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// A started operation.
pub(crate) enum StartedOperation {
    /// A query or mutation, with its only response. `AnswerSize` is held until the response is sent.
    Answered(Response, Arc<AnswerSize>),
    /// A subscription that could not start.
    Rejected(Response),
    Subscribed(Box<EventStream>),
}

/// Starts an operation and writes its outcome so far to `status`.
pub(crate) async fn start_operation(
    state: &AppState,
    context: &RequestContext,
    sent: GraphqlRequest,
    by_get: bool,
    status: &Arc<OperationStatus>,
) -> Result<StartedOperation, Problem> {
    let _slot = state.admission.acquire_request(context)?;
    // The media type that has a status for each kind of failure.
    let mut resolved = state.documents.resolve(sent, MediaType::GraphqlResponse)?;
    let deadline = Instant::now() + state.timeout;
    match measure::kind(&state.parser, &mut resolved.request) {
        OperationType::Subscription => subscribe(state, context, resolved, deadline, status).await,
        OperationType::Mutation if by_get => Err(Problem::only_by_post()),
        _ => {
            let size = state.answers.start();
            let executed = execute(state, context, resolved, deadline, &size).await;
            status.set_outcome(executed.outcome);
            Ok(StartedOperation::Answered(executed.response, size))
        }
    }
}

/// Starts a subscription, which holds its permit until it ends.
async fn subscribe(
    state: &AppState,
    context: &RequestContext,
    resolved: ResolvedRequest,
    deadline: Instant,
    status: &Arc<OperationStatus>,
) -> Result<StartedOperation, Problem> {
    let permit = state.subscriptions.acquire(context.client())?;
    let mut outcome = Outcome::default();
    let opened = open_source(state, context, resolved, deadline, &mut outcome).await;
    if let Err(rejection) = &opened {
        outcome.add_codes(rejection);
    }
    status.set_outcome(outcome);
    Ok(match opened {
        Err(rejection) => StartedOperation::Rejected(rejection),
        Ok((source, template)) => {
            let (state, context) = (state.clone(), context.clone());
            let executor = EventExecutor { state, context, template, status: Arc::clone(status) };
            StartedOperation::Subscribed(Box::new(EventStream::new(executor, source, permit)))
        }
    })
}

/// Executes the subscription once. Returns the source of its events and the request template that is
/// executed for each of them, or the response if the subscription cannot start.
async fn open_source(
    state: &AppState,
    context: &RequestContext,
    ResolvedRequest { mut request, persist_hash }: ResolvedRequest,
    deadline: Instant,
    outcome: &mut Outcome,
) -> Result<(EventSource, Template), Response> {
    let reject = |error: ServerError, code| Response::from_errors(vec![with_code(error, code)]);
    measure::parse_and_measure(state, &mut request, outcome)
        .map_err(|error| reject(error, "GRAPHQL_PARSE_FAILED"))?;
    mark_operation(outcome);
    let template =
        Template::of(&mut request).map_err(|error| reject(error, "GRAPHQL_VALIDATION_FAILED"))?;
    let info = state.request_info(context, &state.answers.start());
    let opening = schema::subscribe(&state.schema, info, request);
    let opened = match timeout_at(deadline, pin!(opening)).await {
        Ok(opened) => opened,
        Err(_) => Err(error_response(&Error::Timeout)),
    };
    let source = opened.map_err(|mut rejection| {
        finish_errors(&mut rejection, template.text(), &context.id);
        rejection
    })?;
    if let Some(hash) = persist_hash {
        state.documents.persist(hash, template.text());
    }
    Ok((source, template))
}
