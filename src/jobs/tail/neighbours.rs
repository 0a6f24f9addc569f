//! What the servers of one PostgreSQL database tell each other: that rows were stored. After the commit
//! rather than in its transaction, since PostgreSQL lets transactions that notify commit one by one, and
//! since a word that cannot be passed on must not undo what was recorded.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::observe::Observer;
use crate::store::Database;
use crate::supervisor::{Job, supervise};

/// However often is committed, the others are not told more often.
const TELL_EVERY: Duration = Duration::from_millis(20);
/// How soon a connection that was lost or refused is tried again, at first and at last.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

pub(super) struct Neighbours {
    pub db: Arc<Database>,
    pub observer: Arc<Observer>,
    /// Changes whenever something was heard.
    pub heard: watch::Sender<()>,
}

impl Neighbours {
    /// Goes on until it is dropped. `active` counts the tables that are followed here.
    pub(super) async fn run(self, active: watch::Receiver<u32>) {
        if self.db.has_notifications() {
            let Self { db, observer, heard } = self;
            let own = format!("{:032x}", rand::random::<u128>());
            let notify = Notify { db: db.clone(), own: own.clone() };
            let listen = Listen { db, observer: observer.clone(), heard, own, active };
            futures_util::join!(supervise(observer.clone(), notify), supervise(observer, listen));
        }
        std::future::pending().await
    }
}

/// Notifies the other servers of commits.
struct Notify {
    db: Arc<Database>,
    own: String,
}

impl Job for Notify {
    fn name(&self) -> &'static str {
        "notify"
    }

    async fn run(&mut self) {
        let mut commits = self.db.commits();
        while commits.changed().await.is_ok() {
            if let Err(error) = self.db.notify(&self.own).await {
                tracing::debug!(%error, "the other servers could not be told of rows");
            }
            sleep(TELL_EVERY).await;
        }
    }
}

/// Listens to the other servers while a table is followed.
struct Listen {
    db: Arc<Database>,
    observer: Arc<Observer>,
    heard: watch::Sender<()>,
    own: String,
    active: watch::Receiver<u32>,
}

impl Job for Listen {
    fn name(&self) -> &'static str {
        "listen"
    }

    async fn run(&mut self) {
        let mut retry = FIRST_RETRY;
        let mut active = self.active.clone();
        loop {
            if active.wait_for(|active| *active > 0).await.is_err() {
                return;
            }
            let left = async { active.wait_for(|active| *active == 0).await.is_ok() };
            tokio::select! {
                _ = left => retry = FIRST_RETRY,
                error = self.hear(&mut retry) => {
                    tracing::debug!(%error, "other servers are not heard; tables are read by the clock");
                    sleep(retry).await;
                    retry = (retry * 2).min(LAST_RETRY);
                }
            }
        }
    }
}

impl Listen {
    /// Passes on what is heard until the connection is lost for good.
    async fn hear(&self, retry: &mut Duration) -> crate::error::Error {
        let mut listener = match self.db.listen().await {
            Ok(listener) => listener,
            Err(error) => return error,
        };
        *retry = FIRST_RETRY;
        // Something may have been told before it listened.
        self.heard.send_replace(());
        loop {
            match listener.receive().await {
                Ok(Some(who)) if who == self.own => {}
                Ok(told) => {
                    if told.is_some() {
                        self.observer.metrics.tail.heard();
                    }
                    self.heard.send_replace(());
                }
                Err(error) => return error,
            }
        }
    }
}
