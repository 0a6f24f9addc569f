//! State shared by the resolvers of one request.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_graphql::Context;
use async_graphql::dataloader::{DataLoader, HashMapCache};
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::answer::AnswerSize;
use super::args::check_text;
use super::batch::{BatchHold, Batches, NoDelay};
use super::error::Result;
use super::loader::StoreLoader;
use super::loader::audit::FullKeySearch;
use crate::clock::ClockWatch;
use crate::config::{GraphqlConfig, ServerConfig};
use crate::diagnoses::CurrentDiagnoses;
use crate::domain::access::{AccessScope, Caller};
use crate::domain::mask::{contains_ignoring_case, mask};
use crate::error::Error;
use crate::feed::Feeds;
use crate::ingest::recorder::Recorder;
use crate::observe::Observer;
use crate::prune::deletion::Deletions;
use crate::store::Database;
use crate::store::density::Density;
use crate::store::key_directory::{KeyDirectory, KeySnapshot};

/// Services shared by all requests.
#[derive(Clone)]
pub struct Services {
    pub db: Arc<Database>,
    pub density: Arc<Density>,
    pub keys: Arc<KeyDirectory>,
    pub recorder: Recorder,
    pub deletions: Deletions,
    pub feeds: Feeds,
    pub diagnoses: Arc<CurrentDiagnoses>,
    pub config: Arc<GraphqlConfig>,
    pub server: Arc<ServerConfig>,
    pub observer: Arc<Observer>,
    pub clock_watch: Arc<ClockWatch>,
}

/// The caller, time and services of a request.
#[derive(Clone)]
pub struct RequestInfo {
    pub services: Services,
    /// The end of every window of the request: all windows end at the same instant.
    pub now: DateTime<Utc>,
    pub caller: Arc<Caller>,
    pub address: IpAddr,
    /// The size of the answer, shared by all requests of a batch.
    pub answer: Arc<AnswerSize>,
}

/// The state of one request: its [`RequestInfo`], loader and batches.
pub struct Scope {
    info: RequestInfo,
    loader: OnceLock<DataLoader<StoreLoader, HashMapCache>>,
    started: Instant,
    batches: Batches,
    key_snapshot: KeySnapshot,
}

impl Deref for Scope {
    type Target = RequestInfo;

    fn deref(&self) -> &RequestInfo {
        &self.info
    }
}

impl Scope {
    pub fn new(info: RequestInfo, batches: Batches) -> Self {
        Self {
            info,
            loader: OnceLock::new(),
            started: Instant::now(),
            batches,
            key_snapshot: KeySnapshot::default(),
        }
    }

    /// The loader of the request, created at the first use.
    pub fn loader(&self) -> &DataLoader<StoreLoader, HashMapCache> {
        self.loader.get_or_init(|| {
            let loader = StoreLoader::new(self.info.clone());
            DataLoader::with_cache(loader, self.batches.clone(), NoDelay, HashMapCache::default())
                .max_batch_size(usize::MAX)
        })
    }

    /// The instant when this share of the request timeout has passed.
    pub fn after(&self, share: f64) -> Instant {
        self.started + Duration::from_secs(self.config().timeout_seconds).mul_f64(share)
    }

    pub fn db(&self) -> &Database {
        &self.services.db
    }

    pub fn config(&self) -> &GraphqlConfig {
        &self.services.config
    }

    /// Returns an error if the caller does not have the access scope.
    pub fn require(&self, needed: AccessScope) -> Result<()> {
        if self.caller.scopes.has(needed) {
            return Ok(());
        }
        let message = format!("this needs a token with the scope {}", needed.name());
        Err(Error::Forbidden(message).into())
    }

    /// A search for keys. Without the scope REVEAL_KEYS it searches masked keys only, since a series of
    /// guesses could reveal the hidden part.
    pub fn key_search(&self, filter: &'static str, text: String) -> KeySearch {
        let in_full = self.caller.scopes.has(AccessScope::RevealKeys);
        KeySearch { filter, text, in_full }
    }

    /// Records a search of full keys in the audit log. Call it before the result is returned: a series
    /// of searches spells out a key. `matches` is `None` for a subscription, which matches later keys.
    pub async fn audit_search(&self, search: &KeySearch, matches: Option<usize>) -> Result<()> {
        // The empty text matches every key and reveals nothing.
        if search.in_full && !search.text.is_empty() {
            let KeySearch { filter, text, .. } = search.clone();
            self.loader().load_one(FullKeySearch { filter, text, matches }).await?;
        }
        Ok(())
    }

    /// Delays batches while a list of calls that selects `errorLog` is read, so that the error logs of
    /// several lists are one batch.
    pub fn hold_for_error_logs(&self, ctx: &Context<'_>) -> Option<BatchHold> {
        let list = ctx.look_ahead();
        let wanted = list.field("nodes").field("errorLog").exists()
            || list.field("edges").field("node").field("errorLog").exists();
        wanted.then(|| self.batches.hold())
    }

    /// Resolves the argument `key`: a full key or the id of one.
    pub async fn key(&self, text: &str) -> Result<Arc<str>> {
        self.key_of("key", text).await
    }

    /// Resolves the keys of a filter.
    pub async fn keys(&self, texts: Vec<String>) -> Result<Vec<String>> {
        let mut keys = Vec::with_capacity(texts.len());
        for text in texts {
            // Most keys are cached; the first that is not reads all keys.
            keys.push(self.key_of("filter", &text).await?.to_string());
        }
        Ok(keys)
    }

    async fn key_of(&self, argument: &'static str, text: &str) -> Result<Arc<str>> {
        check_text(argument, text)?;
        self.resolve_key(text).await
    }

    /// Resolves a full key or the id of a key.
    pub async fn resolve_key(&self, text: &str) -> Result<Arc<str>> {
        let key = self.services.keys.resolve(self.db(), text, &self.key_snapshot).await?;
        Ok(key.ok_or_else(|| Error::NotFound(format!("no API key has the id `{text}`")))?)
    }

    /// The key with this id; `None` if the database has none.
    pub async fn find_key(&self, id: &str) -> Result<Option<Arc<str>>> {
        Ok(self.services.keys.find(self.db(), id, &self.key_snapshot).await?)
    }
}

/// A search for keys: in full keys for a caller with the scope REVEAL_KEYS, else in masked ones.
#[derive(Clone)]
pub struct KeySearch {
    /// The name of the search argument, for the audit log.
    filter: &'static str,
    text: String,
    in_full: bool,
}

impl KeySearch {
    pub fn finds(&self, key: &str) -> bool {
        match self.in_full {
            true => contains_ignoring_case(key, &self.text),
            false => contains_ignoring_case(&mask(key), &self.text),
        }
    }
}

/// The scope of a request that reads calls, error logs or keys. Requires the access scope READ.
pub fn read_scope<'a>(ctx: &Context<'a>) -> Result<&'a Scope> {
    let scope = scope(ctx);
    scope.require(AccessScope::Read)?;
    Ok(scope)
}

/// Adds a text to the answer size and returns it.
pub fn count_text<'a>(ctx: &Context<'_>, text: &'a Option<String>) -> Result<Option<&'a str>> {
    if let Some(text) = text {
        scope(ctx).answer.add_text(text)?;
    }
    Ok(text.as_deref())
}

/// Adds the objects of a list and their texts to the answer size.
pub fn count_list<T>(ctx: &Context<'_>, items: &[T], text: impl Fn(&T) -> usize) -> Result<()> {
    let answer = &scope(ctx).answer;
    answer.add_list(ctx, &ctx.item.node.selection_set.node, items.len())?;
    Ok(answer.add(0, items.iter().map(|item| text(item) as u64).sum())?)
}

/// The scope of the request.
pub fn scope<'a>(ctx: &Context<'a>) -> &'a Scope {
    ctx.data_unchecked::<Scope>()
}
