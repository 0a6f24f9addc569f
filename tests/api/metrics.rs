//! `/metrics`, and the log of statements.

use std::time::Duration;

use sea_orm::sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use serde_json::{Value, json};

use super::input_errors::{lock, unlock};
use crate::support::{
    CallRow, ErrorRow, Kind, NULL, TestApp, TestDatabase, error_code, eventually, logs, request_id,
    within,
};
use crate::tests;

tests! {
    requests_are_counted.only(&[Kind::Sqlite]),
    statements_and_batches_are_counted,
    recent_calls_are_reported,
    every_line_is_well_formed.only(&[Kind::Sqlite]),
    metrics_work_without_the_database.only(&[Kind::Postgres]),
    metrics_do_not_wait_for_a_locked_table.only(&[Kind::Postgres, Kind::MariaDb]),
    slow_statements_are_logged.only(&[Kind::Postgres, Kind::MariaDb]),
    statements_are_logged_without_values,
    metrics_require_their_scope.only(&[Kind::Sqlite]),
}

async fn scrape(app: &TestApp) -> String {
    let response = app.get("/metrics").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let kind = response.headers()["Content-Type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    response.text().await.unwrap()
}

/// The value of one line, `name{labels}`, or `None` without such a line.
fn value(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

async fn requests_are_counted(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let send = async |body: Value| {
        app.post(&body).send().await.unwrap();
    };
    for _ in 0..3 {
        send(json!({ "query": "query Usage { usageStats { asOf } }" })).await;
    }
    send(json!({ "query": "query Usage { callDetails(period: LAST_HOUR, first: -1) { totalCount } }" })).await;
    send(json!({ "query": "{ nothing }" })).await;
    send(json!({ "query": 7 })).await;
    app.get("/no/such/path").send().await.unwrap();
    let text = scrape(&app).await;
    let graphql =
        |labels: &str| value(&text, &format!("callscope_graphql_requests_total{{{labels}}}"));
    assert_eq!(graphql(r#"operation="Usage",kind="query",code="OK""#), Some(3.0), "{text}");
    assert_eq!(
        graphql(r#"operation="Usage",kind="query",code="BAD_USER_INPUT""#),
        Some(1.0),
        "{text}"
    );
    let invalid = r#"operation="",kind="query",code="GRAPHQL_VALIDATION_FAILED""#;
    assert_eq!(graphql(invalid), Some(1.0), "{text}");
    assert_eq!(graphql(r#"operation="",kind="",code="BAD_REQUEST""#), Some(1.0), "{text}");
    for (line, expected) in [
        (r#"callscope_http_requests_total{route="/graphql",method="POST",status="200"}"#, 5.0),
        (r#"callscope_http_requests_total{route="/graphql",method="POST",status="400"}"#, 1.0),
        (r#"callscope_http_requests_total{route="unknown",method="GET",status="404"}"#, 1.0),
        (r#"callscope_http_request_duration_seconds_count{route="/graphql"}"#, 6.0),
        (
            r#"callscope_graphql_request_duration_seconds_count{operation="Usage",kind="query"}"#,
            4.0,
        ),
        ("callscope_http_requests_in_flight", 1.0),
        (r#"callscope_build_info{version="0.1.0",database="SQLite"}"#, 1.0),
    ] {
        assert_eq!(value(&text, line), Some(expected), "{line} in {text}");
    }
    assert!(value(&text, "process_resident_memory_bytes").unwrap() > 1e6, "{text}");
    assert!(value(&text, "process_start_time_seconds").unwrap() > 1.7e9, "{text}");
    assert!(value(&text, "process_cpu_seconds_total").is_some(), "{text}");
    assert!(value(&text, "process_open_fds").unwrap() > 0.0, "{text}");
}

async fn statements_and_batches_are_counted(database: TestDatabase) {
    let calls: Vec<CallRow> = (0..7)
        .map(|index| CallRow::at("2026-03-01T11:30:00Z").key(format!("k{index}")).status(429))
        .collect();
    database.insert(&calls).await;
    database.insert(&[ErrorRow::at("2026-03-01T11:30:00Z").key("k3")]).await;
    let app = TestApp::start(&database).await;
    app.data("{ callDetails(period: LAST_HOUR) { nodes { model errorLog { message } } } }").await;
    let text = scrape(&app).await;
    for (line, expected) in [
        (r#"callscope_sql_statement_duration_seconds_count{statement="call.list"}"#, 1.0),
        (r#"callscope_sql_rows_total{statement="call.list"}"#, 7.0),
        (r#"callscope_sql_rows_total{statement="error_match.rows"}"#, 1.0),
        (r#"callscope_loader_batch_size_sum{loader="error_match"}"#, 7.0),
        (r#"callscope_loader_batch_size_count{loader="error_match"}"#, 1.0),
        (r#"callscope_database_connections_max{pool="read"}"#, 2.0),
        ("callscope_database_waiting", 0.0),
        ("callscope_database_up", 1.0),
    ] {
        assert_eq!(value(&text, line), Some(expected), "{line} in {text}");
    }
    assert_eq!(value(&text, r#"callscope_sql_errors_total{statement="call.list"}"#), None);
    database.execute("DROP TABLE t_request_log").await;
    app.graphql("{ callDetails(period: LAST_HOUR) { nodes { model } } }").await;
    let text = scrape(&app).await;
    assert_eq!(value(&text, r#"callscope_sql_errors_total{statement="call.list"}"#), Some(1.0));
}

async fn recent_calls_are_reported(database: TestDatabase) {
    let at = |time: &str| CallRow::at(time);
    database
        .insert(&[
            at("2026-03-01T11:54:59Z"),
            at("2026-03-01T11:55:00Z"),
            at("2026-03-01T11:59:00Z"),
            at("2026-03-01T11:59:00Z").status(429),
            at("2026-03-01T11:59:59.999Z").status(NULL),
            at("2026-03-01T12:00:00Z"),
        ])
        .await;
    let app = TestApp::start(&database).await;
    let text = scrape(&app).await;
    let recent = |code: &str| format!("callscope_recent_calls{{status_code=\"{code}\"}}");
    for (code, count) in [("200", 2.0), ("429", 1.0), ("none", 1.0)] {
        assert_eq!(value(&text, &recent(code)), Some(count), "{text}");
    }
    assert_eq!(value(&text, "callscope_recent_calls_failed"), Some(2.0), "{text}");
    // However often they are read, they are counted at most every ten seconds.
    database.insert(&[at("2026-03-01T11:59:00Z").status(500)]).await;
    let text = scrape(&app).await;
    assert_eq!(value(&text, &recent("500")), None, "{text}");
    let counted =
        r#"callscope_sql_statement_duration_seconds_count{statement="call_group.groups"}"#;
    assert_eq!(value(&text, counted), Some(1.0), "{text}");
}

async fn every_line_is_well_formed(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T11:59:00Z")]).await;
    let app = TestApp::start(&database).await;
    app.data("query A { callDetails(period: LAST_HOUR) { nodes { errorLog { message } } } }").await;
    let text = scrape(&app).await;
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut family = "";
    let mut families = vec![];
    for line in text.lines().filter(|line| *line != "# EOF") {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "HELP", name, help] => {
                assert!(help.ends_with('.'), "{line}");
                family = name;
                families.push(family);
            }
            ["#", "TYPE" | "UNIT", name, _] => assert_eq!(*name, family, "{line}"),
            _ => {
                let (series, number) = line.rsplit_once(' ').unwrap();
                assert!(series.starts_with(family) && number.parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(family.starts_with("callscope_") || family.starts_with("process_"), "{line}");
    }
    let count = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), count, "a family is repeated in {text}");
}

async fn metrics_work_without_the_database(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    // Closed from outside, since no database can close itself.
    let url = std::env::var("CALLSCOPE_TEST_POSTGRES_URL").unwrap();
    let mut admin = PgConnection::connect(&url).await.unwrap();
    let name = database.url().rsplit('/').next().unwrap();
    for sql in [
        format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false"),
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"),
    ] {
        raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
    }
    let text = scrape(&app).await;
    assert_eq!(value(&text, "callscope_database_up"), Some(0.0), "{text}");
    assert!(!text.contains("callscope_recent_calls"), "{text}");
}

async fn metrics_do_not_wait_for_a_locked_table(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    lock(&database, "t_request_log").await;
    let text = within("the metrics", scrape(&app)).await;
    // A database with unreadable tables is treated as unavailable.
    assert_eq!(value(&text, "callscope_database_up"), Some(0.0), "{text}");
    assert!(!text.contains("callscope_recent_calls"), "{text}");
    unlock(&database).await;
}

async fn slow_statements_are_logged(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.observe.slow_query_ms = 20).await;
    let query = json!({ "query": "query Slow { usageStats { lastHour { total } } }" });
    let send = app.post(&query).send();
    let request = async { request_id(&send.await.unwrap()) };
    lock(&database, "t_request_log").await;
    let before = app.sent();
    let held = async {
        eventually("the statement is sent", async || app.sent() > before).await;
        let sent = std::time::Instant::now();
        eventually("it is slow", async || sent.elapsed() > Duration::from_millis(30)).await;
        unlock(&database).await;
    };
    let (id, ()) = futures_util::join!(request, held);
    let is_slow = |line: &&Value| line["message"] == "slow query";
    let lines = logs::of_request(&id);
    let lines: Vec<&Value> = lines.iter().filter(is_slow).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let line = lines[0];
    assert_eq!((&line["level"], &line["operation"]), (&json!("WARN"), &json!("Slow")), "{line}");
    assert_eq!((&line["statement"], &line["rows"]), (&json!("usage.counts"), &json!(1)), "{line}");
    assert!(line["duration_ms"].as_f64().unwrap() >= 20.0, "{line}");
    assert!(line["sql"].as_str().unwrap().contains("t_request_log"), "{line}");
}

/// Each argument that reaches a statement, with a value found nowhere else.
const EVERYTHING: &str = r#"query Everything($key: String!) {
  usageStats(key: $key) { lastHour { total } }
  callDetails(period: LAST_HOUR, key: $key, filter: { models: ["Model-Marker-1"] }) {
    totalCount nodes { errorLog { message request } apiKey { firstSeenAt } }
  }
  callSeries(period: LAST_HOUR, key: $key) { counts { total } }
  callGroups(by: [API_KEY], period: LAST_HOUR, filter: { keys: [$key, "Key-Marker-2"] }) { counts { total } }
  errorLogs(filter: { contains: "Message-Marker-1", keyContains: "Key-Marker-2", models: ["Model-Marker-2"] }) { totalCount nodes { request } }
  errorGroups(by: [API_KEY], filter: { errorTypes: ["Type-Marker"] }) { count latest { message } }
  errorLookup(key: $key, timestamp: "2026-03-01T11:30:00Z") { message request }
  apiKey(key: $key) { masked counts(period: LAST_HOUR) { total } errorLogs { nodes { message } } }
}"#;

async fn statements_are_logged_without_values(database: TestDatabase) {
    let call = CallRow::at("2026-03-01T11:30:00Z").key("Key-Marker-1").model("Model-Marker-1");
    database.insert(&[call.status(429)]).await;
    let error = ErrorRow::at("2026-03-01T11:30:00Z").key("Key-Marker-1").log("Message-Marker-2");
    database.insert(&[error.request("{\"contents\": \"Prompt-Marker\"}")]).await;
    let token = "Token-Marker-0123456789";
    let app = TestApp::start_with_tokens(&database, &format!("reader:ALL:{token}")).await;
    let body = json!({ "query": EVERYTHING, "variables": { "key": "Key-Marker-1" } });
    let sent = app.client().post(app.url("/graphql")).bearer_auth(token);
    let response = sent.json(&body).send().await.unwrap();
    let id = request_id(&response);
    let answer: Value = response.json().await.unwrap();
    assert!(answer.get("errors").is_none(), "{answer:#}");
    let lines = logs::of_request(&id);
    let statements = lines.iter().filter(|line| line["message"] == "query").count();
    assert!(statements >= 10, "{lines:#?}");
    for line in lines {
        assert!(!line.to_string().contains("Marker"), "{line:#}");
    }
}

async fn metrics_require_their_scope(database: TestDatabase) {
    let app = TestApp::start_with_tokens(
        &database,
        "reader:READ:reader-0123456789 scraper:METRICS:scraper-0123456789",
    )
    .await;
    let get = || app.get("/metrics");
    assert_eq!(get().send().await.unwrap().status(), 401);
    let refused = get().bearer_auth("reader-0123456789").send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let body: Value = refused.json().await.unwrap();
    assert_eq!(error_code(&body), "FORBIDDEN");
    assert_eq!(get().bearer_auth("scraper-0123456789").send().await.unwrap().status(), 200);
}
