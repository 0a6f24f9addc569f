//! `callscope import`: imports calls and error logs from files and other databases.

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

    /// Read and check all sources, print what would be imported, write nothing
    #[arg(long)]
    dry_run: bool,

    /// Import the good rows of a source that also has bad ones. Without this flag such a source is not
    /// imported. Bad rows are always reported, with line and reason
    #[arg(long)]
    skip_bad_rows: bool,

    /// Shift the times of all sources by the same span, so that the newest row is from now
    #[arg(long)]
    shift_to_now: bool,

    /// Import sources again that were imported before
    #[arg(long)]
    again: bool,

    /// The IANA time zone of times without an offset in the sources [default: the storage time zone]
    #[arg(long, value_name = "ZONE", value_parser = parse_time_zone)]
    source_time_zone: Option<Tz>,

    #[command(flatten)]
    database: DatabaseConfig,
}

const AFTER_HELP: &str = "\
A file contains calls (request_time, model_name, api_key, status_code, latency_ms) or error logs
(request_time, model_name, gemini_key, error_type, error_log, error_code, request_msg). The first line of
a CSV file, or the fields of the first NDJSON object, decide which. The columns `id` and `is_success` are
ignored: success is derived from the status code. Any other column is an error. An empty field is NULL. A
status code that is a text is imported as NULL: the call failed without a status code.

From a database, both tables are imported. Run the same command again to import rows added later, also those
of transactions that were open in the meantime: a last run after the writers have stopped imports all rows.

An import that was interrupted by Ctrl-C, kill or a power cut resumes when the same command runs again. A
file is identified by its uncompressed content: a second import, also under another name, is skipped
unless --again is given.

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
        bail!("stopped before the end; run the same command again to resume");
    }
    if summary.refused > 0 {
        bail!("{} of the sources were refused and not imported", summary.refused);
    }
    Ok(())
}

/// Opens the target database. A dry run opens it read-only, if it exists.
async fn open(args: &ImportArgs) -> anyhow::Result<Option<Database>> {
    if args.dry_run {
        let config = DatabaseConfig { read_only: true, ..args.database.clone() };
        return Ok(Database::open(&config).await.ok());
    }
    if args.database.read_only {
        bail!("an import writes to the database: leave out --read-only");
    }
    Ok(Some(Database::open(&args.database).await.context("cannot open the database")?))
}

/// Opens the sources. Reports and counts those that cannot be opened.
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
            bail!("{scheme}:// is not supported; use sqlite://, postgres:// or mysql://");
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
        line += &format!(", skipped {bad_rows} bad rows");
    }
    if *known > 0 {
        line += &format!(", skipped {known} sources imported before");
    }
    line
}
