//! GraphQL over server-sent events, in the distinct connections mode of the graphql-sse protocol: one
//! request, one operation, one stream. What is wrong with the HTTP request is refused as by `/graphql`;
//! what is wrong with the operation is an event, since a browser's `EventSource` reads nothing else.

use std::sync::Arc;

use async_graphql::parser::types::OperationType;
use async_graphql::{Response, ServerError};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::IntoResponse;
use tokio::time::Instant;

use super::admission::sender;
use super::context::RequestContext;
use super::csrf::refuse_simple;
use super::documents::Prepared;
use super::following::{COMPLETE, Followed, Following, StreamEnd, next_event};
use super::graphql::{admit, run};
use super::negotiate::{MediaType, accepts_events};
use super::operation;
use super::problem::Problem;
use super::read::{self, Asked, Body as Read, ReadLimits};
use super::respond::{Outcome, failed, finish_errors, with_code};
use super::router::AppState;
use super::template::Template;
use crate::error::Error;
use crate::graphql::schema;
use crate::graphql::subscription::source::Source;
use crate::observe::RequestMarks;

type HttpResult = Result<axum::response::Response, Problem>;

/// nginx would keep events back otherwise.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

pub(super) async fn get(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: axum::extract::Request,
) -> HttpResult {
    refuse_simple(request.headers())?;
    negotiate(request.headers())?;
    admit(&context)?;
    let asked = read::from_url(request.uri())?;
    answer(&state, &context, asked, true).await
}

pub(super) async fn post(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: axum::extract::Request,
) -> HttpResult {
    negotiate(request.headers())?;
    admit(&context)?;
    // One stream has no way to tell the answers of a batch apart.
    match read::from_body(request, ReadLimits { batch: 1, ..state.read.clone() }).await? {
        Read::One(asked) => answer(&state, &context, *asked, false).await,
        Read::Batch(_) => Err(Problem::malformed()),
    }
}

fn negotiate(headers: &HeaderMap) -> Result<(), Problem> {
    let message = "responses are text/event-stream";
    match accepts_events(headers) {
        true => Ok(()),
        false => Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", message)),
    }
}

async fn answer(
    state: &AppState,
    context: &RequestContext,
    asked: Asked,
    by_get: bool,
) -> HttpResult {
    let _room = state.admission.enter()?;
    // Of the media types the one whose status tells that something is wrong.
    let mut prepared = state.documents.prepare(asked, MediaType::GraphqlResponse)?;
    let deadline = Instant::now() + state.timeout;
    match operation::kind(&state.limits, &mut prepared.request) {
        OperationType::Subscription => follow(state, context, prepared, deadline).await,
        OperationType::Mutation if by_get => Err(Problem::only_by_post()),
        _ => {
            let ran = run(state, context, prepared, deadline).await;
            let mut answer = only(&ran.response);
            answer.extensions_mut().insert(ran.outcome);
            Ok(answer)
        }
    }
}

/// Begins a subscription. It has its place from here to the end of its stream.
async fn follow(
    state: &AppState,
    context: &RequestContext,
    prepared: Prepared,
    deadline: Instant,
) -> HttpResult {
    let place = state.subscriptions.enter(sender(context))?;
    let mut outcome = Outcome::default();
    match begin(state, context, prepared, deadline, &mut outcome).await {
        Err(refused) => {
            outcome.add_codes(&refused);
            let mut answer = only(&refused);
            answer.extensions_mut().insert(outcome);
            Ok(answer)
        }
        Ok((source, asked)) => {
            let end = Arc::new(StreamEnd::new(outcome));
            let followed = Followed {
                state: state.clone(),
                context: context.clone(),
                asked,
                end: Arc::clone(&end),
            };
            let following = Following::new(followed, source, place);
            let mut answer = events(Body::from_stream(following.into_stream()));
            answer.extensions_mut().insert(end);
            Ok(answer)
        }
    }
}

/// Where the events come from, and what each of them asks; or the response of a subscription that
/// cannot begin.
async fn begin(
    state: &AppState,
    context: &RequestContext,
    Prepared { mut request, keep }: Prepared,
    deadline: Instant,
    outcome: &mut Outcome,
) -> Result<(Source, Template), Response> {
    let refuse = |error: ServerError, code| Response::from_errors(vec![with_code(error, code)]);
    operation::prepare(&state.limits, &mut request, outcome)
        .map_err(|error| refuse(error, "GRAPHQL_PARSE_FAILED"))?;
    if let Some((marks, name)) = RequestMarks::current().zip(outcome.operation.as_ref()) {
        marks.set_operation(name);
    }
    let asked =
        Template::of(&mut request).map_err(|error| refuse(error, "GRAPHQL_VALIDATION_FAILED"))?;
    let beginning = schema::subscribe(&state.schema, state.asking(context), request);
    let begun = match tokio::time::timeout_at(deadline, beginning).await {
        Ok(begun) => begun,
        Err(_) => Err(failed(&Error::Timeout)),
    };
    let source = begun.map_err(|mut refused| {
        finish_errors(&mut refused, asked.text(), &context.id);
        refused
    })?;
    if let Some(hash) = keep {
        state.documents.keep(hash, asked.text());
    }
    Ok((source, asked))
}

/// The stream of a single response.
fn only(response: &Response) -> axum::response::Response {
    events(Body::from(next_event(response) + COMPLETE))
}

fn events(body: Body) -> axum::response::Response {
    let headers = [
        (CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (BUFFERING, "no"),
    ];
    (headers, body).into_response()
}
