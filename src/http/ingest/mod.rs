//! `POST /ingest/calls` and `POST /ingest/errors`: streams of rows, as NDJSON, of any length.

mod fault;
mod otlp;
mod rpc;
pub(super) mod unpack;

pub(super) use otlp::traces;

use axum::extract::{Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use self::unpack::Encoding;
use super::context::RequestContext;
use super::idempotency::idempotency_key;
use super::negotiate::is_utf8_of;
use super::problem::Problem;
use super::router::AppState;
use crate::domain::access::AccessScope;
use crate::ingest::intake::{Report, StreamRequest};
use crate::ingest::source::Kind;

/// None of them can be sent by a web page of somebody else without asking (`csrf`).
const MEDIA_TYPES: [&str; 4] =
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/json"];

pub(super) async fn calls(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: Request,
) -> Response {
    take(Kind::Calls, &state, context, request).await
}

pub(super) async fn errors(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: Request,
) -> Response {
    take(Kind::Errors, &state, context, request).await
}

async fn take(kind: Kind, state: &AppState, context: RequestContext, request: Request) -> Response {
    let id = context.id.clone();
    let place = state.admission.enter_stream(&context);
    let (order, encoding) = match order(kind, state, context, request.headers()) {
        Ok(asked) => asked,
        Err(problem) => return problem.into_response(),
    };
    let _place = match place {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
    let mut parts = unpack::body(request, encoding).into_data_stream();
    let (report, taken) = state.intake.record_stream(order, &mut parts, state.stopped()).await;
    match taken {
        Ok(()) => answer(&report),
        Err(halt) => fault::problem(&halt, &id).with_report(&report).into_response(),
    }
}

/// What is asked, or why it is refused before it is read.
fn order(
    kind: Kind,
    state: &AppState,
    context: RequestContext,
    headers: &HeaderMap,
) -> Result<(StreamRequest, Encoding), Problem> {
    may_record(&context)?;
    if !is_utf8_of(headers, &MEDIA_TYPES) {
        let message = "rows are sent one a line, as application/x-ndjson in UTF-8";
        return Err(Problem::unsupported(message));
    }
    let encoding = Encoding::of(headers)?;
    let key = idempotency_key(headers)?;
    state.intake.check_writable().map_err(|error| Problem::of(&error, &context.id))?;
    Ok((StreamRequest { kind, caller: context.caller, key }, encoding))
}

fn may_record(context: &RequestContext) -> Result<(), Problem> {
    if context.caller.scopes.has(AccessScope::Record) {
        return Ok(());
    }
    Err(match context.caller.is_anonymous() {
        true => Problem::unauthenticated(),
        false => {
            let message = "this needs a token with the scope RECORD";
            Problem::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
        }
    })
}

/// 422 where there were rows and none could be kept: a client that looks at no more than the status
/// must not take it for success.
fn answer(report: &Report) -> Response {
    if report.is_all_rejected() {
        let message = "no row could be recorded; `rejections` tells why";
        return Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "BAD_USER_INPUT", message)
            .with_report(report)
            .into_response();
    }
    ([(CACHE_CONTROL, "no-store")], Json(report)).into_response()
}
