//! Valid tokens, and the caller of a request.

use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, TimeDelta, Utc};
use subtle::ConstantTimeEq;

use super::session::{Claim, SessionKey};
use super::token::{TokenDigest, digest, digest_text, id_of};
use crate::config::AccessConfig;
use crate::domain::access::{Caller, Scopes};
use crate::error::{Error, Result};
use crate::store::token::{self, TokenRow};
use crate::store::{Database, setting};

/// The age at which the token table is read again: a revoked token is rejected after at most this time.
const MAX_AGE: TimeDelta = TimeDelta::seconds(5);

/// How long a request waits for the token table; the next request retries.
const READ_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(500);

/// The same for a request with an unknown token.
const MAX_AGE_FOR_UNKNOWN: TimeDelta = TimeDelta::seconds(1);

/// The credentials of a request.
#[derive(Clone, Copy)]
pub enum Credentials<'a> {
    None,
    /// The token of `Authorization: Bearer`.
    Token(&'a str),
    /// The value of the session cookie.
    Session(&'a str),
}

/// Identifies the token or session of a request, to check later whether it is still valid. Not a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proof {
    token_id: String,
    /// Set for a session.
    ends_at: Option<DateTime<Utc>>,
}

impl Proof {
    /// Whether the request had a session cookie.
    pub fn is_session(&self) -> bool {
        self.ends_at.is_some()
    }
}

/// A browser session and the value of its cookie.
pub struct Session {
    pub value: String,
    pub expires_at: DateTime<Utc>,
    pub caller: Arc<Caller>,
}

/// All valid tokens.
pub struct TokenDirectory {
    configured: Vec<ActiveToken>,
    anonymous_scopes: Option<Scopes>,
    /// Whether the server listens on a loopback address.
    on_loopback: bool,
    session_key: SessionKey,
    session_length: TimeDelta,
    stored: RwLock<StoredTokens>,
    reading: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct ActiveToken {
    id: String,
    digest: TokenDigest,
    expires_at: Option<DateTime<Utc>>,
    caller: Arc<Caller>,
}

/// The token table as it was last read.
struct StoredTokens {
    read_at: DateTime<Utc>,
    tokens: Arc<[ActiveToken]>,
    /// Whether a token was ever created: revoking the last token does not open the server.
    any_created: bool,
}

impl TokenDirectory {
    /// Reads the token table. Returns an error if other machines would get anonymous access without an
    /// explicit setting.
    pub async fn open(
        db: &Database,
        config: &AccessConfig,
        on_loopback: bool,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Self> {
        let fallback = super::token::make("session", Scopes::NONE, now, None)?.token;
        let secret = match db.is_read_only() {
            // Without a stored secret, sessions end with the process.
            true => fallback.expose().to_owned(),
            false => setting::find_or_insert(db, "session_secret", fallback.expose()).await?,
        };
        let configured = config.tokens.0.iter().map(|token| {
            let digest = digest(token.token.expose());
            let caller = Arc::new(Caller { name: token.name.clone(), scopes: token.scopes });
            ActiveToken { id: id_of(&digest), digest, expires_at: None, caller }
        });
        let directory = Self {
            configured: configured.collect(),
            anonymous_scopes: config.anonymous_scopes,
            on_loopback,
            session_key: SessionKey::new(secret.as_bytes()),
            session_length: TimeDelta::hours(config.session_hours.into()),
            stored: RwLock::new(read(db, now).await?),
            reading: tokio::sync::Mutex::default(),
        };
        if !on_loopback && directory.anonymous_scopes.is_none() && !directory.has_tokens() {
            anyhow::bail!(
                "there are no tokens, and this address can be reached from other machines: create a \
                 token with `callscope token create NAME --scopes READ`, or set --tokens \
                 (CALLSCOPE_TOKENS), or set the scopes of anonymous requests with \
                 --anonymous-scopes (CALLSCOPE_ANONYMOUS_SCOPES)"
            );
        }
        Ok(directory)
    }

    /// Whether anonymous requests have all scopes: on a loopback address without tokens.
    pub fn is_open(&self) -> bool {
        self.on_loopback && self.anonymous_scopes.is_none() && !self.has_tokens()
    }

    /// Whether anonymous callers have scopes and only the loopback address protects the server.
    pub fn relies_on_loopback(&self) -> bool {
        self.on_loopback && !self.anonymous_scopes().is_empty()
    }

    fn has_tokens(&self) -> bool {
        !self.configured.is_empty()
            || self.stored.read().unwrap_or_else(PoisonError::into_inner).any_created
    }

    /// The scopes of anonymous callers.
    pub fn anonymous_scopes(&self) -> Scopes {
        match self.anonymous_scopes {
            Some(scopes) => scopes,
            None if self.is_open() => Scopes::all(),
            None => Scopes::NONE,
        }
    }

    /// The caller of a request, and the proof if it has a token or session. An invalid token is an error;
    /// an expired session counts as anonymous.
    pub async fn caller(
        &self,
        db: &Database,
        credentials: Credentials<'_>,
        now: DateTime<Utc>,
    ) -> Result<(Arc<Caller>, Option<Proof>)> {
        self.read_if_older(db, MAX_AGE, now).await;
        let (known, ends_at) = match credentials {
            Credentials::None => (None, None),
            Credentials::Token(token) => (Some(self.token(db, token, now).await?), None),
            Credentials::Session(value) => self.of_session(value, now).unzip(),
        };
        Ok(match known {
            Some(known) => (known.caller, Some(Proof { token_id: known.id, ends_at })),
            None => (self.anonymous(), None),
        })
    }

    /// The current caller of a running request that started with `proof`. Returns an error if its access
    /// has ended.
    pub async fn current_caller(
        &self,
        db: &Database,
        proof: Option<&Proof>,
        now: DateTime<Utc>,
    ) -> Result<Arc<Caller>> {
        self.read_if_older(db, MAX_AGE, now).await;
        let Some(proof) = proof else {
            let anonymous = self.anonymous();
            return match anonymous.scopes.is_empty() {
                true => Err(Error::Unauthenticated),
                false => Ok(anonymous),
            };
        };
        let known = self.find(now, |known| known.id == proof.token_id);
        let is_current = proof.ends_at.is_none_or(|end| end > now);
        known.filter(|_| is_current).map(|known| known.caller).ok_or(Error::Unauthenticated)
    }

    fn anonymous(&self) -> Arc<Caller> {
        Arc::new(Caller::anonymous(self.anonymous_scopes()))
    }

    /// Starts a session with a token.
    pub async fn start_session(
        &self,
        db: &Database,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<Session> {
        let known = self.token(db, token, now).await?;
        let longest = now + self.session_length;
        let expires_at = known.expires_at.map_or(longest, |end| end.min(longest));
        let value = self.session_key.issue(&known.id, &known.digest, expires_at);
        Ok(Session { value, expires_at, caller: known.caller })
    }

    /// The end of the session with this value, if it is valid.
    pub fn session_end(&self, value: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.of_session(value, now).map(|(_, expires_at)| expires_at)
    }

    /// Whether an unexpired session was forged, that is, not issued by a server of this database. False for
    /// a session of a deleted token.
    pub fn is_forged_session(&self, value: &str, now: DateTime<Utc>) -> bool {
        let Some(claim) = Claim::read(value) else { return !value.is_empty() };
        let known = self.find(now, |known| known.id == claim.token_id);
        claim.expires_at > now
            && known.is_some_and(|known| !self.session_key.proves(&claim, &known.digest))
    }

    async fn token(&self, db: &Database, token: &str, now: DateTime<Utc>) -> Result<ActiveToken> {
        let digest = digest(token);
        let find = || self.find(now, |known| known.digest.ct_eq(&digest).into());
        if let Some(known) = find() {
            return Ok(known);
        }
        self.read_if_older(db, MAX_AGE_FOR_UNKNOWN, now).await;
        find().ok_or(Error::Unauthenticated)
    }

    fn of_session(&self, value: &str, now: DateTime<Utc>) -> Option<(ActiveToken, DateTime<Utc>)> {
        let claim = Claim::read(value).filter(|claim| claim.expires_at > now)?;
        let known = self.find(now, |known| known.id == claim.token_id)?;
        self.session_key.proves(&claim, &known.digest).then_some((known, claim.expires_at))
    }

    /// Checks all valid tokens, so that the time does not depend on the position of the match.
    fn find(
        &self,
        now: DateTime<Utc>,
        is_it: impl Fn(&ActiveToken) -> bool,
    ) -> Option<ActiveToken> {
        let stored = self.stored.read().unwrap_or_else(PoisonError::into_inner).tokens.clone();
        let holds = |known: &&ActiveToken| known.expires_at.is_none_or(|end| end > now);
        let all = self.configured.iter().chain(stored.iter()).filter(holds);
        all.fold(None, |found, known| if is_it(known) { Some(known) } else { found }).cloned()
    }

    /// Reads the table again if it was last read `age` ago or earlier.
    async fn read_if_older(&self, db: &Database, age: TimeDelta, now: DateTime<Utc>) {
        let read_at = self.stored.read().unwrap_or_else(PoisonError::into_inner).read_at;
        if (now - read_at).abs() >= age {
            // Rare: boxed, so that it does not enlarge the future of each request.
            Box::pin(self.read_again(db, now)).await;
        }
    }

    /// Reads the table, unless another request does. While the database is unavailable, the previous
    /// content stays in use.
    async fn read_again(&self, db: &Database, now: DateTime<Utc>) {
        let Ok(_alone) = self.reading.try_lock() else { return };
        let reading = tokio::time::timeout(READ_TIMEOUT, read(db, now));
        match reading.await.unwrap_or(Err(Error::Timeout)) {
            Ok(stored) => *self.stored.write().unwrap_or_else(PoisonError::into_inner) = stored,
            Err(error) => {
                tracing::warn!(%error, "token table read failed; using the previous content")
            }
        }
    }
}

async fn read(db: &Database, now: DateTime<Utc>) -> Result<StoredTokens> {
    let rows = token::list(db).await?;
    let tokens = rows.iter().filter(|row| row.revoked_at.is_none()).filter_map(known).collect();
    Ok(StoredTokens { read_at: now, tokens, any_created: !rows.is_empty() })
}

/// Parses a row; `None` for an invalid row, which Callscope did not write.
fn known(row: &TokenRow) -> Option<ActiveToken> {
    let mut digest = TokenDigest::default();
    hex::decode_to_slice(&row.digest, &mut digest).ok()?;
    let expires_at = row.expires_at.as_deref().map(str::parse).transpose().ok()?;
    let caller = Caller { name: row.name.clone(), scopes: row.scopes.parse().ok()? };
    (digest_text(&digest) == row.digest).then(|| ActiveToken {
        id: row.id.clone(),
        digest,
        expires_at,
        caller: Arc::new(caller),
    })
}
