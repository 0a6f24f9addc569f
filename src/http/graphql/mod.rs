//! GraphQL over HTTP: POST, and GET for queries. The steps of a request, one file each:
//!
//! 1. [`negotiate`]: the media type of the response, from `Accept`
//! 2. [`read`]: the request or batch, from the body or the URL
//! 3. [`documents`]: the document's text, sent, persisted or trusted
//! 4. [`parse`]: the parsed document, from a cache
//! 5. [`measure`]: the selected operation, its cost and the other limits
//! 6. [`execute`]: the result, within the deadline
//! 7. [`respond`]: error codes, HTTP status, JSON

pub(crate) mod documents;
pub(crate) mod execute;
pub(crate) mod measure;
pub(crate) mod negotiate;
pub(crate) mod parse;
pub(crate) mod read;
pub(crate) mod respond;
mod trusted;

use async_graphql::parser::types::OperationType;
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use tokio::time::Instant;

use super::context::RequestContext;
use super::middleware::ContainsSecret;
use super::middleware::csrf::reject_simple;
use super::outcome::Outcome;
use super::problem::Problem;
use super::state::AppState;
use documents::ResolvedRequest;
use execute::execute;
use negotiate::{MediaType, accepted};
use read::{GraphqlRequest, RequestBody};
use respond::{batch_into_http, hold_until_sent, into_http, to_json};

type HttpResult = Result<axum::response::Response, Problem>;

pub(crate) async fn get(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: axum::extract::Request,
) -> HttpResult {
    reject_simple(request.headers())?;
    let media_type = negotiate(request.headers())?;
    context.require_any_access()?;
    let sent = read::from_url(request.uri())?;
    let _slot = state.admission.acquire_request(&context)?;
    let mut resolved = state.documents.resolve(sent, media_type)?;
    if measure::kind(&state.parser, &mut resolved.request) != OperationType::Query {
        return Err(Problem::only_by_post());
    }
    Ok(answer(&state, &context, resolved, media_type).await)
}

pub(crate) async fn post(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: axum::extract::Request,
) -> HttpResult {
    let media_type = negotiate(request.headers())?;
    context.require_any_access()?;
    let body = read::from_body(request, state.read.clone()).await?;
    let _slot = state.admission.acquire_request(&context)?;
    match body {
        RequestBody::Single(sent) => {
            let resolved = state.documents.resolve(*sent, media_type)?;
            Ok(answer(&state, &context, resolved, media_type).await)
        }
        RequestBody::Batch(batch) => answer_batch(&state, &context, batch, media_type).await,
    }
}

fn negotiate(headers: &HeaderMap) -> Result<MediaType, Problem> {
    accepted(headers).ok_or_else(|| {
        let message = "responses are application/graphql-response+json or application/json";
        Problem::new(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", message)
    })
}

async fn answer(
    state: &AppState,
    context: &RequestContext,
    resolved: ResolvedRequest,
    media_type: MediaType,
) -> axum::response::Response {
    let size = state.answers.start();
    let deadline = Instant::now() + state.timeout;
    let executed = execute(state, context, resolved, deadline, &size).await;
    let mut response = match executed.busy() {
        Some(message) => Problem::busy_because(message).into_response(),
        None => into_http(executed.response, media_type, executed.error_status),
    };
    response.extensions_mut().insert(executed.outcome);
    if executed.contains_secret {
        response.extensions_mut().insert(ContainsSecret);
    }
    hold_until_sent(response, size)
}

/// Executes the requests of a batch one after the other, with one deadline and one response limit: a batch
/// may use no more of the server than a single request.
async fn answer_batch(
    state: &AppState,
    context: &RequestContext,
    batch: Vec<GraphqlRequest>,
    media_type: MediaType,
) -> HttpResult {
    let deadline = Instant::now() + state.timeout;
    let size = state.answers.start();
    let mut responses = Vec::with_capacity(batch.len());
    let mut outcome = Outcome { kind: "batch", ..Outcome::default() };
    let mut contains_secret = false;
    for sent in batch {
        match state.documents.resolve(sent, media_type) {
            Ok(resolved) => {
                let executed = execute(state, context, resolved, deadline, &size).await;
                outcome.add_codes(&executed.response);
                contains_secret |= executed.contains_secret;
                responses.push(to_json(&executed.response)?);
            }
            Err(problem) => {
                outcome.add_code(problem.code());
                responses.push(problem.body().to_string());
            }
        }
    }
    let mut response = batch_into_http(&responses, media_type);
    response.extensions_mut().insert(outcome);
    if contains_secret {
        response.extensions_mut().insert(ContainsSecret);
    }
    Ok(hold_until_sent(response, size))
}
