//! `node` and `nodes`.

use serde_json::{Value, json};

use crate::support::{CallRow, ErrorRow, TestApp, TestDatabase};
use crate::tests;

tests! {
    every_type_is_found_by_its_id,
    unknown_ids_are_null,
    malformed_ids_are_refused,
    many_nodes_need_two_statements,
    more_than_a_page_is_refused,
}

async fn every_type_is_found_by_its_id(database: TestDatabase) {
    let at = "2026-03-01T11:00:00Z";
    database.insert(&[CallRow::at(at).key("a").status(429)]).await;
    database.insert(&[ErrorRow::at(at).key("b")]).await;
    let app = TestApp::start(&database).await;
    let list = app
        .data("{ callDetails(period: LAST_24_HOURS) { nodes { id } } errorLogs { nodes { id } } apiKeys { nodes { id } } }")
        .await;
    let ids: Vec<Value> = [&list["callDetails"], &list["errorLogs"], &list["apiKeys"]]
        .into_iter()
        .flat_map(|list| list["nodes"].as_array().unwrap().clone())
        .map(|node| node["id"].clone())
        .collect();
    assert_eq!(ids.len(), 4);
    let fields = "{ __typename id ... on Call { statusCode } ... on ErrorLog { errorCode } ... on ApiKey { secret } }";
    let expected = [
        json!({ "__typename": "Call", "id": ids[0], "statusCode": 429 }),
        json!({ "__typename": "ErrorLog", "id": ids[1], "errorCode": 429 }),
        json!({ "__typename": "ApiKey", "id": ids[2], "secret": "a" }),
        json!({ "__typename": "ApiKey", "id": ids[3], "secret": "b" }),
    ];
    for (id, expected) in ids.iter().zip(&expected) {
        let data = app.data(&format!("{{ node(id: {id}) {fields} }}")).await;
        assert_eq!(data["node"], *expected);
    }
    // In the order of the request, with a repeated id.
    let twice: Vec<&Value> = ids.iter().rev().chain(&ids).collect();
    let data = app.data(&format!("{{ nodes(ids: {}) {fields} }}", json!(twice))).await;
    let expected: Vec<&Value> = expected.iter().rev().chain(&expected).collect();
    assert_eq!(data["nodes"], json!(expected));
}

async fn unknown_ids_are_null(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T11:00:00Z")]).await;
    let app = TestApp::start(&database).await;
    let key = "key_AAAAAAAAAAAAAAAAAAAAAA";
    for id in ["call_2", "call_0", "call_-1", "call_9223372036854775807", "error_1", key] {
        assert_eq!(
            app.data(&format!("{{ node(id: \"{id}\") {{ id }} }}")).await,
            json!({ "node": null })
        );
    }
    let data =
        app.data(&format!("{{ nodes(ids: [\"call_2\", \"call_1\", \"{key}\"]) {{ id }} }}")).await;
    assert_eq!(data["nodes"], json!([null, { "id": "call_1" }, null]));
    assert_eq!(app.data("{ nodes(ids: []) { id } }").await, json!({ "nodes": [] }));
}

async fn malformed_ids_are_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for id in [
        "",
        "1",
        "call",
        "call_",
        "call_x",
        "call_01",
        "call_9223372036854775808",
        "Call_1",
        "key_short",
        "🔑",
    ] {
        for (query, argument) in [
            (format!("{{ node(id: \"{id}\") {{ id }} }}"), "id"),
            (format!("{{ nodes(ids: [\"call_1\", \"{id}\"]) {{ id }} }}"), "ids"),
        ] {
            let response = app.graphql(&query).await;
            let extensions = &response["errors"][0]["extensions"];
            assert_eq!(
                *extensions,
                json!({ "code": "BAD_USER_INPUT", "argument": argument }),
                "{query}"
            );
        }
    }
}

async fn many_nodes_need_two_statements(database: TestDatabase) {
    let at = "2026-03-01T11:00:00Z";
    let calls: Vec<CallRow> = (0..20).map(|_| CallRow::at(at)).collect();
    let errors: Vec<ErrorRow> = (0..20).map(|_| ErrorRow::at(at)).collect();
    database.insert(&calls).await;
    database.insert(&errors).await;
    let app = TestApp::start(&database).await;
    let ids: Vec<String> =
        (1..=20).flat_map(|id| [format!("call_{id}"), format!("error_{id}")]).collect();
    let query = format!("{{ nodes(ids: {}) {{ id }} }}", json!(ids));
    assert_eq!(app.statements(&query).await, 2);
    let fields: String =
        ids.iter().take(40).map(|id| format!("{id}: node(id: \"{id}\") {{ id }} ")).collect();
    assert_eq!(app.statements(&format!("{{ {fields} }}")).await, 2);
}

async fn more_than_a_page_is_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let ids = |count: usize| (1..=count).map(|id| format!("call_{id}")).collect::<Vec<_>>();
    let query = |count| format!("{{ nodes(ids: {}) {{ id }} }}", json!(ids(count)));
    assert_eq!(app.statements(&query(1000)).await, 1);
    let response = app.graphql(&query(1001)).await;
    let extensions = &response["errors"][0]["extensions"];
    assert_eq!(*extensions, json!({ "code": "BAD_USER_INPUT", "argument": "ids" }));
}
