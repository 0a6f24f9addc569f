//! A subscription that goes on. Its stream does something only while the client takes what it has: the
//! next event is not asked for before the last was taken, so that a slow client costs nothing.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_graphql::Response;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream};
use tokio::time::{Instant, Interval, interval_at, sleep};

use super::context::RequestContext;
use super::problem::{self, Problem};
use super::respond::{Outcome, failed, finish_errors, in_batch};
use super::router::AppState;
use super::subscriptions::Place;
use super::template::Template;
use crate::domain::access::Caller;
use crate::error::Error;
use crate::graphql::schema;
use crate::graphql::subscription::source::{Due, Source};
use crate::observe::RequestMarks;

/// The end of a stream. Without a line of data a browser would not tell of it.
pub(super) const COMPLETE: &str = "event: complete\ndata:\n\n";
/// Keeps proxies from closing a stream on which nothing happens.
const COMMENT: &str = ":\n\n";
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// How often it is asked whether the caller's token still holds, however seldom events come.
const ASK_CALLER_EVERY: Duration = Duration::from_secs(2);

/// A result as an event.
pub(super) fn next_event(response: &Response) -> String {
    next_of(&in_batch(response).unwrap_or_else(|problem| problem.body().to_string()))
}

/// JSON has its line breaks escaped, so that one line of data is enough.
fn next_of(json: &str) -> String {
    format!("event: next\ndata: {json}\n\n")
}

/// What the log tells of a stream once it has ended; it stands in the extensions of the response.
pub(super) struct StreamEnd {
    outcome: Mutex<Outcome>,
    completed: AtomicBool,
}

impl StreamEnd {
    pub fn new(outcome: Outcome) -> Self {
        Self { outcome: Mutex::new(outcome), completed: AtomicBool::new(false) }
    }

    pub fn outcome(&self) -> Outcome {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the stream ended by itself; otherwise its client went away.
    pub fn is_completed(&self) -> bool {
        self.completed.load(Ordering::Relaxed)
    }
}

/// What the events of a stream share.
pub(super) struct Followed {
    pub state: AppState,
    pub context: RequestContext,
    pub asked: Template,
    pub end: Arc<StreamEnd>,
}

/// What is told of an event.
enum Told {
    /// An answer without errors, perhaps executed for another subscription.
    Shared(Arc<str>),
    Own(Box<Response>),
}

impl Followed {
    /// What is told of the event that is due. An error where the caller may not ask any more.
    async fn answer(self: Arc<Self>, due: Due) -> Result<Option<Told>, Error> {
        let answered = match tokio::time::timeout(self.state.timeout, self.find(&due)).await {
            Ok(found) => found?,
            Err(_) => Some(Told::Own(Box::new(failed(&Error::Timeout)))),
        };
        Ok(answered.map(|told| match told {
            Told::Own(mut response) => {
                finish_errors(&mut response, self.asked.text(), &self.context.id);
                Told::Own(response)
            }
            shared => shared,
        }))
    }

    /// The answer that somebody else who asks the same has, or one of its own.
    async fn find(&self, due: &Due) -> Result<Option<Told>, Error> {
        // The moment at which it is answered, not the one at which it began to wait.
        let mut context = self.context.clone();
        context.caller = self.caller().await?;
        let execute = async || {
            let response = self.execute(&context, due).await;
            match response.as_ref().map(|response| (response.errors.is_empty(), in_batch(response)))
            {
                Some((true, Ok(text))) => Ok(Arc::<str>::from(text)),
                // An error is told with the id of the request that met it.
                _ => Err(response),
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
            Err(response) => response.map(|response| Told::Own(Box::new(response))),
        })
    }

    async fn execute(&self, context: &RequestContext, due: &Due) -> Option<Response> {
        let state = &self.state;
        let _turn = match self.asked.sharing.may_send_sql(due) {
            true => state.subscriptions.turn().await,
            false => None,
        };
        let outcome = self.end.outcome();
        let observer = &state.services.observer;
        let span = observer.operation_span(outcome.kind, outcome.operation.as_deref());
        let (asking, request) = (state.asking(context), self.asked.request());
        span.during(schema::answer_event(&state.schema, asking, request, due.clone())).await
    }

    /// Whoever the token or the session stands for now.
    async fn caller(&self) -> Result<Arc<Caller>, Error> {
        let state = &self.state;
        let (db, now) = (&state.services.db, state.clock.now());
        state.tokens.caller_still(db, self.context.proof.as_ref(), now).await
    }

    /// Ends once the caller may not ask any more.
    async fn watch_caller(self: Arc<Self>) -> Error {
        loop {
            sleep(ASK_CALLER_EVERY).await;
            if let Err(ended) = self.caller().await {
                return ended;
            }
        }
    }

    fn event(&self, told: &Told) -> String {
        self.state.services.observer.metrics.subscription_event();
        match told {
            Told::Shared(text) => next_of(text),
            Told::Own(response) => {
                let mut outcome = self.end.outcome.lock().unwrap_or_else(PoisonError::into_inner);
                outcome.add_codes(response);
                next_event(response)
            }
        }
    }
}

type Answer = Result<Result<Option<Told>, Error>, Box<dyn Any + Send>>;

/// A stream and what it waits for.
pub(super) struct Following {
    followed: Arc<Followed>,
    source: Source,
    /// The event that is being answered.
    answering: Option<BoxFuture<'static, Answer>>,
    caller_ended: BoxFuture<'static, Error>,
    comments: Interval,
    marks: Option<Arc<RequestMarks>>,
    _place: Place,
}

/// A part of a stream, and whether others follow.
enum Part {
    More(String),
    Last(String),
}

impl Following {
    pub fn new(followed: Followed, source: Source, place: Place) -> Self {
        let followed = Arc::new(followed);
        Self {
            caller_ended: Arc::clone(&followed).watch_caller().boxed(),
            followed,
            source,
            answering: None,
            comments: interval_at(Instant::now() + COMMENT_EVERY, COMMENT_EVERY),
            marks: RequestMarks::current(),
            _place: place,
        }
    }

    pub fn into_stream(self) -> impl Stream<Item = Result<String, Infallible>> {
        stream::unfold(Some(self), async |following| {
            let mut following = following?;
            let part = match following.marks.clone() {
                Some(marks) => marks.during(following.part()).await,
                None => following.part().await,
            };
            following.comments.reset();
            Some(match part {
                Part::More(text) => (Ok(text), Some(following)),
                Part::Last(text) => {
                    following.followed.end.completed.store(true, Ordering::Relaxed);
                    (Ok(text + COMPLETE), None)
                }
            })
        })
    }

    async fn part(&mut self) -> Part {
        let mut stopping = self.followed.state.stopping.clone();
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
                // An error means that nobody is left who could tell, which is an end as well.
                _ = stopping.wait_for(|stopping| *stopping) => return Part::Last(String::new()),
                ended = &mut self.caller_ended => return self.last(failed(&ended)),
                answer = answered => {
                    self.answering = None;
                    match answer {
                        Ok(Ok(Some(told))) => return Part::More(self.followed.event(&told)),
                        Ok(Ok(None)) => {}
                        Ok(Err(ended)) => return self.last(failed(&ended)),
                        Err(panic) => {
                            // It is logged as any other; the answer is of no use on a stream.
                            drop(problem::panicked(panic));
                            return Part::Last(next_of(&Problem::internal().body().to_string()));
                        }
                    }
                }
                due = self.source.next(), if idle => {
                    let answer = AssertUnwindSafe(Arc::clone(&self.followed).answer(due));
                    self.answering = Some(answer.catch_unwind().boxed());
                }
                _ = self.comments.tick() => return Part::More(COMMENT.to_owned()),
            }
        }
    }

    fn last(&self, response: Response) -> Part {
        Part::Last(self.followed.event(&Told::Own(Box::new(response))))
    }
}
