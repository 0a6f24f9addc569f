//! Rows that a gateway should not have written: shown as far as possible, without hiding other rows.

use serde_json::{Value, json};

use crate::support::{CallRow, ErrorRow, Kind, TestApp, TestDatabase};
use crate::tests;

tests! {
    invalid_times_hide_no_other_row,
    times_out_of_range_are_shown_as_the_nearest_time,
    texts_in_number_columns_hide_no_other_value.only(&[Kind::Sqlite]),
    numbers_that_do_not_fit_are_null,
    keys_of_unusual_characters_are_preserved,
    invalid_utf8_is_shown_with_replacement_characters.only(&[Kind::Sqlite]),
    requests_without_json_are_shown_as_text.only(&[Kind::Sqlite]),
    deep_and_large_requests_are_shown,
}

const NOON: &str = "2026-03-01T11:59:30Z";

/// A query with every field that reads rows.
const EVERYTHING: &str = "{
  callDetails(period: LAST_HOUR) { totalCount nodes { id timestamp model status statusCode latencyMs
    apiKey { id masked secret } errorLog { message request } } }
  longAgo: callDetails(between: { since: \"0001-01-01T00:00:00Z\", until: \"9999-12-31T00:00:00Z\" }) { totalCount nodes { id } }
  errorLogs { totalCount nodes { id timestamp model errorType errorCode message request apiKey { id } } }
  usageStats { lastMinute { total } lastHour { total failure } last24Hours { total } }
  apiKeys { nodes { id masked secret firstSeenAt lastSeenAt counts(period: LAST_HOUR) { total }
    latency(period: LAST_HOUR) { p50 max } } }
  callGroups(by: [API_KEY, MODEL, STATUS_CODE], period: LAST_HOUR) { apiKey { id } model statusCode counts { total } }
  callSeries(period: LAST_HOUR, interval: \"PT10M\") { counts { total } latency { p50 p95 max } }
  errorGroups(by: [API_KEY, MODEL, ERROR_CODE]) { errorCode count firstSeenAt lastSeenAt latest { message } }
  errorLookup(key: \"key\", timestamp: \"2026-03-01T11:59:30Z\") { message }
}";

async fn query_everything(app: &TestApp) -> Value {
    let response = app.graphql(EVERYTHING).await;
    assert!(response.get("errors").is_none(), "{:#}", response["errors"]);
    response["data"].clone()
}

/// Values that the database accepts in a time column but that are not times.
pub fn invalid_times(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Sqlite => &["soon", "", "NaN", "2026-13-45 99:99:99.000000", "\u{0}", "💥"],
        Kind::Postgres => &["infinity", "-infinity"],
        Kind::MariaDb => &["0000-00-00 00:00:00", "2026-00-00 00:00:00", "2026-02-00 10:00:00"],
    }
}

pub fn unusual_times(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Sqlite => &[
            "0000-01-01 00:00:00.000000",
            "9999-12-31 23:59:59.999999",
            "10000-01-01 00:00:00.000000",
        ],
        Kind::Postgres => &[
            "4713-01-01 00:00:00 BC",
            "0001-01-01 00:00:00",
            "9999-12-31 23:59:59.999999",
            "10000-01-01 00:00:00",
            "200000-01-01 00:00:00",
            "294276-12-31 23:59:59.999999",
        ],
        Kind::MariaDb => &["0001-01-01 00:00:00", "9999-12-31 23:59:59"],
    }
}

pub async fn insert_at(database: &TestDatabase, times: &[&str]) {
    for time in times {
        // Text that SQLite does not accept between quotes.
        let time = if *time == "\0" { "x" } else { *time };
        database.insert(&[CallRow::at_stored(time).key("odd").status(500)]).await;
        database.insert(&[ErrorRow::at_stored(time).key("odd")]).await;
    }
}

async fn invalid_times_hide_no_other_row(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database.insert(&[CallRow::at(NOON).status(429)]).await;
    database.insert(&[ErrorRow::at(NOON)]).await;
    insert_at(&database, invalid_times(database.kind())).await;
    let data = query_everything(&app).await;
    assert_eq!(data["callDetails"]["totalCount"], 1);
    assert_eq!(data["usageStats"]["last24Hours"]["total"], 1);
    assert_eq!(data["callDetails"]["nodes"][0]["errorLog"]["message"], "quota exceeded");
    // Each row alone is shown with all readable fields.
    for number in 2..=invalid_times(database.kind()).len() + 1 {
        for id in ["call", "error"] {
            let query = format!(
                "{{ node(id: \"{id}_{number}\") {{ ... on Call {{ timestamp statusCode errorLog {{ id }} }} \
                 ... on ErrorLog {{ timestamp message }} }} }}"
            );
            let response = app.graphql(&query).await;
            assert!(response.get("errors").is_none(), "{response:#}");
        }
    }
}

async fn times_out_of_range_are_shown_as_the_nearest_time(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    insert_at(&database, unusual_times(database.kind())).await;
    let data = query_everything(&app).await;
    let shown = |row: &Value| {
        let text = row["timestamp"].as_str().unwrap().to_owned();
        assert!(chrono::DateTime::parse_from_rfc3339(&text).is_ok(), "{text}");
    };
    data["errorLogs"]["nodes"].as_array().unwrap().iter().for_each(shown);
    for number in 1..=unusual_times(database.kind()).len() {
        let query = format!("{{ node(id: \"call_{number}\") {{ ... on Call {{ timestamp }} }} }}");
        // A row without a readable time is in no list, and no node.
        let data = app.data(&query).await;
        if !data["node"].is_null() {
            shown(&data["node"]);
        }
    }
}

async fn texts_in_number_columns_hide_no_other_value(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database
        .insert(&[
            CallRow::at(NOON).status("Server disconnected").latency("fast"),
            CallRow::at(NOON).status("429").latency("1e3"),
            CallRow::at(NOON).status("").latency("💥"),
            CallRow::at(NOON).status(200).latency(7),
        ])
        .await;
    database.insert(&[ErrorRow::at(NOON).code("teapot"), ErrorRow::at(NOON).code(418)]).await;
    database
        .execute(
            "UPDATE t_request_log SET latency_ms = 1.5e300 WHERE id = 1;
             UPDATE t_request_log SET status_code = 9e999, latency_ms = -9e999 WHERE id = 2;
             UPDATE t_request_log SET status_code = x'fffe' WHERE id = 3",
        )
        .await;
    let data = query_everything(&app).await;
    assert_eq!(data["callDetails"]["totalCount"], 4);
    assert_eq!(data["usageStats"]["lastHour"], json!({ "total": 4, "failure": 3 }));
    let codes: Vec<&Value> = data["errorLogs"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|log| &log["errorCode"])
        .collect();
    assert_eq!(codes, [&json!(418), &Value::Null]);
}

async fn numbers_that_do_not_fit_are_null(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let most = i32::MAX;
    database
        .insert(&[
            CallRow::at(NOON).status(most).latency(most),
            CallRow::at(NOON).status(-1).latency(i32::MIN),
            CallRow::at(NOON).status(0).latency(-5),
        ])
        .await;
    database.insert(&[ErrorRow::at(NOON).code(i32::MIN), ErrorRow::at(NOON).code(most)]).await;
    if database.kind() == Kind::Sqlite {
        database
            .execute(
                "UPDATE t_request_log SET status_code = 9223372036854775807, latency_ms = 4294967296 WHERE id = 1;
                 UPDATE t_error_logs SET error_code = -9223372036854775808 WHERE id = 1",
            )
            .await;
    }
    let data = query_everything(&app).await;
    assert_eq!(data["usageStats"]["lastHour"], json!({ "total": 3, "failure": 3 }));
    if database.kind() == Kind::Sqlite {
        let node =
            app.data("{ node(id: \"call_1\") { ... on Call { statusCode latencyMs } } }").await;
        assert_eq!(node["node"], json!({ "statusCode": null, "latencyMs": null }));
    }
}

/// A hundred characters each, the limit of a gateway's columns.
fn unusual_keys() -> Vec<String> {
    let odd = [
        "🔑",
        "密",
        "ش",
        "\u{202e}",
        "\u{200d}",
        "e\u{301}",
        "'",
        "\"",
        "\\",
        "%",
        "_",
        "\u{7f}",
        "\t",
        "\n",
        "\u{feff}",
        "<b>",
        "İ",
        "ß",
        "\u{10ffff}",
        "a\u{1}",
    ];
    odd.iter().map(|odd| odd.repeat(100).chars().take(100).collect()).collect()
}

async fn keys_of_unusual_characters_are_preserved(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let keys = unusual_keys();
    let calls: Vec<_> = keys
        .iter()
        .map(|key| CallRow::at(NOON).key(key.as_str()).model(key.as_str()).status(429))
        .collect();
    database.insert(&calls).await;
    let logs: Vec<_> = keys
        .iter()
        .map(|key| ErrorRow::at(NOON).key(key.as_str()).model(key.as_str()).log(key.as_str()))
        .collect();
    database.insert(&logs).await;
    let data = query_everything(&app).await;
    let calls = data["callDetails"]["nodes"].as_array().unwrap();
    for key in &keys {
        let call = calls.iter().find(|call| call["apiKey"]["secret"] == **key);
        let call = call.unwrap_or_else(|| panic!("{key:?} is not listed"));
        assert_eq!((&call["model"], &call["errorLog"]["message"]), (&json!(key), &json!(key)));
        // The key's text and its id both find it again.
        for argument in [json!(key), call["apiKey"]["id"].clone()] {
            let query = "query ($key: String!) { callDetails(period: LAST_HOUR, key: $key) { totalCount } }";
            let found = app.graphql_with(query, json!({ "key": argument })).await;
            assert_eq!(found["data"]["callDetails"]["totalCount"], 1, "{key:?} {found}");
        }
        let masked = call["apiKey"]["masked"].as_str().unwrap();
        assert!(masked.chars().count() < 20, "{masked}");
    }
}

async fn invalid_utf8_is_shown_with_replacement_characters(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database.insert(&[CallRow::at(NOON), CallRow::at(NOON), CallRow::at(NOON).key("good")]).await;
    database.insert(&[ErrorRow::at(NOON), ErrorRow::at(NOON), ErrorRow::at(NOON)]).await;
    database
        .execute(
            "UPDATE t_request_log SET model_name = CAST(x'6162ff' AS TEXT), api_key = CAST(x'c328' AS TEXT) WHERE id = 1;
             UPDATE t_request_log SET model_name = 'a' || char(0) || 'b', api_key = x'00ff00' WHERE id = 2;
             UPDATE t_error_logs SET error_log = CAST(x'ffd8ffe000104a46' AS TEXT), request_msg = x'ff00' WHERE id = 1;
             UPDATE t_error_logs SET error_log = 'a' || char(0) || 'b', request_msg = 'a' || char(0), error_type = x'80' WHERE id = 2",
        )
        .await;
    let data = query_everything(&app).await;
    assert_eq!(data["callDetails"]["totalCount"], 3);
    let models: Vec<&str> = data["callDetails"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|call| call["model"].as_str())
        .collect();
    assert!(models.contains(&"ab\u{fffd}"), "{models:?}");
    assert_eq!(data["errorLogs"]["totalCount"], 3);
}

async fn requests_without_json_are_shown_as_text(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let texts =
        ["NaN", "{\"a\": NaN}", "{'a': 1}", "{", "\"", "", "Infinity", "[1,]", "nul", "1e999", "-"];
    let rows: Vec<_> = texts.iter().map(|text| ErrorRow::at(NOON).request(*text)).collect();
    database.insert(&rows).await;
    let data = query_everything(&app).await;
    let logs = data["errorLogs"]["nodes"].as_array().unwrap();
    assert_eq!(logs.len(), texts.len());
    for text in texts {
        assert!(logs.iter().any(|log| log["request"] == text), "{text:?}");
    }
}

async fn deep_and_large_requests_are_shown(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    // PostgreSQL and MariaDB refuse deeper values (MariaDB: 32 levels).
    let levels: &[usize] = match database.kind() {
        Kind::Sqlite => &[100, 10_000, 200_000],
        Kind::Postgres => &[100, 2_000],
        Kind::MariaDb => &[30],
    };
    let mut rows = Vec::new();
    for levels in levels {
        rows.push(ErrorRow::at(NOON).request("[".repeat(*levels) + &"]".repeat(*levels)));
    }
    rows.push(ErrorRow::at(NOON).request(json!({ "text": "x".repeat(2_000_000) }).to_string()));
    for row in rows {
        database.insert(&[row]).await;
    }
    let data = query_everything(&app).await;
    let logs = data["errorLogs"]["nodes"].as_array().unwrap();
    assert_eq!(logs.len(), levels.len() + 1);
    assert!(logs.iter().all(|log| !log["request"].is_null()));
    assert!(
        logs.iter()
            .any(|log| log["request"]["text"].as_str().is_some_and(|text| text.len() == 2_000_000))
    );
}
