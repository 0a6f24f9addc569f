//! From GraphQL's response to HTTP's: codes of errors, status, media type.

use async_graphql::{PathSegment, Response, ServerError, Value};
use async_graphql_axum::GraphQLResponse;
use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use serde_json::json;

use super::negotiate::MediaType;
use crate::error::Error;
use crate::graphql::blame::argument_at;
use crate::observe::redact::without_values;

/// What the log and the metrics tell of a GraphQL request; it stands in the extensions of its
/// response.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// The name of the operation that ran, where it has one.
    pub operation: Option<String>,
    /// `query`, `mutation` or `subscription`; empty where nothing could be run.
    pub kind: &'static str,
    /// What it was estimated to cost, where that is known.
    pub cost: Option<u64>,
    /// The codes of its errors, each once.
    pub codes: Vec<String>,
}

impl Outcome {
    /// The codes of the errors of `response`.
    pub fn add_codes(&mut self, response: &Response) {
        for error in &response.errors {
            let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
            if let Some(Value::String(code)) = code
                && !self.codes.contains(code)
            {
                self.codes.push(code.clone());
            }
        }
    }
}

/// The response as the media type has it: under `application/graphql-response+json` the status
/// tells whether there is `data`, and is `without_data` where there is none.
pub(super) fn into_http(
    response: Response,
    media_type: MediaType,
    without_data: StatusCode,
) -> axum::response::Response {
    // An error without a path is one of the request itself, which then has no data at all.
    let refused =
        response.data == Value::Null && response.errors.iter().any(|error| error.path.is_empty());
    let mut answer = if refused {
        Json(json!({ "errors": response.errors })).into_response()
    } else {
        GraphQLResponse::from(response).into_response()
    };
    if refused && media_type == MediaType::GraphqlResponse {
        *answer.status_mut() = without_data;
    }
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type.name()));
    answer
}

/// Gives every error its code. Faults of ours are logged here, once, and told by a request id alone.
pub(super) fn finish_error(error: &mut ServerError, query: &str, request_id: &str) {
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
            let found = || position.and_then(|position| argument_at(query, position));
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

fn path_text(path: &[PathSegment]) -> String {
    let segment = |segment: &PathSegment| match segment {
        PathSegment::Field(name) => name.clone(),
        PathSegment::Index(index) => index.to_string(),
    };
    path.iter().map(segment).collect::<Vec<_>>().join(".")
}
