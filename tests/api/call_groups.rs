//! `callGroups`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::call_model::{STATS, Sample, rounded, samples, stats, times};
use super::support::{CallRow, NULL, TestApp, TestDatabase};
use crate::tests;

tests! {
    every_grouping_works_in_every_order,
    close_rates_are_sorted_exactly,
    percentiles_are_interpolated,
    groups_may_have_no_latency,
    filters_and_windows_select_the_calls,
    groups_need_one_statement,
    bad_arguments_are_named_in_errors,
}

const DAY: &str = "period: LAST_24_HOURS";
const GROUP: &str = "apiKey { secret } model statusCode status";

async fn groups(app: &TestApp, args: &str) -> Value {
    let query = format!("{{ callGroups({args}) {{ {GROUP} {STATS} }} }}");
    rounded(&app.data(&query).await["callGroups"])
}

/// The sort key of a dimension: null sorts last, a failure before a success.
type Part = (bool, Option<String>, Option<i32>);

fn part(call: &Sample, dimension: &str) -> Part {
    let text = |text: Option<&str>| (text.is_none(), text.map(str::to_owned), None);
    match dimension {
        "API_KEY" => text(call.key),
        "MODEL" => text(call.model),
        "STATUS" => text(Some(if call.success() { "SUCCESS" } else { "FAILURE" })),
        _ => (call.status.is_none(), None, call.status),
    }
}

/// The expected groups, computed from the calls.
fn expected(calls: &[Sample], by: &[&str], order: &str) -> Value {
    let mut groups: BTreeMap<Vec<Part>, Vec<&Sample>> = BTreeMap::new();
    for call in calls {
        let parts = by.iter().map(|dimension| part(call, dimension)).collect();
        groups.entry(parts).or_default().push(call);
    }
    let mut groups: Vec<(f64, usize, _, Value)> = groups
        .into_iter()
        .map(|(parts, calls)| {
            // Sorted by the other dimensions. A key counts only by its presence; then the group with
            // the first call is first.
            let apart = by.iter().zip(&parts).map(|(dimension, part)| match *dimension {
                "API_KEY" => (part.0, None, None),
                _ => part.clone(),
            });
            let tie: (Vec<Part>, _) = (apart.collect(), calls.iter().map(|call| call.id).min());
            let mut group = stats(calls.iter().copied());
            for dimension in ["apiKey", "model", "statusCode", "status"] {
                group[dimension] = Value::Null;
            }
            for (dimension, (_, text, number)) in by.iter().zip(parts) {
                match *dimension {
                    "API_KEY" => {
                        group["apiKey"] = text.map_or(Value::Null, |key| json!({ "secret": key }))
                    }
                    "MODEL" => group["model"] = json!(text),
                    "STATUS" => group["status"] = json!(text),
                    _ => group["statusCode"] = json!(number),
                }
            }
            let failures = calls.iter().filter(|call| !call.success()).count() as f64;
            let rank = match order {
                "TOTAL_DESC" => 0.0,
                "FAILURE_DESC" => failures,
                "FAILURE_RATE_DESC" => failures / calls.len() as f64,
                _ => group["latency"]["p95"].as_f64().unwrap_or(-1.0),
            };
            (rank, calls.len(), tie, group)
        })
        .collect();
    groups.sort_by(|one, other| {
        let by_rank = other.0.partial_cmp(&one.0).unwrap_or(Ordering::Equal);
        by_rank.then(other.1.cmp(&one.1)).then(one.2.cmp(&other.2))
    });
    groups.into_iter().map(|(.., group)| group).collect()
}

const ORDERS: [&str; 4] = ["TOTAL_DESC", "FAILURE_DESC", "FAILURE_RATE_DESC", "P95_LATENCY_DESC"];

async fn every_grouping_works_in_every_order(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let hour = TimeDelta::hours(1);
    let calls = samples(240, times("2026-02-28T12:00:00Z", "2026-03-01T12:00:00Z", hour));
    database.insert(&calls.iter().map(Sample::row).collect::<Vec<_>>()).await;
    let groupings: [&[&str]; 7] = [
        &["API_KEY"],
        &["MODEL"],
        &["STATUS_CODE"],
        &["STATUS"],
        &["MODEL", "API_KEY"],
        &["STATUS", "STATUS_CODE", "MODEL"],
        &["STATUS_CODE", "API_KEY", "STATUS", "MODEL"],
    ];
    for by in groupings {
        for order in ORDERS {
            let args = format!("by: [{}], orderBy: {order}, {DAY}, first: 1000", by.join(", "));
            let expected = expected(&calls, by, order);
            assert_eq!(groups(&app, &args).await, expected, "{args}");
            let few = groups(&app, &args.replace("1000", "3")).await;
            let first: Vec<&Value> = expected.as_array().into_iter().flatten().take(3).collect();
            assert_eq!(few, json!(first), "{args}, but 3");
        }
    }
    let default = groups(&app, &format!("by: [STATUS_CODE, API_KEY, MODEL], {DAY}")).await;
    let all = expected(&calls, &["STATUS_CODE", "API_KEY", "MODEL"], "TOTAL_DESC");
    assert_eq!(json!(default), json!(all.as_array().map(|all| &all[..20])), "20 by default");
}

async fn close_rates_are_sorted_exactly(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    // 225/449 exceeds 226/451 by two in a million.
    let mut rows = Vec::new();
    for (key, failures, total) in [("higher", 225, 449), ("lower", 226, 451)] {
        rows.extend((0..total).map(|number| {
            let status = if number < failures { 500 } else { 200 };
            CallRow::at("2026-03-01T11:00:00Z").key(key).status(status)
        }));
    }
    database.insert(&rows).await;
    let query = format!(
        "{{ callGroups(by: [API_KEY], {DAY}, orderBy: FAILURE_RATE_DESC) {{ apiKey {{ secret }} }} }}"
    );
    let keys = ["higher", "lower"].map(|key| json!({ "apiKey": { "secret": key } }));
    assert_eq!(app.data(&query).await["callGroups"], json!(keys));
}

async fn percentiles_are_interpolated(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    // Groups of one to twenty calls, the first with equal latencies.
    let mut calls =
        samples(210, times("2026-03-01T11:00:00Z", "2026-03-01T11:00:01Z", TimeDelta::seconds(1)));
    let mut rest = calls.as_mut_slice();
    for size in 1..=20 {
        let (group, others) = rest.split_at_mut(size);
        for (number, call) in (0..).zip(group) {
            call.status = Some(size as i32);
            call.latency = Some(
                call.latency.unwrap_or(i32::MAX - 1) / if size < 4 { 99_999 } else { 1 }
                    + number % 2,
            );
        }
        rest = others;
    }
    database.insert(&calls.iter().map(Sample::row).collect::<Vec<_>>()).await;
    let args = format!("by: [STATUS_CODE], {DAY}");
    assert_eq!(groups(&app, &args).await, expected(&calls, &["STATUS_CODE"], "TOTAL_DESC"));
}

async fn groups_may_have_no_latency(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let call = |model| CallRow::at("2026-03-01T11:00:00Z").model(model).key(NULL).latency(NULL);
    database.insert(&[call("none"), call("none"), call("zero").latency(0)]).await;
    let null = json!({
        "count": 0, "avg": null, "min": null, "max": null,
        "p50": null, "p90": null, "p95": null, "p99": null,
    });
    let found = groups(&app, &format!("by: [MODEL], {DAY}, orderBy: P95_LATENCY_DESC")).await;
    assert_eq!(found[0]["model"], "zero");
    assert_eq!(found[0]["latency"]["p95"], 0.0);
    assert_eq!(found[1]["latency"], null);
    let without_key = groups(&app, &format!("by: [API_KEY, MODEL], {DAY}")).await;
    assert_eq!(
        (&without_key[0]["apiKey"], &without_key[0]["model"]),
        (&Value::Null, &json!("none"))
    );
    assert_eq!(groups(&app, "by: [MODEL], period: LAST_MINUTE").await, json!([]));
}

async fn filters_and_windows_select_the_calls(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let call = |key, status| CallRow::at("2026-03-01T11:00:00Z").key(key).status(status);
    database
        .insert(&[call("key-a", 429), call("key-a", 200), call("KEY-A", 429), call("key-b", 429)])
        .await;
    // The keys with the most throttled calls.
    let filter = "filter: { statusCodes: [429] }";
    let query = |key: &str| {
        format!(
            "{{ callGroups(by: [API_KEY], {DAY}, {key} {filter}) {{ apiKey {{ secret }} counts {{ total }} }} }}"
        )
    };
    let group = |key| json!({ "apiKey": { "secret": key }, "counts": { "total": 1 } });
    let all = app.data(&query("")).await;
    assert_eq!(all["callGroups"], json!([group("key-a"), group("KEY-A"), group("key-b")]));
    let one = app.data(&query("key: \"key-a\",")).await;
    assert_eq!(one["callGroups"], json!([group("key-a")]));
}

async fn groups_need_one_statement(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for fields in ["counts { total }", "latency { p95 }", "model", &format!("{GROUP} {STATS}")] {
        for order in ORDERS {
            let query = format!(
                "{{ callGroups(by: [API_KEY, MODEL, STATUS], {DAY}, orderBy: {order}) {{ {fields} }} }}"
            );
            assert_eq!(app.statements(&query).await, 1, "{order} {fields}");
        }
    }
}

async fn bad_arguments_are_named_in_errors(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for (args, argument) in [
        (format!("by: [], {DAY}"), "by"),
        (format!("by: [MODEL, STATUS, MODEL], {DAY}"), "by"),
        (format!("by: [MODEL], {DAY}, first: 0"), "first"),
        (format!("by: [MODEL], {DAY}, first: -1"), "first"),
        (format!("by: [MODEL], {DAY}, first: 1001"), "first"),
        ("by: [MODEL]".into(), "period"),
    ] {
        let response = app.graphql(&format!("{{ callGroups({args}) {{ model }} }}")).await;
        let extensions = &response["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "BAD_USER_INPUT", "{args}: {response}");
        assert_eq!(extensions["argument"], argument, "{args}: {response}");
    }
}
