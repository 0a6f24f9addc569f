//! Ids of API keys: a keyed hash. An id is the same on every server of a database and reveals nothing
//! about the key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

pub const PREFIX: &str = "key_";
/// 128 bits in base64.
const DIGEST_CHARACTERS: usize = 22;

/// Computes the ids of keys with a secret.
#[derive(Clone)]
pub struct KeyHasher(Hmac<Sha256>);

impl KeyHasher {
    pub fn new(secret: &[u8]) -> Self {
        // HMAC accepts a secret of any length, so the fallback is never used.
        Self(Hmac::new_from_slice(secret).unwrap_or_else(|_| Hmac::new(&Default::default())))
    }

    /// `key_` and the first 128 bits of HMAC-SHA-256 in base64.
    pub fn id(&self, key: &str) -> String {
        let mut hmac = self.0.clone();
        hmac.update(key.as_bytes());
        let digest = hmac.finalize().into_bytes();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&digest[..16]))
    }
}

/// Whether a text has the form of an id.
pub fn is_key_id(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(|digest| {
        digest.len() == DIGEST_CHARACTERS && URL_SAFE_NO_PAD.decode(digest).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_depends_on_key_and_secret() {
        let hasher = KeyHasher::new(b"secret");
        let id = hasher.id("key-a");
        assert_eq!(id, KeyHasher::new(b"secret").id("key-a"));
        assert_ne!(id, hasher.id("key-b"));
        assert_ne!(id, KeyHasher::new(b"other").id("key-a"));
        assert!(is_key_id(&id));
        assert!(!is_key_id("key_short") && !is_key_id("key-a"));
    }
}
