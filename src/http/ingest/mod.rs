//! `POST /ingest/calls` and `POST /ingest/errors`: streams of NDJSON rows of any length.

mod otlp;
mod rpc;

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

pub(crate) use self::otlp::traces;
use super::body::{self, BodyError, Encoding, idempotency_key, is_utf8_of};
use super::context::RequestContext;
use super::problem::Problem;
use super::state::AppState;
use crate::domain::access::AccessScope;
use crate::domain::table::LogTable;
use crate::error::Error;
use crate::ingest::chunk::Report;
use crate::ingest::intake::{Halt, StreamRequest};

/// Another web site cannot send any of these without a preflight (`csrf`).
const MEDIA_TYPES: [&str; 4] =
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/json"];

/// `Retry-After` at shutdown: another server may run by then.
const RETRY: Duration = Duration::from_secs(1);

pub(crate) async fn calls(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: Request,
) -> Response {
    record_stream(LogTable::Calls, &state, context, request).await
}

pub(crate) async fn errors(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: Request,
) -> Response {
    record_stream(LogTable::ErrorLogs, &state, context, request).await
}

async fn record_stream(
    table: LogTable,
    state: &AppState,
    context: RequestContext,
    request: Request,
) -> Response {
    let id = context.id.clone();
    let slot = state.admission.acquire_stream(&context);
    let (stream, encoding) = match stream_request(table, state, context, request.headers()) {
        Ok(checked) => checked,
        Err(problem) => return problem.into_response(),
    };
    let _slot = match slot {
        Ok(slot) => slot,
        Err(problem) => return problem.into_response(),
    };
    let mut parts = body::decompress(request, encoding).into_data_stream();
    let (report, result) = state.intake.record_stream(stream, &mut parts, state.stopped()).await;
    match result {
        Ok(()) => respond(&report),
        Err(halt) => halt_problem(&halt, &id).with_report(&report).into_response(),
    }
}

/// Checks the request before its body is read.
fn stream_request(
    table: LogTable,
    state: &AppState,
    context: RequestContext,
    headers: &HeaderMap,
) -> Result<(StreamRequest, Encoding), Problem> {
    context.require_scope(AccessScope::Record)?;
    if !is_utf8_of(headers, &MEDIA_TYPES) {
        let message = "send one row per line, as application/x-ndjson in UTF-8";
        return Err(Problem::unsupported(message));
    }
    let encoding = Encoding::of(headers)?;
    let key = idempotency_key(headers)?;
    state.intake.check_writable().map_err(|error| Problem::of(&error, &context.id))?;
    Ok((StreamRequest { table, caller: context.caller, key }, encoding))
}

/// 422 if all rows were rejected, so that a client that reads only the status does not see a success.
fn respond(report: &Report) -> Response {
    if report.is_all_rejected() {
        let message = "all rows were rejected; see `rejections` for the reasons";
        return Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "BAD_USER_INPUT", message)
            .with_report(report)
            .into_response();
    }
    ([(CACHE_CONTROL, "no-store")], Json(report)).into_response()
}

impl From<axum::Error> for Halt {
    fn from(error: axum::Error) -> Self {
        match BodyError::of(&error) {
            BodyError::Unreadable => Self::Unreadable,
            BodyError::TooDense => Self::TooDense,
        }
    }
}

/// The response to a stream that was halted.
fn halt_problem(halt: &Halt, request_id: &str) -> Problem {
    match halt {
        Halt::Unreadable => {
            let message = "the body is incomplete, or is not gzip as its Content-Encoding states";
            Problem::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
        }
        Halt::TooDense => body::too_dense(),
        Halt::Stalled(timeout) => {
            let seconds = timeout.as_secs();
            let message = format!(
                "no row arrived within {seconds} s: end a stream that has no more rows and start \
                 another one later; the first `lines` lines are recorded, resend the rest"
            );
            Problem::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message)
        }
        Halt::Stopping => {
            let message = "server shutting down; resend the rows not reported as recorded";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, Error::Busy.code(), message)
                .retry_after(RETRY)
        }
        // Rows were validated before, so this is a key that was used for other rows.
        Halt::Failed(error @ Error::BadInput { .. }) => {
            Problem::new(StatusCode::CONFLICT, error.code(), error.to_string())
        }
        Halt::Failed(error) => Problem::of(error, request_id),
    }
}
