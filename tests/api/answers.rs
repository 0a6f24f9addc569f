//! The size limit of a response, and the memory of all responses together.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http::{STRICT, answer, post};
use super::subscriptions::Events;
use crate::support::{CallRow, ErrorRow, Kind, TestApp, TestDatabase};
use crate::tests;

tests! {
    response_size_is_limited,
    a_batch_shares_the_size_limit_of_one_request.only(&[Kind::Sqlite]),
    event_size_is_limited.only(&[Kind::Sqlite]),
    a_completed_mutation_is_reported_as_completed.only(&[Kind::Sqlite]),
    long_texts_are_read_completely,
    too_many_keys_are_refused.only(&[Kind::Sqlite]),
    unread_responses_do_not_block_other_clients.only(&[Kind::Sqlite]),
}

const TIME: &str = "2026-03-01T11:30:00Z";
const LOGS: usize = 40;
const TEXT: usize = 20_000;

/// 40 failed calls, each with a message and a request of 20 KB.
async fn fill(database: &TestDatabase) {
    let keys = (0..LOGS).map(|number| format!("FakeSyAnswer{number:02}"));
    let calls: Vec<CallRow> =
        keys.clone().map(|key| CallRow::at(TIME).key(key).status(429)).collect();
    database.insert_unwatched(&calls).await;
    let errors: Vec<ErrorRow> = keys
        .map(|key| {
            let request = json!({ "contents": "y".repeat(TEXT) }).to_string();
            ErrorRow::at(TIME).key(key).log("x".repeat(TEXT)).request(request)
        })
        .collect();
    database.insert_unwatched(&errors).await;
}

/// Responses of up to a megabyte: the rows fit once, but not twice.
async fn start_with_small_responses(database: &TestDatabase) -> TestApp {
    TestApp::start_with(database, |config| {
        config.server.memory.max_response_bytes = 1 << 20;
        config.server.http.max_batch = 3;
    })
    .await
}

/// The code of a response with one error and no data.
fn error_code(response: &Value) -> &str {
    let errors = response["errors"].as_array().unwrap_or_else(|| panic!("{response:#}"));
    assert!(errors.len() == 1 && response.get("data").is_none(), "{response:#}");
    errors[0]["extensions"]["code"].as_str().unwrap()
}

async fn response_size_is_limited(database: TestDatabase) {
    fill(&database).await;
    let app = start_with_small_responses(&database).await;
    let ids = app.data("{ errorLogs { nodes { id } } }").await;
    let ids = ids["errorLogs"]["nodes"].as_array().unwrap().clone();
    let ids: Vec<String> = ids.iter().map(|node| node["id"].to_string()).collect();
    let forms = [
        "{ errorLogs { nodes { FIELDS } } }".to_owned(),
        "{ errorLogs { edges { cursor node { FIELDS } } } }".to_owned(),
        // Forms that are not read row by row: merged fields, and edges with extra fields.
        "{ errorLogs { nodes { apiKey { id } apiKey { masked } FIELDS } } }".to_owned(),
        "{ errorLogs { edges { __typename cursor node { FIELDS } } } }".to_owned(),
        "{ callDetails(period: LAST_HOUR) { nodes { id errorLog { FIELDS } } } }".to_owned(),
        "{ errorGroups(by: [API_KEY], first: 50) { latest { FIELDS } } }".to_owned(),
        "{ apiKeys { nodes { errorLogs { nodes { FIELDS } } } } }".to_owned(),
        format!("{{ nodes(ids: [{}]) {{ ... on ErrorLog {{ FIELDS }} }} }}", ids.join(" ")),
    ];
    for form in forms {
        for field in ["message", "request"] {
            let once = app.graphql(&form.replace("FIELDS", field)).await;
            assert!(once.get("errors").is_none(), "{form} {field}");
            assert!(once.to_string().len() > LOGS * TEXT);
            let twice = form.replace("FIELDS", &format!("a: {field} b: {field}"));
            let response = app.graphql(&twice).await;
            assert_eq!(error_code(&response), "RESPONSE_TOO_LARGE", "{twice}");
        }
    }
    let query = json!({ "query": "{ errorLogs { nodes { a: message b: message } } }" });
    let (status, kind, body) = answer(post(&app).header("Accept", STRICT).json(&query)).await;
    assert_eq!((status, kind), (400, format!("{STRICT}; charset=utf-8")));
    let message = body["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("1048576 bytes") && message.contains("smaller page"), "{message}");
}

async fn a_batch_shares_the_size_limit_of_one_request(database: TestDatabase) {
    fill(&database).await;
    let app = start_with_small_responses(&database).await;
    let query = json!({ "query": "{ errorLogs { nodes { message } } }" });
    let cheap = json!({ "query": "{ serverInfo { version } }" });
    let (status, _, body) = answer(post(&app).json(&json!([cheap, query, query]))).await;
    assert_eq!(status, 200);
    assert!(body[0].get("errors").is_none() && body[1].get("errors").is_none());
    assert_eq!(error_code(&body[2]), "RESPONSE_TOO_LARGE");
}

async fn event_size_is_limited(database: TestDatabase) {
    let app = start_with_small_responses(&database).await;
    let aliases: String = (0..20).map(|n| format!("a{n}: message ")).collect();
    let mut all =
        Events::subscribe(&app, &format!("subscription {{ errorRecorded {{ {aliases} }} }}")).await;
    let mut one = Events::subscribe(&app, "subscription { errorRecorded { message } }").await;
    let message = "z".repeat(100_000);
    for text in [&message, "short"] {
        let mutation = "mutation($m: String) { recordErrors(input: { errors: [{ message: $m }] }) { recorded } }";
        let response = app.graphql_with(mutation, json!({ "m": text })).await;
        assert_eq!(response["data"]["recordErrors"]["recorded"], 1, "{response:#}");
    }
    assert_eq!(error_code(&all.next().await), "RESPONSE_TOO_LARGE");
    assert_eq!(all.next().await["data"]["errorRecorded"]["a7"], "short");
    assert_eq!(one.next().await["data"]["errorRecorded"]["message"], message.as_str());
}

async fn a_completed_mutation_is_reported_as_completed(database: TestDatabase) {
    let app = start_with_small_responses(&database).await;
    let aliases: String = (0..20).map(|n| format!("a{n}: message ")).collect();
    let query = format!(
        "mutation($m: String) {{ recordErrors(input: {{ errors: [{{ message: $m }}] }}) \
         {{ recorded errorLogs {{ {aliases} }} }} }}"
    );
    let response = app.graphql_with(&query, json!({ "m": "z".repeat(100_000) })).await;
    // Not SERVER_BUSY, because a client would send the mutation again.
    assert_eq!(response["errors"][0]["extensions"]["code"], "RESPONSE_TOO_LARGE");
    assert_eq!(app.data("{ errorLogs { totalCount } }").await["errorLogs"]["totalCount"], 1);
}

async fn long_texts_are_read_completely(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let lengths = [10, 2046, 2048, 2050, 5000].into_iter().chain(std::iter::repeat_n(30_000, 40));
    let texts: Vec<String> = lengths.map(|bytes| "ü".repeat(bytes / 2)).collect();
    let errors: Vec<ErrorRow> = texts
        .iter()
        .map(|text| ErrorRow::at(TIME).log(text.as_str()).request(json!({ "t": text }).to_string()))
        .collect();
    database.insert_unwatched(&errors).await;
    let query = "{ errorLogs(orderBy: OLDEST_FIRST) { nodes { message request } } }";
    let data = app.data(query).await;
    let nodes = data["errorLogs"]["nodes"].as_array().unwrap();
    let found: Vec<&str> = nodes.iter().map(|node| node["message"].as_str().unwrap()).collect();
    assert!(found == texts, "{:?}", found.iter().map(|text| text.len()).collect::<Vec<_>>());
    assert!(nodes.iter().zip(&texts).all(|(node, text)| node["request"]["t"] == text.as_str()));
    // The page and its requests, and the long texts: one statement per megabyte.
    assert_eq!(app.statements(query).await, 6);
    let short = "{ errorLogs(orderBy: OLDEST_FIRST, first: 3) { nodes { message } } }";
    assert_eq!(app.statements(short).await, 1);
}

async fn too_many_keys_are_refused(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.server.memory.max_memory = 64).await;
    let keys = |from: i32, to: i32| {
        format!(
            "INSERT INTO t_request_log (api_key, model_name, is_success, status_code, latency_ms, request_time) \
             WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to}) \
             SELECT printf('FakeSyMany%.*c', 200, 'k') || i, 'm' || i, 1, 200, 5, '2026-03-01 11:30:00.000000' FROM n"
        )
    };
    database.execute(&keys(1, 1000)).await;
    assert_eq!(app.data("{ apiKeys { totalCount } }").await["apiKeys"]["totalCount"], 1000);
    database.execute(&keys(1001, 120_000)).await;
    assert_eq!(error_code(&app.graphql("{ apiKeys { totalCount } }").await), "RESPONSE_TOO_LARGE");
    // A statement that groups by keys returns at most the requested number.
    let groups = "{ callGroups(by: [API_KEY, MODEL], period: LAST_HOUR, first: 1000) { apiKey { id } model } }";
    assert_eq!(app.data(groups).await["callGroups"].as_array().unwrap().len(), 1000);
}

async fn unread_responses_do_not_block_other_clients(database: TestDatabase) {
    // 14 MB: far more than the system buffers for a connection.
    let app = TestApp::start_with(&database, |config| config.server.memory.max_memory = 128).await;
    let rows = "INSERT INTO t_error_logs (gemini_key, error_log, error_code, request_time) \
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 70) \
                SELECT 'key', printf('%.*c', 200000, 'x'), 429, '2026-03-01 11:30:00.000000' FROM n";
    database.execute(rows).await;
    let query = "{ errorLogs(first: 70) { nodes { message } } }";
    let mut slow = TcpStream::connect(app.url("").trim_start_matches("http://")).await.unwrap();
    let body = json!({ "query": query }).to_string();
    let request = format!(
        "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    slow.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 15];
    slow.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    // Its memory is not available to another large response; a small response needs little.
    let response = post(&app).json(&json!({ "query": query })).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["Retry-After"], "1");
    let response: Value = response.json().await.unwrap();
    assert_eq!(error_code(&response), "SERVER_BUSY");
    app.data("{ errorLogs(first: 1) { nodes { message } } }").await;
    app.data("{ serverInfo { version } }").await;
    drop(slow);
    // The memory is free once the server detects that the client has disconnected.
    let started = std::time::Instant::now();
    loop {
        let response = app.graphql(query).await;
        if response.get("errors").is_none() {
            break;
        }
        assert_eq!(error_code(&response), "SERVER_BUSY");
        assert!(started.elapsed() < std::time::Duration::from_secs(20));
    }
}
