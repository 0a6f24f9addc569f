//! A file to import, in any format: rows are refused with a reason or satisfy the requirements of every
//! database, and the file is read the same way twice.

#![no_main]

use std::cell::RefCell;

use callscope::ingest::source::{FileSource, ReadOptions, SourceChunk};
use callscope::ingest::validate;
use callscope::store::dialect::Dialect;
use callscope::store::zone::StorageZone;
use chrono::TimeDelta;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static FOLDER: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
}

fuzz_target!(|data: &[u8]| {
    let path = FOLDER.with_borrow_mut(|folder| {
        folder.get_or_insert_with(|| tempfile::tempdir().expect("a folder")).path().join("rows")
    });
    std::fs::write(&path, data).expect("writes");
    let Ok(source) = FileSource::open(&path) else { return };
    let zone = StorageZone("Asia/Shanghai".parse().expect("a zone"));
    let options = ReadOptions { zone, dialect: Dialect::MySql, shift: TimeDelta::zero() };
    let read = || {
        // Space for all rows: 8 KB are one chunk.
        let (sender, mut chunks) = tokio::sync::mpsc::channel(64);
        let end = source.read(0, options, &sender).map_err(|error| error.to_string());
        drop(sender);
        let mut rows = Vec::new();
        while let Ok(SourceChunk { chunk, position, .. }) = chunks.try_recv() {
            validate::batch(&chunk.batch, Dialect::MySql).expect("valid rows");
            rows.push((chunk.batch.calls, chunk.batch.errors, chunk.report, position));
        }
        (end, rows)
    };
    assert_eq!(read(), read());
});
