//! The error that a call brings with it.

use crate::domain::record::{CallRecord, ErrorRecord};

/// What the provider said about a failed call, whose time, key and model are those of the call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallError {
    pub error_type: Option<String>,
    pub error_code: Option<i32>,
    pub message: Option<String>,
    pub request: Option<serde_json::Value>,
}

impl CallError {
    /// The error log of `call`. With the very time, key and code of the call, so that nothing else
    /// matches it better.
    pub fn of(self, call: &CallRecord) -> Result<ErrorRecord, &'static str> {
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
