//! Answers of requests that never reach the schema, in the form of GraphQL's errors.

use std::any::Any;

use axum::http::StatusCode;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

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

    /// What went wrong stands in the log.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "internal error")
    }
}

impl Problem {
    /// The answer as GraphQL has it; the whole body, or what stands for the request in a batch.
    pub(super) fn body(&self) -> Value {
        json!({ "errors": [{ "message": self.message, "extensions": { "code": self.code } }] })
    }

    pub(super) fn code(&self) -> &'static str {
        self.code
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = self.body();
        let mut response =
            (self.status, [(CONTENT_TYPE, "application/json; charset=utf-8")], body.to_string())
                .into_response();
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, axum::http::HeaderValue::from_static("POST"));
        }
        response
    }
}

/// The answer of a request whose handler panicked; the panic itself went to the log.
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    tracing::error!(panic = text.as_deref().unwrap_or("unknown"), "a request panicked");
    Problem::internal().into_response()
}
