//! Measures a statement: its duration, its rows and whether it failed. Logs and traces contain its text,
//! in which values are placeholders.

use std::time::{Duration, Instant};

use super::{Observer, RequestMarks, TraceSpan};

/// Longer texts are truncated: a statement with a branch for each key repeats itself.
const MAX_TEXT_LENGTH: usize = 4000;

/// A running statement; dropping it records the metrics.
#[derive(Debug)]
pub struct StatementWatch<'a> {
    observer: &'a Observer,
    name: &'static str,
    text: Option<String>,
    span: TraceSpan,
    sent: Instant,
    took: Option<Duration>,
    /// `None` if the statement failed or was cancelled.
    rows: Option<u64>,
}

impl Observer {
    /// Starts the measurement of a statement. `name` is the same for all variants of the text.
    pub fn statement(&self, name: &'static str, text: &str) -> StatementWatch<'_> {
        self.metrics.statement_started();
        let wanted = self.slow.is_some() || tracing::enabled!(tracing::Level::DEBUG);
        StatementWatch {
            observer: self,
            name,
            text: wanted.then(|| cut(text).to_owned()),
            span: self.statement_span(name, cut(text)),
            sent: Instant::now(),
            took: None,
            rows: None,
        }
    }
}

impl StatementWatch<'_> {
    /// Records that the database returned this number of rows.
    pub fn answered(&mut self, rows: usize) {
        self.took = Some(self.sent.elapsed());
        self.rows = Some(rows as u64);
    }

    /// Sets the number of rows packed into a single JSON row.
    pub fn unpacked(&mut self, rows: usize) {
        self.rows = Some(rows as u64);
    }
}

impl Drop for StatementWatch<'_> {
    fn drop(&mut self) {
        let took = self.took.unwrap_or_else(|| self.sent.elapsed());
        self.observer.metrics.statement_ended(self.name, took, self.rows);
        match self.rows {
            Some(rows) => self.span.set("db.response.returned_rows", rows as i64),
            None => self.span.fail("SQL"),
        }
        let Some(text) = &self.text else { return };
        let slow = self.observer.slow.is_some_and(|slow| took >= slow);
        if !slow && !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let request = RequestMarks::current();
        macro_rules! log {
            ($level:ident, $message:literal) => {
                tracing::$level!(
                    request_id = request.as_ref().map(|request| &*request.id),
                    operation = request.as_ref().and_then(|request| request.operation()),
                    statement = self.name,
                    duration_ms = milliseconds(took),
                    rows = self.rows,
                    sql = text,
                    $message
                )
            };
        }
        if slow { log!(warn, "slow query") } else { log!(debug, "query") }
    }
}

/// Truncates a long text.
fn cut(text: &str) -> &str {
    text.get(..MAX_TEXT_LENGTH).unwrap_or(text)
}

/// Rounded to microseconds.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
