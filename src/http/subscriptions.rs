//! How many subscriptions there are, and how many of them are answered at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::problem::Problem;
use super::rate::Sender;
use super::shared::SharedAnswers;
use crate::config::ServerConfig;
use crate::observe::Observer;

/// After which it is worth trying again: others end when they please.
const RETRY: Duration = Duration::from_secs(10);

/// The subscriptions of the whole server.
pub struct Subscriptions {
    per_sender: u32,
    in_all: u32,
    open: Mutex<Open>,
    turns: Semaphore,
    pub(super) shared: SharedAnswers,
    observer: Arc<Observer>,
}

#[derive(Default)]
struct Open {
    in_all: u32,
    by_sender: HashMap<Sender, u32>,
}

/// The place of one subscription; it is free again when this is dropped.
pub(super) struct Place {
    subscriptions: Arc<Subscriptions>,
    sender: Sender,
}

impl Subscriptions {
    pub fn new(config: &ServerConfig, connections: u32, observer: Arc<Observer>) -> Self {
        Self {
            per_sender: config.max_subscriptions,
            in_all: config.max_subscriptions_in_all,
            open: Mutex::default(),
            // The other half of the connections to the database is left to requests: subscriptions
            // that are too many for it become slower, and nothing else does.
            turns: Semaphore::new((connections as usize / 2).max(1)),
            shared: SharedAnswers::default(),
            observer,
        }
    }

    pub(super) fn enter(self: &Arc<Self>, sender: Sender) -> Result<Place, Problem> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let refuse = |status, message| {
            Problem::new(status, "TOO_MANY_SUBSCRIPTIONS", message).retry_after(RETRY)
        };
        if open.by_sender.get(&sender).copied().unwrap_or(0) >= self.per_sender {
            let message =
                format!("a token or address may have {} subscriptions at a time", self.per_sender);
            return Err(refuse(StatusCode::TOO_MANY_REQUESTS, message));
        }
        if open.in_all >= self.in_all {
            let message = "the server has as many subscriptions as it takes; try again later";
            return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, message.to_owned()));
        }
        open.in_all += 1;
        *open.by_sender.entry(sender.clone()).or_default() += 1;
        self.observer.metrics.subscription_began();
        Ok(Place { subscriptions: Arc::clone(self), sender })
    }

    /// Waits until one more event may be answered, first come, first served.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It fails only where the semaphore is closed, which nobody does.
        self.turns.acquire().await.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.subscriptions.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.in_all = open.in_all.saturating_sub(1);
        if let Some(count) = open.by_sender.get_mut(&self.sender) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_sender.remove(&self.sender);
            }
        }
        self.subscriptions.observer.metrics.subscription_ended();
    }
}
