//! Tokens: 256 random bits. The server stores only their digest. They need no slow hash, since they cannot
//! be guessed. Digests are unique, so that the start of a digest identifies its token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};

use crate::config::Secret;
use crate::domain::access::Scopes;
use crate::store::token::{TokenRow, time_text};

/// Identifies a token to people and to secret scanners.
const PREFIX: &str = "cs_";

/// SHA-256 of a token.
pub type TokenDigest = [u8; 32];

pub fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token.as_bytes()).into()
}

/// The digest in hexadecimal, as it is stored.
pub fn digest_text(digest: &TokenDigest) -> String {
    hex::encode(digest)
}

/// The public id of a token.
pub fn id_of(digest: &TokenDigest) -> String {
    digest_text(digest)[..16].to_owned()
}

/// A new token and the row to store. The token itself is shown once and not stored.
pub struct NewToken {
    pub token: Secret,
    pub row: TokenRow,
}

pub fn make(
    name: &str,
    scopes: Scopes,
    now: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
) -> anyhow::Result<NewToken> {
    let mut bytes = [0u8; 32];
    SysRng.try_fill_bytes(&mut bytes)?;
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let digest = digest(&token);
    let row = TokenRow {
        id: id_of(&digest),
        name: name.to_owned(),
        digest: digest_text(&digest),
        scopes: scopes.to_string(),
        created_at: time_text(now),
        expires_at: expires_at.map(time_text),
        revoked_at: None,
    };
    Ok(NewToken { token: Secret::new(token), row })
}
