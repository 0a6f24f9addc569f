//! The class of a failure: `ErrorLog.failure`, `Call.failure` and `classifyFailure`.

use serde_json::{Value, json};

use crate::support::{CallRow, ErrorRow, Kind, NULL, TestApp, TestDatabase};
use crate::tests;

const LABELED: &str = "../shared/data/provider_errors.ndjson";

tests! {
    error_logs_have_a_class,
    calls_take_the_class_of_their_error_log,
    a_page_of_calls_needs_one_more_statement,
    a_long_message_is_classified,
    any_text_is_classified.only(&[Kind::Sqlite]).empty(),
    a_delay_is_counted_from_the_time_of_the_failure.only(&[Kind::Sqlite]).empty(),
    hostile_texts_are_classified.only(&[Kind::Sqlite]).empty(),
    classes_agree_with_labels.only(&[Kind::Sqlite]).empty().needs(LABELED),
}

const DEAD: &str = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","details":[{"reason":"API_KEY_INVALID"}]}}"#;
const DAY: &str = r#"{
  "error": {
    "code": 429,
    "message": "You exceeded your current quota, please check your plan and billing details. * Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 20, model: gemini-2.5-pro\nPlease retry in 36.4s.",
    "status": "RESOURCE_EXHAUSTED",
    "details": [
      {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
        "quotaDimensions": {"location": "global", "model": "gemini-2.5-pro"}, "quotaValue": "20"}]},
      {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36s"}
    ]
  }
}"#;

const FIELDS: &str =
    "class remedy rule quotas { id metric model window limit used requested } retryAt project";

async fn error_logs_have_a_class(database: TestDatabase) {
    database
        .insert(&[
            ErrorRow::at("2026-03-01T11:00:00Z").id(1).key("a").code(400).log(DEAD),
            ErrorRow::at("2026-03-01T11:01:00Z").id(2).key("b").code(429).log(DAY),
            ErrorRow::at("2026-03-01T11:02:00Z").id(3).key("c").code(503).log(NULL),
            ErrorRow::at("2026-03-01T11:03:00Z").id(4).key("d").code(NULL).log("ReadTimeout"),
        ])
        .await;
    let app = TestApp::start(&database).await;
    let query =
        format!("{{ errorLogs(orderBy: OLDEST_FIRST) {{ nodes {{ failure {{ {FIELDS} }} }} }} }}");
    let failure = |class: &str, remedy: &str, rule: &str| json!({ "class": class, "remedy": remedy, "rule": rule, "quotas": [], "retryAt": null, "project": null });
    let mut day = failure("QUOTA_DAY", "WAIT", "quota-day");
    day["retryAt"] = json!("2026-03-01T11:01:36Z");
    day["quotas"] = json!([{
        "id": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "metric": "REQUESTS", "model": "gemini-2.5-pro",
        "window": "P1D", "limit": 20, "used": null, "requested": null,
    }]);
    let expected = [
        failure("KEY_INVALID", "REPLACE_KEY", "key-invalid"),
        day,
        failure("PROVIDER_OVERLOADED", "WAIT", "status-503"),
        failure("TIMEOUT", "WAIT", "timeout"),
    ];
    let nodes = app.data(&query).await["errorLogs"]["nodes"].clone();
    let found: Vec<&Value> =
        nodes.as_array().unwrap().iter().map(|node| &node["failure"]).collect();
    assert_eq!(found, expected.iter().collect::<Vec<_>>());

    let lookup =
        r#"{ errorLookup(key: "a", timestamp: "2026-03-01T11:00:00Z") { failure { class } } }"#;
    let found = app.data(lookup).await;
    assert_eq!(found["errorLookup"]["failure"]["class"], "KEY_INVALID");
}

/// The classes of the calls of a day, the earliest call first.
async fn classes(app: &TestApp) -> Vec<Value> {
    let query = r#"{ callDetails(period: LAST_24_HOURS, orderBy: OLDEST_FIRST) { nodes { failure { class rule } } } }"#;
    let data = app.data(query).await;
    let nodes = data["callDetails"]["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["failure"].clone()).collect()
}

async fn calls_take_the_class_of_their_error_log(database: TestDatabase) {
    let at = |minute: u32| format!("2026-03-01T11:{minute:02}:00Z");
    database
        .insert(&[
            CallRow::at(&at(0)).key("a").status(400),
            CallRow::at(&at(1)).key("b").status(429),
            CallRow::at(&at(2)).key("c").status(401),
            CallRow::at(&at(3)).key("d").status(200),
            CallRow::at(&at(4)).key(NULL).status(504),
            CallRow::at(&at(5)).key("e").status(403),
        ])
        .await;
    database
        .insert(&[
            ErrorRow::at(&at(0)).key("a").code(400).log(DEAD),
            ErrorRow::at(&at(1)).key("b").code(429).log(DAY),
            // Without a code: the call's decides.
            ErrorRow::at(&at(5)).key("e").code(NULL).log("no body"),
        ])
        .await;
    let app = TestApp::start(&database).await;
    let class = |class: &str, rule: &str| json!({ "class": class, "rule": rule });
    assert_eq!(
        classes(&app).await,
        [
            class("KEY_INVALID", "key-invalid"),
            class("QUOTA_DAY", "quota-day"),
            class("KEY_INVALID", "status-401"),
            Value::Null,
            class("TIMEOUT", "status-408"),
            class("KEY_PERMISSION", "status-403"),
        ]
    );
}

async fn a_page_of_calls_needs_one_more_statement(database: TestDatabase) {
    let calls: Vec<CallRow> = (0..50)
        .map(|n| CallRow::at("2026-03-01T11:00:00Z").key(format!("key-{n}")).status(429))
        .collect();
    database.insert(&calls).await;
    let app = TestApp::start(&database).await;
    let query = |fields: &str| {
        format!("{{ callDetails(period: LAST_24_HOURS) {{ nodes {{ {fields} }} }} }}")
    };
    let without = app.statements(&query("statusCode")).await;
    let with = app.statements(&query("failure { class } errorLog { failure { class } }")).await;
    assert_eq!(with, without + 1);
}

async fn a_long_message_is_classified(database: TestDatabase) {
    let long = format!("{} {DEAD}", "a stack trace ".repeat(1000));
    database.insert(&[ErrorRow::at("2026-03-01T11:00:00Z").key("a").code(400).log(long)]).await;
    let app = TestApp::start(&database).await;
    let data = app.data("{ errorLogs { nodes { failure { class } } } }").await;
    assert_eq!(data["errorLogs"]["nodes"][0]["failure"]["class"], "KEY_INVALID");
}

async fn classify(app: &TestApp, message: &str, status: Option<i64>) -> Value {
    let query = format!(
        "query($message: String, $status: Int) {{
            classifyFailure(message: $message, statusCode: $status) {{ {FIELDS} }}
        }}"
    );
    let variables = json!({ "message": message, "status": status });
    let response = app.graphql_with(&query, variables).await;
    assert_eq!(response["errors"], Value::Null, "{response}");
    response["data"]["classifyFailure"].clone()
}

async fn any_text_is_classified(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let openai = "Error code: 429 - {'error': {'message': 'Rate limit reached for gpt-4 in organization \
        org-abcdefghijkl on tokens per min (TPM): Limit 10000, Used 8554, Requested ~3082. Please try again \
        in 1m9.816s.', 'type': 'tokens', 'code': 'rate_limit_exceeded'}}";
    let found = classify(&app, openai, None).await;
    assert_eq!(found["class"], "QUOTA_TOKENS");
    assert_eq!(found["project"], "org-abcdefghijkl");
    let quota = json!([{
        "id": null, "metric": "TOKENS", "model": "gpt-4", "window": "PT1M", "limit": 10000, "used": 8554,
        "requested": 3082,
    }]);
    assert_eq!(found["quotas"], quota);

    // A window in seconds. A time and a delay: the delay says that it is no short one.
    let seconds = "Rate limit of 8 per 86400s exceeded for UserByModelByDayUncachedInputTokens.";
    let found = classify(&app, seconds, Some(429)).await;
    assert_eq!(found["class"], "QUOTA_DAY");
    let quota = &found["quotas"][0];
    assert_eq!((&quota["limit"], &quota["window"]), (&json!(8), &json!("P1D")));
    assert_eq!(quota["metric"], "INPUT_TOKENS");
    let wait = "Limit of 5 per day exceeded, please wait for 2h";
    assert!(classify(&app, wait, None).await["retryAt"].is_string());
    let both =
        r#"{"type":"usage_limit_reached","resets_at":1775317531,"resets_in_seconds":602705}"#;
    assert_eq!(classify(&app, both, Some(429)).await["class"], "QUOTA_DAY");

    // gRPC's representation, as Python's client prints it.
    let grpc = "429 Quota exceeded for quota metric 'Generate Content API requests per minute' of service \
        'generativelanguage.googleapis.com' for consumer 'project_number:1234567'. [reason: \"RATE_LIMIT_EXCEEDED\" \
        metadata { key: \"quota_metric\" value: \"generativelanguage.googleapis.com/generate_content_requests\" } \
        metadata { key: \"quota_limit\" value: \"GenerateContentRequestsPerMinutePerProjectPerRegion\" } \
        metadata { key: \"quota_limit_value\" value: \"0\" }]";
    let found = classify(&app, grpc, None).await;
    // A limit of zero: waiting does not help.
    assert_eq!((&found["class"], &found["remedy"]), (&json!("QUOTA_OTHER"), &json!("PAY")));
    assert_eq!(found["project"], "projects/1234567");

    // JSON within JSON, cut.
    let nested = r#"{"error":{"message":"{\"error\":{\"message\":\"Insufficient Balance\",\"ty"#;
    assert_eq!(classify(&app, nested, Some(429)).await["class"], "BILLING");
    // The gateway's 200 does not hide what the text says.
    assert_eq!(
        classify(&app, "429 status code (no body)", Some(200)).await["class"],
        "QUOTA_OTHER"
    );
    assert_eq!(classify(&app, "", None).await["class"], "UNKNOWN");
    assert_eq!(classify(&app, "", None).await["rule"], "none");
}

async fn a_delay_is_counted_from_the_time_of_the_failure(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let query = r#"{ serverInfo { now } classifyFailure(message: "429 Please retry after 54 seconds") { retryAt } }"#;
    let data = app.data(query).await;
    let time =
        |value: &Value| chrono::DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap();
    let delay = time(&data["classifyFailure"]["retryAt"]) - time(&data["serverInfo"]["now"]);
    assert_eq!(delay, chrono::TimeDelta::seconds(54));
    let stated = "400 You have reached your specified API usage limits. You will regain access on 2026-04-01 at 08:30 UTC.";
    assert_eq!(classify(&app, stated, None).await["retryAt"], "2026-04-01T08:30:00Z");
}

async fn hostile_texts_are_classified(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for text in [
        "\\".repeat(100_000),
        "\\u".repeat(50_000),
        "\"quotaId\":\"x\",".repeat(10_000),
        "retry in 999999999999999999999999s retry in -1s retry in 1e308s".to_owned(),
        "limit: 99999999999999999999999999 metric: x".to_owned(),
        "\u{1f980}".repeat(30_000),
        "per minute ".repeat(10_000),
        "resets at 9999-99-99 resets at 2026-04-01T99:99:99Z reset_at: 99999999999999".to_owned(),
    ] {
        let found = classify(&app, &text, Some(429)).await;
        assert_eq!(found["remedy"], "WAIT", "{found}");
        assert!(found["quotas"].as_array().unwrap().len() <= 16);
    }
}

/// At least nine of ten labels are met.
async fn classes_agree_with_labels(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let lines =
        std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(LABELED));
    let (mut bodies, mut wrong) = (0, vec![]);
    for line in lines.unwrap().lines() {
        let body: Value = serde_json::from_str(line).unwrap();
        let found = classify(&app, body["body"].as_str().unwrap(), body["status"].as_i64()).await;
        bodies += 1;
        if found["class"] != body["label"] {
            wrong.push(format!("{} for {}: {}", found["class"], body["label"], body["body"]));
        }
    }
    assert!(bodies > 0 && wrong.len() * 10 <= bodies, "{wrong:#?}");
}
