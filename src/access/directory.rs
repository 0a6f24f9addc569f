//! Which tokens hold, and who a request comes from.

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

/// How long a server goes by what it read of the table: so soon does a revoked token end.
const FRESH: TimeDelta = TimeDelta::seconds(5);

/// How long a request waits for what is read; the next one tries again.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);

/// How soon the table is read again for a token that nobody knows.
const FRESH_FOR_UNKNOWN: TimeDelta = TimeDelta::seconds(1);

/// What a request brings to show who sent it.
#[derive(Clone, Copy)]
pub enum Credentials<'a> {
    None,
    /// Of `Authorization: Bearer`.
    Token(&'a str),
    /// The value of the session's cookie.
    Session(&'a str),
}

/// By what somebody was known, to ask later whether that still holds. No secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proof {
    token_id: String,
    /// Of a session.
    ends_at: Option<DateTime<Utc>>,
}

impl Proof {
    /// Whether it was the cookie of a session.
    pub fn is_session(&self) -> bool {
        self.ends_at.is_some()
    }
}

/// A browser's session as its cookie holds it.
pub struct Session {
    pub value: String,
    pub expires_at: DateTime<Utc>,
    pub caller: Arc<Caller>,
}

/// All tokens that hold.
pub struct TokenDirectory {
    configured: Vec<Known>,
    anonymous_scopes: Option<Scopes>,
    /// Whether only this machine reaches the server.
    on_loopback: bool,
    session_key: SessionKey,
    session_length: TimeDelta,
    stored: RwLock<Stored>,
    reading: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Known {
    id: String,
    digest: TokenDigest,
    expires_at: Option<DateTime<Utc>>,
    caller: Arc<Caller>,
}

/// What was last read of the table.
struct Stored {
    read_at: DateTime<Utc>,
    tokens: Arc<[Known]>,
    /// Whether there ever was a token: the last one that is revoked opens no door.
    ever: bool,
}

impl TokenDirectory {
    /// Reads the tokens of the database. Refuses to serve everybody unless that was asked for.
    pub async fn open(
        db: &Database,
        config: &AccessConfig,
        on_loopback: bool,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Self> {
        let fallback = super::token::make("session", Scopes::NONE, now, None)?.token;
        let secret = match db.is_read_only() {
            // Sessions end with the process where nothing can be kept.
            true => fallback.expose().to_owned(),
            false => setting::find_or_insert(db, "session_secret", fallback.expose()).await?,
        };
        let configured = config.tokens.0.iter().map(|token| {
            let digest = digest(token.token.expose());
            let caller = Arc::new(Caller { name: token.name.clone(), scopes: token.scopes });
            Known { id: id_of(&digest), digest, expires_at: None, caller }
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
                "there are no tokens, and this address can be reached from other machines: make one \
                 with `callscope token create NAME --scopes READ`, or set --tokens \
                 (CALLSCOPE_TOKENS), or say with --anonymous-scopes (CALLSCOPE_ANONYMOUS_SCOPES) \
                 what everybody may do"
            );
        }
        Ok(directory)
    }

    /// Whether everybody may do everything, which only those on this machine can.
    pub fn is_open(&self) -> bool {
        self.on_loopback && self.anonymous_scopes.is_none() && !self.has_tokens()
    }

    /// Whether callers without a token have scopes and only the loopback address keeps others out.
    pub fn relies_on_loopback(&self) -> bool {
        self.on_loopback && !self.anonymous_scopes().is_empty()
    }

    fn has_tokens(&self) -> bool {
        !self.configured.is_empty()
            || self.stored.read().unwrap_or_else(PoisonError::into_inner).ever
    }

    /// What those without a token may do.
    pub fn anonymous_scopes(&self) -> Scopes {
        match self.anonymous_scopes {
            Some(scopes) => scopes,
            None if self.is_open() => Scopes::all(),
            None => Scopes::NONE,
        }
    }

    /// Who sent a request, and by what they are known where they are. A token that does not hold is an
    /// error; a session that ended is none.
    pub async fn caller(
        &self,
        db: &Database,
        credentials: Credentials<'_>,
        now: DateTime<Utc>,
    ) -> Result<(Arc<Caller>, Option<Proof>)> {
        self.read_if_older(db, FRESH, now).await;
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

    /// The same for whoever was known by `proof`, or was not, when a request began that still goes on.
    /// An error where that does not hold any more.
    pub async fn caller_still(
        &self,
        db: &Database,
        proof: Option<&Proof>,
        now: DateTime<Utc>,
    ) -> Result<Arc<Caller>> {
        self.read_if_older(db, FRESH, now).await;
        let Some(proof) = proof else {
            let anonymous = self.anonymous();
            return match anonymous.scopes.is_empty() {
                true => Err(Error::Unauthenticated),
                false => Ok(anonymous),
            };
        };
        let known = self.find(now, |known| known.id == proof.token_id);
        let holds = proof.ends_at.is_none_or(|end| end > now);
        known.filter(|_| holds).map(|known| known.caller).ok_or(Error::Unauthenticated)
    }

    fn anonymous(&self) -> Arc<Caller> {
        Arc::new(Caller::anonymous(self.anonymous_scopes()))
    }

    /// Begins a session with a token.
    pub async fn begin_session(
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

    /// When the session with this value ends, if it holds.
    pub fn session_end(&self, value: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.of_session(value, now).map(|(_, expires_at)| expires_at)
    }

    /// Whether a session that has not ended was forged: no server of this database made it. A session
    /// whose token does not exist any more does not count.
    pub fn is_forged_session(&self, value: &str, now: DateTime<Utc>) -> bool {
        let Some(claim) = Claim::read(value) else { return !value.is_empty() };
        let known = self.find(now, |known| known.id == claim.token_id);
        claim.expires_at > now
            && known.is_some_and(|known| !self.session_key.proves(&claim, &known.digest))
    }

    async fn token(&self, db: &Database, token: &str, now: DateTime<Utc>) -> Result<Known> {
        let digest = digest(token);
        let find = || self.find(now, |known| known.digest.ct_eq(&digest).into());
        if let Some(known) = find() {
            return Ok(known);
        }
        self.read_if_older(db, FRESH_FOR_UNKNOWN, now).await;
        find().ok_or(Error::Unauthenticated)
    }

    fn of_session(&self, value: &str, now: DateTime<Utc>) -> Option<(Known, DateTime<Utc>)> {
        let claim = Claim::read(value).filter(|claim| claim.expires_at > now)?;
        let known = self.find(now, |known| known.id == claim.token_id)?;
        self.session_key.proves(&claim, &known.digest).then_some((known, claim.expires_at))
    }

    /// Looks at all that hold, whichever it is: the time tells nothing.
    fn find(&self, now: DateTime<Utc>, is_it: impl Fn(&Known) -> bool) -> Option<Known> {
        let stored = self.stored.read().unwrap_or_else(PoisonError::into_inner).tokens.clone();
        let holds = |known: &&Known| known.expires_at.is_none_or(|end| end > now);
        let all = self.configured.iter().chain(stored.iter()).filter(holds);
        all.fold(None, |found, known| if is_it(known) { Some(known) } else { found }).cloned()
    }

    /// Reads the table again unless that was done lately.
    async fn read_if_older(&self, db: &Database, age: TimeDelta, now: DateTime<Utc>) {
        let read_at = self.stored.read().unwrap_or_else(PoisonError::into_inner).read_at;
        if (now - read_at).abs() >= age {
            // Seldom: on its own in memory, so that each request does not carry the room for it.
            Box::pin(self.read_again(db, now)).await;
        }
    }

    /// Reads the table, unless that is being done. While the database is out of reach, what was read
    /// of it before goes on to hold.
    async fn read_again(&self, db: &Database, now: DateTime<Utc>) {
        let Ok(_alone) = self.reading.try_lock() else { return };
        let patient = tokio::time::timeout(PATIENCE, read(db, now));
        match patient.await.unwrap_or(Err(Error::Timeout)) {
            Ok(stored) => *self.stored.write().unwrap_or_else(PoisonError::into_inner) = stored,
            Err(error) => tracing::warn!(%error, "the tokens could not be read again"),
        }
    }
}

async fn read(db: &Database, now: DateTime<Utc>) -> Result<Stored> {
    let rows = token::list(db).await?;
    let tokens = rows.iter().filter(|row| row.revoked_at.is_none()).filter_map(known).collect();
    Ok(Stored { read_at: now, tokens, ever: !rows.is_empty() })
}

/// A row that can be understood; another one, which nobody of ours wrote, holds nowhere.
fn known(row: &TokenRow) -> Option<Known> {
    let mut digest = TokenDigest::default();
    hex::decode_to_slice(&row.digest, &mut digest).ok()?;
    let expires_at = row.expires_at.as_deref().map(str::parse).transpose().ok()?;
    let caller = Caller { name: row.name.clone(), scopes: row.scopes.parse().ok()? };
    (digest_text(&digest) == row.digest).then(|| Known {
        id: row.id.clone(),
        digest,
        expires_at,
        caller: Arc::new(caller),
    })
}
