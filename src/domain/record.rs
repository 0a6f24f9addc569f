//! What is recorded: one call, one error log. The form that every writer hands to the write path.

use chrono::{DateTime, Utc};

/// One call to the provider, as it will stand in `t_request_log`.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRecord {
    /// When the call was sent; stored to the microsecond.
    pub timestamp: DateTime<Utc>,
    /// The full API key, at most 100 characters.
    pub key: Option<String>,
    /// At most 100 characters.
    pub model: Option<String>,
    /// HTTP status; a call without one failed.
    pub status_code: Option<i32>,
    pub latency_ms: Option<i32>,
}

/// One error log, as it will stand in `t_error_logs`.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorRecord {
    /// When the failure was seen; stored to the microsecond.
    pub timestamp: DateTime<Utc>,
    /// The full API key, at most 100 characters.
    pub key: Option<String>,
    /// At most 100 characters.
    pub model: Option<String>,
    /// At most 50 characters.
    pub error_type: Option<String>,
    pub error_code: Option<i32>,
    /// The provider's text.
    pub message: Option<String>,
    /// The request that failed.
    pub request: Option<serde_json::Value>,
}

/// An error log of an imported source. Its request is kept to the letter, even where it is no JSON:
/// Python writes `NaN`, which JSON lacks.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedError {
    /// Without the request.
    pub record: ErrorRecord,
    pub request_text: Option<String>,
}

/// The field of NDJSON in place of `request_msg` where that is no JSON, or not on one line.
pub const UNPARSED_REQUEST: &str = "request_msg_text";

impl CallRecord {
    /// Whether the status code is 200 to 299; every other call failed, one without a code too.
    pub fn is_success(&self) -> bool {
        self.status_code.is_some_and(|code| (200..=299).contains(&code))
    }
}
