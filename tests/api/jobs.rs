//! Background jobs that panic: they are restarted, and `/readyz`, `/metrics` and the log report it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use callscope::clock::Clock;
use callscope::observe::RequestMarks;
use serde_json::{Value, json};

use super::retention::{keep, wait_for};
use super::subscriptions::Events;
use crate::support::{CallRow, INJECTED, Kind, NOW, TestApp, TestDatabase, error_code, logs};
use crate::tests;

tests! {
    a_recorder_that_panics_is_restarted,
    a_recorder_that_keeps_failing_is_not_ready,
    a_read_only_server_needs_no_recorder.only(&[Kind::Sqlite]),
    a_retention_that_panics_is_restarted,
    a_caller_check_that_panics_is_restarted.only(&[Kind::Sqlite]),
}

/// A clock, and the number of its next readings by background jobs that panic.
fn panicking_clock() -> (Clock, Arc<AtomicU32>) {
    let panics = Arc::new(AtomicU32::new(0));
    let left = panics.clone();
    let take = move || {
        let is_job = RequestMarks::current().is_none();
        let one_less = |left: u32| left.checked_sub(1);
        if is_job && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            std::panic::panic_any(INJECTED);
        }
    };
    (Clock::fixed_with(NOW.parse().unwrap(), take), panics)
}

async fn record(app: &TestApp, key: &str) -> Value {
    let input = json!({ "calls": [{ "model": key }], "idempotencyKey": key });
    let query = "mutation ($input: RecordCallsInput!) { recordCalls(input: $input) { duplicate } }";
    app.graphql_with(query, json!({ "input": input })).await
}

async fn a_recorder_that_panics_is_restarted(database: TestDatabase) {
    let (clock, panics) = panicking_clock();
    let app = TestApp::start_with(&database, |config| config.clock = clock).await;
    assert!(app.metrics().await.contains("callscope_job_running{job=\"recorder\"} 1\n"));
    assert!(app.metrics().await.contains("callscope_job_panics_total{job=\"recorder\"} 0\n"));
    panics.store(1, Ordering::Relaxed);
    let keys: Vec<String> = (0..20).map(|number| format!("k{number}")).collect();
    let answers = futures_util::future::join_all(keys.iter().map(|key| record(&app, key))).await;
    let recorded = answers.iter().filter(|answer| answer.get("errors").is_none()).count();
    let unknown = answers.iter().filter(|answer| error_code(answer) == "OUTCOME_UNKNOWN");
    assert_eq!(recorded + unknown.count(), 20, "{answers:?}");
    assert!(recorded < 20, "the current group is answered with an error");
    assert_eq!(
        database.count("t_request_log").await,
        recorded as u64,
        "only acknowledged calls are stored"
    );
    // Each of them is recorded once.
    for (key, answer) in keys.iter().zip(&answers) {
        let duplicate = answer.get("errors").is_none();
        let again = record(&app, key).await;
        assert_eq!(again["data"]["recordCalls"]["duplicate"], duplicate, "{again}");
    }
    assert_eq!(database.count("t_request_log").await, 20);
    assert!(app.metrics().await.contains("callscope_job_panics_total{job=\"recorder\"} 1\n"));
    assert_eq!(app.readiness().await, (200, "ready\n".to_owned()));
    let lines = logs::of_message("a background job panicked; restarting");
    let line = lines.iter().find(|line| line["job"] == "recorder").unwrap();
    assert_eq!((&line["level"], &line["text"]), (&json!("ERROR"), &json!(INJECTED)));
}

async fn a_recorder_that_keeps_failing_is_not_ready(database: TestDatabase) {
    let (clock, panics) = panicking_clock();
    let app = TestApp::start_with(&database, |config| config.clock = clock).await;
    panics.store(3, Ordering::Relaxed);
    for key in ["a", "b", "c"] {
        assert_eq!(error_code(&record(&app, key).await), "OUTCOME_UNKNOWN");
    }
    let (status, text) = app.readiness().await;
    assert_eq!(status, 503, "{text}");
    assert!(text.starts_with("not ready\ndegraded: recorder "), "{text}");
    assert_eq!(record(&app, "a").await["data"]["recordCalls"]["duplicate"], false);
    // A job that has just recovered may fail again.
    let expected = "not ready\ndegraded: recorder panics repeatedly\n";
    assert_eq!(app.readiness().await, (503, expected.to_owned()));
    assert!(app.metrics().await.contains("callscope_job_running{job=\"recorder\"} 1\n"));
}

async fn a_read_only_server_needs_no_recorder(database: TestDatabase) {
    let app = TestApp::start_read_only(&database).await;
    let jobs = &app.services().observer.metrics.jobs;
    jobs.set_refusing("recorder", Some("a test".to_owned()));
    let expected = "ready\ndegraded: recorder refuses to run: a test\n";
    assert_eq!(app.readiness().await, (200, expected.to_owned()));
}

async fn a_retention_that_panics_is_restarted(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-01-01T00:00:00Z").id(1), CallRow::at(NOW).id(2)]).await;
    let (clock, panics) = panicking_clock();
    let app = TestApp::start_with(&database, |config| {
        config.clock = clock;
        config.keep = keep(&["--keep-calls", "1d"]);
    })
    .await;
    panics.store(1, Ordering::Relaxed);
    let panicked = "callscope_job_panics_total{job=\"retention\"} 1\n";
    wait_for(true, async || app.metrics().await.contains(panicked)).await;
    wait_for(vec![2], async || database.ids("t_request_log").await).await;
    wait_for(true, async || {
        let text = app.metrics().await;
        text.contains("callscope_job_running{job=\"retention\"} 1\n")
    })
    .await;
    app.shutdown().await;
}

/// Revoked callers are still detected, and valid callers stay connected.
async fn a_caller_check_that_panics_is_restarted(database: TestDatabase) {
    let (clock, panics) = panicking_clock();
    let time = clock.clone();
    let app = TestApp::start_with(&database, |config| config.clock = clock).await;
    let query = "subscription { usageStats(every: \"PT1H\") { asOf } }";
    let mut events = Events::subscribe(&app, query).await;
    assert!(events.next().await["data"]["usageStats"].is_object());
    panics.store(1, Ordering::Relaxed);
    let panicked = "callscope_job_panics_total{job=\"caller_check\"} 1\n";
    wait_for(true, async || app.metrics().await.contains(panicked)).await;
    let mut later = Events::subscribe(&app, query).await;
    assert!(later.next().await["data"]["usageStats"].is_object());
    // The first stream continues until its caller loses access, which is still detected.
    let new = callscope::access::token::make("t", "READ".parse().unwrap(), time.now(), None);
    callscope::store::token::insert(app.db(), &new.unwrap().row).await.unwrap();
    time.advance(chrono::TimeDelta::seconds(5));
    assert_eq!(error_code(&events.next().await), "UNAUTHENTICATED");
    assert_eq!(error_code(&later.next().await), "UNAUTHENTICATED");
}
