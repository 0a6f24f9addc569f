//! GraphQL over HTTP: POST, and GET for queries alone. A request is read, parsed, checked, executed
//! and answered; each of these has a file of its own.

use std::pin::pin;

use async_graphql::parser::types::OperationType;
use async_graphql::{Response, ServerError, Value, value};
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use tokio::time::Instant;

use super::compress::Secretive;
use super::context::RequestContext;
use super::csrf::refuse_simple;
use super::documents::Prepared;
use super::negotiate::{MediaType, accepted};
use super::operation;
use super::problem::Problem;
use super::read::{self, Asked, Body};
use super::respond::{
    Outcome, batch_into_http, failed, finish_errors, in_batch, into_http, is_refused, with_code,
};
use super::router::AppState;
use crate::error::Error;
use crate::graphql::limit::HEAVY;
use crate::graphql::schema;
use crate::observe::{RequestMarks, TraceSpan};
use crate::within::{Late, within};

type HttpResult = Result<axum::response::Response, Problem>;

pub(super) async fn get(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: axum::extract::Request,
) -> HttpResult {
    refuse_simple(request.headers())?;
    let media_type = negotiate(request.headers())?;
    admit(&context)?;
    let asked = read::from_url(request.uri())?;
    let _place = state.admission.enter(&context)?;
    let mut prepared = state.documents.prepare(asked, media_type)?;
    if operation::kind(&state.parser, &mut prepared.request) != OperationType::Query {
        return Err(Problem::only_by_post());
    }
    Ok(answer(&state, &context, prepared, media_type).await)
}

pub(super) async fn post(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: axum::extract::Request,
) -> HttpResult {
    let media_type = negotiate(request.headers())?;
    admit(&context)?;
    let body = read::from_body(request, state.read.clone()).await?;
    let _place = state.admission.enter(&context)?;
    match body {
        Body::One(asked) => {
            let prepared = state.documents.prepare(*asked, media_type)?;
            Ok(answer(&state, &context, prepared, media_type).await)
        }
        Body::Batch(batch) => answer_batch(&state, &context, batch, media_type).await,
    }
}

/// Refuses those who may do nothing at all; fields refuse those who may do something else.
pub(super) fn admit(context: &RequestContext) -> Result<(), Problem> {
    if context.caller.scopes.is_empty() && context.caller.is_anonymous() {
        return Err(Problem::unauthenticated());
    }
    Ok(())
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
    prepared: Prepared,
    media_type: MediaType,
) -> axum::response::Response {
    let ran = run(state, context, prepared, Instant::now() + state.timeout).await;
    let mut answer = match ran.is_put_off() {
        true => Problem::busy().into_response(),
        false => into_http(ran.response, media_type, ran.without_data),
    };
    answer.extensions_mut().insert(ran.outcome);
    if ran.secretive {
        answer.extensions_mut().insert(Secretive);
    }
    answer
}

/// One after the other: a batch must not take more of the database than the request that it is, nor
/// more time.
async fn answer_batch(
    state: &AppState,
    context: &RequestContext,
    batch: Vec<Asked>,
    media_type: MediaType,
) -> HttpResult {
    let deadline = Instant::now() + state.timeout;
    let mut answers = Vec::with_capacity(batch.len());
    let mut outcome = Outcome { kind: "batch", ..Outcome::default() };
    let mut secretive = false;
    for asked in batch {
        match state.documents.prepare(asked, media_type) {
            Ok(prepared) => {
                let ran = run(state, context, prepared, deadline).await;
                outcome.add_codes(&ran.response);
                secretive |= ran.secretive;
                answers.push(in_batch(&ran.response)?);
            }
            Err(problem) => {
                outcome.add_code(problem.code());
                answers.push(problem.body().to_string());
            }
        }
    }
    let mut answer = batch_into_http(&answers, media_type);
    answer.extensions_mut().insert(outcome);
    if secretive {
        answer.extensions_mut().insert(Secretive);
    }
    Ok(answer)
}

/// What came of a request.
pub(super) struct Ran {
    pub response: Response,
    /// The status where the media type wants one for a response that has no data.
    without_data: StatusCode,
    pub outcome: Outcome,
    /// Whether it may show a secret.
    secretive: bool,
}

impl Ran {
    /// Whether nothing came of it for now: a sender that knows HTTP alone waits and tries again.
    fn is_put_off(&self) -> bool {
        let busy = || self.outcome.codes.iter().all(|code| code == Error::Busy.code());
        self.response.data == Value::Null && !self.outcome.codes.is_empty() && busy()
    }
}

/// Enters what is known of an operation for the statements that it sends.
pub(super) fn mark_operation(outcome: &Outcome) {
    let Some(marks) = RequestMarks::current() else { return };
    marks.set_heavy(outcome.cost.is_some_and(|cost| cost >= HEAVY));
    if let Some(name) = &outcome.operation {
        marks.set_operation(name);
    }
}

/// Runs one request, be it alone or one of a batch.
pub(super) async fn run(
    state: &AppState,
    context: &RequestContext,
    Prepared { mut request, keep }: Prepared,
    deadline: Instant,
) -> Ran {
    let mut outcome = Outcome::default();
    let mut span = TraceSpan::default();
    let mut without_data = StatusCode::BAD_REQUEST;
    let tells_cost = request.extensions.get("cost") == Some(&Value::Boolean(true));
    // The name of the field that shows keys in full; no alias hides it.
    let secretive = request.query.contains("secret");
    let mut response = match operation::prepare(&state.parser, &mut request, &mut outcome) {
        Err(error) => Response::from_errors(vec![with_code(error, "GRAPHQL_PARSE_FAILED")]),
        Ok(()) if outcome.kind == "subscription" => {
            let message = "subscriptions are followed at /graphql/stream or /graphql/ws";
            Response::from_errors(vec![with_code(ServerError::new(message, None), "BAD_REQUEST")])
        }
        Ok(()) => {
            mark_operation(&outcome);
            span =
                state.services.observer.operation_span(outcome.kind, outcome.operation.as_deref());
            let query = request.query.clone();
            let running = schema::execute(&state.schema, state.asking(context), request);
            match within(deadline, pin!(span.during(running))).await {
                Ok(mut response) => {
                    finish_errors(&mut response, &query, &context.id);
                    if let Some(hash) = keep
                        && !is_refused(&response)
                    {
                        state.documents.keep(hash, &query);
                    }
                    response
                }
                Err(Late) => {
                    without_data = StatusCode::GATEWAY_TIMEOUT;
                    failed(&Error::Timeout)
                }
            }
        }
    };
    if let Some(cost) = outcome.cost.filter(|_| tells_cost) {
        let told = value!({ "requested": cost, "maximum": state.parser.limits().max_cost() });
        response.extensions.insert("cost".to_owned(), told);
    }
    outcome.add_codes(&response);
    if let Some(code) = outcome.codes.first() {
        span.fail(code);
    }
    Ran { response, without_data, outcome, secretive }
}
