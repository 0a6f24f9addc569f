//! `usableKeys`, `poolForecast`, and the usability and quotas of keys. The rules are tested in `domain::quota`.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::{CallRow, ErrorRow, Kind, TestApp, TestDatabase, error_code};
use crate::tests;

tests! {
    a_dead_key_is_no_candidate,
    an_exhausted_quota_is_stated_with_its_reset,
    pages_of_candidates_continue.only(&[Kind::Sqlite]),
    a_forecast_has_limits.only(&[Kind::Sqlite]).empty(),
    the_queries_of_the_document_are_valid.only(&[Kind::Sqlite]),
}

const NOW: &str = "2026-03-01T12:00:00Z";
const KEYS: [&str; 4] =
    ["key-of-tests-0001", "key-of-tests-0002", "key-of-tests-0003", "key-of-tests-0004"];
const LEAKED: &str = "403 Your API key was reported as leaked. Please use another API key.";
/// Gemini's text for an exhausted day, with a delay that is wrong.
const DAY: &str = r#"{"error": {"code": 429, "message": "You exceeded your current quota, please check your plan and billing details.", "status": "RESOURCE_EXHAUSTED", "details": [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests", "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaDimensions": {"location": "global", "model": "gemini-2.5-pro"}, "quotaValue": "100"}]}, {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36s"}]}}"#;

/// Four keys for eight hours, a call every minute. The first key fails since 10:00 with this code and text.
async fn insert(database: &TestDatabase, status: i32, message: &str) {
    let now: DateTime<Utc> = NOW.parse().unwrap();
    let failing = now - TimeDelta::hours(2);
    let (mut calls, mut errors) = (vec![], vec![]);
    for minute in 0..480 {
        let at = now - TimeDelta::minutes(480 - minute);
        let key = KEYS[minute as usize % 4];
        let fails = key == KEYS[0] && at >= failing;
        let status = if fails { status } else { 200 };
        let text = at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        let call = CallRow::at(&text).key(key).model("gemini-2.5-pro").status(status).latency(700);
        calls.push(call);
        if fails {
            let error = ErrorRow::at(&text).key(key).model("gemini-2.5-pro").code(status);
            errors.push(error.log(message));
        }
    }
    database.insert(&calls).await;
    database.insert(&errors).await;
}

fn masked(connection: &Value) -> Vec<&str> {
    let nodes = connection["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["masked"].as_str().unwrap()).collect()
}

async fn a_dead_key_is_no_candidate(database: TestDatabase) {
    insert(&database, 403, LEAKED).await;
    let app = TestApp::start(&database).await;
    let query = "{ usableKeys(model: \"gemini-2.5-pro\") { totalCount nodes { masked usability { state } } }
        apiKeys { nodes { masked usability(model: \"gemini-2.5-pro\") { state usableAt because { cause } } } }
        poolForecast(model: \"gemini-2.5-pro\", horizon: \"PT2H\") { at usable total } }";
    let data = app.data(query).await;
    let mut found = masked(&data["usableKeys"]);
    found.sort_unstable();
    assert_eq!(found, ["key-...0002", "key-...0003", "key-...0004"], "{data}");
    assert_eq!(data["usableKeys"]["totalCount"], 3);
    let states = data["usableKeys"]["nodes"].as_array().unwrap().iter();
    assert!(states.map(|key| &key["usability"]["state"]).all(|state| state == "USABLE"), "{data}");
    let dead = data["apiKeys"]["nodes"].as_array().unwrap().iter();
    let dead = dead.map(|key| &key["usability"]).find(|usability| usability["state"] != "USABLE");
    let expected =
        json!({ "state": "UNUSABLE", "usableAt": null, "because": { "cause": "KEY_DEAD" } });
    assert_eq!(dead, Some(&expected), "{data}");
    let points = data["poolForecast"].as_array().unwrap();
    let expected = json!({ "at": "2026-03-01T14:00:00Z", "usable": 3, "total": 4 });
    assert_eq!((points.len(), points.last()), (3, Some(&expected)), "{data}");
}

async fn an_exhausted_quota_is_stated_with_its_reset(database: TestDatabase) {
    insert(&database, 429, DAY).await;
    let app = TestApp::start(&database).await;
    let fields = "usability(model: \"gemini-2.5-pro\") { state usableAt because { cause } }
        quotas(model: \"gemini-2.5-pro\") { model metric window ceiling { value } remaining resetsAt basis }";
    let query = format!("{{ apiKey(key: \"{}\") {{ {fields} quotaGroup {{ id }} }} }}", KEYS[0]);
    let data = app.data(&query).await;
    let key = &data["apiKey"];
    // Midnight Pacific time; the text says 36 seconds.
    let reset = "2026-03-02T08:00:00Z";
    let usability = json!({
        "state": "UNUSABLE", "usableAt": reset, "because": { "cause": "QUOTA_EXHAUSTED" },
    });
    assert_eq!(key["usability"], usability, "{data}");
    let quotas = key["quotas"].as_array().unwrap();
    let day =
        quotas.iter().find(|quota| quota["window"] == "P1D").unwrap_or_else(|| panic!("{data}"));
    let expected = json!({
        "model": "gemini-2.5-pro", "metric": "REQUESTS", "window": "P1D", "ceiling": { "value": 100 },
        "remaining": 0, "resetsAt": reset, "basis": "STATED",
    });
    assert_eq!(*day, expected, "{data}");
    assert_eq!(key["quotaGroup"], json!(null));
}

async fn pages_of_candidates_continue(database: TestDatabase) {
    insert(&database, 403, LEAKED).await;
    let app = TestApp::start(&database).await;
    let all = app.data("{ usableKeys(model: \"gemini-2.5-pro\") { nodes { masked } } }").await;
    let all = masked(&all["usableKeys"]);
    let page = async |arguments: &str| {
        let fields = "nodes { masked } pageInfo { endCursor hasNextPage }";
        let arguments = format!("model: \"gemini-2.5-pro\", {arguments}");
        app.data(&format!("{{ usableKeys({arguments}) {{ {fields} }} }}")).await["usableKeys"]
            .take()
    };
    let first = page("first: 2").await;
    let cursor = &first["pageInfo"]["endCursor"];
    let second = page(&format!("first: 2, after: {cursor}")).await;
    let found: Vec<_> = [masked(&first), masked(&second)].concat();
    assert_eq!(found, all);
    assert_eq!(
        (&first["pageInfo"]["hasNextPage"], &second["pageInfo"]["hasNextPage"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(masked(&page("last: 1").await), all[2..]);
    // Without a call of the model in the window, every key that works is a candidate.
    let other = app.data("{ usableKeys(model: \"another\") { totalCount } }").await;
    assert_eq!(other["usableKeys"]["totalCount"], 3);
}

async fn a_forecast_has_limits(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for (arguments, argument) in [
        ("step: \"PT1S\"", "step"),
        ("horizon: \"P8D\"", "horizon"),
        ("horizon: \"P7D\", step: \"PT1M\"", "step"),
    ] {
        let response = app.graphql(&format!("{{ poolForecast({arguments}) {{ usable }} }}")).await;
        assert_eq!(error_code(&response), "BAD_USER_INPUT", "{response}");
        assert_eq!(response["errors"][0]["extensions"]["argument"], argument, "{response}");
    }
    let data =
        app.data("{ poolForecast { usable total } usableKeys(model: \"m\") { totalCount } }").await;
    assert_eq!(data["poolForecast"].as_array().unwrap().len(), 25);
    assert_eq!(data["usableKeys"]["totalCount"], 0);
}

async fn the_queries_of_the_document_are_valid(database: TestDatabase) {
    insert(&database, 429, DAY).await;
    let app = TestApp::start(&database).await;
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/DIAGNOSIS.md"));
    let text = text.unwrap();
    let blocks = text.split("```graphql").skip(1).map(|block| block.split("```").next().unwrap());
    let queries: Vec<&str> =
        blocks.filter(|block| !block.trim_start().starts_with("subscription")).collect();
    assert!(queries.len() >= 3, "{queries:?}");
    for query in queries {
        app.data(query).await;
    }
}
