//! `callscope export`: `callscope import` restores its files without any difference.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{CallRow, ErrorRow, Kind, NULL, TestApp, TestDatabase};
use crate::tests;

tests! {
    every_format_is_restored_exactly,
    text_formats_keep_texts_in_number_columns.only(&[Kind::Sqlite]),
    exports_select_a_window_a_key_and_a_model,
    keys_can_be_masked,
    a_file_is_complete_or_missing.only(&[Kind::Sqlite]),
    rows_without_a_time_are_reported,
    many_pages_are_one_file.only(&[Kind::Sqlite]),
    contradictory_arguments_are_refused.only(&[Kind::Sqlite]),
}

fn callscope(database: &TestDatabase, command: &str, args: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_callscope"));
    program.env_clear().arg(command).args(["--database-url", database.url()]).args(args);
    program.output().unwrap()
}

fn export(database: &TestDatabase, args: &[&str]) -> String {
    let output = callscope(database, "export", args);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn unusual_calls() -> Vec<CallRow> {
    let texts = [
        "plain",
        "",
        "\\",
        "\\\\",
        "a\\",
        "\\N",
        "NULL",
        "null",
        "with \"quotes\", commas; and 'these'",
        "two\nlines",
        "\r\n",
        "\r",
        " spaces ",
        "\ttab",
        "emoji 🦀 é \u{202e}",
        "#",
        "=1+1",
        "{\"a\": 1}",
        "0",
        "true",
        "-",
        ",",
        "\"",
        "\"\"",
        "''",
    ];
    let mut rows: Vec<CallRow> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| {
            let time = format!("2026-01-01T{number:02}:00:00.{number:06}Z");
            CallRow::at(&time).key(*text).model(texts[(number + 1) % texts.len()])
        })
        .take(24)
        .collect();
    rows.push(CallRow::at("2026-01-02T00:00:00Z").key(NULL).model(NULL).latency(NULL).status(NULL));
    rows.push(CallRow::at("2026-01-02T00:00:00.1Z").status(429).latency(0));
    rows.push(CallRow::at("2026-01-02T00:00:00.999999Z").status(-1).latency(i32::MAX));
    rows
}

fn unusual_errors(kind: Kind) -> Vec<ErrorRow> {
    let at = |number: usize| ErrorRow::at(&format!("2026-01-01T00:00:00.{number:06}Z"));
    let requests = [
        "null",
        "{}",
        "[]",
        "\"a text\"",
        "\"\"",
        "5",
        "1.0",
        "-0",
        "true",
        "{\"b\": 1,  \"a\":[1,2]}",
        "{\"a\":1,\"a\":2}",
        "{\"n\": 12345678901234567890123, \"e\": 1e2}",
        "{\n  \"pretty\": [\n    1\n  ]\n}",
        "{\"text\": \"\\u00e9\\ud83e\\udd80 \\n \\\" \\\\\"}",
        "{\"emoji\": \"🦀\", \"comma\": \",\", \"quote\": \"'\"}",
        " [1] ",
    ];
    let mut rows: Vec<ErrorRow> =
        (0..).zip(requests).map(|(n, text)| at(n).request(text)).collect();
    if kind == Kind::Sqlite {
        let texts = ["{\"a\": NaN}", "", "\\", "plain", "Infinity", "{", "\"", "two\nlines"];
        rows.extend((100..).zip(texts).map(|(n, text)| at(n).request(text)));
    }
    rows.push(at(200).request(NULL).log(NULL).error_type(NULL).code(NULL).key(NULL).model(NULL));
    rows.push(at(201).log("").error_type("").key("").model(""));
    rows.push(at(202).log("quota, \"exceeded\"\r\n\n\\ 🦀").error_type("a\\b").code(0));
    rows.push(
        at(203)
            .log("é🦀".repeat(10_000))
            .request(format!("{{\"p\": \"{}\"}}", "x".repeat(300_000))),
    );
    rows
}

const COLUMNS: [(&str, &str); 2] = [
    ("t_request_log", "request_time, model_name, api_key, is_success, status_code, latency_ms"),
    (
        "t_error_logs",
        "request_time, model_name, gemini_key, error_type, error_log, error_code, request_msg",
    ),
];

async fn contents(database: &TestDatabase) -> Vec<Vec<Vec<Value>>> {
    let mut contents = vec![];
    for (table, columns) in COLUMNS {
        let rows = database.all_rows(table);
        let sql = format!("SELECT {columns} FROM {rows} ORDER BY request_time, id");
        contents.push(database.query(&sql).await);
    }
    contents
}

async fn delete_rows(database: &TestDatabase) {
    for table in ["t_request_log", "t_error_logs", "callscope_imports"] {
        database.delete(table, "TRUE").await;
    }
}

async fn every_format_is_restored_exactly(database: TestDatabase) {
    database.insert_unwatched(&unusual_calls()).await;
    database.insert_unwatched(&unusual_errors(database.kind())).await;
    let before = contents(&database).await;
    let folder = tempfile::tempdir().unwrap();
    for form in ["ndjson", "csv", "parquet", "ndjson.gz", "csv.gz"] {
        // The file holds instants, so the zone only has to be the same for both commands.
        let zone = ["--storage-time-zone", "Asia/Shanghai"];
        let name = folder.path().join(format!("{{table}}.{form}"));
        let args = ["--table", "calls,errors", name.to_str().unwrap()];
        export(&database, &[&args[..], &zone].concat());
        delete_rows(&database).await;
        let file = |table: &str| folder.path().join(format!("{table}.{form}"));
        let (calls, errors) = (file("calls"), file("errors"));
        let files = [calls.to_str().unwrap(), errors.to_str().unwrap()];
        let output = callscope(&database, "import", &[&files[..], &zone].concat());
        assert!(output.status.success(), "{form}: {output:?}");
        let after = contents(&database).await;
        for (before, after) in before.iter().flatten().zip(after.iter().flatten()) {
            assert_eq!(before, after, "{form}");
        }
        assert_eq!(before, after, "{form}");
    }
    // Another zone has another wall clock, here eight hours behind.
    let name = folder.path().join("moved.ndjson");
    let args = [name.to_str().unwrap(), "--storage-time-zone", "Asia/Shanghai"];
    export(&database, &args);
    delete_rows(&database).await;
    assert!(callscope(&database, "import", &args[..1]).status.success());
    let first = database.value("SELECT MIN(request_time) FROM t_request_log").await;
    assert!(first.as_str().unwrap().starts_with("2025-12-31 16:00:00"), "{first}");
}

async fn text_formats_keep_texts_in_number_columns(database: TestDatabase) {
    let text = "Server disconnected without sending a response.";
    database.insert(&[CallRow::at("2026-01-01T00:00:00Z").status(text).latency(7)]).await;
    let line = &lines(&export(&database, &[]))[0];
    let expected = json!({
        "id": 1, "request_time": "2026-01-01T00:00:00.000000Z", "model_name": "model",
        "api_key": "key", "is_success": false, "status_code": text, "latency_ms": 7,
    });
    assert_eq!(line, &expected);
    assert_eq!(
        export(&database, &["--format", "csv"]),
        format!(
            "id,request_time,model_name,api_key,is_success,status_code,latency_ms\n\
             1,2026-01-01T00:00:00.000000Z,model,key,false,{text},7\n"
        )
    );
    let folder = tempfile::tempdir().unwrap();
    for form in ["ndjson", "csv", "parquet"] {
        let file = folder.path().join(format!("calls.{form}"));
        export(&database, &[file.to_str().unwrap()]);
        let output = callscope(&database, "import", &[file.to_str().unwrap(), "--again"]);
        assert!(output.status.success(), "{form}: {output:?}");
    }
    let none = "SELECT COUNT(*) FROM t_request_log WHERE status_code IS NULL AND latency_ms = 7";
    // Each export contains the rows of the imports before it.
    assert_eq!(database.value(none).await, 1 + 2 + 4);
}

async fn exports_select_a_window_a_key_and_a_model(database: TestDatabase) {
    let at = |hour: u32| CallRow::at(&format!("2026-01-01T{hour:02}:00:00Z"));
    let rows = [
        at(3).key("a").model("m"),
        at(1).key("b").model("m"),
        at(2).key("a").model("n"),
        at(4).key("A").model("M"),
    ];
    database.insert(&rows).await;
    let ids = |args: &[&str]| -> Vec<i64> {
        lines(&export(&database, args)).iter().map(|row| row["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids(&[]), [2, 3, 1, 4], "by their time");
    assert_eq!(
        ids(&["--since", "2026-01-01T02:00:00Z", "--until", "2026-01-01T04:00:00Z"]),
        [3, 1]
    );
    assert_eq!(ids(&["--key", "a"]), [3, 1]);
    assert_eq!(ids(&["--key", "a,b", "--model", "m"]), [2, 1]);
    assert_eq!(ids(&["--last", "1h"]), [0; 0]);
    let app = TestApp::start(&database).await;
    let key = app.data("{ apiKey(key: \"b\") { id } }").await["apiKey"]["id"].clone();
    assert_eq!(ids(&["--key", key.as_str().unwrap()]), [2]);
    let unknown = callscope(&database, "export", &["--key", "key_AAAAAAAAAAAAAAAAAAAAAA"]);
    assert_eq!(unknown.status.code(), Some(1));
}

async fn keys_can_be_masked(database: TestDatabase) {
    database
        .insert(&[CallRow::at("2026-01-01T00:00:00Z").key("AIzaSyAn-exported-key-0123456789")])
        .await;
    database
        .insert(&[ErrorRow::at("2026-01-01T00:00:00Z").key("AIzaSyAn-exported-key-0123456789")])
        .await;
    for (table, column) in [("calls", "api_key"), ("errors", "gemini_key")] {
        let full = export(&database, &["--table", table]);
        assert_eq!(lines(&full)[0][column], "AIzaSyAn-exported-key-0123456789");
        let masked = export(&database, &["--table", table, "--mask-keys"]);
        assert_eq!(lines(&masked)[0][column], "AIza...6789");
        assert!(!masked.contains("exported"), "{masked}");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

async fn a_file_is_complete_or_missing(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-01-01T00:00:00Z")]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.csv");
    let name = file.to_str().unwrap();
    std::fs::write(&file, "mine").unwrap();
    let refused = callscope(&database, "export", &[name]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("--force"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    export(&database, &[name, "--force"]);
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("id,request_time,"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // A failed export leaves no file.
    std::fs::remove_file(&file).unwrap();
    database.execute("ALTER TABLE t_request_log RENAME COLUMN latency_ms TO latency").await;
    assert_eq!(callscope(&database, "export", &[name]).status.code(), Some(1));
    assert!(names(folder.path()).is_empty());
}

async fn rows_without_a_time_are_reported(database: TestDatabase) {
    database.insert(&[CallRow::at_stored(NULL), CallRow::at("2026-01-01T00:00:00Z")]).await;
    let mut left_out = 1;
    if database.kind() == Kind::Sqlite {
        database.insert(&["soon", "1 day ago", ""].map(CallRow::at_stored)).await;
        left_out = 4;
    }
    let output = callscope(&database, "export", &[]);
    assert_eq!(lines(&String::from_utf8(output.stdout).unwrap()).len(), 1);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("wrote 1 calls to standard output\n"), "{message}");
    assert!(
        message.contains(&format!("skipped {left_out} calls with an unreadable time")),
        "{message}"
    );
}

async fn many_pages_are_one_file(database: TestDatabase) {
    // Many rows have the same time, so that pages continue by id.
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
        INSERT INTO t_request_log (request_time, api_key, is_success, status_code)
        SELECT '2026-01-01 00:00:00.00000' || (i % 2), 'k', 1, i FROM n";
    database.execute(many).await;
    let before = contents(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.parquet");
    export(&database, &[file.to_str().unwrap()]);
    delete_rows(&database).await;
    assert!(callscope(&database, "import", &[file.to_str().unwrap()]).status.success());
    // Status codes above 299 are failures.
    database.execute("UPDATE t_request_log SET is_success = 1").await;
    assert!(contents(&database).await == before, "rows were lost or repeated");
}

async fn contradictory_arguments_are_refused(database: TestDatabase) {
    for args in [
        &["--table", "calls,errors"][..],
        &["--format", "parquet", "--gzip"],
        &["--last", "1h", "--since", "2026-01-01T00:00:00Z"],
        &["--since", "yesterday"],
        &["--table", "tokens"],
    ] {
        let output = callscope(&database, "export", args);
        assert!(!output.status.success() && output.stdout.is_empty(), "{args:?}: {output:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cut.parquet");
    std::fs::write(&file, "PAR1 and nothing else").unwrap();
    let output = callscope(&database, "import", &[file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("Parquet"));
}
