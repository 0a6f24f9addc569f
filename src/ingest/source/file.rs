//! Reads a file: decompresses and hashes it, detects its format, and sends its rows in chunks.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::parquet::{MAGIC, Parquet};
use super::{CHUNK, End, ROW_BYTES, ReadOptions, Rows, SourceChunk, SourceError, csv, ndjson};

const BUFFER: usize = 128 << 10;

#[derive(Clone, Debug)]
pub struct FileSource {
    path: PathBuf,
    label: String,
    size: u64,
}

impl FileSource {
    /// Checks that `path` is a regular file. A pipe cannot be read twice.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let found = std::fs::metadata(path)?;
        if !found.is_file() {
            return Err(SourceError::Unusable(
                "not a regular file, and an import reads its sources twice".into(),
            ));
        }
        Ok(Self { path: path.into(), label: path.display().to_string(), size: found.len() })
    }

    pub fn label(&self) -> &str {
        &self.label
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Sends the rows after the first `skip`. Stops early if the receiver is dropped.
    pub fn read(
        &self,
        skip: u64,
        options: ReadOptions,
        sender: &mpsc::Sender<SourceChunk>,
    ) -> Result<End, SourceError> {
        if is_parquet(&self.path)? {
            return self.read_parquet(skip, options, sender);
        }
        let row_bytes = Rc::new(Cell::new(0));
        let hash = Rc::new(Cell::new(Sha256::new()));
        let file = File::open(&self.path)?;
        // Shares the position of `file`.
        let position = file.try_clone()?;
        let content = Hashing { inner: unpack(file)?, hash: hash.clone(), row: row_bytes.clone() };
        let mut content = BufReader::with_capacity(BUFFER, content);
        let mut rows = rows(&mut content)?;
        let start_row = || row_bytes.set(0);
        send_rows(&mut *rows, skip, &options, sender, start_row, |_| {
            (&position).stream_position().unwrap_or(0)
        })?;
        let table = rows.table();
        drop(rows);
        let identity = format!("{:x}", hash.take().finalize());
        Ok(End { table, identity, forgotten: 0 })
    }

    /// Parquet is not read sequentially, so that the file is hashed in a separate pass.
    fn read_parquet(
        &self,
        skip: u64,
        options: ReadOptions,
        sender: &mpsc::Sender<SourceChunk>,
    ) -> Result<End, SourceError> {
        let mut hash = Sha256::new();
        io::copy(&mut File::open(&self.path)?, &mut hash)?;
        let mut rows = Parquet::new(File::open(&self.path)?)?;
        let offset = |rows: &Parquet| (self.size as f64 * rows.share()) as u64;
        send_rows(&mut rows, skip, &options, sender, || {}, offset)?;
        let identity = format!("{:x}", hash.finalize());
        Ok(End { table: rows.table(), identity, forgotten: 0 })
    }
}

/// Sends the rows after the first `skip`. Calls `start_row` before each row; `offset` is the position.
fn send_rows<R: Rows + ?Sized>(
    rows: &mut R,
    skip: u64,
    options: &ReadOptions,
    sender: &mpsc::Sender<SourceChunk>,
    start_row: impl Fn(),
    offset: impl Fn(&R) -> u64,
) -> Result<(), SourceError> {
    for _ in 0..skip {
        start_row();
        rows.skip()?;
    }
    let mut part = SourceChunk::after(skip);
    while let Some(row) = rows.next(options)? {
        start_row();
        part.position.rows_done += 1;
        part.add(row.line, row.record, options);
        if part.chunk.is_full(CHUNK) {
            part.offset = offset(rows);
            let next = SourceChunk::after(part.position.rows_done);
            if sender.blocking_send(std::mem::replace(&mut part, next)).is_err() {
                return Ok(());
            }
        }
    }
    if !part.chunk.is_empty() {
        part.offset = offset(rows);
        // An error means that the receiver was dropped.
        let _ = sender.blocking_send(part);
    }
    Ok(())
}

fn is_parquet(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(MAGIC.len() as u64).read_to_end(&mut start)?;
    Ok(start == MAGIC)
}

fn unpack(file: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let mut file = BufReader::with_capacity(BUFFER, file);
    let packed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// NDJSON starts with `{`, CSV with the name of a column.
fn rows<'a>(content: &'a mut dyn BufRead) -> Result<Box<dyn Rows + 'a>, SourceError> {
    if content.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        content.consume(3);
    }
    let start = content.fill_buf()?;
    if start.starts_with(b"SQLite format 3\0") {
        let hint = "an SQLite database; use sqlite://FILE";
        return Err(SourceError::Unusable(hint.into()));
    }
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
    Ok(match first {
        None => return Err(SourceError::Unusable("an empty file".into())),
        Some(b'{') => Box::new(ndjson::Ndjson::new(content)),
        Some(_) => Box::new(csv::Csv::new(content)?),
    })
}

/// Hashes the decompressed content, and rejects a row that is too long.
struct Hashing<R> {
    inner: R,
    hash: Rc<Cell<Sha256>>,
    row: Rc<Cell<u64>>,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.row.get() > ROW_BYTES {
            let reason =
                format!("a row is longer than {ROW_BYTES} bytes; is a closing quote missing?");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let read = self.inner.read(buffer)?;
        let mut hash = self.hash.take();
        hash.update(&buffer[..read]);
        self.hash.set(hash);
        self.row.set(self.row.get() + read as u64);
        Ok(read)
    }
}
