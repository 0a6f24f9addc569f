//! Lists read the columns of their rows directly (docs/adr/0004), with the same values as field resolvers.

use serde_json::Value;

use super::support::{CallRow, ErrorRow, NULL, TestApp, TestDatabase};
use crate::tests;

tests! {
    a_listed_row_equals_the_single_row,
    fragments_aliases_and_merged_fields_work,
    rows_of_a_list_share_statements,
}

const COUNTS: &str =
    "counts(period: LAST_HOUR) { total failure } latency(period: LAST_HOUR) { count p50 }";

async fn insert(database: &TestDatabase) {
    database
        .insert(&[
            CallRow::at("2026-03-01T11:59:00.25Z").key("key-a").status(429).latency(10),
            CallRow::at("2026-03-01T11:58:00Z").key("key-b").model("other").status(200),
            CallRow::at("2026-03-01T11:57:00Z").key(NULL).model(NULL).status(NULL).latency(NULL),
            CallRow::at("2026-03-01T11:56:00Z").key("key-b").status(500),
        ])
        .await;
    database
        .insert(&[
            ErrorRow::at("2026-03-01T11:59:00.5Z").key("key-a").code(429).log("quota"),
            ErrorRow::at("2026-03-01T11:56:00Z").key("key-b").code(503).error_type(NULL),
            ErrorRow::at("2026-03-01T11:55:00Z").key(NULL).model(NULL).code(NULL).log(NULL),
        ])
        .await;
}

async fn a_listed_row_equals_the_single_row(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    insert(&database).await;
    let error = format!(
        "__typename id databaseId timestamp apiKey {{ id masked secret {COUNTS} }} model errorType errorCode \
         message request"
    );
    let call = format!(
        "__typename id databaseId timestamp apiKey {{ id masked }} model status statusCode latencyMs \
         errorLog {{ {error} }}"
    );
    let key = format!("__typename id masked secret firstSeenAt lastSeenAt {COUNTS}");
    let lists = [
        ("Call", "callDetails(period: LAST_HOUR)", call, 4),
        ("ErrorLog", "errorLogs", error, 3),
        ("ApiKey", "apiKeys", key, 2),
    ];
    for (kind, field, fields, count) in lists {
        let list = app
            .data(&format!(
                "{{ {field} {{ nodes {{ {fields} }} edges {{ cursor node {{ {fields} }} }} }} }}"
            ))
            .await;
        let list = list.as_object().unwrap().values().next().unwrap();
        let nodes = list["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), count);
        let of_edges: Vec<&Value> =
            list["edges"].as_array().unwrap().iter().map(|edge| &edge["node"]).collect();
        assert_eq!(of_edges, nodes.iter().collect::<Vec<_>>());
        for node in nodes {
            let id = &node["id"];
            let single =
                app.data(&format!("{{ node(id: {id}) {{ ... on {kind} {{ {fields} }} }} }}")).await;
            assert_eq!(&single["node"], node);
        }
    }
}

async fn fragments_aliases_and_merged_fields_work(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    insert(&database).await;
    let data = app
        .data(
            "query { callDetails(period: LAST_HOUR, first: 1) {
               nodes { ...F code: statusCode ... on Node { id } ... { model } errorLog { id } errorLog { message } }
               edges { ... { node { ...F } } at: cursor }
             } }
             fragment F on Call { kind: __typename statusCode latencyMs @skip(if: true) }",
        )
        .await;
    let node = &data["callDetails"]["nodes"][0];
    let fields: Vec<&String> = node.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["code", "errorLog", "id", "kind", "model", "statusCode"]);
    assert_eq!(node["code"], node["statusCode"]);
    assert_eq!(node["errorLog"]["message"], "quota");
    assert_eq!(data["callDetails"]["edges"][0]["node"]["kind"], "Call");
}

async fn rows_of_a_list_share_statements(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    insert(&database).await;
    let query = format!(
        "{{ a: callDetails(period: LAST_HOUR) {{ nodes {{ apiKey {{ {COUNTS} }} errorLog {{ id request }} }} }}
            b: callDetails(period: LAST_MINUTE) {{ edges {{ node {{ errorLog {{ message }} }} }} }} }}"
    );
    // Two lists, the error logs of both, their requests, the counts and the latencies.
    assert_eq!(app.statements(&query).await, 6);
}
