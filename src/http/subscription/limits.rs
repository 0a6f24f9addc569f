//! Limits of subscriptions: how many are open, and how many events execute concurrently.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::template::AnswerCache;
use crate::config::ServerConfig;
use crate::http::client::ClientKey;
use crate::http::problem::Problem;
use crate::observe::Observer;

/// `Retry-After` at a limit.
const RETRY: Duration = Duration::from_secs(10);

/// The subscriptions of the whole server.
pub struct Subscriptions {
    per_client: u32,
    total: u32,
    open: Mutex<OpenCounts>,
    executions: Semaphore,
    pub(crate) answers: AnswerCache,
    observer: Arc<Observer>,
}

#[derive(Default)]
struct OpenCounts {
    total: u32,
    by_client: HashMap<ClientKey, u32>,
}

/// Permit of one subscription, released on drop.
pub(crate) struct SubscriptionPermit {
    subscriptions: Arc<Subscriptions>,
    client: ClientKey,
}

impl Subscriptions {
    pub fn new(config: &ServerConfig, connections: u32, observer: Arc<Observer>) -> Self {
        Self {
            per_client: config.max_subscriptions,
            total: config.max_subscriptions_in_all,
            open: Mutex::default(),
            // Half of the database connections: too many subscriptions only slow down each other, not
            // the requests.
            executions: Semaphore::new((connections as usize / 2).max(1)),
            answers: AnswerCache::default(),
            observer,
        }
    }

    pub(crate) fn acquire(
        self: &Arc<Self>,
        client: ClientKey,
    ) -> Result<SubscriptionPermit, Problem> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let reject = |status, message| {
            Problem::new(status, "TOO_MANY_SUBSCRIPTIONS", message).retry_after(RETRY)
        };
        if open.by_client.get(&client).copied().unwrap_or(0) >= self.per_client {
            let limit = self.per_client;
            let message =
                format!("too many subscriptions of this token or address; the limit is {limit}");
            return Err(reject(StatusCode::TOO_MANY_REQUESTS, message));
        }
        if open.total >= self.total {
            let message = "too many subscriptions on this server; retry after Retry-After";
            return Err(reject(StatusCode::SERVICE_UNAVAILABLE, message.to_owned()));
        }
        open.total += 1;
        *open.by_client.entry(client.clone()).or_default() += 1;
        self.observer.metrics.subscription_started();
        Ok(SubscriptionPermit { subscriptions: Arc::clone(self), client })
    }

    /// Waits for a permit to execute an event, in order of arrival.
    pub(crate) async fn acquire_execution(&self) -> Option<SemaphorePermit<'_>> {
        self.executions.acquire().await.ok()
    }
}

impl Drop for SubscriptionPermit {
    fn drop(&mut self) {
        let mut open = self.subscriptions.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if let Some(count) = open.by_client.get_mut(&self.client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_client.remove(&self.client);
            }
        }
        self.subscriptions.observer.metrics.subscription_ended();
    }
}
