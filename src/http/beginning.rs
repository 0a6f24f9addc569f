//! How an operation begins that may be followed: a subscription, which goes on, or another one, which is
//! answered once.

use std::pin::pin;
use std::sync::Arc;

use async_graphql::parser::types::OperationType;
use async_graphql::{Response, ServerError};
use tokio::time::Instant;

use super::admission::sender;
use super::context::RequestContext;
use super::documents::Prepared;
use super::following::{Followed, Following, OperationEnd};
use super::graphql::{mark_operation, run};
use super::negotiate::MediaType;
use super::operation;
use super::problem::Problem;
use super::read::Asked;
use super::respond::{Outcome, failed, finish_errors, with_code};
use super::router::AppState;
use super::template::Template;
use crate::error::Error;
use crate::graphql::schema;
use crate::graphql::subscription::source::Source;
use crate::within::{Late, within};

/// What came of an operation.
pub(super) enum Begun {
    /// Its only response.
    Once(Response),
    /// The response of a subscription that cannot begin.
    Refused(Response),
    Following(Box<Following>),
}

/// Begins an operation. Its outcome so far stands in `end`.
pub(super) async fn begin(
    state: &AppState,
    context: &RequestContext,
    asked: Asked,
    by_get: bool,
    end: &Arc<OperationEnd>,
) -> Result<Begun, Problem> {
    let _place = state.admission.enter(context)?;
    // Of the media types the one whose status tells that something is wrong.
    let mut prepared = state.documents.prepare(asked, MediaType::GraphqlResponse)?;
    let deadline = Instant::now() + state.timeout;
    match operation::kind(&state.parser, &mut prepared.request) {
        OperationType::Subscription => follow(state, context, prepared, deadline, end).await,
        OperationType::Mutation if by_get => Err(Problem::only_by_post()),
        _ => {
            let ran = run(state, context, prepared, deadline).await;
            end.set_outcome(ran.outcome);
            Ok(Begun::Once(ran.response))
        }
    }
}

/// Begins a subscription. It has its place from here to its end.
async fn follow(
    state: &AppState,
    context: &RequestContext,
    prepared: Prepared,
    deadline: Instant,
    end: &Arc<OperationEnd>,
) -> Result<Begun, Problem> {
    let place = state.subscriptions.enter(sender(context))?;
    let mut outcome = Outcome::default();
    let found = find_source(state, context, prepared, deadline, &mut outcome).await;
    if let Err(refused) = &found {
        outcome.add_codes(refused);
    }
    end.set_outcome(outcome);
    Ok(match found {
        Err(refused) => Begun::Refused(refused),
        Ok((source, asked)) => {
            let (state, context) = (state.clone(), context.clone());
            let followed = Followed { state, context, asked, end: Arc::clone(end) };
            Begun::Following(Box::new(Following::new(followed, source, place)))
        }
    })
}

/// Where the events come from, and what each of them asks; or the response of a subscription that
/// cannot begin.
async fn find_source(
    state: &AppState,
    context: &RequestContext,
    Prepared { mut request, keep }: Prepared,
    deadline: Instant,
    outcome: &mut Outcome,
) -> Result<(Source, Template), Response> {
    let refuse = |error: ServerError, code| Response::from_errors(vec![with_code(error, code)]);
    operation::prepare(&state.parser, &mut request, outcome)
        .map_err(|error| refuse(error, "GRAPHQL_PARSE_FAILED"))?;
    mark_operation(outcome);
    let asked =
        Template::of(&mut request).map_err(|error| refuse(error, "GRAPHQL_VALIDATION_FAILED"))?;
    let beginning = schema::subscribe(&state.schema, state.asking(context), request);
    let begun = match within(deadline, pin!(beginning)).await {
        Ok(begun) => begun,
        Err(Late) => Err(failed(&Error::Timeout)),
    };
    let source = begun.map_err(|mut refused| {
        finish_errors(&mut refused, asked.text(), &context.id);
        refused
    })?;
    if let Some(hash) = keep {
        state.documents.keep(hash, asked.text());
    }
    Ok((source, asked))
}
