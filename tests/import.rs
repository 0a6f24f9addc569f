//! `callscope import` and the write path, on generated traces and fresh SQLite databases. `api/imports.rs` tests the
//! other databases.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod data;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use callscope::clock::Clock;
use callscope::config::{DatabaseConfig, Secret};
use callscope::domain::record::{CallRecord, ErrorRecord, request_text};
use callscope::ingest;
use callscope::ingest::import::{ImportOptions, Importer, Summary};
use callscope::ingest::progress::{Phase, Progress};
use callscope::ingest::source::{FileSource, Source, SourceError, TableSource};
use callscope::store::Database;
use callscope::store::write::Batch;
use callscope::store::zone::StorageZone;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use data::{Trace, gateway_database, gzip};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use tempfile::TempDir;

/// The newest time of both tables.
const NEWEST: &str = "SELECT MAX(at) FROM (SELECT MAX(request_time) AS at FROM t_request_log
    UNION ALL SELECT MAX(request_time) FROM t_error_logs)";
const HEADER: &str = "request_time,model_name,api_key,is_success,status_code,latency_ms\n";

/// A fresh database in a temporary folder, and an import into it.
struct Fixture {
    folder: TempDir,
    config: DatabaseConfig,
    db: Database,
    clock: Clock,
    log: Log,
}

/// Collects the messages, and stops the import after some batches.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    writing: AtomicBool,
    stop: AtomicBool,
    stops: AtomicBool,
}

impl Progress for Log {
    fn start(&self, _label: &str, phase: Phase, _size: u64) {
        self.writing.store(phase == Phase::Write, Ordering::Relaxed);
    }
    fn advance(&self, _done: u64) {
        if self.writing.load(Ordering::Relaxed) && self.stops.load(Ordering::Relaxed) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn finish(&self) {}
    fn say(&self, line: &str) {
        self.lines.lock().unwrap().push(line.to_owned());
    }
}

const PLAIN: ImportOptions = ImportOptions {
    zone: StorageZone(Tz::UTC),
    skip_bad_rows: false,
    shift_to_now: false,
    again: false,
    dry_run: false,
};

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&format!("sqlite://{}/calls.db", folder.path().display()));
        let db = Database::open(&config).await.unwrap();
        let clock = Clock::fixed("2026-11-23T00:00:00Z".parse().unwrap());
        Self { folder, config, db, clock, log: Log::default() }
    }

    async fn import(&self, options: ImportOptions, sources: Vec<Source>) -> Summary {
        self.try_import(options, sources).await.unwrap()
    }

    async fn try_import(
        &self,
        options: ImportOptions,
        sources: Vec<Source>,
    ) -> Result<Summary, SourceError> {
        self.log.stop.store(false, Ordering::Relaxed);
        let importer = Importer {
            db: Some(&self.db),
            dialect: self.db.dialect(),
            options,
            clock: &self.clock,
            progress: &self.log,
            stop: &self.log.stop,
        };
        importer.run(sources).await
    }

    /// A trace of some minutes, as two compressed files.
    fn trace(&self, trace: &Trace) -> [PathBuf; 2] {
        [
            self.write("calls.csv.gz", gzip(&trace.calls_csv)),
            self.write("errors.ndjson.gz", gzip(&trace.errors_ndjson)),
        ]
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    async fn tables(&self, url: &str) -> Vec<Source> {
        TableSource::open(url, &self.config).await.unwrap().map(Source::Table).into()
    }

    async fn number(&self, sql: &str) -> i64 {
        let row = self.query(sql).await;
        row.try_get_by_index::<Option<i64>>(0).unwrap().unwrap_or(0)
    }

    async fn text(&self, sql: &str) -> String {
        self.query(sql).await.try_get_by_index(0).unwrap()
    }

    async fn query(&self, sql: &str) -> sea_orm::QueryResult {
        let statement = Statement::from_string(DbBackend::Sqlite, sql);
        let connection =
            sea_orm::Database::connect(self.config.database_url.expose()).await.unwrap();
        connection.query_one_raw(statement).await.unwrap().unwrap()
    }

    async fn calls(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM t_request_log").await
    }

    async fn errors(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM t_error_logs").await
    }

    fn has_logged(&self, part: &str) -> bool {
        self.log.lines.lock().unwrap().iter().any(|line| line.contains(part))
    }
}

fn config(url: &str) -> DatabaseConfig {
    DatabaseConfig {
        database_url: Secret::new(url),
        read_only: false,
        storage_time_zone: Tz::UTC,
        database_connections: 2,
        database_wait_seconds: 5,
        max_database_seconds_per_minute: 30,
        index_build_seconds: 1,
        rollups: true,
        rollup_from_calls: 50_000,
        text_index: false,
        failure_classes: false,
        id_key: None,
    }
}

fn file(path: &Path) -> Source {
    Source::File(FileSource::open(path).unwrap())
}

/// A CSV file of `rows` calls, a second apart.
fn csv(rows: i64) -> String {
    let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    let line = |n| {
        let at = (start + TimeDelta::seconds(n)).format("%F %T%.6f");
        format!("{at},m,key{},1,200,{n}\n", n % 7)
    };
    HEADER.to_owned() + &(0..rows).map(line).collect::<String>()
}

#[tokio::test]
async fn traces_are_stored_completely() {
    let fixture = Fixture::new().await;
    let starts = ["2023-11-16T18:15:46Z", "2025-09-10T12:00:00Z", "2017-05-15T23:59:59Z"];
    for (start, calls) in starts.into_iter().zip([28_185, 7106, 1017]) {
        let trace = Trace::new(start, calls);
        assert!(trace.errors > calls / 50, "{} error logs", trace.errors);
        let [calls, errors] = fixture.trace(&trace);
        let before = (fixture.calls().await, fixture.errors().await);
        let summary = fixture.import(PLAIN, vec![file(&calls), file(&errors)]).await;
        let after = (fixture.calls().await, fixture.errors().await);
        let expected = (trace.calls as i64, trace.errors as i64);
        assert_eq!((after.0 - before.0, after.1 - before.1), expected);
        assert_eq!((summary.calls as i64, summary.errors as i64), expected);
    }
    let codes = "SELECT COUNT(DISTINCT COALESCE(status_code, 0)) FROM t_request_log";
    assert_eq!(fixture.number(codes).await, 5, "200, 202, 429, 503 and none");
    let wrong = "SELECT COUNT(*) FROM t_request_log WHERE length(request_time) <> 26
        OR is_success <> (status_code IS NOT NULL AND status_code BETWEEN 200 AND 299)";
    assert_eq!(fixture.number(wrong).await, 0);
    let null = "SELECT COUNT(*) FROM t_error_logs WHERE request_msg = 'null'";
    assert_eq!(fixture.number(null).await, 0);
}

#[tokio::test]
async fn the_same_content_is_imported_once_unless_forced() {
    let fixture = Fixture::new().await;
    let trace = Trace::new("2025-09-10T12:00:00Z", 7106);
    let [packed, _] = fixture.trace(&trace);
    let plain = fixture.write("other name", &trace.calls_csv);
    let summary = fixture.import(PLAIN, vec![file(&packed), file(&plain)]).await;
    assert_eq!((summary.calls, summary.known), (7106, 1));
    let summary = fixture.import(PLAIN, vec![file(&plain)]).await;
    assert_eq!((summary.calls, summary.known), (0, 1));
    assert!(fixture.has_logged("imported before"));
    fixture.import(ImportOptions { again: true, ..PLAIN }, vec![file(&plain)]).await;
    assert_eq!(fixture.calls().await, 2 * 7106);
}

#[tokio::test]
async fn a_stopped_import_continues_without_duplicates() {
    let fixture = Fixture::new().await;
    let trace = Trace::new("2023-11-16T18:15:46Z", 28_185);
    let [path, errors] = fixture.trace(&trace);
    let options = ImportOptions { shift_to_now: true, ..PLAIN };
    fixture.log.stops.store(true, Ordering::Relaxed);
    let summary = fixture.import(options, vec![file(&path), file(&errors)]).await;
    assert_eq!((summary.calls, summary.stopped), (20_480, true));
    assert_eq!(fixture.calls().await, 20_480);

    // A later run keeps the shift of the first, also for sources that had not started.
    fixture.clock.advance(TimeDelta::days(3));
    fixture.log.stops.store(false, Ordering::Relaxed);
    let summary = fixture.import(options, vec![file(&path), file(&errors)]).await;
    let errors = trace.errors as u64;
    assert_eq!((summary.calls, summary.errors, summary.stopped), (7_705, errors, false));
    assert_eq!(fixture.calls().await, 28_185);
    let shifts = "SELECT COUNT(DISTINCT shift_micros) FROM callscope_imports WHERE finished";
    assert_eq!(fixture.number(shifts).await, 1);
    let distinct =
        "SELECT COUNT(*) FROM (SELECT DISTINCT request_time, api_key FROM t_request_log)";
    assert_eq!(fixture.number(distinct).await, 28_185);
    assert_eq!(fixture.text(NEWEST).await, "2026-11-23 00:00:00.000000");
}

#[tokio::test]
async fn a_killed_import_continues_without_duplicates() {
    let fixture = Fixture::new().await;
    let path = fixture.write("calls.csv", csv(80_000));
    let program = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callscope"));
        command.arg("import").arg("--database-url").arg(fixture.config.database_url.expose());
        command.arg(&path).current_dir(fixture.folder.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let mut running = program().spawn().unwrap();
    let done = "SELECT MAX(rows_done) FROM callscope_imports";
    while fixture.number(done).await == 0 {
        assert_eq!(running.try_wait().unwrap(), None, "ended before it could be killed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.kill().unwrap();
    running.wait().unwrap();
    let stored = fixture.calls().await;
    assert!((20_480..80_000).contains(&stored), "{stored} rows were stored");
    assert_eq!(stored, fixture.number(done).await);

    assert!(program().status().unwrap().success());
    assert_eq!(fixture.calls().await, 80_000);
    let distinct = "SELECT COUNT(DISTINCT request_time) FROM t_request_log";
    assert_eq!(fixture.number(distinct).await, 80_000);
}

#[tokio::test]
async fn a_file_with_a_bad_row_is_not_stored() {
    let fixture = Fixture::new().await;
    let rows = [
        "2026-01-01 00:00:00,m,k,1,200,5",
        "2026-01-01 00:00:00,m,k,1,200",
        "yesterday,m,k,1,200,5",
        "2026-01-01 00:00:00,m,k,1,99999999999,5",
        "2026-01-01 00:00:00,m,k,0,Server disconnected,",
    ];
    let long = format!("2026-01-01 00:00:00,{},k,1,200,5", "m".repeat(101));
    let bad = fixture.write("bad.csv", format!("{HEADER}{}\n{long}\n", rows.join("\n")));
    let good = fixture.write("good.csv", csv(3));
    let summary = fixture.import(PLAIN, vec![file(&bad), file(&good)]).await;
    assert_eq!((summary.calls, summary.refused), (3, 1));
    for message in [
        "bad.csv: line 3: 5 columns",
        "bad.csv: line 4: request_time",
        "bad.csv: line 5: status_code",
        "bad.csv: line 7: model has 101 characters",
        "bad.csv: refused: 4 of 6 rows are bad",
    ] {
        assert!(fixture.has_logged(message), "{message}");
    }
    let skip = ImportOptions { skip_bad_rows: true, ..PLAIN };
    let summary = fixture.import(skip, vec![file(&bad)]).await;
    assert_eq!((summary.calls, summary.bad_rows, summary.refused), (2, 4, 0));
    let failed = "SELECT COUNT(*) FROM t_request_log WHERE status_code IS NULL AND NOT is_success";
    assert_eq!(fixture.number(failed).await, 1);
}

#[tokio::test]
async fn the_first_bad_rows_are_listed_and_the_rest_counted() {
    let fixture = Fixture::new().await;
    let path = fixture.write("bad.csv", HEADER.to_owned() + &"never,m,k,1,200,5\n".repeat(50));
    let summary = fixture.import(PLAIN, vec![file(&path)]).await;
    assert_eq!(summary.refused, 1);
    assert!(fixture.has_logged("and 30 more bad rows"));
    assert_eq!(fixture.log.lines.lock().unwrap().len(), 22);
}

#[tokio::test]
async fn files_that_cannot_be_imported_are_refused() {
    let fixture = Fixture::new().await;
    let cut = gzip(&Trace::new("2025-09-10T12:00:00Z", 7106).calls_csv);
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("column.csv", b"request_time,api_key,tokens\n".into(), "unknown column `tokens`"),
        ("kind.csv", b"request_time,model_name\n".into(), "neither calls"),
        ("empty", Vec::new(), "an empty file"),
        ("cut.gz", cut[..cut.len() / 2].into(), "refused"),
        (
            "field.ndjson",
            b"{\"api_key\": \"k\", \"tokens\": 5}\n".into(),
            "unknown column `tokens`",
        ),
    ];
    for (name, content, reason) in cases {
        let path = fixture.write(name, content);
        let summary = fixture.import(PLAIN, vec![file(&path)]).await;
        assert_eq!((summary.refused, summary.calls), (1, 0), "{name}");
        assert!(fixture.has_logged(reason), "{name}: {:?}", fixture.log.lines);
    }
    assert_eq!(fixture.number("SELECT COUNT(*) FROM callscope_imports").await, 0);
}

#[tokio::test]
async fn both_formats_support_both_tables() {
    let fixture = Fixture::new().await;
    let calls = fixture.write(
        "calls.ndjson",
        r#"{"id": 1, "request_time": "2026-01-01T01:00:00+01:00", "api_key": "k", "is_success": true, "status_code": 200, "latency_ms": 5}"#,
    );
    let errors = fixture.write(
        "errors.csv",
        "request_time,gemini_key,error_code,request_msg\n2026-01-01 00:00:00,k,429,\"{\"\"a\"\": 1}\"\n",
    );
    let summary = fixture.import(PLAIN, vec![file(&calls), file(&errors)]).await;
    assert_eq!((summary.calls, summary.errors), (1, 1));
    let time = "SELECT request_time FROM t_request_log WHERE status_code = 200 AND latency_ms = 5";
    assert_eq!(fixture.text(time).await, "2026-01-01 00:00:00.000000");
    assert_eq!(fixture.text("SELECT request_msg FROM t_error_logs").await, r#"{"a": 1}"#);
}

#[tokio::test]
async fn naive_times_are_in_the_zone_of_the_source() {
    let fixture = Fixture::new().await;
    let path = fixture.write("calls.csv", csv(1));
    let zone = StorageZone(Tz::Asia__Shanghai);
    fixture.import(ImportOptions { zone, ..PLAIN }, vec![file(&path)]).await;
    let time = fixture.text("SELECT request_time FROM t_request_log").await;
    assert_eq!(time, "2025-12-31 16:00:00.000000");
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let fixture = Fixture::new().await;
    let [path, _] = fixture.trace(&Trace::new("2025-09-10T12:00:00Z", 7106));
    let options = ImportOptions { dry_run: true, ..PLAIN };
    let summary = fixture.import(options, vec![file(&path)]).await;
    assert_eq!(summary.calls, 7106);
    assert_eq!(fixture.calls().await, 0);
    assert_eq!(fixture.number("SELECT COUNT(*) FROM callscope_imports").await, 0);

    let absent = fixture.folder.path().join("absent.db");
    let output = Command::new(env!("CARGO_BIN_EXE_callscope"))
        .args(["import", "--dry-run", "--database-url"])
        .arg(format!("sqlite://{}", absent.display()))
        .arg(&path)
        .current_dir(fixture.folder.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"would import 7106 calls and 0 error logs\n");
    assert!(!absent.exists());
}

#[tokio::test]
async fn a_refused_file_sets_the_exit_status() {
    let fixture = Fixture::new().await;
    let path = fixture.write("bad.csv", "what,is,this\n");
    let output = Command::new(env!("CARGO_BIN_EXE_callscope"))
        .args(["import", "--database-url", fixture.config.database_url.expose()])
        .args([&path, Path::new("no such file")])
        .current_dir(fixture.folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("no such file: refused") && stderr.contains("2 of the sources"),
        "{stderr}"
    );
}

#[tokio::test]
async fn another_database_is_imported_and_continued() {
    let fixture = Fixture::new().await;
    let copy = fixture.write("gateway.db", gateway_database());
    let url = format!("sqlite://{}", copy.display());
    let summary = fixture.import(PLAIN, fixture.tables(&url).await).await;
    assert_eq!((summary.calls, summary.errors, summary.bad_rows), (1161, 406, 0));
    assert_eq!((fixture.calls().await, fixture.errors().await), (1161, 406));

    let source = sea_orm::Database::connect(format!("{url}?mode=rwc")).await.unwrap();
    let codes = "SELECT COUNT(*) FROM t_request_log WHERE typeof(status_code) <> 'integer'";
    let codes = Statement::from_string(DbBackend::Sqlite, codes);
    let row = source.query_one_raw(codes).await.unwrap().unwrap();
    let without: i64 = row.try_get_by_index(0).unwrap();
    assert!(without > 0);
    let stored = "SELECT COUNT(*) FROM t_request_log WHERE status_code IS NULL";
    assert_eq!(fixture.number(stored).await, without);

    let one_more = "INSERT INTO t_request_log (request_time, api_key, is_success, status_code)
        VALUES ('2026-11-23 00:00:00.000000', 'k', 1, 200)";
    source.execute_unprepared(one_more).await.unwrap();
    source.close().await.unwrap();
    let summary = fixture.import(PLAIN, fixture.tables(&url).await).await;
    assert_eq!((summary.calls, summary.errors), (1, 0));
    assert_eq!(fixture.calls().await, 1162);
}

#[tokio::test]
async fn two_imports_of_one_source_create_no_duplicates() {
    let fixture = Fixture::new().await;
    let [path, _] = fixture.trace(&Trace::new("2023-11-16T18:15:46Z", 28_185));
    let (one, other) = tokio::join!(
        fixture.try_import(PLAIN, vec![file(&path)]),
        fixture.try_import(PLAIN, vec![file(&path)]),
    );
    // Only an import that started after the other one's end finds everything imported.
    if let Some(refused) = one.err().or(other.err()) {
        assert!(refused.to_string().contains("another import of this source is running"));
    }
    assert_eq!(fixture.calls().await, 28_185);
}

/// From files into PostgreSQL or MySQL and from there into SQLite: no row is lost or changed.
#[tokio::test]
async fn a_database_is_not_imported_into_itself() {
    let fixture = Fixture::new().await;
    let url = fixture.config.database_url.expose();
    let refused = TableSource::open(url, &fixture.config).await.unwrap_err();
    assert!(refused.to_string().contains("its own source"));
}

#[tokio::test]
async fn all_sources_are_shifted_together() {
    let fixture = Fixture::new().await;
    let [calls, errors] = fixture.trace(&Trace::new("2017-05-15T23:59:59Z", 1017));
    let options = ImportOptions { shift_to_now: true, ..PLAIN };
    fixture.import(options, vec![file(&calls), file(&errors)]).await;
    let plain = Fixture::new().await;
    plain.import(PLAIN, vec![file(&calls), file(&errors)]).await;
    assert_eq!(fixture.text(NEWEST).await, "2026-11-23 00:00:00.000000");
    let apart = "SELECT CAST(1e3 * (julianday((SELECT MAX(request_time) FROM t_request_log))
        - julianday((SELECT MIN(request_time) FROM t_error_logs))) AS INTEGER)";
    assert_eq!(fixture.number(apart).await, plain.number(apart).await);
}

#[tokio::test]
async fn a_file_of_several_gzip_members_is_read_completely() {
    let fixture = Fixture::new().await;
    let mut packed = Vec::new();
    for part in [HEADER, "2026-01-01 00:00:00,m,k,1,200,5\n", "2026-01-01 00:00:01,m,k,1,200,5\n"] {
        let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        member.write_all(part.as_bytes()).unwrap();
        packed.extend(member.finish().unwrap());
    }
    let path = fixture.write("calls.csv.gz", packed);
    assert_eq!(fixture.import(PLAIN, vec![file(&path)]).await.calls, 2);
}

#[tokio::test]
async fn a_batch_is_stored_completely_or_not_at_all() {
    let fixture = Fixture::new().await;
    let timestamp = "2026-01-01T00:00:00.123456789Z".parse().unwrap();
    let call = CallRecord {
        timestamp,
        key: Some("k".into()),
        model: None,
        status_code: None,
        latency_ms: Some(5),
    };
    let error = ErrorRecord {
        timestamp,
        key: Some("k".into()),
        model: None,
        error_type: None,
        error_code: Some(429),
        message: Some("a \"quoted\"\nline".into()),
        request: request_text(&serde_json::Value::Null),
    };
    let long = CallRecord { key: Some("k".repeat(101)), ..call.clone() };
    let refused =
        ingest::record(&fixture.db, &Batch { calls: vec![call.clone(), long], ..Batch::default() })
            .await
            .unwrap_err();
    assert_eq!(refused.to_string(), "calls[1]: key has 101 characters, at most 100 are stored");
    assert_eq!(fixture.calls().await, 0);

    ingest::record(&fixture.db, &Batch { calls: vec![call], errors: vec![error], claim: None })
        .await
        .unwrap();
    let time = "SELECT request_time FROM t_request_log WHERE NOT is_success AND model_name IS NULL";
    assert_eq!(fixture.text(time).await, "2026-01-01 00:00:00.123456");
    let message = "SELECT error_log FROM t_error_logs WHERE request_msg IS NULL";
    assert_eq!(fixture.text(message).await, "a \"quoted\"\nline");
}
