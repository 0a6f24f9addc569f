//! `--keep-calls` and `--keep-errors`: which rows are deleted automatically, which stay, and in which tables.

use callscope::app::App;
use callscope::config::KeepConfig;
use callscope::store::lease;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::{
    CallRow, ErrorRow, Kind, NOW, NULL, TestApp, TestDatabase, eventually, gateway, settings,
};
use crate::tests;

tests! {
    old_rows_are_deleted_automatically,
    gateway_tables_require_another_option.empty(),
    a_read_only_database_refuses_retention,
    one_server_at_a_time_has_the_lease,
    nothing_is_deleted_while_another_server_has_the_lease,
    a_shutdown_stops_retention.only(&[Kind::Sqlite]),
    freed_space_is_returned.only(&[Kind::Sqlite]),
}

pub fn keep(args: &[&str]) -> KeepConfig {
    settings(&[args, &["--keep-check-every", "1s"]].concat())
}

/// Waits until a job has produced the expected value.
pub async fn wait_for<T: PartialEq + std::fmt::Debug>(
    expected: T,
    mut found: impl AsyncFnMut() -> T,
) {
    eventually(&format!("{expected:?}"), async || found().await == expected).await;
}

async fn old_rows_are_deleted_automatically(database: TestDatabase) {
    let times =
        ["2026-01-01T00:00:00Z", "2026-02-28T11:59:59.999999Z", "2026-02-28T12:00:00Z", NOW];
    let call = |(id, time): (i32, &&str)| CallRow::at(time).id(id);
    database.insert(&(1..).zip(&times).map(call).collect::<Vec<_>>()).await;
    database.insert(&[CallRow::at_stored(NULL).id(5)]).await;
    database.insert(&times.map(ErrorRow::at)).await;
    let mut stay = vec![3, 4, 5];
    if database.kind() == Kind::Sqlite {
        // As texts they sort before the limit but are not times; the last one is a later time.
        let texts =
            [(6, "1 day ago"), (7, "2026-02-xx"), (8, ""), (9, "2026-02-28 11:00:00-05:00")];
        for (id, text) in texts {
            database.insert(&[CallRow::at_stored(text).id(id)]).await;
            stay.push(id.into());
        }
    }
    let app = TestApp::start_with(&database, |config| {
        config.keep = keep(&["--keep-calls", "1d", "--keep-errors", "1s"]);
    })
    .await;
    wait_for((stay.clone(), 1), async || {
        (database.ids("t_request_log").await, database.count("t_error_logs").await)
    })
    .await;
    wait_for(true, async || {
        let text = app.metrics().await;
        let now = format!("{}", NOW.parse::<DateTime<Utc>>().unwrap().timestamp());
        [
            "callscope_retention_removed_rows_total{table=\"t_request_log\"} 2\n".to_owned(),
            "callscope_retention_removed_rows_total{table=\"t_error_logs\"} 3\n".to_owned(),
            format!("callscope_retention_last_run_timestamp_seconds {now}\n"),
            "callscope_retention_errors_total 0\n".to_owned(),
        ]
        .iter()
        .all(|line| text.contains(line))
    })
    .await;
    // Later rows are deleted later, and the others stay.
    database.insert(&[ErrorRow::at("2026-02-28T11:00:00Z")]).await;
    wait_for(1, async || database.count("t_error_logs").await).await;
    assert_eq!(database.ids("t_request_log").await, stay);
    let in_progress = "SELECT COUNT(*) FROM callscope_audit WHERE outcome IS NULL";
    wait_for(json!(0), async || database.value(in_progress).await).await;
    app.shutdown().await;
    let audit =
        "SELECT caller, address, action, subject, outcome, deleted_calls, deleted_error_logs
        FROM callscope_audit ORDER BY id";
    let entry = |calls: u32, errors: u32| {
        let subject = "{\"keepCalls\":\"P1D\",\"keepErrors\":\"PT1S\"}";
        let texts = ["retention", "-", "PRUNE_LOGS", subject, "completed"];
        [texts.map(Value::from).to_vec(), vec![json!(calls), json!(errors)]].concat()
    };
    let expected = [entry(2, 3), entry(0, 1)];
    assert_eq!(database.query(audit).await, expected, "one for each run that deleted");
}

async fn gateway_tables_require_another_option(database: TestDatabase) {
    gateway::fill(&database).await;
    let calls = database.count("t_request_log").await;
    let open = async |args: &[&str]| {
        let config = callscope::app::Config { keep: keep(args), ..TestApp::config(&database) };
        App::open(config).await.map(|_| ()).map_err(|error| error.to_string())
    };
    let refused = open(&["--keep-errors", "7d"]).await.unwrap_err();
    assert!(refused.contains("t_error_logs") && !refused.contains("t_request_log"), "{refused}");
    assert!(refused.contains("--prune-gateway-tables"), "{refused}");
    assert_eq!(open(&[]).await, Ok(()));
    assert_eq!(open(&["--keep-errors", "7d", "--prune-gateway-tables"]).await, Ok(()));
    // A setting with unknown content does not permit it either.
    database.execute("DELETE FROM callscope_settings WHERE name = 'tables_made'").await;
    assert!(open(&["--keep-calls", "7d"]).await.unwrap_err().contains("t_request_log"));
    assert_eq!(database.count("t_request_log").await, calls);
}

async fn a_read_only_database_refuses_retention(database: TestDatabase) {
    let mut config = TestApp::config(&database);
    config.keep = keep(&["--keep-calls", "7d"]);
    config.database.read_only = true;
    config.database.id_key = Some(callscope::config::Secret::new("a secret of 16 characters"));
    let refused = App::open(config).await.map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("--read-only"), "{refused}");
}

async fn one_server_at_a_time_has_the_lease(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let now: DateTime<Utc> = NOW.parse().unwrap();
    let take = async |holder: &str, minutes: i64| {
        let now = now + TimeDelta::minutes(minutes);
        lease::acquire(app.db(), "work", holder, (now, now + TimeDelta::minutes(10))).await.unwrap()
    };
    assert!(take("one", 0).await && !take("other", 5).await);
    assert!(take("one", 6).await, "its holder may renew it");
    assert!(!take("other", 12).await && take("other", 17).await, "the lease expires");
    lease::release(app.db(), "work", "one").await.unwrap();
    assert!(!take("one", 18).await, "the other server has it now");
    lease::release(app.db(), "work", "other").await.unwrap();
    assert!(take("one", 18).await);
}

async fn nothing_is_deleted_while_another_server_has_the_lease(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-01-01T00:00:00Z"), CallRow::at(NOW)]).await;
    let other = TestApp::start(&database).await;
    let now: DateTime<Utc> = NOW.parse().unwrap();
    let until = now + TimeDelta::minutes(10);
    assert!(lease::acquire(other.db(), "retention_lease", "other", (now, until)).await.unwrap());
    let app = TestApp::start_with(&database, |config| config.keep = keep(&["--keep-calls", "1d"]));
    let app = app.await;
    let ran = format!("callscope_retention_last_run_timestamp_seconds {}\n", now.timestamp());
    wait_for(true, async || app.metrics().await.contains(&ran)).await;
    assert_eq!(database.count("t_request_log").await, 2);
    lease::release(other.db(), "retention_lease", "other").await.unwrap();
    wait_for(1, async || database.count("t_request_log").await).await;
    // The server then releases the lease.
    wait_for(true, async || {
        let until = now + TimeDelta::minutes(1);
        lease::acquire(other.db(), "retention_lease", "other", (now, until)).await.unwrap()
    })
    .await;
}

async fn a_shutdown_stops_retention(database: TestDatabase) {
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
        INSERT INTO t_request_log (request_time, api_key, is_success, status_code)
        SELECT strftime('%Y-%m-%d %H:%M:%f', 1e9 + i, 'unixepoch') || '000', 'k' || i % 97, 1, 200
        FROM n";
    database.execute(many).await;
    // A gateway that continues to write.
    database.insert(&[CallRow::at("2026-02-28T18:00:00Z").id(200_001)]).await;
    let app = TestApp::start_with(&database, |config| config.keep = keep(&["--keep-calls", "1d"]));
    let app = app.await;
    let old = "SELECT COUNT(*) FROM t_request_log WHERE id <= 200000";
    let count = async || database.value(old).await.as_i64().unwrap();
    while count().await == 200_000 {
        tokio::task::yield_now().await;
    }
    app.shutdown().await;
    let left = count().await;
    assert!(left > 0, "stopped too late to show anything");
    let oldest = "SELECT MIN(id) FROM t_request_log";
    assert_eq!(database.value(oldest).await, 200_001 - left, "the oldest go first");
    let entry = "SELECT outcome, deleted_calls, deleted_error_logs FROM callscope_audit";
    let expected = vec![json!("stopped"), json!(200_000 - left), json!(0)];
    assert_eq!(database.query(entry).await, [expected]);
    let lease = "SELECT value FROM callscope_settings WHERE name = 'retention_lease'";
    assert!(
        database.value(lease).await.as_str().unwrap().ends_with(" nobody"),
        "the lease is released"
    );
}

async fn freed_space_is_returned(database: TestDatabase) {
    let row = ErrorRow::at("2026-01-01T00:00:00Z").log("x".repeat(4000));
    database.insert(&vec![row; 500]).await;
    database.insert(&[CallRow::at(NOW)]).await;
    let pages = "SELECT page_count FROM pragma_page_count";
    let before = database.value(pages).await.as_i64().unwrap();
    let app = TestApp::start_with(&database, |config| config.keep = keep(&["--keep-errors", "1d"]));
    let app = app.await;
    wait_for(true, async || database.value(pages).await.as_i64().unwrap() < before - 400).await;
    let free = "SELECT freelist_count FROM pragma_freelist_count";
    wait_for(true, async || database.value(free).await == 0).await;
    app.shutdown().await;
}
