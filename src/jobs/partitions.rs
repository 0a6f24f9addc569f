//! Creates the partitions of later months, and reports rows with times after them and unavailable servers of moved months.
//! In a database without partitions, it removes what an interrupted conversion has left, and finds completed ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::leader::Leader;
use crate::clock::ClockWatch;
use crate::error::{Error, Result};
use crate::observe::redact::without_values;
use crate::store::Database;
use crate::store::dialect::Dialect;
use crate::store::partition::moved::{self, Archive};
use crate::store::partition::{self, convert};
use crate::supervisor::{Job, supervise};

const NAME: &str = "partitions";
/// Leaves the database to the first requests after a start.
const START_DELAY: Duration = Duration::from_secs(10);
/// Writers wait while rows of a missing month are moved: some hundred milliseconds for so many.
const MOST_ROWS: u64 = 10_000;
const INTERVAL: Duration = Duration::from_secs(60);
/// The time limit of a server of moved months.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// A check that takes longer is given up. It may leave a session that PostgreSQL cannot end, so the next one is later.
const FROZEN_TIME: Duration = Duration::from_secs(30);
const FROZEN_INTERVAL: Duration = Duration::from_secs(600);

/// Starts the job if the tables may have partitions.
pub fn start(
    db: &Arc<Database>,
    clock: &Arc<ClockWatch>,
    stopping: watch::Receiver<bool>,
) -> Option<JoinHandle<()>> {
    if db.is_read_only() || db.dialect() != Dialect::Postgres {
        return None;
    }
    let job = Partitions {
        db: db.clone(),
        clock: clock.clone(),
        leader: Leader::new(db, clock, "partitions_lease"),
        checks: JoinSet::new(),
        next_checks: BTreeMap::new(),
        is_converted: false,
        stopping,
    };
    Some(tokio::spawn(supervise(db.observer().clone(), job)))
}

struct Partitions {
    db: Arc<Database>,
    clock: Arc<ClockWatch>,
    leader: Leader,
    /// Checks of other servers, with their names.
    checks: JoinSet<(String, Option<bool>)>,
    /// When a server may be checked again, if its last check has not ended.
    next_checks: BTreeMap<String, Instant>,
    /// The tables got partitions after the start.
    is_converted: bool,
    stopping: watch::Receiver<bool>,
}

impl Job for Partitions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    async fn run(&mut self) {
        let mut stopping = self.stopping.clone();
        let mut pause = if self.db.has_partitions() { START_DELAY } else { INTERVAL };
        loop {
            tokio::select! {
                // An error means that the sender was dropped: the server has stopped.
                _ = stopping.wait_for(|stopping| *stopping) => return,
                () = sleep(pause) => {}
            }
            let worked = self.work().await;
            if let Err(error) = &worked {
                let cause = std::error::Error::source(error).map(|cause| without_values(&cause));
                tracing::warn!(%error, cause, "the job of partitions failed; retrying");
                let problem = match self.db.has_partitions() {
                    true => "those of later months were not created",
                    false => "it is unknown whether the tables have partitions",
                };
                self.warn(Some(problem.to_owned()));
            }
            pause = INTERVAL;
        }
    }
}

impl Partitions {
    /// One server does the work. All servers report what is wrong.
    async fn work(&mut self) -> Result<()> {
        if !self.db.has_partitions() {
            // Standbys have to replay the conversion first.
            if self.is_converted {
                self.db.use_partitions();
            }
            self.is_converted = self.db.find_partitions().await?;
            let problem = self.after_conversion().await?;
            self.warn(problem);
            return Ok(());
        }
        let left_out = match self.leader.leads().await? {
            true => {
                let now = self.clock.time().now;
                partition::create_ahead(&self.db, now, Some(MOST_ROWS)).await?
            }
            false => None,
        };
        let misplaced = partition::with_misplaced_rows(&self.db).await?;
        let misplaced = (!misplaced.is_empty()).then(|| {
            format!("{} has rows with times after the last month", misplaced.join(" and "))
        });
        let unavailable = self.unavailable().await?;
        let unavailable = (!unavailable.is_empty())
            .then(|| format!("{} is unavailable", unavailable.join(" and ")));
        let problems: Vec<String> =
            [left_out, unavailable, misplaced].into_iter().flatten().collect();
        self.warn((!problems.is_empty()).then(|| problems.join("; ")));
        Ok(())
    }

    /// Removes what an interrupted conversion has left. Returns what is left to do.
    async fn after_conversion(&self) -> Result<Option<String>> {
        match convert::drop_abandoned(&self.db).await {
            // Another program uses the table.
            Ok(()) | Err(Error::NotReady(_)) => {}
            Err(error) => return Err(error),
        }
        let abandoned = convert::abandoned(&self.db).await?;
        if let Some((table, end)) = abandoned.first() {
            let name = table.name();
            return Ok(Some(format!(
                "{name} refuses rows without a time, and all from {end} on: see `callscope doctor`"
            )));
        }
        let unconverted = convert::unconverted(&self.db).await?;
        Ok(unconverted.map(|table| {
            format!("{} is not converted: repeat `callscope partition convert`", table.name())
        }))
    }

    /// The servers of moved months that do not answer in time.
    async fn unavailable(&mut self) -> Result<Vec<String>> {
        let archives = moved::archives(&self.db).await?;
        let now = Instant::now();
        for archive in &archives {
            if self.next_checks.get(&archive.server).is_none_or(|at| *at <= now) {
                self.next_checks.insert(archive.server.clone(), now + FROZEN_INTERVAL);
                let (db, archive) = (self.db.clone(), archive.clone());
                self.checks.spawn(async move {
                    let answers = timeout(FROZEN_TIME, moved::answers(&db, &archive)).await;
                    (archive.server, answers.ok())
                });
            }
        }
        let mut available = BTreeSet::new();
        while let Ok(Some(checked)) = timeout_at(now + ANSWER_TIME, self.checks.join_next()).await {
            if let Ok((server, Some(answers))) = checked {
                self.next_checks.remove(&server);
                if answers {
                    available.insert(server);
                }
            }
        }
        let unavailable = archives.iter().filter(|archive| !available.contains(&archive.server));
        let name = |archive: &Archive| {
            format!("server {} with {}", archive.server, archive.months.join(", "))
        };
        Ok(unavailable.map(name).collect())
    }

    fn warn(&self, problem: Option<String>) {
        self.db.observer().metrics.jobs.set_warning(NAME, problem);
    }
}
