//! `callscope demo`: creates a database of generated traffic, then adds new calls every second. It removes
//! only the database of an earlier demo.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use tokio::time::MissedTickBehavior;

use super::serve::{log_start, shutdown_signal};
use crate::app::{App, Config};
use crate::clock::Clock;
use crate::config::DatabaseConfig;
use crate::demo::{Exchange, Live, Traffic};
use crate::store::write::Batch;
use crate::store::{Database, classification, demo as store};
use crate::{error, ingest};

/// Calls per transaction.
const BATCH: usize = 5_000;

#[derive(Args, Debug)]
#[command(mut_arg("database_url", |arg| arg.default_value("sqlite://callscope-demo.db")))]
pub struct DemoArgs {
    #[command(flatten)]
    config: Config,

    /// Seed of the generated traffic; another seed gives other keys and incidents
    #[arg(long, env, value_name = "N", default_value_t = 1)]
    demo_seed: u64,
}

pub fn run(args: DemoArgs) -> anyhow::Result<()> {
    super::block_on(async {
        let config = args.config;
        let clock = config.clock.clone();
        let live = prepare(&config.database, &clock, args.demo_seed).await?;
        let app = App::open(config).await?;
        log_start(&app)?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let db = app.services().db.clone();
        let writer = tokio::spawn(write_live_calls(db, clock, live, async {
            drop(stopped.await);
        }));
        app.serve(async {
            shutdown_signal().await;
            drop(stop);
        })
        .await?;
        Ok(writer.await?)
    })
}

/// Recreates the database and fills it with the traffic of the last 31 days. Returns the generator for
/// [`write_live_calls`].
pub async fn prepare(database: &DatabaseConfig, clock: &Clock, seed: u64) -> anyhow::Result<Live> {
    remove_earlier_demo(database).await?;
    let db = Database::open(database).await?;
    store::mark(&db, seed).await?;
    let started = Instant::now();
    let mut traffic = Traffic::new(seed, clock.now());
    let written = write(&db, &mut traffic).await?;
    if database.failure_classes {
        // The page shows them at once.
        classification::add_all(&db).await?;
    }
    db.close().await?;
    let Written { calls, errors } = written;
    let spent = started.elapsed().as_secs_f64();
    println!("callscope: generated {calls} calls and {errors} error logs in {spent:.1} s");
    Ok(traffic.into_live())
}

/// Writes new calls every second until `stop` resolves.
pub async fn write_live_calls(
    db: Arc<Database>,
    clock: Clock,
    mut live: Live,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut stop => return,
            _ = ticks.tick() => {}
        }
        // Drops the calls of this second and tries again with the next ones.
        if let Err(error) = write(&db, live.until(clock.now())).await {
            tracing::warn!(?error, "generated calls were not written");
        }
    }
}

/// Removes the database of an earlier demo. Fails if the database is not empty or not from a demo.
async fn remove_earlier_demo(database: &DatabaseConfig) -> anyhow::Result<()> {
    ensure!(!database.read_only, "the demo writes its database: leave out --read-only");
    let Some(file) = store::sqlite_file(database)? else {
        let db = Database::open(&DatabaseConfig { read_only: true, ..database.clone() }).await?;
        let is_empty = store::is_empty(&db).await?;
        db.close().await?;
        ensure!(
            is_empty,
            "the database already contains calls or error logs, and the demo would add generated ones; \
             name an empty database with --database-url"
        );
        return Ok(());
    };
    if !file.try_exists()? {
        return Ok(());
    }
    let name = file.display();
    if !is_demo(database)
        .await
        .with_context(|| format!("cannot check whether {name} is a demo database"))?
    {
        bail!(
            "{name} was not made by `callscope demo` and is not overwritten; name another file with \
             --database-url sqlite://FILE"
        );
    }
    store::claim_sqlite_file(database)
        .await
        .with_context(|| format!("{name} is in use, perhaps by another `callscope demo`"))?;
    for file in [file.clone(), with_suffix(&file, "-wal"), with_suffix(&file, "-shm")] {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", file.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

async fn is_demo(database: &DatabaseConfig) -> error::Result<bool> {
    let db = Database::open(&DatabaseConfig { read_only: true, ..database.clone() }).await?;
    let is_marked = store::is_marked(&db).await;
    db.close().await?;
    is_marked
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(suffix);
    name.into()
}

/// Counts of written rows.
#[derive(Default)]
struct Written {
    calls: usize,
    errors: usize,
}

/// Writes `traffic` in batches.
async fn write(db: &Database, traffic: impl Iterator<Item = Exchange>) -> error::Result<Written> {
    let mut traffic = traffic.peekable();
    let mut written = Written::default();
    while traffic.peek().is_some() {
        let (calls, errors): (Vec<_>, Vec<_>) = traffic.by_ref().take(BATCH).unzip();
        let errors = errors.into_iter().flatten().collect();
        let batch = Batch { calls, errors, claim: None };
        ingest::record(db, &batch).await?;
        written.calls += batch.calls.len();
        written.errors += batch.errors.len();
    }
    Ok(written)
}
