//! `callscope import`: every database stores the imported rows and returns them.

use std::path::Path;
use std::process::Command;

use super::support::{CallRow, Kind, TestApp, TestDatabase};
use crate::data::{Trace, gzip};
use crate::tests;

tests! {
    an_imported_trace_is_unchanged.empty(),
    rows_that_are_committed_late_are_imported.only(&[Kind::Postgres, Kind::MariaDb]),
    two_imports_of_late_rows_create_no_duplicates.only(&[Kind::Postgres, Kind::MariaDb]),
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

fn command(database_url: &str, sources: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callscope"));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    command.args(["import", "--database-url", database_url]).args(sources);
    command
}

/// Returns the last line of the output.
fn import(database_url: &str, sources: &[&str]) -> String {
    let output = command(database_url, sources).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn rows(count: usize) -> Vec<CallRow> {
    (0..count).map(|_| CallRow::at("2026-03-01T10:00:00Z")).collect()
}

/// Leaves a transaction open that has inserted a call, after which other programs have inserted more.
async fn leave_open(database: &TestDatabase, app: &TestApp) {
    database.execute("BEGIN").await;
    database.insert(&rows(1)).await;
    let record = "mutation { recordCalls(input: { calls: [{}, {}] }) { recorded } }";
    assert_eq!(app.data(record).await["recordCalls"]["recorded"], 2);
}

async fn rows_that_are_committed_late_are_imported(database: TestDatabase) {
    let folder = tempfile::tempdir().unwrap();
    let target = format!("sqlite://{}?mode=rwc", folder.path().join("calls.db").display());
    database.insert(&rows(3)).await;
    let app = TestApp::start(&database).await;
    leave_open(&database, &app).await;
    let import = || import(&target, &[database.url()]);
    let imported = |calls: usize| format!("imported {calls} calls and 0 error logs");
    assert!(import().starts_with(&imported(5)));
    // An id that no row will have.
    database.execute("COMMIT").await;
    leave_open(&database, &app).await;
    database.execute("ROLLBACK").await;
    assert!(import().starts_with(&imported(3)));
    leave_open(&database, &app).await;
    assert!(import().starts_with(&imported(2)));
    // Only the late row, and then nothing.
    database.execute("COMMIT").await;
    assert!(import().starts_with(&imported(1)));
    assert_eq!(import(), imported(0) + ", skipped 2 sources imported before");
    assert_eq!(database.count("t_request_log").await, 11);
}

async fn two_imports_of_late_rows_create_no_duplicates(database: TestDatabase) {
    let folder = tempfile::tempdir().unwrap();
    let target = format!("sqlite://{}?mode=rwc", folder.path().join("calls.db").display());
    let app = TestApp::start(&database).await;
    leave_open(&database, &app).await;
    assert_eq!(import(&target, &[database.url()]), "imported 2 calls and 0 error logs");
    database.execute("COMMIT").await;
    let running = [(); 2].map(|()| command(&target, &[database.url()]).spawn().unwrap());
    for mut child in running {
        // One of them may find that the other one has imported the row.
        child.wait().unwrap();
    }
    let target = TestDatabase::new(Kind::Sqlite, target);
    assert_eq!(target.count("t_request_log").await, 3);
}
