//! Whether those who follow something may still do so. Thousands may follow with one token: it is asked
//! about once for all of them, by one timer.

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

/// How often it is asked whether a token still holds, however seldom events come.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// The callers who follow something.
pub struct Callers {
    tokens: Arc<TokenDirectory>,
    db: Arc<Database>,
    clock: Clock,
    /// Whether each may not ask any more. Those who brought nothing are one.
    watched: Mutex<HashMap<Option<Proof>, watch::Receiver<bool>>>,
}

/// Tells when a caller may not ask any more.
pub(super) struct CallerWatch(watch::Receiver<bool>);

impl Callers {
    pub fn new(tokens: Arc<TokenDirectory>, db: Arc<Database>, clock: Clock) -> Self {
        Self { tokens, db, clock, watched: Mutex::default() }
    }

    /// Whoever the token or the session stands for now.
    pub(super) async fn caller_still(&self, proof: Option<&Proof>) -> Result<Arc<Caller>> {
        self.tokens.caller_still(&self.db, proof, self.clock.now()).await
    }

    pub(super) fn watch(self: &Arc<Self>, proof: Option<&Proof>) -> CallerWatch {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = watched.entry(proof.cloned()).or_insert_with(|| {
            let (ended, receiver) = watch::channel(false);
            let check = CallerCheck { callers: Arc::clone(self), proof: proof.cloned(), ended };
            tokio::spawn(supervise(self.db.observer().clone(), check));
            receiver
        });
        CallerWatch(ended.clone())
    }
}

/// Checks one caller until the access ends or no subscription watches it.
struct CallerCheck {
    callers: Arc<Callers>,
    proof: Option<Proof>,
    ended: watch::Sender<bool>,
}

impl Job for CallerCheck {
    fn name(&self) -> &'static str {
        "caller_check"
    }

    async fn run(&mut self) {
        let callers = &self.callers;
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            let may_not = callers.caller_still(self.proof.as_ref()).await.is_err();
            let mut watched = callers.watched.lock().unwrap_or_else(PoisonError::into_inner);
            // One of them is kept here.
            if may_not || self.ended.receiver_count() < 2 {
                watched.remove(&self.proof);
                self.ended.send_replace(may_not);
                return;
            }
        }
    }
}

impl CallerWatch {
    pub async fn ended(&mut self) -> Error {
        // An error means that nobody asks any more, which must not let anyone stay.
        let _ = self.0.wait_for(|ended| *ended).await;
        Error::Unauthenticated
    }
}
