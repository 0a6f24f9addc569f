//! Answers of requests that never reach the schema, in the form of GraphQL's errors.

use std::any::Any;

use axum::http::StatusCode;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::respond::Outcome;
use crate::observe::RequestMarks;
use crate::observe::redact::panic_text;

/// A status, a code for programs and a text for people.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn malformed() -> Self {
        let message = "the request must have `query` (a string) and may have `variables` (an \
                       object), `operationName` (a string) and `extensions` (an object)";
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    pub(super) fn too_large() -> Self {
        let message = "the body of the request is too large";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "errors": [{ "message": self.message, "extensions": { "code": self.code } }],
        });
        let mut response =
            (self.status, [(CONTENT_TYPE, "application/json; charset=utf-8")], body.to_string())
                .into_response();
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, axum::http::HeaderValue::from_static("POST"));
        }
        let outcome = Outcome { codes: vec![self.code.to_owned()], ..Outcome::default() };
        response.extensions_mut().insert(outcome);
        response
    }
}

/// The answer of a request whose handler panicked. Where that was is in the log already.
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let request = RequestMarks::current();
    let request_id = request.as_ref().map(|request| &*request.id);
    tracing::error!(request_id, panic = panic_text(&*panic), "a request panicked");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "internal error").into_response()
}
