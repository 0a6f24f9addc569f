//! The directory of API keys. It computes the id of a key with a keyed hash, and finds the key of an id by
//! hashing every key of the database. Two bounded caches hold recent results.

use std::collections::HashMap;
use std::sync::Arc;

use rand::TryRng;
use rand::rngs::SysRng;
use tokio::sync::OnceCell;

use super::database::Database;
use super::{api_key, setting};
use crate::cache::{BoundedCache, CacheLimits};
use crate::config::Secret;
use crate::domain::key_id::{KeyHasher, is_key_id};
use crate::error::Result;

const SETTING: &str = "api_key_id_secret";
pub const MIN_SECRET_LENGTH: usize = 16;

/// The bounds of each cache: about 30,000 keys. Clients can send any number of keys.
const LIMITS: CacheLimits = CacheLimits { entries: 32 << 10, bytes: 8 << 20, bytes_each: 8 << 10 };
/// The memory of an entry in addition to its texts.
const ENTRY_BYTES: usize = 128;
/// The largest list of keys for which all ids are cached when it is read.
const CACHED_LIST: usize = 10_000;

/// Maps keys to ids and ids to keys.
pub struct KeyDirectory {
    hasher: KeyHasher,
    ids: BoundedCache<Arc<str>>,
    keys: BoundedCache<Arc<str>>,
}

/// The keys of the database by id, read at most once for a request.
#[derive(Default)]
pub struct KeySnapshot(OnceCell<HashMap<Arc<str>, Arc<str>>>);

impl KeyDirectory {
    /// Takes the secret from the configuration, otherwise from the database, where it is created at the
    /// first start.
    pub async fn open(db: &Database, configured: Option<&Secret>) -> anyhow::Result<Self> {
        let secret = match configured {
            Some(secret) if secret.expose().chars().count() < MIN_SECRET_LENGTH => {
                anyhow::bail!("--id-key must have at least 16 characters")
            }
            Some(secret) => secret.expose().to_owned(),
            None if db.is_read_only() => stored_secret(db).await?,
            None => setting::find_or_insert(db, SETTING, &random_secret()?).await?,
        };
        Ok(Self::new(secret.as_bytes()))
    }

    fn new(secret: &[u8]) -> Self {
        Self {
            hasher: KeyHasher::new(secret),
            ids: BoundedCache::new(LIMITS),
            keys: BoundedCache::new(LIMITS),
        }
    }

    /// The id of a key.
    pub fn id(&self, key: &str) -> Arc<str> {
        if let Some(id) = self.ids.get(key) {
            return id;
        }
        let id: Arc<str> = self.hasher.id(key).into();
        keep(&self.ids, key, &id);
        id
    }

    /// Every key of the database, sorted by bytes. One statement.
    pub async fn list(&self, db: &Database) -> Result<Vec<String>> {
        let found = api_key::list(db).await?;
        if found.len() <= CACHED_LIST {
            for key in &found {
                let id = self.id(key);
                if self.keys.get(&id).is_none() {
                    keep(&self.keys, &id, &key.as_str().into());
                }
            }
        }
        Ok(found)
    }

    /// The key for a text that is a key or the id of a key; `None` for an unknown id.
    pub async fn resolve(
        &self,
        db: &Database,
        text: &str,
        snapshot: &KeySnapshot,
    ) -> Result<Option<Arc<str>>> {
        if !is_key_id(text) {
            return Ok(Some(text.into()));
        }
        if let Some(key) = self.find(db, text, snapshot).await? {
            return Ok(Some(key));
        }
        // A key may look like an id.
        self.find(db, &self.hasher.id(text), snapshot).await
    }

    /// The key with this id, if the database has it. All calls with one snapshot read the keys of the
    /// database at most once.
    pub async fn find(
        &self,
        db: &Database,
        id: &str,
        snapshot: &KeySnapshot,
    ) -> Result<Option<Arc<str>>> {
        if let Some(key) = self.keys.get(id) {
            return Ok(Some(key));
        }
        let keys = snapshot.0.get_or_try_init(async || {
            let keys = api_key::list(db).await?.into_iter();
            Ok::<_, crate::error::Error>(
                keys.map(|key| (self.hasher.id(&key).into(), key.into())).collect(),
            )
        });
        let found = keys.await?.get(id);
        Ok(found.map(|key| {
            keep(&self.keys, id, key);
            Arc::clone(key)
        }))
    }
}

fn keep(cache: &BoundedCache<Arc<str>>, name: &str, value: &Arc<str>) {
    cache.insert(name.to_owned(), name.len() + value.len() + ENTRY_BYTES, Arc::clone(value));
}

/// Whether the database has a secret.
pub async fn has_secret(db: &Database) -> Result<bool> {
    Ok(db.has_own_tables().await? && setting::find(db, SETTING).await?.is_some())
}

async fn stored_secret(db: &Database) -> anyhow::Result<String> {
    // Without the table, no server has ever written to this database.
    let stored = setting::find(db, SETTING).await.unwrap_or_default();
    stored.ok_or_else(|| {
        anyhow::anyhow!(
            "this database has no secret for the ids of API keys, and --read-only prevents storing \
             one: set --id-key (CALLSCOPE_ID_KEY) to a secret of at least 16 characters"
        )
    })
}

fn random_secret() -> anyhow::Result<String> {
    let mut bytes = [0u8; 32];
    SysRng.try_fill_bytes(&mut bytes)?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded() {
        let directory = KeyDirectory::new(b"a secret of tests");
        let id = directory.id("the first key");
        for number in 0..200_000 {
            directory.id(&format!("a generated key of 40 characters: {number:06}"));
        }
        let (entries, bytes) = directory.ids.size();
        assert!(
            entries > 10_000 && entries <= LIMITS.entries && bytes <= LIMITS.bytes,
            "{entries}, {bytes}"
        );
        assert_eq!(directory.id("the first key"), id, "an evicted id is computed again");
        for number in 0..1000 {
            directory.id(&format!("{number:08000}"));
            directory.id(&format!("{number:060000}"));
        }
        let (entries, bytes) = directory.ids.size();
        assert!(entries > 500 && bytes <= LIMITS.bytes, "{entries}, {bytes}");
    }
}
