//! Claims of idempotency keys: the owner of a key and a digest of the content recorded under it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use crate::domain::access::Caller;
use crate::domain::record::{CallRecord, ErrorRecord, Record};
use crate::error::{Error, Result};
use crate::store::idempotency::Claim;

/// The longest idempotency key, in characters.
const MAX_KEY: usize = 255;

/// Rejects a key that is empty or too long.
pub fn check_key(key: &str) -> Result<()> {
    if key.is_empty() || key.chars().count() > MAX_KEY {
        let message = format!("an idempotency key has 1 to {MAX_KEY} characters");
        return Err(Error::bad_input("idempotencyKey", message));
    }
    Ok(())
}

/// Builds the claim of a key. The same key of another caller, or for another `what`, is another claim.
pub fn claim(caller: &Caller, what: &str, key: &str, content: Content) -> Claim {
    let owner = format!("{}\n{what}\n{key}", caller.name);
    Claim { digest: encode(Sha256::digest(owner)), content: encode(content.0.finalize()) }
}

/// An idempotency key derived from the recorded content.
pub fn digest(bytes: &[u8]) -> String {
    encode(Sha256::digest(bytes))
}

fn encode(digest: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(digest)
}

/// Hash of the rows that are recorded under a key. A time that the caller left out is not hashed: the
/// server sets it, and it differs on each retry.
#[derive(Clone, Debug, Default)]
pub struct Content(Sha256);

impl Content {
    /// `timed`: whether the caller sent the time.
    pub fn add(&mut self, record: &Record, timed: bool) {
        match record {
            Record::Call(call) => self.add_call(call, timed),
            Record::Error(error) => self.add_error(error, timed),
        }
    }

    fn add_call(&mut self, call: &CallRecord, timed: bool) {
        self.0.update(b"c");
        self.add_time(call.timestamp, timed);
        self.add_text(call.key.as_deref());
        self.add_text(call.model.as_deref());
        self.add_number(call.status_code);
        self.add_number(call.latency_ms);
    }

    pub fn add_error(&mut self, error: &ErrorRecord, timed: bool) {
        self.0.update(b"e");
        self.add_time(error.timestamp, timed);
        self.add_text(error.key.as_deref());
        self.add_text(error.model.as_deref());
        self.add_text(error.error_type.as_deref());
        self.add_number(error.error_code);
        self.add_text(error.message.as_deref());
        match &error.request {
            None => self.0.update(b"-"),
            Some(request) => {
                self.0.update(b"j");
                // JSON needs no length prefix.
                self.0.update(request);
            }
        }
    }

    fn add_time(&mut self, at: DateTime<Utc>, timed: bool) {
        match timed {
            true => self.0.update(at.timestamp_micros().to_le_bytes()),
            false => self.0.update(b"now"),
        }
    }

    /// Prefixed with its length, so that different rows have different hashes.
    fn add_text(&mut self, text: Option<&str>) {
        match text {
            None => self.0.update(b"-"),
            Some(text) => {
                self.0.update(text.len().to_le_bytes());
                self.0.update(text);
            }
        }
    }

    fn add_number(&mut self, number: Option<i32>) {
        match number {
            None => self.0.update(b"-"),
            Some(number) => self.0.update(number.to_le_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(key: Option<&str>, model: Option<&str>, timed: bool, second: i64) -> String {
        let mut content = Content::default();
        let call = CallRecord {
            timestamp: DateTime::from_timestamp(second, 0).unwrap(),
            key: key.map(str::to_owned),
            model: model.map(str::to_owned),
            status_code: None,
            latency_ms: Some(1),
        };
        content.add_call(&call, timed);
        claim(&Caller::anonymous(Default::default()), "what", "key", content).content
    }

    #[test]
    fn content_hash_covers_all_values_except_a_default_time() {
        let one = content(Some("a"), Some("b"), true, 1);
        assert_ne!(one, content(Some("ab"), Some(""), true, 1));
        assert_ne!(one, content(Some("a"), None, true, 1));
        assert_ne!(one, content(Some("a"), Some("b"), true, 2));
        assert_ne!(one, content(Some("a"), Some("b"), false, 1));
        let untimed = content(None, Some("b"), false, 1);
        assert_eq!(untimed, content(None, Some("b"), false, 2));
    }
}
