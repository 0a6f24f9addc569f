//! Deletes what is older than the configuration keeps. Of the servers of one database, one does.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::clock::ClockWatch;
use crate::config::KeepConfig;
use crate::domain::duration;
use crate::domain::table::LogTable;
use crate::error::Result;
use crate::observe::{Observer, milliseconds};
use crate::prune::guard::{self, Ages, Plan, Refusal};
use crate::prune::{self, Counts, Pace, Tally, deletion};
use crate::store::audit::AuditAction;
use crate::store::deletion_log::{self, DeletionEntry, DeletionStart};
use crate::store::{Database, lease, origin};
use crate::supervisor::{Job, supervise};

/// In the audit log, and the name of the job.
const CALLER: &str = "retention";
const LEASE: &str = "retention_lease";
/// For how long a server that is gone keeps the others from it.
const LEASE_TIME: TimeDelta = TimeDelta::minutes(10);
/// Half of it: then the lease is taken anew.
const TURN: Duration = Duration::from_secs(300);
/// The server's first requests come first.
const AFTER_START: Duration = Duration::from_secs(60);

/// The job and what it needs.
pub struct Retention {
    pub db: Arc<Database>,
    pub observer: Arc<Observer>,
    pub clock: Arc<ClockWatch>,
    pub keep: KeepConfig,
}

/// Refuses a configuration that would delete what nobody clearly asked to delete.
pub async fn check(db: &Database, keep: &KeepConfig) -> anyhow::Result<()> {
    if !keep.is_on() {
        return Ok(());
    }
    ensure!(
        !db.is_read_only(),
        "--keep-calls and --keep-errors delete rows, which --read-only forbids: leave out one or \
         the other"
    );
    let wanted = |table: &LogTable| match table {
        LogTable::Calls => keep.keep_calls.is_some(),
        LogTable::ErrorLogs => keep.keep_errors.is_some(),
    };
    let others = origin::external_tables(db).await.context("cannot tell who made the tables")?;
    let others: Vec<&str> = others.iter().filter(|table| wanted(table)).map(|t| t.name()).collect();
    if !others.is_empty() && !keep.prune_gateway_tables {
        bail!(
            "Callscope did not make {}: the rows are the gateway's, which may need them, and may \
             delete old ones itself. To delete them all the same say --prune-gateway-tables, or \
             leave out --keep-calls and --keep-errors",
            others.join(" and ")
        );
    }
    Ok(())
}

impl Retention {
    /// Starts the job, if there is something to delete, until `stopping` tells that the server stops.
    pub fn start(self, stopping: watch::Receiver<bool>) -> Option<JoinHandle<()>> {
        if !self.keep.is_on() {
            return None;
        }
        let observer = self.observer.clone();
        let holder = format!("{:016x}", rand::random::<u64>());
        let job = RetentionJob { retention: self, holder, stopping, refusal: None };
        Some(tokio::spawn(supervise(observer, job)))
    }
}

struct RetentionJob {
    retention: Retention,
    /// Of the lease.
    holder: String,
    stopping: watch::Receiver<bool>,
    /// The last refusal, which is logged once.
    refusal: Option<&'static str>,
}

impl Job for RetentionJob {
    fn name(&self) -> &'static str {
        CALLER
    }

    async fn run(&mut self) {
        let every = self.retention.keep.keep_check_every.to_std().unwrap_or(AFTER_START);
        let mut due = interval_at(Instant::now() + every.min(AFTER_START), every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = self.stopping.clone();
        loop {
            tokio::select! {
                biased;
                // An error: whoever would stop the server is gone, and so is the server.
                _ = stopping.wait_for(|stopping| *stopping) => return,
                _ = due.tick() => {}
            }
            if let Err(error) = self.look().await {
                self.retention.observer.metrics.retention_failed();
                let cause = std::error::Error::source(&error)
                    .map(|cause| crate::observe::redact::without_values(&cause));
                tracing::warn!(%error, cause, "old rows could not be deleted; trying again later");
            }
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }
}

impl RetentionJob {
    /// Deletes what is too old by now, unless another server is at it or the clock may be wrong.
    async fn look(&mut self) -> Result<()> {
        let began = Instant::now();
        let mut run = Run::default();
        let worked = self.turns(&mut run).await;
        let Retention { db, clock, observer, .. } = &self.retention;
        let counts = run.tally.counts();
        if let Some(entry) = &run.entry {
            let ending = deletion::ending(clock.clock(), deletion::outcome(&worked), counts);
            deletion::complete(db, entry, &ending, &deletion::SHORT_DELAYS).await;
        }
        worked?;
        observer.metrics.retention_ran(clock.time().now);
        let (Counts { calls, error_logs }, freed_bytes) = (counts, run.freed_bytes);
        if calls + error_logs > 0 {
            let duration_ms = milliseconds(began.elapsed());
            tracing::info!(calls, error_logs, freed_bytes, duration_ms, "deleted old rows");
        }
        Ok(())
    }

    /// Works until nothing is left to do; false where the server stops, another one has the lease or
    /// the clock may be wrong.
    async fn turns(&mut self, run: &mut Run) -> Result<bool> {
        loop {
            // Before the lease, which ends by the same clock.
            let Retention { db, clock, keep, .. } = &self.retention;
            let ages = Ages { calls: keep.keep_calls, error_logs: keep.keep_errors };
            let plan = guard::plan(db, clock, ages).await?;
            if let Some(refusal) = plan.refusal {
                self.refuse(refusal);
                return Ok(false);
            }
            self.allow();
            if plan.counts.total() == 0 {
                return Ok(true);
            }
            let Self { retention, holder, stopping, .. } = &*self;
            let db = &retention.db;
            if !lease::acquire(db, LEASE, holder, (plan.now, plan.now + LEASE_TIME)).await? {
                return Ok(false);
            }
            let turn = retention.turn(&plan, run, stopping).await;
            lease::release(db, LEASE, holder).await?;
            if turn? {
                return Ok(true);
            }
            if *stopping.borrow() {
                return Ok(false);
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        let metrics = &self.retention.observer.metrics;
        metrics.set_retention_refused(Some(refusal.reason()));
        metrics.jobs.set_refusing(CALLER, Some(refusal.to_string()));
        if self.refusal.replace(refusal.reason()) != Some(refusal.reason()) {
            tracing::warn!(reason = refusal.reason(), %refusal, "retention deletes nothing");
        }
    }

    fn allow(&mut self) {
        if self.refusal.take().is_some() {
            let metrics = &self.retention.observer.metrics;
            metrics.set_retention_refused(None);
            metrics.jobs.set_refusing(CALLER, None);
            tracing::info!("retention deletes old rows again");
        }
    }
}

impl Retention {
    /// Works for as long as the lease is fresh; whether nothing is left to do.
    async fn turn(
        &self,
        plan: &Plan,
        run: &mut Run,
        stopping: &watch::Receiver<bool>,
    ) -> Result<bool> {
        if run.entry.is_none() {
            run.entry = Some(self.enter(plan.now).await?);
        }
        let end = Instant::now() + TURN;
        let stopped = || *stopping.borrow() || Instant::now() >= end;
        let tally = &run.tally;
        let earlier = tally.counts();
        let pace = Pace::background(&self.db);
        let pruned = prune::prune(&self.db, plan.cutoffs, pace, tally, &stopped).await;
        let counts = tally.counts();
        let metrics = &self.observer.metrics;
        metrics.retention_removed(LogTable::Calls.name(), counts.calls - earlier.calls);
        metrics
            .retention_removed(LogTable::ErrorLogs.name(), counts.error_logs - earlier.error_logs);
        let finished = pruned?;
        run.freed_bytes +=
            prune::release_space(&self.db, Pace::background(&self.db), &stopped).await?;
        Ok(finished)
    }

    async fn enter(&self, now: DateTime<Utc>) -> Result<DeletionEntry> {
        let text = |keep: Option<TimeDelta>| keep.map(duration::format);
        let subject = json!({
            "keepCalls": text(self.keep.keep_calls), "keepErrors": text(self.keep.keep_errors),
        });
        let start = DeletionStart {
            caller: CALLER.to_owned(),
            address: "-".to_owned(),
            at: now,
            action: AuditAction::PruneLogs,
            subject: subject.to_string(),
            id: None,
        };
        deletion_log::start(&self.db, start).await
    }
}

/// What a run did so far.
#[derive(Default)]
struct Run {
    tally: Tally,
    freed_bytes: u64,
    /// Written before the first row is deleted.
    entry: Option<DeletionEntry>,
}
