//! `callscope import`: every database keeps what was imported, and gives it back.

use std::path::Path;
use std::process::Command;

use super::support::{Kind, TestDatabase};
use crate::tests;

const CALLS: &str = "../shared/data/azure_llm_2023.requests.csv.gz";
const ERRORS: &str = "../shared/data/azure_llm_2023.errors.ndjson.gz";

tests! {
    a_trace_comes_back_as_it_was
        .needs("../shared/data/azure_llm_2023.requests.csv.gz")
        .empty(),
}

/// Files into the database, and from there by its URL into SQLite: the same rows as straight from
/// the files. The second round finds everything there and adds nothing.
async fn a_trace_comes_back_as_it_was(database: TestDatabase) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| format!("sqlite://{}?mode=rwc", folder.path().join(name).display());
    let (direct, back) = (file("direct.db"), file("back.db"));
    for _ in 0..2 {
        import(&direct, &[CALLS, ERRORS]);
        import(database.url(), &[CALLS, ERRORS]);
        import(&back, &[database.url()]);
    }
    assert_eq!(database.value("SELECT COUNT(*) FROM t_request_log").await, 28_185);
    assert_eq!(database.value("SELECT COUNT(*) FROM t_error_logs").await, 1449);
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
