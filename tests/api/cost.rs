//! The cost of a query follows the estimated number of rows that its statements read.

use callscope::store::classification;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::{CallRow, ErrorRow, Kind, NOW, TestApp, TestDatabase, error_code, eventually};
use crate::tests;

tests! {
    the_cost_follows_the_rows_of_the_window,
    ordering_by_percentiles_costs_as_much_as_percentiles.only(&[Kind::Sqlite]),
    a_search_costs_more_than_a_list.only(&[Kind::Sqlite]),
    classes_cost_more_without_their_job.only(&[Kind::Sqlite]),
    a_window_is_found_in_arguments_and_variables.only(&[Kind::Sqlite]),
    expensive_reads_are_refused_before_they_run,
    queries_of_the_page_are_allowed_over_many_calls.only(&[Kind::Sqlite]),
    the_estimate_follows_the_table.only(&[Kind::Sqlite]),
}

/// One of `spread` ids exists, so that the estimate is a table of `rows * spread`.
const ROWS: i32 = 300;

/// A table that appears to have `calls` calls, and a tenth as many error logs, evenly over 31 days.
async fn fill(database: &TestDatabase, calls: i32) {
    let now: DateTime<Utc> = NOW.parse().unwrap();
    let at = |number: i32| now - TimeDelta::days(31) * (ROWS - 1 - number) / (ROWS - 1);
    let key = |number: i32| format!("FakeSyCost{:02}", number % 50);
    let rows: Vec<CallRow> = (0..ROWS)
        .map(|n| CallRow::at_stored(at(n)).id(1 + n * (calls / ROWS)).key(key(n)))
        .collect();
    database.insert(&rows).await;
    let errors: Vec<ErrorRow> = (0..ROWS)
        .map(|n| ErrorRow::at_stored(at(n)).id(1 + n * (calls / 10 / ROWS)).key(key(n)))
        .collect();
    database.insert(&errors).await;
}

/// The response, and its cost.
async fn send(app: &TestApp, body: Value) -> (Value, u64) {
    let mut body = body;
    body["extensions"] = json!({ "cost": true });
    let sent = app.post(&body).send().await.unwrap();
    let response: Value = sent.json().await.unwrap();
    let cost = response["extensions"]["cost"]["requested"].as_u64();
    let cost = cost.unwrap_or_else(|| panic!("{response:#}"));
    (response, cost)
}

pub async fn cost(app: &TestApp, query: &str) -> u64 {
    send(app, json!({ "query": query })).await.1
}

/// Checks that `cost` is about `units`.
fn assert_about(cost: u64, units: f64) {
    let (least, most) = (units * 0.8, units * 1.25);
    assert!((least..most).contains(&(cost as f64)), "{cost}, not about {units}");
}

async fn the_cost_follows_the_rows_of_the_window(database: TestDatabase) {
    fill(&database, 1_000_000).await;
    let app = TestApp::start(&database).await;
    let day = 1_000_000.0 / 31.0;
    let groups = async |window: &str| {
        let query =
            format!("{{ callGroups(by: [MODEL], {window}) {{ model counts {{ total }} }} }}");
        cost(&app, &query).await as f64
    };
    assert_about(groups("period: LAST_24_HOURS").await as u64, 2.0 * day);
    assert_about(groups("period: LAST_7_DAYS").await as u64, 2.0 * 7.0 * day);
    assert_about(groups("period: LAST_30_DAYS").await as u64, 2.0 * 30.0 * day);
    let between = "between: { since: \"2026-02-10T00:00:00Z\", until: \"2026-02-20T00:00:00Z\" }";
    assert_about(groups(between).await as u64, 2.0 * 10.0 * day);
    // Windows before the first call, and after the last one.
    assert!(groups("period: LAST_7_DAYS, asOf: \"2020-01-01T00:00:00Z\"").await < 1000.0);
    let later = "between: { since: \"2026-03-02T00:00:00Z\", until: \"2030-01-01T00:00:00Z\" }";
    assert!(groups(later).await < 1000.0);
    let counts = "{ usageStats { last24Hours { total } last(duration: \"P7D\") { total } } }";
    assert_about(cost(&app, counts).await, 0.25 * 8.0 * day + 1000.0);
    let series = |fields: &str| {
        format!("{{ callSeries(period: LAST_7_DAYS, interval: \"P1D\") {{ start {fields} }} }}")
    };
    assert_about(cost(&app, &series("counts { total }")).await, 2.0 * 7.0 * day);
    assert_about(cost(&app, &series("latency { p95 }")).await, 8.0 * 7.0 * day);
    let page = |fields: &str, more: &str| {
        format!("{{ callDetails(period: LAST_30_DAYS, first: 5{more}) {{ {fields} }} }}")
    };
    // A page uses an index; a total, a filter or another order reads the window.
    assert!(cost(&app, &page("nodes { id }", "")).await < 1000);
    assert_about(cost(&app, &page("totalCount", "")).await, 0.25 * 30.0 * day);
    let filtered = page("nodes { id }", ", filter: { models: [\"none\"] }");
    assert_about(cost(&app, &filtered).await, 0.4 * 30.0 * day);
    assert_about(
        cost(&app, &page("nodes { id }", ", orderBy: SLOWEST_FIRST")).await,
        0.4 * 30.0 * day,
    );
    // One key of fifty has fewer calls than all.
    let of_key = |fields: &str| format!("{{ apiKey(key: \"FakeSyCost07\") {{ {fields} }} }}");
    let counts = "counts(period: LAST_30_DAYS) { total }";
    let (one, all) = (
        cost(&app, &of_key(counts)).await,
        cost(&app, &format!("{{ apiKeys {{ nodes {{ {counts} }} }} }}")).await,
    );
    assert_about(all, 2.0 * 30.0 * day);
    assert!(one * 5 < all, "{one} of {all}");
    // Each alias is charged for its own statement.
    let twice = "{ a: callGroups(by: [MODEL], period: LAST_7_DAYS) { model } \
                   b: callGroups(by: [MODEL], period: LAST_7_DAYS) { model } }";
    assert_about(cost(&app, twice).await, 2.0 * 2.0 * 7.0 * day);
}

async fn ordering_by_percentiles_costs_as_much_as_percentiles(database: TestDatabase) {
    fill(&database, 1_000_000).await;
    let app = TestApp::start(&database).await;
    let groups = |order: &str, fields: &str| {
        format!(
            "query($o: CallGroupOrder = {order}) {{ callGroups(by: [API_KEY], period: LAST_24_HOURS, \
             orderBy: $o) {{ {fields} }} }}"
        )
    };
    let plain = cost(&app, &groups("TOTAL_DESC", "model")).await;
    let selected = cost(&app, &groups("TOTAL_DESC", "latency { p95 }")).await;
    let ordered = cost(&app, &groups("P95_LATENCY_DESC", "model")).await;
    let both = cost(&app, &groups("P95_LATENCY_DESC", "latency { p95 }")).await;
    assert!(ordered > 3 * plain, "{ordered} and {plain}");
    assert_about(ordered, selected as f64);
    assert_eq!(both, selected);
    let literal =
        "{ callGroups(by: [API_KEY], period: LAST_24_HOURS, orderBy: P95_LATENCY_DESC) { model } }";
    assert_eq!(cost(&app, literal).await, ordered);
    // More dimensions have more groups, each of which is ranked.
    let more = groups("P95_LATENCY_DESC", "model").replace("[API_KEY]", "[API_KEY, MODEL]");
    assert!(cost(&app, &more).await > 2 * ordered);
}

async fn a_search_costs_more_than_a_list(database: TestDatabase) {
    fill(&database, 1_000_000).await;
    let app = TestApp::start(&database).await;
    let logs = |filter: &str| {
        format!("{{ errorLogs(first: 5, filter: {{ {filter} }}) {{ nodes {{ id }} }} }}")
    };
    assert!(cost(&app, &logs("")).await < 1000);
    assert_about(cost(&app, &logs("errorCodes: [999]")).await, 0.4 * 100_000.0);
    assert_about(cost(&app, &logs("contains: \"nothing\"")).await, 10.0 * 100_000.0);
    assert_about(cost(&app, &logs("contains: \"配额\"")).await, 10.0 * 100_000.0);
    assert_about(cost(&app, &logs("contains: \"échec\"")).await, 40.0 * 100_000.0);
    let week = "contains: \"nothing\", since: \"2026-02-22T12:00:00Z\"";
    assert_about(cost(&app, &logs(week)).await, 10.0 * 100_000.0 * 7.0 / 31.0);
    let groups = "{ errorGroups(by: [ERROR_CODE, MODEL]) { count } }";
    assert_about(cost(&app, groups).await, 3.0 * 100_000.0);
    let series = "{ errorSeries(period: LAST_7_DAYS) { count } }";
    assert_about(cost(&app, series).await, 2.0 * 100_000.0 * 7.0 / 31.0);
    let variables = json!({ "f": { "contains": "nothing" } });
    let query =
        "query($f: ErrorLogFilter) { errorLogs(first: 5, filter: $f) { totalCount nodes { id } } }";
    let (_, cost) = send(&app, json!({ "query": query, "variables": variables })).await;
    assert_about(cost, 2.0 * 10.0 * 100_000.0);
}

/// Without a job, a query finds and classifies the error logs that have no class.
async fn classes_cost_more_without_their_job(database: TestDatabase) {
    fill(&database, 1_000_000).await;
    let groups = "{ errorGroups(by: [FAILURE_CLASS]) { count } }";
    let logs = "{ errorLogs(first: 5, filter: { failureClasses: [BILLING] }) { nodes { id } } }";
    let app = TestApp::start(&database).await;
    let stored = 100.0 * classification::MOST_OF_QUERY as f64;
    assert_about(cost(&app, groups).await, 4.0 * 100_000.0 + stored);
    assert_about(cost(&app, logs).await, 2.4 * 100_000.0 + stored);
    let none = "{ errorGroups(by: [FAILURE_CLASS], filter: { since: \"2026-03-02T00:00:00Z\" }) { count } }";
    assert!(cost(&app, none).await < 5000);
    app.shutdown().await;
    let app = TestApp::start_with(&database, |config| config.database.failure_classes = true).await;
    // Before its first turn the job is not yet behind, and afterwards it is not any more.
    eventually("all classes", async || !app.db().failures().is_behind()).await;
    assert_about(cost(&app, groups).await, 3.0 * 100_000.0);
    assert_about(cost(&app, logs).await, 1.4 * 100_000.0);
    app.shutdown().await;
}

async fn a_window_is_found_in_arguments_and_variables(database: TestDatabase) {
    fill(&database, 1_000_000).await;
    let app = TestApp::start(&database).await;
    let query = "
        query($p: Period = LAST_7_DAYS, $b: TimeRange, $since: DateTime, $at: DateTime) {
          a: callGroups(by: [MODEL], period: $p, asOf: $at) { ...f }
          b: callGroups(by: [MODEL], between: $b) @skip(if: false) { ...f }
          c: callGroups(by: [MODEL], between: { since: $since, until: \"2026-03-01T12:00:00Z\" }) { ...f }
        }
        fragment f on CallGroup { model counts { total } }";
    let since = "2026-02-22T12:00:00Z";
    let variables =
        json!({ "b": { "since": since, "until": "2026-03-01T12:00:00Z" }, "since": since });
    let (response, cost) = send(&app, json!({ "query": query, "variables": variables })).await;
    assert!(response.get("errors").is_none(), "{response:#}");
    assert_about(cost, 3.0 * 2.0 * 7.0 * 1_000_000.0 / 31.0);
    // An invalid window is charged for the whole table, and its field refuses it.
    for window in [
        "",
        "period: LAST_7_DAYS, between: { since: \"2026-02-22T12:00:00Z\", until: \"2026-03-01T12:00:00Z\" }",
    ] {
        let arguments = format!("by: [MODEL] {window}");
        let query = format!("{{ callGroups({arguments}) {{ model }} }}");
        let (response, cost) = send(&app, json!({ "query": query })).await;
        assert_eq!(error_code(&response), "BAD_USER_INPUT");
        assert_about(cost, 2.0 * 1_000_000.0);
    }
    // The windows of a fragment end where the spreading field says.
    let query =
        "{ now: usageStats { ...w } then: usageStats(asOf: \"2020-01-01T00:00:00Z\") { ...w } }
        fragment w on UsageStats { last24Hours { total } currentMonth { total } }";
    let (_, cost) = send(&app, json!({ "query": query })).await;
    // The current day, in a month that started twelve hours ago.
    assert_about(cost, 0.25 * 1.5 * 1_000_000.0 / 31.0 + 2000.0);
}

async fn expensive_reads_are_refused_before_they_run(database: TestDatabase) {
    fill(&database, 1_000_000).await;
    let app = TestApp::start(&database).await;
    let all = "by: [API_KEY, MODEL, STATUS_CODE, STATUS], period: LAST_30_DAYS";
    let groups = |many: usize| {
        let group = |n| format!("g{n}: callGroups({all}) {{ model latency {{ p95 }} }} ");
        (0..many).map(group).collect::<String>()
    };
    for (query, most) in [
        (format!("{{ {} serverInfo {{ version }} }}", groups(4)), "g"),
        (format!("{{ {} }}", groups(50)), "g"),
        (
            format!(
                "{{ serverInfo {{ version }} callGroups({all}, orderBy: P95_LATENCY_DESC) {{ model }} \
            errorLogs(filter: {{ contains: \"x\" }}) {{ totalCount }} }}"
            ),
            "callGroups",
        ),
        (
            "{ apiKeys { nodes { models(period: LAST_30_DAYS) { model latency { p99 } } \
            latency(period: LAST_30_DAYS) { p50 } } } }"
                .to_owned(),
            "apiKeys",
        ),
    ] {
        let before = app.sent();
        let (response, cost) = send(&app, json!({ "query": query })).await;
        assert_eq!(app.sent(), before, "{query}");
        let error = &response["errors"][0];
        let expected = json!({ "code": "COST_EXCEEDED", "limit": 20_000_000, "actual": cost });
        assert_eq!(error["extensions"], expected, "{query}");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("`{most}")) && message.contains(&cost.to_string()),
            "{message}"
        );
    }
}

async fn queries_of_the_page_are_allowed_over_many_calls(database: TestDatabase) {
    fill(&database, 10_000_000).await;
    let app = TestApp::start(&database).await;
    let mut documents = String::new();
    for file in ["boot", "calls", "errors", "explain", "incidents", "keys", "overview"] {
        let path = format!("web/src/api/documents/{file}.graphql");
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        documents += &std::fs::read_to_string(path).unwrap();
    }
    let now: DateTime<Utc> = NOW.parse().unwrap();
    let ago = |hours| (now - TimeDelta::hours(hours)).to_rfc3339();
    let range = |since, until| json!({ "since": ago(since), "until": ago(until) });
    let mut variables = json!({
        "since": ago(24), "sixHours": range(1, 0), "first": 1000, "period": "LAST_24_HOURS",
        "timeZone": "UTC", "filter": {}, "facets": {}, "count": true, "id": "call_1", "requests": true,
        "key": "FakeSyCost07", "at": ago(1), "after": ago(1), "until": ago(0),
        "monthBefore": ago(24 * 28), "interval": "PT15M", "orderBy": "NEWEST_FIRST", "asOf": ago(0),
        "untilNow": range(1, 0), "untilEnd": range(1, 0), "past": true, "search": "FakeSy",
        "ids": ["call_1"], "ofModels": {}, "ofKeys": {}, "ofCauses": {}, "ofCodes": {}, "ofTypes": {}, "errors": {},
        "causes": true, "types": true, "models": true, "keys": true, "modelLimit": 100,
        "language": "en", "live": true, "inside": range(2, 1), "calls": {}, "insideErrors": range(2, 1),
    });
    for number in 0..5 {
        variables[format!("f{number}")] = json!({});
        variables[format!("h{number}")] = json!(true);
        variables[format!("k{number}")] = json!("FakeSyCost07");
        variables[format!("c{number}")] = json!(["QUOTA_DAY"]);
    }
    for number in 0..12 {
        variables[format!("w{number}")] = range(2 * (number + 1), 2 * number);
    }
    let mut sent = 0;
    for line in documents.lines().filter(|line| line.starts_with("query ")) {
        let name: String =
            line["query ".len()..].chars().take_while(|c| c.is_alphanumeric()).collect();
        let mut variables = variables.clone();
        if name == "KeyTable" || name == "NearbyCalls" {
            variables["after"] = json!(ago(0));
        }
        if ["Calls", "Errors", "KeyNames"].contains(&name.as_str()) {
            variables["after"] = Value::Null;
        }
        if ["CauseStack", "Explain", "KeyTable", "SeriesBefore", "Stack"].contains(&name.as_str()) {
            (variables["between"], variables["period"]) = (range(24, 0), Value::Null);
        }
        let body = json!({ "query": documents, "operationName": name, "variables": variables });
        let (response, cost) = send(&app, body).await;
        assert!(response.get("errors").is_none(), "{name}: {response:#}");
        assert!(cost < 16_000_000, "{name} costs {cost}");
        sent += 1;
    }
    assert!(sent >= 12, "{sent}");
}

async fn the_estimate_follows_the_table(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let query = "{ callGroups(by: [MODEL], period: LAST_30_DAYS) { model } }";
    assert!(cost(&app, query).await < 1000);
    fill(&database, 1_000_000).await;
    // Requests never wait for the estimate; the server renews it in the background, once a minute at most.
    let services = app.services();
    services.density.refresh(&services.db).await.unwrap();
    assert_about(cost(&app, query).await, 2.0 * 30.0 * 1_000_000.0 / 31.0);
    // The estimate does not read the whole table.
    services.db.record();
    services.density.refresh(&services.db).await.unwrap();
    for sql in services.db.record() {
        for step in database.query(&format!("EXPLAIN QUERY PLAN {sql}")).await {
            let step = step[3].as_str().unwrap();
            assert!(!step.starts_with("SCAN t_"), "{step}: {sql}");
        }
    }
}
