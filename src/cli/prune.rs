//! `callscope prune`: deletes old calls and error logs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{bail, ensure};
use chrono::TimeDelta;
use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;

use super::stop_on_interrupt;
use crate::clock::{Clock, ClockWatch};
use crate::config::DatabaseConfig;
use crate::domain::duration;
use crate::ingest::progress::{Phase, Progress, Terminal};
use crate::prune::guard::{self, Ages, Plan};
use crate::prune::{self, Counts, Pace, Tally, deletion};
use crate::store::audit::AuditAction;
use crate::store::deletion_log::{self, DeletionStart};
use crate::store::{Database, space};

/// The caller in the audit log.
const CALLER: &str = "callscope prune";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct PruneArgs {
    /// Delete calls older than this, such as 90d or P90D
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_setting)]
    calls_older_than: Option<TimeDelta>,

    /// Delete error logs older than this, such as 7d or P7D
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_setting)]
    errors_older_than: Option<TimeDelta>,

    /// Print how many rows would be deleted, and delete none
    #[arg(long)]
    dry_run: bool,

    /// Delete even if the clock may be wrong: when the newest row or most rows of a table would be
    /// deleted, or the clock of the database differs
    #[arg(long)]
    force: bool,

    /// Rewrite the tables afterwards, to shrink the database as far as possible. SQLite rewrites the whole
    /// file: writers wait, and the disk needs the same space again. PostgreSQL runs VACUUM, MySQL
    /// OPTIMIZE TABLE
    #[arg(long)]
    vacuum: bool,

    #[command(flatten)]
    database: DatabaseConfig,
}

const AFTER_HELP: &str = "\
Deletes the oldest rows first, in small batches with pauses, so that the gateway can write. Ctrl-C stops
after the current batch and prints the number of deleted rows; run the same command again to continue.
Rows with an unreadable time are not deleted. The audit log gets an entry with the outcome.

The exit code is 0 when all rows are deleted, 1 when the command was interrupted or failed.

Examples:
  callscope prune --calls-older-than 90d --errors-older-than 7d --dry-run
  callscope prune --errors-older-than 7d --vacuum";

pub fn run(args: PruneArgs) -> anyhow::Result<()> {
    super::block_on(prune(args))
}

async fn prune(args: PruneArgs) -> anyhow::Result<()> {
    let named = args.calls_older_than.is_some() || args.errors_older_than.is_some();
    ensure!(
        named || (args.vacuum && !args.dry_run),
        "nothing to delete: use --calls-older-than, --errors-older-than or both"
    );
    let ages = Ages { calls: args.calls_older_than, error_logs: args.errors_older_than };
    let clock = ClockWatch::new(Clock::System);
    if args.dry_run {
        let config = DatabaseConfig { read_only: true, ..args.database.clone() };
        let db = Database::open(&config).await?;
        let Plan { counts: Counts { calls, error_logs }, refusal, .. } =
            guard::plan(&db, &clock, ages).await?;
        println!("would delete {calls} calls and {error_logs} error logs");
        if let Some(refusal) = refusal.filter(|_| !args.force) {
            eprintln!("{refusal}: check the clock; add --force to delete them");
        }
        return Ok(db.close().await?);
    }
    ensure!(!args.database.read_only, "a deletion writes to the database: leave out --read-only");
    let db = Database::open(&args.database).await?;
    let plan = guard::plan(&db, &clock, ages).await?;
    if let Some(refusal) = plan.refusal.filter(|_| named && !args.force) {
        bail!("nothing was deleted: {refusal}; check the clock, or add --force to delete anyway");
    }
    space::relax_syncs(&db).await?;
    let stop = Arc::new(AtomicBool::new(false));
    tokio::spawn(stop_on_interrupt(stop.clone()));
    let finished = !named || delete(&db, &args, &plan, &stop).await?;
    if finished && args.vacuum {
        eprintln!("rewriting the tables; this needs free disk space");
        let freed = prune::rewrite(&db).await?;
        println!("the database is {} smaller", HumanBytes(freed));
    }
    space::checkpoint(&db, false).await?;
    db.close().await?;
    if !finished {
        bail!("stopped before the end; run the same command again to continue");
    }
    Ok(())
}

/// Deletes old rows and frees their space. Prints the counts even if it fails. Returns whether it
/// completed.
async fn delete(
    db: &Database,
    args: &PruneArgs,
    plan: &Plan,
    stop: &AtomicBool,
) -> anyhow::Result<bool> {
    let text = |span: Option<TimeDelta>| span.map(duration::format);
    let subject = json!({
        "callsOlderThan": text(args.calls_older_than),
        "errorsOlderThan": text(args.errors_older_than),
    });
    let start = DeletionStart {
        caller: CALLER.to_owned(),
        address: "-".to_owned(),
        at: plan.now,
        action: AuditAction::PruneLogs,
        subject: subject.to_string(),
        id: None,
    };
    let entry = deletion_log::start(db, start).await?;
    let tally = Tally::default();
    let stopped = || stop.load(Ordering::Relaxed);
    let terminal = Terminal::default();
    terminal.start("old rows", Phase::Delete, plan.counts.total());
    let work = prune::prune(db, plan.cutoffs, Pace::foreground(db), &tally, &stopped);
    let pruned = terminal.watch(work, || tally.counts().total()).await;
    let Counts { calls, error_logs } = tally.counts();
    println!("deleted {calls} calls and {error_logs} error logs");
    let ending = deletion::ending(&Clock::System, deletion::outcome(&pruned), tally.counts());
    deletion::complete(db, &entry, &ending, &deletion::SHORT_DELAYS).await;
    let finished = pruned?;
    let freed = prune::release_space(db, Pace::foreground(db), &stopped).await?;
    if freed > 0 {
        println!("freed {}", HumanBytes(freed));
    }
    if !args.vacuum && !prune::releases_space(db).await? {
        let free = space::measure(db).await?.free_bytes.unwrap_or(0);
        eprintln!(
            "the file keeps {} of free space for new rows; --vacuum shrinks it, but writers wait and \
             the disk needs the size of the database again",
            HumanBytes(free)
        );
    }
    Ok(finished && !stopped())
}
