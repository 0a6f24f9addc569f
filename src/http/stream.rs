//! GraphQL over server-sent events, in the distinct connections mode of the graphql-sse protocol: one
//! request, one operation, one stream. What is wrong with the HTTP request is refused as by `/graphql`;
//! what is wrong with the operation is an event, since a browser's `EventSource` reads nothing else.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::IntoResponse;

use super::beginning::{self, Begun};
use super::context::RequestContext;
use super::csrf::refuse_simple;
use super::events;
use super::following::OperationEnd;
use super::graphql::admit;
use super::negotiate::accepts_events;
use super::problem::Problem;
use super::read::{self, Asked, Body as Read, ReadLimits};
use super::respond::held;
use super::router::AppState;

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
    let end = Arc::new(OperationEnd::default());
    Ok(match beginning::begin(state, context, asked, by_get, &end).await? {
        Begun::Once(response, size) => {
            let mut answer = held(event_stream(Body::from(events::only(&response))), size);
            answer.extensions_mut().insert(end.outcome());
            answer
        }
        Begun::Refused(response) => {
            let mut answer = event_stream(Body::from(events::only(&response)));
            answer.extensions_mut().insert(end.outcome());
            answer
        }
        Begun::Following(following) => {
            let mut answer =
                event_stream(Body::from_stream(events::stream(*following, state.client_timeout)));
            answer.extensions_mut().insert(end);
            answer
        }
    })
}

fn event_stream(body: Body) -> axum::response::Response {
    let headers = [
        (CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (BUFFERING, "no"),
    ];
    (headers, body).into_response()
}
