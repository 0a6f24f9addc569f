//! What the server tells about itself: metrics, traces, slow statements, and the request that they
//! belong to. Names, numbers and texts of statements alone; never a value, a key or a token.

mod collector;
mod jobs;
pub mod log_filter;
pub mod metrics;
mod process;
pub mod redact;
pub mod request;
mod statement;
mod tail;
mod trace;

use std::time::Duration;

pub use metrics::Metrics;
pub use request::RequestMarks;
pub use statement::{StatementWatch, milliseconds};
pub use trace::{TraceSpan, Tracing};

/// Whom the floors tell what they do.
#[derive(Debug, Default)]
pub struct Observer {
    pub metrics: Metrics,
    /// Statements that take as long are logged with their text.
    pub slow: Option<Duration>,
    /// Where traces go, if anywhere.
    pub tracing: Option<Tracing>,
}
