//! Request limits: a request exactly at a limit is answered, one beyond it is refused with the
//! code of the limit, the numbers, and no data.

use std::time::{Duration, Instant};

use callscope::app::Config;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::http::INTROSPECTION;
use super::input_errors::{lock, unlock, until_waiting};
use crate::support::{CallRow, Kind, TestApp, TestDatabase, error_code, settings};
use crate::tests;

tests! {
    document_length_is_limited.only(&[Kind::Sqlite]),
    document_tokens_are_limited.only(&[Kind::Sqlite]),
    name_length_is_limited.only(&[Kind::Sqlite]),
    bracket_depth_is_limited.only(&[Kind::Sqlite]),
    fragment_depth_is_limited.only(&[Kind::Sqlite]),
    fragment_expansion_is_limited.only(&[Kind::Sqlite]),
    a_recursive_fragment_is_refused.only(&[Kind::Sqlite]),
    directives_are_limited.only(&[Kind::Sqlite]),
    root_fields_are_limited.only(&[Kind::Sqlite]),
    aliases_are_limited.only(&[Kind::Sqlite]),
    field_depth_is_limited.only(&[Kind::Sqlite]),
    the_cost_of_an_operation_is_limited.only(&[Kind::Sqlite]),
    the_cost_of_a_list_follows_first.only(&[Kind::Sqlite]),
    the_cost_is_reported_on_request.only(&[Kind::Sqlite]),
    only_the_selected_operation_counts.only(&[Kind::Sqlite]),
    useful_queries_pass_the_defaults.only(&[Kind::Sqlite]),
    expensive_documents_are_refused_early.only(&[Kind::Sqlite]),
    reported_errors_are_limited.only(&[Kind::Sqlite]),
    introspection_can_be_disabled.only(&[Kind::Sqlite]),
    concurrent_requests_are_limited.only(&[Kind::Postgres, Kind::MariaDb]),
    requests_of_an_address_are_limited.only(&[Kind::Sqlite]),
    invalid_credentials_are_limited,
    wrong_tokens_count_against_the_request_rate.only(&[Kind::Sqlite]),
    every_limit_is_reported.only(&[Kind::Sqlite]),
}

/// The cost of the statement of a page of a few rows.
const PAGE: u64 = 500;
const LOOKUP: u64 = 200;

/// The header that a GET requires.
const SIGN: &str = "X-Callscope-Client";

const CHEAP: &str = "serverInfo { version }";

async fn app(database: &TestDatabase, change: impl FnOnce(&mut Config)) -> TestApp {
    TestApp::start_with(database, change).await
}

/// The extensions of the only error of a refused request.
async fn refusal(app: &TestApp, query: &str) -> Value {
    let response = app.graphql(query).await;
    let errors = response["errors"].as_array();
    let shown: String = query.chars().take(200).collect();
    let errors = errors.unwrap_or_else(|| panic!("no error of {shown}: {response:#}"));
    assert!(errors.len() == 1 && response.get("data").is_none(), "{shown}: {response:#}");
    errors[0]["extensions"].clone()
}

/// Checks that `taken` is answered, and that `refused` exceeds `limit` by one.
async fn assert_limit(app: &TestApp, code: &str, limit: u64, taken: &str, refused: &str) {
    app.data(taken).await;
    let expected = json!({ "code": code, "limit": limit, "actual": limit + 1 });
    assert_eq!(refusal(app, refused).await, expected, "{}", &refused[..refused.len().min(300)]);
    // GraphQL over HTTP requires status 400.
    let strict = "application/graphql-response+json";
    let request = app.client().post(app.url("/graphql")).header("Accept", strict);
    let response = request.json(&json!({ "query": refused })).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

async fn document_length_is_limited(database: TestDatabase) {
    let app = app(&database, |config| config.graphql.max_document_bytes = 300).await;
    let document = |bytes: usize| format!("{{ {CHEAP} }}{:bytes$}", "", bytes = bytes - 26);
    assert_limit(&app, "DOCUMENT_TOO_LARGE", 300, &document(300), &document(301)).await;
}

async fn document_tokens_are_limited(database: TestDatabase) {
    let app = app(&database, |config| config.graphql.max_tokens = 10).await;
    let taken = "{,,a: serverInfo { version, now,,, database } } # not, these";
    let refused = "{ a: serverInfo { version now database timeZone } }";
    assert_limit(&app, "TOO_MANY_TOKENS", 10, taken, refused).await;
}

async fn name_length_is_limited(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let query = |length: usize| format!("{{ {}: {CHEAP} }}", "a".repeat(length));
    assert_limit(&app, "NAME_TOO_LONG", 200, &query(200), &query(201)).await;
}

async fn bracket_depth_is_limited(database: TestDatabase) {
    let app = app(&database, |config| config.graphql.max_nesting = 20).await;
    let inline =
        |times: usize| format!("{{ {} {CHEAP} {} }}", "... {".repeat(times), "}".repeat(times));
    assert_limit(&app, "NESTING_TOO_DEEP", 20, &inline(18), &inline(19)).await;
    // Nested deep enough to overflow the parser's stack.
    for literal in ["[", "{x:", "[{x:"] {
        let literal = literal.repeat(10_000);
        let refused = format!("{{ errorLogs(filter: {literal}) {{ totalCount }} }}");
        assert_eq!(refusal(&app, &refused).await["code"], "NESTING_TOO_DEEP");
    }
    // The highest limit that can be configured.
    let app = TestApp::start_with(&database, |config| config.graphql.max_nesting = 64).await;
    app.data(&inline(62)).await;
    let literal = format!("{}1{}", "[{x:".repeat(31), "}]".repeat(31));
    let invalid = format!("{{ errorLogs(filter: {literal}) {{ totalCount }} }}");
    let response = app.graphql(&invalid).await;
    assert_eq!(error_code(&response), "BAD_USER_INPUT", "{response:#}");
}

/// A chain of fragments: each spreads the next, and the last selects a field.
fn chain(length: usize) -> String {
    let link = |number| {
        let next =
            if number + 1 == length { CHEAP.to_owned() } else { format!("...f{}", number + 1) };
        format!("fragment f{number} on Query {{ {next} }}")
    };
    (0..length).map(link).collect()
}

async fn fragment_depth_is_limited(database: TestDatabase) {
    let app = app(&database, |config| config.graphql.max_nesting = 20).await;
    let spread = |length| format!("{{ ...f0 }} {}", chain(length));
    assert_limit(&app, "NESTING_TOO_DEEP", 20, &spread(18), &spread(19)).await;
    // Unused fragments count too, and chains of any length.
    let unused = format!("{{ {CHEAP} }} {}", chain(100));
    assert_eq!(refusal(&app, &unused).await["code"], "NESTING_TOO_DEEP");
    let app = TestApp::start_with(&database, |config| {
        config.graphql.max_document_bytes = 1_000_000;
        config.graphql.max_tokens = 100_000;
        config.graphql.max_expanded_selections = 100_000;
        config.graphql.max_nesting = 64;
    })
    .await;
    assert_eq!(refusal(&app, &spread(10_000)).await["code"], "NESTING_TOO_DEEP");
    app.data(&spread(62)).await;
}

async fn fragment_expansion_is_limited(database: TestDatabase) {
    let app = app(&database, |config| config.graphql.max_expanded_selections = 16).await;
    // Each fragment has two spreads and one field.
    let fragment = "fragment f on ServerInfo { version now }";
    let taken =
        format!("{{ serverInfo {{ ...f ...f ...f version version version version }} }} {fragment}");
    let refused = taken.replacen("version", "__typename version", 1);
    assert_limit(&app, "FRAGMENTS_TOO_LARGE", 16, &taken, &refused).await;
    // 740 bytes that would take seconds.
    let app = TestApp::start(&database).await;
    let link = |n| format!("fragment f{n} on Query {{ ...f{0} ...f{0} }}", n + 1);
    let doubling: String = (0..30).map(link).collect();
    let doubling = format!("{{ ...f0 }} {doubling} fragment f30 on Query {{ __typename }}");
    let start = Instant::now();
    let error = refusal(&app, &doubling).await;
    assert_eq!(error["code"], "FRAGMENTS_TOO_LARGE");
    assert!(
        error["actual"].as_u64().unwrap() > 1 << 30 && start.elapsed() < Duration::from_secs(20)
    );
    // A variable used by many operations is checked for each of them.
    let uses = "$v,".repeat(200);
    let fragment = format!("fragment f on Query {{ nodes(ids: [{uses}]) {{ id }} }}");
    let operations: String = (0..30).map(|n| format!("query q{n} {{ ...f }} ")).collect();
    let error = refusal(&app, &format!("{operations}{fragment}")).await;
    assert_eq!(error["code"], "FRAGMENTS_TOO_LARGE");
}

async fn a_recursive_fragment_is_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for query in [
        "{ ...a } fragment a on Query { ...a }",
        "{ ...a } fragment a on Query { ...b } fragment b on Query { serverInfo { version } ...a }",
        "{ serverInfo { version } } fragment a on Query { ...b } fragment b on Query { ...a }",
        "{ callDetails(period: LAST_HOUR) { nodes { ...c } } }
         fragment c on Call { apiKey { calls(period: LAST_HOUR) { nodes { ...c } } } }",
    ] {
        assert_eq!(refusal(&app, query).await, json!({ "code": "GRAPHQL_VALIDATION_FAILED" }));
    }
}

async fn directives_are_limited(database: TestDatabase) {
    let app = app(&database, |config| config.graphql.max_directives = 3).await;
    let skip = "@skip(if: false)";
    let taken = format!(
        "{{ serverInfo {skip} {{ ...f {skip} }} }} fragment f on ServerInfo {{ now {skip} }}"
    );
    let refused = taken.replace("...f", "... @include(if: true) { version } ...f");
    assert_limit(&app, "TOO_MANY_DIRECTIVES", 3, &taken, &refused).await;
    let app = TestApp::start(&database).await;
    for many in
        ["@a".repeat(1000), format!("@skip(if: {})", "true) @skip(if: ".repeat(99) + "true")]
    {
        let error = refusal(&app, &format!("{{ __typename {many} }}")).await;
        assert_eq!(error["code"], "TOO_MANY_DIRECTIVES");
        let error = refusal(&app, &format!("query {many} {{ __typename }}")).await;
        assert_eq!(error["code"], "TOO_MANY_DIRECTIVES");
        let error = refusal(&app, &format!("query($v: Int {many}) {{ __typename }}")).await;
        assert_eq!(error["code"], "TOO_MANY_DIRECTIVES");
    }
}

async fn root_fields_are_limited(database: TestDatabase) {
    let app = app(&database, |config| config.graphql.max_root_fields = 4).await;
    let taken = format!(
        "{{ __typename ... {{ {CHEAP} }} ...f }} fragment f on Query {{ a: __typename {CHEAP} }}"
    );
    let refused = taken.replacen("__typename", "__typename __typename", 1);
    assert_limit(&app, "TOO_MANY_ROOT_FIELDS", 4, &taken, &refused).await;
}

async fn aliases_are_limited(database: TestDatabase) {
    let app = app(&database, |config| config.graphql.max_aliases = 3).await;
    let taken =
        "{ a: serverInfo { ...f } b: serverInfo { version } } fragment f on ServerInfo { c: now }";
    let refused = taken.replace("{ version }", "{ ...f }");
    assert_limit(&app, "TOO_MANY_ALIASES", 3, taken, &refused).await;
    let app = app_with_defaults(&database).await;
    let aliases =
        |many: usize| -> String { (0..many).map(|n| format!("a{n}: {CHEAP} ")).collect() };
    let query = |many| format!("{{ {} }}", aliases(many));
    assert_limit(&app, "TOO_MANY_ROOT_FIELDS", 50, &query(50), &query(51)).await;
}

async fn app_with_defaults(database: &TestDatabase) -> TestApp {
    TestApp::start(database).await
}

async fn field_depth_is_limited(database: TestDatabase) {
    let app = app(&database, |config| config.graphql.max_depth = 4).await;
    let taken = "{ errorLogs { nodes { ...f } } } fragment f on ErrorLog { apiKey { id } }";
    let refused = taken.replace("{ id }", "{ counts(period: LAST_HOUR) { total } }");
    assert_limit(&app, "DEPTH_EXCEEDED", 4, taken, &refused).await;
    // A path that leads back to its start.
    let app = app_with_defaults(&database).await;
    let around = "apiKey { errorLogs(first: 1) { nodes { ".repeat(6);
    let query = format!("{{ errorLogs {{ nodes {{ {around} id {} }} }} }}", "} } }".repeat(6));
    assert_eq!(refusal(&app, &query).await["code"], "DEPTH_EXCEEDED");
}

/// The cost of a query, as the server reports it.
async fn cost(app: &TestApp, query: &str, variables: Value) -> u64 {
    let body = json!({ "query": query, "variables": variables, "extensions": { "cost": true } });
    let response = app.post(&body).send().await.unwrap();
    let response: Value = response.json().await.unwrap();
    response["extensions"]["cost"]["requested"].as_u64().unwrap_or_else(|| panic!("{response:#}"))
}

async fn the_cost_of_an_operation_is_limited(database: TestDatabase) {
    let query = "{ errorLogs(first: 10) { nodes { id model } } }";
    let app = app_with_defaults(&database).await;
    // The statement, `errorLogs`, `nodes`, and ten rows of two fields.
    assert_eq!(cost(&app, query, json!({})).await, PAGE + 2 + 10 * 3);
    let app = TestApp::start_with(&database, |config| config.graphql.max_complexity = 532).await;
    let refused = query.replace("nodes", "__typename nodes");
    assert_limit(&app, "COST_EXCEEDED", 532, query, &refused).await;
    assert_eq!(app.statements(query).await, 1);
    let refused = query.replace("10", "1000");
    assert_eq!(refusal(&app, &refused).await["actual"], PAGE + 2 + 1000 * 3);
}

async fn the_cost_of_a_list_follows_first(database: TestDatabase) {
    let app = app_with_defaults(&database).await;
    let page = async |query: &str, variables: Value| {
        (cost(&app, query, variables).await - PAGE - 2).checked_div(2).unwrap()
    };
    let list = |arguments: &str| format!("{{ errorLogs({arguments}) {{ nodes {{ id }} }} }}");
    assert_eq!(page(&list("orderBy: NEWEST_FIRST"), json!({})).await, 50);
    assert_eq!(page(&list("first: 7"), json!({})).await, 7);
    assert_eq!(page(&list("last: 8"), json!({})).await, 8);
    let variable = |kind: &str| format!("query($n: {kind}) {}", list("first: $n"));
    assert_eq!(page(&variable("Int"), json!({ "n": 9 })).await, 9);
    assert_eq!(page(&variable("Int = 11"), json!({})).await, 11);
    assert_eq!(page(&variable("Int"), json!({})).await, 50);
    // A page above the maximum size is refused while the document is read.
    assert_eq!(page(&list("first: 2000000"), json!({})).await, 1000);
    assert_eq!(page(&list("first: -5"), json!({})).await, 0);
    // The rows of a list multiply the cost of all fragments in it.
    let plain =
        "{ callDetails(period: LAST_HOUR, first: 20) { totalCount nodes { id apiKey { id } } } }";
    let fragments = "{ callDetails(period: LAST_HOUR, first: 20) { ...list } }
        fragment list on CallConnection { totalCount nodes { ... on Call { id ...key } } }
        fragment key on Call { apiKey { id } }";
    assert_eq!(cost(&app, plain, json!({})).await, cost(&app, fragments, json!({})).await);
    assert_eq!(cost(&app, plain, json!({})).await, PAGE + 1 + 501 + 1 + 20 * 4);
    let edges = "{ callDetails(period: LAST_HOUR, first: 20) { edges { cursor node { id } } } }";
    assert_eq!(cost(&app, edges, json!({})).await, PAGE + 1 + 1 + 20 * 4);
    let ids = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }";
    assert_eq!(cost(&app, ids, json!({ "ids": ["call_1", "call_2"] })).await, LOOKUP + 1 + 2 * 2);
    assert_eq!(cost(&app, "{ nodes(ids: [\"call_1\"]) { id } }", json!({})).await, LOOKUP + 1 + 2);
    // A list within a list.
    let keys =
        "{ apiKeys(first: 3) { nodes { calls(period: LAST_HOUR, first: 5) { nodes { id } } } } }";
    assert_eq!(cost(&app, keys, json!({})).await, 2 * PAGE + 2 + 3 * (1 + 51 + 1 + 5 * 2));
}

async fn the_cost_is_reported_on_request(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.graphql.max_complexity = 5).await;
    let send = async |query: &str, extensions: Value| -> Value {
        let body = json!({ "query": query, "extensions": extensions });
        let response = app.post(&body).send().await.unwrap();
        response.json().await.unwrap()
    };
    let query = "{ serverInfo { version } }";
    let response = send(query, json!({ "cost": true })).await;
    assert_eq!(response["extensions"], json!({ "cost": { "requested": 2, "maximum": 5 } }));
    assert!(response["data"]["serverInfo"].is_object());
    for extensions in [json!({}), Value::Null, json!({ "cost": false }), json!({ "cost": 1 })] {
        assert!(send(query, extensions).await.get("extensions").is_none());
    }
    // A refused request reports its cost too.
    let response = send("{ errorLogs { totalCount } }", json!({ "cost": true })).await;
    assert_eq!(response["extensions"]["cost"], json!({ "requested": 1002, "maximum": 5 }));
    assert_eq!(error_code(&response), "COST_EXCEEDED");
    let get = [("query", query), ("extensions", "{\"cost\":true}")];
    let response = app.get("/graphql").header(SIGN, "tests").query(&get).send().await.unwrap();
    let response: Value = response.json().await.unwrap();
    assert_eq!(response["extensions"]["cost"]["requested"], 2);
}

async fn only_the_selected_operation_counts(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.graphql.max_complexity = 5;
        config.graphql.max_aliases = 1;
    })
    .await;
    let query = "query A { serverInfo { version } } query B { a: errorLogs { b: totalCount } }";
    let send = async |name: &str| -> Value {
        let body = json!({ "query": query, "operationName": name });
        let response = app.post(&body).send().await.unwrap();
        response.json().await.unwrap()
    };
    assert!(send("A").await["data"]["serverInfo"].is_object());
    assert_eq!(error_code(&send("B").await), "TOO_MANY_ALIASES");
    assert_eq!(error_code(&send("C").await), "GRAPHQL_VALIDATION_FAILED");
}

/// One of every list and statistic of an overview page.
const DASHBOARD: &str = "
query Dashboard($day: Period = LAST_24_HOURS) {
  usageStats { ...windows currentMonth { ...counts } last(duration: \"P7D\") { ...counts } }
  callSeries(period: $day) { start end counts { ...counts } latency { ...latency } }
  models: callGroups(by: [MODEL], period: $day) { model counts { ...counts } latency { ...latency } }
  codes: callGroups(by: [STATUS_CODE], period: $day) { statusCode counts { ...counts } }
  keys: callGroups(by: [API_KEY], period: $day, filter: { status: FAILURE }) { apiKey { id masked } counts { ...counts } }
  errorGroups(by: [ERROR_CODE, MODEL]) { errorCode model count firstSeenAt lastSeenAt latest { message } }
  callDetails(period: $day, first: 100) {
    totalCount
    nodes { id timestamp model status statusCode latencyMs apiKey { id masked } errorLog { id errorCode message } }
    pageInfo { hasNextPage endCursor }
  }
  apiKeys(first: 50) { nodes { id masked lastSeenAt counts(period: $day) { ...counts } } }
}
fragment windows on UsageStats {
  lastMinute { ...counts } lastHour { ...counts } last8Hours { ...counts } last24Hours { ...counts }
}
fragment counts on CallCounts { total success failure successRate }
fragment latency on LatencyStats { count avg min p50 p90 p95 p99 max }
";

async fn useful_queries_pass_the_defaults(database: TestDatabase) {
    let app = app_with_defaults(&database).await;
    let most = app.data("{ serverInfo { limits { maxComplexity } } }").await;
    let most = most["serverInfo"]["limits"]["maxComplexity"].as_u64().unwrap();
    let call = "id databaseId timestamp model status statusCode latencyMs apiKey { id masked }";
    let page = format!(
        "{{ callDetails(period: LAST_24_HOURS, first: 1000) {{ totalCount edges {{ cursor node {{ {call}
            errorLog {{ id databaseId timestamp model errorType errorCode message apiKey {{ id }} }} }} }} }} }}"
    );
    let keys = "{ apiKeys(first: 1000) { nodes { id masked counts(period: LAST_24_HOURS) { total success failure } } } }";
    for query in [DASHBOARD, &page, keys, INTROSPECTION] {
        app.data(query).await;
        let cost = cost(&app, query, json!({})).await;
        assert!(cost * 10 < most * 8, "{cost} of {most}: {query}");
    }
    for query in [
        // The schema's types are recursive.
        format!("{{ __schema {{ types {{ {} name {} }} }} }}", "fields { type { ".repeat(6), "} }".repeat(6)),
        // So are calls and their keys.
        "{ callDetails(period: LAST_30_DAYS, first: 1000) { nodes { apiKey { calls(period: LAST_30_DAYS, first: 1000) { nodes {
            id databaseId timestamp model status statusCode latencyMs apiKey { id masked } a: id b: timestamp c: model d: id e: id f: id errorLog { id errorCode } } } } } } }".into(),
        // A repeated field is answered once per repetition.
        format!("{{ apiKeys(first: 1000) {{ nodes {{ calls(period: LAST_HOUR) {{ nodes {{ {} }} }} }} }} }}", "id ".repeat(500)),
    ] {
        assert_eq!(refusal(&app, &query).await["code"], "COST_EXCEEDED");
    }
}

/// Documents that could keep a validator busy, or that it could expand a lot.
fn hostile_documents() -> Vec<String> {
    let repeat =
        |times: usize, text: &dyn Fn(usize) -> String| (0..times).map(text).collect::<String>();
    let long = "x".repeat(190);
    vec![
        // The validator compares the arguments of fields with the same name.
        format!(
            "{{ __typename({}) {} }}",
            repeat(1000, &|n| format!("a{n}:1 ")),
            "__typename ".repeat(4000)
        ),
        format!(
            "{{ serverInfo {{ version({}) {} }} }}",
            repeat(19, &|n| format!("a{n}:1 ")),
            "version ".repeat(4900)
        ),
        // A long name that every error repeats.
        format!("{{ __typename: {long} {} }}", "__typename ".repeat(4900)),
        // Names similar to those of fields.
        format!("{{ {} }}", repeat(4000, &|n| format!("callDetail{n} "))),
        format!("{{ {} }}", repeat(300, &|n| format!("callDetails{n}{long} "))),
        // Many operations, variables, fragments.
        repeat(1900, &|n| format!("query q{n} {{ __typename }} ")),
        format!("query({}) {{ __typename }}", repeat(2400, &|n| format!("$v{n}:Int "))),
        format!(
            "query({}) {{ nodes(ids: [{}]) {{ id }} }}",
            repeat(1200, &|n| format!("$v{n}:Int ")),
            "$v1199 ".repeat(2400)
        ),
        format!(
            "{{ __typename }} {}",
            repeat(1100, &|n| format!("fragment f{n} on Query {{ __typename }} "))
        ),
        format!(
            "{{ {} }} {}",
            repeat(1000, &|n| format!("...f{n} ")),
            repeat(1000, &|n| format!("fragment f{n} on Query {{ __typename }} "))
        ),
        // The same selections in many selection sets.
        format!(
            "{{ {} }} fragment f on Query {{ {} }}",
            "... { ...f } ".repeat(1000),
            "__typename ".repeat(1000)
        ),
        format!("{{ {} {} {} }}", "... { ".repeat(45), "__typename ".repeat(4900), "} ".repeat(45)),
        format!("{{ {} }}", "... { __typename } ".repeat(1900)),
        // Long lists of values, and values of the wrong type.
        format!("{{ nodes(ids: [{}]) {{ id }} }}", "1 ".repeat(9900)),
        format!(
            "{{ errorLogs(filter: {{ errorCodes: [{}] }}) {{ totalCount }} }}",
            "\"\" ".repeat(9900)
        ),
        format!("{{ {} }}", "errorLogs(first: \"\") { totalCount } ".repeat(60)),
        format!("{{ errorLogs {{ {} }} }}", "totalCount ".repeat(99)),
    ]
}

async fn expensive_documents_are_refused_early(database: TestDatabase) {
    let app = app_with_defaults(&database).await;
    for query in hostile_documents() {
        let shown: String = query.chars().take(150).collect();
        let start = Instant::now();
        let response = app.graphql(&query).await;
        // It takes milliseconds; the bound allows for unoptimized code on a busy machine.
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}: {shown}", start.elapsed());
        let size = response.to_string().len();
        assert!(size < 200_000, "{size} bytes: {shown}");
    }
}

async fn reported_errors_are_limited(database: TestDatabase) {
    let app = app_with_defaults(&database).await;
    // Fewer unknown names than the error limit.
    let unknown = |many: usize| format!("{{ {} }}", "nothing ".repeat(many));
    let response = app.graphql(&unknown(20)).await;
    assert_eq!(response["errors"].as_array().unwrap().len(), 20);
    let expected = json!({ "code": "GRAPHQL_VALIDATION_FAILED", "limit": 20, "actual": 21 });
    assert_eq!(refusal(&app, &unknown(21)).await, expected);
    let conflicts =
        |many: usize| format!("{{ serverInfo {{ now: version {} }} }}", "now ".repeat(many));
    let response = app.graphql(&conflicts(100)).await;
    assert_eq!(response["errors"].as_array().unwrap().len(), 100);
    let response = app.graphql(&conflicts(130)).await;
    let errors = response["errors"].as_array().unwrap();
    assert_eq!((errors.len(), response.get("data")), (101, None));
    assert_eq!(errors[100]["extensions"]["code"], "TOO_MANY_ERRORS");
    assert_eq!(errors[100]["message"], "30 more errors omitted");
    // The message cuts long text of the client.
    let query = "query($id: ID!) { node(id: $id) { id } }";
    let response = app.graphql_with(query, json!({ "id": "ä".repeat(100_000) })).await;
    assert!(response.to_string().len() < 3000);
}

async fn introspection_can_be_disabled(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.graphql.introspection = false).await;
    let refused = json!({ "code": "INTROSPECTION_DISABLED" });
    for query in [
        INTROSPECTION,
        "{ __type(name: \"Call\") { name } }",
        "{ ...f } fragment f on Query { a: __schema { queryType { name } } }",
    ] {
        assert_eq!(refusal(&app, query).await, refused);
    }
    assert_eq!(app.data("{ __typename }").await, json!({ "__typename": "Query" }));
    let schema = app.get("/schema.graphql").send().await.unwrap();
    assert_eq!(schema.status(), StatusCode::NOT_FOUND);
    // Nor do error messages suggest names.
    let mistakes = [
        "{ callDetail { id } }",
        "{ serverInfo { versio } }",
        "{ usageStats(keys: 1) { asOf } }",
        "{ callDetails(period: LAST_HOURS) { totalCount } }",
        "{ errorLogs(filter: { key: 1 }) { totalCount } }",
    ];
    for query in mistakes {
        let response = app.graphql(query).await.to_string();
        assert!(!response.contains("Did you mean") && response.contains("errors"), "{response}");
    }
    let app = app_with_defaults(&database).await;
    for query in &mistakes[..3] {
        assert!(app.graphql(query).await.to_string().contains("Did you mean"));
    }
    assert!(app.data(INTROSPECTION).await["__schema"].is_object());
}

async fn concurrent_requests_are_limited(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z")]).await;
    let app = TestApp::start_with(&database, |config| {
        config.server.max_concurrent_requests = 2;
    })
    .await;
    let post = |query: &str| app.post(&json!({ "query": query }));
    lock(&database, "t_request_log").await;
    let slow = post("{ usageStats { lastHour { total } } }");
    let waiting: Vec<_> = (0..2).map(|_| tokio::spawn(slow.try_clone().unwrap().send())).collect();
    until_waiting(&database, 2).await;
    let refused = post("{ __typename }").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["Retry-After"], "1");
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["errors"][0]["extensions"], json!({ "code": "SERVER_BUSY" }));
    assert!(refused.get("data").is_none());
    let get = app.get("/graphql").header(SIGN, "tests").query(&[("query", "{ __typename }")]);
    assert_eq!(get.send().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    // Health checks and metrics still answer.
    for path in ["/healthz", "/graphiql", "/schema.graphql"] {
        assert_eq!(app.get(path).send().await.unwrap().status(), 200);
    }
    unlock(&database).await;
    for answer in waiting {
        assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    app.data("{ __typename }").await;
}

async fn requests_of_an_address_are_limited(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.server.max_requests_per_minute = 3;
        config.server.trust_forwarded_for = true;
    })
    .await;
    let send = async |forwarded: &str| {
        let body = json!({ "query": "{ __typename }" });
        let request = app.post(&body);
        request.header("X-Forwarded-For", forwarded).send().await.unwrap()
    };
    // Claims of the client have no effect: the proxy appends its address.
    for claimed in 0..3 {
        assert_eq!(send(&format!("9.9.9.{claimed}, 1.2.3.4")).await.status(), 200);
    }
    let refused = send("1.2.3.4").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = refused.headers()["Retry-After"].to_str().unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["errors"][0]["extensions"], json!({ "code": "RATE_LIMITED" }));
    assert!(refused.get("data").is_none());
    assert_eq!(send("1.2.3.5").await.status(), 200);
    assert_eq!(app.get("/healthz").send().await.unwrap().status(), 200);
    // Tokens cannot be guessed faster either.
    let login = app.client().post(app.url("/session")).header("X-Forwarded-For", "1.2.3.4");
    assert_eq!(login.send().await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    // Without a trusted proxy only the address of the connection counts.
    let app =
        TestApp::start_with(&database, |config| config.server.max_requests_per_minute = 1).await;
    for (forwarded, status) in [("1.1.1.1", 200), ("2.2.2.2", 429)] {
        let request =
            app.get("/graphql").header(SIGN, "tests").query(&[("query", "{ __typename }")]);
        let sent = request.header("X-Forwarded-For", forwarded).send().await.unwrap();
        assert_eq!(sent.status(), status);
    }
}

async fn invalid_credentials_are_limited(database: TestDatabase) {
    let valid = "0123456789abcdef-a";
    let app = TestApp::start_with(&database, |config| {
        config.access = settings(&["--tokens", &format!("a:ALL:{valid}")]);
        config.server.trust_forwarded_for = true;
        assert_eq!(config.server.max_auth_failures_per_minute, 60, "it is on by default");
        config.server.max_auth_failures_per_minute = 3;
    })
    .await;
    let from = |path: &str, address: &str| {
        app.get(path).header("X-Forwarded-For", address).header(SIGN, "tests")
    };
    let query = |address: &str| from("/graphql", address).query(&[("query", "{ __typename }")]);
    let sign_in = |address: &str, token: &str| {
        let request = app.client().post(app.url("/session")).header("X-Forwarded-For", address);
        request.json(&json!({ "token": token }))
    };
    let cookie = |response: &reqwest::Response| {
        let cookie = response.headers()["Set-Cookie"].to_str().unwrap();
        cookie.split_once(';').unwrap().0.to_owned()
    };
    let session = cookie(&sign_in("1.1.1.1", valid).send().await.unwrap());
    // Another last letter is another signature.
    let forged = format!("{}{}", &session[..session.len() - 4], "AAAA");
    let status =
        async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    // The first failures of a minute get the answer for invalid credentials, on each route.
    for number in 0..3 {
        let wrong = format!("wrong-token-{number}");
        let request = match number % 3 {
            0 => query("1.1.1.1").bearer_auth(wrong),
            1 => sign_in("1.1.1.1", &wrong),
            _ => from("/metrics", "1.1.1.1").bearer_auth(wrong),
        };
        assert_eq!(status(request).await, 401);
    }
    for request in [
        query("1.1.1.1").bearer_auth("wrong"),
        query("1.1.1.1").header("Cookie", &forged),
        sign_in("1.1.1.1", "wrong"),
        from("/metrics", "1.1.1.1").bearer_auth("wrong"),
        from("/graphql/ws", "1.1.1.1").bearer_auth("wrong"),
        from("/v1/traces", "1.1.1.1").bearer_auth("wrong"),
        from("/session", "1.1.1.1").bearer_auth("wrong"),
    ] {
        let refused = request.send().await.unwrap();
        assert_eq!(refused.status().as_u16(), 429);
        let wait: u64 = refused.headers()["Retry-After"].to_str().unwrap().parse().unwrap();
        assert!((1..=20).contains(&wait), "{wait}");
        let found: Value = refused.json().await.unwrap();
        assert_eq!(error_code(&found), "RATE_LIMITED");
    }
    // Valid credentials pass from the same address; invalid ones of other addresses get the usual answer.
    assert_eq!(status(query("1.1.1.1").bearer_auth(valid)).await, 200);
    assert_eq!(status(query("1.1.1.1").header("Cookie", &session)).await, 200);
    assert_eq!(status(sign_in("1.1.1.1", valid)).await, 200);
    assert_eq!(status(query("1.1.1.1")).await, 401);
    assert_eq!(status(query("1.1.1.2").bearer_auth("wrong")).await, 401);
}

async fn wrong_tokens_count_against_the_request_rate(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.access = settings(&["--tokens", "a:ALL:0123456789abcdef-a"]);
        config.server.max_requests_per_minute = 5;
    })
    .await;
    let mut statuses = Vec::new();
    for number in 0..10 {
        let body = json!({ "query": "{ __typename }" });
        let request = app.post(&body);
        let sent = request.bearer_auth(format!("wrong-{number}")).send().await.unwrap();
        statuses.push(sent.status().as_u16());
    }
    assert_eq!(statuses, [[401; 5], [429; 5]].concat());
}

async fn every_limit_is_reported(database: TestDatabase) {
    let app = app_with_defaults(&database).await;
    let limits = "{ serverInfo { limits { maxPageSize defaultPageSize maxBodyBytes maxDocumentBytes
        maxTokens maxNesting maxExpandedSelections maxDirectives maxRootFields maxDepth maxComplexity
        maxResponseBytes maxAliases timeout maxConcurrentRequests maxRequestsPerMinute maxSubscriptions maxRecordBatch maxBatch introspection } } }";
    let expected = json!({
        "maxPageSize": 1000, "defaultPageSize": 50, "maxBodyBytes": 1_048_576,
        "maxDocumentBytes": 65_536, "maxTokens": 10_000, "maxNesting": 50,
        "maxExpandedSelections": 5000, "maxDirectives": 50, "maxRootFields": 50, "maxDepth": 16,
        "maxComplexity": 20_000_000, "maxResponseBytes": 16_777_216, "maxAliases": 50, "timeout": "PT30S", "maxConcurrentRequests": 256,
        "maxRequestsPerMinute": null, "maxSubscriptions": 100, "maxRecordBatch": 1000, "maxBatch": 1, "introspection": true,
    });
    assert_eq!(app.data(limits).await["serverInfo"]["limits"], expected);
    let app = TestApp::start_with(&database, |config| {
        config.server.max_requests_per_minute = 600;
        config.server.max_body_bytes = 2000;
        config.graphql.max_tokens = 200;
    })
    .await;
    let reported = app.data(limits).await["serverInfo"]["limits"].clone();
    let some =
        (&reported["maxRequestsPerMinute"], &reported["maxBodyBytes"], &reported["maxTokens"]);
    assert_eq!(some, (&json!(600), &json!(2000), &json!(200)));
}
