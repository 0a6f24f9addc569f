//! Executes a request: parses and measures its document, then runs it with a deadline.

use std::pin::pin;
use std::sync::Arc;

use async_graphql::{Response, ServerError, Value, value};
use axum::http::StatusCode;
use tokio::time::{Instant, timeout_at};

use super::documents::ResolvedRequest;
use super::measure;
use super::respond::{error_response, finish_errors, is_request_error, with_code};
use crate::error::Error;
use crate::graphql::answer::AnswerSize;
use crate::graphql::limit::HEAVY;
use crate::graphql::schema;
use crate::http::context::RequestContext;
use crate::http::outcome::Outcome;
use crate::http::state::AppState;
use crate::observe::{RequestMarks, TraceSpan, request};

/// The result of a request.
pub(crate) struct ExecutedRequest {
    pub response: Response,
    /// The HTTP status of a response without data, under `application/graphql-response+json`.
    pub error_status: StatusCode,
    pub outcome: Outcome,
    pub contains_secret: bool,
}

impl ExecutedRequest {
    /// The message if the server was too busy for any data. The response is then a 503, so that clients that only
    /// read the status retry as well.
    pub fn busy(&self) -> Option<&str> {
        let is_busy = self.outcome.codes.iter().all(|code| code == Error::Busy.code());
        let error = self.response.errors.first()?;
        (self.response.data == Value::Null && is_busy).then_some(error.message.as_str())
    }
}

/// Adds the operation to the marks that log lines and statements read.
pub(crate) fn mark_operation(outcome: &Outcome) {
    let Some(marks) = RequestMarks::current() else { return };
    marks.set_heavy(outcome.cost.is_some_and(|cost| cost >= HEAVY));
    if let Some(name) = &outcome.operation {
        marks.set_operation(name);
    }
}

/// Executes one request, single or from a batch.
pub(crate) async fn execute(
    state: &AppState,
    context: &RequestContext,
    ResolvedRequest { mut request, persist_hash }: ResolvedRequest,
    deadline: Instant,
    size: &Arc<AnswerSize>,
) -> ExecutedRequest {
    let mut outcome = Outcome::default();
    let mut span = TraceSpan::default();
    let mut error_status = StatusCode::BAD_REQUEST;
    let reports_cost = request.extensions.get("cost") == Some(&Value::Boolean(true));
    // The name of the field with the full key; an alias does not hide it.
    let contains_secret = request.query.contains("secret");
    let mut response = match measure::parse_and_measure(state, &mut request, &mut outcome) {
        Err(error) => Response::from_errors(vec![with_code(error, "GRAPHQL_PARSE_FAILED")]),
        Ok(()) if outcome.kind == "subscription" => {
            let message = "send subscriptions to /graphql/stream (SSE) or /graphql/ws (WebSocket)";
            Response::from_errors(vec![with_code(ServerError::new(message, None), "BAD_REQUEST")])
        }
        Ok(()) => {
            mark_operation(&outcome);
            span =
                state.services.observer.operation_span(outcome.kind, outcome.operation.as_deref());
            let is_mutation = outcome.kind == "mutation";
            if is_mutation {
                request::read_primary();
                size.set_mutation();
            } else if let Some(marks) = RequestMarks::current() {
                marks.allow_replicas();
            }
            let query = request.query.clone();
            let execution =
                schema::execute(&state.schema, state.request_info(context, size), request);
            let executed = timeout_at(deadline, pin!(span.during(execution))).await;
            if is_mutation {
                state.services.db.note_write();
            }
            match executed {
                Ok(mut response) => {
                    if let Some(error) = size.refusal() {
                        response = error_response(&error);
                    }
                    finish_errors(&mut response, &query, &context.id);
                    if let Some(hash) = persist_hash
                        && !is_request_error(&response)
                    {
                        state.documents.persist(hash, &query);
                    }
                    response
                }
                Err(_) => {
                    error_status = StatusCode::GATEWAY_TIMEOUT;
                    error_response(&Error::Timeout)
                }
            }
        }
    };
    if let Some(cost) = outcome.cost.filter(|_| reports_cost) {
        let maximum = state.parser.limits().max_cost();
        let report = value!({ "requested": cost, "maximum": maximum });
        response.extensions.insert("cost".to_owned(), report);
    }
    let warnings = RequestMarks::current().map(|marks| marks.take_warnings()).unwrap_or_default();
    if !warnings.is_empty() {
        let warnings = warnings
            .into_iter()
            .map(|warning| value!({ "code": warning.code(), "message": warning.message() }));
        response.extensions.insert("warnings".to_owned(), Value::List(warnings.collect()));
    }
    outcome.add_codes(&response);
    if let Some(code) = outcome.codes.first() {
        span.fail(code);
    }
    ExecutedRequest { response, error_status, outcome, contains_secret }
}
