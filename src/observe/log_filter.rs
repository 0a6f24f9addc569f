//! What the log never takes, whatever filter the operator sets. At the level TRACE, libraries log what
//! they carry: tungstenite each WebSocket message, and so the token of `connection_init`.

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;

/// Caps libraries at DEBUG. Callscope's own TRACE lines hold no secrets.
pub fn cap_libraries<S: Subscriber>() -> impl Layer<S> {
    filter_fn(|metadata: &Metadata<'_>| {
        *metadata.level() <= Level::DEBUG || is_own(metadata.target())
    })
}

fn is_own(target: &str) -> bool {
    target.split("::").next() == Some(env!("CARGO_CRATE_NAME"))
}
