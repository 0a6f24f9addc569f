//! Attaching to a gateway's tables: indexes are built while the gateway writes, and an
//! interrupted build is found and repaired.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use callscope::clock::Clock;
use callscope::config::DatabaseConfig;
use callscope::doctor::{CheckInput, Finding, Level, run_checks};
use callscope::domain::table::LogTable;
use callscope::error::Result;
use callscope::store::index_build::{self, Scope};
use callscope::store::{Database, schema};
use tokio::task::JoinHandle;

use super::migration::{INDEXES, indexes};
use crate::support::{CallRow, ErrorRow, Kind, TestApp, TestDatabase, gateway, settings};
use crate::tests;

tests! {
    a_gateway_writes_while_indexes_are_built.empty().only(SERVERS),
    a_gateway_writes_between_the_builds_of_sqlite.empty().only(&[Kind::Sqlite]),
    an_open_transaction_does_not_block_others.empty().only(SERVERS),
    a_cancelled_build_is_repaired.empty().only(SERVERS),
    a_killed_build_is_repaired.empty(),
    two_servers_respond_while_indexes_are_built.empty().only(SERVERS),
    concurrent_migrations_take_turns.empty(),
    a_shutdown_stops_the_build.empty().only(SERVERS),
    a_large_sqlite_file_is_served_without_indexes.empty().only(&[Kind::Sqlite]),
    a_start_without_builds_does_not_wait_for_writers.only(&[Kind::Sqlite]),
    tables_without_online_builds_are_skipped.empty().only(SERVERS),
    the_estimate_includes_rows_and_texts.empty(),
    no_index_is_built_in_zero_seconds.empty(),
    the_progress_of_a_build_is_logged.empty().only(&[Kind::Postgres]),
}

/// The databases that build an index while the gateway writes.
const SERVERS: &[Kind] = &[Kind::Postgres, Kind::MariaDb];
const ROWS: u32 = 150_000;
const NO_INDEX: [&str; 3] = [
    "callscope_audit_deletion(caller,deletion_id)",
    "callscope_idempotency_at(at)",
    "callscope_rollup_series_digest(digest)",
];
const INSERT: &str = "INSERT INTO t_request_log (request_time, model_name, api_key, is_success, \
                      status_code, latency_ms) VALUES ('2026-03-01 11:59:59', 'model', 'key', TRUE, 200, 1)";
const TOTAL: &str = "{ usageStats { lastHour { total } } }";

/// Creates a gateway's tables with `rows` calls.
async fn fill(database: &TestDatabase, rows: u32) {
    gateway::fill(database).await;
    let (number, numbers) = match database.kind() {
        Kind::Sqlite => {
            let numbers = format!(
                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
                 SELECT i FROM n)"
            );
            ("i", numbers)
        }
        Kind::Postgres => ("i", format!("generate_series(1, {rows}) AS n(i)")),
        Kind::MariaDb => ("seq", format!("seq_1_to_{rows}")),
    };
    let key = match database.kind() {
        Kind::Sqlite => format!("'key of the gateway ' || {number} % 50"),
        _ => format!("CONCAT('key of the gateway ', {number} % 50)"),
    };
    database
        .execute(&format!(
            "INSERT INTO t_request_log (request_time, model_name, api_key, is_success, status_code, \
             latency_ms) SELECT '2026-02-01 12:00:00', 'model', {key}, TRUE, 200, {number} % 5000 \
             FROM {numbers}"
        ))
        .await;
}

/// Another connection to the database.
fn connection(database: &TestDatabase) -> TestDatabase {
    TestDatabase::new(database.kind(), database.url().to_owned())
}

/// A transaction of the gateway that has written a call.
async fn open_transaction(database: &TestDatabase) -> TestDatabase {
    let gateway = connection(database);
    gateway.execute("BEGIN").await;
    gateway.execute(INSERT).await;
    gateway
}

fn migrate(config: DatabaseConfig) -> JoinHandle<Result<()>> {
    tokio::spawn(async move { schema::migrate(&config).await })
}

/// Treats every build as a long one.
fn config_without_quick_builds(database: &TestDatabase) -> DatabaseConfig {
    DatabaseConfig { index_build_seconds: 0, ..database.config() }
}

async fn start(database: &TestDatabase) -> TestApp {
    TestApp::start_with(database, |config| config.database.index_build_seconds = 0).await
}

/// The session that builds an index, and the index.
async fn running_build(database: &TestDatabase) -> Option<(i64, String)> {
    let sql = match database.kind() {
        Kind::Sqlite => return None,
        Kind::Postgres => {
            "SELECT pid, query FROM pg_stat_activity WHERE datname = current_database() \
             AND state = 'active' AND query LIKE 'CREATE INDEX CONCURRENTLY%'"
        }
        Kind::MariaDb => {
            "SELECT id, info FROM information_schema.processlist WHERE db = DATABASE() \
             AND info LIKE 'CREATE INDEX%'"
        }
    };
    let row = database.query(sql).await.pop()?;
    Some((row[0].as_i64()?, row[1].as_str()?.to_owned()))
}

/// Waits until the build of an index waits for the open transaction; returns its session.
async fn await_waiting_build(database: &TestDatabase) -> i64 {
    let sql = match database.kind() {
        Kind::Postgres => {
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
             AND wait_event_type = 'Lock' AND query LIKE 'CREATE INDEX CONCURRENTLY%t_request_log%'"
        }
        _ => {
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() \
             AND state LIKE 'Waiting%' AND info LIKE 'CREATE INDEX%t_request_log%'"
        }
    };
    loop {
        if let Some(row) = database.query(sql).await.pop() {
            return row[0].as_i64().expect("a session");
        }
    }
}

async fn await_ready(app: &TestApp) {
    let ready = async || app.get("/readyz").send().await.expect("an answer");
    // A MariaDB build that waits for a transaction blocks the table for 3 seconds.
    while ready().await.status() != 200 {}
}

async fn assert_complete(database: &TestDatabase) {
    assert_eq!(indexes(database).await, INDEXES);
    assert_eq!(invalid_indexes(database).await, 0);
}

async fn await_indexes(database: &TestDatabase) {
    while indexes(database).await != INDEXES || invalid_indexes(database).await > 0 {
        tokio::task::yield_now().await;
    }
}

async fn invalid_indexes(database: &TestDatabase) -> i64 {
    match database.kind() {
        Kind::Postgres => {
            let sql = "SELECT COUNT(*) FROM pg_index WHERE NOT indisvalid";
            database.value(sql).await.as_i64().unwrap()
        }
        Kind::Sqlite | Kind::MariaDb => 0,
    }
}

async fn doctor(config: &DatabaseConfig) -> Vec<Finding> {
    let (server, access) = (settings(&[]), settings(&[]));
    let (server, access, clock) = (&server, &access, &Clock::System);
    run_checks(&CheckInput { database: config, server, access, settings: &[], clock }).await
}

/// What `callscope doctor` reports about the indexes.
async fn finding(config: &DatabaseConfig) -> (Level, String) {
    let findings = doctor(config).await;
    let found = findings.iter().find(|finding| finding.subject == "indexes");
    let found = found.unwrap_or_else(|| panic!("no finding about indexes in {findings:#?}"));
    (found.level, found.to_string())
}

async fn a_gateway_writes_while_indexes_are_built(database: TestDatabase) {
    fill(&database, ROWS).await;
    let gateway = connection(&database);
    gateway.execute(INSERT).await;
    let migration = migrate(database.config());
    let (mut inserts, mut during, mut longest) = (0, 0, Duration::ZERO);
    while !migration.is_finished() {
        let before = running_build(&database).await;
        let start = Instant::now();
        gateway.execute(INSERT).await;
        longest = longest.max(start.elapsed());
        inserts += 1;
        let after = running_build(&database).await;
        // The same session ran the same statement before and after the insert.
        during += u32::from(before.is_some() && before == after);
    }
    migration.await.unwrap().expect("migrates");
    assert_complete(&database).await;
    println!(
        "{}: {during} of {inserts} inserts during a build; the longest took {longest:?}",
        database.kind().name()
    );
    assert!(during >= 5, "{during} of {inserts} inserts");
}

async fn a_gateway_writes_between_the_builds_of_sqlite(database: TestDatabase) {
    fill(&database, ROWS).await;
    database.execute("PRAGMA journal_mode = WAL").await;
    let gateway = connection(&database);
    let built = "SELECT COUNT(*) FROM sqlite_master WHERE name LIKE 'callscope%log%'";
    let migration = migrate(database.config());
    let (mut between, mut longest) = (0, Duration::ZERO);
    while !migration.is_finished() {
        let before = database.value(built).await.as_i64().unwrap();
        let start = Instant::now();
        gateway.execute(INSERT).await;
        longest = longest.max(start.elapsed());
        let after = database.value(built).await.as_i64().unwrap();
        between += u32::from(after > 0 && before < 4 && before == after);
        // The migration runs on this thread.
        tokio::task::yield_now().await;
    }
    migration.await.unwrap().expect("migrates");
    assert_complete(&database).await;
    println!("sqlite: {between} inserts between two builds; the longest took {longest:?}");
    assert!(between > 0, "the writer was blocked until the last index was built");
}

/// A build waits for the end of a transaction that uses the table. Other transactions are not blocked.
async fn an_open_transaction_does_not_block_others(database: TestDatabase) {
    gateway::fill(&database).await;
    let open = open_transaction(&database).await;
    let migration = migrate(database.config());
    await_waiting_build(&database).await;
    let gateway = connection(&database);
    for _ in 0..3 {
        gateway.execute(INSERT).await;
    }
    assert!(!migration.is_finished(), "the build waits for the open transaction");
    open.execute("COMMIT").await;
    migration.await.unwrap().expect("migrates");
    assert_complete(&database).await;
}

async fn a_cancelled_build_is_repaired(database: TestDatabase) {
    gateway::fill(&database).await;
    let open = open_transaction(&database).await;
    let migration = migrate(database.config());
    let session = await_waiting_build(&database).await;
    let cancel = match database.kind() {
        Kind::Postgres => format!("SELECT pg_cancel_backend({session})"),
        _ => format!("KILL QUERY {session}"),
    };
    database.execute(&cancel).await;
    assert!(migration.await.unwrap().is_err(), "a cancelled migration has failed");
    assert_ne!(indexes(&database).await, INDEXES);
    let (level, text) = finding(&database.config()).await;
    assert_eq!(level, Level::Warning, "{text}");
    assert!(text.contains("missing: "), "{text}");
    if database.kind() == Kind::Postgres {
        assert_eq!(invalid_indexes(&database).await, 1);
        assert!(text.contains("left invalid by an interrupted build: callscope_"), "{text}");
    }
    open.execute("COMMIT").await;
    // A server start repairs it too.
    Database::open(&database.config()).await.expect("opens").close().await.expect("closes");
    assert_complete(&database).await;
    assert_eq!(finding(&database.config()).await.0, Level::Ok);
}

/// `callscope migrate` as a process, and its log.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Process {
    fn migrate(database: &TestDatabase) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_callscope"))
            .args(["migrate", "--database-url", database.url()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Its next line with this message.
    fn line(&mut self, message: &str) -> String {
        let mut read = vec![];
        for line in &mut self.lines {
            read.push(line.unwrap());
            if read.last().is_some_and(|line| line.contains(message)) {
                return read.pop().unwrap();
            }
        }
        panic!("it ended without {message}: {read:#?}")
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

async fn a_killed_build_is_repaired(database: TestDatabase) {
    fill(&database, ROWS).await;
    let count = "SELECT COUNT(*) FROM t_request_log";
    let rows = database.value(count).await;
    database.close().await;
    let mut process = Process::migrate(&database);
    let line = loop {
        let line = process.line("\"building an index\"");
        // There are few error logs.
        if line.contains("t_request_log") {
            break line;
        }
    };
    for field in ["\"rows\":15", "\"expected_seconds\":0.3", "\"index\":\"callscope_request_log_"] {
        assert!(line.contains(field), "no {field} in {line}");
    }
    // PostgreSQL and MySQL continue a build after its client has disconnected.
    process.kill();
    assert_ne!(indexes(&database).await, INDEXES);
    schema::migrate(&database.config()).await.expect("migrates");
    assert_complete(&database).await;
    assert_eq!(database.value(count).await, rows);
}

async fn two_servers_respond_while_indexes_are_built(database: TestDatabase) {
    gateway::fill(&database).await;
    let open = open_transaction(&database).await;
    let one = start(&database).await;
    await_waiting_build(&database).await;
    let other = start(&database).await;
    for app in [&one, &other] {
        await_ready(app).await;
        let total = app.data(TOTAL).await["usageStats"]["lastHour"]["total"].clone();
        // The open transaction is not counted.
        assert_eq!(total, 2);
    }
    assert_ne!(indexes(&database).await, INDEXES);
    open.execute("COMMIT").await;
    await_indexes(&database).await;
    one.shutdown().await;
    other.shutdown().await;
    assert_complete(&database).await;
}

/// A PostgreSQL build waits for the end of older snapshots. A migration that waits for its turn must
/// hold no snapshot, or both would wait for each other.
async fn concurrent_migrations_take_turns(database: TestDatabase) {
    fill(&database, 20_000).await;
    let migrations: Vec<_> = (0..4).map(|_| migrate(database.config())).collect();
    for migration in migrations {
        migration.await.unwrap().expect("migrates");
    }
    assert_complete(&database).await;
}

async fn a_shutdown_stops_the_build(database: TestDatabase) {
    gateway::fill(&database).await;
    let open = open_transaction(&database).await;
    let app = start(&database).await;
    await_waiting_build(&database).await;
    app.shutdown().await;
    while running_build(&database).await.is_some() {
        tokio::task::yield_now().await;
    }
    assert_ne!(indexes(&database).await, INDEXES);
    open.execute("COMMIT").await;
    // The next start builds what is left.
    let app = start(&database).await;
    await_indexes(&database).await;
    app.shutdown().await;
}

async fn a_large_sqlite_file_is_served_without_indexes(database: TestDatabase) {
    gateway::fill(&database).await;
    let app = start(&database).await;
    assert_eq!(indexes(&database).await, NO_INDEX);
    let ready = app.get("/readyz").send().await.expect("an answer");
    assert_eq!(ready.status(), 200);
    let data = app.data(TOTAL).await;
    assert_eq!(data["usageStats"]["lastHour"]["total"], 2);
    let (level, text) = finding(&config_without_quick_builds(&database)).await;
    assert_eq!(level, Level::Warning, "{text}");
    for words in ["missing: callscope_", "callscope migrate", "quiet hour"] {
        assert!(text.contains(words), "{text}");
    }
    schema::migrate(&config_without_quick_builds(&database)).await.expect("migrates");
    assert_complete(&database).await;
    // The running server uses the new indexes without a restart.
    let statements = app.sql(TOTAL).await;
    let plan = database.query(&format!("EXPLAIN QUERY PLAN {}", statements[0])).await;
    let steps = plan.iter().filter_map(|row| row[3].as_str());
    assert!(steps.clone().any(|step| step.contains("callscope_request_log_time")), "{plan:?}");
    assert_eq!(app.data(TOTAL).await, data);
    app.shutdown().await;
}

async fn a_start_without_builds_does_not_wait_for_writers(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T12:00:00Z")]).await;
    database.execute("BEGIN IMMEDIATE").await;
    let opened = Database::open(&database.config()).await.expect("opens");
    opened.ping().await.expect("answers");
    database.execute("ROLLBACK").await;
    opened.close().await.expect("closes");
}

async fn tables_without_online_builds_are_skipped(database: TestDatabase) {
    gateway::fill(&database).await;
    for table in LogTable::ALL.map(LogTable::name) {
        let change = match database.kind() {
            Kind::Postgres => format!(
                "ALTER TABLE {table} RENAME TO {table}_part; \
                 CREATE TABLE {table} (LIKE {table}_part) PARTITION BY RANGE (id); \
                 ALTER TABLE {table} ATTACH PARTITION {table}_part DEFAULT"
            ),
            // The keys of these tables are shorter than InnoDB's.
            _ => format!(
                "ALTER TABLE {table} ENGINE = MyISAM, \
                 MODIFY model_name VARCHAR(100) CHARACTER SET latin1"
            ),
        };
        database.execute(&change).await;
    }
    let config = config_without_quick_builds(&database);
    let opened = Database::open(&config).await.expect("opens");
    assert!(opened.lacks_indexes());
    let left = index_build::build(&config, Scope::Online, std::future::pending()).await;
    assert_eq!(left.expect("builds").expect("ends").len(), 4);
    assert_eq!(indexes(&database).await, NO_INDEX);
    schema::migrate(&config).await.expect("migrates");
    let pending = opened.pending_indexes().await.expect("answers");
    assert!(pending.is_empty(), "{pending:?}");
    opened.close().await.expect("closes");
}

/// An import into new tables is faster without them.
async fn no_index_is_built_in_zero_seconds(database: TestDatabase) {
    let config = config_without_quick_builds(&database);
    Database::open(&config).await.unwrap();
    assert_eq!(indexes(&database).await, NO_INDEX);
    schema::migrate(&config).await.unwrap();
    assert_eq!(indexes(&database).await, INDEXES);
}

async fn the_estimate_includes_rows_and_texts(database: TestDatabase) {
    gateway::fill(&database).await;
    // The ids suggest this number of rows.
    let at = "2026-03-01T12:00:00Z";
    database.insert_unwatched(&[CallRow::at(at).id(5_000_000)]).await;
    let text = "a prompt ".repeat(2_000);
    database.insert_unwatched(&[ErrorRow::at(at).id(1_000_000).log(text)]).await;
    let opened = Database::open(&database.config()).await.expect("opens");
    let pending = opened.pending_indexes().await.expect("answers");
    let of = |table: LogTable| {
        let mut found = pending.iter().filter(move |pending| pending.index.table == table);
        found.next().unwrap_or_else(|| panic!("no index of {table:?} in {pending:?}"))
    };
    let (calls, errors) = (of(LogTable::Calls), of(LogTable::ErrorLogs));
    assert!((4_999_990..=5_000_000).contains(&calls.rows), "{calls:?}");
    assert!((10..12).contains(&calls.build_time.as_secs()), "{calls:?}");
    let least = if database.kind() == Kind::Sqlite { 15 } else { 2 };
    assert!(errors.build_time.as_secs() >= least, "{errors:?}");
    if database.kind() == Kind::Sqlite {
        assert_eq!(indexes(&database).await, NO_INDEX);
    }
    opened.close().await.expect("closes");
}

async fn the_progress_of_a_build_is_logged(database: TestDatabase) {
    gateway::fill(&database).await;
    let open = open_transaction(&database).await;
    let mut process = Process::migrate(&database);
    let line = process.line("\"an index is under construction\"");
    for field in ["\"phase\":\"waiting for ", "(process ", "\"expected_seconds\":"] {
        assert!(line.contains(field), "no {field} in {line}");
    }
    open.execute("COMMIT").await;
    process.line("\"built an index\"");
    assert!(process.child.wait().unwrap().success());
    assert_complete(&database).await;
}
