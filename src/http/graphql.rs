//! GraphQL over HTTP: POST, and GET for queries alone. A request is read, parsed, checked, executed
//! and answered; each of these has a file of its own.

use async_graphql::parser::types::{ExecutableDocument, OperationType};
use async_graphql::{Request, Response, ServerError};
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};

use super::context::RequestContext;
use super::negotiate::{MediaType, accepted};
use super::problem::Problem;
use super::read;
use super::respond::{Outcome, finish_error, into_http, with_code};
use super::router::AppState;
use crate::error::Error;
use crate::graphql::nesting::is_too_deep;
use crate::graphql::schema;
use crate::observe::{RequestMarks, TraceSpan};

type HttpResult = Result<axum::response::Response, Problem>;

pub(super) async fn get(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: axum::extract::Request,
) -> HttpResult {
    let media_type = negotiate(request.headers())?;
    let mut request = read::from_url(request.uri())?;
    if let Ok(operation) = operation(&mut request)
        && operation.kind != OperationType::Query
    {
        let message = "only queries can be sent by GET; send this operation by POST";
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message));
    }
    Ok(answer(&state, &context, request, media_type).await)
}

pub(super) async fn post(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: axum::extract::Request,
) -> HttpResult {
    let media_type = negotiate(request.headers())?;
    let request = read::from_body(request).await?;
    Ok(answer(&state, &context, request, media_type).await)
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

/// The operation that would run.
struct Operation {
    kind: OperationType,
    /// As the document names it: what the client sends as `operationName` may be any text.
    name: Option<String>,
}

/// Longer names are cut where they are told.
const MAX_NAME_LENGTH: usize = 64;

fn operation(request: &mut Request) -> Result<Operation, ServerError> {
    let wanted = request.operation_name.clone();
    let document = parse(request)?;
    let alone = document.operations.iter().count() == 1;
    let mut operations = document.operations.iter();
    let found = operations.find(|(name, _)| match &wanted {
        Some(wanted) => name.is_some_and(|name| name.as_str() == wanted),
        None => true,
    });
    let kind = found.map_or(OperationType::Query, |(_, operation)| operation.node.ty);
    let name = found.filter(|_| alone || wanted.is_some()).and_then(|(name, _)| name);
    let name = name.map(|name| name.chars().take(MAX_NAME_LENGTH).collect());
    Ok(Operation { kind, name })
}

async fn answer(
    state: &AppState,
    context: &RequestContext,
    mut request: Request,
    media_type: MediaType,
) -> axum::response::Response {
    let mut outcome = Outcome::default();
    let mut span = TraceSpan::default();
    let mut without_data = StatusCode::BAD_REQUEST;
    let response = match operation(&mut request) {
        Err(error) => Response::from_errors(vec![with_code(error, "GRAPHQL_PARSE_FAILED")]),
        Ok(operation) => {
            outcome.kind = match operation.kind {
                OperationType::Query => "query",
                OperationType::Mutation => "mutation",
                OperationType::Subscription => "subscription",
            };
            if let Some((marks, name)) = RequestMarks::current().zip(operation.name.as_ref()) {
                marks.set_operation(name);
            }
            outcome.operation = operation.name;
            span =
                state.services.observer.operation_span(outcome.kind, outcome.operation.as_deref());
            let query = request.query.clone();
            let running = schema::execute(&state.schema, state.asking(context), request);
            match tokio::time::timeout(state.timeout, span.during(running)).await {
                Ok(mut response) => {
                    let finish = |error| finish_error(error, &query, &context.id);
                    response.errors.iter_mut().for_each(finish);
                    response
                }
                Err(_) => {
                    without_data = StatusCode::GATEWAY_TIMEOUT;
                    let timeout = ServerError::new(Error::Timeout.to_string(), None);
                    Response::from_errors(vec![with_code(timeout, Error::Timeout.code())])
                }
            }
        }
    };
    outcome.add_codes(&response);
    if let Some(code) = outcome.codes.first() {
        span.fail(code);
    }
    let mut answer = into_http(response, media_type, without_data);
    answer.extensions_mut().insert(outcome);
    answer
}
