//! The error of a failed call, recorded together with the call.

use crate::domain::record::{CallRecord, ErrorRecord};

/// The provider's error for a failed call. Time, key and model are those of the call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallError {
    pub error_type: Option<String>,
    pub error_code: Option<i32>,
    pub message: Option<String>,
    pub request: Option<serde_json::Value>,
}

impl CallError {
    /// The error log of `call`. It has exactly the time, key and code of the call, so that no other
    /// error log is a better match.
    pub fn into_error_log(self, call: &CallRecord) -> Result<ErrorRecord, &'static str> {
        if call.is_success() {
            return Err("a call that succeeded has no `error`");
        }
        Ok(ErrorRecord {
            timestamp: call.timestamp,
            key: call.key.clone(),
            model: call.model.clone(),
            error_type: self.error_type,
            error_code: self.error_code.or(call.status_code),
            message: self.message,
            request: self.request,
        })
    }
}
