//! Whole responses, as clients see them. The clock and the secret of key ids are fixed, so that
//! only the database's kind is redacted: all three databases have the same snapshots.

use callscope::config::Secret;

use super::support::{CallRow, ErrorRow, NULL, TestApp, TestDatabase};
use crate::tests;

tests! { whole_responses_match_their_snapshots }

const QUERIES: [(&str, &str); 10] = [
    (
        "usage_stats",
        "{ usageStats(timeZone: \"Asia/Shanghai\") { asOf lastMinute { total success failure successRate }
           lastHour { total failure } last8Hours { total } last24Hours { total } currentMonth { total }
           last(duration: \"P7D\") { total } } }",
    ),
    (
        "call_details",
        "{ callDetails(period: LAST_24_HOURS, first: 3) { totalCount
           pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
           edges { cursor node { id databaseId timestamp model status statusCode latencyMs
             apiKey { id masked secret }
             errorLog { id timestamp errorType errorCode message request apiKey { masked } } } } } }",
    ),
    (
        "call_series",
        "{ callSeries(period: LAST_HOUR, interval: \"PT20M\") { start end
           counts { total success failure successRate } latency { count avg min p50 p90 p95 p99 max } } }",
    ),
    (
        "call_groups",
        "{ callGroups(by: [API_KEY, STATUS_CODE], period: LAST_24_HOURS, orderBy: P95_LATENCY_DESC) {
           apiKey { masked } model statusCode status counts { total failure } latency { count p95 } } }",
    ),
    (
        "error_lookup",
        "{ errorLookup(key: \"key-of-some-length\", timestamp: \"2026-03-01T19:59:30+08:00\", statusCode: 429) {
           id timestamp errorCode message } }",
    ),
    (
        "error_logs",
        "{ errorLogs(filter: { contains: \"QUOTA\" }, orderBy: OLDEST_FIRST, last: 2) { totalCount
           nodes { id timestamp model errorType errorCode message request apiKey { id masked } }
           pageInfo { hasNextPage hasPreviousPage } } }",
    ),
    (
        "error_groups",
        "{ errorGroups(by: [ERROR_CODE, MODEL]) { errorCode model errorType apiKey { id }
           count firstSeenAt lastSeenAt latest { id } } }",
    ),
    (
        "api_keys",
        "{ apiKeys { totalCount nodes { id masked firstSeenAt lastSeenAt counts(period: LAST_24_HOURS) { total failure }
           latency(period: LAST_24_HOURS) { p50 } models(period: LAST_24_HOURS) { model counts { total } }
           calls(period: LAST_24_HOURS, first: 1) { totalCount nodes { id } }
           errorLogs(first: 1) { totalCount nodes { id } } } } }",
    ),
    (
        "errors",
        "{ usageStats { asOf } node(id: \"nothing\") { id }
           errorLookup(key: \"k\", timestamp: \"2026-03-01T12:00:00Z\", windowSeconds: 301) { id } }",
    ),
    (
        "server_info",
        "{ serverInfo { now timeZone limits { maxPageSize defaultPageSize maxDepth maxComplexity maxAliases
             timeout maxRecordBatch } } }",
    ),
];

async fn whole_responses_match_their_snapshots(database: TestDatabase) {
    let key = "key-of-some-length";
    let call = |time: &str| CallRow::at(time).key(key).model("gemini-2.5-pro");
    database
        .insert(&[
            call("2026-03-01T11:59:30Z").status(429).latency(120),
            call("2026-03-01T11:59:10.25Z").latency(900),
            call("2026-03-01T11:41:00Z").key("another-key-of-some-length").status(503).latency(40),
            call("2026-03-01T11:05:00Z").key(NULL).model(NULL).status(NULL).latency(NULL),
            call("2026-02-28T15:00:00Z"),
        ])
        .await;
    let error = |time: &str| ErrorRow::at(time).key(key).model("gemini-2.5-pro").error_type("chat");
    database
        .insert(&[
            error("2026-03-01T11:59:31.5Z").code(429).log("Quota exceeded").request("{\"a\": [1]}"),
            error("2026-03-01T11:59:30Z").code(500).log("internal"),
            error("2026-03-01T11:41:00Z")
                .key("another-key-of-some-length")
                .code(503)
                .log("quota of the model"),
        ])
        .await;
    let app = TestApp::start_with(&database, |config| {
        config.database.id_key = Some(Secret::new("a secret for snapshots"));
    })
    .await;
    for (name, query) in QUERIES {
        insta::assert_json_snapshot!(name, app.graphql(query).await);
    }
}
