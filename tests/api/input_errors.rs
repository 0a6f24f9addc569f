//! Invalid input: each error has its code, names the argument, and reveals nothing else.

use serde_json::{Value, json};

use crate::support::{CallRow, ErrorRow, Kind, TestApp, TestDatabase};
use crate::tests;

tests! {
    bad_values_are_named_by_their_argument,
    bad_variables_are_named_by_their_argument,
    unknown_names_are_invalid,
    invalid_graphql_does_not_parse,
    search_texts_are_limited,
    an_unknown_key_id_is_not_found,
    a_missing_table_is_an_error_rather_than_zero,
    an_internal_error_shows_only_a_request_id,
    a_slow_request_times_out.only(&[Kind::Postgres, Kind::MariaDb]),
}

fn extensions(response: &Value) -> &Value {
    &response["errors"][0]["extensions"]
}

fn argument_error(argument: &str) -> Value {
    json!({ "code": "BAD_USER_INPUT", "argument": argument })
}

const BAD_TIMES: [&str; 9] = [
    "\"\"",
    "\"yesterday\"",
    "\"2026-03-01\"",
    "\"2026-03-01T12:00:00\"",
    "\"2026-02-30T12:00:00Z\"",
    "\"0000-12-31T23:59:59Z\"",
    "\"+10000-01-01T00:00:00Z\"",
    "1767225600",
    "true",
];
const BAD_DURATIONS: [&str; 7] = ["\"\"", "\"1H\"", "\"PT0S\"", "\"P1M\"", "\"-PT1H\"", "60", "[]"];
const BAD_ZONES: [&str; 4] = ["\"\"", "\"Mars/Olympus\"", "\"UTC+8\"", "8"];

/// Each bad value with a query where `$` is its place, the type of a variable in that place, and
/// the argument that the error names.
fn bad_values() -> Vec<(String, &'static str, &'static str, &'static str)> {
    let mut all = vec![];
    let mut add =
        |query: &'static str, kind: &'static str, argument: &'static str, values: &[&str]| {
            all.extend(values.iter().map(|value| ((*value).to_owned(), query, kind, argument)));
        };
    add("usageStats(asOf: $) { asOf }", "DateTime", "asOf", &BAD_TIMES);
    add("errorLookup(key: \"key\", timestamp: $) { id }", "DateTime!", "timestamp", &BAD_TIMES);
    add("usageStats { last(duration: $) { total } }", "Duration!", "duration", &BAD_DURATIONS);
    add(
        "callSeries(period: LAST_HOUR, interval: $) { start }",
        "Duration",
        "interval",
        &BAD_DURATIONS,
    );
    add("usageStats(timeZone: $) { asOf }", "TimeZone", "timeZone", &BAD_ZONES);
    add(
        "errorLogs(first: $) { totalCount }",
        "Int",
        "first",
        &["\"5\"", "2147483648", "1.5", "true"],
    );
    add("errorLogs(after: $) { totalCount }", "String", "after", &["5", "[\"a\"]"]);
    add("callDetails(period: $) { totalCount }", "Period", "period", &["5", "true"]);
    all
}

async fn bad_values_are_named_by_their_argument(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for (value, query, _, argument) in bad_values() {
        let response = app.graphql(&format!("{{ {} }}", query.replace('$', &value))).await;
        assert_eq!(
            *extensions(&response),
            argument_error(argument),
            "{query} {value} {response:#}"
        );
        assert!(response.get("data").is_none_or(Value::is_null), "{response:#}");
    }
    // Nested values, and names that are not values.
    database.insert(&[ErrorRow::at("2026-03-01T11:00:00Z")]).await;
    for (query, argument) in [
        (
            "callDetails(between: { since: \"soon\", until: \"2026-03-01T12:00:00Z\" }) { totalCount }",
            "between",
        ),
        ("callDetails(between: { since: \"2026-03-01T12:00:00Z\" }) { totalCount }", "between"),
        (
            "callDetails(between: { since: \"2026-03-01T12:00:00Z\", until: \"2026-03-01T12:00:00Z\" }) { totalCount }",
            "between",
        ),
        ("errorLogs(filter: { since: \"soon\" }) { totalCount }", "filter"),
        ("errorLogs(filter: { errorCodes: [\"429\"] }) { totalCount }", "filter"),
        ("errorLogs(filter: { sender: 1 }) { totalCount }", "filter"),
        ("callDetails(period: LAST_YEAR) { totalCount }", "period"),
        ("errorLogs(orderBy: SIDEWAYS) { totalCount }", "orderBy"),
        (
            "a: errorLogs { nodes { apiKey { counts(period: LAST_HOUR, asOf: \"soon\") { total } } } }",
            "asOf",
        ),
    ] {
        let response = app.graphql(&format!("{{ {query} }}")).await;
        assert_eq!(*extensions(&response), argument_error(argument), "{query} {response:#}");
    }
}

async fn bad_variables_are_named_by_their_argument(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for (value, query, kind, argument) in bad_values() {
        let query = format!("query($v: {kind}) {{ {} }}", query.replace('$', "$v"));
        let value: Value = serde_json::from_str(&value).unwrap();
        let response = app.graphql_with(&query, json!({ "v": value })).await;
        assert_eq!(
            *extensions(&response),
            argument_error(argument),
            "{query} {value} {response:#}"
        );
        assert!(response.get("data").is_none_or(Value::is_null), "{response:#}");
    }
    let query = "query($f: ErrorLogFilter) { errorLogs(filter: $f) { totalCount } }";
    for filter in [json!({ "since": "soon" }), json!({ "errorCodes": ["429"] }), json!("all")] {
        let response = app.graphql_with(query, json!({ "f": filter })).await;
        assert_eq!(*extensions(&response), argument_error("filter"), "{filter} {response:#}");
    }
}

async fn unknown_names_are_invalid(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for query in [
        "{ nothing }",
        "{ usageStats { nothing } }",
        "{ usageStats(nothing: 1) { asOf } }",
        "{ usageStats }",
        "{ errorLookup(key: \"key\") { id } }",
        "{ errorLogs { ...Nothing } }",
        "query($a: Nothing) { usageStats { asOf } }",
        "query($a: Int) { usageStats { asOf } }",
        "{ usageStats(asOf: $a) { asOf } }",
        "mutation { nothing }",
    ] {
        let response = app.graphql(query).await;
        let code = &extensions(&response)["code"];
        assert_eq!(*code, "GRAPHQL_VALIDATION_FAILED", "{query} {response:#}");
        assert!(response.get("data").is_none(), "{response:#}");
    }
}

async fn invalid_graphql_does_not_parse(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for query in ["{", "{ usageStats { } }", "{ usageStats(asOf: ) { asOf } }", "hello", "{ a } }"]
    {
        let response = app.graphql(query).await;
        assert_eq!(extensions(&response)["code"], "GRAPHQL_PARSE_FAILED", "{query} {response:#}");
        assert!(response.get("data").is_none(), "{response:#}");
    }
}

async fn search_texts_are_limited(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T11:00:00Z")]).await;
    let app = TestApp::start(&database).await;
    let long = "é".repeat(501);
    for (query, argument) in [
        ("query($t: String!) { usageStats(key: $t) { asOf } }", "key"),
        ("query($t: String!) { callDetails(period: LAST_HOUR, key: $t) { totalCount } }", "key"),
        (
            "query($t: String!) { callDetails(period: LAST_HOUR, filter: { models: [$t] }) { totalCount } }",
            "filter",
        ),
        (
            "query($t: String!) { callDetails(period: LAST_HOUR, filter: { keys: [$t] }) { totalCount } }",
            "filter",
        ),
        (
            "query($t: String!) { errorLookup(key: $t, timestamp: \"2026-03-01T11:00:00Z\") { id } }",
            "key",
        ),
        ("query($t: String!) { errorLogs(filter: { contains: $t }) { totalCount } }", "filter"),
        ("query($t: String!) { errorLogs(filter: { keyContains: $t }) { totalCount } }", "filter"),
        ("query($t: String!) { errorLogs(filter: { keys: [$t] }) { totalCount } }", "filter"),
        ("query($t: String!) { errorLogs(filter: { models: [$t] }) { totalCount } }", "filter"),
        ("query($t: String!) { errorLogs(filter: { errorTypes: [$t] }) { totalCount } }", "filter"),
        ("query($t: String!) { apiKeys(search: $t) { totalCount } }", "search"),
        ("query($t: String!) { apiKey(key: $t) { id } }", "key"),
    ] {
        for text in [long.as_str(), "a\0b"] {
            let response = app.graphql_with(query, json!({ "t": text })).await;
            assert_eq!(*extensions(&response), argument_error(argument), "{query} {response:#}");
        }
        let taken = app.graphql_with(query, json!({ "t": &long[..1000] })).await;
        assert!(taken.get("errors").is_none(), "{query} {taken:#}");
    }
}

async fn an_unknown_key_id_is_not_found(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T11:00:00Z")]).await;
    let app = TestApp::start(&database).await;
    let key = "key_AAAAAAAAAAAAAAAAAAAAAA";
    for query in [
        format!("{{ usageStats(key: \"{key}\") {{ asOf }} }}"),
        format!("{{ errorLogs(filter: {{ keys: [\"{key}\"] }}) {{ totalCount }} }}"),
    ] {
        let response = app.graphql(&query).await;
        assert_eq!(extensions(&response)["code"], "NOT_FOUND", "{response:#}");
    }
    assert_eq!(
        app.data(&format!("{{ apiKey(key: \"{key}\") {{ id }} }}")).await,
        json!({ "apiKey": null })
    );
}

/// Every root field that reads the database.
const READING: [&str; 10] = [
    "usageStats { lastHour { total } }",
    "callDetails(period: LAST_HOUR) { totalCount }",
    "callDetails(period: LAST_HOUR) { nodes { id } }",
    "callSeries(period: LAST_HOUR) { counts { total } }",
    "callGroups(by: MODEL, period: LAST_HOUR) { counts { total } }",
    "errorLogs { totalCount }",
    "errorGroups(by: MODEL) { count }",
    "apiKeys { totalCount }",
    "node(id: \"call_1\") { id }",
    "errorLookup(key: \"key\", timestamp: \"2026-03-01T11:00:00Z\") { id }",
];

/// Checks that the response contains neither SQL nor driver messages.
fn assert_no_internal_details(response: &Value) {
    let text = response.to_string().to_lowercase();
    for word in
        ["select", "t_request_log", "t_error_logs", "sqlx", "relation", "no such", "elsewhere"]
    {
        assert!(!text.contains(word), "`{word}` in {text}");
    }
}

async fn a_missing_table_is_an_error_rather_than_zero(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T11:00:00Z")]).await;
    let app = TestApp::start(&database).await;
    app.data("{ usageStats { lastHour { total } } }").await;
    database.execute("DROP TABLE t_request_log; DROP TABLE t_error_logs").await;
    for query in READING {
        let response = app.graphql(&format!("{{ it: {query} }}")).await;
        let error = &response["errors"][0];
        assert_eq!(error["extensions"], json!({ "code": "DATABASE_UNAVAILABLE" }), "{query}");
        assert_eq!(error["message"], "the database is unavailable");
        assert_eq!(error["path"][0], "it");
        assert!(response["data"].is_null() || response["data"]["it"].is_null(), "{response:#}");
        assert_no_internal_details(&response);
    }
}

async fn an_internal_error_shows_only_a_request_id(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database.execute("ALTER TABLE t_error_logs RENAME COLUMN error_log TO elsewhere").await;
    let mut seen = vec![];
    for _ in 0..2 {
        let response = app.graphql("{ errorLogs { nodes { id } } }").await;
        let error = &response["errors"][0];
        assert_eq!(error["message"], "internal error");
        let extensions = error["extensions"].as_object().unwrap();
        assert_eq!(extensions["code"], "INTERNAL");
        assert_eq!(extensions.len(), 2);
        seen.push(extensions["requestId"].as_str().unwrap().to_owned());
        assert_no_internal_details(&response);
    }
    assert_ne!(seen[0], seen[1]);
    // Valid fields are still answered.
    let response = app.graphql("{ node(id: \"error_1\") { id } usageStats { asOf } }").await;
    assert_eq!(
        response["data"],
        json!({ "node": null, "usageStats": { "asOf": "2026-03-01T12:00:00Z" } })
    );
    assert_eq!(extensions(&response)["code"], "INTERNAL");
}

/// Locks a table so that every reader waits until `unlock`.
pub async fn lock(database: &TestDatabase, table: &str) {
    database
        .execute(&match database.kind() {
            Kind::Postgres => format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"),
            _ => format!("LOCK TABLES {table} WRITE"),
        })
        .await;
}

pub async fn unlock(database: &TestDatabase) {
    database
        .execute(if database.kind() == Kind::Postgres { "COMMIT" } else { "UNLOCK TABLES" })
        .await;
}

/// Waits until `readers` readers wait for a locked table.
pub async fn until_waiting(database: &TestDatabase, readers: i64) {
    let waiting = match database.kind() {
        Kind::Postgres => {
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        }
        _ => {
            "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND state LIKE '%lock%' AND id <> CONNECTION_ID()"
        }
    };
    while database.value(waiting).await != readers {
        tokio::task::yield_now().await;
    }
}

async fn a_slow_request_times_out(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.graphql.timeout_seconds = 1).await;
    lock(&database, "t_request_log").await;
    let query = json!({ "query": "{ usageStats { lastHour { total } } }" });
    let send = |accept: &str| app.post(&query).header("Accept", accept).send();
    let (plain, strict) =
        futures_util::join!(send("application/json"), send("application/graphql-response+json"));
    let (plain, strict) = (plain.unwrap(), strict.unwrap());
    assert_eq!(
        (plain.status(), strict.status()),
        (200.try_into().unwrap(), 504.try_into().unwrap())
    );
    for response in [plain, strict] {
        let body: Value = response.json().await.unwrap();
        assert_eq!(*extensions(&body), json!({ "code": "TIMEOUT" }));
        assert!(body.get("data").is_none());
    }
    unlock(&database).await;
    // The abandoned connections are usable, or replaced.
    for _ in 0..3 {
        app.data("{ usageStats { lastHour { total } } }").await;
    }
}
