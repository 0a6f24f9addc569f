//! Claims of idempotency keys: whom a key belongs to, and what it stands for.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use crate::domain::access::Caller;
use crate::domain::record::{CallRecord, ErrorRecord};
use crate::error::{Error, Result};
use crate::store::idempotency::Claim;

/// The longest idempotency key, in characters.
const MAX_KEY: usize = 255;

/// Refuses a key that is empty or too long.
pub fn check_key(key: &str) -> Result<()> {
    if key.is_empty() || key.chars().count() > MAX_KEY {
        let message = format!("an idempotency key has 1 to {MAX_KEY} characters");
        return Err(Error::bad_input("idempotencyKey", message));
    }
    Ok(())
}

/// A key belongs to its caller and to `what` it is used for, and stands for its content.
pub fn claim(caller: &Caller, what: &str, key: &str, content: Content) -> Claim {
    let owner = format!("{}\n{what}\n{key}", caller.name);
    Claim { digest: encode(Sha256::digest(owner)), content: encode(content.0.finalize()) }
}

/// A key that is made of what is recorded.
pub fn digest(bytes: &[u8]) -> String {
    encode(Sha256::digest(bytes))
}

fn encode(digest: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(digest)
}

/// What is recorded under a key, row by row. A time that the caller left out is the server's, which
/// differs from try to try, and so does not count.
#[derive(Clone, Debug, Default)]
pub struct Content(Sha256);

impl Content {
    /// `timed`: whether the caller gave the time.
    pub fn add_call(&mut self, call: &CallRecord, timed: bool) {
        self.0.update(b"c");
        self.add_time(call.timestamp, timed);
        self.add_text(call.key.as_deref());
        self.add_text(call.model.as_deref());
        self.add_number(call.status_code);
        self.add_number(call.latency_ms);
    }

    /// `timed`: whether the caller gave the time.
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
                // Writing to a hash does not fail; JSON tells its own end.
                let _ = serde_json::to_writer(Hashing(&mut self.0), request);
            }
        }
    }

    fn add_time(&mut self, at: DateTime<Utc>, timed: bool) {
        match timed {
            true => self.0.update(at.timestamp_micros().to_le_bytes()),
            false => self.0.update(b"now"),
        }
    }

    /// With its length before it, so that no two rows look the same.
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

struct Hashing<'a>(&'a mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
    fn every_value_counts_but_a_time_that_was_left_out() {
        let one = content(Some("a"), Some("b"), true, 1);
        assert_ne!(one, content(Some("ab"), Some(""), true, 1));
        assert_ne!(one, content(Some("a"), None, true, 1));
        assert_ne!(one, content(Some("a"), Some("b"), true, 2));
        assert_ne!(one, content(Some("a"), Some("b"), false, 1));
        let untimed = content(None, Some("b"), false, 1);
        assert_eq!(untimed, content(None, Some("b"), false, 2));
    }
}
