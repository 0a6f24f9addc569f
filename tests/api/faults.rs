//! Statements that nobody waits for any more, and a database that is not as it should be. What
//! takes a server of its own stands in `tests/outages.rs`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Kind, TestApp, TestDatabase};
use crate::tests;

tests! {
    a_request_that_times_out_stops_its_statement,
    a_client_that_goes_away_stops_its_statement,
    a_stopped_statement_is_a_timeout,
    many_abandoned_requests_leave_the_server_well,
}

const SLOW: &str = "{ usageStats { lastHour { total } } }";
const QUICK: &str = "{ errorLogs { totalCount } }";

/// Puts something in the place of the calls that takes hours to count.
async fn make_calls_endless(database: &TestDatabase) {
    let numbers = match database.kind() {
        Kind::Sqlite => {
            "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n)"
        }
        Kind::Postgres => "(SELECT generate_series(1, 100000000000) AS i)",
        Kind::MariaDb => {
            "(SELECT a.seq AS i FROM seq_1_to_1000000000 AS a, seq_1_to_1000000000 AS b)"
        }
    };
    let time = match database.kind() {
        Kind::Postgres => "TIMESTAMP '2026-03-01 11:59:00'",
        _ => "'2026-03-01 11:59:00.000000'",
    };
    let view = format!(
        "DROP TABLE t_request_log; CREATE VIEW t_request_log AS SELECT i AS id, {time} AS request_time, \
         'model' AS model_name, 'key' AS api_key, 200 + i % 2 AS status_code, i % 7 AS latency_ms \
         FROM {numbers} AS endless"
    );
    database.execute(&view).await;
}

/// How many statements the server runs at this moment; SQLite does not tell.
async fn running(database: &TestDatabase) -> Option<u64> {
    let count = match database.kind() {
        Kind::Sqlite => return None,
        Kind::Postgres => {
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND state = 'active' AND pid <> pg_backend_pid()"
        }
        Kind::MariaDb => {
            "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() \
             AND command IN ('Query', 'Execute') AND id <> CONNECTION_ID()"
        }
    };
    database.value(count).await.as_u64()
}

async fn await_running(database: &TestDatabase, count: u64) {
    while running(database).await.is_some_and(|found| found != count) {
        tokio::task::yield_now().await;
    }
}

fn code(response: &Value) -> &str {
    response["errors"][0]["extensions"]["code"].as_str().unwrap_or_default()
}

/// The only connection is of use again, and nothing runs any more: long before the limits of the
/// sessions would have ended it.
async fn assert_stopped(app: &TestApp, database: &TestDatabase, since: Instant) {
    await_running(database, 0).await;
    let stopped = since.elapsed();
    app.data(QUICK).await;
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    println!(
        "{}: stopped after {stopped:?}, usable after {:?}",
        database.kind().name(),
        since.elapsed()
    );
}

async fn a_request_that_times_out_stops_its_statement(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.database.database_connections = 1;
        config.graphql.timeout_seconds = 1;
    })
    .await;
    make_calls_endless(&database).await;
    let response = app.graphql(SLOW).await;
    assert_eq!(code(&response), "TIMEOUT", "{response:#}");
    assert_stopped(&app, &database, Instant::now()).await;
}

async fn a_client_that_goes_away_stops_its_statement(database: TestDatabase) {
    let app =
        TestApp::start_with(&database, |config| config.database.database_connections = 1).await;
    make_calls_endless(&database).await;
    let before = app.sent();
    let request = app.client().post(app.url("/graphql")).json(&json!({ "query": SLOW })).send();
    let request = tokio::spawn(request);
    while app.sent() == before {
        tokio::task::yield_now().await;
    }
    await_running(&database, 1).await;
    request.abort();
    assert_stopped(&app, &database, Instant::now()).await;
}

/// By someone else, or by the limit of its session.
async fn a_stopped_statement_is_a_timeout(database: TestDatabase) {
    if database.kind() == Kind::Sqlite {
        // Nobody else can reach its statements.
        return;
    }
    let app = TestApp::start(&database).await;
    make_calls_endless(&database).await;
    let request = app.client().post(app.url("/graphql")).json(&json!({ "query": SLOW })).send();
    let request = tokio::spawn(request);
    await_running(&database, 1).await;
    let statements = match database.kind() {
        Kind::Postgres => {
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
             AND state = 'active' AND pid <> pg_backend_pid()"
        }
        _ => {
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() \
             AND command IN ('Query', 'Execute') AND id <> CONNECTION_ID()"
        }
    };
    // More than once: what was seen may have been its preparation.
    while !request.is_finished() {
        for found in database.query(statements).await {
            let stop = match database.kind() {
                Kind::Postgres => format!("SELECT pg_cancel_backend({})", found[0]),
                _ => format!("KILL QUERY {}", found[0]),
            };
            database.execute(&stop).await;
        }
        tokio::task::yield_now().await;
    }
    let response: Value = request.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(code(&response), "TIMEOUT", "{response:#}");
    app.data(QUICK).await;
}

/// A stop that came late would hit the statement of another request.
async fn many_abandoned_requests_leave_the_server_well(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for round in 0..20 {
        let requests: Vec<_> = (0..4)
            .map(|_| {
                let body = json!({ "query": "{ usageStats { lastHour { total } } errorLogs { totalCount } }" });
                tokio::spawn(app.client().post(app.url("/graphql")).json(&body).send())
            })
            .collect();
        // Each round gives up a little later.
        for _ in 0..round * 10 {
            tokio::task::yield_now().await;
        }
        requests.iter().for_each(tokio::task::JoinHandle::abort);
        app.data(SLOW).await;
    }
}
