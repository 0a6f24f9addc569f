//! What the resolvers of one request share.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_graphql::Context;
use async_graphql::dataloader::{DataLoader, HashMapCache};
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::args::check_text;
use super::batch::{Batches, Hold, NoDelay};
use super::error::Result;
use super::loader::StoreLoader;
use super::loader::key_search::FullKeySearch;
use crate::clock::ClockWatch;
use crate::config::{GraphqlConfig, ServerConfig};
use crate::domain::access::{AccessScope, Caller};
use crate::domain::mask::{contains_ignoring_case, mask};
use crate::error::Error;
use crate::feed::Feeds;
use crate::ingest::recorder::Recorder;
use crate::observe::Observer;
use crate::prune::deletion::Deletions;
use crate::store::Database;
use crate::store::key_directory::{KeyDirectory, KeySnapshot};

/// What all requests share.
#[derive(Clone)]
pub struct Services {
    pub db: Arc<Database>,
    pub keys: Arc<KeyDirectory>,
    pub recorder: Recorder,
    pub deletions: Deletions,
    pub feeds: Feeds,
    pub config: Arc<GraphqlConfig>,
    pub server: Arc<ServerConfig>,
    pub observer: Arc<Observer>,
    pub clock_watch: Arc<ClockWatch>,
}

/// Who asks, and when.
#[derive(Clone)]
pub struct Asking {
    pub services: Services,
    /// The end of every window of the request, so that they all end together.
    pub now: DateTime<Utc>,
    pub caller: Arc<Caller>,
    pub address: IpAddr,
}

/// One request: its moment, who sent it, and its batches.
pub struct Scope {
    pub services: Services,
    pub now: DateTime<Utc>,
    pub caller: Arc<Caller>,
    pub address: IpAddr,
    loader: OnceLock<DataLoader<StoreLoader, HashMapCache>>,
    began: Instant,
    batches: Batches,
    key_snapshot: KeySnapshot,
}

impl Scope {
    pub fn new(asking: Asking, batches: Batches) -> Self {
        let Asking { services, now, caller, address } = asking;
        Self {
            services,
            now,
            caller,
            address,
            loader: OnceLock::new(),
            began: Instant::now(),
            batches,
            key_snapshot: KeySnapshot::default(),
        }
    }

    /// The loader of the request, made when it is first needed.
    pub fn loader(&self) -> &DataLoader<StoreLoader, HashMapCache> {
        self.loader.get_or_init(|| {
            let loader = StoreLoader::new(Asking {
                services: self.services.clone(),
                now: self.now,
                caller: self.caller.clone(),
                address: self.address,
            });
            DataLoader::with_cache(loader, self.batches.clone(), NoDelay, HashMapCache::default())
                .max_batch_size(usize::MAX)
        })
    }

    /// When so much of the time that a request may take is over.
    pub fn after(&self, share: f64) -> Instant {
        self.began + Duration::from_secs(self.config().timeout_seconds).mul_f64(share)
    }

    pub fn db(&self) -> &Database {
        &self.services.db
    }

    pub fn config(&self) -> &GraphqlConfig {
        &self.services.config
    }

    /// Refuses a caller who may not do this.
    pub fn require(&self, needed: AccessScope) -> Result<()> {
        if self.caller.scopes.has(needed) {
            return Ok(());
        }
        let message = format!("this needs a token with the scope {}", needed.name());
        Err(Error::Forbidden(message).into())
    }

    /// A search for keys. Without the scope to see keys it finds no more than is shown of them, since
    /// guesses could spell out the rest.
    pub fn key_search(&self, filter: &'static str, needle: String) -> KeySearch {
        let in_full = self.caller.scopes.has(AccessScope::RevealKeys);
        KeySearch { filter, needle, in_full }
    }

    /// Records a search of full keys in the audit log. Call it before the result is returned: a series
    /// of searches spells out a key. `matches` is `None` for a subscription, which matches later keys.
    pub async fn audit_search(&self, search: &KeySearch, matches: Option<usize>) -> Result<()> {
        // The empty text matches every key and reveals nothing.
        if search.in_full && !search.needle.is_empty() {
            let KeySearch { filter, needle, .. } = search.clone();
            self.loader().load_one(FullKeySearch { filter, needle, matches }).await?;
        }
        Ok(())
    }

    /// Keeps batches back while a list of calls is read of which error logs are wanted, so that
    /// those of several lists are one batch.
    pub fn hold_for_error_logs(&self, ctx: &Context<'_>) -> Option<Hold> {
        let list = ctx.look_ahead();
        let wanted = list.field("nodes").field("errorLog").exists()
            || list.field("edges").field("node").field("errorLog").exists();
        wanted.then(|| self.batches.hold())
    }

    /// The key that an argument means: a key itself or the id of one.
    pub async fn key(&self, text: &str) -> Result<Arc<str>> {
        self.key_of("key", text).await
    }

    /// The same for the several of a filter.
    pub async fn keys(&self, texts: Vec<String>) -> Result<Vec<String>> {
        let mut keys = Vec::with_capacity(texts.len());
        for text in texts {
            // Most are found in memory; the first that is not reads the directory.
            keys.push(self.key_of("filter", &text).await?.to_string());
        }
        Ok(keys)
    }

    async fn key_of(&self, argument: &'static str, text: &str) -> Result<Arc<str>> {
        check_text(argument, text)?;
        self.resolve_key(text).await
    }

    /// The key that a text means, which is a key or the id of one.
    pub async fn resolve_key(&self, text: &str) -> Result<Arc<str>> {
        let key = self.services.keys.resolve(self.db(), text, &self.key_snapshot).await?;
        Ok(key.ok_or_else(|| Error::NotFound(format!("no API key has the id `{text}`")))?)
    }

    /// The key with this id; nothing where the database knows none.
    pub async fn find_key(&self, id: &str) -> Result<Option<Arc<str>>> {
        Ok(self.services.keys.find(self.db(), id, &self.key_snapshot).await?)
    }
}

/// A search for keys: in full keys for a caller with the scope REVEAL_KEYS, else in masked ones.
#[derive(Clone)]
pub struct KeySearch {
    /// The argument that searches, for the audit log.
    filter: &'static str,
    needle: String,
    in_full: bool,
}

impl KeySearch {
    pub fn finds(&self, key: &str) -> bool {
        match self.in_full {
            true => contains_ignoring_case(key, &self.needle),
            false => contains_ignoring_case(&mask(key), &self.needle),
        }
    }
}

/// The scope of a request that reads calls, error logs or keys, which needs a scope of access.
pub fn reading<'a>(ctx: &Context<'a>) -> Result<&'a Scope> {
    let scope = scope(ctx);
    scope.require(AccessScope::Read)?;
    Ok(scope)
}

/// The scope of the request.
pub fn scope<'a>(ctx: &Context<'a>) -> &'a Scope {
    ctx.data_unchecked::<Scope>()
}
