//! Metrics, traces, the log of slow statements, and the request that they belong to. They contain names,
//! numbers and texts of statements; never a value, a key or a token.

mod collector;
mod jobs;
pub mod log_filter;
pub mod metrics;
mod process;
pub mod redact;
pub mod request;
mod rollup;
mod statement;
mod tail;
mod trace;

use std::time::Duration;

pub use metrics::Metrics;
pub use request::RequestMarks;
pub use statement::{StatementWatch, milliseconds};
pub use trace::{TraceSpan, Tracing};

/// Metrics, slow-statement log and tracing.
#[derive(Debug, Default)]
pub struct Observer {
    pub metrics: Metrics,
    /// Statements that take at least this long are logged with their text.
    pub slow: Option<Duration>,
    /// The exporter of traces, if tracing is enabled.
    pub tracing: Option<Tracing>,
}
