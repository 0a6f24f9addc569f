//! `callscope rollup`: shows, rebuilds and verifies the rollups of the calls.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use indicatif::{HumanBytes, HumanCount};

use crate::clock::Clock;
use crate::config::DatabaseConfig;
use crate::error::Error;
use crate::store::Database;
use crate::store::rollup::{self, FOLD_MOST, Folder, Phase, Summary};

#[derive(Args, Debug)]
pub struct RollupArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what the rollups contain and how many calls are not folded yet
    Status {
        #[command(flatten)]
        database: DatabaseConfig,
    },
    /// Fold all calls again; the numbers of deleted calls are kept. A running server continues to serve
    Rebuild {
        #[command(flatten)]
        database: DatabaseConfig,
    },
    /// Compare the rollups with the calls, day by day, and fail if they differ
    Verify {
        /// The first instant to compare [default: the oldest call]
        #[arg(long, value_name = "TIME")]
        since: Option<DateTime<Utc>>,

        /// The end of the comparison [default: now]
        #[arg(long, value_name = "TIME")]
        until: Option<DateTime<Utc>>,

        #[command(flatten)]
        database: DatabaseConfig,
    },
}

pub fn run(args: RollupArgs) -> anyhow::Result<()> {
    super::block_on(async {
        match args.command {
            Command::Status { database } => {
                let db = open(&database).await?;
                print(&summary(&db).await?);
                Ok(db.close().await?)
            }
            Command::Rebuild { database } => {
                let db = open(&database).await?;
                rebuild(&db).await?;
                Ok(db.close().await?)
            }
            Command::Verify { since, until, database } => {
                let db = open(&database).await?;
                let verified =
                    verify(&db, since, until.unwrap_or_else(|| Clock::System.now())).await;
                db.close().await?;
                verified
            }
        }
    })
}

async fn open(database: &DatabaseConfig) -> anyhow::Result<Database> {
    // The comparison uses the rollups of few calls too.
    let database = DatabaseConfig { rollup_from_calls: 0, ..database.clone() };
    let db = Database::open(&database).await?;
    if !db.has_rollups() {
        bail!("rollups are disabled by --rollups or --read-only");
    }
    Ok(db)
}

async fn summary(db: &Database) -> anyhow::Result<Summary> {
    rollup::summary(db).await?.context("no server has folded calls of this database yet")
}

fn print(summary: &Summary) {
    let Summary { phase, since, kept_since, folded, lag, cells, bytes, .. } = summary;
    let count = |number: &i64| HumanCount(number.unsigned_abs());
    let time = |at: &Option<DateTime<Utc>>| at.map_or("-".to_owned(), |at| at.to_rfc3339());
    println!("state           {}", phase.name());
    println!("first interval  {}", time(since));
    println!("calls deleted   before {}", time(kept_since));
    println!("folded calls    {}", count(folded));
    println!("not folded      at most {}", count(lag));
    let bytes =
        bytes.map_or(String::new(), |bytes| format!(", {}", HumanBytes(bytes.unsigned_abs())));
    println!("rows            {}{bytes}", count(cells));
}

async fn rebuild(db: &Database) -> anyhow::Result<()> {
    let started = Instant::now();
    rollup::request_rebuild(db).await?;
    let (mut calls, mut folder) = (0, Folder::default());
    loop {
        let now = rollup::micros(db.zone().to_stored(Clock::System.now()));
        match folder.fold(db, now, FOLD_MOST).await {
            Ok(folded) => {
                calls += folded.calls;
                if !folded.more {
                    break;
                }
            }
            // A server folds too.
            Err(Error::Busy) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => return Err(error.into()),
        }
    }
    println!("folded {calls} calls in {:.1} s", started.elapsed().as_secs_f64());
    print(&summary(db).await?);
    Ok(())
}

async fn verify(
    db: &Database,
    since: Option<DateTime<Utc>>,
    until: DateTime<Utc>,
) -> anyhow::Result<()> {
    if summary(db).await?.phase != Phase::Ready {
        bail!("the rollups are not ready; see `callscope rollup status`");
    }
    let verified = rollup::verify(db, since, until).await?;
    for difference in &verified.differences {
        println!("{difference}");
    }
    println!("compared {} days, {} calls", verified.days, verified.calls);
    if !verified.differences.is_empty() {
        bail!(
            "the rollups differ from the calls; `callscope rollup rebuild` folds the calls again"
        );
    }
    Ok(())
}
