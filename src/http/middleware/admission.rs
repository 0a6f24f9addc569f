//! Admission control: concurrent requests of the server, requests per minute of each client, and
//! concurrent row streams. A request above a limit is rejected at once; there is no queue.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;

use super::fair_share::{Exhausted, FairShares, Share};
use super::rate::Rate;
use crate::config::ServerConfig;
use crate::http::client::ClientKey;
use crate::http::context::RequestContext;
use crate::http::problem::Problem;

/// `Retry-After` for a client that has too many streams.
const STREAM_RETRY: Duration = Duration::from_secs(10);

const RATE_LIMITED: &str = "rate limit exceeded; retry after Retry-After";

/// The limits of the whole server.
pub struct Admission {
    requests: Arc<FairShares>,
    streams: Arc<FairShares>,
    rate: Option<Rate>,
    /// Limits the invalid credentials of each address.
    failures: Option<Rate>,
}

impl Admission {
    pub fn new(config: &ServerConfig) -> Self {
        let rate = |per_minute: u32| (per_minute > 0).then(|| Rate::per_minute(per_minute));
        let requests = config.max_concurrent_requests as usize;
        Self {
            requests: FairShares::new(requests, requests),
            streams: FairShares::new(requests, config.max_streams as usize),
            rate: rate(config.max_requests_per_minute),
            failures: rate(config.max_auth_failures_per_minute),
        }
    }

    /// Acquires a request slot, held until the response is ready. Call it after the body was read: a slow
    /// upload must not hold a slot.
    pub(crate) fn acquire_request(&self, context: &RequestContext) -> Result<Share, Problem> {
        let mut slot = self.requests.share(context.client());
        slot.resize(1).map_err(|_| Problem::busy())?;
        Ok(slot)
    }

    /// Counts one request of a client and rejects it above the rate limit.
    pub(crate) fn check_rate(&self, context: &RequestContext) -> Result<(), Problem> {
        check_bucket(self.rate.as_ref(), context.client(), RATE_LIMITED)
    }

    /// The response to an invalid token. The request counts against its address.
    pub(crate) fn reject_credentials(&self, address: IpAddr) -> Problem {
        let counted = check_bucket(self.rate.as_ref(), ClientKey::of(address), RATE_LIMITED);
        match counted.and_then(|()| self.check_failure_rate(address)) {
            Ok(()) => Problem::unauthenticated(),
            Err(limited) => limited,
        }
    }

    /// Counts invalid credentials of an address and rejects the request above the limit.
    pub(crate) fn check_failure_rate(&self, address: IpAddr) -> Result<(), Problem> {
        let message = "too many invalid credentials from this address; send a valid token, or retry \
                       after Retry-After";
        check_bucket(self.failures.as_ref(), ClientKey::of(address), message)
    }

    /// Acquires a slot for a stream of rows, held until the stream ends. Streams have as many slots as
    /// requests, separate from those, and a limit per client.
    pub(crate) fn acquire_stream(&self, context: &RequestContext) -> Result<Share, Problem> {
        let mut slot = self.streams.share(context.client());
        match slot.resize(1) {
            Ok(()) => Ok(slot),
            Err(Exhausted::Server) => Err(Problem::busy()),
            Err(Exhausted::Client) => {
                let message = "too many streams of this token or address; end one of them, or retry \
                               after Retry-After";
                Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_STREAMS", message)
                    .retry_after(STREAM_RETRY))
            }
        }
    }
}

/// Counts one request, if there is a limit.
fn check_bucket(rate: Option<&Rate>, client: ClientKey, message: &str) -> Result<(), Problem> {
    let Some(rate) = rate else { return Ok(()) };
    rate.take(client, Instant::now()).map_err(|wait| {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message).retry_after(wait)
    })
}
