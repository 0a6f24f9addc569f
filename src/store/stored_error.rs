//! The two sources of stored error logs: a recorded error log has a parsed request, an imported one has
//! the text of its request.

use serde::de::IgnoredAny;

use super::dialect::Dialect;
use crate::domain::record::{ErrorRecord, ImportedError};

/// An error log to insert.
pub trait StoredError {
    fn record(&self) -> &ErrorRecord;
    /// The request as it is stored.
    fn request_text(&self, dialect: Dialect) -> Option<String>;
}

impl StoredError for ErrorRecord {
    fn record(&self) -> &ErrorRecord {
        self
    }

    fn request_text(&self, _: Dialect) -> Option<String> {
        // JSON null is stored as NULL.
        self.request.as_ref().filter(|json| !json.is_null()).map(ToString::to_string)
    }
}

impl StoredError for ImportedError {
    fn record(&self) -> &ErrorRecord {
        &self.record
    }

    /// A text that is not JSON is stored as a JSON string, except in SQLite, which stores any text.
    fn request_text(&self, dialect: Dialect) -> Option<String> {
        let text = self.request_text.as_ref()?;
        let kept = dialect == Dialect::Sqlite || serde_json::from_str::<IgnoredAny>(text).is_ok();
        Some(if kept { text.clone() } else { serde_json::Value::from(text.as_str()).to_string() })
    }
}

impl<T: StoredError> StoredError for &T {
    fn record(&self) -> &ErrorRecord {
        (*self).record()
    }

    fn request_text(&self, dialect: Dialect) -> Option<String> {
        (*self).request_text(dialect)
    }
}
