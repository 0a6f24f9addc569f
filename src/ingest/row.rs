//! A row of any source: GraphQL, a stream, a span, a file or another database.

use crate::domain::record::{ErrorRecord, Record};

/// A row before validation.
#[derive(Debug, PartialEq)]
pub struct Row {
    pub record: Record,
    /// The error of a failed call.
    pub error: Option<CallError>,
    /// Whether the source sent the time; otherwise it is the server's.
    pub timed: bool,
    /// Whether the key may be the id of an API key.
    pub key_may_be_id: bool,
}

/// The provider's error for a failed call. Time, key and model are those of the call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallError {
    pub error_type: Option<String>,
    pub error_code: Option<i32>,
    pub message: Option<String>,
    /// As JSON text.
    pub request: Option<String>,
}

impl From<Record> for Row {
    fn from(record: Record) -> Self {
        Self { record, error: None, timed: true, key_may_be_id: false }
    }
}

impl Row {
    pub(super) fn key_mut(&mut self) -> &mut Option<String> {
        match &mut self.record {
            Record::Call(call) => &mut call.key,
            Record::Error(error) => &mut error.key,
        }
    }

    /// The error log of a failed call. It has exactly the time, key and code of the call, so that no
    /// other error log is a better match.
    pub fn take_error_log(&mut self) -> Result<Option<ErrorRecord>, &'static str> {
        let (Record::Call(call), Some(error)) = (&self.record, self.error.take()) else {
            return Ok(None);
        };
        if call.is_success() {
            return Err("a call that succeeded has no `error`");
        }
        Ok(Some(ErrorRecord {
            timestamp: call.timestamp,
            key: call.key.clone(),
            model: call.model.clone(),
            error_type: error.error_type,
            error_code: error.error_code.or(call.status_code),
            message: error.message,
            request: error.request,
        }))
    }
}
