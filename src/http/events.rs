//! The text of server-sent events, as the graphql-sse protocol has them.

use std::convert::Infallible;
use std::time::Duration;

use async_graphql::Response;
use futures_util::stream::{self, Stream};
use tokio::time::{Instant, interval_at};

use super::following::{Ending, Event, Following};
use super::respond::in_batch;

/// The end of a stream. Without a line of data a browser would not tell of it.
const COMPLETE: &str = "event: complete\ndata:\n\n";
/// Keeps proxies from closing a stream on which nothing happens, and tells a client that is gone.
const COMMENT: &str = ":\n\n";
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// The stream of a single response.
pub(super) fn only(response: &Response) -> String {
    next_event(response) + COMPLETE
}

fn next_event(response: &Response) -> String {
    next_of(&in_batch(response).unwrap_or_else(|problem| problem.body().to_string()))
}

/// JSON has its line breaks escaped, so that one line of data is enough.
fn next_of(json: &str) -> String {
    format!("event: next\ndata: {json}\n\n")
}

/// The stream of a subscription, whose client may be silent for `patience`. Where the server stops it is
/// not complete: it just ends, so that a client connects anew.
pub(super) fn stream(
    following: Following,
    patience: Duration,
) -> impl Stream<Item = Result<String, Infallible>> {
    let every = COMMENT_EVERY.min(patience);
    let comments = interval_at(Instant::now() + every, every);
    stream::unfold(Some((following, comments)), async |streaming| {
        let (mut following, mut comments) = streaming?;
        let event = tokio::select! {
            biased;
            event = following.next() => event,
            _ = comments.tick() => return Some((Ok(COMMENT.to_owned()), Some((following, comments)))),
        };
        comments.reset();
        let last = match event {
            Event::Next(json) => return Some((Ok(next_of(&json)), Some((following, comments)))),
            Event::End(Ending::Stopping) => return None,
            Event::End(Ending::Unauthenticated(response)) => next_event(&response),
            Event::End(Ending::Failed(problem)) => next_of(&problem.body().to_string()),
        };
        Some((Ok(last + COMPLETE), None))
    })
}
