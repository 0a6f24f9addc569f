//! What the resolvers of one request share.

use std::sync::Arc;

use async_graphql::Context;
use async_graphql::dataloader::{DataLoader, HashMapCache};
use chrono::{DateTime, Utc};

use super::args::check_text;
use super::batch::{Batches, Hold, NoDelay};
use super::error::Result;
use super::loader::StoreLoader;
use crate::config::GraphqlConfig;
use crate::domain::access::Caller;
use crate::observe::Observer;
use crate::store::Database;
use crate::store::key_directory::KeyDirectory;

/// What all requests share.
#[derive(Clone)]
pub struct Services {
    pub db: Arc<Database>,
    pub keys: Arc<KeyDirectory>,
    pub config: Arc<GraphqlConfig>,
    pub observer: Arc<Observer>,
}

/// Who asks, and when.
#[derive(Clone)]
pub struct Asking {
    pub services: Services,
    /// The end of every window of the request, so that they all end together.
    pub now: DateTime<Utc>,
    pub caller: Arc<Caller>,
}

/// One request: its moment, who sent it, and its batches.
pub struct Scope {
    pub services: Services,
    pub now: DateTime<Utc>,
    pub caller: Arc<Caller>,
    pub loader: DataLoader<StoreLoader, HashMapCache>,
    batches: Batches,
}

impl Scope {
    pub fn new(Asking { services, now, caller }: Asking, batches: Batches) -> Self {
        let loader = StoreLoader::new(services.clone());
        let loader =
            DataLoader::with_cache(loader, batches.clone(), NoDelay, HashMapCache::default())
                .max_batch_size(usize::MAX);
        Self { services, now, caller, loader, batches }
    }

    pub fn db(&self) -> &Database {
        &self.services.db
    }

    pub fn config(&self) -> &GraphqlConfig {
        &self.services.config
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
        Ok(self.services.keys.resolve(self.db(), text).await?)
    }
}

/// The scope of the request.
pub fn scope<'a>(ctx: &Context<'a>) -> &'a Scope {
    ctx.data_unchecked::<Scope>()
}
