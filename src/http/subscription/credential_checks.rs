//! Checks whether the credentials of subscribers are still valid: one timer and one check per token, even
//! if thousands of subscribers use it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::access::{Proof, TokenDirectory};
use crate::clock::Clock;
use crate::domain::access::Caller;
use crate::error::{Error, Result};
use crate::store::Database;
use crate::supervisor::{Job, supervise};

const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The credentials of all subscribers.
pub struct CredentialChecks {
    tokens: Arc<TokenDirectory>,
    db: Arc<Database>,
    clock: Clock,
    /// Whether each credential was revoked. Anonymous subscribers share one entry.
    watched: Mutex<HashMap<Option<Proof>, watch::Receiver<bool>>>,
}

/// Notifies a subscriber when its credentials are revoked.
pub(crate) struct CredentialWatch(watch::Receiver<bool>);

impl CredentialChecks {
    pub fn new(tokens: Arc<TokenDirectory>, db: Arc<Database>, clock: Clock) -> Self {
        Self { tokens, db, clock, watched: Mutex::default() }
    }

    /// The current caller of a token or session.
    pub(crate) async fn current_caller(&self, proof: Option<&Proof>) -> Result<Arc<Caller>> {
        self.tokens.current_caller(&self.db, proof, self.clock.now()).await
    }

    pub(crate) fn watch(self: &Arc<Self>, proof: Option<&Proof>) -> CredentialWatch {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let revoked = watched.entry(proof.cloned()).or_insert_with(|| {
            let (revoked, receiver) = watch::channel(false);
            let checks = Arc::clone(self);
            let check = CredentialCheck { checks, proof: proof.cloned(), revoked };
            tokio::spawn(supervise(self.db.observer().clone(), check));
            receiver
        });
        CredentialWatch(revoked.clone())
    }
}

/// Checks one credential until it is revoked or no subscription uses it.
struct CredentialCheck {
    checks: Arc<CredentialChecks>,
    proof: Option<Proof>,
    revoked: watch::Sender<bool>,
}

impl Job for CredentialCheck {
    fn name(&self) -> &'static str {
        "caller_check"
    }

    async fn run(&mut self) {
        let checks = &self.checks;
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let is_revoked = checks.current_caller(self.proof.as_ref()).await.is_err();
            let mut watched = checks.watched.lock().unwrap_or_else(PoisonError::into_inner);
            // `watched` itself holds one receiver.
            if is_revoked || self.revoked.receiver_count() < 2 {
                watched.remove(&self.proof);
                self.revoked.send_replace(is_revoked);
                return;
            }
        }
    }
}

impl CredentialWatch {
    pub async fn revoked(&mut self) -> Error {
        // The sender is gone if its check ended: treat the credentials as revoked.
        let _ = self.0.wait_for(|revoked| *revoked).await;
        Error::Unauthenticated
    }
}
