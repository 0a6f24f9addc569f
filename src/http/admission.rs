//! Who may come in now: so many requests at the same time, and so many in a minute for each caller.
//! What is too much is refused at once, since a queue would only fill.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;

use super::context::RequestContext;
use super::problem::Problem;
use super::rate::{Rate, Sender};
use super::share::{Exhausted, Share, Shares};
use crate::config::ServerConfig;

/// After which a stream of the same caller may have ended.
const STREAM_RETRY: Duration = Duration::from_secs(10);

/// What admits requests; one for the whole server.
pub struct Admission {
    requests: Arc<Shares>,
    streams: Arc<Shares>,
    rate: Option<Rate>,
    /// Of credentials that are not valid.
    failures: Option<Rate>,
}

impl Admission {
    pub fn new(config: &ServerConfig) -> Self {
        let rate = |per_minute: u32| (per_minute > 0).then(|| Rate::per_minute(per_minute));
        let places = config.max_concurrent_requests as usize;
        Self {
            requests: Shares::new(places, places),
            streams: Shares::new(places, config.max_streams as usize),
            rate: rate(config.max_requests_per_minute),
            failures: rate(config.max_auth_failures_per_minute),
        }
    }

    /// A place for one request, to be kept until it is answered. It is taken when the body was read:
    /// a body that arrives slowly must not keep others out.
    pub(super) fn enter(&self, context: &RequestContext) -> Result<Share, Problem> {
        let mut place = self.requests.share(sender(context));
        place.resize(1).map_err(|_| Problem::busy())?;
        Ok(place)
    }

    /// Counts one more request of a caller, and refuses it where that is one too many.
    pub(super) fn count(&self, context: &RequestContext) -> Result<(), Problem> {
        let message = "rate limit exceeded; send the request again after Retry-After";
        take(self.rate.as_ref(), sender(context), message)
    }

    /// The answer to a token that is not valid. The request counts against its address.
    pub(super) fn refuse_credentials(&self, address: IpAddr) -> Problem {
        let message = "rate limit exceeded; send the request again after Retry-After";
        let counted = take(self.rate.as_ref(), Sender::of(address), message);
        match counted.and_then(|()| self.count_failure(address)) {
            Ok(()) => Problem::unauthenticated(),
            Err(limited) => limited,
        }
    }

    /// Counts credentials of an address that are not valid, and refuses them where they are too many.
    pub(super) fn count_failure(&self, address: IpAddr) -> Result<(), Problem> {
        let message = "too many credentials of this address were not valid; send a valid token, or \
                       try again after Retry-After";
        take(self.failures.as_ref(), Sender::of(address), message)
    }

    /// Room for one stream of rows, as long as it lasts. There is as much of it as for requests,
    /// besides those, and each caller has a part: slow streams keep out only streams of their caller.
    pub(super) fn enter_stream(&self, context: &RequestContext) -> Result<Share, Problem> {
        let mut place = self.streams.share(sender(context));
        match place.resize(1) {
            Ok(()) => Ok(place),
            Err(Exhausted::Server) => Err(Problem::busy()),
            Err(Exhausted::Sender) => {
                let message = "this token or address has as many streams as it may; end one of them, \
                               or try again after Retry-After";
                Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_STREAMS", message)
                    .retry_after(STREAM_RETRY))
            }
        }
    }
}

/// Takes one out of a bucket where there is a limit.
fn take(rate: Option<&Rate>, sender: Sender, message: &str) -> Result<(), Problem> {
    let Some(rate) = rate else { return Ok(()) };
    rate.take(sender, Instant::now()).map_err(|wait| {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message).retry_after(wait)
    })
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
