//! Storage fails while calls are recorded: a full disk, errors of single reads, writes, syncs
//! and locks, a file that another process keeps locked, a connection to the database that is cut at each
//! step of its protocol. Afterwards every acknowledged batch is stored exactly once, every other batch at
//! most once and completely, a retry with the same key records it once, the gateway can write, and the
//! server records again without a restart.
//!
//! `CALLSCOPE_TEST_FAULT_SECONDS` sets how long each test repeats its rounds, with other batches each
//! time (`scripts/crash` sets it); it is one round by default.

#![cfg(unix)]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "storage_faults/disk.rs"]
mod disk;
#[path = "crash/ledger.rs"]
mod ledger;
#[expect(dead_code, reason = "other tests use the rest")]
mod process;
#[path = "crash/producer.rs"]
mod producer;
#[path = "storage_faults/proxy.rs"]
mod proxy;
#[path = "outages/server.rs"]
#[expect(dead_code, reason = "outages uses the rest")]
mod server;
#[path = "storage_faults/shim.rs"]
mod shim;
#[path = "outages/trial.rs"]
mod trial;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use disk::Disk;
use ledger::{Ledger, Stored};
use libtest_mimic::Arguments;
use process::{Process, serve};
use producer::{Acknowledgement, Batch, client, produce};
use proxy::{Arrives, Proxy};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sea_orm::sqlx::{AssertSqlSafe, Connection, query_scalar, raw_sql};
use sea_orm::{ConnectionTrait, Database, QueryResult, Statement};
use serde_json::{Value, json};
use server::{Kind, Server};
use shim::{EAGAIN, EIO, ENOSPC, EROFS, LOCK, Mode, SYNC, Shim, TRUNCATE, WRITE};
use trial::trial;

/// Generous, because the machine may be busy.
const SOON: Duration = Duration::from_secs(60);

/// The batches of a short run: one call, several with a key, many with error logs, a stream, one call
/// with its error log and a key.
const RUN: [usize; 5] = [1, 2, 3, 4, 6];

const PRODUCERS: usize = 8;

fn main() {
    let [postgres, mariadb] =
        [Kind::Postgres, Kind::MariaDb].map(|kind| move || Server::start(kind));
    let trials = vec![
        trial("a_full_disk_loses_nothing", || Disk::mount(24), full_disk),
        trial("failed_operations_lose_nothing", Shim::build, failed_operations),
        trial("failed_operations_delete_nothing_else", Shim::build, failed_deletions),
        trial("failed_operations_miscount_no_class", Shim::build, failed_classifications),
        trial("an_import_continues_after_failed_operations", Shim::build, failed_imports),
        trial("rollups_are_right_after_failed_operations", Shim::build, failed_rebuilds),
        trial("a_locked_file_loses_nothing", || Ok(()), locked_file),
        trial("a_cut_connection_loses_nothing_in_postgres", postgres, cut_connections),
        trial("a_cut_connection_loses_nothing_in_mariadb", mariadb, cut_connections),
        trial("a_mariadb_without_autocommit_loses_nothing", mariadb, without_autocommit),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn start(database_url: &str) -> Process {
    start_with(database_url, vec![])
}

/// Starts a server with more environment variables.
fn start_with(database_url: &str, environment: Vec<(&str, PathBuf)>) -> Process {
    Process::start(serve(env!("CARGO_TARGET_TMPDIR").as_ref(), database_url).envs(environment))
}

/// The rounds of a test: one, or as many as start within `CALLSCOPE_TEST_FAULT_SECONDS`.
fn rounds() -> impl Iterator<Item = usize> {
    let seconds = std::env::var("CALLSCOPE_TEST_FAULT_SECONDS");
    let limit = Duration::from_secs(seconds.map_or(0, |seconds| seconds.parse().unwrap()));
    let first = Instant::now();
    (0..).take_while(move |round| *round == 0 || first.elapsed() < limit)
}

/// Another program with the same SQLite file and a short lock timeout.
struct Gateway(SqliteConnection);

impl Gateway {
    async fn open(path: &Path) -> Self {
        let options =
            SqliteConnectOptions::new().filename(path).busy_timeout(Duration::from_secs(1));
        let mut gateway = Self(SqliteConnection::connect_with(&options).await.expect("opens"));
        gateway.execute("CREATE TABLE IF NOT EXISTS gateway (id INTEGER PRIMARY KEY)").await;
        gateway
    }

    async fn execute(&mut self, sql: &str) {
        let done = raw_sql(AssertSqlSafe(sql)).execute(&mut self.0).await;
        done.unwrap_or_else(|error| panic!("the gateway cannot write: {sql}: {error}"));
    }

    async fn write(&mut self) {
        self.execute("BEGIN IMMEDIATE; INSERT INTO gateway DEFAULT VALUES; COMMIT").await;
    }

    async fn count(&mut self, of: &str) -> i64 {
        self.number(&format!("SELECT COUNT(*) FROM {of}")).await
    }

    async fn number(&mut self, sql: &str) -> i64 {
        query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.0).await.expect("a number")
    }
}

/// Each round starts with empty tables.
async fn empty(url: &str) {
    let connection = Database::connect(url).await.expect("connects");
    for table in ["t_request_log", "t_error_logs", "callscope_idempotency"] {
        let sql = format!("DELETE FROM {table}");
        connection.execute_unprepared(&sql).await.expect("deletes");
    }
    connection.close().await.expect("closes");
}

fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

/// Waits until the server is ready, and the next batch is recorded.
async fn assert_records(ledger: &Ledger, process: &Process, name: &str) {
    let http = client();
    let start = Instant::now();
    for number in 1.. {
        let batch = Batch::new(&format!("{name}-after"), number);
        let acknowledged = batch.send(&http, &process.address).await != Acknowledgement::None;
        ledger.enter(batch, acknowledged);
        if acknowledged {
            break;
        }
        assert!(start.elapsed() < SOON, "{name}: recording has stopped");
    }
    let ready = http.get(format!("http://{}/readyz", process.address)).send().await;
    assert_eq!(ready.expect("an answer").status(), 200, "{name}");
}

/// Sends the batches of a short run, one after the other.
async fn send_run(ledger: &Ledger, process: &Process, name: &str, round: usize) {
    let http = client();
    for number in RUN {
        let batch = Batch::new(name, number + 7 * round);
        let acknowledged = batch.send(&http, &process.address).await != Acknowledgement::None;
        ledger.enter(batch, acknowledged);
    }
}

/// The disk fills up, stays full for some time, and has space again, while producers record.
async fn full_disk(disk: Disk) {
    let path = disk.path().join("calls.db");
    let process = start(&url(&path));
    let mut gateway = Gateway::open(&path).await;
    for round in rounds() {
        empty(&url(&path)).await;
        // The disk is small: make space for this round.
        gateway.execute("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").await;
        let ledger = Arc::new(Ledger::default());
        let stop = Arc::new(AtomicBool::new(false));
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|number| {
                let (name, address) = (format!("{round}-{number}"), process.address.clone());
                tokio::spawn(produce(name, address, ledger.clone(), stop.clone()))
            })
            .collect();
        disk.fill(1024 * 1024);
        await_more(Ledger::refused, &ledger, 100).await;
        disk.free();
        await_more(Ledger::acknowledged, &ledger, 300).await;
        stop.store(true, Ordering::Relaxed);
        for producer in producers {
            producer.await.expect("a producer");
        }
        gateway.write().await;
        ledger.retry(&process.address, 50).await;
        assert_records(&ledger, &process, &format!("round {round}")).await;
        ledger.check(&Stored::read(&url(&path)).await);
        assert_rollups(&url(&path), round).await;
        println!("full disk: {}", ledger.summary());
    }
}

async fn await_more(count: fn(&Ledger) -> usize, ledger: &Ledger, more: usize) {
    let (first, start) = (count(ledger), Instant::now());
    while count(ledger) < first + more {
        assert!(start.elapsed() < SOON, "{}", ledger.summary());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a command of `callscope` on the database.
fn callscope(command: &[&str], url: &str, environment: Vec<(&str, PathBuf)>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_callscope"))
        .args(command)
        .env_clear()
        .env("CALLSCOPE_DATABASE_URL", url)
        .envs(environment)
        .output()
        .expect("callscope runs")
}

/// Checks that the rollups and the calls that are not folded are all stored calls. Only in the first round:
/// the calls that a later one removes stay counted.
async fn assert_rollups(url: &str, round: usize) {
    let start = Instant::now();
    loop {
        let output = callscope(&["rollup", "verify"], url, vec![]);
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            let expected = format!(", {} calls", Stored::read(url).await.calls());
            assert!(round > 0 || text.contains(&expected), "{text}, not {expected}");
            break;
        }
        assert!(!text.contains("in the rollups"), "{text}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(start.elapsed() < SOON, "{error}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The ways in which operations on a file fail. Remounting a disk read-only is one of them:
/// with files open for writing, the kernel does so only on its own errors.
const MODES: [Mode; 7] = {
    let mode = Mode { name: "", errno: EIO, kinds: WRITE, lasting: false, torn: false };
    [
        Mode { name: "one-write", ..mode },
        Mode { name: "one-sync", kinds: SYNC, ..mode },
        Mode { name: "torn-write", torn: true, lasting: true, ..mode },
        Mode { name: "full", errno: ENOSPC, torn: true, lasting: true, ..mode },
        Mode {
            name: "read-only",
            errno: EROFS,
            kinds: WRITE | SYNC | TRUNCATE,
            lasting: true,
            ..mode
        },
        Mode { name: "one-lock", kinds: LOCK, ..mode },
        Mode { name: "busy-lock", errno: EAGAIN, kinds: LOCK, ..mode },
    ]
};

/// The n-th operation of a short run fails, for each n; alone, or with all later operations.
async fn failed_operations(shim: Shim) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.db");
    let process = start_with(&url(&path), shim.environment(&path));
    let mut gateway = Gateway::open(&path).await;
    for round in rounds() {
        empty(&url(&path)).await;
        let (ledger, mut faults) = (Ledger::default(), 0);
        for mode in MODES {
            let mut first = 1;
            loop {
                let name = format!("{round}-{}-{first}", mode.name);
                shim.arm(mode, first);
                send_run(&ledger, &process, &name, round).await;
                let failed = shim.disarm();
                gateway.write().await;
                ledger.retry(&process.address, 2).await;
                assert_records(&ledger, &process, &name).await;
                if first % 5 == 0 {
                    // The log restarts, with its header.
                    gateway.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
                }
                if first % 50 == 0 {
                    ledger.check(&Stored::read(&url(&path)).await);
                }
                if failed == 0 {
                    assert!(first > 1, "{name}: no operation was counted");
                    break;
                }
                faults += 1;
                // Readers lock repeatedly as well; only some of these locks are tried.
                first += 1 + if mode.kinds == LOCK { first / 16 } else { 0 };
            }
            ledger.check(&Stored::read(&url(&path)).await);
        }
        assert_rollups(&url(&path), round).await;
        println!("{faults} faults: {}", ledger.summary());
    }
}

/// A deletion reports the deleted rows, deletes the rest later, and is in the audit log.
async fn failed_deletions(shim: Shim) {
    const ROWS: i64 = 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.db");
    let process = start_with(&url(&path), shim.environment(&path));
    let mut gateway = Gateway::open(&path).await;
    let query = "mutation { deleteErrorLogsWhere(filter: { keys: [\"k\"] }) { deletedCount } }";
    let delete = async || -> Value {
        let url = format!("http://{}/graphql", process.address);
        let sent = client().post(url).json(&json!({ "query": query })).send().await;
        sent.expect("an answer").json().await.expect("JSON")
    };
    for round in rounds() {
        for mode in MODES {
            for first in 1.. {
                gateway
                    .execute(&format!(
                        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
                         INSERT INTO t_error_logs (request_time, gemini_key) \
                         SELECT '2026-03-01 12:00:00', 'k' FROM n"
                    ))
                    .await;
                let audited = gateway.count("callscope_audit").await;
                shim.arm(mode, first);
                let answer = delete().await;
                let failed = shim.disarm();
                let name = format!("{round}-{}-{first}: {answer}", mode.name);
                let left = gateway.count("t_error_logs").await;
                let reported = answer["data"]["deleteErrorLogsWhere"]["deletedCount"].as_i64();
                assert!(
                    reported.is_none_or(|rows| rows == ROWS && left == 0),
                    "{name}, {left} left"
                );
                let entries = gateway.count("callscope_audit").await - audited;
                assert!(left == ROWS || entries > 0, "{name}: missing in the audit log");
                gateway.write().await;
                let again = delete().await;
                let reported = again["data"]["deleteErrorLogsWhere"]["deletedCount"].as_i64();
                assert_eq!(reported, Some(left), "{name}, then {again}");
                assert_eq!(gateway.count("t_error_logs").await, 0, "{name}");
                if failed == 0 {
                    assert!(first > 1, "{name}: no operation was counted");
                    break;
                }
            }
        }
    }
}

/// A query that must classify error logs first counts all of them or fails.
async fn failed_classifications(shim: Shim) {
    const ROWS: i64 = 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.db");
    let mut environment = shim.environment(&path);
    environment.push(("CALLSCOPE_FAILURE_CLASSES", "false".into()));
    let process = start_with(&url(&path), environment);
    let mut gateway = Gateway::open(&path).await;
    let query = "{ errorGroups(by: [FAILURE_CLASS]) { failureClass count } }";
    let count = async || -> Value {
        let url = format!("http://{}/graphql", process.address);
        let sent = client().post(url).json(&json!({ "query": query })).send().await;
        sent.expect("an answer").json().await.expect("JSON")
    };
    let expected =
        json!({ "errorGroups": [{ "failureClass": "PROVIDER_OVERLOADED", "count": ROWS }] });
    for round in rounds() {
        for mode in MODES {
            for first in 1.. {
                gateway
                    .execute(&format!(
                        "DELETE FROM t_error_logs; DELETE FROM callscope_failures; \
                         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
                         INSERT INTO t_error_logs (request_time, error_code) \
                         SELECT '2026-03-01 12:00:00', 503 FROM n"
                    ))
                    .await;
                shim.arm(mode, first);
                let answer = count().await;
                let failed = shim.disarm();
                let name = format!("{round}-{}-{first}: {answer}", mode.name);
                assert!(answer["data"] == expected || answer["errors"].is_array(), "{name}");
                gateway.write().await;
                let again = count().await;
                assert_eq!(again["data"], expected, "{name}, then {again}");
                assert_eq!(gateway.count("callscope_failures").await, ROWS, "{name}");
                if failed == 0 {
                    assert!(first > 1, "{name}: no operation was counted");
                    break;
                }
            }
        }
    }
}

/// An import into a new file, including its tables, fails with a clear error and continues when it is restarted.
async fn failed_imports(shim: Shim) {
    let folder = tempfile::tempdir().unwrap();
    let mut calls =
        String::from("request_time,model_name,api_key,is_success,status_code,latency_ms\n");
    for second in 0..300 {
        let (minute, second) = (second / 60, second % 60);
        calls += &format!("2026-03-01 12:{minute:02}:{second:02},model,key,1,200,{second}\n");
    }
    let file = folder.path().join("calls.csv");
    std::fs::write(&file, calls).unwrap();
    for round in rounds() {
        for mode in [MODES[0], MODES[1], MODES[3]] {
            let mut first = 1;
            loop {
                let path = folder.path().join(format!("{round}-{}-{first}.db", mode.name));
                let command = ["import", file.to_str().unwrap()];
                let import = || callscope(&command, &url(&path), shim.environment(&path));
                shim.arm(mode, first);
                let output = import();
                let failed = shim.disarm();
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(!text.contains("panicked"), "{path:?}: {text}");
                let again = import();
                let text = format!("{text}\n{}", String::from_utf8_lossy(&again.stderr));
                assert!(again.status.success(), "{path:?}: {text}");
                let mut gateway = Gateway::open(&path).await;
                assert_eq!(gateway.count("t_request_log").await, 300, "{path:?}: {text}");
                if failed == 0 {
                    assert!(first > 1, "no operation was counted");
                    break;
                }
                // Most of them are similar.
                first += 1 + first / 8;
            }
        }
    }
}

/// New calls are folded, and all existing calls are folded again, while operations fail. Afterwards the
/// cells contain every call once, deleted calls too.
async fn failed_rebuilds(shim: Shim) {
    const INSERT: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) \
        INSERT INTO t_request_log (request_time, model_name, api_key, is_success, status_code, latency_ms) \
        SELECT datetime(DAY, i || ' minutes'), 'model', 'key' || i % 5, 1, 200, i FROM n";
    let insert = |day: &str| INSERT.replace("DAY", &format!("'{day}'"));
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("template.db");
    let rebuild = |path: &Path, environment| {
        let output = callscope(&["rollup", "rebuild"], &url(path), environment);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    {
        assert!(callscope(&["migrate"], &url(&template), vec![]).status.success());
        let mut gateway = Gateway::open(&template).await;
        gateway.execute(&insert("2026-03-01")).await;
        gateway.execute(&insert("2026-03-02")).await;
        assert_eq!(rebuild(&template, vec![]), (true, String::new()));
        gateway.execute("DELETE FROM t_request_log WHERE request_time < '2026-03-02'").await;
        // Folds, and finds the deleted calls.
        assert_eq!(rebuild(&template, vec![]), (true, String::new()));
        gateway.execute(&insert("2026-03-03")).await;
        gateway.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
    }
    for round in rounds() {
        for mode in MODES {
            let mut first = 1;
            loop {
                let path = folder.path().join(format!("{round}-{}-{first}.db", mode.name));
                std::fs::copy(&template, &path).expect("copies");
                shim.arm(mode, first);
                let (_, text) = rebuild(&path, shim.environment(&path));
                let failed = shim.disarm();
                assert!(!text.contains("panicked"), "{path:?}: {text}");
                let process = start(&url(&path));
                assert_rollups(&url(&path), 1).await;
                process.kill();
                let mut gateway = Gateway::open(&path).await;
                gateway.write().await;
                let (is_rebuilt, again) = rebuild(&path, vec![]);
                assert!(is_rebuilt, "{path:?}: {text}\n{again}");
                assert_rollups(&url(&path), 1).await;
                let hours = "SELECT SUM(total) FROM callscope_rollup_cells WHERE level = 2";
                assert_eq!(gateway.number(hours).await, 180, "{path:?}: {text}");
                if failed == 0 {
                    assert!(first > 1, "{mode:?}: no operation was counted");
                    break;
                }
                // Most of them are similar.
                first += 1 + first / 8;
            }
        }
    }
}

/// Another process locks the file for longer than the server waits.
async fn locked_file((): ()) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.db");
    let process = start(&url(&path));
    let mut gateway = Gateway::open(&path).await;
    let ledger = Ledger::default();
    for round in rounds() {
        let refused = ledger.refused();
        gateway.execute("BEGIN IMMEDIATE; INSERT INTO gateway DEFAULT VALUES").await;
        let http = client();
        // A single call first, then a transaction of several statements.
        for number in [1, 6] {
            let batch = Batch::new(&format!("{round}-locked"), number);
            let acknowledged = batch.send(&http, &process.address).await != Acknowledgement::None;
            ledger.enter(batch, acknowledged);
        }
        assert_eq!(ledger.refused(), refused + 2, "{}", ledger.summary());
        gateway.execute("COMMIT").await;
        send_run(&ledger, &process, &format!("{round}-free"), round).await;
        assert_eq!(ledger.refused(), refused + 2, "{}", ledger.summary());
        gateway.write().await;
        ledger.retry(&process.address, 2).await;
        assert_records(&ledger, &process, &format!("{round}")).await;
        ledger.check(&Stored::read(&url(&path)).await);
    }
}

/// The connection is cut at the n-th step of the conversation of a short run, for each n.
async fn cut_connections(server: Server) {
    let proxy = Proxy::start(server.address()).await;
    let connections = vec![("CALLSCOPE_DATABASE_CONNECTIONS", "2".into())];
    let process = start_with(&server.url_at(proxy.address), connections);
    for round in rounds() {
        empty(&server.url()).await;
        let (ledger, mut cuts) = (Ledger::default(), 0);
        for arrives in [Arrives::Nothing, Arrives::Half, Arrives::All] {
            for at in 1.. {
                let name = format!("{round}-{arrives:?}-{at}");
                proxy.arm(at, arrives);
                send_run(&ledger, &process, &name, round).await;
                let cut = proxy.disarm();
                settle(&ledger, &process, &name).await;
                ledger.retry(&process.address, 2).await;
                assert_records(&ledger, &process, &name).await;
                if at.is_multiple_of(50) {
                    ledger.check(&Stored::read(&server.url()).await);
                }
                if !cut {
                    assert!(at > 1, "{name}: no step was counted");
                    break;
                }
                cuts += 1;
            }
            assert_no_transaction(&server).await;
            ledger.check(&Stored::read(&server.url()).await);
        }
        assert_rollups(&server.url(), round).await;
        println!("{} cuts in {}: {}", cuts, server.kind.name(), ledger.summary());
    }
}

/// A connection that was cut after its last response fails once more. Returns after both connections were used.
async fn settle(ledger: &Ledger, process: &Process, name: &str) {
    let (http, start) = (client(), Instant::now());
    let (mut number, mut in_a_row) = (1, 0);
    while in_a_row < 3 {
        let batch = Batch::new(&format!("{name}-settle"), number);
        let acknowledged = batch.send(&http, &process.address).await != Acknowledgement::None;
        ledger.enter(batch, acknowledged);
        in_a_row = if acknowledged { in_a_row + 1 } else { 0 };
        number += 1;
        assert!(start.elapsed() < SOON, "{name}: recording has stopped");
    }
}

/// Checks that no transaction stays open, because the gateway would wait for its locks. Rollups are folded
/// meanwhile, in transactions that end.
async fn assert_no_transaction(server: &Server) {
    let connection = Database::connect(server.admin_url()).await.expect("connects");
    let backend = connection.get_database_backend();
    let open = match server.kind {
        Kind::Postgres => {
            "SELECT CONCAT(pid, ' ', xact_start), CONCAT(state, ': ', query) FROM pg_stat_activity \
             WHERE usename = 'app' AND xact_start IS NOT NULL"
        }
        Kind::MariaDb => {
            "SELECT CAST(trx_id AS CHAR), CONCAT(command, ' ', time, ' s, ', trx_rows_modified, ' rows: ', \
             COALESCE(trx_query, '')) FROM information_schema.innodb_trx \
             LEFT JOIN information_schema.processlist ON id = trx_mysql_thread_id"
        }
    };
    let start = Instant::now();
    let mut always_open: Option<HashSet<String>> = None;
    loop {
        let rows = connection.query_all_raw(Statement::from_string(backend, open)).await;
        let rows = rows.expect("reads");
        let text = |row: &QueryResult, index| row.try_get_by_index::<Option<String>>(index);
        let ids: HashSet<String> =
            rows.iter().filter_map(|row| text(row, 0).expect("an id")).collect();
        let left = always_open.get_or_insert_with(|| ids.clone());
        left.retain(|id| ids.contains(id));
        if left.is_empty() {
            break;
        }
        let texts: Vec<_> = rows.iter().map(|row| text(row, 1).expect("a text")).collect();
        assert!(start.elapsed() < SOON, "open transactions: {texts:.1000?}");
        // MariaDB repeats the last list of transactions to a reader that asks again within 100 ms.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    connection.close().await.expect("closes");
}

/// The defaults of this server keep a single statement, or one after a COMMIT, in a transaction that
/// is never committed.
async fn without_autocommit(server: Server) {
    server.sql("SET GLOBAL autocommit = 0").await;
    server.sql("SET GLOBAL completion_type = 'CHAIN'").await;
    let process = start(&server.url());
    let ledger = Ledger::default();
    for round in 0..3 {
        send_run(&ledger, &process, &format!("{round}"), round).await;
    }
    assert_eq!(ledger.refused(), 0, "{}", ledger.summary());
    process.kill();
    ledger.check(&Stored::read(&server.url()).await);
}
