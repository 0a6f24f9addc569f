//! GraphQL over HTTP: POST, and GET for queries alone.

use std::sync::atomic::{AtomicU64, Ordering};

use async_graphql::parser::types::{ExecutableDocument, OperationType};
use async_graphql::{PathSegment, Request, Response, ServerError, Value};
use async_graphql_axum::GraphQLResponse;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::negotiate::{MediaType, accepted, is_json};
use super::problem::Problem;
use super::router::AppState;
use crate::error::Error;
use crate::graphql::blame::argument_at;
use crate::graphql::nesting::is_too_deep;
use crate::graphql::schema;

type HttpResult = Result<axum::response::Response, Problem>;

pub(super) async fn get(
    State(state): State<AppState>,
    request: axum::extract::Request,
) -> HttpResult {
    let media_type = negotiate(request.headers())?;
    let mut request = with_query(parameters(request.uri())?)?;
    if let Ok(operation) = operation_type(&mut request)
        && operation != OperationType::Query
    {
        let message = "only queries can be sent by GET; send this operation by POST";
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message));
    }
    Ok(answer(&state, request, media_type).await)
}

pub(super) async fn post(
    State(state): State<AppState>,
    request: axum::extract::Request,
) -> HttpResult {
    let media_type = negotiate(request.headers())?;
    if !is_json(request.headers()) {
        let message = "the body must have the Content-Type application/json, in UTF-8";
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            message,
        ));
    }
    let body =
        Bytes::from_request(request, &()).await.map_err(|refused| match refused.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(),
            _ => Problem::malformed(),
        })?;
    if body.trim_ascii_start().starts_with(b"[") {
        let message = "batches are not supported; send one request at a time";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message));
    }
    let request = serde_json::from_slice(&body).map_err(|_| Problem::malformed())?;
    Ok(answer(&state, with_query(request)?, media_type).await)
}

/// What a URL asks for. async-graphql has a function of its own, which overlooks `operationName`.
fn parameters(uri: &Uri) -> Result<Request, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Parameters {
        #[serde(default)]
        query: String,
        operation_name: Option<String>,
        variables: Option<String>,
        extensions: Option<String>,
    }
    let Query(found) = Query::<Parameters>::try_from_uri(uri).map_err(|_| Problem::malformed())?;
    let mut request = Request::new(found.query);
    request.operation_name = found.operation_name.filter(|name| !name.is_empty());
    request.variables = object(found.variables)?;
    request.extensions = object(found.extensions)?;
    Ok(request)
}

/// The JSON of a parameter; nothing where it is not given, or empty.
fn object<T: DeserializeOwned + Default>(json: Option<String>) -> Result<T, Problem> {
    match json.filter(|json| !json.is_empty()) {
        Some(json) => serde_json::from_str(&json).map_err(|_| Problem::malformed()),
        None => Ok(T::default()),
    }
}

/// A request without a query is malformed, rather than a query that does not parse.
fn with_query(request: Request) -> Result<Request, Problem> {
    if request.query.trim().is_empty() { Err(Problem::malformed()) } else { Ok(request) }
}

fn negotiate(headers: &HeaderMap) -> Result<MediaType, Problem> {
    accepted(headers).ok_or_else(|| {
        let message = "responses are application/graphql-response+json or application/json";
        Problem::new(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", message)
    })
}

/// Parses the document, which is kept in the request.
fn parse(request: &mut Request) -> Result<&ExecutableDocument, ServerError> {
    if is_too_deep(&request.query) {
        return Err(ServerError::new("the document nests too deeply to be read", None));
    }
    request.parsed_query()
}

/// The kind of the operation that would run.
fn operation_type(request: &mut Request) -> Result<OperationType, ServerError> {
    let name = request.operation_name.clone();
    let document = parse(request)?;
    let mut operations = document.operations.iter();
    let operation = operations.find(|(operation, _)| match &name {
        Some(name) => operation.is_some_and(|operation| operation.as_str() == name),
        None => true,
    });
    Ok(operation.map_or(OperationType::Query, |(_, operation)| operation.node.ty))
}

async fn answer(
    state: &AppState,
    mut request: Request,
    media_type: MediaType,
) -> axum::response::Response {
    let parsed = parse(&mut request);
    let response = match parsed {
        Err(error) => Response::from_errors(vec![with_code(error, "GRAPHQL_PARSE_FAILED")]),
        Ok(_) => {
            let query = request.query.clone();
            let running =
                schema::execute(&state.schema, &state.services, state.clock.now(), request);
            match tokio::time::timeout(state.timeout, running).await {
                Ok(mut response) => {
                    response.errors.iter_mut().for_each(|error| finish_error(error, &query));
                    response
                }
                Err(_) => {
                    let timeout = ServerError::new(Error::Timeout.to_string(), None);
                    let timeout = with_code(timeout, Error::Timeout.code());
                    let response = Response::from_errors(vec![timeout]);
                    return into_http(response, media_type, StatusCode::GATEWAY_TIMEOUT);
                }
            }
        }
    };
    into_http(response, media_type, StatusCode::BAD_REQUEST)
}

/// The response as the media type has it: under `application/graphql-response+json` the status
/// tells whether there is `data`, and is `without_data` where there is none.
fn into_http(
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
fn finish_error(error: &mut ServerError, query: &str) {
    match error.source::<Error>() {
        Some(Error::Internal(source)) => {
            let id = next_request_id();
            tracing::error!(request_id = id, path = path_text(&error.path), %source, "internal error");
            let extensions = error.extensions.get_or_insert_default();
            extensions.set("requestId", id);
        }
        Some(Error::DatabaseUnavailable(source)) => {
            tracing::error!(path = path_text(&error.path), %source, "database unavailable");
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

fn with_code(mut error: ServerError, code: &str) -> ServerError {
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

/// Unique in this process, and unlikely to be met in another one's log.
fn next_request_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{:x}-{:x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
