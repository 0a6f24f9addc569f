//! Browser sessions: the cookie contains a session value in place of the token. The server stores no
//! sessions. The value contains the token id, the expiry, and a keyed hash over both and the token digest,
//! which proves that a server of this database issued it. A session ends with its token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::token::TokenDigest;

/// Issues and verifies sessions.
pub struct SessionKey(Hmac<Sha256>);

/// An unverified session value; [`SessionKey::proves`] verifies it.
pub struct Claim<'a> {
    pub token_id: &'a str,
    pub expires_at: DateTime<Utc>,
    proof: Vec<u8>,
}

impl SessionKey {
    pub fn new(secret: &[u8]) -> Self {
        // HMAC accepts a secret of any length, so that the fallback is never used.
        Self(Hmac::new_from_slice(secret).unwrap_or_else(|_| Hmac::new(&Default::default())))
    }

    /// Issues the value of a cookie.
    pub fn issue(&self, id: &str, digest: &TokenDigest, expires_at: DateTime<Utc>) -> String {
        let proof = self.hash(id, digest, expires_at).finalize().into_bytes();
        format!("{id}.{}.{}", expires_at.timestamp(), URL_SAFE_NO_PAD.encode(proof))
    }

    /// Whether this key issued a claim for the token with this digest. Compares in constant time.
    pub fn proves(&self, claim: &Claim<'_>, digest: &TokenDigest) -> bool {
        self.hash(claim.token_id, digest, claim.expires_at).verify_slice(&claim.proof).is_ok()
    }

    fn hash(&self, id: &str, digest: &TokenDigest, expires_at: DateTime<Utc>) -> Hmac<Sha256> {
        let mut hash = self.0.clone();
        hash.update(format!("{id}.{}.", expires_at.timestamp()).as_bytes());
        hash.update(digest);
        hash
    }
}

impl<'a> Claim<'a> {
    pub fn read(value: &'a str) -> Option<Self> {
        let mut parts = value.split('.');
        let (token_id, expires_at, proof) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            token_id,
            expires_at: DateTime::from_timestamp(expires_at.parse().ok()?, 0)?,
            proof: URL_SAFE_NO_PAD.decode(proof).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_issued_session_is_valid() {
        let key = SessionKey::new(b"secret");
        let end = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let value = key.issue("id", &[1; 32], end);
        let proven = |key: &SessionKey, value: &str, digest| {
            Claim::read(value).is_some_and(|claim| key.proves(&claim, digest))
        };
        assert!(proven(&key, &value, &[1; 32]));
        assert!(!proven(&key, &value, &[2; 32]), "a different token with the same id");
        assert!(!proven(&SessionKey::new(b"other"), &value, &[1; 32]));
        assert!(!proven(&key, &value.replace("1800000000", "1900000000"), &[1; 32]));
        assert!(!proven(&key, &value.replace("id.", "ie."), &[1; 32]));
        for value in ["", "id", "id.1", "id.x.AA", "id.1.?"] {
            assert!(Claim::read(value).is_none(), "{value}");
        }
    }
}
