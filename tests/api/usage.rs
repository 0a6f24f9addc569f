//! `usageStats`.

use serde_json::json;

use super::support::{CallRow, Kind, NULL, TestApp, TestDatabase, error_code, gateway};
use crate::tests;

tests! {
    windows_are_half_open,
    all_windows_need_one_statement,
    reads_continue_while_a_gateway_writes.only(&[Kind::Sqlite]),
    a_key_is_given_by_its_text_or_id,
    keys_are_case_sensitive.empty(),
    windows_may_end_in_the_past,
    months_start_in_their_zone,
    the_zone_of_the_server_is_the_default,
    texts_are_failures_in_sqlite.only(&[Kind::Sqlite]),
    windows_may_overlap,
    bad_arguments_are_named_in_errors,
}

async fn windows_are_half_open(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database
        .insert(&[
            CallRow::at("2026-03-01T12:00:00Z"),
            CallRow::at("2026-03-01T11:59:59.999999Z").status(429),
            CallRow::at("2026-03-01T11:59:00Z").status(NULL),
            CallRow::at("2026-03-01T11:58:59.999999Z"),
            CallRow::at("2026-02-28T23:59:59.999999Z"),
        ])
        .await;
    let counts = "{ total success failure successRate }";
    let data = app
        .data(&format!("{{ usageStats {{ asOf lastMinute {counts} lastHour {counts} currentMonth {counts} last(duration: \"PT1S\") {counts} }} }}"))
        .await;
    assert_eq!(
        data["usageStats"],
        json!({
            "asOf": "2026-03-01T12:00:00Z",
            "lastMinute": { "total": 2, "success": 0, "failure": 2, "successRate": 0.0 },
            "lastHour": { "total": 3, "success": 1, "failure": 2, "successRate": 1.0 / 3.0 },
            "currentMonth": { "total": 3, "success": 1, "failure": 2, "successRate": 1.0 / 3.0 },
            "last": { "total": 1, "success": 0, "failure": 1, "successRate": 0.0 },
        })
    );
}

async fn all_windows_need_one_statement(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let query = "{
        a: usageStats { lastMinute { total } lastHour { total } last8Hours { total } last24Hours { total }
            currentMonth { total } last(duration: \"P90D\") { total } }
        b: usageStats(key: \"key-a\") { lastHour { total } currentMonth { total } }
        serverInfo { version }
    }";
    assert_eq!(app.statements(query).await, 1);
}

async fn a_key_is_given_by_its_text_or_id(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let call = |key| CallRow::at("2026-03-01T11:59:30Z").key(key);
    database.insert(&[call("a"), call("a").status(500), call("b"), call("b").key(NULL)]).await;
    let id = app.data("{ apiKey(key: \"a\") { id } }").await["apiKey"]["id"].clone();
    let data = app
        .data(&format!(
            "{{ key: usageStats(key: \"a\") {{ lastHour {{ total success }} }}
                id: usageStats(key: {id}) {{ lastHour {{ total success }} }}
                all: usageStats {{ lastHour {{ total success }} }}
                none: usageStats(key: \"c\") {{ lastHour {{ total success }} }}
                empty: usageStats(key: \"\") {{ lastHour {{ total success failure successRate }} }} }}"
        ))
        .await;
    let hour = |total, success| json!({ "lastHour": { "total": total, "success": success } });
    let nothing = json!({ "total": 0, "success": 0, "failure": 0, "successRate": null });
    assert_eq!(
        data,
        json!({
            "key": hour(2, 1), "id": hour(2, 1), "all": hour(4, 3), "none": hour(0, 0),
            "empty": { "lastHour": nothing },
        })
    );
}

async fn keys_are_case_sensitive(database: TestDatabase) {
    // MySQL's usual collation treats both as equal.
    database.execute(gateway::ddl(database.kind())).await;
    let app = TestApp::start(&database).await;
    let call = |key| CallRow::at("2026-03-01T11:59:30Z").key(key);
    database.insert(&[call("key-a"), call("KEY-A"), call("KEY-A"), call("kéy-a")]).await;
    let data = app
        .data(
            "{ lower: usageStats(key: \"key-a\") { lastHour { total } }
               upper: usageStats(key: \"KEY-A\") { lastHour { total } }
               mixed: usageStats(key: \"Key-A\") { lastHour { total } }
               accent: usageStats(key: \"kéy-a\") { lastHour { total } }
               callDetails(period: LAST_HOUR, key: \"key-a\") { totalCount }
               callGroups(by: [API_KEY], period: LAST_HOUR) { apiKey { secret } counts { total } } }",
        )
        .await;
    let total = |total| json!({ "lastHour": { "total": total } });
    let group = |key, total| json!({ "apiKey": { "secret": key }, "counts": { "total": total } });
    assert_eq!(
        data,
        json!({
            "lower": total(1), "upper": total(2), "mixed": total(0), "accent": total(1),
            "callDetails": { "totalCount": 1 },
            "callGroups": [group("KEY-A", 2), group("key-a", 1), group("kéy-a", 1)],
        })
    );
}

async fn windows_may_end_in_the_past(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database
        .insert(&[
            CallRow::at("2026-02-10T08:29:59.999999Z"),
            CallRow::at("2026-02-10T08:30:00Z"),
            CallRow::at("2026-02-01T00:00:00Z"),
            CallRow::at("2026-01-31T23:59:59.999999Z"),
        ])
        .await;
    let data = app
        .data(
            "{ usageStats(asOf: \"2026-02-10T16:30:00+08:00\") {
                asOf lastMinute { total } last24Hours { total } currentMonth { total } } }",
        )
        .await;
    assert_eq!(
        data["usageStats"],
        json!({
            "asOf": "2026-02-10T08:30:00Z",
            "lastMinute": { "total": 1 }, "last24Hours": { "total": 1 }, "currentMonth": { "total": 2 },
        })
    );
}

async fn months_start_in_their_zone(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    // Each month starts in Berlin's offset on its first day: summer time lasts from
    // 2026-03-29 to 2026-10-25.
    let month_starts = ["2026-02-28T23:00:00Z", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"];
    let before = [
        "2026-02-28T22:59:59.999999Z",
        "2026-09-30T21:59:59.999999Z",
        "2026-10-31T22:59:59.999999Z",
    ];
    database.insert(&month_starts.map(CallRow::at)).await;
    database.insert(&before.map(|time| CallRow::at(time).status(NULL))).await;
    let month = async |zone: &str, as_of: &str| {
        let args = format!("timeZone: \"{zone}\", asOf: \"{as_of}\"");
        let query = format!("{{ usageStats({args}) {{ currentMonth {{ success failure }} }} }}");
        let counts = app.data(&query).await["usageStats"]["currentMonth"].clone();
        (counts["success"].as_i64().unwrap(), counts["failure"].as_i64().unwrap())
    };
    assert_eq!(month("Europe/Berlin", "2026-03-31T21:59:59Z").await, (1, 0));
    assert_eq!(month("Europe/Berlin", "2026-10-24T12:00:00Z").await, (1, 0));
    assert_eq!(month("Europe/Berlin", "2026-10-31T22:30:00Z").await, (1, 0));
    assert_eq!(month("Europe/Berlin", "2026-10-31T23:00:00Z").await, (0, 0));
    assert_eq!(month("Europe/Berlin", "2026-11-01T00:00:00Z").await, (1, 0));
    assert_eq!(month("UTC", "2026-10-31T23:59:00Z").await, (1, 1));
    assert_eq!(month("Asia/Shanghai", "2026-10-31T23:59:00Z").await, (1, 1));
    assert_eq!(month("America/New_York", "2026-11-01T03:00:00Z").await, (1, 1));
}

async fn the_zone_of_the_server_is_the_default(database: TestDatabase) {
    let shanghai = chrono_tz::Tz::Asia__Shanghai;
    let app = TestApp::start_with(&database, |config| config.graphql.time_zone = shanghai).await;
    database.insert(&["2026-02-28T15:59:59Z", "2026-02-28T16:00:00Z"].map(CallRow::at)).await;
    let data = app
        .data(
            "{ usageStats { currentMonth { total } }
               utc: usageStats(timeZone: \"UTC\") { currentMonth { total } }
               callDetails(period: CURRENT_MONTH) { totalCount }
               callSeries(period: CURRENT_MONTH, interval: \"P1D\") { start } }",
        )
        .await;
    assert_eq!(
        data,
        json!({
            "usageStats": { "currentMonth": { "total": 1 } },
            "utc": { "currentMonth": { "total": 0 } },
            "callDetails": { "totalCount": 1 },
            "callSeries": [{ "start": "2026-02-28T16:00:00Z" }],
        })
    );
}

async fn texts_are_failures_in_sqlite(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let statuses = ["Server disconnected without sending a response.", "", "200", "2xx", "-"];
    database
        .insert(&statuses.map(|status| CallRow::at("2026-03-01T11:59:30Z").status(status)))
        .await;
    let data =
        app.data("{ usageStats(key: \"key\") { lastHour { total success failure } } }").await;
    // SQLite stores a text that is a whole number as a number.
    assert_eq!(data["usageStats"]["lastHour"], json!({ "total": 5, "success": 1, "failure": 4 }));
}

async fn windows_may_overlap(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.graphql.max_aliases = 100).await;
    let rows: Vec<CallRow> =
        (0..60).map(|minute| CallRow::at(&format!("2026-03-01T11:{minute:02}:00Z"))).collect();
    database.insert(&rows).await;
    let spans: String = (1..=40)
        .map(|n| format!("l{n}: last(duration: \"PT{}M{}S\") {{ total }} ", n * 2, n % 2))
        .collect();
    let query = format!(
        "{{ usageStats {{ {spans} }} past: usageStats(asOf: \"2026-03-01T11:30:00Z\", key: \"key\") {{ {spans} }} }}"
    );
    let data = app.data(&query).await;
    for n in 1..=40 {
        let minutes = n * 2;
        assert_eq!(data["usageStats"][format!("l{n}")]["total"], minutes.min(60), "{minutes}");
        assert_eq!(data["past"][format!("l{n}")]["total"], minutes.min(30), "{minutes} before");
    }
    assert_eq!(app.statements(&query).await, 1);
}

async fn bad_arguments_are_named_in_errors(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for (args, field, argument) in [
        ("asOf: \"yesterday\"", "lastHour", "asOf"),
        ("asOf: \"2026-03-01T12:00:00\"", "lastHour", "asOf"),
        ("asOf: \"0001-01-01T00:00:00Z\"", "lastHour", "asOf"),
        ("timeZone: \"Mars/Olympus\"", "lastHour", "timeZone"),
        ("key: \"\\u0000\"", "lastHour", "key"),
        ("asOf: \"0900-01-01T00:00:00Z\"", "last(duration: \"P366000D\")", "duration"),
        ("key: null", "last(duration: \"1h\")", "duration"),
    ] {
        let query = format!("{{ usageStats({args}) {{ {field} {{ total }} }} }}");
        let response = app.graphql(&query).await;
        let extensions = &response["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "BAD_USER_INPUT", "{args} {field}: {response}");
        assert_eq!(extensions["argument"], argument, "{args} {field}: {response}");
    }
    let unknown = "{ usageStats(key: \"key_AAAAAAAAAAAAAAAAAAAAAA\") { asOf } }";
    assert_eq!(error_code(&app.graphql(unknown).await), "NOT_FOUND");
}

/// A writer with SQLite's lock, within a transaction, does not block readers.
async fn reads_continue_while_a_gateway_writes(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database.insert(&[CallRow::at("2026-03-01T11:59:30Z")]).await;
    database.execute("BEGIN IMMEDIATE").await;
    database.insert(&[CallRow::at("2026-03-01T11:59:40Z")]).await;
    let query =
        "{ usageStats { lastMinute { total } } callDetails(period: LAST_MINUTE) { totalCount } }";
    let during = app.data(query).await;
    database.execute("COMMIT").await;
    let after = app.data(query).await;
    for (data, count) in [(during, 1), (after, 2)] {
        assert_eq!(data["usageStats"]["lastMinute"]["total"], count);
        assert_eq!(data["callDetails"]["totalCount"], count);
    }
}
