//! Rows that gemini-balance wrote: the server's results equal those of plain SQL.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::data::gateway_database;
use crate::support::{Kind, TestApp, TestDatabase};
use crate::tests;

tests! {
    counts_match_plain_sql.only(&[Kind::Sqlite]).empty(),
    groups_match_plain_sql.only(&[Kind::Sqlite]).empty(),
    every_call_is_listed.only(&[Kind::Sqlite]).empty(),
    every_error_log_is_listed.only(&[Kind::Sqlite]).empty(),
    error_groups_match_plain_sql.only(&[Kind::Sqlite]).empty(),
    matches_equal_plain_sql.only(&[Kind::Sqlite]).empty(),
}

const WINDOW: &str =
    "between: { since: \"2026-11-22T00:00:00Z\", until: \"2026-11-23T00:00:00Z\" }";
const SUCCESS: &str = "typeof(status_code) = 'integer' AND status_code BETWEEN 200 AND 299";

async fn open(database: &TestDatabase) -> TestApp {
    let file = database.url().trim_start_matches("sqlite://");
    std::fs::write(file, gateway_database()).unwrap();
    TestApp::start(database).await
}

fn nodes(data: &Value, list: &str) -> Vec<Value> {
    data[list]["nodes"].as_array().unwrap().clone()
}

async fn counts_match_plain_sql(database: TestDatabase) {
    let app = open(&database).await;
    let data = app
        .data(&format!("{{ callSeries({WINDOW}, interval: \"P1D\") {{ counts {{ total success failure }} latency {{ count min max avg }} }}
            callDetails({WINDOW}, filter: {{ status: FAILURE }}) {{ totalCount }}
            usageStats(asOf: \"2026-11-23T00:00:00Z\") {{ currentMonth {{ total success }} lastMinute {{ total }} }} }}"))
        .await;
    let sql = format!(
        "SELECT COUNT(*), SUM({SUCCESS}), COUNT(latency_ms), MIN(latency_ms), MAX(latency_ms), AVG(latency_ms) FROM t_request_log"
    );
    let row = &database.query(&sql).await[0];
    let (total, success) = (row[0].as_i64().unwrap(), row[1].as_i64().unwrap());
    assert!(total > 1000 && success < total);
    let bucket = &data["callSeries"][0];
    assert_eq!(
        bucket["counts"],
        json!({ "total": total, "success": success, "failure": total - success })
    );
    assert_eq!(
        bucket["latency"],
        json!({ "count": row[2], "min": row[3], "max": row[4], "avg": row[5] })
    );
    assert_eq!(data["callDetails"]["totalCount"], total - success);
    assert_eq!(data["usageStats"]["currentMonth"], json!({ "total": total, "success": success }));
    assert_eq!(data["usageStats"]["lastMinute"]["total"], 0);
    // By minute, and one minute by second.
    let minutes = app
        .data(&format!(
            "{{ callSeries({WINDOW}, interval: \"PT1M\") {{ start counts {{ total success }} }} }}"
        ))
        .await;
    let mut found: Vec<Value> = minutes["callSeries"].as_array().unwrap().clone();
    assert_eq!(found.len(), 1440);
    found.retain(|bucket| bucket["counts"]["total"] != 0);
    let sql = format!(
        "SELECT strftime('%Y-%m-%dT%H:%M:00Z', request_time), COUNT(*), SUM({SUCCESS}) FROM t_request_log GROUP BY 1 ORDER BY 1"
    );
    let expected: Vec<Value> = database
        .query(&sql)
        .await
        .iter()
        .map(|row| json!({ "start": row[0], "counts": { "total": row[1], "success": row[2] } }))
        .collect();
    assert_eq!(found, expected);
}

async fn groups_match_plain_sql(database: TestDatabase) {
    let app = open(&database).await;
    let dimensions = [
        ("API_KEY", "apiKey { secret }", "api_key"),
        ("MODEL", "model", "model_name"),
        (
            "STATUS_CODE",
            "statusCode",
            "CASE WHEN typeof(status_code) = 'integer' THEN status_code END",
        ),
    ];
    for (by, field, column) in dimensions {
        let data = app
            .data(&format!("{{ callGroups(by: {by}, {WINDOW}, first: 1000) {{ {field} counts {{ total success }} latency {{ count max }} }} }}"))
            .await;
        let name = field.split(' ').next().unwrap();
        let of = |group: &Value| {
            if name == "apiKey" { group["apiKey"]["secret"].clone() } else { group[name].clone() }
        };
        let found: BTreeMap<String, Value> = data["callGroups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|group| {
                (
                    of(group).to_string(),
                    json!([
                        group["counts"]["total"],
                        group["counts"]["success"],
                        group["latency"]["count"],
                        group["latency"]["max"]
                    ]),
                )
            })
            .collect();
        let sql = format!(
            "SELECT {column}, COUNT(*), SUM({SUCCESS}), COUNT(latency_ms), MAX(latency_ms) FROM t_request_log GROUP BY 1"
        );
        let expected: BTreeMap<String, Value> = database
            .query(&sql)
            .await
            .iter()
            .map(|row| (row[0].to_string(), json!(row[1..])))
            .collect();
        assert!(expected.len() > 1);
        assert_eq!(found, expected, "{by}");
    }
}

async fn every_call_is_listed(database: TestDatabase) {
    let app = open(&database).await;
    let mut found = vec![];
    let mut cursor = Value::Null;
    loop {
        let data = app
            .data(&format!("{{ callDetails({WINDOW}, first: 400, after: {cursor}) {{ nodes {{ databaseId timestamp apiKey {{ secret }} model status statusCode latencyMs }} pageInfo {{ hasNextPage endCursor }} }} }}"))
            .await;
        found.extend(nodes(&data, "callDetails"));
        let info = &data["callDetails"]["pageInfo"];
        if info["hasNextPage"] == false {
            break;
        }
        cursor = info["endCursor"].clone();
    }
    let sql = format!(
        "SELECT id, strftime('%Y-%m-%dT%H:%M:%S', request_time) || CASE WHEN rtrim(substr(request_time, 20), '0') = '.' THEN '' ELSE rtrim(substr(request_time, 20), '0') END || 'Z',
            api_key, model_name, CASE WHEN {SUCCESS} THEN 'SUCCESS' ELSE 'FAILURE' END,
            CASE WHEN typeof(status_code) = 'integer' THEN status_code END, latency_ms
            FROM t_request_log ORDER BY request_time DESC, id DESC"
    );
    let expected: Vec<Value> = database
        .query(&sql)
        .await
        .iter()
        .map(|row| {
            let key = if row[2].is_null() { Value::Null } else { json!({ "secret": row[2] }) };
            json!({ "databaseId": row[0], "timestamp": row[1], "apiKey": key, "model": row[3], "status": row[4], "statusCode": row[5], "latencyMs": row[6] })
        })
        .collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    let texts = "SELECT COUNT(*) FROM t_request_log WHERE typeof(status_code) = 'text'";
    assert!(database.value(texts).await.as_i64() > Some(10), "texts among the status codes");
}

async fn every_error_log_is_listed(database: TestDatabase) {
    let app = open(&database).await;
    let data = app
        .data("{ errorLogs(first: 1000) { totalCount nodes { databaseId apiKey { secret } model errorType errorCode message request } } }")
        .await;
    let rows = database
        .query("SELECT id, gemini_key, model_name, error_type, error_code, error_log, request_msg FROM t_error_logs ORDER BY request_time DESC, id DESC")
        .await;
    assert_eq!(data["errorLogs"]["totalCount"], rows.len());
    let found = nodes(&data, "errorLogs");
    assert_eq!(found.len(), rows.len());
    for (found, row) in found.iter().zip(&rows) {
        let request: Value =
            row[6].as_str().map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        let key = if row[1].is_null() { Value::Null } else { json!({ "secret": row[1] }) };
        assert_eq!(
            *found,
            json!({ "databaseId": row[0], "apiKey": key, "model": row[2], "errorType": row[3], "errorCode": row[4], "message": row[5], "request": request })
        );
    }
    for (filter, condition) in [
        ("errorCodes: [429, 503]", "error_code IN (429, 503)"),
        ("contains: \"QUOTA\"", "error_type LIKE '%quota%' OR error_log LIKE '%quota%'"),
        ("contains: \"openai-\"", "error_type LIKE '%openai-%' OR error_log LIKE '%openai-%'"),
        (
            "keyContains: \"fakesy\", models: [\"gemini-2.5-pro\"]",
            "gemini_key LIKE '%fakesy%' AND model_name = 'gemini-2.5-pro'",
        ),
        ("since: \"2026-11-22T21:52:00Z\"", "request_time >= '2026-11-22 21:52:00.000000'"),
    ] {
        let data =
            app.data(&format!("{{ errorLogs(filter: {{ {filter} }}) {{ totalCount }} }}")).await;
        let expected =
            database.value(&format!("SELECT COUNT(*) FROM t_error_logs WHERE {condition}")).await;
        assert_eq!(data["errorLogs"]["totalCount"], expected, "{filter}");
    }
}

async fn error_groups_match_plain_sql(database: TestDatabase) {
    let app = open(&database).await;
    let data = app
        .data("{ errorGroups(by: [ERROR_TYPE, ERROR_CODE, MODEL], first: 1000) { errorType errorCode model count latest { databaseId } } }")
        .await;
    let key = |kind: &Value, code: &Value, model: &Value| json!([kind, code, model]).to_string();
    let found: BTreeMap<String, Value> = data["errorGroups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| {
            (
                key(&group["errorType"], &group["errorCode"], &group["model"]),
                json!([group["count"], group["latest"]["databaseId"]]),
            )
        })
        .collect();
    let expected: BTreeMap<String, Value> = database
        .query("SELECT error_type, error_code, model_name, COUNT(*),
                (SELECT id FROM t_error_logs AS l WHERE l.error_type IS e.error_type AND l.error_code IS e.error_code
                    AND l.model_name IS e.model_name ORDER BY request_time DESC, id DESC LIMIT 1)
                FROM t_error_logs AS e GROUP BY 1, 2, 3")
        .await
        .iter()
        .map(|row| (key(&row[0], &row[1], &row[2]), json!([row[3], row[4]])))
        .collect();
    assert!(expected.len() > 20);
    assert_eq!(found, expected);
}

async fn matches_equal_plain_sql(database: TestDatabase) {
    let app = open(&database).await;
    let data = app
        .data(&format!("{{ callDetails({WINDOW}, filter: {{ status: FAILURE }}, first: 1000) {{ nodes {{ databaseId errorLog {{ databaseId }} }} }} }}"))
        .await;
    // Microseconds, as whole numbers.
    let micros = |table: &str| {
        format!(
            "(unixepoch({table}.request_time) * 1000000 + CAST(substr({table}.request_time, 21, 6) AS INTEGER))"
        )
    };
    let sql = format!(
        "SELECT c.id, e.id FROM t_request_log AS c LEFT JOIN t_error_logs AS e
            ON e.gemini_key = c.api_key AND ABS({call} - {log}) <= 300000000
         WHERE NOT ({SUCCESS})
         ORDER BY c.id, COALESCE(e.error_code = c.status_code, 0) DESC, ABS({call} - {log}), {log} DESC, e.id DESC",
        call = micros("c"),
        log = micros("e"),
    );
    let id = |value: &Value| value.as_i64();
    // The first of each call is its match.
    let mut expected: Vec<(Option<i64>, Option<i64>)> =
        database.query(&sql).await.iter().map(|row| (id(&row[0]), id(&row[1]))).collect();
    expected.dedup_by_key(|(call, _)| *call);
    let mut found: Vec<(Option<i64>, Option<i64>)> = nodes(&data, "callDetails")
        .iter()
        .map(|node| (id(&node["databaseId"]), id(&node["errorLog"]["databaseId"])))
        .collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert!(found.iter().filter(|(_, log)| log.is_some()).count() > 100);
}
