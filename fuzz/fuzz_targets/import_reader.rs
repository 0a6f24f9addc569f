//! A file to import, in any format: rows are refused with a reason or satisfy the requirements of every
//! database, and the file is read the same way twice.

#![no_main]

use std::cell::RefCell;

use callscope::ingest::source::{FileSource, ReadOptions};
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
        while let Ok(chunk) = chunks.try_recv() {
            for call in &chunk.calls {
                validate::call(call).expect("a valid call");
            }
            for error in &chunk.errors {
                validate::error(&error.record, Dialect::MySql).expect("a valid error log");
                let request = error.request_text.as_deref().unwrap_or_default();
                validate::request_text(request, Dialect::MySql).expect("a request to keep");
            }
            assert!(chunk.times().is_some() || chunk.calls.is_empty() && chunk.errors.is_empty());
            let bad: Vec<_> =
                chunk.bad.iter().map(|bad| (bad.place.clone(), bad.reason.clone())).collect();
            rows.push((chunk.calls, chunk.errors, bad, chunk.rows_done));
        }
        (end, rows)
    };
    assert_eq!(read(), read());
});
