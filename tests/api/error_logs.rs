//! `errorLogs`, the fields of an error log, and `errorGroups`.

use serde_json::{Value, json};

use crate::support::{CallRow, ErrorRow, Kind, NULL, TestApp, TestDatabase};
use crate::tests;

tests! {
    each_filter_selects,
    filters_are_combined,
    a_search_ignores_case_in_every_script,
    a_search_takes_every_character_literally,
    windows_are_half_open,
    rows_without_a_time_are_in_no_list,
    rows_with_invalid_times_are_in_no_list.only(&[Kind::Sqlite]),
    pages_work_in_both_directions,
    a_cursor_stays_valid_without_its_rows,
    unusual_time_texts_keep_their_order.only(&[Kind::Sqlite]),
    fields_return_the_stored_values,
    requests_are_json,
    sqlite_requests_may_be_any_text.only(&[Kind::Sqlite]),
    requests_of_a_page_need_one_statement,
    totals_are_counted_only_when_selected,
    keys_list_their_error_logs,
    groups_count_each_dimension,
    missing_values_are_grouped,
    the_latest_of_a_group_respects_the_filter,
    groups_need_few_statements,
    long_filter_lists_are_accepted_or_refused,
}

/// The database ids of a list with `arguments`.
async fn ids(app: &TestApp, arguments: &str) -> Vec<i64> {
    let query = format!("{{ errorLogs{arguments} {{ nodes {{ databaseId }} totalCount }} }}");
    let data = app.data(&query).await;
    let nodes = data["errorLogs"]["nodes"].as_array().unwrap();
    let ids: Vec<i64> = nodes.iter().map(|node| node["databaseId"].as_i64().unwrap()).collect();
    assert_eq!(data["errorLogs"]["totalCount"], ids.len(), "the total of {arguments}");
    ids
}

async fn filtered(app: &TestApp, filter: &str) -> Vec<i64> {
    let mut ids = ids(app, &format!("(filter: {{ {filter} }})")).await;
    ids.sort_unstable();
    ids
}

async fn each_filter_selects(database: TestDatabase) {
    let at = "2026-03-01T11:00:00Z";
    database
        .insert(&[
            ErrorRow::at(at)
                .id(1)
                .key("FakeSyOne")
                .model("pro")
                .error_type("chat")
                .code(429)
                .log("Quota"),
            ErrorRow::at(at)
                .id(2)
                .key("FakeSyTwo")
                .model("flash")
                .error_type("embed")
                .code(403)
                .log("denied"),
            ErrorRow::at(at).id(3).key(NULL).model(NULL).error_type(NULL).code(NULL).log(NULL),
            ErrorRow::at(at)
                .id(4)
                .key("fakesyone")
                .model("PRO")
                .error_type("CHAT")
                .code(500)
                .log("quota chat"),
        ])
        .await;
    let app = TestApp::start(&database).await;
    let id = app.data("{ apiKey(key: \"FakeSyTwo\") { id } }").await["apiKey"]["id"].clone();
    let by_id = format!("keys: [{id}, \"fakesyone\"]");
    let by_exclusion = format!("excludeKeys: [{id}, \"fakesyone\"]");
    for (filter, found) in [
        ("", vec![1, 2, 3, 4]),
        ("keys: [\"FakeSyOne\"]", vec![1]),
        ("keys: [\"FakeSyOne\", \"unknown\"]", vec![1]),
        (by_id.as_str(), vec![2, 4]),
        ("keys: []", vec![]),
        ("keys: null", vec![1, 2, 3, 4]),
        ("keyContains: \"SYO\"", vec![1, 4]),
        ("keyContains: \"\"", vec![1, 2, 4]),
        ("keyContains: \"unknown\"", vec![]),
        ("models: [\"pro\"]", vec![1]),
        ("models: [\"pro\", \"flash\"]", vec![1, 2]),
        ("models: []", vec![]),
        ("errorTypes: [\"chat\"]", vec![1]),
        ("errorTypes: [\"chat\", \"CHAT\", \"embed\"]", vec![1, 2, 4]),
        ("errorCodes: [403]", vec![2]),
        ("errorCodes: [429, 500]", vec![1, 4]),
        ("errorCodes: []", vec![]),
        ("contains: \"QUOTA\"", vec![1, 4]),
        ("contains: \"chat\"", vec![1, 4]),
        ("contains: \"den\"", vec![2]),
        ("contains: \"\"", vec![1, 2, 4]),
        ("contains: \"pro\"", vec![]),
        // An exclusion keeps error logs without a value.
        ("excludeKeys: [\"FakeSyOne\"]", vec![2, 3, 4]),
        (by_exclusion.as_str(), vec![1, 3]),
        ("excludeModels: [\"pro\", \"größe\"]", vec![2, 3, 4]),
        ("excludeErrorTypes: [\"chat\", \"embed\"]", vec![3, 4]),
        ("excludeErrorCodes: [429, 500]", vec![2, 3]),
        ("excludeErrorCodes: [], excludeKeys: [], excludeModels: null", vec![1, 2, 3, 4]),
        ("contains: \"quota\", excludeErrorCodes: [500]", vec![1]),
        ("errorTypes: [\"chat\"], excludeErrorTypes: [\"chat\"]", vec![]),
    ] {
        assert_eq!(filtered(&app, filter).await, found, "{filter}");
        let groups = format!(
            "{{ errorGroups(by: [API_KEY, ERROR_TYPE], filter: {{ {filter} }}) {{ count latest {{ databaseId }} }} }}"
        );
        let groups = app.data(&groups).await["errorGroups"].clone();
        let latest = groups.as_array().unwrap().iter().map(|group| &group["latest"]["databaseId"]);
        let mut latest: Vec<i64> = latest.filter_map(Value::as_i64).collect();
        latest.sort_unstable();
        assert_eq!(latest, found, "the groups of {filter}");
    }
}

async fn filters_are_combined(database: TestDatabase) {
    let at = "2026-03-01T11:00:00Z";
    let row = |id| ErrorRow::at(at).id(id).key("FakeSyOne").model("pro").error_type("chat");
    database
        .insert(&[
            row(1),
            row(2).key("other"),
            row(3).model("flash"),
            row(4).error_type("embed"),
            row(5).code(403),
            row(6).log("nothing"),
            ErrorRow::at("2026-03-01T11:00:01Z")
                .id(7)
                .key("FakeSyOne")
                .model("pro")
                .error_type("chat"),
        ])
        .await;
    let app = TestApp::start(&database).await;
    let filter = "keyContains: \"sy\", keys: [\"FakeSyOne\"], models: [\"pro\"], errorTypes: [\"chat\"],
        errorCodes: [429], contains: \"exceeded\", since: \"2026-03-01T11:00:00Z\", until: \"2026-03-01T11:00:01Z\"";
    assert_eq!(filtered(&app, filter).await, [1]);
    // The two key filters apply together.
    assert_eq!(filtered(&app, "keyContains: \"sy\", keys: [\"other\"]").await, [0; 0]);
}

async fn a_search_ignores_case_in_every_script(database: TestDatabase) {
    let at = "2026-03-01T11:00:00Z";
    database
        .insert(&[
            ErrorRow::at(at).id(1).log("Échec: ÄPFEL").key("clé-É"),
            ErrorRow::at(at).id(2).log("échec: äpfel").key("clé-é"),
            ErrorRow::at(at).id(3).log("Echec: Apfel").key("cle-E"),
            ErrorRow::at(at).id(4).log("配额已用尽 🔑").error_type("Привет"),
        ])
        .await;
    let app = TestApp::start(&database).await;
    for (needle, found) in [
        ("éC", vec![1, 2]),
        ("ÉCHEC", vec![1, 2]),
        ("äpfel", vec![1, 2]),
        ("Äpf", vec![1, 2]),
        ("apfel", vec![3]),
        ("配额", vec![4]),
        ("🔑", vec![4]),
        ("привет", vec![4]),
        ("ПРИВЕТ", vec![4]),
    ] {
        assert_eq!(filtered(&app, &format!("contains: \"{needle}\"")).await, found, "{needle}");
    }
    for (needle, found) in [("CLÉ-é", vec![1, 2]), ("-É", vec![1, 2]), ("-e", vec![3])] {
        assert_eq!(filtered(&app, &format!("keyContains: \"{needle}\"")).await, found, "{needle}");
    }
}

async fn a_search_takes_every_character_literally(database: TestDatabase) {
    let texts = [
        "100%", "100x", "a_b", "axb", "a*b", "a[b", "a]b", "a[x]b", "a\\b", "it's", "why?", "whyx",
        "a\"b", "^a", "[^a]", "a-z", "$1 :x @p", "a\nb",
    ];
    let rows: Vec<ErrorRow> = texts
        .iter()
        .zip(1..)
        .map(|(text, id)| {
            ErrorRow::at("2026-03-01T11:00:00Z").id(id).log(*text).key(format!("key {text}"))
        })
        .collect();
    database.insert(&rows).await;
    let app = TestApp::start(&database).await;
    for needle in [
        "%", "_", "*", "[", "]", "\\", "'", "?", "\"", "^", "[^", "a[", "[x]", "a-z", "$1", ":x",
        "@p", "\n", "b", "why?", "100%", "\\b", "''", "[%]", "a%b",
    ] {
        let expected: Vec<i64> = texts
            .iter()
            .zip(1..)
            .filter(|(text, _)| text.contains(needle))
            .map(|(_, id)| id)
            .collect();
        for field in ["contains", "keyContains"] {
            let query = "query($f: ErrorLogFilter) { errorLogs(filter: $f, orderBy: OLDEST_FIRST) { nodes { databaseId } totalCount } }";
            let response = app.graphql_with(query, json!({ "f": { field: needle } })).await;
            let nodes = response["data"]["errorLogs"]["nodes"].as_array().unwrap();
            let found: Vec<i64> =
                nodes.iter().map(|node| node["databaseId"].as_i64().unwrap()).collect();
            assert_eq!(found, expected, "{field} {needle}");
            assert_eq!(response["data"]["errorLogs"]["totalCount"], expected.len());
        }
    }
}

async fn windows_are_half_open(database: TestDatabase) {
    database
        .insert(&[
            ErrorRow::at("2026-03-01T10:59:59.999999Z"),
            ErrorRow::at("2026-03-01T11:00:00Z"),
            ErrorRow::at("2026-03-01T11:59:59.999999Z"),
            ErrorRow::at("2026-03-01T12:00:00Z"),
        ])
        .await;
    let app = TestApp::start(&database).await;
    let since = "since: \"2026-03-01T11:00:00Z\"";
    let until = "until: \"2026-03-01T13:00:00+01:00\"";
    assert_eq!(filtered(&app, &format!("{since}, {until}")).await, [2, 3]);
    assert_eq!(filtered(&app, since).await, [2, 3, 4]);
    assert_eq!(filtered(&app, until).await, [1, 2, 3]);
    let empty = app.graphql("{ errorLogs(filter: { since: \"2026-03-01T11:00:00Z\", until: \"2026-03-01T11:00:00Z\" }) { totalCount } }").await;
    assert_eq!(
        empty["errors"][0]["extensions"],
        json!({ "code": "BAD_USER_INPUT", "argument": "filter" })
    );
}

async fn rows_without_a_time_are_in_no_list(database: TestDatabase) {
    database.insert(&[ErrorRow::at_stored(NULL), ErrorRow::at("2026-03-01T11:00:00Z")]).await;
    let app = TestApp::start(&database).await;
    assert_eq!(ids(&app, "").await, [2]);
    let data = app
        .data(
            "{ node(id: \"error_1\") { id } errorGroups(by: ERROR_CODE) { count latest { id } } }",
        )
        .await;
    let group = json!({ "count": 1, "latest": { "id": "error_2" } });
    assert_eq!(data, json!({ "node": null, "errorGroups": [group] }));
}

async fn rows_with_invalid_times_are_in_no_list(database: TestDatabase) {
    let row = |time: &str| ErrorRow::at_stored(time);
    database.insert(&[row("yesterday"), row(""), row("2026-03-01 11:00:00")]).await;
    let app = TestApp::start(&database).await;
    assert_eq!(ids(&app, "").await, [3]);
}

/// Ids in the order of their times, of which several are equal.
async fn insert_with_ties(database: &TestDatabase) -> Vec<i64> {
    let at = |second: i32| format!("2026-03-01T11:00:{second:02}Z");
    let rows: Vec<ErrorRow> =
        (1..=23).map(|id| ErrorRow::at(&at(id * 7 % 5)).id(id).code(429 + id % 2)).collect();
    database.insert(&rows).await;
    let mut ids: Vec<i64> = (1..=23).collect();
    ids.sort_by_key(|id| (id * 7 % 5, *id));
    ids
}

async fn pages_work_in_both_directions(database: TestDatabase) {
    let oldest = insert_with_ties(&database).await;
    let newest: Vec<i64> = oldest.iter().rev().copied().collect();
    let app = TestApp::start(&database).await;
    for (order, all) in [("NEWEST_FIRST", &newest), ("OLDEST_FIRST", &oldest)] {
        for forward in [true, false] {
            let mut seen: Vec<i64> = vec![];
            let mut cursor = Value::Null;
            loop {
                let (number, position) =
                    if forward { ("first", "after") } else { ("last", "before") };
                let query = format!(
                    "{{ errorLogs(orderBy: {order}, {number}: 5, {position}: {cursor}) {{
                        edges {{ cursor node {{ databaseId }} }} totalCount
                        pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"
                );
                let data = app.data(&query).await;
                let list = &data["errorLogs"];
                assert_eq!(list["totalCount"], 23);
                let edges = list["edges"].as_array().unwrap();
                let page: Vec<i64> =
                    edges.iter().map(|edge| edge["node"]["databaseId"].as_i64().unwrap()).collect();
                let info = &list["pageInfo"];
                assert_eq!(info["startCursor"], edges[0]["cursor"]);
                assert_eq!(info["endCursor"], edges[edges.len() - 1]["cursor"]);
                let (more, back) = if forward {
                    seen.extend(&page);
                    (&info["hasNextPage"], &info["hasPreviousPage"])
                } else {
                    seen.splice(0..0, page.iter().copied());
                    (&info["hasPreviousPage"], &info["hasNextPage"])
                };
                assert_eq!(*back, !cursor.is_null());
                assert_eq!(*more, seen.len() < 23);
                if *more == false {
                    break;
                }
                cursor = info[if forward { "endCursor" } else { "startCursor" }].clone();
            }
            assert_eq!(seen, *all, "{order}, forward: {forward}");
        }
        assert_eq!(ids(&app, &format!("(orderBy: {order}, first: 23)")).await, *all);
        // Null is the default.
        let null = ids(&app, "(orderBy: null, filter: null, first: null, after: null)").await;
        assert_eq!(null, newest);
    }
    for (arguments, argument) in [
        ("first: 0", "first"),
        ("first: 1001", "first"),
        ("last: -1", "last"),
        ("first: 1, last: 1", "first"),
        ("after: \"nonsense\"", "after"),
        ("before: \"Y2FsbDoxOmw1\"", "before"),
    ] {
        let response = app.graphql(&format!("{{ errorLogs({arguments}) {{ totalCount }} }}")).await;
        let extensions = &response["errors"][0]["extensions"];
        assert_eq!(*extensions, json!({ "code": "BAD_USER_INPUT", "argument": argument }));
    }
}

async fn a_cursor_stays_valid_without_its_rows(database: TestDatabase) {
    let oldest = insert_with_ties(&database).await;
    let app = TestApp::start(&database).await;
    let data =
        app.data("{ errorLogs(orderBy: OLDEST_FIRST, first: 5) { pageInfo { endCursor } } }").await;
    let cursor = &data["errorLogs"]["pageInfo"]["endCursor"];
    database
        .execute(&format!("DELETE FROM t_error_logs WHERE id IN ({}, {})", oldest[4], oldest[1]))
        .await;
    database.insert(&[ErrorRow::at("2026-03-01T10:00:00Z").id(100)]).await;
    let data = app
        .data(&format!("{{ errorLogs(orderBy: OLDEST_FIRST, first: 3, after: {cursor}) {{ nodes {{ databaseId }} }} }}"))
        .await;
    let next: Vec<Value> = oldest[5..8].iter().map(|id| json!({ "databaseId": id })).collect();
    assert_eq!(data["errorLogs"]["nodes"], json!(next));
}

async fn unusual_time_texts_keep_their_order(database: TestDatabase) {
    let row = |time: &str| ErrorRow::at_stored(time);
    database
        .insert(&[
            row("2026-03-01 11:00:00"),
            row("2026-03-01 11:00:00.000000"),
            row("2026-03-01 11:00:00.5"),
            row("2026-03-01T11:00:01"),
            row("2026-03-01 11:00:02.250"),
        ])
        .await;
    let app = TestApp::start(&database).await;
    let mut seen = vec![];
    let mut cursor = Value::Null;
    while seen.len() < 5 {
        let data = app
            .data(&format!("{{ errorLogs(first: 1, after: {cursor}) {{ nodes {{ databaseId timestamp }} pageInfo {{ endCursor }} }} }}"))
            .await;
        let node = &data["errorLogs"]["nodes"][0];
        seen.push((
            node["databaseId"].as_i64().unwrap(),
            node["timestamp"].as_str().unwrap().to_owned(),
        ));
        cursor = data["errorLogs"]["pageInfo"]["endCursor"].clone();
    }
    seen.sort_unstable();
    let times = [
        "2026-03-01T11:00:00Z",
        "2026-03-01T11:00:00Z",
        "2026-03-01T11:00:00.5Z",
        "2026-03-01T11:00:01Z",
        "2026-03-01T11:00:02.25Z",
    ];
    let expected: Vec<(i64, String)> = (1..).zip(times.map(str::to_owned)).collect();
    assert_eq!(seen, expected);
}

async fn fields_return_the_stored_values(database: TestDatabase) {
    let log = "{\"error\": {\"code\": 429, \"message\": \"it's \\\"over\\\"\\n密钥 🔑\"}}";
    database
        .insert(&[
            ErrorRow::at("2026-03-01T11:00:00.000001Z")
                .key("FakeSyFAKE0001abcdefgh")
                .log(log)
                .error_type("it's"),
            ErrorRow::at("2026-03-01T10:00:00Z")
                .key(NULL)
                .model(NULL)
                .error_type(NULL)
                .code(NULL)
                .log(NULL)
                .request(NULL),
        ])
        .await;
    let app = TestApp::start(&database).await;
    let data = app
        .data("{ errorLogs { nodes { id databaseId timestamp apiKey { masked secret } model errorType errorCode message request } } }")
        .await;
    assert_eq!(
        data["errorLogs"]["nodes"],
        json!([
            { "id": "error_1", "databaseId": 1, "timestamp": "2026-03-01T11:00:00.000001Z",
              "apiKey": { "masked": "Fake...efgh", "secret": "FakeSyFAKE0001abcdefgh" }, "model": "model",
              "errorType": "it's", "errorCode": 429, "message": log, "request": null },
            { "id": "error_2", "databaseId": 2, "timestamp": "2026-03-01T10:00:00Z", "apiKey": null,
              "model": null, "errorType": null, "errorCode": null, "message": null, "request": null },
        ])
    );
}

async fn requests(app: &TestApp) -> Vec<Value> {
    let data = app.data("{ errorLogs(orderBy: OLDEST_FIRST) { nodes { request } } }").await;
    let nodes = data["errorLogs"]["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["request"].clone()).collect()
}

async fn requests_are_json(database: TestDatabase) {
    let row = |request: &str| ErrorRow::at("2026-03-01T11:00:00Z").request(request);
    let object = r#"{"b": [1, 2.5, "it's \"quoted\" \\ 密钥", null, true], "a": {}}"#;
    database
        .insert(&[
            row(object),
            row("null"),
            row("[1]"),
            row("\"text\""),
            row("{\"n\": 9007199254740993, \"m\": 18446744073709551615}"),
            ErrorRow::at("2026-03-01T11:00:00Z").request(NULL),
        ])
        .await;
    let app = TestApp::start(&database).await;
    assert_eq!(
        requests(&app).await,
        [
            serde_json::from_str(object).unwrap(),
            Value::Null,
            json!([1]),
            json!("text"),
            json!({ "n": 9_007_199_254_740_993_u64, "m": 18_446_744_073_709_551_615_u64 }),
            Value::Null,
        ]
    );
    // The client reads every digit.
    let body = json!({ "query": "{ node(id: \"error_5\") { ... on ErrorLog { request } } }" });
    let sent = app.post(&body).send().await.unwrap();
    let text = sent.text().await.unwrap();
    assert!(text.contains("9007199254740993") && text.contains("18446744073709551615"), "{text}");
}

async fn sqlite_requests_may_be_any_text(database: TestDatabase) {
    let row = |request: &str| ErrorRow::at("2026-03-01T11:00:00Z").request(request);
    database.insert(&[row("{'single': 1}"), row(""), row("42"), row("plain text")]).await;
    let blob = "UPDATE t_error_logs SET request_msg = CAST('{\"a\": 1}' AS BLOB) WHERE id = 4";
    database.execute(blob).await;
    let app = TestApp::start(&database).await;
    assert_eq!(
        requests(&app).await,
        [json!("{'single': 1}"), json!(""), json!(42), json!({ "a": 1 })]
    );
}

async fn requests_of_a_page_need_one_statement(database: TestDatabase) {
    let rows: Vec<ErrorRow> = (0..60)
        .map(|second| ErrorRow::at(&format!("2026-03-01T11:00:{second:02}Z")).request("{\"a\": 1}"))
        .collect();
    database.insert(&rows).await;
    let app = TestApp::start(&database).await;
    assert_eq!(app.statements("{ errorLogs(first: 50) { nodes { message } } }").await, 1);
    let query =
        "{ errorLogs(first: 50) { nodes { request } edges { node { request } } totalCount } }";
    assert_eq!(app.statements(query).await, 3);
}

async fn totals_are_counted_only_when_selected(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    assert_eq!(app.statements("{ errorLogs { totalCount } }").await, 1);
    assert_eq!(app.statements("{ errorLogs { pageInfo { hasNextPage } } }").await, 1);
    let two = "{ a: errorLogs { totalCount } b: errorLogs(filter: { errorCodes: [429] }) { totalCount } }";
    assert_eq!(app.statements(two).await, 1);
}

async fn keys_list_their_error_logs(database: TestDatabase) {
    let at = "2026-03-01T11:00:00Z";
    database.insert(&[CallRow::at(at).key("c")]).await;
    let row = |id, key: &str| ErrorRow::at(at).id(id).key(key);
    database.insert(&[row(1, "a"), row(2, "b"), row(3, "a").code(500), row(4, "A")]).await;
    let app = TestApp::start(&database).await;
    let query =
        "{ apiKeys { nodes { secret errorLogs(first: 2) { nodes { databaseId } totalCount } } } }";
    let data = app.data(query).await;
    let key = |key: &str, ids: &[i64]| {
        let nodes: Vec<Value> = ids.iter().map(|id| json!({ "databaseId": id })).collect();
        json!({ "secret": key, "errorLogs": { "nodes": nodes, "totalCount": ids.len() } })
    };
    let nodes = json!([key("A", &[4]), key("a", &[3, 1]), key("b", &[2]), key("c", &[])]);
    assert_eq!(data["apiKeys"]["nodes"], nodes);
    // The last statement writes the audit entries for the shown keys.
    assert_eq!(app.statements(query).await, 4);
    let data = app
        .data(
            "{ apiKey(key: \"a\") {
            own: errorLogs(filter: { keys: [\"a\", \"b\"], errorCodes: [429] }) { totalCount }
            other: errorLogs(filter: { keys: [\"b\"] }) { totalCount }
            found: errorLogs(filter: { keyContains: \"A\" }) { totalCount } } }",
        )
        .await;
    let count = |count| json!({ "totalCount": count });
    assert_eq!(data["apiKey"], json!({ "own": count(1), "other": count(0), "found": count(2) }));
}

const GROUP: &str = "{ apiKey { secret } model errorType errorCode count firstSeenAt lastSeenAt latest { databaseId } }";

async fn groups_count_each_dimension(database: TestDatabase) {
    let row = |id, second: u32, key: &str, model: &str, kind: &str, code: i32| {
        let at = format!("2026-03-01T11:00:{second:02}Z");
        ErrorRow::at(&at).id(id).key(key).model(model).error_type(kind).code(code)
    };
    database
        .insert(&[
            row(1, 1, "a", "pro", "chat", 429),
            row(2, 5, "a", "pro", "chat", 429),
            row(3, 5, "a", "flash", "chat", 403),
            row(4, 2, "b", "pro", "embed", 429),
            row(5, 9, "A", "pro", "embed", 429),
        ])
        .await;
    let app = TestApp::start(&database).await;
    let groups = async |arguments: &str| {
        let query = format!("{{ errorGroups({arguments}) {GROUP} }}");
        app.data(&query).await["errorGroups"].clone()
    };
    let group = |of: Value, count: i64, first: u32, last: u32, latest: i64| {
        let mut group = json!({
            "apiKey": null, "model": null, "errorType": null, "errorCode": null, "count": count,
            "firstSeenAt": format!("2026-03-01T11:00:{first:02}Z"),
            "lastSeenAt": format!("2026-03-01T11:00:{last:02}Z"), "latest": { "databaseId": latest },
        });
        for (name, value) in of.as_object().unwrap() {
            group[name] = value.clone();
        }
        group
    };
    let key = |key: &str| json!({ "apiKey": { "secret": key } });
    assert_eq!(
        groups("by: API_KEY").await,
        json!([
            group(key("a"), 3, 1, 5, 3),
            group(key("A"), 1, 9, 9, 5),
            group(key("b"), 1, 2, 2, 4)
        ])
    );
    assert_eq!(
        groups("by: [MODEL]").await,
        json!([
            group(json!({ "model": "pro" }), 4, 1, 9, 5),
            group(json!({ "model": "flash" }), 1, 5, 5, 3)
        ])
    );
    assert_eq!(
        groups("by: [ERROR_TYPE]").await,
        json!([
            group(json!({ "errorType": "chat" }), 3, 1, 5, 3),
            group(json!({ "errorType": "embed" }), 2, 2, 9, 5)
        ])
    );
    assert_eq!(
        groups("by: [ERROR_CODE]").await,
        json!([
            group(json!({ "errorCode": 429 }), 4, 1, 9, 5),
            group(json!({ "errorCode": 403 }), 1, 5, 5, 3)
        ])
    );
    let all = |key: &str, model: &str, kind: &str, code: i32| json!({ "apiKey": { "secret": key }, "model": model, "errorType": kind, "errorCode": code });
    assert_eq!(
        groups("by: [API_KEY, MODEL, ERROR_TYPE, ERROR_CODE], first: 3").await,
        json!([
            group(all("a", "pro", "chat", 429), 2, 1, 5, 2),
            group(all("A", "pro", "embed", 429), 1, 9, 9, 5),
            group(all("a", "flash", "chat", 403), 1, 5, 5, 3),
        ])
    );
    let filtered = "by: [MODEL], filter: { keys: [\"a\"], until: \"2026-03-01T11:00:05Z\" }";
    assert_eq!(groups(filtered).await, json!([group(json!({ "model": "pro" }), 1, 1, 1, 1)]));
    // The latest error logs are read only where they are selected, in any form.
    let statements = async |fields: &str| {
        let before = app.sent();
        let data = app.data(&format!("query {{ errorGroups(by: [MODEL]) {{ {fields} }} }}")).await;
        assert_eq!(data["errorGroups"][0]["count"], 4, "{data}");
        app.sent() - before
    };
    assert_eq!(statements("count").await, 1);
    for latest in ["last: latest { id }", "... on ErrorGroup { latest { id } }"] {
        assert_eq!(statements(&format!("count {latest}")).await, 3, "{latest}");
    }
    for (arguments, argument) in
        [("by: []", "by"), ("by: [MODEL, MODEL]", "by"), ("by: [MODEL], first: 0", "first")]
    {
        let response = app.graphql(&format!("{{ errorGroups({arguments}) {{ count }} }}")).await;
        let extensions = &response["errors"][0]["extensions"];
        assert_eq!(*extensions, json!({ "code": "BAD_USER_INPUT", "argument": argument }));
    }
}

async fn missing_values_are_grouped(database: TestDatabase) {
    let at = "2026-03-01T11:00:00Z";
    let bare = |id| ErrorRow::at(at).id(id).key(NULL).model(NULL).error_type(NULL).code(NULL);
    database.insert(&[bare(1), bare(2), bare(3).key(""), ErrorRow::at(at).id(4)]).await;
    let app = TestApp::start(&database).await;
    for (by, name) in [("MODEL", "model"), ("ERROR_TYPE", "errorType"), ("ERROR_CODE", "errorCode")]
    {
        let data = app
            .data(&format!(
                "{{ errorGroups(by: {by}) {{ {name} count latest {{ databaseId }} }} }}"
            ))
            .await;
        let groups = data["errorGroups"].as_array().unwrap();
        assert_eq!(groups.len(), 2, "{by}");
        assert_eq!(groups[0], json!({ name: null, "count": 3, "latest": { "databaseId": 3 } }));
    }
    let data = app
        .data("{ errorGroups(by: API_KEY) { apiKey { secret } count latest { databaseId } } }")
        .await;
    let groups = data["errorGroups"].as_array().unwrap();
    assert_eq!(groups[0], json!({ "apiKey": null, "count": 2, "latest": { "databaseId": 2 } }));
    assert_eq!(groups.len(), 3);
}

async fn the_latest_of_a_group_respects_the_filter(database: TestDatabase) {
    let row = |id, time: &str| ErrorRow::at(time).id(id);
    database
        .insert(&[
            row(4, "2026-03-01T11:00:00Z"),
            row(2, "2026-03-01T11:00:00Z"),
            row(1, "2026-03-01T11:00:01Z").log("other"),
            row(9, "2026-03-01T10:00:00Z"),
            row(8, "2026-03-01T11:00:00Z").model("other"),
        ])
        .await;
    let app = TestApp::start(&database).await;
    let query = "{ errorGroups(by: MODEL, filter: { contains: \"quota\" }) { model count latest { databaseId } } }";
    let group = |model: &str, count, id| json!({ "model": model, "count": count, "latest": { "databaseId": id } });
    assert_eq!(
        app.data(query).await["errorGroups"],
        json!([group("model", 3, 4), group("other", 1, 8)])
    );
}

async fn groups_need_few_statements(database: TestDatabase) {
    let rows: Vec<ErrorRow> = (0..250)
        .map(|number| {
            ErrorRow::at("2026-03-01T11:00:00Z").key(format!("key-{number}")).request("{}")
        })
        .collect();
    database.insert(&rows).await;
    let app = TestApp::start(&database).await;
    let query = |first: i32| {
        format!(
            "{{ errorGroups(by: API_KEY, first: {first}) {{ count latest {{ message request }} }} }}"
        )
    };
    // The groups, the ids of the latest error log of each, these error logs, and their requests.
    assert_eq!(app.statements(&query(20)).await, 4);
    assert_eq!(app.statements(&query(250)).await, 6);
}

async fn long_filter_lists_are_accepted_or_refused(database: TestDatabase) {
    database.insert(&[ErrorRow::at("2026-03-01T11:00:00Z")]).await;
    let app = TestApp::start(&database).await;
    let query =
        "query($f: ErrorLogFilter) { errorLogs(filter: $f) { totalCount nodes { databaseId } } }";
    let codes = |count: i32| json!({ "f": { "errorCodes": (1..=count).collect::<Vec<_>>() } });
    let taken = app.graphql_with(query, codes(1000)).await;
    assert_eq!(taken["data"]["errorLogs"]["totalCount"], 1);
    // A union of groups binds the values once for each group.
    let keys: Vec<String> = (0..1000).map(|number| format!("key-{number}")).collect();
    let rows: Vec<ErrorRow> =
        keys.iter().map(|key| ErrorRow::at("2026-03-01T11:00:00Z").key(key.as_str())).collect();
    database.insert(&rows).await;
    let groups = "query($f: ErrorLogFilter) { errorGroups(by: API_KEY, filter: $f, first: 40) { count latest { id } }
        apiKeys(first: 40) { nodes { errorLogs(filter: $f) { totalCount nodes { id } } } } }";
    let response =
        app.graphql_with(groups, json!({ "f": { "keys": keys, "errorTypes": keys } })).await;
    assert_eq!(response["data"]["errorGroups"], json!([]), "{response:#}");
    let response = app.graphql_with(groups, json!({ "f": { "keyContains": "KEY-" } })).await;
    let found = response["data"]["errorGroups"].as_array().map(Vec::len);
    assert_eq!(found, Some(40), "{:#}", response["errors"]);
    // More values than a statement can bind.
    let refused = app.graphql_with(query, codes(70_000)).await;
    let extensions = &refused["errors"][0]["extensions"];
    assert_eq!(*extensions, json!({ "code": "BAD_USER_INPUT", "argument": "filter" }));
}
