//! GraphQL over HTTP and the other routes.

use reqwest::{Method, RequestBuilder, StatusCode};
use sea_orm::sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::input_errors::{lock, unlock, until_waiting};
use crate::support::{CallRow, Kind, TestApp, TestDatabase, error_code, eventually};
use crate::tests;

tests! {
    queries_are_accepted_by_post_and_get.only(&[Kind::Sqlite]),
    other_routes_respond.only(&[Kind::Sqlite]),
    other_paths_and_methods_are_refused.only(&[Kind::Sqlite]),
    only_queries_are_accepted_by_get.only(&[Kind::Sqlite]),
    variable_defaults_apply_in_directives.only(&[Kind::Sqlite]),
    only_json_is_accepted.only(&[Kind::Sqlite]),
    only_known_media_types_are_returned.only(&[Kind::Sqlite]),
    a_large_body_is_refused.only(&[Kind::Sqlite]),
    a_malformed_request_is_refused.only(&[Kind::Sqlite]),
    the_status_follows_the_media_type,
    the_server_reports_its_version,
    the_server_is_not_ready_without_its_database.only(&[Kind::Postgres]),
    a_shutdown_finishes_a_request_in_flight.only(&[Kind::Postgres, Kind::MariaDb]),
}

pub const QUERY: &str = "{ usageStats { asOf } }";
pub const STRICT: &str = "application/graphql-response+json";

pub fn post(app: &TestApp) -> RequestBuilder {
    app.client().post(app.url("/graphql"))
}

/// A GET with the header that a browser sends only after a preflight.
fn get(app: &TestApp) -> RequestBuilder {
    app.get("/graphql").header("X-Callscope-Client", "test")
}

/// The status, the media type and the body.
pub async fn answer(request: RequestBuilder) -> (u16, String, Value) {
    let response = request.send().await.unwrap();
    let kind = response.headers().get("Content-Type").map(|kind| kind.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (status, kind.unwrap_or_default(), body)
}

pub fn usage() -> Value {
    json!({ "data": { "usageStats": { "asOf": "2026-03-01T12:00:00Z" } } })
}

/// Checks a refusal before the schema: a status, a code, no data.
pub async fn assert_refused(request: RequestBuilder, status: u16, code: &str) {
    let (found, kind, body) = answer(request).await;
    assert_eq!((found, error_code(&body)), (status, code), "{body}");
    assert!(kind.starts_with("application/json"), "{kind}");
    assert!(body["errors"][0]["message"].is_string() && body.get("data").is_none(), "{body}");
}

async fn queries_are_accepted_by_post_and_get(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let json_type = "application/json; charset=utf-8".to_owned();
    let body =
        json!({ "query": QUERY, "variables": null, "operationName": null, "extensions": {} });
    assert_eq!(answer(post(&app).json(&body)).await, (200, json_type.clone(), usage()));
    let get = || get(&app);
    assert_eq!(answer(get().query(&[("query", QUERY)])).await, (200, json_type, usage()));
    let query = "query A($at: DateTime) { usageStats(asOf: $at) { asOf } } query B { serverInfo { version } }";
    let variables = "{\"at\": \"2026-03-01T12:00:00Z\"}";
    let parameters = [("query", query), ("variables", variables), ("operationName", "A")];
    assert_eq!(answer(get().query(&parameters)).await.2, usage());
    let body = json!({ "query": query, "operationName": "A", "variables": { "at": "2026-03-01T14:00:00+02:00" } });
    assert_eq!(answer(post(&app).json(&body)).await.2, usage());
    // A document with several operations needs an operation name.
    for body in [json!({ "query": query }), json!({ "query": query, "operationName": "C" })] {
        let (_, _, body) = answer(post(&app).json(&body)).await;
        assert_eq!(error_code(&body), "GRAPHQL_VALIDATION_FAILED", "{body}");
    }
}

async fn other_routes_respond(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let get = |path: &str| answer(app.get(path));
    let (status, kind, body) = get("/schema.graphql").await;
    assert_eq!((status, body), (200, json!(callscope::graphql::schema::sdl())));
    assert!(kind.starts_with("text/plain"));
    assert_eq!(get("/healthz").await.0, 200);
    assert_eq!(get("/readyz").await.0, 200);
}

async fn other_paths_and_methods_are_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for path in ["/nothing", "/graphql/", "/graphql/x", "/.git/config"] {
        assert_eq!(answer(app.get(path)).await.0, 404, "{path}");
    }
    for (method, path, allowed) in [
        (Method::PUT, "/graphql", ["GET", "POST"].as_slice()),
        (Method::DELETE, "/graphql", &["GET", "POST"]),
        (Method::POST, "/healthz", &["GET"]),
        (Method::POST, "/schema.graphql", &["GET"]),
    ] {
        let response = app.client().request(method, app.url(path)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        let allow = response.headers()["Allow"].to_str().unwrap().to_owned();
        assert!(allowed.iter().all(|method| allow.contains(method)), "{path}: {allow}");
    }
}

async fn only_queries_are_accepted_by_get(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let send = |query: &str, name: Option<&str>| {
        let name = name.map(|name| ("operationName", name));
        let parameters: Vec<(&str, &str)> = [("query", query)].into_iter().chain(name).collect();
        get(&app).query(&parameters)
    };
    for (query, name) in [
        ("mutation { x }", None),
        ("subscription { x }", None),
        ("query A { usageStats { asOf } } mutation B { x }", Some("B")),
    ] {
        let response = send(query, name).send().await.unwrap();
        assert_eq!(response.headers()["Allow"], "POST");
        assert_refused(send(query, name), 405, "METHOD_NOT_ALLOWED").await;
    }
    let both = "mutation B { x } query A { usageStats { asOf } }";
    let (status, _, body) = answer(send(both, Some("A"))).await;
    assert_eq!(status, 200, "{body}");
}

async fn only_json_is_accepted(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let body = json!({ "query": QUERY }).to_string();
    let send = |kind: &str| post(&app).header("Content-Type", kind).body(body.clone());
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin1",
        "multipart/form-data; boundary=x",
        "application/graphql",
    ] {
        assert_refused(send(kind), 415, "UNSUPPORTED_MEDIA_TYPE").await;
    }
    assert_refused(post(&app).body(body.clone()), 415, "UNSUPPORTED_MEDIA_TYPE").await;
    for kind in ["application/json", "Application/JSON; charset=UTF-8"] {
        assert_eq!(answer(send(kind)).await.0, 200);
    }
}

async fn only_known_media_types_are_returned(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let send = |accept: &str| post(&app).header("Accept", accept).json(&json!({ "query": QUERY }));
    for accept in ["text/html", "application/xml", "application/json;q=0"] {
        assert_refused(send(accept), 406, "NOT_ACCEPTABLE").await;
    }
    for (accept, given) in [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        (STRICT, STRICT),
        ("text/html, application/graphql-response+json;q=0.9, application/json;q=0.8", STRICT),
    ] {
        let (status, kind, body) = answer(send(accept)).await;
        assert_eq!((status, kind, body), (200, format!("{given}; charset=utf-8"), usage()));
    }
}

async fn a_large_body_is_refused(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.server.max_body_bytes = 2000).await;
    let body = |bytes: usize| {
        let comment = "#".repeat(bytes - json!({ "query": QUERY }).to_string().len());
        json!({ "query": format!("{QUERY}{comment}") })
    };
    assert_eq!(
        answer(post(&app).json(&body(2000))).await,
        (200, "application/json; charset=utf-8".into(), usage())
    );
    assert_refused(post(&app).json(&body(2001)), 413, "PAYLOAD_TOO_LARGE").await;
    assert_refused(post(&app).json(&body(500_000)), 413, "PAYLOAD_TOO_LARGE").await;
    // The server does not wait for a body with a length above the limit.
    let address = app.url("").trim_start_matches("http://").to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let head = "POST /graphql HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
        Content-Type: application/json\r\nContent-Length: 2001\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut early = [0; 13];
    stream.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"HTTP/1.1 413 ");
    // A body without a length header.
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let head = "POST /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
        Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 1500, " ".repeat(1500));
    let request = format!("{head}{chunk}{chunk}0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("PAYLOAD_TOO_LARGE"),
        "{answer}"
    );
}

async fn a_malformed_request_is_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for body in [
        "",
        "{",
        "null",
        "7",
        "\"{ a }\"",
        "{}",
        "{\"query\": 7}",
        "{\"query\": \"\"}",
        "{\"query\": null}",
        "{\"query\": \"{ a }\", \"variables\": 7}",
        "{\"query\": \"{ a }\", \"variables\": \"{}\"}",
        "{\"query\": \"{ a }\", \"variables\": []}",
        "{\"query\": \"{ a }\", \"operationName\": 7}",
        "{\"query\": \"{ a }\", \"extensions\": []}",
        "{\"query\": \"{ a }\", \"query\": \"{ b }\"}",
        "{\"query\": \"{ a }\"} {}",
        "{\"query\": \"\\ud800\"}",
        "\u{feff}{\"query\": \"{ a }\"}",
    ] {
        let sent = post(&app).header("Content-Type", "application/json").body(body);
        assert_refused(sent, 400, "BAD_REQUEST").await;
    }
    let not_utf_8 = b"{\"query\": \"{ a(b: \xff) }\"}".to_vec();
    let sent = post(&app).header("Content-Type", "application/json").body(not_utf_8);
    assert_refused(sent, 400, "BAD_REQUEST").await;
    let nested = format!("{{\"query\": \"{{ a }}\", \"variables\": {}1", "{\"a\":".repeat(90_000));
    let sent = post(&app).header("Content-Type", "application/json").body(nested);
    assert_refused(sent, 400, "BAD_REQUEST").await;
    // Each of these values would take thirty times its bytes in memory.
    let many = "{},".repeat(60_000);
    let many = format!("{{\"query\": \"{{ a }}\", \"variables\": {{\"a\": [{many}0]}}}}");
    let sent = post(&app).header("Content-Type", "application/json").body(many);
    assert_refused(sent, 413, "PAYLOAD_TOO_LARGE").await;
    for parameters in [
        vec![],
        vec![("query", "")],
        vec![("query", QUERY), ("query", QUERY)],
        vec![("query", QUERY), ("variables", "{")],
        vec![("query", QUERY), ("variables", "[]")],
        vec![("query", QUERY), ("extensions", "7")],
        vec![("query", QUERY), ("operationName", "A"), ("operationName", "A")],
    ] {
        assert_refused(get(&app).query(&parameters), 400, "BAD_REQUEST").await;
    }
    let url = app.url("/graphql?query=%7B%20a(b:%20%22%FF%22)%20%7D");
    let sent = app.client().get(url).header("X-Callscope-Client", "test");
    assert_refused(sent, 400, "BAD_REQUEST").await;
}

async fn the_status_follows_the_media_type(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database.execute("DROP TABLE t_request_log").await;
    for (query, strict_status, data) in [
        ("{", 400, None),
        ("{ nothing }", 400, None),
        ("{ usageStats(nothing: 1) { asOf } }", 400, None),
        // A field error is part of a response.
        ("{ node(id: \"call_1\") { id } serverInfo { database } }", 200, Some(())),
        ("{ usageStats { lastHour { total } } }", 200, Some(())),
    ] {
        let body = json!({ "query": query });
        let (status, kind, plain) = answer(post(&app).json(&body)).await;
        assert!(status == 200 && kind.starts_with("application/json"), "{query} {status}");
        let (status, kind, strict) = answer(post(&app).header("Accept", STRICT).json(&body)).await;
        assert_eq!(
            (status, kind.as_str()),
            (strict_status, "application/graphql-response+json; charset=utf-8"),
            "{query}"
        );
        assert_eq!(plain["errors"][0]["message"], strict["errors"][0]["message"]);
        assert_eq!(strict.get("data").map(|_| ()), data, "{strict}");
    }
}

async fn the_server_reports_its_version(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let query = "{ serverInfo { version database now timeZone limits { maxPageSize defaultPageSize
        maxDepth maxComplexity maxAliases timeout maxRecordBatch } } }";
    let kind = match database.kind() {
        Kind::MariaDb => "MySQL",
        other => other.label(),
    };
    let limits = json!({
        "maxPageSize": 1000, "defaultPageSize": 50, "maxDepth": 16, "maxComplexity": 20_000_000,
        "maxAliases": 50, "timeout": "PT30S", "maxRecordBatch": 1000,
    });
    let mut info = json!({
        "version": env!("CARGO_PKG_VERSION"), "database": kind, "now": "2026-03-01T12:00:00Z",
        "timeZone": "UTC", "limits": limits,
    });
    assert_eq!(app.data(query).await["serverInfo"], info);
    assert_eq!(app.statements(query).await, 0);
    app.clock.advance(chrono::TimeDelta::milliseconds(1500));
    info["now"] = json!("2026-03-01T12:00:01.5Z");
    assert_eq!(app.data(query).await["serverInfo"], info);
}

/// The query of GraphiQL and of client generators.
pub const INTROSPECTION: &str = "
query IntrospectionQuery {
  __schema {
    description queryType { name kind } mutationType { name kind } subscriptionType { name kind }
    types { ...FullType }
    directives { name description isRepeatable locations args(includeDeprecated: true) { ...InputValue } }
  }
}
fragment FullType on __Type {
  kind name description specifiedByURL isOneOf
  fields(includeDeprecated: true) {
    name description args(includeDeprecated: true) { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason
  }
  inputFields(includeDeprecated: true) { ...InputValue }
  interfaces { ...TypeRef }
  enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
  possibleTypes { ...TypeRef }
}
fragment InputValue on __InputValue {
  name description type { ...TypeRef } defaultValue isDeprecated deprecationReason
}
fragment TypeRef on __Type {
  kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType {
    kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } }
}";

async fn the_server_is_not_ready_without_its_database(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let get = |path: &str| answer(app.get(path));
    // Closed from outside, since no database can close itself.
    let url = std::env::var("CALLSCOPE_TEST_POSTGRES_URL").unwrap();
    let mut admin = PgConnection::connect(&url).await.unwrap();
    let name = database.url().rsplit('/').next().unwrap();
    let connections = |allowed| format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {allowed}");
    raw_sql(AssertSqlSafe(connections(false))).execute(&mut admin).await.unwrap();
    let kill =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    raw_sql(AssertSqlSafe(kill)).execute(&mut admin).await.unwrap();
    let (status, _, body) = get("/readyz").await;
    assert_eq!((status, body), (503, json!("database unavailable\n")));
    assert_eq!(get("/healthz").await.0, 200);
    let response = app.graphql("{ usageStats { lastHour { total } } }").await;
    assert_eq!(response["errors"][0]["extensions"], json!({ "code": "DATABASE_UNAVAILABLE" }));
    raw_sql(AssertSqlSafe(connections(true))).execute(&mut admin).await.unwrap();
    assert_eq!(get("/readyz").await.0, 200);
    // A connection idle for less than a second is not checked before its next statement.
    eventually("a query is answered", async || {
        app.graphql("{ usageStats { lastHour { total } } }").await.get("errors").is_none()
    })
    .await;
}

async fn a_shutdown_finishes_a_request_in_flight(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z")]).await;
    let app = TestApp::start(&database).await;
    let address = app.url("").trim_start_matches("http://").to_owned();
    lock(&database, "t_request_log").await;
    let query = json!({ "query": "{ usageStats { lastHour { total } } }" });
    let request = tokio::spawn(post(&app).json(&query).send());
    until_waiting(&database, 1).await;
    let stopping = tokio::spawn(app.shutdown());
    // New connections are refused once the shutdown starts.
    while tokio::net::TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!request.is_finished() && !stopping.is_finished());
    unlock(&database).await;
    let answer: Value = request.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["usageStats"]["lastHour"]["total"], 1);
    stopping.await.unwrap();
}

async fn variable_defaults_apply_in_directives(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let query = "query A($a: Boolean = true, $b: Boolean = true) {
        usageStats { asOf @include(if: $a) ... on UsageStats @skip(if: $b) { lastHour { total } } } }";
    let last_hour = json!({ "lastHour": { "total": 0 } });
    let mut both = usage()["data"]["usageStats"].clone();
    both["lastHour"] = last_hour["lastHour"].clone();
    for (variables, expected) in [
        (json!({}), usage()["data"]["usageStats"].clone()),
        (json!({ "a": true, "b": false }), both),
        (json!({ "a": false, "b": false }), last_hour),
    ] {
        let body = json!({ "query": query, "variables": variables });
        let (_, _, found) = answer(post(&app).json(&body)).await;
        assert_eq!(found["data"]["usageStats"], expected, "{found}");
        let text = variables.to_string();
        let parameters = [("query", query), ("variables", text.as_str())];
        let (_, _, found) = answer(get(&app).query(&parameters)).await;
        assert_eq!(found["data"]["usageStats"], expected, "{found}");
    }
    // An explicit null does not select the default: `if` requires a value.
    let body = json!({ "query": query, "variables": { "a": null } });
    let (_, _, found) = answer(post(&app).json(&body)).await;
    assert_ne!(found["data"]["usageStats"]["asOf"], "2026-03-01T12:00:00Z", "{found}");
    // Only the defaults of the selected operation count.
    let query = "query A($a: Boolean = false) { usageStats { asOf @include(if: $a) } }
        query B($a: Boolean = true) { usageStats { asOf @include(if: $a) } }";
    let body = json!({ "query": query, "operationName": "B" });
    assert_eq!(answer(post(&app).json(&body)).await.2, usage());
    let query = "subscription($a: Boolean = true) { usageStats { asOf @include(if: $a) } }";
    let mut events = super::subscriptions::Events::subscribe(&app, query).await;
    assert_eq!(events.next().await, usage());
}
