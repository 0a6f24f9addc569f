//! The rows that tests insert equal those of a gateway.

use serde_json::json;

use crate::support::{CallRow, ErrorRow, Kind, NULL, TestDatabase};
use crate::tests;

tests! {
    times_of_calls_have_six_digits,
    sqlite_accepts_any_text.only(&[Kind::Sqlite]),
    error_texts_are_stored_exactly,
    many_rows_keep_their_order,
}

async fn times_of_calls_have_six_digits(database: TestDatabase) {
    database
        .insert(&[
            CallRow::at("2026-03-01T12:00:00Z").key("a").status(429).latency(120),
            CallRow::at("2026-03-01T12:00:00.000001Z").status(429).success(true),
            CallRow::at("2026-03-01T13:00:00.5+01:00").model(NULL).status(NULL),
        ])
        .await;

    let stored = match database.kind() {
        Kind::Postgres => "to_char(request_time, 'YYYY-MM-DD HH24:MI:SS.US')",
        Kind::Sqlite | Kind::MariaDb => "request_time",
    };
    let all = database.all_rows("t_request_log");
    let rows = database
        .query(&format!(
            "SELECT {stored}, api_key, model_name, CASE WHEN is_success THEN 1 ELSE 0 END,
                status_code, latency_ms FROM {all} ORDER BY id"
        ))
        .await;
    assert_eq!(
        json!(rows),
        json!([
            ["2026-03-01 12:00:00.000000", "a", "model", 0, 429, 120],
            ["2026-03-01 12:00:00.000001", "key", "model", 1, 429, 100],
            ["2026-03-01 12:00:00.500000", "key", null, 0, null, 100],
        ])
    );
}

async fn sqlite_accepts_any_text(database: TestDatabase) {
    database
        .insert(&[
            CallRow::at_stored("yesterday").status("Server disconnected"),
            CallRow::at_stored("").status(""),
        ])
        .await;
    let rows = database
        .query("SELECT request_time, status_code, is_success FROM t_request_log ORDER BY id")
        .await;
    assert_eq!(json!(rows), json!([["yesterday", "Server disconnected", 0], ["", "", 0]]));
}

async fn error_texts_are_stored_exactly(database: TestDatabase) {
    let log = "it's \"quoted\" \\ and 50 % of\n密钥 🔑";
    let request = r#"{"message": "C:\\temp"}"#;
    let row = ErrorRow::at("2026-03-01T12:00:00Z").log(log).request(request);
    database.insert(&[row.id(7).error_type("it's")]).await;
    let rows = database
        .query("SELECT id, error_code, error_type, error_log, request_msg FROM t_error_logs")
        .await;
    assert_eq!(json!(rows), json!([[7, 429, "it's", log, request]]));
}

async fn many_rows_keep_their_order(database: TestDatabase) {
    let rows: Vec<CallRow> = (0..1201)
        .map(|number| CallRow::at("2026-03-01T12:00:00Z").id(number + 1).latency(number))
        .collect();
    database.insert(&rows).await;
    let all = database.all_rows("t_request_log");
    let wrong = format!("SELECT COUNT(*) FROM {all} WHERE latency_ms <> id - 1");
    assert_eq!(database.value(&wrong).await, 0);
    assert_eq!(database.count("t_request_log").await, 1201);
}
