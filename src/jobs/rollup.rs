//! Folds new calls into the rollups, and reads their state for the queries of this server. Of the servers of
//! a database, the one with the lease folds.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::observe::redact::without_values;
use crate::store::rollup::{self, FOLD_MOST, Folder, Observed};
use crate::store::{Database, lease};
use crate::supervisor::{Job, supervise};

const LEASE: &str = "rollup_lease";
/// A crashed server blocks the others for at most this long.
const LEASE_TIME: TimeDelta = TimeDelta::seconds(60);
/// The lease is renewed after this time.
const LEASE_RENEWAL: Duration = Duration::from_secs(30);
/// How often the state is read.
const TICK: Duration = Duration::from_secs(1);
/// So many calls are folded at the next tick; fewer are read by every query until they are folded.
const MANY: i64 = 500;
/// Fewer calls are folded after this time.
const LAST_TICK: Duration = Duration::from_secs(10);
/// The progress of a long fold is logged so often.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Starts the job, unless rollups are disabled or the database is read-only.
pub fn start(
    db: &Arc<Database>,
    clock: Clock,
    observer: &Arc<Observer>,
    stopping: watch::Receiver<bool>,
) -> Option<JoinHandle<()>> {
    let job = RollupJob {
        db: db.clone(),
        clock,
        observer: observer.clone(),
        holder: format!("{:016x}", rand::random::<u64>()),
        stopping,
        leased_at: None,
        folded_at: None,
        folder: Folder::default(),
    };
    db.has_rollups().then(|| tokio::spawn(supervise(observer.clone(), job)))
}

struct RollupJob {
    db: Arc<Database>,
    clock: Clock,
    observer: Arc<Observer>,
    /// Identifies this server as the holder of the lease.
    holder: String,
    stopping: watch::Receiver<bool>,
    leased_at: Option<Instant>,
    folded_at: Option<Instant>,
    folder: Folder,
}

impl Job for RollupJob {
    fn name(&self) -> &'static str {
        "rollup"
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    async fn run(&mut self) {
        let mut failures = 0_u32;
        while !self.is_stopping() {
            let pause = match self.tick().await {
                Ok(()) => {
                    failures = 0;
                    TICK
                }
                // Another server has folded at the same time.
                Err(Error::Busy) => TICK,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.observer.metrics.rollup.failed();
                    let cause =
                        std::error::Error::source(&error).map(|cause| without_values(&cause));
                    if failures == 1 {
                        tracing::warn!(%error, cause, "folding calls failed; retrying");
                    }
                    RETRY_PAUSE
                }
            };
            let mut stopping = self.stopping.clone();
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => {}
                () = sleep(pause) => {}
            }
        }
        if self.leased_at.is_some()
            && let Err(error) = lease::release(&self.db, LEASE, &self.holder).await
        {
            tracing::debug!(%error, "the lease of the rollups was not released");
        }
    }
}

impl RollupJob {
    async fn tick(&mut self) -> Result<()> {
        let observed = rollup::refresh(&self.db).await?;
        self.observe(observed.as_ref());
        let lag = observed.as_ref().map_or(MANY, Observed::lag);
        let is_due = self.folded_at.is_none_or(|folded| folded.elapsed() >= LAST_TICK);
        if lag < MANY && !is_due || !self.has_lease().await? {
            return Ok(());
        }
        self.fold().await?;
        self.folded_at = Some(Instant::now());
        let observed = rollup::refresh(&self.db).await?;
        self.observe(observed.as_ref());
        Ok(())
    }

    fn observe(&self, observed: Option<&Observed>) {
        if let Some(observed) = observed {
            self.observer.metrics.rollup.set_lag(observed.lag());
        }
    }

    async fn has_lease(&mut self) -> Result<bool> {
        if self.leased_at.is_some_and(|at| at.elapsed() < LEASE_RENEWAL) {
            return Ok(true);
        }
        let now = self.clock.now();
        let is_leased =
            lease::acquire(&self.db, LEASE, &self.holder, (now, now + LEASE_TIME)).await?;
        self.leased_at = is_leased.then(Instant::now);
        Ok(is_leased)
    }

    /// Folds until no call is left. After each step it pauses for the time of its write transaction, so that
    /// other writers have half of the time.
    async fn fold(&mut self) -> Result<()> {
        let started = Instant::now();
        let (mut calls, mut logged) = (0, started);
        while !self.is_stopping() && self.has_lease().await? {
            let now = rollup::micros(self.db.zone().to_stored(self.clock.now()));
            let folded = self.folder.fold(&self.db, now, FOLD_MOST).await?;
            calls += folded.calls;
            self.observer.metrics.rollup.folded(folded.calls);
            if logged.elapsed() >= LOG_EVERY {
                logged = Instant::now();
                let observed = rollup::refresh(&self.db).await?;
                self.observe(observed.as_ref());
                let left = observed.as_ref().map_or(0, Observed::lag);
                tracing::info!(calls, left, "folding calls into rollups");
            }
            if !folded.more {
                break;
            }
            sleep(folded.wrote).await;
        }
        if logged > started {
            let seconds = started.elapsed().as_secs();
            tracing::info!(calls, seconds, "calls are folded into rollups");
        }
        Ok(())
    }
}
