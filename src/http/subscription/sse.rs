//! GraphQL over server-sent events: the distinct connections mode of the graphql-sse protocol, with one
//! operation per request. An invalid HTTP request is rejected as by `/graphql`; an invalid operation yields
//! an error event, since a browser's `EventSource` cannot read error responses.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::Response;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::IntoResponse;
use futures_util::stream::{self, Stream};
use tokio::time::{Instant, interval_at};

use super::event_stream::{EndReason, Event, EventStream};
use super::start::{StartedOperation, start_operation};
use crate::http::body::ReadLimits;
use crate::http::context::RequestContext;
use crate::http::graphql::negotiate::accepts_events;
use crate::http::graphql::read::{self, GraphqlRequest, RequestBody};
use crate::http::graphql::respond::{hold_until_sent, to_json};
use crate::http::middleware::csrf::reject_simple;
use crate::http::outcome::OperationStatus;
use crate::http::problem::Problem;
use crate::http::state::AppState;

type HttpResult = Result<axum::response::Response, Problem>;

/// Disables response buffering in nginx.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

pub(crate) async fn get(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: axum::extract::Request,
) -> HttpResult {
    reject_simple(request.headers())?;
    negotiate(request.headers())?;
    context.require_any_access()?;
    let sent = read::from_url(request.uri())?;
    answer(&state, &context, sent, true).await
}

pub(crate) async fn post(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: axum::extract::Request,
) -> HttpResult {
    negotiate(request.headers())?;
    context.require_any_access()?;
    // The protocol has no batches.
    match read::from_body(request, ReadLimits { batch: 1, ..state.read.clone() }).await? {
        RequestBody::Single(sent) => answer(&state, &context, *sent, false).await,
        RequestBody::Batch(_) => Err(Problem::malformed()),
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
    sent: GraphqlRequest,
    by_get: bool,
) -> HttpResult {
    let status = Arc::new(OperationStatus::default());
    Ok(match start_operation(state, context, sent, by_get, &status).await? {
        StartedOperation::Answered(response, size) => {
            let body = Body::from(single(&response));
            let mut http = hold_until_sent(into_http(body), size);
            http.extensions_mut().insert(status.outcome());
            http
        }
        StartedOperation::Rejected(response) => {
            let mut http = into_http(Body::from(single(&response)));
            http.extensions_mut().insert(status.outcome());
            http
        }
        StartedOperation::Subscribed(stream) => {
            let body = Body::from_stream(event_text(*stream, state.client_timeout));
            let mut http = into_http(body);
            http.extensions_mut().insert(status);
            http
        }
    })
}

fn into_http(body: Body) -> axum::response::Response {
    let headers = [
        (CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (BUFFERING, "no"),
    ];
    (headers, body).into_response()
}

/// The last event. A browser ignores an event without a `data` line.
const COMPLETE: &str = "event: complete\ndata:\n\n";
/// Keeps proxies from closing an idle stream, and detects a client that has disconnected.
const KEEP_ALIVE: &str = ":\n\n";
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// The events of a single response.
fn single(response: &Response) -> String {
    next_event(response) + COMPLETE
}

fn next_event(response: &Response) -> String {
    next_json(&to_json(response).unwrap_or_else(|problem| problem.body().to_string()))
}

/// One `data` line is enough: JSON escapes line breaks.
fn next_json(json: &str) -> String {
    format!("event: next\ndata: {json}\n\n")
}

/// The events of a subscription, with a comment at least every `client_timeout`. A server that shuts down
/// ends the stream without a `complete` event, so that the client reconnects.
fn event_text(
    events: EventStream,
    client_timeout: Duration,
) -> impl Stream<Item = Result<String, Infallible>> {
    let interval = KEEP_ALIVE_INTERVAL.min(client_timeout);
    let comments = interval_at(Instant::now() + interval, interval);
    stream::unfold(Some((events, comments)), async |state| {
        let (mut events, mut comments) = state?;
        let event = tokio::select! {
            biased;
            event = events.next() => event,
            _ = comments.tick() => return Some((Ok(KEEP_ALIVE.to_owned()), Some((events, comments)))),
        };
        comments.reset();
        let last = match event {
            Event::Next(json) => return Some((Ok(next_json(&json)), Some((events, comments)))),
            Event::End(EndReason::ServerStopping) => return None,
            Event::End(EndReason::Unauthenticated(response)) => next_event(&response),
            Event::End(EndReason::Failed(problem)) => next_json(&problem.body().to_string()),
        };
        Some((Ok(last + COMPLETE), None))
    })
}
