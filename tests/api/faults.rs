//! Abandoned statements, and a database that fails. Tests that need their own database server are in
//! `tests/outages.rs`.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use callscope::domain::record::CallRecord;
use callscope::store::write::{self, Batch};
use serde_json::{Value, json};

use super::input_errors::{lock, unlock};
use crate::support::{CallRow, Kind, TestApp, TestDatabase, error_code};
use crate::tests;

tests! {
    a_request_that_times_out_stops_its_statement,
    a_client_that_disconnects_stops_its_statement,
    a_cancelled_statement_is_a_timeout.only(&[Kind::Postgres, Kind::MariaDb]),
    many_abandoned_requests_leave_the_server_healthy,
    a_missing_table_is_a_database_error,
    a_locked_table_is_a_timeout.only(&[Kind::Postgres, Kind::MariaDb]),
    a_locked_file_does_not_block_readers_in_write_ahead_mode.only(&[Kind::Sqlite]),
    a_locked_file_is_a_database_error.only(&[Kind::Sqlite]),
    a_file_may_disappear_and_reappear.only(&[Kind::Sqlite]),
    a_damaged_file_is_a_database_error.only(&[Kind::Sqlite]),
    a_replaced_file_is_read.only(&[Kind::Sqlite]),
    a_replaced_file_is_written.only(&[Kind::Sqlite]),
    an_overwritten_file_does_not_end_the_server.only(&[Kind::Sqlite]),
    a_blocked_write_is_refused_and_later_accepted.only(&[Kind::Sqlite]),
}

const SLOW: &str = "{ usageStats { lastHour { total } } }";
const QUICK: &str = "{ errorLogs { totalCount } }";

/// Replaces the table of calls by a view that takes hours to count.
pub async fn make_calls_endless(database: &TestDatabase) {
    let numbers = match database.kind() {
        Kind::Sqlite => {
            "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n)"
        }
        Kind::Postgres => "(SELECT generate_series(1, 100000000000) AS i)",
        Kind::MariaDb => {
            "(SELECT a.seq AS i FROM seq_1_to_1000000000 AS a, seq_1_to_1000000000 AS b)"
        }
    };
    let time = match database.kind() {
        Kind::Postgres => "TIMESTAMP '2026-03-01 11:59:00'",
        _ => "'2026-03-01 11:59:00.000000'",
    };
    let view = format!(
        "DROP TABLE t_request_log; CREATE VIEW t_request_log AS SELECT i AS id, {time} AS request_time, \
         'model' AS model_name, 'key' AS api_key, TRUE AS is_success, 200 + i % 2 AS status_code, i % 7 AS latency_ms \
         FROM {numbers} AS endless"
    );
    database.execute(&view).await;
}

/// How many statements the server runs now; SQLite does not report it.
async fn running(database: &TestDatabase) -> Option<u64> {
    let count = match database.kind() {
        Kind::Sqlite => return None,
        Kind::Postgres => {
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND state = 'active' AND pid <> pg_backend_pid()"
        }
        Kind::MariaDb => {
            "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() \
             AND command IN ('Query', 'Execute') AND id <> CONNECTION_ID()"
        }
    };
    database.value(count).await.as_u64()
}

async fn await_running(database: &TestDatabase, count: u64) {
    while running(database).await.is_some_and(|found| found != count) {
        tokio::task::yield_now().await;
    }
}

/// Checks that the only connection is usable again and no statement runs, long before the limits of the
/// sessions would have stopped it.
async fn assert_stopped(app: &TestApp, database: &TestDatabase, since: Instant) {
    await_running(database, 0).await;
    let stopped = since.elapsed();
    app.data(QUICK).await;
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    println!(
        "{}: stopped after {stopped:?}, usable after {:?}",
        database.kind().name(),
        since.elapsed()
    );
}

async fn a_request_that_times_out_stops_its_statement(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.database.database_connections = 1;
        config.graphql.timeout_seconds = 1;
    })
    .await;
    make_calls_endless(&database).await;
    let response = app.graphql(SLOW).await;
    assert_eq!(error_code(&response), "TIMEOUT", "{response:#}");
    assert_stopped(&app, &database, Instant::now()).await;
}

async fn a_client_that_disconnects_stops_its_statement(database: TestDatabase) {
    let app =
        TestApp::start_with(&database, |config| config.database.database_connections = 1).await;
    make_calls_endless(&database).await;
    let before = app.sent();
    let request = app.post(&json!({ "query": SLOW })).send();
    let request = tokio::spawn(request);
    while app.sent() == before {
        tokio::task::yield_now().await;
    }
    await_running(&database, 1).await;
    request.abort();
    assert_stopped(&app, &database, Instant::now()).await;
}

/// Stopped by another session, or by its own limit. In SQLite no other session can stop a statement.
async fn a_cancelled_statement_is_a_timeout(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    make_calls_endless(&database).await;
    let request = app.post(&json!({ "query": SLOW })).send();
    let request = tokio::spawn(request);
    await_running(&database, 1).await;
    let statements = match database.kind() {
        Kind::Postgres => {
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
             AND state = 'active' AND pid <> pg_backend_pid()"
        }
        _ => {
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() \
             AND command IN ('Query', 'Execute') AND id <> CONNECTION_ID()"
        }
    };
    // Repeatedly: the observed statement may have been only prepared.
    while !request.is_finished() {
        for found in database.query(statements).await {
            let stop = match database.kind() {
                Kind::Postgres => format!("SELECT pg_cancel_backend({})", found[0]),
                _ => format!("KILL QUERY {}", found[0]),
            };
            database.execute(&stop).await;
        }
        tokio::task::yield_now().await;
    }
    let response: Value = request.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(error_code(&response), "TIMEOUT", "{response:#}");
    app.data(QUICK).await;
}

/// A late cancellation would stop the statement of another request.
async fn many_abandoned_requests_leave_the_server_healthy(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for round in 0..20 {
        let requests: Vec<_> = (0..4)
            .map(|_| {
                let body = json!({ "query": "{ usageStats { lastHour { total } } errorLogs { totalCount } }" });
                tokio::spawn(app.post(&body).send())
            })
            .collect();
        // Each round cancels a little later.
        for _ in 0..round * 10 {
            tokio::task::yield_now().await;
        }
        requests.iter().for_each(tokio::task::JoinHandle::abort);
        app.data(SLOW).await;
    }
}

async fn assert_unhealthy(app: &TestApp) {
    let response = app.graphql(SLOW).await;
    assert_eq!(error_code(&response), "DATABASE_UNAVAILABLE", "{response:#}");
    assert_eq!(app.readiness().await.0, 503);
}

async fn assert_healthy(app: &TestApp, total: u64) {
    assert_eq!(app.data(SLOW).await["usageStats"]["lastHour"]["total"], total);
    assert_eq!(app.readiness().await.0, 200);
}

async fn a_missing_table_is_a_database_error(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z")]).await;
    let app = TestApp::start(&database).await;
    database.execute("ALTER TABLE t_request_log RENAME TO elsewhere").await;
    assert_unhealthy(&app).await;
    database.execute("ALTER TABLE elsewhere RENAME TO t_request_log").await;
    assert_healthy(&app, 1).await;
}

/// The lock may be released at any time: the request waits until its timeout.
async fn a_locked_table_is_a_timeout(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.graphql.timeout_seconds = 1).await;
    lock(&database, "t_request_log").await;
    assert_eq!(error_code(&app.graphql(SLOW).await), "TIMEOUT");
    assert_eq!(app.readiness().await.0, 503);
    unlock(&database).await;
    assert_healthy(&app, 0).await;
}

async fn a_locked_file_does_not_block_readers_in_write_ahead_mode(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z")]).await;
    let app = TestApp::start(&database).await;
    database.execute("BEGIN EXCLUSIVE; DELETE FROM t_request_log").await;
    assert_healthy(&app, 1).await;
    database.execute("COMMIT").await;
    assert_healthy(&app, 0).await;
}

async fn a_locked_file_is_a_database_error(database: TestDatabase) {
    // A gateway's own journal mode, which a read-only server does not change.
    database.execute("PRAGMA journal_mode = DELETE").await;
    let app = TestApp::start_read_only(&database).await;
    database.execute("BEGIN EXCLUSIVE").await;
    assert_unhealthy(&app).await;
    database.execute("COMMIT").await;
    assert_healthy(&app, 0).await;
}

fn path(database: &TestDatabase) -> String {
    database.url().trim_start_matches("sqlite://").to_owned()
}

/// Moves the file with its write-ahead log.
fn move_file(from: &str, to: &str) {
    for suffix in ["", "-wal", "-shm"] {
        // Only the file itself always exists.
        std::fs::rename(format!("{from}{suffix}"), format!("{to}{suffix}")).ok();
    }
}

async fn a_file_may_disappear_and_reappear(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z")]).await;
    let app = TestApp::start(&database).await;
    assert_healthy(&app, 1).await;
    let (path, away) = (path(&database), format!("{}.away", path(&database)));
    move_file(&path, &away);
    assert_unhealthy(&app).await;
    assert!(!std::path::Path::new(&path).exists(), "no empty file is created in its place");
    move_file(&away, &path);
    assert_healthy(&app, 1).await;
}

async fn a_damaged_file_is_a_database_error(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z")]).await;
    let app = TestApp::start(&database).await;
    assert_healthy(&app, 1).await;
    let (path, away) = (path(&database), format!("{}.away", path(&database)));
    move_file(&path, &away);
    for damage in [b"not a database, and longer than its header ".repeat(100), Vec::new()] {
        std::fs::write(&path, damage).unwrap();
        assert_unhealthy(&app).await;
    }
    // The start of the file looks valid.
    let mut content = std::fs::read(&away).unwrap();
    let page = content.len() / 8;
    content[page..].fill(0xa5);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, content).unwrap();
    assert_unhealthy(&app).await;
    std::fs::remove_file(&path).unwrap();
    move_file(&away, &path);
    assert_healthy(&app, 1).await;
}

async fn a_replaced_file_is_read(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    assert_healthy(&app, 0).await;
    let path = path(&database);
    let backup = format!("{path}.backup");
    database.execute(&format!("VACUUM INTO '{backup}'")).await;
    let restored = TestDatabase::new(Kind::Sqlite, format!("sqlite://{backup}"));
    restored.insert(&[CallRow::at("2026-03-01T11:30:00Z")]).await;
    restored.close().await;
    move_file(&path, &format!("{path}.away"));
    move_file(&backup, &path);
    assert_healthy(&app, 1).await;
}

/// The recorder keeps its connection between groups, but not after the file was replaced.
async fn a_replaced_file_is_written(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let record = async |key: &str| {
        let query = format!(
            "mutation {{ recordCalls(input: {{ calls: [{{ timestamp: \"2026-03-01T11:30:00Z\" }}]{key} }}) \
             {{ recorded }} }}"
        );
        app.graphql(&query).await
    };
    let path = path(&database);
    let backup = format!("{path}.backup");
    database.execute(&format!("VACUUM INTO '{backup}'")).await;
    for key in ["", ", idempotencyKey: \"a\"", "", ""] {
        let response = record(key).await;
        assert_eq!(response["data"]["recordCalls"]["recorded"], 1, "{response}");
    }
    assert_healthy(&app, 4).await;
    move_file(&path, &format!("{path}.away"));
    // Rows written into a deleted file would be lost.
    let response = record("").await;
    assert_eq!(error_code(&response), "DATABASE_UNAVAILABLE", "{response}");
    move_file(&backup, &path);
    assert_eq!(record("").await["data"]["recordCalls"]["recorded"], 1);
    assert_eq!(record(", idempotencyKey: \"a\"").await["data"]["recordCalls"]["recorded"], 1);
    assert_healthy(&app, 2).await;
}

/// As `cp backup.db calls.db` does, which truncates the file first: a mapped file would end the process by
/// SIGBUS. The test uses a separate process, which may end.
async fn an_overwritten_file_does_not_end_the_server(database: TestDatabase) {
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
        INSERT INTO t_request_log (request_time, api_key, is_success, status_code)
        SELECT '2026-03-01 11:' || (10 + i % 50) || ':00.000000', 'k' || i % 97, 1, 200 FROM n";
    database.execute(rows).await;
    let path = path(&database);
    let backup = format!("{path}.backup");
    database.execute(&format!("VACUUM INTO '{backup}'; PRAGMA wal_checkpoint(TRUNCATE)")).await;
    database.close().await;
    let mut server = ServerProcess::start(&database);
    let client = reqwest::Client::new();
    let ask = async || {
        let query = "{ callDetails(between: { since: \"2026-03-01T11:00:00Z\", until: \"2026-03-01T12:00:00Z\" }) { totalCount } }";
        let sent = client.post(format!("{}/graphql", server.url)).json(&json!({ "query": query }));
        let response: Value = sent.send().await.unwrap().json().await.unwrap();
        match response.get("errors") {
            Some(_) => Err(error_code(&response).to_owned()),
            None => Ok(response["data"]["callDetails"]["totalCount"].clone()),
        }
    };
    assert_eq!(ask().await, Ok(json!(20_000)));
    let content = std::fs::read(&backup).unwrap();
    let overwritten = std::cell::Cell::new(false);
    let check = |answer: Result<Value, String>| {
        let unavailable = Err("DATABASE_UNAVAILABLE".to_owned());
        assert!(answer == unavailable || answer == Ok(json!(20_000)), "{answer:?}");
    };
    // A statement that runs while the file is truncated fails.
    let (ask, check, overwritten) = (&ask, &check, &overwritten);
    let asking = (0..4).map(|_| async move {
        while !overwritten.get() {
            check(ask().await);
        }
    });
    let overwriting = async {
        for _ in 0..100 {
            let mut file = std::fs::File::create(&path).unwrap();
            check(ask().await);
            file.write_all(&content).unwrap();
            check(ask().await);
        }
        overwritten.set(true);
    };
    futures_util::join!(futures_util::future::join_all(asking), overwriting);
    // A file that is moved into its place is read.
    move_file(&path, &format!("{path}.away"));
    move_file(&backup, &path);
    assert_eq!(ask().await, Ok(json!(20_000)));
    assert_eq!(server.child.try_wait().unwrap(), None);
}

/// `callscope serve` on a free port; it ends with the test.
struct ServerProcess {
    child: std::process::Child,
    url: String,
}

impl ServerProcess {
    fn start(database: &TestDatabase) -> Self {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_callscope"))
            .env_clear()
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .args(["--database-url", database.url()])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
        let page = lines.find_map(|line| {
            let line: Value = serde_json::from_str(&line.ok()?).ok()?;
            Some(line["page"].as_str()?.trim_end_matches('/').to_owned())
        });
        // Reads the rest of the log too, so that the pipe does not fill.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: page.unwrap() }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A write waits for five seconds, then fails; it is never stored in part.
async fn a_blocked_write_is_refused_and_later_accepted(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let call = CallRecord {
        timestamp: "2026-03-01T11:30:00Z".parse().unwrap(),
        model: Some("model".into()),
        key: Some("key".into()),
        status_code: Some(200),
        latency_ms: Some(1),
    };
    let batch = Batch { calls: vec![call; 3], ..Batch::default() };
    database.execute("BEGIN IMMEDIATE").await;
    let refused = write::insert(app.db(), &batch, None).await;
    assert_eq!(refused.unwrap_err().code(), "DATABASE_UNAVAILABLE");
    database.execute("COMMIT").await;
    write::insert(app.db(), &batch, None).await.unwrap();
    assert_healthy(&app, 3).await;
}
