//! `callscope import`: every database stores the imported rows and returns them.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::support::{CallRow, Kind, TestApp, TestDatabase, eventually};
use crate::data::{Trace, gzip};
use crate::tests;

tests! {
    an_imported_trace_is_unchanged.empty(),
    rows_that_are_committed_late_are_imported.only(&[Kind::Postgres, Kind::MariaDb]),
    two_imports_of_late_rows_create_no_duplicates.only(&[Kind::Postgres, Kind::MariaDb]),
    texts_with_special_characters_are_unchanged,
    rows_are_imported_by_copy.only(&[Kind::Postgres]),
    a_copy_that_fails_stores_nothing_and_is_repeated.only(&[Kind::Postgres]),
    a_copy_that_is_cut_off_stores_nothing_and_is_repeated.only(&[Kind::Postgres]),
    notices_do_not_block_a_copy.only(&[Kind::Postgres]),
    views_rules_and_policies_work_as_with_inserts.only(&[Kind::Postgres]),
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

async fn texts_with_special_characters_are_unchanged(database: TestDatabase) {
    let texts = [
        "",
        "\\N",
        "\\.",
        "\\",
        "a\\",
        "\\t\\n",
        "\t",
        "\n",
        "\r\n",
        "a\tb\nc\rd\\e\n",
        "'\"$1,;",
        "é日🦀\u{7f}\u{1}",
        "NULL",
    ];
    let line = |(n, text): (usize, &&str)| {
        let at = format!("2026-03-01 12:00:{n:02}");
        let request = json!({ "text": text, *text: null });
        json!({ "request_time": at, "model_name": text, "error_type": text, "error_log": text, "request_msg": request })
            .to_string()
    };
    let lines: Vec<String> = texts.iter().enumerate().map(line).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("errors.ndjson");
    let none = r#"{"request_time": "2026-03-01 12:59:59", "error_code": null, "error_log": null}"#;
    std::fs::write(&path, lines.join("\n") + "\n" + none).unwrap();
    import(database.url(), &[path.to_str().unwrap()]);
    let rows = database
        .query(
            "SELECT model_name, error_type, error_log, request_msg, gemini_key, error_code
                FROM t_error_logs ORDER BY id",
        )
        .await;
    assert_eq!(rows.len(), texts.len() + 1);
    for (row, text) in rows.iter().zip(texts) {
        assert_eq!(row[..3], [text, text, text], "{text:?}");
        let request: Value = serde_json::from_str(row[3].as_str().unwrap()).unwrap();
        assert_eq!(request, json!({ "text": text, text: null }));
        assert_eq!(row[4..], [Value::Null, Value::Null]);
    }
    assert!(rows[texts.len()].iter().all(Value::is_null));
}

/// A file of `rows` calls, each with another latency, that no other import has.
fn calls(folder: &Path, model: &str, rows: usize) -> String {
    let path = folder.join(format!("{model}.csv"));
    let line = |n| format!("2026-03-01 12:00:00,{model},key{},1,200,{n}\n", n % 7);
    let header = "request_time,model_name,api_key,is_success,status_code,latency_ms\n";
    let lines: String = (0..rows).map(line).collect();
    std::fs::write(&path, header.to_owned() + &lines).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Runs `action` before each change of a table.
fn trigger(table: &str, change: &str, action: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION act() RETURNS TRIGGER AS $$ BEGIN {action}; RETURN NEW; END $$ LANGUAGE plpgsql;
         CREATE TRIGGER act BEFORE {change} ON {table} FOR EACH ROW EXECUTE FUNCTION act()"
    )
}

/// The rows of the first batch.
const FIRST: u64 = 20_480;

/// The stored calls of a file, and the distinct ones of them.
async fn stored(database: &TestDatabase, model: &str) -> [u64; 2] {
    let counts = database
        .query(&format!(
            "SELECT COUNT(*), COUNT(DISTINCT latency_ms) FROM t_request_log WHERE model_name = '{model}'"
        ))
        .await;
    [0, 1].map(|column| counts[0][column].as_u64().unwrap())
}

async fn rows_are_imported_by_copy(database: TestDatabase) {
    let folder = tempfile::tempdir().unwrap();
    let seen = "IF current_query() NOT LIKE 'COPY t_request_log (%' THEN RAISE 'no COPY'; END IF";
    database.execute(&trigger("t_request_log", "INSERT", seen)).await;
    import(database.url(), &[&calls(folder.path(), "copied", 3)]);
    assert_eq!(stored(&database, "copied").await, [3, 3]);
}

/// As after a full disk, a violated constraint, or the error of a trigger, also when the position is stored.
async fn a_copy_that_fails_stores_nothing_and_is_repeated(database: TestDatabase) {
    let folder = tempfile::tempdir().unwrap();
    let full = "IF NEW.latency_ms = 30000 THEN RAISE 'full' USING ERRCODE = '53100'; END IF";
    let refused = "IF NEW.latency_ms = 30000 THEN RAISE 'no room'; END IF";
    let position = "IF NEW.rows_done > 30000 THEN RAISE 'no position'; END IF";
    let constraint =
        "ALTER TABLE t_request_log ADD CONSTRAINT few CHECK (latency_ms < 30000) NOT VALID";
    let drop_trigger = "DROP TRIGGER act ON t_request_log";
    for (fault, repair, message) in [
        (trigger("t_request_log", "INSERT", full), drop_trigger, "the database is unavailable"),
        (trigger("t_request_log", "INSERT", refused), drop_trigger, "no room"),
        (
            trigger("callscope_imports", "UPDATE", position),
            "DROP TRIGGER act ON callscope_imports",
            "no position",
        ),
        (
            constraint.to_owned(),
            "ALTER TABLE t_request_log DROP CONSTRAINT few",
            "violates check constraint",
        ),
    ] {
        database.execute(&fault).await;
        let file = calls(folder.path(), message, 50_000);
        let failed = command(database.url(), &[&file]).output().unwrap();
        let text = String::from_utf8_lossy(&failed.stderr);
        assert!(!failed.status.success() && text.contains(message), "{text}");
        assert_eq!(stored(&database, message).await, [FIRST, FIRST]);
        database.execute(repair).await;
        assert_eq!(import(database.url(), &[&file]), "imported 29520 calls and 0 error logs");
        assert_eq!(stored(&database, message).await, [50_000, 50_000]);
    }
    let order = "SELECT COUNT(*) FROM t_request_log a JOIN t_request_log b USING (model_name)
        WHERE b.latency_ms = a.latency_ms + 1 AND b.id <= a.id";
    assert_eq!(database.value(order).await, 0, "ids are in the order of the rows");
}

/// The session of the import is ended, or the import is killed, in the middle of a COPY.
async fn a_copy_that_is_cut_off_stores_nothing_and_is_repeated(database: TestDatabase) {
    let folder = tempfile::tempdir().unwrap();
    let wait = "IF NEW.latency_ms = 30000 THEN PERFORM pg_advisory_xact_lock(42); END IF";
    database.execute(&trigger("t_request_log", "INSERT", wait)).await;
    for cut in ["ended", "killed"] {
        let file = calls(folder.path(), cut, 50_000);
        database.execute("SELECT pg_advisory_lock(42)").await;
        let mut running = start(database.url(), &file);
        let waiting =
            "SELECT COALESCE(MAX(pid), 0) FROM pg_stat_activity WHERE datname = current_database()
            AND query LIKE 'COPY %' AND wait_event_type = 'Lock'";
        eventually("a COPY waits", async || database.value(waiting).await != 0).await;
        match cut {
            "ended" => {
                database
                    .execute(&waiting.replace("COALESCE(MAX(pid), 0)", "pg_terminate_backend(pid)"))
                    .await
            }
            _ => running.kill().unwrap(),
        }
        assert!(!running.wait().unwrap().success());
        database.execute("SELECT pg_advisory_unlock(42)").await;
        assert_eq!(stored(&database, cut).await, [FIRST, FIRST]);
        assert_eq!(import(database.url(), &[&file]), "imported 29520 calls and 0 error logs");
        assert_eq!(stored(&database, cut).await, [50_000, 50_000]);
    }
}

/// Each side sends more than the buffers of a connection hold.
async fn notices_do_not_block_a_copy(database: TestDatabase) {
    let folder = tempfile::tempdir().unwrap();
    let notice = "RAISE NOTICE '%', repeat('a long notice ', 1000000)";
    database.execute(&trigger("t_error_logs", "INSERT", notice)).await;
    let lines = [20_000, 3_000_000].map(|words| "word ".repeat(words));
    let lines = lines.map(|text| {
        json!({ "request_time": "2026-03-01 12:00:00", "error_log": text }).to_string()
    });
    let path = folder.path().join("errors.ndjson");
    std::fs::write(&path, lines.join("\n")).unwrap();
    let mut running = start(database.url(), path.to_str().unwrap());
    let mut status = None;
    eventually("the import ends", async || {
        status = running.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert!(status.unwrap().success());
    assert_eq!(database.count("t_error_logs").await, 2);
}

fn start(database_url: &str, file: &str) -> Child {
    command(database_url, &[file]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// COPY refuses a view and a table with policies, and ignores rules.
async fn views_rules_and_policies_work_as_with_inserts(database: TestDatabase) {
    let folder = tempfile::tempdir().unwrap();
    let import = |url: &str, model: &str| import(url, &[&calls(folder.path(), model, 3)]);
    database
        .execute(
            "CREATE TABLE copies AS SELECT latency_ms FROM t_request_log;
             CREATE RULE copies AS ON INSERT TO t_request_log DO ALSO INSERT INTO copies VALUES (NEW.latency_ms)",
        )
        .await;
    import(database.url(), "rule");
    assert_eq!((stored(&database, "rule").await, database.count("copies").await), ([3, 3], 3));

    let name = database.url().rsplit('/').next().unwrap();
    let role = format!("writer_{}", &name[name.len().saturating_sub(16)..]);
    database
        .execute(&format!(
            "DROP RULE copies ON t_request_log; CREATE ROLE {role} LOGIN;
             GRANT ALL ON ALL TABLES IN SCHEMA public TO {role};
             GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role};
             ALTER TABLE t_request_log ENABLE ROW LEVEL SECURITY;
             CREATE POLICY everything ON t_request_log USING (true)"
        ))
        .await;
    import(&database.url().replacen("callscope@", &format!("{role}@"), 1), "policy");
    assert_eq!(stored(&database, "policy").await, [3, 3]);
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;

    database
        .execute(
            "ALTER TABLE t_request_log RENAME TO calls;
             CREATE VIEW t_request_log AS SELECT * FROM calls",
        )
        .await;
    import(database.url(), "view");
    assert_eq!(stored(&database, "view").await, [3, 3]);
}
