//! `callDetails`.

use std::cmp::Reverse;
use std::collections::HashSet;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::call_model::{Sample, at, samples};
use super::support::{CallRow, ErrorRow, Kind, NULL, TestApp, TestDatabase};
use crate::tests;

tests! {
    a_latency_beyond_int_keeps_its_row.only(&[Kind::Sqlite]),
    every_field_of_the_filter_selects,
    a_filter_takes_long_lists,
    a_table_with_a_smaller_charset_is_read.empty().only(&[Kind::MariaDb]),
    a_page_has_every_field,
    pages_report_previous_and_next_pages,
    paging_returns_each_call_once,
    paging_tolerates_changes,
    sqlite_accepts_any_text_as_a_time.only(&[Kind::Sqlite]),
    whole_seconds_are_paged.empty(),
    sqlite_texts_in_number_columns_are_null.only(&[Kind::Sqlite]),
    calls_without_a_time_are_in_no_window,
    only_selected_fields_are_read,
    error_logs_of_several_lists_share_one_statement,
    bad_arguments_are_named_in_errors,
    forged_cursors_are_refused,
    times_of_a_storage_zone_are_shown_in_utc,
}

const HOUR: &str = "period: LAST_HOUR";

/// The ids of a list, in its order.
async fn ids(app: &TestApp, args: &str) -> Vec<i64> {
    let data = app.data(&format!("{{ callDetails({args}) {{ nodes {{ databaseId }} }} }}")).await;
    id_list(&data["callDetails"]["nodes"])
}

fn id_list(nodes: &Value) -> Vec<i64> {
    let nodes = nodes.as_array().expect("nodes");
    nodes.iter().map(|node| node["databaseId"].as_i64().expect("an id")).collect()
}

async fn every_field_of_the_filter_selects(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let call = |id| CallRow::at("2026-03-01T11:30:00Z").id(id);
    database
        .insert(&[
            call(1).key("key-a").model("pro").status(200).latency(10),
            call(2).key("KEY-A").model("PRO").status(299).latency(20),
            call(3).key("key-b").model("flash").status(429).latency(30),
            call(4).key("key-b").model("pro").status(NULL).latency(NULL),
            call(5).key(NULL).model(NULL).status(199).latency(40),
            call(6).key("key-a").model("flash").status(300).latency(50),
        ])
        .await;
    let id = app.data("{ apiKey(key: \"key-a\") { id } }").await["apiKey"]["id"].clone();
    let cases: [(&str, &[i64]); 35] = [
        ("", &[1, 2, 3, 4, 5, 6]),
        ("keys: [\"key-a\"]", &[1, 6]),
        ("keys: [\"KEY-A\"]", &[2]),
        ("keys: [ID]", &[1, 6]),
        ("keys: [ID, \"key-b\", \"key-b\", \"unknown\"]", &[1, 3, 4, 6]),
        ("keys: []", &[]),
        ("models: [\"pro\"]", &[1, 4]),
        ("models: [\"PRO\", \"flash\"]", &[2, 3, 6]),
        ("models: [\"%\", \"pr_\"]", &[]),
        ("models: []", &[]),
        ("status: SUCCESS", &[1, 2]),
        ("status: FAILURE", &[3, 4, 5, 6]),
        ("statusCodes: [429]", &[3]),
        ("statusCodes: [200, 199, -1]", &[1, 5]),
        ("statusCodes: []", &[]),
        ("status: SUCCESS, statusCodes: [429]", &[]),
        ("minLatencyMs: 40", &[5, 6]),
        ("maxLatencyMs: 20", &[1, 2]),
        ("minLatencyMs: 20, maxLatencyMs: 20", &[2]),
        ("minLatencyMs: 0", &[1, 2, 3, 5, 6]),
        (
            "keys: [ID], models: [\"flash\"], status: FAILURE, statusCodes: [300], minLatencyMs: 50, maxLatencyMs: 50",
            &[6],
        ),
        ("keys: [ID], models: [\"flash\"], status: SUCCESS", &[]),
        (
            "keys: null, models: null, status: null, statusCodes: null, minLatencyMs: null, maxLatencyMs: null",
            &[1, 2, 3, 4, 5, 6],
        ),
        ("keys: [\"\"], models: [\"\"]", &[]),
        // An exclusion keeps calls without a value.
        ("excludeKeys: [\"key-a\"]", &[2, 3, 4, 5]),
        ("excludeKeys: [ID, \"key-b\", \"unknown\"]", &[2, 5]),
        ("excludeKeys: [], excludeModels: [], excludeStatusCodes: []", &[1, 2, 3, 4, 5, 6]),
        ("excludeKeys: null, excludeModels: null, excludeStatusCodes: null", &[1, 2, 3, 4, 5, 6]),
        ("excludeModels: [\"pro\"]", &[2, 3, 5, 6]),
        ("excludeModels: [\"pro\", \"PRO\", \"größe\"]", &[3, 5, 6]),
        ("excludeModels: [\"%\", \"\"]", &[1, 2, 3, 4, 5, 6]),
        ("excludeStatusCodes: [200]", &[2, 3, 4, 5, 6]),
        ("excludeStatusCodes: [429, 199, -1]", &[1, 2, 4, 6]),
        ("status: FAILURE, excludeStatusCodes: [429], excludeModels: [\"pro\"]", &[5, 6]),
        ("keys: [ID, \"key-b\"], excludeKeys: [\"key-b\"], maxLatencyMs: 10", &[1]),
    ];
    for (filter, expected) in cases {
        let filter = filter.replace("ID", &id.to_string());
        let args = format!("{HOUR}, filter: {{ {filter} }}, orderBy: OLDEST_FIRST");
        let data = app
            .data(&format!(
                "{{ callDetails({args}) {{ totalCount nodes {{ databaseId }} }}
                    callSeries({HOUR}, filter: {{ {filter} }}) {{ counts {{ total }} }}
                    callGroups(by: [API_KEY, MODEL, STATUS_CODE], {HOUR}, filter: {{ {filter} }}) {{ counts {{ total }} }} }}"
            ))
            .await;
        let list = &data["callDetails"];
        assert_eq!(id_list(&list["nodes"]), expected, "{filter}");
        assert_eq!(list["totalCount"], expected.len(), "{filter}");
        for parts in ["callSeries", "callGroups"] {
            let parts = data[parts].as_array().unwrap();
            let sum: i64 = parts.iter().filter_map(|b| b["counts"]["total"].as_i64()).sum();
            assert_eq!(sum, expected.len() as i64, "{filter}");
        }
    }
    for (key, expected) in [("\"key-a\"", &[1, 6][..]), ("ID", &[1, 6]), ("\"none\"", &[])] {
        let key = key.replace("ID", &id.to_string());
        let order = "orderBy: OLDEST_FIRST";
        assert_eq!(ids(&app, &format!("{HOUR}, key: {key}, {order}")).await, expected, "{key}");
        let both = format!("{HOUR}, key: {key}, filter: {{ keys: [\"key-b\"] }}");
        assert_eq!(ids(&app, &both).await, [0; 0], "{key} and another");
    }
}

async fn a_filter_takes_long_lists(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z").id(1)]).await;
    let filter = "{ keys: $keys, models: $models, statusCodes: $codes, excludeKeys: $noKeys,
        excludeModels: $noModels, excludeStatusCodes: $noCodes }";
    let query = &format!(
        "query($keys: [String!], $models: [String!], $codes: [Int!],
            $noKeys: [String!], $noModels: [String!], $noCodes: [Int!]) {{
        callDetails(period: LAST_HOUR, filter: {filter}) {{ totalCount nodes {{ databaseId }} }}
        callGroups(period: LAST_HOUR, by: [MODEL], filter: {filter}) {{ latency {{ count }} }} }}"
    );
    let texts = |known: &str, count| -> Vec<String> {
        (1..count).map(|number| number.to_string()).chain([known.to_owned()]).collect()
    };
    let codes: Vec<i32> = (200..5200).collect();
    let other_codes: Vec<i32> = (300..800).collect();
    let most = json!({
        "keys": texts("key", 5000), "models": texts("model", 5000), "codes": codes,
        "noKeys": texts("no", 500), "noModels": texts("no", 500), "noCodes": other_codes,
    });
    let found = app.graphql_with(query, most).await;
    assert_eq!(found["data"]["callDetails"]["totalCount"], 1, "{}", found["errors"]);
    for (list, values) in [
        ("keys", json!(texts("key", 5001))),
        ("models", json!(texts("model", 40_000))),
        ("codes", json!((0..40_000).collect::<Vec<i32>>())),
        ("noKeys", json!(texts("no", 501))),
        ("noModels", json!(texts("no", 501))),
        ("noCodes", json!((0..501).collect::<Vec<i32>>())),
    ] {
        let refused = app.graphql_with(query, json!({ list: values })).await;
        let extensions = &refused["errors"][0]["extensions"];
        assert_eq!(
            *extensions,
            json!({ "code": "BAD_USER_INPUT", "argument": "filter" }),
            "{list}"
        );
    }
}

async fn a_table_with_a_smaller_charset_is_read(database: TestDatabase) {
    for charset in ["latin1", "utf8mb3"] {
        let tables = super::support::gateway::ddl(Kind::MariaDb).replace(
            "PRIMARY KEY (id)
)",
            &format!("PRIMARY KEY (id)) DEFAULT CHARSET {charset}"),
        );
        database.execute("DROP TABLE IF EXISTS t_request_log, t_error_logs").await;
        database.execute(&tables).await;
        let app = TestApp::start(&database).await;
        database.insert(&[CallRow::at("2026-03-01T11:30:00Z").id(1).key("kéy")]).await;
        for (key, expected) in [("kéy", &[1][..]), ("密钥", &[]), ("🔑", &[]), ("KÉY", &[])] {
            assert_eq!(ids(&app, &format!("{HOUR}, key: \"{key}\"")).await, expected, "{key}");
            let filter =
                format!("{HOUR}, filter: {{ keys: [\"{key}\"], models: [\"🔑\", \"model\"] }}");
            assert_eq!(ids(&app, &filter).await, expected, "{key} of {charset}");
            let query = format!(
                "{{ usageStats(key: \"{key}\") {{ lastHour {{ total }} }} apiKeys(search: \"{key}\") {{ totalCount }} }}"
            );
            app.data(&query).await;
        }
        app.shutdown().await;
    }
}

async fn a_page_has_every_field(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let call = |id, time| CallRow::at(time).id(id);
    database
        .insert(&[
            call(1, "2026-03-01T11:00:00Z").key("AIzaSyA-1234567890abcdef").status(204),
            call(2, "2026-03-01T11:59:59.999999Z").key(NULL).model(NULL).status(NULL).latency(NULL),
            call(3, "2026-03-01T11:30:00.25Z").key("short").status(503).latency(0),
            call(4, "2026-03-01T12:00:00Z"),
            call(5, "2026-03-01T10:59:59.999999Z"),
        ])
        .await;
    database.insert(&[ErrorRow::at("2026-03-01T11:30:01Z").key("short").id(9)]).await;
    let data = app
        .data(
            "{ callDetails(period: LAST_HOUR) { totalCount nodes {
                databaseId timestamp apiKey { masked } model status statusCode latencyMs
                errorLog { databaseId }
            } } }",
        )
        .await;
    assert_eq!(
        data["callDetails"],
        json!({
            "totalCount": 3,
            "nodes": [
                {
                    "databaseId": 2, "timestamp": "2026-03-01T11:59:59.999999Z", "apiKey": null,
                    "model": null, "status": "FAILURE", "statusCode": null, "latencyMs": null,
                    "errorLog": null,
                },
                {
                    "databaseId": 3, "timestamp": "2026-03-01T11:30:00.25Z",
                    "apiKey": { "masked": "s...t" },
                    "model": "model", "status": "FAILURE", "statusCode": 503, "latencyMs": 0,
                    "errorLog": { "databaseId": 9 },
                },
                {
                    "databaseId": 1, "timestamp": "2026-03-01T11:00:00Z",
                    "apiKey": { "masked": "AIza...cdef" },
                    "model": "model", "status": "SUCCESS", "statusCode": 204, "latencyMs": 100,
                    "errorLog": null,
                },
            ],
        })
    );
}

async fn pages_report_previous_and_next_pages(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let rows: Vec<CallRow> =
        (1..=5).map(|id| CallRow::at("2026-03-01T11:30:00Z").id(id).latency(id)).collect();
    database.insert(&rows).await;
    for order in ["OLDEST_FIRST", "NEWEST_FIRST", "SLOWEST_FIRST"] {
        let all = ["OLDEST_FIRST"].contains(&order);
        let all: Vec<i64> = if all { (1..=5).collect() } else { (1..=5).rev().collect() };
        let page = async |args: &str| {
            let query = format!(
                "{{ callDetails({HOUR}, orderBy: {order}, {args}) {{
                    edges {{ cursor node {{ databaseId }} }} nodes {{ databaseId }} totalCount
                    pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"
            );
            let list = app.data(&query).await["callDetails"].clone();
            let edges = list["edges"].as_array().unwrap().clone();
            let info = &list["pageInfo"];
            assert_eq!(list["totalCount"], 5, "on every page");
            let cursor = |edge: Option<&Value>| edge.map_or(Value::Null, |e| e["cursor"].clone());
            assert_eq!(info["startCursor"], cursor(edges.first()), "{args}");
            assert_eq!(info["endCursor"], cursor(edges.last()), "{args}");
            let nodes: Vec<Value> = edges.iter().map(|edge| edge["node"].clone()).collect();
            assert_eq!(json!(nodes), list["nodes"], "{args}");
            let more = (info["hasPreviousPage"] == true, info["hasNextPage"] == true);
            (id_list(&list["nodes"]), more)
        };
        let edges = app
            .data(&format!("{{ callDetails({HOUR}, orderBy: {order}) {{ edges {{ cursor }} }} }}"))
            .await;
        let cursor = |number: usize| edges["callDetails"]["edges"][number - 1]["cursor"].clone();
        // Arguments, with the cursors of the first to fifth call; the expected calls of the page;
        // whether there are calls before and after it.
        let cases = [
            ("first: 5".to_owned(), 1..6, (false, false)),
            ("first: 2".to_owned(), 1..3, (false, true)),
            (format!("first: 2, after: {}", cursor(2)), 3..5, (true, true)),
            (format!("first: 3, after: {}", cursor(2)), 3..6, (true, false)),
            (format!("after: {}", cursor(5)), 6..6, (true, false)),
            ("last: 5".to_owned(), 1..6, (false, false)),
            ("last: 2".to_owned(), 4..6, (true, false)),
            (format!("last: 2, before: {}", cursor(4)), 2..4, (true, true)),
            (format!("last: 3, before: {}", cursor(4)), 1..4, (false, true)),
            (format!("last: 3, before: {}", cursor(1)), 1..1, (false, true)),
            (format!("first: 2, after: {}, before: {}", cursor(1), cursor(5)), 2..4, (true, true)),
            (format!("last: 2, after: {}, before: {}", cursor(1), cursor(5)), 3..5, (true, true)),
            (format!("first: 9, after: {}, before: {}", cursor(4), cursor(2)), 1..1, (true, false)),
        ];
        for (args, places, more) in cases {
            let expected: Vec<i64> = places.map(|place| all[place - 1]).collect();
            assert_eq!(page(&args).await, (expected, more), "{order} {args}");
        }
    }
}

/// The ids of `calls`, sorted by `order`.
fn sorted(calls: &[Sample], order: &str) -> Vec<i64> {
    let mut calls: Vec<&Sample> = calls.iter().collect();
    match order {
        "OLDEST_FIRST" => calls.sort_by_key(|call| (call.at, call.id)),
        "NEWEST_FIRST" => calls.sort_by_key(|call| Reverse((call.at, call.id))),
        _ => calls.sort_by_key(|call| Reverse((call.latency.unwrap_or(-1), call.id))),
    }
    calls.iter().map(|call| call.id.into()).collect()
}

/// Thirty calls with few distinct times and latencies.
fn calls_with_ties() -> Vec<Sample> {
    let times =
        ["2026-03-01T11:00:00Z", "2026-03-01T11:00:00.000001Z", "2026-03-01T11:59:59.999999Z"];
    let mut calls = samples(30, times.map(at).into());
    for call in &mut calls {
        call.latency = call.latency.map(|latency| latency % 3);
    }
    calls
}

/// Reads all pages and returns the ids in the order of the list; `between` runs after each
/// page.
async fn walk(
    app: &TestApp,
    order: &str,
    size: usize,
    backward: bool,
    mut between: impl AsyncFnMut(),
) -> Vec<i64> {
    let (number, position, end, more) = if backward {
        ("last", "before", "startCursor", "hasPreviousPage")
    } else {
        ("first", "after", "endCursor", "hasNextPage")
    };
    let (mut found, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let query = format!(
            "{{ callDetails({HOUR}, orderBy: {order}, {number}: {size}, {position}: {cursor}) {{
                nodes {{ databaseId }} pageInfo {{ {end} {more} }} }} }}"
        );
        let list = app.data(&query).await["callDetails"].clone();
        let page = id_list(&list["nodes"]);
        assert!(page.len() <= size, "{page:?} of at most {size}");
        let at = if backward { 0 } else { found.len() };
        found.splice(at..at, page);
        if list["pageInfo"][more] == false {
            return found;
        }
        cursor = list["pageInfo"][end].clone();
        between().await;
    }
}

const ORDERS: [&str; 3] = ["NEWEST_FIRST", "OLDEST_FIRST", "SLOWEST_FIRST"];

async fn paging_returns_each_call_once(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let calls = calls_with_ties();
    database.insert(&calls.iter().map(Sample::row).collect::<Vec<_>>()).await;
    for order in ORDERS {
        let expected = sorted(&calls, order);
        for (size, backward) in [1, 2, 7].into_iter().flat_map(|size| [(size, false), (size, true)])
        {
            let found = walk(&app, order, size, backward, async || ()).await;
            assert_eq!(found, expected, "{order} by {size}, backward: {backward}");
        }
    }
}

async fn paging_tolerates_changes(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let calls = calls_with_ties();
    for (order, backward) in ORDERS.into_iter().flat_map(|order| [(order, false), (order, true)]) {
        database.delete("t_request_log", "TRUE").await;
        database.insert(&calls.iter().map(Sample::row).collect::<Vec<_>>()).await;
        let mut gone = HashSet::new();
        let mut next = 100;
        let found = walk(&app, order, 2, backward, async || {
            // Insert a copy of one call and delete another.
            let (copied, removed) = (next as usize * 7 % 30, next as usize * 11 % 30);
            database.insert(&[Sample { id: next, ..calls[copied].clone() }.row()]).await;
            let id = calls[removed].id;
            database.delete("t_request_log", &format!("id = {id}")).await;
            gone.insert(i64::from(id));
            next += 1;
        })
        .await;
        let distinct: HashSet<i64> = found.iter().copied().collect();
        assert_eq!(distinct.len(), found.len(), "{order}: a call is repeated in {found:?}");
        let stayed = |id: &i64| *id < 100 && !gone.contains(id);
        let found: Vec<i64> = found.into_iter().filter(stayed).collect();
        let expected: Vec<i64> = sorted(&calls, order).into_iter().filter(stayed).collect();
        assert_eq!(found, expected, "{order}, backward: {backward}");
        assert!(gone.len() > 5, "calls were deleted between the pages");
    }
}

async fn sqlite_accepts_any_text_as_a_time(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let times = [
        "2026-03-01 11:00",
        "2026-03-01 11:00:00",
        "2026-03-01 11:00:00.000000",
        "2026-03-01 11:00:00.250",
        "2026-03-01 11:00:00.5",
        "2026-03-01 11:00:00.500000",
        "2026-03-01 11:00:00.500000",
        "2026-03-01 11:00:01",
        "2026-03-01T11:00:00.250000",
        "2026-03-01T11:00:00.25Z",
        "yesterday",
        "",
    ];
    let rows: Vec<CallRow> =
        (1..).zip(times).map(|(id, time)| CallRow::at_stored(time).id(id)).collect();
    database.insert(&rows).await;
    let day = "between: { since: \"2026-03-01T00:00:00Z\", until: \"2026-03-02T00:00:00Z\" }";
    let shown = app
        .data(&format!(
            "{{ callDetails({day}, orderBy: OLDEST_FIRST) {{ totalCount nodes {{ timestamp }} }} }}"
        ))
        .await["callDetails"]
        .clone();
    let seconds = ["00", "00", "00", "00.25", "00.5", "00.5", "00.5", "01", "00.25", "00.25"];
    let expected = seconds.map(|s| json!({ "timestamp": format!("2026-03-01T11:00:{s}Z") }));
    assert_eq!(shown, json!({ "totalCount": 10, "nodes": expected }));
    for size in [1, 3] {
        for order in ["OLDEST_FIRST", "NEWEST_FIRST"] {
            let (mut found, mut after) = (Vec::new(), Value::Null);
            while found.len() < 20 {
                let query = format!(
                    "{{ callDetails({day}, orderBy: {order}, first: {size}, after: {after}) {{
                    nodes {{ databaseId }} pageInfo {{ endCursor hasNextPage }} }} }}"
                );
                let list = app.data(&query).await["callDetails"].clone();
                found.extend(id_list(&list["nodes"]));
                after = list["pageInfo"]["endCursor"].clone();
                if list["pageInfo"]["hasNextPage"] == false {
                    break;
                }
            }
            if order == "NEWEST_FIRST" {
                found.reverse();
            }
            assert_eq!(found, (1..=10).collect::<Vec<i64>>(), "{order} by {size}");
        }
    }
    let half = "between: { since: \"2026-03-01T11:00:00Z\", until: \"2026-03-01T11:00:00.5Z\" }";
    assert_eq!(ids(&app, half).await, [4, 3, 2]);
    let rest = "between: { since: \"2026-03-01T11:00:00.5Z\", until: \"2026-03-01T12:00:00Z\" }";
    assert_eq!(ids(&app, rest).await, [8, 7, 6, 5]);
}

async fn whole_seconds_are_paged(database: TestDatabase) {
    // MySQL's DATETIME keeps whole seconds in a gateway's own tables.
    database.execute(super::support::gateway::ddl(database.kind())).await;
    let app = TestApp::start(&database).await;
    let rows: Vec<CallRow> =
        (1..=6).map(|id| CallRow::at(&format!("2026-03-01T11:00:0{}Z", id / 2)).id(id)).collect();
    database.insert(&rows).await;
    for (order, expected) in
        [("OLDEST_FIRST", [1, 2, 3, 4, 5, 6]), ("NEWEST_FIRST", [6, 5, 4, 3, 2, 1])]
    {
        assert_eq!(walk(&app, order, 1, false, async || ()).await, expected);
        assert_eq!(walk(&app, order, 4, true, async || ()).await, expected);
    }
    let second = "between: { since: \"2026-03-01T11:00:01Z\", until: \"2026-03-01T11:00:02Z\" }";
    assert_eq!(ids(&app, second).await, [3, 2]);
    let cut = "between: { since: \"2026-03-01T11:00:00.5Z\", until: \"2026-03-01T11:00:01.5Z\" }";
    assert_eq!(ids(&app, cut).await, [3, 2]);
}

async fn sqlite_texts_in_number_columns_are_null(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let call = |id| CallRow::at("2026-03-01T11:30:00Z").id(id);
    database
        .insert(&[
            call(1).status("Server disconnected without sending a response.").latency("slow"),
            call(2).status("").latency(""),
            call(3).status("200").latency("7"),
            call(4).status(5_000).latency(3),
        ])
        .await;
    let data = app
        .data(
            "{ callDetails(period: LAST_HOUR, orderBy: SLOWEST_FIRST) {
                nodes { databaseId status statusCode latencyMs } }
              callGroups(by: [STATUS_CODE, STATUS], period: LAST_HOUR) {
                statusCode status counts { total failure } latency { count p50 } } }",
        )
        .await;
    let failed = |id, code, latency| json!({ "databaseId": id, "status": "FAILURE", "statusCode": code, "latencyMs": latency });
    let group = |code, status, total, failure, count, p50| {
        json!({
            "statusCode": code, "status": status,
            "counts": { "total": total, "failure": failure },
            "latency": { "count": count, "p50": p50 },
        })
    };
    assert_eq!(
        data,
        json!({
            "callDetails": { "nodes": [
                { "databaseId": 3, "status": "SUCCESS", "statusCode": 200, "latencyMs": 7 },
                failed(4, Some(5000), Some(3)),
                failed(2, None, None),
                failed(1, None, None),
            ] },
            "callGroups": [
                group(None, "FAILURE", 2, 2, 0, None),
                group(Some(200), "SUCCESS", 1, 0, 1, Some(7.0)),
                group(Some(5000), "FAILURE", 1, 1, 1, Some(3.0)),
            ],
        })
    );
    assert_eq!(ids(&app, &format!("{HOUR}, filter: {{ status: FAILURE }}")).await, [4, 2, 1]);
    assert_eq!(ids(&app, &format!("{HOUR}, filter: {{ minLatencyMs: 0 }}")).await, [4, 3]);
    assert_eq!(walk(&app, "SLOWEST_FIRST", 1, false, async || ()).await, [3, 4, 2, 1]);
}

async fn calls_without_a_time_are_in_no_window(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let nothing = |row: CallRow| row.key(NULL).model(NULL).status(NULL).latency(NULL);
    database
        .insert(&[
            nothing(CallRow::at_stored(NULL).id(1)),
            nothing(CallRow::at("2026-03-01T11:30:00Z").id(2)),
        ])
        .await;
    for order in ORDERS {
        let ever = "between: { since: \"0001-01-01T00:00:00Z\", until: \"9999-12-31T23:59:59Z\" }";
        assert_eq!(ids(&app, &format!("{ever}, orderBy: {order}")).await, [2]);
    }
}

async fn only_selected_fields_are_read(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z")]).await;
    let all = "nodes { databaseId } edges { cursor node { model } } pageInfo { hasNextPage }";
    for (selected, statements) in [
        ("totalCount", 1),
        (all, 1),
        ("pageInfo { endCursor }", 1),
        (&format!("{all} totalCount"), 2),
        ("__typename", 0),
        ("... { ... on CallConnection { totalCount } }", 1),
    ] {
        let query = format!("{{ callDetails({HOUR}) {{ {selected} }} }}");
        assert_eq!(app.statements(&query).await, statements, "{selected}");
    }
    let counts = "{ a: callDetails(period: LAST_HOUR) { totalCount }
        b: callDetails(period: LAST_HOUR, orderBy: OLDEST_FIRST, first: 1) { totalCount }
        c: callDetails(period: LAST_MINUTE) { totalCount } }";
    assert_eq!(app.statements(counts).await, 1);
}

async fn error_logs_of_several_lists_share_one_statement(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let failed = |time| CallRow::at(time).status(429);
    database
        .insert(&[
            failed("2026-03-01T11:30:00Z").id(1),
            failed("2026-03-01T11:59:30Z").id(2).key("other"),
            failed("2026-03-01T11:59:40Z").id(3),
        ])
        .await;
    database
        .insert(&[
            ErrorRow::at("2026-03-01T11:30:01Z").id(11),
            ErrorRow::at("2026-03-01T11:59:30Z").id(12).key("other"),
        ])
        .await;
    let log = "errorLog { databaseId }";
    let query = format!(
        "{{ a: callDetails(period: LAST_HOUR) {{ nodes {{ databaseId {log} }} }}
            b: callDetails(period: LAST_MINUTE) {{ edges {{ node {{ {log} }} }} }} }}"
    );
    let data = app.data(&query).await;
    assert_eq!(
        data["a"]["nodes"],
        json!([
            { "databaseId": 3, "errorLog": null },
            { "databaseId": 2, "errorLog": { "databaseId": 12 } },
            { "databaseId": 1, "errorLog": { "databaseId": 11 } },
        ])
    );
    assert_eq!(app.statements(&query).await, 3);
    let lists: String = (0..10)
        .map(|list| format!("l{list}: callDetails({HOUR}, first: {}) {{ ...list }} ", list + 1))
        .collect();
    let many =
        format!("{{ {lists} }} fragment list on CallConnection {{ nodes {{ ... {{ {log} }} }} }}");
    assert_eq!(app.statements(&many).await, 11);
    let succeeded =
        format!("{{ callDetails({HOUR}, filter: {{ status: SUCCESS }}) {{ nodes {{ {log} }} }} }}");
    assert_eq!(app.statements(&succeeded).await, 1, "only failed calls are looked up");
}

async fn bad_arguments_are_named_in_errors(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z")]).await;
    let data = app
        .data(
            "{ time: callDetails(period: LAST_HOUR) { pageInfo { endCursor } }
               latency: callDetails(period: LAST_HOUR, orderBy: SLOWEST_FIRST) { pageInfo { endCursor } }
               keys: apiKeys { pageInfo { endCursor } } }",
        )
        .await;
    let cursor = |list: &str| data[list]["pageInfo"]["endCursor"].clone();
    let (time, latency, key) = (cursor("time"), cursor("latency"), cursor("keys"));
    let range = "between: { since: \"2026-03-01T11:00:00Z\", until: \"2026-03-01T12:00:00Z\" }";
    let cases = [
        (String::new(), "period"),
        (format!("{HOUR}, {range}"), "period"),
        (format!("{range}, asOf: \"2026-03-01T12:00:00Z\""), "asOf"),
        (
            "between: { since: \"2026-03-01T12:00:00Z\", until: \"2026-03-01T11:00:00Z\" }".into(),
            "between",
        ),
        (
            "between: { since: \"2026-03-01T12:00:00Z\", until: \"2026-03-01T12:00:00Z\" }".into(),
            "between",
        ),
        (format!("{HOUR}, asOf: \"0001-01-01T00:00:00Z\""), "asOf"),
        (format!("{HOUR}, first: 0"), "first"),
        (format!("{HOUR}, first: -1"), "first"),
        (format!("{HOUR}, first: 1001"), "first"),
        (format!("{HOUR}, last: 0"), "last"),
        (format!("{HOUR}, last: 1001"), "last"),
        (format!("{HOUR}, first: 1, last: 1"), "first"),
        (format!("{HOUR}, after: \"\""), "after"),
        (format!("{HOUR}, after: \"nonsense\""), "after"),
        (format!("{HOUR}, last: 1, before: \"bm9uc2Vuc2U\""), "before"),
        (format!("{HOUR}, after: {latency}"), "after"),
        (format!("{HOUR}, before: {key}"), "before"),
        (format!("{HOUR}, orderBy: SLOWEST_FIRST, after: {time}"), "after"),
        (format!("{HOUR}, filter: {{ minLatencyMs: 2, maxLatencyMs: 1 }}"), "filter"),
        (format!("{HOUR}, filter: {{ models: [\"\\u0000\"] }}"), "filter"),
        (format!("{HOUR}, filter: {{ keys: [\"\\u0000\"] }}"), "filter"),
        (format!("{HOUR}, key: \"{}\"", "k".repeat(501)), "key"),
    ];
    for (args, argument) in cases {
        let args = if args.is_empty() { args } else { format!("({args})") };
        let response = app.graphql(&format!("{{ callDetails{args} {{ totalCount }} }}")).await;
        let extensions = &response["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "BAD_USER_INPUT", "{args}: {response}");
        assert_eq!(extensions["argument"], argument, "{args}: {response}");
    }
    for args in ["first: 1000", "last: 1000", "first: null, last: null, after: null, filter: null"]
    {
        assert_eq!(ids(&app, &format!("{HOUR}, {args}")).await.len(), 1, "{args}");
    }
    let unknown = app
        .graphql("{ callDetails(period: LAST_HOUR, filter: { keys: [\"key_AAAAAAAAAAAAAAAAAAAAAA\"] }) { totalCount } }")
        .await;
    assert_eq!(unknown["errors"][0]["extensions"]["code"], "NOT_FOUND");
}

async fn forged_cursors_are_refused(database: TestDatabase) {
    use base64::Engine;
    let app = TestApp::start(&database).await;
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z")]).await;
    for text in [
        "call:1:t8000000000000000000",
        "call:1:t-8000000000000000000",
        "call:1:t-8000000000000000",
        "call:1:t253402300800000000",
        "call:1:t-62135596800000001",
        "call:9223372036854775807:t0",
        "call:-1:t0",
        "call:1:rnonsense",
        "call:1:r",
        "call:1:r\0",
    ] {
        let cursor = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        for position in ["first: 1, after", "last: 1, before"] {
            let query =
                format!("{{ callDetails({HOUR}, {position}: \"{cursor}\") {{ nodes {{ id }} }} }}");
            let response = app.graphql(&query).await;
            let code = &response["errors"][0]["extensions"]["code"];
            assert!(code.is_null() || code == "BAD_USER_INPUT", "{text:?}: {response}");
        }
    }
}

async fn times_of_a_storage_zone_are_shown_in_utc(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.database.storage_time_zone = chrono_tz::Tz::Asia__Shanghai;
    })
    .await;
    // NOW is 20:00 in Shanghai.
    let stored = |id, time: &str| CallRow::at_stored(at(time)).id(id);
    database
        .insert(&[
            stored(1, "2026-03-01T19:00:00Z"),
            stored(2, "2026-03-01T19:59:59.999999Z").status(429),
            stored(3, "2026-03-01T20:00:00Z"),
            stored(4, "2026-03-01T18:59:59.999999Z"),
            stored(5, "2026-03-01T07:59:59.999999Z"),
        ])
        .await;
    let error = at("2026-03-01T19:59:59Z");
    database.insert(&[ErrorRow::at_stored(error).id(7)]).await;
    let data = app
        .data(
            "{ usageStats { lastMinute { total } lastHour { total } currentMonth { total } }
               inShanghai: usageStats(timeZone: \"Asia/Shanghai\") { currentMonth { total } }
               callDetails(period: LAST_HOUR) { totalCount nodes {
                   databaseId timestamp errorLog { databaseId timestamp } } }
               callSeries(period: LAST_8_HOURS, interval: \"PT3H\") { start end counts { total } }
               callGroups(by: [STATUS], period: LAST_HOUR) { status counts { total } }
               apiKeys { nodes { firstSeenAt lastSeenAt counts(period: LAST_HOUR) { total }
                   calls(period: LAST_MINUTE) { nodes { timestamp } } } }
               errorLogs { nodes { timestamp } }
               errorLookup(key: \"key\", timestamp: \"2026-03-01T12:00:00Z\") { databaseId } }",
        )
        .await;
    let total = |total| json!({ "total": total });
    let bucket = |start: &str, end: &str, count| {
        let at = |hour| format!("2026-03-01T{hour}:00:00Z");
        json!({ "start": at(start), "end": at(end), "counts": total(count) })
    };
    let last = "2026-03-01T11:59:59.999999Z";
    assert_eq!(
        data,
        json!({
            "usageStats": {
                "lastMinute": total(1), "lastHour": total(2), "currentMonth": total(3),
            },
            "inShanghai": { "currentMonth": total(4) },
            "callDetails": { "totalCount": 2, "nodes": [
                {
                    "databaseId": 2, "timestamp": last,
                    "errorLog": { "databaseId": 7, "timestamp": "2026-03-01T11:59:59Z" },
                },
                { "databaseId": 1, "timestamp": "2026-03-01T11:00:00Z", "errorLog": null },
            ] },
            "callSeries": [bucket("04", "06", 0), bucket("06", "09", 0), bucket("09", "12", 3)],
            "callGroups": [
                { "status": "FAILURE", "counts": total(1) },
                { "status": "SUCCESS", "counts": total(1) },
            ],
            "apiKeys": { "nodes": [{
                "firstSeenAt": "2026-02-28T23:59:59.999999Z",
                "lastSeenAt": "2026-03-01T12:00:00Z",
                "counts": total(2),
                "calls": { "nodes": [{ "timestamp": last }] },
            }] },
            "errorLogs": { "nodes": [{ "timestamp": "2026-03-01T11:59:59Z" }] },
            "errorLookup": { "databaseId": 7 },
        })
    );
    for order in ORDERS {
        let mut found = walk(&app, order, 1, false, async || ()).await;
        found.sort_unstable();
        assert_eq!(found, [1, 2], "{order}");
    }
    app.clock.advance(TimeDelta::hours(1));
    assert_eq!(ids(&app, HOUR).await, [3]);
}

/// SQLite stores integers of any width. A latency beyond GraphQL's `Int` is null.
async fn a_latency_beyond_int_keeps_its_row(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database.insert(&[1, 2, 3].map(|ms| CallRow::at("2026-03-01T11:59:00Z").latency(ms))).await;
    database.execute("UPDATE t_request_log SET latency_ms = 3000000000 WHERE id = 1").await;
    let (mut seen, mut after) = (vec![], String::from("null"));
    for _ in 0..3 {
        let data = app
            .data(&format!(
                "{{ callDetails(period: LAST_HOUR, orderBy: SLOWEST_FIRST, first: 1, after: {after}) {{
                    nodes {{ databaseId }} pageInfo {{ endCursor }} }} }}"
            ))
            .await;
        seen.push(data["callDetails"]["nodes"][0]["databaseId"].clone());
        after = data["callDetails"]["pageInfo"]["endCursor"].to_string();
    }
    assert_eq!(seen, [3, 2, 1]);
}
