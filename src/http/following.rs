//! A subscription that goes on, whatever carries its events. It does something only while the client
//! takes what it has: the next event is not asked for before the last was taken, so that a slow client
//! costs nothing.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::Response;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::callers::CallerWatch;
use super::context::RequestContext;
use super::problem::{self, Problem};
use super::respond::{Outcome, failed, finish_errors, in_batch};
use super::router::AppState;
use super::subscriptions::Place;
use super::template::Template;
use crate::error::Error;
use crate::graphql::answer::AnswerSize;
use crate::graphql::schema;
use crate::graphql::subscription::source::{Due, Source};
use crate::observe::RequestMarks;

/// A longer answer is not kept for other subscriptions.
const MAX_SHARED_BYTES: usize = 64 << 10;

/// What the log tells of an operation once it has ended.
#[derive(Default)]
pub(super) struct OperationEnd {
    outcome: Mutex<Outcome>,
    completed: AtomicBool,
}

impl OperationEnd {
    pub fn outcome(&self) -> Outcome {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_outcome(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
    }

    pub fn add_codes(&self, response: &Response) {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).add_codes(response);
    }

    pub fn add_code(&self, code: &str) {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).add_code(code);
    }

    /// It ended by itself, or as its client wished.
    pub fn complete(&self) {
        self.completed.store(true, Ordering::Relaxed);
    }

    /// Whether it did; otherwise its client went away.
    pub fn is_completed(&self) -> bool {
        self.completed.load(Ordering::Relaxed)
    }
}

/// What the events of a subscription share.
pub(super) struct Followed {
    pub state: AppState,
    pub context: RequestContext,
    pub asked: Template,
    pub end: Arc<OperationEnd>,
}

/// What is told of an event.
enum Told {
    /// An answer without errors, perhaps executed for another subscription.
    Shared(Arc<str>),
    /// With what counts it until it is sent.
    Own(Box<Response>, Option<Arc<AnswerSize>>),
}

impl Followed {
    /// What is told of the event that is due. An error where the caller may not ask any more.
    async fn answer(self: Arc<Self>, due: Due) -> Result<Option<Told>, Error> {
        let answered = match tokio::time::timeout(self.state.timeout, self.find(&due)).await {
            Ok(found) => found?,
            Err(_) => Some(Told::Own(Box::new(failed(&Error::Timeout)), None)),
        };
        Ok(answered.map(|told| match told {
            Told::Own(mut response, size) => {
                finish_errors(&mut response, self.asked.text(), &self.context.id);
                Told::Own(response, size)
            }
            shared => shared,
        }))
    }

    /// The answer that somebody else who asks the same has, or one of its own.
    async fn find(&self, due: &Due) -> Result<Option<Told>, Error> {
        // The moment at which it is answered, not the one at which it began to wait.
        let mut context = self.context.clone();
        context.caller = self.state.callers.caller_still(self.context.proof.as_ref()).await?;
        let execute = async || {
            let (response, size) = self.execute(&context, due).await;
            match response.as_ref().map(|response| (response.errors.is_empty(), in_batch(response)))
            {
                Some((true, Ok(text))) if text.len() <= MAX_SHARED_BYTES => {
                    Ok(Arc::<str>::from(text))
                }
                // An error is told with the id of the request that met it.
                _ => Err((response, size)),
            }
        };
        let answered = match self.asked.sharing.of_row(due, &context.caller) {
            Some(shared) => {
                let answer = self.state.subscriptions.shared.answer(shared);
                answer.get_or_try_init(execute).await.cloned()
            }
            None => Err(self.execute(&context, due).await),
        };
        Ok(match answered {
            Ok(text) => Some(Told::Shared(text)),
            Err((response, size)) => {
                response.map(|response| Told::Own(Box::new(response), Some(size)))
            }
        })
    }

    async fn execute(
        &self,
        context: &RequestContext,
        due: &Due,
    ) -> (Option<Response>, Arc<AnswerSize>) {
        let state = &self.state;
        let size = state.answers.start();
        let _turn = match self.asked.sharing.may_send_sql(due) {
            true => state.subscriptions.turn().await,
            false => None,
        };
        let outcome = self.end.outcome();
        let observer = &state.services.observer;
        let span = observer.operation_span(outcome.kind, outcome.operation.as_deref());
        let (asking, request) = (state.asking(context, &size), self.asked.request());
        let answering = schema::answer_event(&state.schema, asking, request, due.clone());
        let response = span.during(answering).await;
        (response.map(|response| size.refusal().map_or(response, |error| failed(&error))), size)
    }
}

type Answer = Result<Result<Option<Told>, Error>, Box<dyn Any + Send>>;

/// A subscription and what it waits for.
pub(super) struct Following {
    followed: Arc<Followed>,
    source: Source,
    /// The event that is being answered.
    answering: Option<BoxFuture<'static, Answer>>,
    caller: CallerWatch,
    marks: Option<Arc<RequestMarks>>,
    /// What counts the last event until the next one is asked for: it is sent by then.
    last: Option<Arc<AnswerSize>>,
    _place: Place,
}

/// What a subscription tells.
pub(super) enum Event {
    /// A response in JSON.
    Next(Arc<str>),
    /// Nothing follows.
    End(Ending),
}

/// Why a subscription ends.
pub(super) enum Ending {
    /// The server stops.
    Stopping,
    /// The caller may not ask any more.
    Unauthenticated(Box<Response>),
    /// By a fault of ours.
    Failed(Problem),
}

impl Following {
    pub fn new(followed: Followed, source: Source, place: Place) -> Self {
        Self {
            caller: followed.state.callers.watch(followed.context.proof.as_ref()),
            followed: Arc::new(followed),
            source,
            answering: None,
            marks: RequestMarks::current(),
            last: None,
            _place: place,
        }
    }

    /// The next event. A future that is dropped loses none. After the end there is nothing to ask for.
    pub async fn next(&mut self) -> Event {
        drop(self.last.take());
        match self.marks.clone() {
            Some(marks) => marks.during(self.wait()).await,
            None => self.wait().await,
        }
    }

    async fn wait(&mut self) -> Event {
        let mut stopped = pin!(self.followed.state.stopped());
        loop {
            let idle = self.answering.is_none();
            let answered = async {
                match &mut self.answering {
                    Some(answering) => answering.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut stopped => return self.end(Ending::Stopping),
                ended = self.caller.ended() => return self.unauthenticated(&ended),
                answer = answered => {
                    self.answering = None;
                    match answer {
                        Ok(Ok(Some(told))) => return self.event(told),
                        Ok(Ok(None)) => {}
                        Ok(Err(ended)) => return self.unauthenticated(&ended),
                        Err(panic) => {
                            // It is logged as any other; the answer is of no use here.
                            drop(problem::panicked(panic));
                            return self.end(Ending::Failed(Problem::internal()));
                        }
                    }
                }
                due = self.source.next(), if idle => {
                    let answer = AssertUnwindSafe(Arc::clone(&self.followed).answer(due));
                    self.answering = Some(answer.catch_unwind().boxed());
                }
            }
        }
    }

    fn event(&mut self, told: Told) -> Event {
        self.followed.state.services.observer.metrics.subscription_event();
        Event::Next(match told {
            Told::Shared(text) => text,
            Told::Own(response, size) => {
                self.last = size;
                self.followed.end.add_codes(&response);
                match in_batch(&response) {
                    Ok(json) => json.into(),
                    Err(problem) => problem.body().to_string().into(),
                }
            }
        })
    }

    fn unauthenticated(&self, ended: &Error) -> Event {
        let response = failed(ended);
        self.followed.end.add_codes(&response);
        self.end(Ending::Unauthenticated(Box::new(response)))
    }

    fn end(&self, why: Ending) -> Event {
        if let Ending::Failed(problem) = &why {
            self.followed.end.add_code(problem.code());
        }
        self.followed.end.complete();
        Event::End(why)
    }
}
