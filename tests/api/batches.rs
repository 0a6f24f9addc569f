//! Several GraphQL requests in one HTTP request.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::{QUERY, STRICT, answer, assert_refused, post, usage};
use super::input_errors::{lock, unlock};
use crate::support::{Kind, TestApp, TestDatabase, error_code};
use crate::tests;

tests! {
    a_batch_is_refused_by_default.only(&[Kind::Sqlite]),
    a_batch_is_answered_in_order,
    a_long_batch_is_refused.only(&[Kind::Sqlite]),
    a_batch_shares_the_timeout_of_one_request.only(&[Kind::Postgres, Kind::MariaDb]),
}

fn batch(length: usize) -> Value {
    json!(vec![json!({ "query": QUERY }); length])
}

async fn a_batch_is_refused_by_default(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for length in [1, 2, 20_000] {
        assert_refused(post(&app).json(&batch(length)), 400, "BATCH_TOO_LARGE").await;
    }
}

async fn a_batch_is_answered_in_order(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.server.http.max_batch = 5).await;
    let batch = json!([
        { "query": QUERY },
        { "query": "{ nothing }" },
        { "query": "query A($n: Int) { errorLogs(first: $n) { nodes { id } } }", "variables": { "n": 1 } },
        { "query": " " },
        { "query": "{" },
    ]);
    for (accept, kind) in [("*/*", "application/json"), (STRICT, STRICT)] {
        let sent = post(&app).header("Accept", accept).json(&batch);
        let (status, found, body) = answer(sent).await;
        assert_eq!((status, found), (200, format!("{kind}; charset=utf-8")));
        assert_eq!(body[0], usage());
        assert_eq!(body[2], json!({ "data": { "errorLogs": { "nodes": [] } } }));
        for (index, code) in
            [(1, "GRAPHQL_VALIDATION_FAILED"), (3, "BAD_REQUEST"), (4, "GRAPHQL_PARSE_FAILED")]
        {
            assert_eq!(error_code(&body[index]), code);
            assert!(body[index].get("data").is_none());
        }
    }
    assert_refused(post(&app).json(&json!([{ "query": QUERY }, 7])), 400, "BAD_REQUEST").await;
    assert_refused(post(&app).json(&json!([])), 400, "BAD_REQUEST").await;
}

async fn a_long_batch_is_refused(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.server.http.max_batch = 3).await;
    assert_eq!(answer(post(&app).json(&batch(3))).await.0, 200);
    assert_refused(post(&app).json(&batch(4)), 400, "BATCH_TOO_LARGE").await;
}

async fn a_batch_shares_the_timeout_of_one_request(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.server.http.max_batch = 20;
        config.graphql.timeout_seconds = 1;
    })
    .await;
    lock(&database, "t_request_log").await;
    let stuck = json!({ "query": "{ usageStats { lastHour { total } } }" });
    let started = Instant::now();
    let (status, _, body) = answer(post(&app).json(&json!(vec![stuck; 20]))).await;
    // Twenty timeouts in a row are 20 s.
    assert!(started.elapsed() < Duration::from_secs(15));
    assert_eq!(status, 200);
    for answer in body.as_array().unwrap() {
        assert_eq!(error_code(answer), "TIMEOUT", "{body}");
    }
    unlock(&database).await;
}
