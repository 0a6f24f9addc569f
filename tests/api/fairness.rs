//! Callers share the database and the server: the load of one caller does not block the others.

use callscope::app::Config;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::faults::make_calls_endless;
use crate::support::{TestApp, TestDatabase, error_code, eventually, settings};
use crate::tests;

tests! {
    heavy_queries_leave_a_connection_to_others,
    one_request_holds_half_of_the_connections,
    waiting_for_a_busy_database_is_server_busy,
    one_caller_leaves_request_slots_to_others,
    a_health_check_does_not_wait_for_queries,
}

const GREEDY: &str = "0123456789abcdef-greedy";
const MODEST: &str = "0123456789abcdef-modest";

/// Heavy by its number of fields; over an endless table its statement never ends.
fn heavy_query() -> String {
    let fields: String = (0..30).map(|alias| format!("a{alias}: counts {{ total }} ")).collect();
    format!("{{ callGroups(by: [API_KEY], period: LAST_HOUR, first: 1000) {{ {fields} }} }}")
}

const CHEAP: &str = "{ errorLogs { totalCount } }";

/// A server over an endless table of calls, with a token for each of two callers.
async fn app(database: &TestDatabase, change: impl FnOnce(&mut Config)) -> TestApp {
    let tokens = format!("greedy:READ:{GREEDY} modest:READ:{MODEST}");
    let app = TestApp::start_with(database, |config| {
        config.access = settings(&["--tokens", &tokens]);
        change(config);
    })
    .await;
    make_calls_endless(database).await;
    app
}

/// Sends a query without waiting for the response.
fn send(app: &TestApp, token: &str, query: &str) -> JoinHandle<Value> {
    let request = app.client().post(app.url("/graphql")).bearer_auth(token);
    let request = request.json(&json!({ "query": query }));
    tokio::spawn(async move { request.send().await.unwrap().json().await.unwrap() })
}

/// Connections that run statements.
fn connections_in_use(app: &TestApp) -> u32 {
    let pools = app.db().pools();
    let readers = pools.iter().find(|pool| pool.name == "read").expect("connections that read");
    readers.open - readers.idle
}

async fn status(app: &TestApp, path: &str) -> StatusCode {
    app.get(path).send().await.unwrap().status()
}

async fn heavy_queries_leave_a_connection_to_others(database: TestDatabase) {
    let app = app(&database, |config| config.database.database_connections = 3).await;
    let sent = app.sent();
    let greedy: Vec<_> = (0..6).map(|_| send(&app, GREEDY, &heavy_query())).collect();
    eventually("six statements were sent", async || app.sent() >= sent + 6).await;
    eventually("two of them run", async || connections_in_use(&app) == 2).await;
    for _ in 0..20 {
        let response = app.graphql_as(MODEST, CHEAP).await;
        assert_eq!(response["data"]["errorLogs"]["totalCount"], 0, "{response:#}");
    }
    assert_eq!(status(&app, "/readyz").await, StatusCode::OK);
    assert_eq!(connections_in_use(&app), 2);
    greedy.iter().for_each(JoinHandle::abort);
    eventually("the statements of disconnected clients stop", async || {
        connections_in_use(&app) == 0
    })
    .await;
}

async fn one_request_holds_half_of_the_connections(database: TestDatabase) {
    let app = app(&database, |config| {
        config.database.database_connections = 6;
        config.database.database_wait_seconds = 1;
        config.graphql.timeout_seconds = 3;
    })
    .await;
    let fields: String = (0..8)
        .map(|alias| {
            format!(
                "a{alias}: callGroups(by: [API_KEY], period: LAST_HOUR) {{ counts {{ total }} }} "
            )
        })
        .collect();
    let greedy = send(&app, GREEDY, &format!("{{ {fields} }}"));
    eventually("three statements run", async || connections_in_use(&app) == 3).await;
    let response = app.graphql_as(MODEST, CHEAP).await;
    assert_eq!(response["data"]["errorLogs"]["totalCount"], 0, "{response:#}");
    // A request waits longer for its own statements than for those of others.
    let response = greedy.await.unwrap();
    assert_eq!(error_code(&response), "TIMEOUT", "{response:#}");
}

async fn waiting_for_a_busy_database_is_server_busy(database: TestDatabase) {
    let app = app(&database, |config| {
        config.database.database_connections = 2;
        config.database.database_wait_seconds = 1;
    })
    .await;
    let greedy = send(&app, GREEDY, &heavy_query());
    eventually("a heavy statement runs", async || connections_in_use(&app) == 1).await;
    let response = app.graphql_as(MODEST, &heavy_query()).await;
    assert_eq!(error_code(&response), "SERVER_BUSY", "{response:#}");
    greedy.abort();
}

async fn one_caller_leaves_request_slots_to_others(database: TestDatabase) {
    let app = app(&database, |config| config.server.max_concurrent_requests = 6).await;
    let sent = app.sent();
    let greedy: Vec<_> = (0..4).map(|_| send(&app, GREEDY, &heavy_query())).collect();
    eventually("four requests run", async || app.sent() == sent + 4).await;
    let refused = app.graphql_as(GREEDY, CHEAP).await;
    assert_eq!(error_code(&refused), "SERVER_BUSY", "{refused:#}");
    let answered = app.graphql_as(MODEST, CHEAP).await;
    assert_eq!(answered["data"]["errorLogs"]["totalCount"], 0, "{answered:#}");
    greedy.iter().for_each(JoinHandle::abort);
}

async fn a_health_check_does_not_wait_for_queries(database: TestDatabase) {
    let app = app(&database, |config| config.database.database_connections = 1).await;
    let greedy = send(&app, GREEDY, &heavy_query());
    eventually("the only connection is in use", async || connections_in_use(&app) == 1).await;
    assert_eq!(status(&app, "/readyz").await, StatusCode::OK);
    greedy.abort();
}
