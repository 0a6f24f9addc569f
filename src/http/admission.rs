//! Who may come in now: so many requests at the same time, and so many in a minute for each caller.
//! What is too much is refused at once, since a queue would only fill.

use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::context::RequestContext;
use super::problem::Problem;
use super::rate::{Rate, Sender};
use super::room::{Place, Room};
use crate::config::ServerConfig;

/// What admits requests; one for the whole server.
pub struct Admission {
    requests: Arc<Room>,
    streams: Semaphore,
    rate: Option<Rate>,
}

impl Admission {
    pub fn new(config: &ServerConfig) -> Self {
        let per_minute = config.max_requests_per_minute;
        Self {
            requests: Room::new(config.max_concurrent_requests as usize),
            streams: Semaphore::new(config.max_concurrent_requests as usize),
            rate: (per_minute > 0).then(|| Rate::per_minute(per_minute)),
        }
    }

    /// A place for one request, to be kept until it is answered. It is taken when the body was read:
    /// a body that arrives slowly must not keep others out.
    pub(super) fn enter(&self, context: &RequestContext) -> Result<Place, Problem> {
        self.requests.enter(sender(context)).ok_or_else(Problem::busy)
    }

    /// Counts one more request of a caller, and refuses it where that is one too many.
    pub(super) fn count(&self, context: &RequestContext) -> Result<(), Problem> {
        let Some(rate) = &self.rate else { return Ok(()) };
        rate.take(sender(context), Instant::now()).map_err(|wait| {
            let message = "this is one request too many; Retry-After says when to come again";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message).retry_after(wait)
        })
    }

    /// Room for one stream of rows, as long as it lasts. There are as many as of requests, besides
    /// those: streams that come slowly keep out nothing but others of their kind.
    pub(super) fn enter_stream(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.streams.try_acquire().map_err(|_| Problem::busy())
    }
}

/// Whose share a request takes.
pub(super) fn sender(context: &RequestContext) -> Sender {
    match context.caller.is_anonymous() {
        true => Sender::of(context.address),
        false => Sender::Token(context.caller.name.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::{Caller, Scopes};

    #[test]
    fn a_token_is_one_sender_wherever_it_is_used() {
        let sent = |name: &str, address: &str| {
            let caller = Caller { name: name.to_owned(), scopes: Scopes::all() };
            sender(&RequestContext {
                id: "1".into(),
                address: address.parse().unwrap(),
                caller: Arc::new(caller),
                proof: None,
            })
        };
        assert_eq!(sent("ci", "10.0.0.1"), sent("ci", "10.0.0.2"));
        assert_ne!(sent("ci", "10.0.0.1"), sent("dashboard", "10.0.0.1"));
        assert_ne!(sent("anonymous", "10.0.0.1"), sent("anonymous", "10.0.0.2"));
        assert_ne!(sent("ci", "10.0.0.1"), sent("anonymous", "10.0.0.1"));
    }
}
