//! The directory of API keys: from a key to its id by a keyed hash, and back by hashing every key
//! that the database knows.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rand::TryRng;
use rand::rngs::SysRng;
use tokio::sync::OnceCell;

use super::database::Database;
use super::{api_key, setting};
use crate::config::Secret;
use crate::domain::key_id::{KeyHasher, is_key_id};
use crate::error::Result;

const SETTING: &str = "api_key_id_secret";
pub const MIN_SECRET_LENGTH: usize = 16;

/// Ids of keys and keys of ids. What it learned it keeps, since a key's id never changes.
pub struct KeyDirectory {
    hasher: KeyHasher,
    ids: RwLock<HashMap<String, Arc<str>>>,
    keys: RwLock<HashMap<Arc<str>, Arc<str>>>,
}

impl KeyDirectory {
    /// Takes the secret from the configuration, or from the database, where one is made when there
    /// is none.
    pub async fn open(db: &Database, configured: Option<&Secret>) -> anyhow::Result<Self> {
        let secret = match configured {
            Some(secret) if secret.expose().chars().count() < MIN_SECRET_LENGTH => {
                anyhow::bail!("--id-key must have at least 16 characters")
            }
            Some(secret) => secret.expose().to_owned(),
            None if db.is_read_only() => stored_secret(db).await?,
            None => setting::find_or_insert(db, SETTING, &random_secret()?).await?,
        };
        Ok(Self {
            hasher: KeyHasher::new(secret.as_bytes()),
            ids: RwLock::default(),
            keys: RwLock::default(),
        })
    }

    /// The id of a key.
    pub fn id(&self, key: &str) -> Arc<str> {
        if let Some(id) = self.ids.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return id.clone();
        }
        let id: Arc<str> = self.hasher.id(key).into();
        let mut ids = self.ids.write().unwrap_or_else(PoisonError::into_inner);
        ids.entry(key.to_owned()).or_insert(id).clone()
    }

    /// Every key that the database knows, in the order of its bytes. One statement.
    pub async fn list(&self, db: &Database) -> Result<Vec<String>> {
        let found = api_key::list(db).await?;
        let entries: Vec<(Arc<str>, Arc<str>)> =
            found.iter().map(|key| (self.id(key), key.as_str().into())).collect();
        self.keys.write().unwrap_or_else(PoisonError::into_inner).extend(entries);
        Ok(found)
    }

    /// Whether a text, though it looks like an id, is a key that was met.
    pub fn is_key(&self, text: &str) -> bool {
        self.ids.read().unwrap_or_else(PoisonError::into_inner).contains_key(text)
    }

    /// The key that an id names, as far as was read of the database ([`Self::list`]).
    pub fn known(&self, id: &str) -> Option<Arc<str>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

impl KeyDirectory {
    /// The key that a text means, which is a key or the id of one; nothing where nobody knows the id.
    /// However many ids a request asks for, it reads the keys of the database once: `read` tells
    /// whether it did.
    pub async fn resolve(
        &self,
        db: &Database,
        text: &str,
        read: &OnceCell<()>,
    ) -> Result<Option<Arc<str>>> {
        if !is_key_id(text) {
            return Ok(Some(text.into()));
        }
        let found = self.find(db, text, read).await?;
        Ok(found.or_else(|| self.is_key(text).then(|| text.into())))
    }

    /// The key with this id; nothing where the database knows none.
    pub async fn find(
        &self,
        db: &Database,
        id: &str,
        read: &OnceCell<()>,
    ) -> Result<Option<Arc<str>>> {
        if let Some(key) = self.known(id) {
            return Ok(Some(key));
        }
        read.get_or_try_init(async || self.list(db).await.map(|_| ())).await?;
        Ok(self.known(id))
    }
}

/// Whether the database keeps a secret.
pub async fn has_secret(db: &Database) -> Result<bool> {
    Ok(db.has_own_tables().await? && setting::find(db, SETTING).await?.is_some())
}

async fn stored_secret(db: &Database) -> anyhow::Result<String> {
    // Where the table itself is missing, no server ever wrote to this database.
    let stored = setting::find(db, SETTING).await.unwrap_or_default();
    stored.ok_or_else(|| {
        anyhow::anyhow!(
            "a database that is opened with --read-only and was never served otherwise needs \
             --id-key (CALLSCOPE_ID_KEY), a secret of at least 16 characters from which the ids of \
             API keys are made"
        )
    })
}

fn random_secret() -> anyhow::Result<String> {
    let mut bytes = [0u8; 32];
    SysRng.try_fill_bytes(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
