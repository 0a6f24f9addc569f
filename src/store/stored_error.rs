//! The forms in which error logs come to be stored: recorded ones have a request that was parsed,
//! imported ones keep its text.

use serde::de::IgnoredAny;

use super::dialect::Dialect;
use crate::domain::record::{ErrorRecord, ImportedError};

/// An error log as it will stand in its table.
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
        // JSON null says no more than NULL does.
        self.request.as_ref().filter(|json| !json.is_null()).map(ToString::to_string)
    }
}

impl StoredError for ImportedError {
    fn record(&self) -> &ErrorRecord {
        &self.record
    }

    /// What is no JSON becomes a text in it, but for SQLite, which keeps any.
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
