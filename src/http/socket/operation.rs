//! One operation of a connection: begun, perhaps followed, and ended.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_graphql::Response;
use futures_util::FutureExt;
use futures_util::stream::{self, Stream};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::super::beginning::{self, Begun};
use super::super::context::RequestContext;
use super::super::following::{Ending, Event, Following, OperationEnd};
use super::super::problem::{self, Problem};
use super::super::read::Asked;
use super::super::request_log::Line;
use super::super::respond::{in_batch, is_refused};
use super::super::router::AppState;
use crate::graphql::answer::AnswerSize;
use crate::observe::RequestMarks;

/// What an operation tells its client.
pub(super) enum Told {
    /// A response in JSON.
    Next(Arc<str>),
    /// The errors by which it ended.
    Error(Value),
    /// The same, and nobody who came with the token may go on.
    Unauthenticated(Value),
    Complete,
}

pub(super) struct Operation {
    pub state: AppState,
    pub context: RequestContext,
    pub marks: Arc<RequestMarks>,
    pub end: Arc<OperationEnd>,
    /// Told when the operation is gone.
    pub line: Option<Line>,
    pub stage: Stage,
}

pub(super) enum Stage {
    /// With the turn that it takes until it is answered or followed.
    Asked(Box<Asked>, OwnedSemaphorePermit),
    Followed(Box<Following>),
    /// It was answered; what counts the answer goes once it is sent.
    Answered(Arc<AnswerSize>),
    Ended,
}

impl Operation {
    /// Does something only while it is asked for the next.
    pub fn into_stream(self) -> impl Stream<Item = Told> {
        stream::unfold(self, async |mut operation| {
            let told = operation.next().await?;
            Some((told, operation))
        })
    }

    async fn next(&mut self) -> Option<Told> {
        let stage = std::mem::replace(&mut self.stage, Stage::Ended);
        let mut following = match stage {
            Stage::Asked(asked, turn) => {
                // In memory of its own, which is given back when it has begun.
                let begun = Box::pin(self.begin(*asked)).await;
                drop(turn);
                match begun {
                    Ok(Begun::Following(following)) => following,
                    Ok(Begun::Refused(response)) => return Some(self.fail(&response)),
                    Ok(Begun::Once(response, _)) if is_refused(&response) => {
                        return Some(self.fail(&response));
                    }
                    Ok(Begun::Once(response, size)) => match in_batch(&response) {
                        Ok(json) => {
                            self.stage = Stage::Answered(size);
                            return Some(Told::Next(json.into()));
                        }
                        Err(problem) => return Some(self.refuse(&problem)),
                    },
                    Err(problem) => return Some(self.refuse(&problem)),
                }
            }
            Stage::Followed(following) => following,
            Stage::Answered(size) => {
                drop(size);
                self.end.complete();
                return Some(Told::Complete);
            }
            Stage::Ended => return None,
        };
        Some(match following.next().await {
            Event::Next(json) => {
                self.stage = Stage::Followed(following);
                Told::Next(json)
            }
            // The connection ends: a client that were told of an end would not begin anew elsewhere.
            Event::End(Ending::Stopping) => std::future::pending().await,
            Event::End(Ending::Unauthenticated(response)) => {
                Told::Unauthenticated(json!(response.errors))
            }
            Event::End(Ending::Failed(problem)) => Told::Error(problem.errors()),
        })
    }

    async fn begin(&mut self, asked: Asked) -> Result<Begun, Problem> {
        self.state.admission.count(&self.context)?;
        let begin = beginning::begin(&self.state, &self.context, asked, false, &self.end);
        let begun = AssertUnwindSafe(Arc::clone(&self.marks).during(begin)).catch_unwind().await;
        if let Some(line) = &mut self.line {
            line.set_answered();
        }
        begun.unwrap_or_else(|panic| {
            drop(problem::panicked(panic));
            Err(Problem::internal())
        })
    }

    fn fail(&self, response: &Response) -> Told {
        self.end.complete();
        Told::Error(json!(response.errors))
    }

    fn refuse(&self, problem: &Problem) -> Told {
        self.end.add_code(problem.code());
        self.end.complete();
        Told::Error(problem.errors())
    }
}
