//! The rows to record: calls and error logs. Every source converts its input to these types.

use chrono::{DateTime, Utc};

/// A call to the provider, for `t_request_log`.
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

/// An error log, for `t_error_logs`.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorRecord {
    /// When the failure occurred; stored to the microsecond.
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
    /// The failed request, as JSON text. An imported text may be no JSON: Python writes `NaN`.
    pub request: Option<String>,
}

/// A row of one of the two tables.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    Call(CallRecord),
    Error(ErrorRecord),
}

/// The text of a request. A JSON null is the same as no request.
pub fn request_text(request: &serde_json::Value) -> Option<String> {
    (!request.is_null()).then(|| request.to_string())
}

/// The field of NDJSON that replaces `request_msg` for a text that is not JSON on one line.
pub const UNPARSED_REQUEST: &str = "request_msg_text";

impl CallRecord {
    /// Whether the status code is 200 to 299. A call without a code failed.
    pub fn is_success(&self) -> bool {
        self.status_code.is_some_and(|code| (200..=299).contains(&code))
    }
}
