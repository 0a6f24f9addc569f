//! Converts a GraphQL response to an HTTP response: error codes, status, media type.

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
use crate::error::Error;
use crate::graphql::answer::AnswerSize;
use crate::graphql::error_class::ErrorClassifier;
use crate::http::problem::Problem;
use crate::observe::redact::without_values;

/// Limit of errors in a response.
const MAX_ERRORS: usize = 100;

/// Limit of characters in an error message, which may repeat the client's input.
const MAX_MESSAGE: usize = 1000;

/// Whether the request failed as a whole, without any data: such an error has no path.
pub(crate) fn is_request_error(response: &Response) -> bool {
    response.data == Value::Null && response.errors.iter().any(|error| error.path.is_empty())
}

/// The HTTP response. Under `application/graphql-response+json` a response without `data` has the status
/// `error_status`.
pub(crate) fn into_http(
    response: Response,
    media_type: MediaType,
    error_status: StatusCode,
) -> axum::response::Response {
    let is_error = is_request_error(&response);
    let mut http = if is_error {
        let extensions = Some(&response.extensions).filter(|extensions| !extensions.is_empty());
        let mut body = json!({ "errors": response.errors });
        if let (Some(body), Some(extensions)) = (body.as_object_mut(), extensions) {
            body.insert("extensions".to_owned(), json!(extensions));
        }
        Json(body).into_response()
    } else {
        GraphQLResponse::from(response).into_response()
    };
    if is_error && media_type == MediaType::GraphqlResponse {
        *http.status_mut() = error_status;
    }
    let headers = http.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type.name()));
    // Results change with time, and must not be stored on the client's disk.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    http
}

/// A body is passed to the connection in parts of this size: the connection takes the last part only after
/// it has sent the others.
const PART_BYTES: usize = 64 << 10;

/// Holds the memory count of a response until its body is sent or dropped.
pub(crate) fn hold_until_sent(
    response: axum::response::Response,
    size: Arc<AnswerSize>,
) -> axum::response::Response {
    let (mut head, body) = response.into_parts();
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
        let _size = &size;
    });
    axum::response::Response::from_parts(head, Body::from_stream(body))
}

/// The JSON of a response: an entry of a batch, or the payload of an event.
pub(crate) fn to_json(response: &Response) -> Result<String, Problem> {
    if is_request_error(response) {
        return Ok(json!({ "errors": response.errors }).to_string());
    }
    serde_json::to_string(response).map_err(|error| {
        tracing::error!(%error, "a response could not be serialized");
        Problem::internal()
    })
}

/// The response to a batch. Its status is always 200: each entry has its own errors.
pub(crate) fn batch_into_http(
    responses: &[String],
    media_type: MediaType,
) -> axum::response::Response {
    (
        [(CONTENT_TYPE, media_type.name()), (CACHE_CONTROL, "no-store")],
        format!("[{}]", responses.join(",")),
    )
        .into_response()
}

/// Sets the code of every error and limits their number.
pub(crate) fn finish_errors(response: &mut Response, query: &str, request_id: &str) {
    let omitted = response.errors.len().saturating_sub(MAX_ERRORS);
    response.errors.truncate(MAX_ERRORS);
    let classifier = ErrorClassifier::new(query);
    response.errors.iter_mut().for_each(|error| finish_error(error, &classifier, request_id));
    if omitted > 0 {
        let message = format!("{omitted} more errors omitted");
        let mut last = ServerError::new(message, None);
        // The path of the error before, so that it stays an error of the request or of a field.
        last.path = response.errors.last().map(|error| error.path.clone()).unwrap_or_default();
        response.errors.push(with_code(last, "TOO_MANY_ERRORS"));
    }
}

/// Sets the code of an error. Internal errors are logged here and show only the request id.
fn finish_error(error: &mut ServerError, classifier: &ErrorClassifier<'_>, request_id: &str) {
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
            let class = classifier.classify(error);
            set_code(error, class.code);
            if let Some(argument) = class.argument {
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

pub(crate) fn with_code(mut error: ServerError, code: &str) -> ServerError {
    set_code(&mut error, code);
    error
}

/// The response of a request that failed as a whole.
pub(crate) fn error_response(error: &Error) -> Response {
    Response::from_errors(vec![with_code(ServerError::new(error.to_string(), None), error.code())])
}

fn path_text(path: &[PathSegment]) -> String {
    let segment = |segment: &PathSegment| match segment {
        PathSegment::Field(name) => name.clone(),
        PathSegment::Index(index) => index.to_string(),
    };
    path.iter().map(segment).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use async_graphql::{EmptyMutation, EmptySubscription, Object, Schema};
    use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType};

    use super::*;

    /// A number below ten.
    struct Digit;

    #[Scalar]
    impl ScalarType for Digit {
        fn parse(value: Value) -> InputValueResult<Self> {
            match value {
                Value::Number(number) if number.as_u64().is_some_and(|digit| digit < 10) => {
                    Ok(Self)
                }
                Value::Number(_) => Err(InputValueError::custom("too large")),
                other => Err(InputValueError::expected_type(other)),
            }
        }

        fn to_value(&self) -> Value {
            Value::Null
        }
    }

    struct Query;

    #[Object]
    impl Query {
        async fn number(&self, n: i32, digit: Option<Digit>) -> i32 {
            n + i32::from(digit.is_some())
        }
    }

    #[tokio::test]
    async fn errors_of_async_graphql_get_a_code_and_an_argument() {
        let schema = Schema::new(Query, EmptyMutation, EmptySubscription);
        for (query, start, code, argument) in [
            ("{ number(n: 1, digit: 12) }", "Failed to parse \"", "BAD_USER_INPUT", Some("digit")),
            (
                "{ number(n: 1, digit: \"x\") }",
                "Expected input type \"",
                "BAD_USER_INPUT",
                Some("digit"),
            ),
            ("{ number(n: \"x\") }", "Invalid value for argument \"", "BAD_USER_INPUT", Some("n")),
            ("{ number(n: 1) { x } }", "Field \"number\"", "GRAPHQL_VALIDATION_FAILED", None),
            ("{ unknown }", "Unknown field", "GRAPHQL_VALIDATION_FAILED", None),
        ] {
            let mut response = schema.execute(query).await;
            finish_errors(&mut response, query, "1");
            let error = &response.errors[0];
            assert!(error.message.starts_with(start), "{query}: {}", error.message);
            let extensions = json!(error.extensions);
            assert_eq!(
                (&extensions["code"], extensions["argument"].as_str()),
                (&json!(code), argument)
            );
        }
    }
}
