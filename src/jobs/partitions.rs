//! Creates the partitions of later months, and reports rows with times after them and unavailable servers of moved months.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::leader::Leader;
use crate::clock::ClockWatch;
use crate::error::Result;
use crate::observe::redact::without_values;
use crate::store::Database;
use crate::store::partition::{self, moved};
use crate::supervisor::{Job, supervise};

const NAME: &str = "partitions";
/// Leaves the database to the first requests after a start.
const START_DELAY: Duration = Duration::from_secs(10);
/// Writers wait while rows of a missing month are moved: some hundred milliseconds for so many.
const MOST_ROWS: u64 = 10_000;
const INTERVAL: Duration = Duration::from_secs(60);

/// Starts the job if the tables have partitions.
pub fn start(
    db: &Arc<Database>,
    clock: &Arc<ClockWatch>,
    stopping: watch::Receiver<bool>,
) -> Option<JoinHandle<()>> {
    if db.is_read_only() || !db.has_partitions() {
        return None;
    }
    let job = Partitions {
        db: db.clone(),
        clock: clock.clone(),
        leader: Leader::new(db, clock, "partitions_lease"),
        stopping,
    };
    Some(tokio::spawn(supervise(db.observer().clone(), job)))
}

struct Partitions {
    db: Arc<Database>,
    clock: Arc<ClockWatch>,
    leader: Leader,
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
        let mut pause = START_DELAY;
        loop {
            tokio::select! {
                // An error means that the sender was dropped: the server has stopped.
                _ = stopping.wait_for(|stopping| *stopping) => return,
                () = sleep(pause) => {}
            }
            let worked = self.work().await;
            if let Err(error) = &worked {
                let cause = std::error::Error::source(error).map(|cause| without_values(&cause));
                tracing::warn!(%error, cause, "partitions were not created; retrying");
                self.warn(Some("those of later months were not created".to_owned()));
            }
            pause = INTERVAL;
        }
    }
}

impl Partitions {
    /// One server does the work. All servers report what is wrong.
    async fn work(&mut self) -> Result<()> {
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
        let unavailable = moved::unavailable(&self.db).await?;
        let unavailable = (!unavailable.is_empty())
            .then(|| format!("{} is unavailable", unavailable.join(" and ")));
        let problems: Vec<String> =
            [left_out, unavailable, misplaced].into_iter().flatten().collect();
        self.warn((!problems.is_empty()).then(|| problems.join("; ")));
        Ok(())
    }

    fn warn(&self, problem: Option<String>) {
        self.db.observer().metrics.jobs.set_warning(NAME, problem);
    }
}
