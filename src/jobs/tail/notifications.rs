//! LISTEN/NOTIFY between the servers of one PostgreSQL database: a server notifies the others of stored
//! rows. It sends the notification after the commit, not in the transaction: PostgreSQL serializes the
//! commits of transactions that notify, and a failed notification must not roll back recorded rows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::observe::Observer;
use crate::store::Database;
use crate::supervisor::{Job, supervise};

/// The shortest pause between two notifications, for any rate of commits.
const MIN_PAUSE: Duration = Duration::from_millis(20);
/// The first and the longest pause before a lost or refused connection is opened again.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

pub(super) struct Notifications {
    pub db: Arc<Database>,
    pub observer: Arc<Observer>,
    /// Changes with each notification of another server.
    pub notified: watch::Sender<()>,
}

impl Notifications {
    /// Runs until it is dropped. `active` is the number of tables with subscribers on this server.
    pub(super) async fn run(self, active: watch::Receiver<u32>) {
        if self.db.has_notifications() {
            let Self { db, observer, notified } = self;
            let own = format!("{:032x}", rand::random::<u128>());
            let notify = Notify { db: db.clone(), own: own.clone() };
            let listen = Listen { db, observer: observer.clone(), notified, own, active };
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
                tracing::debug!(%error, "notification of the other servers failed");
            }
            sleep(MIN_PAUSE).await;
        }
    }
}

/// Listens for notifications while a table has subscribers.
struct Listen {
    db: Arc<Database>,
    observer: Arc<Observer>,
    notified: watch::Sender<()>,
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
            let idle = async { active.wait_for(|active| *active == 0).await.is_ok() };
            tokio::select! {
                _ = idle => retry = FIRST_RETRY,
                error = self.listen(&mut retry) => {
                    tracing::debug!(%error, "connection for notifications failed; polling by interval");
                    sleep(retry).await;
                    retry = (retry * 2).min(LAST_RETRY);
                }
            }
        }
    }
}

impl Listen {
    /// Forwards notifications until the connection fails; returns its error.
    async fn listen(&self, retry: &mut Duration) -> crate::error::Error {
        let mut listener = match self.db.listen().await {
            Ok(listener) => listener,
            Err(error) => return error,
        };
        *retry = FIRST_RETRY;
        // A notification may have been sent before LISTEN took effect.
        self.notified.send_replace(());
        loop {
            match listener.receive().await {
                Ok(Some(sender)) if sender == self.own => {}
                Ok(sender) => {
                    if sender.is_some() {
                        self.observer.metrics.tail.notified();
                    }
                    self.notified.send_replace(());
                }
                Err(error) => return error,
            }
        }
    }
}
