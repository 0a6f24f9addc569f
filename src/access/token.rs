//! Tokens: 256 random bits, known to the server by their digest alone. They need no slow hash, since
//! nobody can guess them; no two share a digest, so that its start can name them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};

use crate::config::Secret;
use crate::domain::access::Scopes;
use crate::store::token::{TokenRow, time_text};

/// Tells people, and programs that look for leaked secrets, what they see.
const PREFIX: &str = "cs_";

/// SHA-256 of a token.
pub type TokenDigest = [u8; 32];

pub fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token.as_bytes()).into()
}

/// In hexadecimal digits, as it is stored.
pub fn digest_text(digest: &TokenDigest) -> String {
    hex::encode(digest)
}

/// What names a token where the token itself must not stand.
pub fn id_of(digest: &TokenDigest) -> String {
    digest_text(digest)[..16].to_owned()
}

/// A token that was just made, and what is kept of it. It is shown once and then forgotten.
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
