//! From GraphQL's response to HTTP's: codes of errors, status, media type.

use std::sync::Arc;

use async_graphql::{PathSegment, Response, ServerError, Value};
use async_graphql_axum::GraphQLResponse;
use axum::Json;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::json;

use super::negotiate::MediaType;
use super::problem::Problem;
use crate::error::Error;
use crate::graphql::answer::AnswerSize;
use crate::graphql::blame::Blame;
use crate::observe::redact::without_values;

/// Errors that a response tells.
const MAX_ERRORS: usize = 100;

/// Characters of the text of an error, which may repeat what the client sent.
const MAX_MESSAGE: usize = 1000;

/// What the log and the metrics tell of a GraphQL request; it stands in the extensions of its
/// response.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// The name of the operation that ran, where it has one.
    pub operation: Option<String>,
    /// `query`, `mutation`, `subscription` or `batch`; empty where nothing could be run.
    pub kind: &'static str,
    /// The codes of its errors, each once.
    pub codes: Vec<String>,
    /// What it was reckoned to cost, where that is known.
    pub cost: Option<u64>,
}

impl Outcome {
    /// The codes of the errors of `response`.
    pub fn add_codes(&mut self, response: &Response) {
        for error in &response.errors {
            let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
            if let Some(Value::String(code)) = code {
                self.add_code(code);
            }
        }
    }

    pub fn add_code(&mut self, code: &str) {
        if !self.codes.iter().any(|known| known == code) {
            self.codes.push(code.to_owned());
        }
    }
}

/// Whether the request itself failed, so that nothing was run and there is no data at all: an error
/// without a path is one of the request.
pub(super) fn is_refused(response: &Response) -> bool {
    response.data == Value::Null && response.errors.iter().any(|error| error.path.is_empty())
}

/// The response as the media type has it: under `application/graphql-response+json` the status
/// tells whether there is `data`, and is `without_data` where there is none.
pub(super) fn into_http(
    response: Response,
    media_type: MediaType,
    without_data: StatusCode,
) -> axum::response::Response {
    let refused = is_refused(&response);
    let mut answer = if refused {
        let extensions = Some(&response.extensions).filter(|told| !told.is_empty());
        let mut body = json!({ "errors": response.errors });
        if let (Some(body), Some(extensions)) = (body.as_object_mut(), extensions) {
            body.insert("extensions".to_owned(), json!(extensions));
        }
        Json(body).into_response()
    } else {
        GraphQLResponse::from(response).into_response()
    };
    if refused && media_type == MediaType::GraphqlResponse {
        *answer.status_mut() = without_data;
    }
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type.name()));
    // It is of its moment, and not for the disk of a browser.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// A body is handed to the connection in parts of so many bytes: the last one is only once the others
/// are sent.
const PART_BYTES: usize = 64 << 10;

/// Keeps what counts an answer until its body has been sent, or is given up.
pub(super) fn held(
    answer: axum::response::Response,
    size: Arc<AnswerSize>,
) -> axum::response::Response {
    let (mut head, body) = answer.into_parts();
    let Some(length) = body.size_hint().exact() else {
        return axum::response::Response::from_parts(head, body);
    };
    if length <= PART_BYTES as u64 {
        return axum::response::Response::from_parts(head, body);
    }
    head.headers.insert(CONTENT_LENGTH, length.into());
    let parts = body.into_data_stream().map_ok(move |bytes| {
        let length = bytes.len();
        let parts = (0..length).step_by(PART_BYTES);
        let part = move |from: usize| bytes.slice(from..length.min(from + PART_BYTES));
        stream::iter(parts.map(move |from| Ok::<_, axum::Error>(part(from))))
    });
    let body = parts.try_flatten().inspect(move |_: &Result<Bytes, axum::Error>| {
        let _held = &size;
    });
    axum::response::Response::from_parts(head, Body::from_stream(body))
}

/// What stands for one request in the answer to a batch.
pub(super) fn in_batch(response: &Response) -> Result<String, Problem> {
    if is_refused(response) {
        return Ok(json!({ "errors": response.errors }).to_string());
    }
    serde_json::to_string(response).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written as JSON");
        Problem::internal()
    })
}

/// The answers to a batch, each in JSON; what became of each stands in it alone.
pub(super) fn batch_into_http(
    answers: &[String],
    media_type: MediaType,
) -> axum::response::Response {
    (
        [(CONTENT_TYPE, media_type.name()), (CACHE_CONTROL, "no-store")],
        format!("[{}]", answers.join(",")),
    )
        .into_response()
}

/// Gives every error its code, and leaves out those that are too many to be of use.
pub(super) fn finish_errors(response: &mut Response, query: &str, request_id: &str) {
    let left_out = response.errors.len().saturating_sub(MAX_ERRORS);
    response.errors.truncate(MAX_ERRORS);
    let blame = Blame::of(query);
    response.errors.iter_mut().for_each(|error| finish_error(error, &blame, request_id));
    if left_out > 0 {
        let message = format!("{left_out} more errors are not told");
        let mut last = ServerError::new(message, None);
        // At the place of the one before, so that it is an error of the request or of a field as well.
        last.path = response.errors.last().map(|error| error.path.clone()).unwrap_or_default();
        response.errors.push(with_code(last, "TOO_MANY_ERRORS"));
    }
}

/// Gives an error its code. Faults of ours are logged here, once, and told by a request id alone.
fn finish_error(error: &mut ServerError, blame: &Blame<'_>, request_id: &str) {
    if let Some((end, _)) = error.message.char_indices().nth(MAX_MESSAGE) {
        error.message.replace_range(end.., "…");
    }
    match error.source::<Error>() {
        Some(Error::Internal(source)) => {
            let source = without_values(source);
            tracing::error!(request_id, path = path_text(&error.path), source, "internal error");
            error.extensions.get_or_insert_default().set("requestId", request_id);
        }
        Some(Error::DatabaseUnavailable(source)) => {
            let source = without_values(source);
            tracing::error!(
                request_id,
                path = path_text(&error.path),
                source,
                "database unavailable"
            );
        }
        Some(_) => {}
        None => {
            // async-graphql's own: a value that does not fit its type, or an invalid document.
            let of_value = error.message.starts_with("Failed to parse")
                || error.message.starts_with("Expected input type")
                || error.message.starts_with("Invalid value for argument");
            let code = if of_value { "BAD_USER_INPUT" } else { "GRAPHQL_VALIDATION_FAILED" };
            set_code(error, code);
            // Some of its texts name the argument, in the first quotes; others stand at its value.
            let named = error.message.strip_prefix("Invalid value for argument \"");
            // What follows a dot is the place within the argument, which the text tells.
            let named = named.and_then(|rest| rest.split(['"', '.']).next()).map(str::to_owned);
            let position = error.locations.first().copied().filter(|_| of_value);
            let found = || position.and_then(|position| blame.argument_at(position));
            if let Some(argument) = named.or_else(found) {
                error.extensions.get_or_insert_default().set("argument", argument);
            }
        }
    }
}

fn set_code(error: &mut ServerError, code: &str) {
    let extensions = error.extensions.get_or_insert_default();
    if extensions.get("code").is_none() {
        extensions.set("code", code);
    }
}

pub(super) fn with_code(mut error: ServerError, code: &str) -> ServerError {
    set_code(&mut error, code);
    error
}

/// The response where the request itself came to nothing.
pub(super) fn failed(error: &Error) -> Response {
    Response::from_errors(vec![with_code(ServerError::new(error.to_string(), None), error.code())])
}

fn path_text(path: &[PathSegment]) -> String {
    let segment = |segment: &PathSegment| match segment {
        PathSegment::Field(name) => name.clone(),
        PathSegment::Index(index) => index.to_string(),
    };
    path.iter().map(segment).collect::<Vec<_>>().join(".")
}
