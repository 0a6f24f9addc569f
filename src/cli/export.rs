//! `callscope export`: writes calls or error logs to files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, bail, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;

use super::stop_on_interrupt;
use crate::clock::Clock;
use crate::config::DatabaseConfig;
use crate::domain::duration;
use crate::domain::key_id::is_key_id;
use crate::domain::table::LogTable;
use crate::export::{Destination, Export, ExportError, Exported, Format, Target, run as export_to};
use crate::ingest::progress::{Phase, Progress, Terminal};
use crate::store::Database;
use crate::store::export::{ExportScope, count_without_time};
use crate::store::key_directory::{KeyDirectory, KeySnapshot};

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct ExportArgs {
    /// The file to write; standard output by default. It must not exist. With several tables its name
    /// must contain `{table}`
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// The tables to write, comma-separated
    #[arg(long, value_name = "TABLE", value_delimiter = ',', default_value = "calls")]
    table: Vec<Table>,

    /// The file format [default: by the file name (.ndjson, .csv, .parquet, also .gz), else ndjson]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,

    /// Compress with gzip; implied by a name that ends in .gz
    #[arg(long)]
    gzip: bool,

    /// Rows since this time (inclusive), such as 2026-03-01T00:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "last")]
    since: Option<DateTime<Utc>>,

    /// Rows before this time
    #[arg(long, value_name = "TIME", conflicts_with = "last")]
    until: Option<DateTime<Utc>>,

    /// Rows of the last time span, such as 24h
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_setting)]
    last: Option<TimeDelta>,

    /// Only rows of these keys: full keys or key ids, comma-separated
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    key: Vec<String>,

    /// Only rows of these models, comma-separated
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    model: Vec<String>,

    /// Write only the first and last four characters of each key. An import of such a file does not
    /// restore the keys
    #[arg(long)]
    mask_keys: bool,

    /// Overwrite an existing file
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    database: DatabaseConfig,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Table {
    Calls,
    Errors,
}

const AFTER_HELP: &str = "\
THE FILE CONTAINS FULL API KEYS, and for error logs the prompts of failed calls: `callscope import` needs
them. Only the owner of the file can read it. --mask-keys removes the keys.

`callscope import` reads all three formats and creates the same rows, with new ids. Times are UTC. Rows
with an unreadable time are skipped and counted. In CSV an empty field is NULL and `\\` an empty text.
Gateways store a text as status code after a network failure; in Parquet it becomes NULL, as in an
import.

An incomplete file is removed, also after Ctrl-C. The exit code is 0 when all rows are written, 1 when the
command was interrupted or failed.

Examples:
  callscope export --last 24h > calls.ndjson
  callscope export --table calls,errors --until 2026-03-01T00:00:00Z 'until-march-{table}.parquet'
  callscope export --table errors --model gemini-2.5-pro --mask-keys errors.csv.gz";

pub fn run(args: ExportArgs) -> anyhow::Result<()> {
    super::block_on(export(args))
}

async fn export(args: ExportArgs) -> anyhow::Result<()> {
    let named = args.file.as_deref().map(Format::of_name);
    let format = args.format.or(named.and_then(|(format, _)| format)).unwrap_or(Format::Ndjson);
    let gzip = args.gzip || named.is_some_and(|(_, gzip)| gzip);
    ensure!(
        !(gzip && format == Format::Parquet),
        "Parquet is already compressed, and readers do not accept it with gzip"
    );
    let several = args.table.len() > 1;
    let has_placeholder =
        args.file.as_ref().is_some_and(|file| file.to_string_lossy().contains("{table}"));
    ensure!(
        !several || has_placeholder,
        "a file holds one table: for several, use a name such as 'march-{{table}}.ndjson'"
    );
    // One connection: each one maps the file of SQLite into memory.
    let config =
        DatabaseConfig { read_only: true, database_connections: 1, ..args.database.clone() };
    let db = Database::open(&config).await?;
    let scope = scope(&args, &db).await?;
    let stop = Arc::new(AtomicBool::new(false));
    tokio::spawn(stop_on_interrupt(stop.clone()));
    for table in &args.table {
        let (table, name) = match table {
            Table::Calls => (LogTable::Calls, "calls"),
            Table::Errors => (LogTable::ErrorLogs, "errors"),
        };
        let target = match &args.file {
            None => Target::StandardOutput,
            Some(file) => {
                let path = PathBuf::from(file.to_string_lossy().replace("{table}", name));
                let path = if has_placeholder { path } else { file.clone() };
                Target::File { path, overwrite: args.force }
            }
        };
        let export = Export { table, scope: scope.clone(), format, mask_keys: args.mask_keys };
        export_table(&db, &export, target, gzip, &stop).await?;
    }
    Ok(db.close().await?)
}

async fn scope(args: &ExportArgs, db: &Database) -> anyhow::Result<ExportScope> {
    let last = args.last.and_then(|span| {
        let now = Clock::System.now();
        Some((now.checked_sub_signed(span)?, now))
    });
    let some = |texts: &Vec<String>| (!texts.is_empty()).then(|| texts.clone());
    let mut keys = some(&args.key);
    if let Some(keys) = keys.as_mut().filter(|keys| keys.iter().any(|key| is_key_id(key))) {
        let directory = KeyDirectory::open(db, args.database.id_key.as_ref()).await?;
        let snapshot = KeySnapshot::default();
        for key in keys.iter_mut().filter(|key| is_key_id(key)) {
            let known = directory.find(db, key, &snapshot).await?;
            *key = known.with_context(|| format!("no API key has the id `{key}`"))?.to_string();
        }
    }
    Ok(ExportScope {
        since: args.since.or(last.map(|(since, _)| since)),
        until: args.until.or(last.map(|(_, until)| until)),
        keys,
        models: some(&args.model),
    })
}

async fn export_table(
    db: &Database,
    export: &Export,
    target: Target,
    gzip: bool,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let label = match &target {
        Target::StandardOutput => "standard output".to_owned(),
        Target::File { path, .. } => path.display().to_string(),
    };
    let (destination, output) = Destination::open(target, gzip).with_context(|| label.clone())?;
    let done = AtomicU64::new(0);
    let stopped = || stop.load(Ordering::Relaxed);
    let terminal = Terminal::default();
    terminal.start(export.table.rows(), Phase::Export, 0);
    let work = export_to(db, export, output, &done, &stopped);
    let written = terminal.watch(work, || done.load(Ordering::Relaxed)).await;
    let (exported, output) = match written {
        Ok(written) => written,
        Err(ExportError::Stopped) => bail!("{label}: stopped before the end"),
        Err(error) => return Err(error).with_context(|| label.clone()),
    };
    destination.finish(output).with_context(|| label.clone())?;
    print_summary(db, export, exported, &label).await
}

/// Prints the number of written and of skipped rows.
async fn print_summary(
    db: &Database,
    export: &Export,
    Exported { rows, unreadable }: Exported,
    label: &str,
) -> anyhow::Result<()> {
    let kind = export.table.rows();
    eprintln!("wrote {rows} {kind} to {label}");
    let ExportScope { since, until, keys, models } = &export.scope;
    let all = since.is_none() && until.is_none() && keys.is_none() && models.is_none();
    let untimed = if all { count_without_time(db, export.table).await? } else { 0 };
    if unreadable + untimed > 0 {
        eprintln!("skipped {} {kind} with an unreadable time", unreadable + untimed);
    }
    Ok(())
}
