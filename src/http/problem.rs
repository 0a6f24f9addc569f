//! Error responses of requests that do not reach the schema, in the format of GraphQL errors.

use std::any::Any;
use std::time::Duration;

use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::outcome::Outcome;
use crate::error::Error;
use crate::observe::RequestMarks;
use crate::observe::redact::{panic_text, without_values};

/// An error response: HTTP status, error code and message.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after: Option<Duration>,
    /// Further fields of the body.
    fields: Map<String, Value>,
}

/// `Retry-After` while the database is unavailable.
const DATABASE_RETRY: Duration = Duration::from_secs(1);

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None, fields: Map::new() }
    }

    /// Adds a `Retry-After` header, rounded up to whole seconds.
    pub(crate) fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    pub(crate) fn malformed() -> Self {
        let message = "the request needs `query` (string); `variables` (object), `operationName` \
                       (string) and `extensions` (object) are optional";
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    pub(crate) fn unauthenticated() -> Self {
        let error = Error::Unauthenticated;
        Self::new(StatusCode::UNAUTHORIZED, error.code(), error.to_string())
    }

    pub(crate) fn busy() -> Self {
        Self::busy_because("server busy; retry after Retry-After")
    }

    pub(crate) fn busy_because(message: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "SERVER_BUSY", message)
            .retry_after(Duration::from_secs(1))
    }

    pub(crate) fn too_large() -> Self {
        let message = "request body too large";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    pub(crate) fn unsupported(message: &str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message)
    }

    pub(crate) fn only_by_post() -> Self {
        let message = "GET supports only queries; send this operation by POST";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
    }

    /// The cause is only in the log.
    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "internal error")
    }
}

impl Problem {
    /// The response to an error of a lower layer. Logs the source of an internal error.
    pub(crate) fn of(error: &Error, request_id: &str) -> Self {
        match error {
            Error::Internal(source) => {
                let source = without_values(source);
                tracing::error!(request_id, source, "internal error");
            }
            Error::DatabaseUnavailable(source) => {
                let source = without_values(source);
                tracing::error!(request_id, source, "database unavailable");
            }
            _ => {}
        }
        let status = match error {
            Error::BadInput { .. } | Error::ResponseTooLarge(_) => StatusCode::BAD_REQUEST,
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::Unauthenticated => StatusCode::UNAUTHORIZED,
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::DatabaseUnavailable(_)
            | Error::MonthsUnavailable(_)
            | Error::Busy
            | Error::NotReady(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::Timeout | Error::Unfinished(_) => StatusCode::GATEWAY_TIMEOUT,
            Error::DeletionRefused(_) => StatusCode::CONFLICT,
            // Not a status at which clients retry automatically: the batch may be stored.
            Error::Internal(_) | Error::EventsMissed(_) | Error::OutcomeUnknown => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        let problem = Self::new(status, error.code(), error.to_string());
        match status {
            StatusCode::SERVICE_UNAVAILABLE => problem.retry_after(DATABASE_RETRY),
            _ => problem,
        }
    }

    /// Adds the fields of `report` to the body.
    pub(crate) fn with_report(mut self, report: &impl Serialize) -> Self {
        if let Ok(Value::Object(fields)) = serde_json::to_value(report) {
            self.fields = fields;
        }
        self
    }

    /// The response body, or this request's entry in the response to a batch.
    pub(crate) fn body(&self) -> Value {
        let error = json!({ "message": self.message, "extensions": { "code": self.code } });
        let mut body = Map::from_iter([("errors".to_owned(), json!([error]))]);
        body.extend(self.fields.clone());
        Value::Object(body)
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The `errors` list, with `retryAfterSeconds`, for transports without response headers.
    pub(crate) fn errors(&self) -> Value {
        let mut error = json!({ "message": self.message, "extensions": { "code": self.code } });
        if let Some(wait) = self.retry_after {
            error["extensions"]["retryAfterSeconds"] = whole_seconds(wait).into();
        }
        json!([error])
    }

    pub(crate) fn code(&self) -> &'static str {
        self.code
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = self.body().to_string();
        let mut response = self.with_body(body.into_bytes());
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}

impl Problem {
    /// The response with another body.
    pub(crate) fn with_body(self, body: Vec<u8>) -> Response {
        let mut response = (self.status, body).into_response();
        match self.status {
            StatusCode::METHOD_NOT_ALLOWED => {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            }
            StatusCode::UNAUTHORIZED => {
                let scheme = HeaderValue::from_static("Bearer realm=\"callscope\"");
                response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            }
            _ => {}
        }
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, whole_seconds(wait).into());
        }
        let outcome = Outcome { codes: vec![self.code.to_owned()], ..Outcome::default() };
        response.extensions_mut().insert(outcome);
        response
    }
}

fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// The response of a request whose handler panicked. The panic hook has logged the location.
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let request = RequestMarks::current();
    let request_id = request.as_ref().map(|request| &*request.id);
    tracing::error!(request_id, panic = panic_text(&*panic), "a request panicked");
    Problem::internal().into_response()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;

    #[tokio::test]
    async fn a_panic_yields_a_response_and_the_server_continues() {
        let panics = get(async || -> &'static str { panic!("the key is sk-secret") });
        let router = Router::new()
            .route("/panics", panics)
            .route("/", get(async || "ok"))
            .layer(CatchPanicLayer::custom(panicked));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(axum::serve(listener, router).into_future());
        for _ in 0..3 {
            let response = reqwest::get(format!("{url}/panics")).await.unwrap();
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let body: serde_json::Value = response.json().await.unwrap();
            let error =
                json!({ "message": "internal error", "extensions": { "code": "INTERNAL" } });
            assert_eq!(body, json!({ "errors": [error] }));
            assert_eq!(reqwest::get(&url).await.unwrap().text().await.unwrap(), "ok");
        }
        server.abort();
    }
}
