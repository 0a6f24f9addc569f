//! Statements for Citus, without Citus: a database here claims to have its extension, and no statement may use a form that
//! Citus refuses or runs slowly. `scripts/test-cluster citus` runs the other tests on Citus itself.

use callscope::store::classification;
use serde_json::json;

use crate::support::{CallRow, ErrorRow, Kind, TestApp, TestDatabase};
use crate::tests;

tests! {
    no_statement_has_a_form_that_citus_refuses.only(&[Kind::Postgres]),
    a_plain_server_steps_through_the_keys.only(&[Kind::Postgres]),
}

/// Forms of statements, as a part of their text and a text that must follow it, and what Citus does with them.
const REFUSED: [(&str, &str, &str); 8] = [
    ("LATERAL", "", "refused with OFFSET"),
    ("\"id\" = \"callscope_", "", "refused for each row of a table on the coordinator"),
    ("RECURSIVE", "", "refused without a filter on the distribution column"),
    ("EXISTS (SELECT 1 FROM t_request_log", "WHERE|LIMIT", "reads every shard"),
    ("EXISTS (SELECT 1 FROM t_error_logs", "WHERE|LIMIT", "reads every shard"),
    ("pg_total_relation_size(", "", "the size on the coordinator, which has no rows"),
    ("GROUPING SETS", "", "refused"),
    ("FOR UPDATE", "", "refused for rows of several shards"),
];

/// What Citus does with a statement that has a form of the table.
fn fault(sql: &str) -> Option<&'static str> {
    let refused = REFUSED.iter().find(|(form, allowed, _)| {
        sql.match_indices(form).any(|(at, _)| {
            // Up to the end of the subquery.
            let rest = sql[at + form.len()..].split(')').next().unwrap_or_default();
            allowed.is_empty() || !allowed.split('|').any(|allowed| rest.contains(allowed))
        })
    });
    refused.map(|(_, _, fault)| *fault)
}

/// What the catalogs of Citus have that Callscope reads.
async fn pretend(database: &TestDatabase) {
    for sql in [
        "INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion) \
         VALUES (99999, 'citus', 10, 11, false, '13.2')",
        "CREATE TABLE pg_dist_partition AS SELECT CAST('t_request_log' AS regclass) AS logicalrelid, \
         'h' AS partmethod, 'api_key' AS partkey",
        "CREATE FUNCTION column_to_column_name(regclass, text) RETURNS text LANGUAGE sql AS 'SELECT $2'",
        "CREATE FUNCTION citus_total_relation_size(regclass) RETURNS bigint LANGUAGE sql AS 'SELECT 485000000'",
    ] {
        database.execute(sql).await;
    }
}

async fn no_statement_has_a_form_that_citus_refuses(database: TestDatabase) {
    assert!(fault("SELECT EXISTS (SELECT 1 FROM t_request_log), 1 LIMIT 1").is_some());
    pretend(&database).await;
    let keys = ["AIza-citus-000000000001", "AIza-citus-000000000002"];
    database.insert(&keys.map(|key| CallRow::at("2026-03-01T11:00:00Z").key(key))).await;
    database.insert(&[ErrorRow::at("2026-03-01T11:00:00Z").key("AIza-citus-000000000003")]).await;
    let app = TestApp::start(&database).await;
    app.db().record();
    let data = app
        .data("{ apiKeys(first: 5) { totalCount nodes { id } } serverInfo { storage { calls { bytes } } } }")
        .await;
    assert_eq!(data["apiKeys"]["totalCount"], 3);
    assert_eq!(data["serverInfo"]["storage"]["calls"]["bytes"], 485_000_000);
    let id = data["apiKeys"]["nodes"][0]["id"].as_str().unwrap();
    let window = "period: LAST_24_HOURS";
    for query in [
        "{ usageStats { lastMinute { total } lastHour { total } last24Hours { total } currentMonth { total } } }",
        &format!("{{ usageStats(key: \"{id}\") {{ lastHour {{ total }} }} }}"),
        &format!(
            "{{ callDetails({window}) {{ totalCount nodes {{ model errorLog {{ message }} apiKey {{ masked }} }} }} }}"
        ),
        &format!(
            "{{ callDetails({window}, key: \"{id}\", filter: {{ status: FAILURE }}) {{ totalCount }} }}"
        ),
        &format!("{{ callSeries({window}) {{ counts {{ total }} latency {{ p95 }} }} }}"),
        &format!(
            "{{ callGroups(by: [API_KEY, MODEL, STATUS_CODE], {window}) {{ counts {{ total }} latency {{ p95 }} }} }}"
        ),
        "{ errorLogs(filter: { keyContains: \"000003\", contains: \"x\" }) { totalCount nodes { message } } }",
        "{ errorGroups(by: [ERROR_TYPE], filter: { since: \"2026-03-01T00:00:00Z\" }) { count latest { id } } }",
        "{ apiKeys(first: 5) { nodes { firstSeenAt lastSeenAt counts(period: LAST_24_HOURS) { total } } } }",
        "{ errorLookup(key: \"AIza-citus-000000000003\", timestamp: \"2026-03-01T11:00:00Z\") { databaseId } }",
        "{ serverInfo { rollups { enabled } storage { calls { rows oldest newest } errorLogs { bytes } } } }",
        "{ diagnoses(period: LAST_HOUR) { id } }",
        "{ errorGroups(by: [FAILURE_CLASS, MESSAGE_TEMPLATE], filter: { since: \"2026-03-01T00:00:00Z\" }) { count } }",
        "{ errorLogs(filter: { failureClasses: [QUOTA_DAY], since: \"2026-03-01T00:00:00Z\" }) { totalCount } }",
    ] {
        let response = app.graphql(query).await;
        assert!(response["data"].is_object(), "{response}");
    }
    let record = "mutation R($calls: [CallInput!]!) {
        recordCalls(input: { calls: $calls, idempotencyKey: \"k\" }) { recorded } }";
    let calls = json!([{ "key": keys[0] }, { "statusCode": 429, "error": { "message": "quota" } }]);
    let recorded = app.graphql_with(record, json!({ "calls": calls })).await;
    assert_eq!(recorded["data"]["recordCalls"]["recorded"], 2, "{recorded}");
    app.data("mutation { pruneLogs(callsOlderThan: \"P1D\") { deletedCalls } }").await;
    assert_eq!(app.readiness().await.0, 200);
    // The row of a deleted error log.
    database.execute("UPDATE callscope_failures SET error_id = 99").await;
    assert_eq!(classification::sweep(app.db(), 0).await.unwrap(), Some(99));
    assert_eq!(database.count("callscope_failures").await, 0);
    let statements = app.db().record();
    assert!(statements.len() > 30, "{} statements", statements.len());
    for sql in statements {
        // Citus sizes no table that is not distributed.
        let is_local =
            sql.contains("pg_total_relation_size") && sql.contains("to_regclass('t_error_logs')");
        assert_eq!(fault(&sql).filter(|_| !is_local), None, "{sql}");
    }
}

/// The cost of the list depends on the number of keys there.
async fn a_plain_server_steps_through_the_keys(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let statements = app.sql("{ apiKeys { totalCount } }").await;
    assert!(statements.iter().any(|sql| sql.contains("RECURSIVE")), "{statements:#?}");
    assert!(statements.iter().any(|sql| fault(sql).is_some()));
}
