//! The event stream of a subscription, independent of its transport. It is pull-based: the next event is
//! executed only after the transport has taken the last one, so that a slow client costs no work.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use async_graphql::Response;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::credential_checks::CredentialWatch;
use super::limits::SubscriptionPermit;
use super::template::Template;
use crate::error::Error;
use crate::graphql::answer::AnswerSize;
use crate::graphql::schema;
use crate::graphql::subscription::{EventSource, SourceEvent};
use crate::http::context::RequestContext;
use crate::http::graphql::respond::{error_response, finish_errors, to_json};
use crate::http::outcome::OperationStatus;
use crate::http::problem::{self, Problem};
use crate::http::state::AppState;
use crate::observe::RequestMarks;

/// Longer payloads are not shared with other subscriptions.
const MAX_SHARED_BYTES: usize = 64 << 10;

/// Executes the events of one subscription.
pub(crate) struct EventExecutor {
    pub state: AppState,
    pub context: RequestContext,
    pub template: Template,
    pub status: Arc<OperationStatus>,
}

/// The payload of an event.
enum EventPayload {
    /// JSON of a response without errors, possibly executed for another subscription.
    Shared(Arc<str>),
    /// A response of this subscription. `AnswerSize` is held until it is sent.
    Own(Box<Response>, Option<Arc<AnswerSize>>),
}

impl EventExecutor {
    /// The payload of an event; `None` if the event does not match the subscription. Fails if the
    /// credentials were revoked.
    async fn answer(self: Arc<Self>, event: SourceEvent) -> Result<Option<EventPayload>, Error> {
        let payload = match tokio::time::timeout(self.state.timeout, self.payload(&event)).await {
            Ok(payload) => payload?,
            Err(_) => Some(EventPayload::Own(Box::new(error_response(&Error::Timeout)), None)),
        };
        Ok(payload.map(|payload| match payload {
            EventPayload::Own(mut response, size) => {
                finish_errors(&mut response, self.template.text(), &self.context.id);
                EventPayload::Own(response, size)
            }
            shared => shared,
        }))
    }

    /// Takes the payload from the cache of shared answers, or executes the event.
    async fn payload(&self, event: &SourceEvent) -> Result<Option<EventPayload>, Error> {
        // Checked at the time of execution, not when the wait for the event started.
        let mut context = self.context.clone();
        let proof = self.context.proof.as_ref();
        context.caller = self.state.credential_checks.current_caller(proof).await?;
        let execute = async || {
            let (response, size) = self.execute(&context, event).await;
            match response.as_ref().map(|response| (response.errors.is_empty(), to_json(response)))
            {
                Some((true, Ok(text))) if text.len() <= MAX_SHARED_BYTES => {
                    Ok(Arc::<str>::from(text))
                }
                // Errors contain the id of their own request and are not shared.
                _ => Err((response, size)),
            }
        };
        let answer = match self.template.sharing.key(event, &context.caller) {
            Some(key) => {
                let cell = self.state.subscriptions.answers.get(key);
                cell.get_or_try_init(execute).await.cloned()
            }
            None => Err(self.execute(&context, event).await),
        };
        Ok(match answer {
            Ok(text) => Some(EventPayload::Shared(text)),
            Err((response, size)) => {
                response.map(|response| EventPayload::Own(Box::new(response), Some(size)))
            }
        })
    }

    async fn execute(
        &self,
        context: &RequestContext,
        event: &SourceEvent,
    ) -> (Option<Response>, Arc<AnswerSize>) {
        let state = &self.state;
        let size = state.answers.start();
        let _permit = match self.template.sharing.may_send_sql(event) {
            true => state.subscriptions.acquire_execution().await,
            false => None,
        };
        let outcome = self.status.outcome();
        let observer = &state.services.observer;
        let span = observer.operation_span(outcome.kind, outcome.operation.as_deref());
        let (info, request) = (state.request_info(context, &size), self.template.request());
        let execution = schema::answer_event(&state.schema, info, request, event.clone());
        let response = span.during(execution).await;
        let refused = size.refusal();
        (response.map(|response| refused.map_or(response, |error| error_response(&error))), size)
    }
}

type ExecutionResult = Result<Result<Option<EventPayload>, Error>, Box<dyn Any + Send>>;

/// The events of a subscription.
pub(crate) struct EventStream {
    executor: Arc<EventExecutor>,
    source: EventSource,
    /// The event that is being executed.
    execution: Option<BoxFuture<'static, ExecutionResult>>,
    credentials: CredentialWatch,
    marks: Option<Arc<RequestMarks>>,
    /// Memory of the last event, held until the next one is requested: it is sent by then.
    last: Option<Arc<AnswerSize>>,
    _permit: SubscriptionPermit,
}

pub(crate) enum Event {
    /// A response in JSON.
    Next(Arc<str>),
    /// The last event.
    End(EndReason),
}

/// Why a subscription ends.
pub(crate) enum EndReason {
    ServerStopping,
    /// The credentials were revoked.
    Unauthenticated(Box<Response>),
    /// An internal error.
    Failed(Problem),
}

impl EventStream {
    pub fn new(executor: EventExecutor, source: EventSource, permit: SubscriptionPermit) -> Self {
        let checks = &executor.state.credential_checks;
        Self {
            credentials: checks.watch(executor.context.proof.as_ref()),
            executor: Arc::new(executor),
            source,
            execution: None,
            marks: RequestMarks::current(),
            last: None,
            _permit: permit,
        }
    }

    /// The next event. Dropping the future loses no event. Must not be called after [`Event::End`].
    pub async fn next(&mut self) -> Event {
        drop(self.last.take());
        match self.marks.clone() {
            Some(marks) => marks.during(self.wait()).await,
            None => self.wait().await,
        }
    }

    async fn wait(&mut self) -> Event {
        let mut stopped = pin!(self.executor.state.stopped());
        loop {
            let is_idle = self.execution.is_none();
            let executed = async {
                match &mut self.execution {
                    Some(execution) => execution.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut stopped => return self.end(EndReason::ServerStopping),
                error = self.credentials.revoked() => return self.unauthenticated(&error),
                result = executed => {
                    self.execution = None;
                    match result {
                        Ok(Ok(Some(payload))) => return self.event(payload),
                        Ok(Ok(None)) => {}
                        Ok(Err(error)) => return self.unauthenticated(&error),
                        Err(panic) => {
                            // Only logs the panic; the HTTP response is not used.
                            drop(problem::panicked(panic));
                            return self.end(EndReason::Failed(Problem::internal()));
                        }
                    }
                }
                event = self.source.next(), if is_idle => {
                    let execution = AssertUnwindSafe(Arc::clone(&self.executor).answer(event));
                    self.execution = Some(execution.catch_unwind().boxed());
                }
            }
        }
    }

    fn event(&mut self, payload: EventPayload) -> Event {
        self.executor.state.services.observer.metrics.subscription_event();
        Event::Next(match payload {
            EventPayload::Shared(text) => text,
            EventPayload::Own(response, size) => {
                self.last = size;
                self.executor.status.add_codes(&response);
                match to_json(&response) {
                    Ok(json) => json.into(),
                    Err(problem) => problem.body().to_string().into(),
                }
            }
        })
    }

    fn unauthenticated(&self, error: &Error) -> Event {
        let response = error_response(error);
        self.executor.status.add_codes(&response);
        self.end(EndReason::Unauthenticated(Box::new(response)))
    }

    fn end(&self, reason: EndReason) -> Event {
        if let EndReason::Failed(problem) = &reason {
            self.executor.status.add_code(problem.code());
        }
        self.executor.status.complete();
        Event::End(reason)
    }
}
