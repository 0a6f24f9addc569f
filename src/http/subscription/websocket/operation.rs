//! One operation of a WebSocket connection, as a stream of messages.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_graphql::Response;
use futures_util::FutureExt;
use futures_util::stream::{self, Stream};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use crate::graphql::answer::AnswerSize;
use crate::http::context::RequestContext;
use crate::http::graphql::read::GraphqlRequest;
use crate::http::graphql::respond::{is_request_error, to_json};
use crate::http::middleware::request_log::RequestLine;
use crate::http::outcome::OperationStatus;
use crate::http::problem::{self, Problem};
use crate::http::state::AppState;
use crate::http::subscription::event_stream::{EndReason, Event, EventStream};
use crate::http::subscription::start::{StartedOperation, start_operation};
use crate::observe::RequestMarks;

/// A message to the client.
pub(super) enum OperationMessage {
    /// A response in JSON.
    Next(Arc<str>),
    /// The operation ended with these errors.
    Error(Value),
    /// The same, because the credentials of the connection were revoked.
    Unauthenticated(Value),
    Complete,
}

pub(super) struct Operation {
    pub state: AppState,
    pub context: RequestContext,
    pub marks: Arc<RequestMarks>,
    pub status: Arc<OperationStatus>,
    /// Written when the operation is dropped.
    pub line: Option<RequestLine>,
    pub stage: Stage,
}

pub(super) enum Stage {
    /// With a permit that is held until the operation has started.
    Received(Box<GraphqlRequest>, OwnedSemaphorePermit),
    Streaming(Box<EventStream>),
    /// The only response was sent; its memory count is dropped at the next poll.
    Answered(Arc<AnswerSize>),
    Ended,
}

impl Operation {
    /// A lazy stream: each message is produced when it is requested.
    pub fn into_stream(self) -> impl Stream<Item = OperationMessage> {
        stream::unfold(self, async |mut operation| {
            let message = operation.next().await?;
            Some((message, operation))
        })
    }

    async fn next(&mut self) -> Option<OperationMessage> {
        let stage = std::mem::replace(&mut self.stage, Stage::Ended);
        let mut events = match stage {
            Stage::Received(request, permit) => {
                // Boxed, so that its memory is freed once the operation has started.
                let started = Box::pin(self.start(*request)).await;
                drop(permit);
                match started {
                    Ok(StartedOperation::Subscribed(events)) => events,
                    Ok(StartedOperation::Rejected(response)) => return Some(self.fail(&response)),
                    Ok(StartedOperation::Answered(response, _)) if is_request_error(&response) => {
                        return Some(self.fail(&response));
                    }
                    Ok(StartedOperation::Answered(response, size)) => match to_json(&response) {
                        Ok(json) => {
                            self.stage = Stage::Answered(size);
                            return Some(OperationMessage::Next(json.into()));
                        }
                        Err(problem) => return Some(self.reject(&problem)),
                    },
                    Err(problem) => return Some(self.reject(&problem)),
                }
            }
            Stage::Streaming(events) => events,
            Stage::Answered(size) => {
                drop(size);
                self.status.complete();
                return Some(OperationMessage::Complete);
            }
            Stage::Ended => return None,
        };
        Some(match events.next().await {
            Event::Next(json) => {
                self.stage = Stage::Streaming(events);
                OperationMessage::Next(json)
            }
            // The connection closes with "going away". After `complete` a client would not reconnect.
            Event::End(EndReason::ServerStopping) => std::future::pending().await,
            Event::End(EndReason::Unauthenticated(response)) => {
                OperationMessage::Unauthenticated(json!(response.errors))
            }
            Event::End(EndReason::Failed(problem)) => OperationMessage::Error(problem.errors()),
        })
    }

    async fn start(&mut self, request: GraphqlRequest) -> Result<StartedOperation, Problem> {
        self.state.admission.check_rate(&self.context)?;
        let start = start_operation(&self.state, &self.context, request, false, &self.status);
        let started = AssertUnwindSafe(Arc::clone(&self.marks).during(start)).catch_unwind().await;
        if let Some(line) = &mut self.line {
            line.set_answered();
        }
        started.unwrap_or_else(|panic| {
            drop(problem::panicked(panic));
            Err(Problem::internal())
        })
    }

    fn fail(&self, response: &Response) -> OperationMessage {
        self.status.complete();
        OperationMessage::Error(json!(response.errors))
    }

    fn reject(&self, problem: &Problem) -> OperationMessage {
        self.status.add_code(problem.code());
        self.status.complete();
        OperationMessage::Error(problem.errors())
    }
}
