//! Excludes log lines of libraries that may contain secrets, for every configured filter. At the level
//! TRACE, libraries log payloads: tungstenite logs each WebSocket message, including the token in
//! `connection_init`.

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;

/// Limits libraries to DEBUG. Callscope's own TRACE lines contain no secrets.
pub fn cap_libraries<S: Subscriber>() -> impl Layer<S> {
    filter_fn(|metadata: &Metadata<'_>| {
        *metadata.level() <= Level::DEBUG || is_own(metadata.target())
    })
}

fn is_own(target: &str) -> bool {
    target.split("::").next() == Some(env!("CARGO_CRATE_NAME"))
}
