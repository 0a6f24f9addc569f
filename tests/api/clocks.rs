//! A wrong wall clock: the server does not panic, deletes nothing and keeps idempotency keys.

use std::sync::Arc;
use std::time::Duration;

use callscope::ingest::recorder::Recorder;
use callscope::store::lease;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::retention::{keep, wait_for};
use crate::support::{CallRow, ErrorRow, Kind, NOW, TestApp, TestDatabase, error_code, logs};
use crate::tests;

tests! {
    every_clock_reading_is_handled,
    stored_times_of_any_year_are_read.only(&[Kind::Sqlite]),
    a_clock_that_is_ahead_deletes_nothing,
    a_lasting_clock_change_is_accepted,
    the_newest_row_is_never_deleted,
    old_errors_are_deleted_while_calls_are_new,
    most_rows_are_kept_when_the_rest_is_much_newer,
    pruning_by_age_is_refused_after_a_clock_change,
    a_clock_that_is_ahead_deletes_no_idempotency_key,
    a_clock_that_is_behind_deletes_no_idempotency_key,
    a_lease_of_a_wrong_clock_is_free,
}

const YEAR: TimeDelta = TimeDelta::days(365);

fn now() -> DateTime<Utc> {
    NOW.parse().unwrap()
}

async fn record(app: &TestApp, key: &str) -> Value {
    let input = json!({ "calls": [{ "model": "m" }], "idempotencyKey": key });
    let query = "mutation ($input: RecordCallsInput!) { recordCalls(input: $input) { duplicate } }";
    let response = app.graphql_with(query, json!({ "input": input })).await;
    assert!(response.get("errors").is_none(), "{response}");
    response["data"]["recordCalls"]["duplicate"].clone()
}

async fn every_clock_reading_is_handled(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for (number, at) in [
        DateTime::<Utc>::MIN_UTC,
        "1969-12-31T23:59:59Z".parse().unwrap(),
        DateTime::<Utc>::MAX_UTC,
        "9999-12-31T23:59:59Z".parse().unwrap(),
        now(),
    ]
    .into_iter()
    .enumerate()
    {
        app.clock.set(at);
        assert_eq!(record(&app, &format!("k{number}")).await, false, "{at}");
        app.data(
            "{ usageStats { lastHour { total } currentMonth { total } } \
             callDetails(period: LAST_30_DAYS) { nodes { timestamp } } viewer { name } }",
        )
        .await;
    }
    assert_eq!(database.count("t_request_log").await, 5);
    assert_eq!(app.readiness().await, (200, "ready\n".to_owned()));
}

async fn stored_times_of_any_year_are_read(database: TestDatabase) {
    for time in ["-262143-01-01 00:00:00", "+262142-12-31 23:59:59", "0000-01-01 00:00:00"] {
        database.insert(&[CallRow::at_stored(time)]).await;
    }
    database.insert(&[CallRow::at("2026-03-01T11:59:00Z")]).await;
    for zone in ["America/New_York", "Asia/Shanghai"] {
        let app = TestApp::start_with(&database, |config| {
            config.database.storage_time_zone = zone.parse().unwrap();
        })
        .await;
        app.data(
            "{ callDetails(between: { since: \"0001-01-02T00:00:00Z\", until: \"9999-01-01T00:00:00Z\" }) { nodes { timestamp } } \
            serverInfo { storage { calls { oldest newest } } } }",
        )
        .await;
        app.shutdown().await;
    }
}

async fn start_with_retention(database: &TestDatabase, args: &[&str]) -> TestApp {
    TestApp::start_with(database, |config| config.keep = keep(args)).await
}

async fn refused(app: &TestApp, reason: &str) {
    let line = format!("callscope_retention_refused{{reason=\"{reason}\"}} 1\n");
    wait_for(true, async || app.metrics().await.contains(&line)).await;
}

/// Inserts old rows and one new row.
async fn insert_calls(database: &TestDatabase) {
    database
        .insert(&[
            CallRow::at("2025-10-01T00:00:00Z").id(1),
            CallRow::at("2026-02-01T00:00:00Z").id(2),
            CallRow::at(NOW).id(3),
        ])
        .await;
}

async fn a_clock_that_is_ahead_deletes_nothing(database: TestDatabase) {
    insert_calls(&database).await;
    let app = start_with_retention(&database, &["--keep-calls", "90d"]).await;
    wait_for(vec![2, 3], async || database.ids("t_request_log").await).await;
    app.clock.set(now() + YEAR);
    // The gateway on the same machine writes times of the same clock.
    database.insert(&[CallRow::at("2027-03-01T12:00:01Z").id(4)]).await;
    refused(&app, "clock_changed").await;
    assert_eq!(database.ids("t_request_log").await, [2, 3, 4]);
    let expected = "ready\ndegraded: retention refuses to run: the system clock was set forward by \
                    P365D\n";
    assert_eq!(app.readiness().await, (200, expected.to_owned()));
    let lines = logs::of_message("retention deletes nothing");
    let line = lines.iter().find(|line| line["reason"] == "clock_changed").unwrap();
    assert_eq!(line["level"], "WARN");
    // The lease is free; otherwise it would last for a year.
    let lease = "SELECT value FROM callscope_settings WHERE name = 'retention_lease'";
    assert!(database.value(lease).await.as_str().unwrap().ends_with(" nobody"));
    database.insert(&[CallRow::at("2025-10-01T00:00:00Z").id(5)]).await;
    app.clock.set(now() + TimeDelta::seconds(75));
    wait_for(vec![2, 3, 4], async || database.ids("t_request_log").await).await;
    assert!(!app.metrics().await.contains("callscope_retention_refused{"));
    assert_eq!(app.readiness().await, (200, "ready\n".to_owned()));
}

async fn a_lasting_clock_change_is_accepted(database: TestDatabase) {
    insert_calls(&database).await;
    let app = start_with_retention(&database, &["--keep-calls", "90d"]).await;
    wait_for(vec![2, 3], async || database.ids("t_request_log").await).await;
    app.clock.set(now() + TimeDelta::hours(8));
    refused(&app, "clock_changed").await;
    database.insert(&[CallRow::at("2025-10-01T00:00:00Z").id(4)]).await;
    app.clock.advance(TimeDelta::hours(1));
    wait_for(vec![2, 3], async || database.ids("t_request_log").await).await;
}

/// The clock is ahead when the server starts.
async fn the_newest_row_is_never_deleted(database: TestDatabase) {
    insert_calls(&database).await;
    database.insert(&[ErrorRow::at(NOW)]).await;
    let app = TestApp::start_with(&database, |config| {
        config.clock.set(now() + YEAR);
        config.keep = keep(&["--keep-calls", "90d", "--keep-errors", "7d"]);
    })
    .await;
    refused(&app, "newest_row").await;
    assert_eq!(database.ids("t_request_log").await, [1, 2, 3]);
    assert_eq!(database.count("t_error_logs").await, 1);
    let (status, text) = app.readiness().await;
    assert_eq!(status, 200);
    assert!(text.contains("the newest row is P365D old and would be deleted too"), "{text}");
}

async fn old_errors_are_deleted_while_calls_are_new(database: TestDatabase) {
    database.insert(&[CallRow::at(NOW)]).await;
    database.insert(&[ErrorRow::at("2026-02-01T00:00:00Z")]).await;
    let _app = start_with_retention(&database, &["--keep-errors", "7d"]).await;
    wait_for(0, async || database.count("t_error_logs").await).await;
}

/// The clock is ahead when the server and the gateway start.
async fn most_rows_are_kept_when_the_rest_is_much_newer(database: TestDatabase) {
    database.insert_unwatched(&vec![CallRow::at("2026-02-28T12:00:00Z"); 1001]).await;
    database.insert(&[CallRow::at("2027-03-01T12:00:00Z")]).await;
    let app = TestApp::start_with(&database, |config| {
        config.clock.set(now() + YEAR);
        config.keep = keep(&["--keep-calls", "90d"]);
    })
    .await;
    refused(&app, "share").await;
    assert_eq!(database.count("t_request_log").await, 1002);
    let (_, text) = app.readiness().await;
    assert!(text.contains("1001 of 1002 rows of t_request_log would be deleted"), "{text}");
    // Calls arrive meanwhile: the first run of a new retention also deletes most rows.
    database.insert(&[CallRow::at("2026-12-15T00:00:00Z")]).await;
    wait_for(2, async || database.count("t_request_log").await).await;
}

async fn pruning_by_age_is_refused_after_a_clock_change(database: TestDatabase) {
    insert_calls(&database).await;
    let app = TestApp::start(&database).await;
    app.clock.set(now() + YEAR);
    let query = "mutation { pruneLogs(callsOlderThan: \"P90D\") { deletedCalls } }";
    let response = app.graphql(query).await;
    assert_eq!(error_code(&response), "DELETION_REFUSED", "{response}");
    assert_eq!(database.ids("t_request_log").await, [1, 2, 3]);
    let audit = "SELECT COUNT(*) FROM callscope_audit";
    assert_eq!(database.value(audit).await, 0);
    app.clock.set(now());
    assert_eq!(app.data(query).await["pruneLogs"]["deletedCalls"], 1);
}

async fn a_clock_that_is_ahead_deletes_no_idempotency_key(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    assert_eq!(record(&app, "k").await, false);
    let services = app.services();
    let (db, clock) = (services.db.clone(), Arc::clone(&services.clock_watch));
    let soon = Duration::from_millis(10);
    app.clock.set(now() + YEAR);
    let _forgets = Recorder::start_with(db, clock, TimeDelta::hours(24), soon);
    let sent = app.sent();
    // One statement deletes old keys.
    wait_for(true, async || app.sent() > sent + 2).await;
    assert_eq!(record(&app, "k").await, true);
    app.clock.set(now());
    assert_eq!(record(&app, "k").await, true);
    app.clock.advance(TimeDelta::hours(25));
    assert_eq!(record(&app, "k").await, false, "it expires with the passing time");
}

async fn a_clock_that_is_behind_deletes_no_idempotency_key(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    app.clock.set(now() - YEAR);
    assert_eq!(record(&app, "k").await, false);
    app.clock.set(now());
    assert_eq!(record(&app, "k").await, true);
}

/// Otherwise no server would run the job until then.
async fn a_lease_of_a_wrong_clock_is_free(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let two_minutes = TimeDelta::minutes(2);
    let acquire = async |holder: &str, at: DateTime<Utc>| {
        lease::acquire(app.db(), "job", holder, (at, at + two_minutes)).await.unwrap()
    };
    assert!(acquire("ahead", now() + YEAR).await);
    assert!(acquire("right", now()).await);
    assert!(!acquire("ahead", now()).await);
    // The clocks of servers differ a little.
    assert!(!acquire("behind", now() - TimeDelta::minutes(1)).await);
    assert!(acquire("right", now() + TimeDelta::minutes(1)).await);
    assert!(!acquire("ahead", now() + two_minutes).await);
    assert!(acquire("ahead", now() + TimeDelta::minutes(3)).await);
}
