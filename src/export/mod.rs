//! Writes stored rows to a file that `callscope import` reads: NDJSON, CSV or Parquet. One task reads
//! pages of rows and another thread writes them, so memory does not depend on the number of rows.

mod csv;
mod destination;
mod ndjson;
mod parquet;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

pub use destination::{Destination, Output, Target};

use crate::domain::mask::mask;
use crate::domain::table::{ColumnKind, LogTable};
use crate::error::Error;
use crate::store::Database;
use crate::store::export::{self, ExportRow, ExportScope, exported_columns};

/// UTC with six digits, so that times sort as texts.
const TIME: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";

/// Rows of the first page; further pages have about [`PAGE_BYTES`].
const FIRST_PAGE: u32 = 500;
const LARGEST_PAGE: u32 = 16_000;
const PAGE_BYTES: usize = 4 << 20;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line
    Ndjson,
    /// A header and a line a row
    Csv,
    /// Columns, compressed by zstd
    Parquet,
}

impl Format {
    /// The format by the extension of a file, and whether it is gzipped.
    pub fn of_name(path: &Path) -> (Option<Self>, bool) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = name.to_lowercase();
        let (name, gzip) = match name.strip_suffix(".gz") {
            Some(name) => (name, true),
            None => (name.as_str(), false),
        };
        let format = match name.rsplit('.').next() {
            Some("ndjson" | "jsonl") => Some(Self::Ndjson),
            Some("csv") => Some(Self::Csv),
            Some("parquet") => Some(Self::Parquet),
            _ => None,
        };
        (format, gzip)
    }
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Database(#[from] Error),
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
    #[error("stopped")]
    Stopped,
    #[error("the writer stopped")]
    Writer(#[from] tokio::task::JoinError),
}

/// The rows and the format of an export.
#[derive(Clone, Debug)]
pub struct Export {
    pub table: LogTable,
    pub scope: ExportScope,
    pub format: Format,
    /// Mask keys as the API does.
    pub mask_keys: bool,
}

/// The result of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    pub rows: u64,
    /// Rows that were left out because their time is unreadable.
    pub unreadable: u64,
}

/// Writes rows in one format.
trait RowWriter {
    fn write(&mut self, rows: Vec<ExportRow>) -> io::Result<()>;
    /// Writes the end of the file and returns the output.
    fn finish(self: Box<Self>) -> io::Result<Output>;
}

/// Exports to `output` and returns it when complete; `done` counts the rows.
pub async fn run(
    db: &Database,
    export: &Export,
    output: Output,
    done: &AtomicU64,
    stopped: &(dyn Fn() -> bool + Sync),
) -> Result<(Exported, Output), ExportError> {
    let (format, table) = (export.format, export.table);
    // At most two pages wait.
    let (sender, mut pages) = mpsc::channel::<Vec<ExportRow>>(2);
    let writing = tokio::task::spawn_blocking(move || {
        let mut writer: Box<dyn RowWriter> = match format {
            Format::Ndjson => Box::new(ndjson::Ndjson::new(table, output)),
            Format::Csv => Box::new(csv::Csv::new(table, output)?),
            Format::Parquet => Box::new(parquet::Parquet::new(table, output)?),
        };
        while let Some(rows) = pages.blocking_recv() {
            writer.write(rows)?;
        }
        writer.finish()
    });
    let read = read(db, export, &sender, done, stopped).await;
    drop(sender);
    let output = writing.await?;
    // First the error of the writer: the reader stops because of it.
    let output = output?;
    Ok((read?, output))
}

async fn read(
    db: &Database,
    export: &Export,
    pages: &mpsc::Sender<Vec<ExportRow>>,
    done: &AtomicU64,
    stopped: &(dyn Fn() -> bool + Sync),
) -> Result<Exported, ExportError> {
    let mut exported = Exported::default();
    let mut after = None;
    let mut limit = FIRST_PAGE;
    let mut columns = exported_columns(export.table);
    let key = columns.position(|column| column.kind == ColumnKind::Key);
    let masked = key.filter(|_| export.mask_keys);
    loop {
        if stopped() {
            return Err(ExportError::Stopped);
        }
        let page = export::page(db, export.table, &export.scope, after, limit).await?;
        let Some(last) = page.last else { return Ok(exported) };
        after = Some(last);
        let mut rows = page.rows;
        if let Some(place) = masked {
            for key in rows.iter_mut().filter_map(|row| row.cells[place].as_mut()) {
                *key = mask(key);
            }
        }
        exported.rows += rows.len() as u64;
        exported.unreadable += page.unreadable;
        limit = next_limit(limit, &rows);
        if pages.send(rows).await.is_err() {
            return Err(ExportError::Stopped);
        }
        done.store(exported.rows, Ordering::Relaxed);
    }
}

/// The number of rows of about [`PAGE_BYTES`], estimated from the rows that were read.
fn next_limit(limit: u32, rows: &[ExportRow]) -> u32 {
    let bytes: usize = rows.iter().map(row_bytes).sum();
    let each = bytes / rows.len().max(1) + 1;
    let fitting = u32::try_from(PAGE_BYTES / each).unwrap_or(LARGEST_PAGE);
    fitting.clamp(1, LARGEST_PAGE.min(limit.saturating_mul(4)))
}

fn row_bytes(row: &ExportRow) -> usize {
    64 + row.cells.iter().flatten().map(|text| 24 + text.len()).sum::<usize>()
}
