//! `callscope prune` and `serverInfo.storage`.

use std::process::{Command, Output, Stdio};

use callscope::clock::Clock;
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{CallRow, ErrorRow, Kind, NULL, TestApp, TestDatabase, error_code, gateway};
use crate::tests;

tests! {
    a_dry_run_counts_what_the_command_then_deletes,
    missing_arguments_are_reported.only(&[Kind::Sqlite]),
    a_doubtful_clock_requires_force,
    progress_is_shown.only(&[Kind::Sqlite]).needs_program("script"),
    ctrl_c_ends_it_after_the_current_batch.only(&[Kind::Sqlite]),
    a_file_that_callscope_created_shrinks.only(&[Kind::Sqlite]),
    a_gateways_file_shrinks_by_a_rewrite.empty(),
    storage_reports_sizes,
    storage_includes_partitions.empty().only(&[Kind::Postgres]),
    large_tables_are_estimated,
    storage_requires_its_scope,
}

fn command(database: &TestDatabase, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callscope"));
    command.env_clear().arg("prune").args(["--database-url", database.url()]).args(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn prune(database: &TestDatabase, args: &[&str]) -> Output {
    command(database, args).output().unwrap()
}

fn output_text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

async fn a_dry_run_counts_what_the_command_then_deletes(database: TestDatabase) {
    let now = Clock::System.now();
    let ages = [1, 6, 8, 30, 91, 91, 400].map(|days| now - TimeDelta::days(days));
    database.insert(&ages.map(CallRow::at_stored)).await;
    database.insert(&ages.map(ErrorRow::at_stored)).await;
    database.insert(&[CallRow::at_stored(NULL)]).await;
    let mut without_time = 1;
    if database.kind() == Kind::Sqlite {
        // Older as texts; the last one is a time in another format.
        database.insert(&["1 day ago", "0", "2001-02-30 x"].map(CallRow::at_stored)).await;
        database.insert(&[CallRow::at_stored("2001-02-28T10:00")]).await;
        database.insert(&[CallRow::at_stored("2001-02-28")]).await;
        // With its offset it is four hours younger than 90 days.
        let east = now - TimeDelta::days(90) - TimeDelta::hours(1);
        let east = east.format("%Y-%m-%d %H:%M:%S-05:00").to_string();
        database.insert(&[CallRow::at_stored(east)]).await;
        without_time = 6;
    }
    let old_calls = if database.kind() == Kind::Sqlite { 4 } else { 3 };
    let args = ["--calls-older-than", "90d", "--errors-older-than", "P7D"];
    let dry = output_text(&prune(&database, &[&args[..], &["--dry-run"]].concat()));
    assert_eq!(dry, format!("would delete {old_calls} calls and 5 error logs\n"));
    assert_eq!(database.count("t_error_logs").await, 7);
    let done = output_text(&prune(&database, &args));
    assert!(done.starts_with(&format!("deleted {old_calls} calls and 5 error logs\n")), "{done}");
    assert_eq!(database.count("t_request_log").await, 4 + without_time);
    assert_eq!(database.count("t_error_logs").await, 2);
    let again = output_text(&prune(&database, &["--calls-older-than", "90d"]));
    assert!(again.starts_with("deleted 0 calls and 0 error logs\n"), "{again}");
    let audit =
        "SELECT caller, address, action, subject, outcome, deleted_calls, deleted_error_logs
        FROM callscope_audit ORDER BY id";
    let entry = |subject: &str, calls: u32, errors: u32| {
        let texts = ["callscope prune", "-", "PRUNE_LOGS", subject, "completed"];
        [texts.map(Value::from).to_vec(), vec![json!(calls), json!(errors)]].concat()
    };
    let expected = [
        entry("{\"callsOlderThan\":\"P90D\",\"errorsOlderThan\":\"P7D\"}", old_calls, 5),
        entry("{\"callsOlderThan\":\"P90D\",\"errorsOlderThan\":null}", 0, 0),
    ];
    assert_eq!(database.query(audit).await, expected);
}

async fn missing_arguments_are_reported(database: TestDatabase) {
    for (args, code, text) in [
        (&[][..], 1, "--calls-older-than"),
        (&["--dry-run", "--vacuum"], 1, "--calls-older-than"),
        (&["--calls-older-than", "90"], 2, "90d"),
        (&["--calls-older-than", "90d", "--read-only"], 1, "--read-only"),
    ] {
        let output = prune(&database, args);
        let refused = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{refused}");
        assert!(refused.contains(text), "{refused}");
    }
}

/// All rows are old by a clock that is a year ahead.
async fn a_doubtful_clock_requires_force(database: TestDatabase) {
    let old = Clock::System.now() - TimeDelta::days(365);
    database.insert(&[CallRow::at_stored(old)]).await;
    let args = ["--calls-older-than", "90d"];
    let output = prune(&database, &args);
    let refused = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        refused.contains("the newest row is P365D") && refused.contains("--force"),
        "{refused}"
    );
    assert_eq!(database.count("t_request_log").await, 1);
    let output = prune(&database, &[&args[..], &["--dry-run"]].concat());
    assert_eq!(output_text(&output), "would delete 1 calls and 0 error logs\n");
    assert!(String::from_utf8(output.stderr).unwrap().contains("--force"));
    let done = output_text(&prune(&database, &[&args[..], &["--force"]].concat()));
    assert!(done.starts_with("deleted 1 calls and 0 error logs\n"), "{done}");
}

async fn ctrl_c_ends_it_after_the_current_batch(database: TestDatabase) {
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
        INSERT INTO t_request_log (request_time, api_key, is_success, status_code)
        SELECT strftime('%Y-%m-%d %H:%M:%f', 1e9 + i, 'unixepoch') || '000', 'k' || i % 97, 1, 200
        FROM n";
    database.execute(many).await;
    let args = ["--calls-older-than", "90d", "--force"];
    let mut running = command(&database, &args).spawn().unwrap();
    while database.count("t_request_log").await == 200_000 {
        assert_eq!(running.try_wait().unwrap(), None, "ended before it was stopped");
    }
    let id = running.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let left = database.count("t_request_log").await;
    assert!(left > 0, "stopped too late to show anything");
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = format!("deleted {} calls and 0 error logs\n", 200_000 - left);
    assert!(text.starts_with(&expected), "{text} of {expected}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("stopped before the end"));
    let oldest = "SELECT MIN(id) FROM t_request_log";
    assert_eq!(database.value(oldest).await, 200_001 - left, "the oldest rows are deleted first");
    let entry = "SELECT outcome, deleted_calls, deleted_error_logs FROM callscope_audit";
    let expected = vec![json!("stopped"), json!(200_000 - left), json!(0)];
    assert_eq!(database.query(entry).await, [expected]);
}

/// Runs on a terminal, which `script` provides.
async fn progress_is_shown(database: TestDatabase) {
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
        INSERT INTO t_request_log (request_time, api_key, is_success, status_code)
        SELECT '2001-01-01 00:00:00.000000', 'k', 1, i FROM n";
    database.execute(many).await;
    let prune = format!(
        "{} prune --database-url {} --calls-older-than 90d --force",
        env!("CARGO_BIN_EXE_callscope"),
        database.url()
    );
    let output = Command::new("script").args(["-qec", &prune, "/dev/null"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("deleting old rows"), "{text}");
    let done = text.split("/50,000 rows").filter_map(|before| {
        let digits = before.rsplit(|c: char| !c.is_ascii_digit() && c != ',').next()?;
        digits.replace(',', "").parse::<u32>().ok()
    });
    assert!(done.into_iter().any(|done| (1..50_000).contains(&done)), "{text}");
    assert!(text.contains("deleted 50000 calls and 0 error logs"), "{text}");
}

/// 500 error logs of 4 KB from long ago, and one of today.
async fn fill(database: &TestDatabase) {
    let row = ErrorRow::at("2001-01-01T00:00:00Z").log("x".repeat(4000));
    database.insert(&vec![row; 500]).await;
    database.insert(&[ErrorRow::at_stored(Clock::System.now())]).await;
}

fn size(database: &TestDatabase) -> u64 {
    std::fs::metadata(database.url().strip_prefix("sqlite://").unwrap()).unwrap().len()
}

async fn a_file_that_callscope_created_shrinks(database: TestDatabase) {
    fill(&database).await;
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
    let before = size(&database);
    let output = prune(&database, &["--errors-older-than", "7d"]);
    assert!(output_text(&output).contains("freed 2."), "{output:?}");
    let freed = before - size(&database);
    assert!(freed > 1_900_000, "{freed}");
    assert!(!String::from_utf8(output.stderr).unwrap().contains("--vacuum"));
}

async fn a_gateways_file_shrinks_by_a_rewrite(database: TestDatabase) {
    gateway::fill(&database).await;
    fill(&database).await;
    let left = database.count("t_error_logs").await - 500;
    let output = prune(&database, &["--errors-older-than", "7300d"]);
    assert!(output_text(&output).starts_with("deleted 0 calls and 500 error logs\n"), "{output:?}");
    assert!(!output_text(&output).contains("freed"), "{output:?}");
    if database.kind() == Kind::Sqlite {
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("--vacuum"), "{stderr}");
        assert!(size(&database) > 1_900_000);
        assert_eq!(database.value("SELECT auto_vacuum FROM pragma_auto_vacuum").await, 0);
    }
    let output = prune(&database, &["--vacuum"]);
    assert!(output_text(&output).starts_with("the database is "), "{output:?}");
    assert_eq!(database.count("t_error_logs").await, left);
    if database.kind() == Kind::Sqlite {
        assert!(size(&database) < 400_000, "{}", size(&database));
        // The write-ahead log, which stays while a connection is open, does not have it either.
        let log = format!("{}-wal", database.url().strip_prefix("sqlite://").unwrap());
        assert_eq!(std::fs::metadata(log).unwrap().len(), 0);
        assert_eq!(database.value("SELECT auto_vacuum FROM pragma_auto_vacuum").await, 2);
    }
}

const STORAGE: &str = "{ serverInfo { version storage {
    calls { rows rowsAreEstimated bytes oldest newest }
    errorLogs { rows rowsAreEstimated bytes oldest newest }
    bytes freeBytes
} } }";

async fn storage_includes_partitions(database: TestDatabase) {
    database
        .execute(
            "CREATE TABLE t_request_log (id INTEGER GENERATED BY DEFAULT AS IDENTITY, request_time TIMESTAMP, \
             model_name VARCHAR(100), api_key VARCHAR(100), is_success BOOLEAN NOT NULL, \
             status_code INTEGER, latency_ms INTEGER) PARTITION BY RANGE (request_time); \
             CREATE TABLE rest PARTITION OF t_request_log DEFAULT; CREATE INDEX ON t_request_log (id)",
        )
        .await;
    let app = TestApp::start(&database).await;
    database.insert(&["2026-02-01T10:00:00Z", "2026-01-01T10:00:00Z"].map(CallRow::at)).await;
    let storage = app.data(STORAGE).await["serverInfo"]["storage"].clone();
    assert_eq!(storage["calls"]["rows"], 2);
    let bytes = storage["calls"]["bytes"].as_i64().unwrap();
    assert!(bytes >= 4 * 8192, "a partition and three indexes: {storage}");
}

async fn storage_reports_sizes(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let storage = app.data(STORAGE).await["serverInfo"]["storage"].clone();
    assert_eq!(storage["calls"]["rows"], 0);
    assert_eq!(storage["calls"]["oldest"], Value::Null);
    database.insert(&[CallRow::at_stored(NULL)]).await;
    if database.kind() == Kind::Sqlite {
        database.insert(&[CallRow::at_stored("1 day ago"), CallRow::at_stored("9000-?")]).await;
    }
    database.insert(&["2026-02-01T10:00:00.5Z", "2026-01-01T10:00:00Z"].map(CallRow::at)).await;
    let storage = app.data(STORAGE).await["serverInfo"]["storage"].clone();
    let calls = &storage["calls"];
    let rows = if database.kind() == Kind::Sqlite { 5 } else { 3 };
    assert_eq!(calls["rows"], rows);
    assert_eq!(calls["rowsAreEstimated"], false);
    assert_eq!(calls["oldest"], "2026-01-01T10:00:00Z");
    assert_eq!(calls["newest"], "2026-02-01T10:00:00.5Z");
    assert_eq!(storage["errorLogs"]["rows"], 0);
    let bytes = |value: &Value| value.as_i64().unwrap();
    assert!(bytes(&calls["bytes"]) >= 3 * 4096, "a table and two indexes: {storage}");
    assert!(bytes(&storage["bytes"]) > bytes(&calls["bytes"]), "{storage}");
    assert_eq!(storage["freeBytes"].is_null(), database.kind() == Kind::Postgres, "{storage}");
}

async fn large_tables_are_estimated(database: TestDatabase) {
    database.insert(&[1, 100_000].map(|id| CallRow::at("2026-01-01T10:00:00Z").id(id))).await;
    database.insert(&[1, 100_001].map(|id| ErrorRow::at("2026-01-01T10:00:00Z").id(id))).await;
    let app = TestApp::start(&database).await;
    let storage = app.data(STORAGE).await["serverInfo"]["storage"].clone();
    assert_eq!(storage["calls"]["rows"], 2, "a small table is counted: {storage}");
    assert_eq!(storage["errorLogs"]["rowsAreEstimated"], true, "{storage}");
    if database.kind() == Kind::Sqlite {
        assert_eq!(storage["errorLogs"]["rows"], 100_001);
    }
}

async fn storage_requires_its_scope(database: TestDatabase) {
    let app = TestApp::start_with_tokens(&database, "scraper:METRICS:0123456789abcdef").await;
    let refused = app.graphql_as("0123456789abcdef", STORAGE).await;
    assert_eq!(error_code(&refused), "FORBIDDEN", "{refused}");
    assert_eq!(refused["data"]["serverInfo"]["storage"], Value::Null);
    assert_eq!(refused["data"]["serverInfo"]["version"], env!("CARGO_PKG_VERSION"));
}
