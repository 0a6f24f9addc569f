//! `callscope import`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use chrono_tz::Tz;
use clap::Args;

use super::stop_on_interrupt;
use crate::clock::Clock;
use crate::config::{DatabaseConfig, parse_time_zone};
use crate::ingest::import::{ImportOptions, Importer, Summary};
use crate::ingest::progress::{Progress, Terminal};
use crate::ingest::source::{FileSource, Source, SourceError, TableSource, public_address};
use crate::store::Database;
use crate::store::dialect::Dialect;
use crate::store::zone::StorageZone;

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct ImportArgs {
    /// Files (CSV or NDJSON, also gzipped) and databases (sqlite://FILE, postgres://…, mysql://…)
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<String>,

    /// Read and check everything, tell what would be imported, write nothing
    #[arg(long)]
    dry_run: bool,

    /// Import the good rows of a source that has bad ones. Without it nothing is kept of such a
    /// source; either way the bad rows are reported with their line and the reason
    #[arg(long)]
    skip_bad_rows: bool,

    /// Move all times, those of every source by the same span, so that the newest row ends now
    #[arg(long)]
    shift_to_now: bool,

    /// Import sources once more that were imported before
    #[arg(long)]
    again: bool,

    /// The IANA time zone of times without an offset in the sources [default: the storage time zone]
    #[arg(long, value_name = "ZONE", value_parser = parse_time_zone)]
    source_time_zone: Option<Tz>,

    #[command(flatten)]
    database: DatabaseConfig,
}

const AFTER_HELP: &str = "\
A file holds calls (request_time, model_name, api_key, status_code, latency_ms) or error logs
(request_time, model_name, gemini_key, error_type, error_log, error_code, request_msg), told by the
first line of a CSV file or the fields of the first NDJSON object. An `id` is ignored, and so is
`is_success`, which follows from the status code; any other column is an error. An empty field is
NULL. A status code that is a text is no status code: the call failed without one.

Of a database both tables are read. What is added to it later is imported by the same command.

An import that was stopped, by Ctrl-C, kill or a power cut, goes on where it was when the same
command is started again. A file is known by its content: under another name, or unpacked, it is
the same, and a second import of it is skipped unless --again is given.

Examples:
  callscope import --dry-run calls.csv.gz errors.ndjson
  callscope import --database-url postgres://me@localhost/logs sqlite:///srv/gateway/data.db
  callscope import --shift-to-now --source-time-zone Asia/Shanghai calls.csv";

pub fn run(args: ImportArgs) -> anyhow::Result<()> {
    super::block_on(import(args))
}

async fn import(args: ImportArgs) -> anyhow::Result<()> {
    let terminal = Terminal::default();
    let stop = Arc::new(AtomicBool::new(false));
    tokio::spawn(stop_on_interrupt(stop.clone()));
    let db = open(&args).await?;
    let (sources, unusable) = find_sources(&args, &terminal).await?;
    let importer = Importer {
        db: db.as_ref(),
        dialect: Dialect::of_url(args.database.database_url.expose()),
        options: ImportOptions {
            zone: StorageZone(args.source_time_zone.unwrap_or(args.database.storage_time_zone)),
            skip_bad_rows: args.skip_bad_rows,
            shift_to_now: args.shift_to_now,
            again: args.again,
            dry_run: args.dry_run,
        },
        clock: &Clock::System,
        progress: &terminal,
        stop: &stop,
    };
    let mut summary = importer.run(sources).await?;
    if let Some(db) = db {
        db.close().await?;
    }
    summary.refused += unusable;
    println!("{}", outcome(&summary, args.dry_run));
    if summary.stopped {
        bail!("stopped before the end; the same command goes on where it was");
    }
    if summary.refused > 0 {
        bail!("{} of the sources refused, nothing of them was imported", summary.refused);
    }
    Ok(())
}

/// The database to write to. A dry run only looks at it, if it is there.
async fn open(args: &ImportArgs) -> anyhow::Result<Option<Database>> {
    if args.dry_run {
        let config = DatabaseConfig { read_only: true, ..args.database.clone() };
        return Ok(Database::open(&config).await.ok());
    }
    if args.database.read_only {
        bail!("nothing can be imported into a database that is opened with --read-only");
    }
    Ok(Some(Database::open(&args.database).await.context("cannot open the database")?))
}

/// The sources that can be opened, and the number of those that cannot, which are told.
async fn find_sources(
    args: &ImportArgs,
    progress: &dyn Progress,
) -> anyhow::Result<(Vec<Source>, u64)> {
    let mut sources = Vec::new();
    let mut unusable = 0;
    for name in &args.sources {
        if TableSource::is_address(name) {
            let tables = TableSource::open(name, &args.database).await;
            let tables = tables.with_context(|| format!("cannot read {}", public_address(name)))?;
            sources.extend(tables.map(Source::Table));
            continue;
        }
        if let Some((scheme, _)) = name.split_once("://") {
            bail!("{scheme}:// is no database of ours; sqlite://, postgres:// and mysql:// are");
        }
        match FileSource::open(Path::new(name)) {
            Ok(file) => sources.push(Source::File(file)),
            Err(error @ (SourceError::Unusable(_) | SourceError::Read(_))) => {
                progress.say(&format!("{name}: refused: {error}"));
                unusable += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((sources, unusable))
}

fn outcome(summary: &Summary, dry_run: bool) -> String {
    let Summary { calls, errors, bad_rows, known, .. } = summary;
    let verb = if dry_run { "would import" } else { "imported" };
    let mut line = format!("{verb} {calls} calls and {errors} error logs");
    if *bad_rows > 0 {
        line += &format!(", left out {bad_rows} bad rows");
    }
    if *known > 0 {
        line += &format!(", skipped {known} sources that were imported before");
    }
    line
}
