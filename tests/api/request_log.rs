//! The log line of each request, and its id.

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::support::{Kind, TestApp, TestDatabase, found, logs, request_id};
use crate::tests;

tests! {
    every_request_logs_one_line.only(&[Kind::Sqlite]),
    a_line_names_the_executed_operation.only(&[Kind::Sqlite]),
    request_ids_of_a_proxy_are_used.only(&[Kind::Sqlite]),
    a_client_that_disconnects_is_logged.only(&[Kind::Postgres]),
}

/// The id of a response, and the log line of its request.
async fn line(request: RequestBuilder) -> (String, Value) {
    let response = request.send().await.unwrap();
    let id = request_id(&response);
    let mut lines = logs::of_request(&id);
    lines.retain(|line| line["message"] == "request");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    (id, lines.remove(0))
}

async fn every_request_logs_one_line(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let post =
        |body: Value| app.client().post(app.url("/graphql?api_key=inTheQueryString")).json(&body);
    let (_, entry) = line(post(json!({ "query": "query Usage { usageStats { asOf } }" }))).await;
    let duration = entry["duration_ms"].as_f64().unwrap();
    assert!(duration > 0.0 && duration < 60_000.0, "{entry}");
    for (field, value) in [
        ("level", json!("INFO")),
        ("method", json!("POST")),
        ("path", json!("/graphql")),
        ("status", json!(200)),
        ("operation", json!("Usage")),
        ("kind", json!("query")),
        ("caller", json!("anonymous")),
    ] {
        assert_eq!(entry[field], value, "{field} of {entry}");
    }
    assert!(
        entry.get("codes").is_none() && !entry.to_string().contains("inTheQueryString"),
        "{entry}"
    );

    let (_, entry) = line(post(json!({ "query": "{ usageStats { nothing } }" }))).await;
    assert_eq!(entry["codes"], "GRAPHQL_VALIDATION_FAILED", "{entry}");
    let (_, entry) = line(post(json!({ "query": "{" }))).await;
    assert_eq!(entry["codes"], "GRAPHQL_PARSE_FAILED", "{entry}");
    let (_, entry) = line(post(json!({}))).await;
    assert_eq!(
        (&entry["codes"], &entry["status"]),
        (&json!("BAD_REQUEST"), &json!(400)),
        "{entry}"
    );

    let get = |path: &str| app.get(path);
    let (_, entry) = line(get("/healthz")).await;
    assert_eq!((&entry["level"], &entry["path"]), (&json!("DEBUG"), &json!("/healthz")), "{entry}");
    let (_, entry) = line(get("/secret-in-the-path")).await;
    assert_eq!((&entry["status"], &entry["path"]), (&json!(404), &json!("unknown")), "{entry}");
}

async fn a_line_names_the_executed_operation(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let long = "x".repeat(100);
    let a_and_b = "query A { usageStats { asOf } } query B { usageStats { asOf } }";
    for (query, name, logged) in [
        ("{ usageStats { asOf } }", None, Value::Null),
        ("query Alone { usageStats { asOf } }", None, json!("Alone")),
        (a_and_b, Some("B"), json!("B")),
        (a_and_b, None, Value::Null),
        // An unknown operation name may be any text.
        (a_and_b, Some("AnythingAtAll"), Value::Null),
        (&format!("query {long} {{ usageStats {{ asOf }} }}"), None, json!("x".repeat(64))),
    ] {
        let body = json!({ "query": query, "operationName": name });
        let (_, line) = line(app.post(&body)).await;
        assert_eq!(line["operation"], logged, "{line}");
    }
}

async fn request_ids_of_a_proxy_are_used(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let get = || app.get("/healthz");
    let (id, _) = line(get().header("X-Request-Id", "proxy-1.of_this-test")).await;
    assert_eq!(id, "proxy-1.of_this-test");
    let (first, _) = line(get().header("X-Request-Id", "not an id")).await;
    let (second, _) = line(get()).await;
    assert!(first != second && !first.contains(' '));
}

async fn a_client_that_disconnects_is_logged(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database.execute("BEGIN; LOCK TABLE t_request_log IN ACCESS EXCLUSIVE MODE").await;
    let sent = app
        .client()
        .post(app.url("/graphql"))
        .header("X-Request-Id", "gone-away")
        .json(&json!({ "query": "query Waits { usageStats { lastHour { total } } }" }));
    let sent = tokio::time::timeout(std::time::Duration::from_millis(200), sent.send()).await;
    assert!(sent.is_err());
    let logged = async || logs::of_request("gone-away").pop();
    let line = found("the log line of the request", logged).await;
    assert_eq!((&line["gone"], &line["status"]), (&json!(true), &Value::Null), "{line}");
    assert_eq!(line["operation"], "Waits", "{line}");
    database.execute("ROLLBACK").await;
}
