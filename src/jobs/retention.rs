//! Deletes rows that are older than the configured retention. A lease selects one server of a database
//! for it.

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

/// The caller in the audit log and the name of the job.
const CALLER: &str = "retention";
const LEASE: &str = "retention_lease";
/// A crashed server blocks the others for at most this long.
const LEASE_TIME: TimeDelta = TimeDelta::minutes(10);
/// The lease is renewed after half of its time.
const LEASE_RENEWAL: Duration = Duration::from_secs(300);
/// Leaves the database to the first requests after a start.
const START_DELAY: Duration = Duration::from_secs(60);

/// The configuration and services of the job.
pub struct Retention {
    pub db: Arc<Database>,
    pub observer: Arc<Observer>,
    pub clock: Arc<ClockWatch>,
    pub keep: KeepConfig,
}

/// Rejects a configuration that would delete rows without an explicit request.
pub async fn check(db: &Database, keep: &KeepConfig) -> anyhow::Result<()> {
    if !keep.is_on() {
        return Ok(());
    }
    ensure!(
        !db.is_read_only(),
        "--keep-calls and --keep-errors delete rows, which --read-only forbids: remove one or the \
         other"
    );
    let wanted = |table: &LogTable| match table {
        LogTable::Calls => keep.keep_calls.is_some(),
        LogTable::ErrorLogs => keep.keep_errors.is_some(),
    };
    let others = origin::external_tables(db)
        .await
        .context("cannot determine which program created the tables")?;
    let others: Vec<&str> = others.iter().filter(|table| wanted(table)).map(|t| t.name()).collect();
    if !others.is_empty() && !keep.prune_gateway_tables {
        bail!(
            "Callscope did not create {}: the rows belong to the gateway, which may need them or may \
             delete old rows itself. To delete them anyway set --prune-gateway-tables, or remove \
             --keep-calls and --keep-errors",
            others.join(" and ")
        );
    }
    Ok(())
}

impl Retention {
    /// Starts the job if retention is configured. It runs until `stopping` becomes true.
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
    /// Identifies this server as the holder of the lease.
    holder: String,
    stopping: watch::Receiver<bool>,
    /// The last refusal; a repeated one is not logged again.
    refusal: Option<&'static str>,
}

impl Job for RetentionJob {
    fn name(&self) -> &'static str {
        CALLER
    }

    async fn run(&mut self) {
        let every = self.retention.keep.keep_check_every.to_std().unwrap_or(START_DELAY);
        let mut ticks = interval_at(Instant::now() + every.min(START_DELAY), every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = self.stopping.clone();
        loop {
            tokio::select! {
                biased;
                // An error means that the sender was dropped: the server has stopped.
                _ = stopping.wait_for(|stopping| *stopping) => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.run_once().await {
                self.retention.observer.metrics.retention_failed();
                let cause = std::error::Error::source(&error)
                    .map(|cause| crate::observe::redact::without_values(&cause));
                tracing::warn!(%error, cause, "retention failed; retrying at the next interval");
            }
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }
}

impl RetentionJob {
    /// Deletes expired rows, unless another server holds the lease or the clock may be wrong.
    async fn run_once(&mut self) -> Result<()> {
        let started = Instant::now();
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
            let duration_ms = milliseconds(started.elapsed());
            tracing::info!(calls, error_logs, freed_bytes, duration_ms, "deleted old rows");
        }
        Ok(())
    }

    /// Deletes until no expired row is left. Returns false if the server stops, another server has the
    /// lease or the clock may be wrong.
    async fn turns(&mut self, run: &mut Run) -> Result<bool> {
        loop {
            // Checked before the lease is taken: its expiry uses the same clock.
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
            tracing::info!("retention resumed");
        }
    }
}

impl Retention {
    /// Deletes until the lease must be renewed. Returns whether no expired row is left.
    async fn turn(
        &self,
        plan: &Plan,
        run: &mut Run,
        stopping: &watch::Receiver<bool>,
    ) -> Result<bool> {
        if run.entry.is_none() {
            run.entry = Some(self.record_start(plan.now).await?);
        }
        let end = Instant::now() + LEASE_RENEWAL;
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

    async fn record_start(&self, now: DateTime<Utc>) -> Result<DeletionEntry> {
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

/// The progress of a run.
#[derive(Default)]
struct Run {
    tally: Tally,
    freed_bytes: u64,
    /// Written before the first row is deleted.
    entry: Option<DeletionEntry>,
}
