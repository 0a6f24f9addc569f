//! `callscope import`: every database stores the imported rows and returns them.

use std::path::Path;
use std::process::Command;

use super::support::{Kind, TestDatabase};
use crate::data::{Trace, gzip};
use crate::tests;

tests! {
    an_imported_trace_is_unchanged.empty(),
}

/// Imports files into the database, and from it into SQLite by its URL: the rows equal those of a direct import
/// of the files. The second round imports nothing new.
async fn an_imported_trace_is_unchanged(database: TestDatabase) {
    let folder = tempfile::tempdir().unwrap();
    let trace = Trace::new("2023-11-16T18:15:46Z", 28_185);
    let files = [("calls.csv.gz", &trace.calls_csv), ("errors.ndjson.gz", &trace.errors_ndjson)];
    let files = files.map(|(name, content)| {
        let path = folder.path().join(name);
        std::fs::write(&path, gzip(content)).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let files = files.each_ref().map(String::as_str);
    let file = |name: &str| format!("sqlite://{}?mode=rwc", folder.path().join(name).display());
    let (direct, back) = (file("direct.db"), file("back.db"));
    for _ in 0..2 {
        import(&direct, &files);
        import(database.url(), &files);
        import(&back, &[database.url()]);
    }
    assert_eq!(database.count("t_request_log").await, trace.calls as u64);
    assert_eq!(database.count("t_error_logs").await, trace.errors as u64);
    let direct = TestDatabase::new(Kind::Sqlite, direct);
    let back = TestDatabase::new(Kind::Sqlite, back);
    for everything in [
        "SELECT id, request_time, model_name, api_key, is_success, status_code, latency_ms
            FROM t_request_log ORDER BY id",
        "SELECT id, request_time, model_name, gemini_key, error_type, error_log, error_code,
            request_msg FROM t_error_logs ORDER BY id",
    ] {
        assert!(direct.query(everything).await == back.query(everything).await, "rows differ");
    }
}

fn import(database_url: &str, sources: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_callscope"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .args(["import", "--database-url", database_url])
        .args(sources)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
