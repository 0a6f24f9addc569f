//! `apiKeys`, `apiKey`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callscope::config::Secret;
use serde_json::{Value, json};

use super::support::{CallRow, ErrorRow, NULL, TestApp, TestDatabase, error_code, gateway};
use crate::tests;

tests! {
    pages_work_in_both_directions,
    paging_tolerates_new_keys,
    a_search_takes_every_character_literally,
    a_key_is_found_by_its_text_or_id,
    keys_are_case_sensitive,
    keys_of_errors_ignore_the_collation.empty(),
    first_and_last_use_of_a_key_are_shown,
    ids_survive_a_restart,
    a_configured_secret_needs_no_table.empty(),
    ids_reveal_nothing,
    an_id_is_found_among_any_number_of_keys,
    a_list_costs_the_same_for_any_number_of_keys,
    many_keys_are_counted_in_many_windows,
    a_key_lists_its_calls_and_errors,
    bad_arguments_are_named_in_errors,
}

const TIME: &str = "2026-03-01T11:30:00Z";

fn call(key: &str) -> CallRow {
    CallRow::at(TIME).key(key)
}

/// The keys of a list, in its order.
async fn keys(app: &TestApp, args: &str) -> Vec<String> {
    let data = app.data(&format!("{{ apiKeys{args} {{ nodes {{ secret }} }} }}")).await;
    let Value::Array(nodes) = &data["apiKeys"]["nodes"] else { panic!("{data}") };
    nodes.iter().map(|node| node["secret"].as_str().expect("a key").to_owned()).collect()
}

async fn pages_work_in_both_directions(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let all = ["A", "Z", "a", "b", "c", "z", "密钥"];
    database.insert(&["b", "z", "密钥", "a", "A", "a"].map(call)).await;
    database.insert(&["c", "a", "Z"].map(|key| ErrorRow::at(TIME).key(key))).await;
    database.insert(&[call("").key(NULL)]).await;
    assert_eq!(keys(&app, "").await, all, "keys of error logs are included, sorted by bytes");
    for size in 1..=8 {
        for backward in [false, true] {
            let (number, position, end, more) = if backward {
                ("last", "before", "startCursor", "hasPreviousPage")
            } else {
                ("first", "after", "endCursor", "hasNextPage")
            };
            let (mut found, mut cursor) = (Vec::new(), Value::Null);
            loop {
                let query = format!(
                    "{{ apiKeys({number}: {size}, {position}: {cursor}) {{
                        totalCount edges {{ cursor node {{ secret }} }}
                        pageInfo {{ startCursor endCursor hasNextPage hasPreviousPage }} }} }}"
                );
                let list = app.data(&query).await["apiKeys"].clone();
                assert_eq!(list["totalCount"], 7);
                let edges = list["edges"].as_array().unwrap();
                let info = &list["pageInfo"];
                assert_eq!(info["startCursor"], edges[0]["cursor"]);
                assert_eq!(info["endCursor"], edges[edges.len() - 1]["cursor"]);
                let page: Vec<Value> = edges.iter().map(|e| e["node"]["secret"].clone()).collect();
                let at = if backward { 0 } else { found.len() };
                found.splice(at..at, page);
                if info[more] == false {
                    break;
                }
                cursor = info[end].clone();
            }
            assert_eq!(json!(found), json!(all), "by {size}, backward: {backward}");
        }
    }
}

async fn paging_tolerates_new_keys(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database.insert(&["b", "d", "f"].map(call)).await;
    let first = app.data("{ apiKeys(first: 2) { pageInfo { endCursor } } }").await;
    let after = format!("(after: {})", first["apiKeys"]["pageInfo"]["endCursor"]);
    database.insert(&["a", "c", "e"].map(call)).await;
    assert_eq!(keys(&app, &after).await, ["e", "f"]);
    database.execute("DELETE FROM t_request_log WHERE api_key = 'd'").await;
    assert_eq!(keys(&app, &after).await, ["e", "f"], "the key of the cursor was deleted");
}

async fn a_search_takes_every_character_literally(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database.insert(&["AIza_100%", "aizaX1005", "other*[a]", "ÉCOLE", "密钥"].map(call)).await;
    let cases: [(&str, &[&str]); 9] = [
        ("aiza", &["AIza_100%", "aizaX1005"]),
        ("A_1", &["AIza_100%"]),
        ("00%", &["AIza_100%"]),
        ("*[A]", &["other*[a]"]),
        ("école", &["ÉCOLE"]),
        ("钥", &["密钥"]),
        ("%", &["AIza_100%"]),
        ("", &["AIza_100%", "aizaX1005", "other*[a]", "ÉCOLE", "密钥"]),
        ("unknown", &[]),
    ];
    for (search, expected) in cases {
        let data = app
            .data(&format!(
                "{{ apiKeys(search: \"{search}\", first: 1) {{ totalCount nodes {{ secret }}
                    pageInfo {{ hasNextPage endCursor }} }} }}"
            ))
            .await;
        let list = &data["apiKeys"];
        assert_eq!(list["totalCount"], expected.len(), "{search}");
        assert_eq!(list["nodes"][0]["secret"].as_str(), expected.first().copied(), "{search}");
        assert_eq!(list["pageInfo"]["hasNextPage"], expected.len() > 1, "{search}");
        let rest = format!("(search: \"{search}\", after: {})", list["pageInfo"]["endCursor"]);
        assert_eq!(keys(&app, &rest).await, expected.get(1..).unwrap_or_default(), "{search}");
    }
}

async fn a_key_is_found_by_its_text_or_id(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database.insert(&[call("AIzaSyA-1234567890abcdef")]).await;
    database.insert(&[ErrorRow::at(TIME).key("of errors alone")]).await;
    for key in ["AIzaSyA-1234567890abcdef", "of errors alone"] {
        let found = app.data(&format!("{{ apiKey(key: \"{key}\") {{ id secret }} }}")).await;
        assert_eq!(found["apiKey"]["secret"], key);
        let id = &found["apiKey"]["id"];
        let again = app
            .data(&format!(
                "{{ apiKey(key: {id}) {{ id secret }} node(id: {id}) {{ ... on ApiKey {{ id secret }} }} }}"
            ))
            .await;
        assert_eq!(again["apiKey"], found["apiKey"]);
        assert_eq!(again["node"], found["apiKey"]);
    }
    for unknown in ["unknown", "", "AIzaSyA-1234567890ABCDEF", "key_AAAAAAAAAAAAAAAAAAAAAA"] {
        let data = app.data(&format!("{{ apiKey(key: \"{unknown}\") {{ id }} }}")).await;
        assert_eq!(data["apiKey"], Value::Null, "{unknown}");
    }
}

async fn keys_are_case_sensitive(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database
        .insert(&[call("key-a"), call("KEY-A").status(429), call("Key-A"), call("key-a")])
        .await;
    database.insert(&["kEY-a", "Key-B"].map(|key| ErrorRow::at(TIME).key(key))).await;
    database.insert(&[call("key-b")]).await;
    assert_eq!(keys(&app, "").await, ["KEY-A", "Key-A", "Key-B", "kEY-a", "key-a", "key-b"]);
    let data = app
        .data(
            "{ apiKeys { nodes { secret counts(period: LAST_HOUR) { total failure }
                latency(period: LAST_HOUR) { count } models(period: LAST_HOUR) { counts { total } }
                calls(period: LAST_HOUR) { totalCount } errorLogs { totalCount } } } }",
        )
        .await;
    let key = |key, total, failure, errors| {
        let models = if total > 0 { json!([{ "counts": { "total": total } }]) } else { json!([]) };
        json!({
            "secret": key, "counts": { "total": total, "failure": failure },
            "latency": { "count": total }, "models": models,
            "calls": { "totalCount": total }, "errorLogs": { "totalCount": errors },
        })
    };
    assert_eq!(
        data["apiKeys"]["nodes"],
        json!([
            key("KEY-A", 1, 1, 0),
            key("Key-A", 1, 0, 0),
            key("Key-B", 0, 0, 1),
            key("kEY-a", 0, 0, 1),
            key("key-a", 2, 0, 0),
            key("key-b", 1, 0, 0),
        ])
    );
}

async fn keys_of_errors_ignore_the_collation(database: TestDatabase) {
    // MySQL's usual collation, which a gateway's own tables have, treats both as one.
    database.execute(gateway::ddl(database.kind())).await;
    let app = TestApp::start(&database).await;
    database.insert(&["key-a", "key-b"].map(call)).await;
    database.insert(&["KEY-A", "key-b"].map(|key| ErrorRow::at(TIME).key(key))).await;
    assert_eq!(keys(&app, "").await, ["KEY-A", "key-a", "key-b"]);
    let data = app
        .data(
            "{ apiKeys { nodes { counts(period: LAST_HOUR) { total } errorLogs { totalCount } } } }",
        )
        .await;
    let key = |total, errors| json!({ "counts": { "total": total }, "errorLogs": { "totalCount": errors } });
    assert_eq!(data["apiKeys"]["nodes"], json!([key(0, 1), key(1, 0), key(1, 1)]));
}

async fn first_and_last_use_of_a_key_are_shown(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database
        .insert(&[
            CallRow::at("2026-03-01T11:00:00.000001Z").key("a"),
            CallRow::at("2026-03-01T11:10:00Z").key("a"),
            CallRow::at_stored(NULL).key("a"),
            CallRow::at_stored(NULL).key("b"),
            CallRow::at("2026-03-01T11:20:00Z").key("c"),
        ])
        .await;
    database
        .insert(&[
            ErrorRow::at("2026-03-01T11:10:00.5Z").key("a"),
            ErrorRow::at_stored(NULL).key("a"),
            ErrorRow::at("1999-12-31T23:59:59Z").key("d"),
        ])
        .await;
    let data = app.data("{ apiKeys { nodes { secret firstSeenAt lastSeenAt } } }").await;
    let seen = |key, first: Option<&str>, last: Option<&str>| json!({ "secret": key, "firstSeenAt": first, "lastSeenAt": last });
    let (old, twenty) = (Some("1999-12-31T23:59:59Z"), Some("2026-03-01T11:20:00Z"));
    assert_eq!(
        data["apiKeys"]["nodes"],
        json!([
            seen("a", Some("2026-03-01T11:00:00.000001Z"), Some("2026-03-01T11:10:00.5Z")),
            seen("b", None, None),
            seen("c", twenty, twenty),
            seen("d", old, old),
        ])
    );
}

async fn id_of(app: &TestApp, key: &str) -> Value {
    app.data(&format!("{{ apiKey(key: \"{key}\") {{ id }} }}")).await["apiKey"]["id"].clone()
}

async fn ids_survive_a_restart(database: TestDatabase) {
    database.insert(&[call("key-a"), call("key-b")]).await;
    let app = TestApp::start(&database).await;
    let id = id_of(&app, "key-a").await;
    assert_ne!(id, id_of(&app, "key-b").await);
    app.shutdown().await;
    for read_only in [false, true] {
        let app =
            TestApp::start_with(&database, |config| config.database.read_only = read_only).await;
        // The new server has read no key yet.
        let data = app
            .data(&format!(
                "{{ usageStats(key: {id}) {{ lastHour {{ total }} }} callDetails(key: {id}, period: LAST_HOUR) {{ totalCount }} }}"
            ))
            .await;
        assert_eq!(data["usageStats"]["lastHour"]["total"], 1);
        assert_eq!(data["callDetails"]["totalCount"], 1);
        assert_eq!(id_of(&app, "key-a").await, id, "read-only: {read_only}");
        app.shutdown().await;
    }
}

async fn a_configured_secret_needs_no_table(database: TestDatabase) {
    gateway::fill(&database).await;
    let mut ids = Vec::new();
    for secret in ["sixteen letters!", "sixteen letters!", "sixteen others!!"] {
        let app = TestApp::start_with(&database, |config| {
            config.database.read_only = true;
            config.database.id_key = Some(Secret::new(secret));
        })
        .await;
        ids.push(id_of(&app, "AIza-one").await);
        app.shutdown().await;
    }
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[1], ids[2]);
}

async fn ids_reveal_nothing(database: TestDatabase) {
    let key = "AIzaSyA-1234567890abcdef";
    database.insert(&[call(key), call(&key.replace('f', "g"))]).await;
    let app = TestApp::start(&database).await;
    let data = app
        .data(&format!(
            "{{ apiKeys {{ nodes {{ id masked }} edges {{ cursor }} }}
                callDetails({}) {{ edges {{ cursor node {{ id apiKey {{ id masked }} }} }} }}
                callGroups(by: [API_KEY], period: LAST_HOUR) {{ apiKey {{ id }} }} }}",
            "period: LAST_HOUR"
        ))
        .await;
    let ids = &data["apiKeys"]["nodes"];
    assert_eq!(ids[0]["masked"], "AIza...cdef");
    assert_eq!(ids[1]["masked"], "AIza...cdeg");
    let mut texts = vec![data.to_string().replace("AIza...cde", "")];
    let encoded = [&ids[0]["id"], &ids[1]["id"], &data["apiKeys"]["edges"][0]["cursor"]];
    for text in encoded.map(|text| text.as_str().unwrap()) {
        let digest = text.trim_start_matches("key_");
        let bytes = URL_SAFE_NO_PAD.decode(digest).expect("base64");
        texts.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    for text in texts {
        for part in key.as_bytes().windows(4) {
            let part = str::from_utf8(part).unwrap();
            assert!(!text.contains(part), "{part} in {text}");
        }
    }
    let shared =
        |one: &str, other: &str| one.chars().zip(other.chars()).filter(|(a, b)| a == b).count();
    let (one, other) = (ids[0]["id"].as_str().unwrap(), ids[1]["id"].as_str().unwrap());
    assert!(shared(one, other) < 12, "similar keys have similar ids: {one}, {other}");
}

async fn a_list_costs_the_same_for_any_number_of_keys(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let everything = "id masked firstSeenAt lastSeenAt
        minute: counts(period: LAST_MINUTE) { total } counts(period: LAST_24_HOURS) { total }
        month: counts(period: CURRENT_MONTH, timeZone: \"Asia/Shanghai\") { failure }
        latency(period: LAST_24_HOURS) { p50 p99 }
        models(period: LAST_24_HOURS) { model counts { total } latency { p95 } }
        calls(period: LAST_24_HOURS, first: 3) { totalCount nodes { model errorLog { databaseId } } }
        errorLogs(first: 3) { totalCount nodes { databaseId } }";
    let fields = [
        ("id masked", 1),
        ("firstSeenAt lastSeenAt", 2),
        ("a: counts(period: LAST_HOUR) { total } b: counts(period: CURRENT_MONTH) { total }", 2),
        ("latency(period: LAST_HOUR) { p50 }", 2),
        ("models(period: LAST_HOUR) { model }", 2),
        ("calls(period: LAST_HOUR) { nodes { model } }", 2),
        ("calls(period: LAST_HOUR) { totalCount nodes { errorLog { id } } }", 4),
        ("errorLogs { nodes { id } totalCount }", 3),
        (everything, 10),
    ];
    for keys in [3, 30] {
        let names: Vec<String> = (0..keys).map(|number| format!("key-{number:02}")).collect();
        let rows: Vec<CallRow> = names.iter().map(|key| call(key).status(429)).collect();
        database.insert(&rows).await;
        let errors: Vec<ErrorRow> =
            names.iter().map(|key| ErrorRow::at(TIME).key(key.as_str())).collect();
        database.insert(&errors).await;
        for (fields, statements) in fields {
            let query = format!("{{ apiKeys(first: 30) {{ totalCount nodes {{ {fields} }} }} }}");
            assert_eq!(app.data(&query).await["apiKeys"]["totalCount"], keys);
            assert_eq!(app.statements(&query).await, statements, "{keys} keys: {fields}");
        }
    }
}

async fn many_keys_are_counted_in_many_windows(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.graphql.timeout_seconds = 100).await;
    let rows: Vec<CallRow> = (0..1000).map(|number| call(&format!("key-{number:03}"))).collect();
    database.insert(&rows).await;
    // Each query has more values than a statement of any database binds.
    let windows: String = (10..50)
        .map(|minute| {
            let as_of = format!("2026-03-01T11:{minute}:00Z");
            format!("m{minute}: counts(period: LAST_MINUTE, asOf: \"{as_of}\") {{ total }} ")
        })
        .collect();
    let data = app.data(&format!("{{ apiKeys(first: 1000) {{ nodes {{ {windows} }} }} }}")).await;
    let Value::Array(keys) = &data["apiKeys"]["nodes"] else { panic!("{data}") };
    for minute in 10..50 {
        // A minute excludes the call at its end.
        let calls = i32::from(minute == 31);
        let field = format!("m{minute}");
        assert!(keys.iter().all(|key| key[&field]["total"] == calls), "{minute}");
    }
    let models = (0..700).map(|model| format!("\"{model}\" ")).collect::<String>() + "\"model\"";
    let calls = format!("calls(period: LAST_HOUR, filter: {{ models: [{models}] }})");
    let lists = format!("{calls} {{ totalCount nodes {{ model }} }}");
    let data = app.data(&format!("{{ apiKeys(first: 100) {{ nodes {{ {lists} }} }} }}")).await;
    let Value::Array(keys) = &data["apiKeys"]["nodes"] else { panic!("{data}") };
    let list = json!({ "totalCount": 1, "nodes": [{ "model": "model" }] });
    assert!(keys.iter().all(|key| key["calls"] == list), "{data}");
}

async fn a_key_lists_its_calls_and_errors(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let of = |id, key: &str, model: &str| call(key).id(id).model(model);
    database
        .insert(&[
            of(1, "a", "pro").latency(100),
            of(2, "a", "pro").latency(300).status(429),
            of(3, "a", "flash").latency(NULL),
            of(4, "b", "pro").latency(7),
            of(5, "a", "x").model(NULL),
            CallRow::at("2026-02-28T11:30:00Z").id(6).key("a"),
        ])
        .await;
    database.insert(&[ErrorRow::at(TIME).key("a").id(1), ErrorRow::at(TIME).key("b").id(2)]).await;
    let data = app
        .data(
            "{ apiKeys { nodes { masked
                counts(period: LAST_HOUR) { total success failure }
                latency(period: LAST_HOUR) { count p50 max }
                models(period: LAST_HOUR) { apiKey { id } model counts { total } latency { max } }
                calls(period: LAST_HOUR, filter: { models: [\"pro\"] }, orderBy: SLOWEST_FIRST, first: 1) {
                    totalCount nodes { databaseId apiKey { secret } errorLog { databaseId } }
                    pageInfo { hasNextPage } }
                others: calls(period: LAST_HOUR, filter: { keys: [\"b\"] }) { totalCount }
                errorLogs { nodes { databaseId } }
                month: counts(between: { since: \"2026-02-28T00:00:00Z\", until: \"2026-03-01T00:00:00Z\" }) { total }
                } } }",
        )
        .await;
    let model = |model: Option<&str>, total, max: Option<i32>| json!({ "apiKey": null, "model": model, "counts": { "total": total }, "latency": { "max": max } });
    assert_eq!(
        data["apiKeys"]["nodes"],
        json!([
            {
                "masked": "...",
                "counts": { "total": 4, "success": 3, "failure": 1 },
                "latency": { "count": 3, "p50": 100.0, "max": 300 },
                "models": [
                    model(Some("pro"), 2, Some(300)),
                    model(Some("flash"), 1, None),
                    model(None, 1, Some(100)),
                ],
                "calls": {
                    "totalCount": 2,
                    "nodes": [{
                        "databaseId": 2, "apiKey": { "secret": "a" },
                        "errorLog": { "databaseId": 1 },
                    }],
                    "pageInfo": { "hasNextPage": true },
                },
                "others": { "totalCount": 0 },
                "errorLogs": { "nodes": [{ "databaseId": 1 }] },
                "month": { "total": 1 },
            },
            {
                "masked": "...",
                "counts": { "total": 1, "success": 1, "failure": 0 },
                "latency": { "count": 1, "p50": 7.0, "max": 7 },
                "models": [model(Some("pro"), 1, Some(7))],
                "calls": {
                    "totalCount": 1,
                    "nodes": [{ "databaseId": 4, "apiKey": { "secret": "b" }, "errorLog": null }],
                    "pageInfo": { "hasNextPage": false },
                },
                "others": { "totalCount": 1 },
                "errorLogs": { "nodes": [{ "databaseId": 2 }] },
                "month": { "total": 0 },
            },
        ])
    );
}

async fn bad_arguments_are_named_in_errors(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database.insert(&[call("key")]).await;
    let data = app.data("{ callDetails(period: LAST_HOUR) { pageInfo { endCursor } } }").await;
    let of_calls = format!("(after: {})", data["callDetails"]["pageInfo"]["endCursor"]);
    for (args, argument) in [
        ("(first: 0)", "first"),
        ("(first: 1001)", "first"),
        ("(last: -1)", "last"),
        ("(first: 1, last: 1)", "first"),
        ("(after: \"nonsense\")", "after"),
        ("(last: 1, before: \"\")", "before"),
        ("(search: \"\\u0000\")", "search"),
        (&of_calls, "after"),
    ] {
        let response = app.graphql(&format!("{{ apiKeys{args} {{ totalCount }} }}")).await;
        let extensions = &response["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "BAD_USER_INPUT", "{args}: {response}");
        assert_eq!(extensions["argument"], argument, "{args}: {response}");
    }
    for field in ["counts { total }", "calls(period: LAST_HOUR, first: 0) { totalCount }"] {
        let response = app.graphql(&format!("{{ apiKeys {{ nodes {{ {field} }} }} }}")).await;
        assert_eq!(error_code(&response), "BAD_USER_INPUT", "{field}");
    }
}

/// There are more keys than the directory caches.
async fn an_id_is_found_among_any_number_of_keys(database: TestDatabase) {
    const KEYS: usize = 12_000;
    let app = TestApp::start(&database).await;
    let key = |number: usize| format!("{number:0>100}");
    for part in (0..KEYS).collect::<Vec<_>>().chunks(4000) {
        let lines: String =
            part.iter().map(|number| format!("{{\"key\":\"{}\"}}\n", key(*number))).collect();
        let sent = app.client().post(app.url("/ingest/calls"));
        let sent = sent.header("Content-Type", "application/x-ndjson").body(lines);
        let report: Value = sent.send().await.unwrap().json().await.unwrap();
        assert_eq!(report["recorded"], part.len(), "{report}");
    }
    for number in [0, KEYS / 2, KEYS - 1] {
        let id = id_of(&app, &key(number)).await;
        let query = format!("{{ node(id: {id}) {{ ... on ApiKey {{ secret }} }} }}");
        // The second lookup finds the id in a cache.
        for _ in 0..2 {
            assert_eq!(app.data(&query).await["node"]["secret"], key(number));
        }
    }
    let unknown = app.data("{ node(id: \"key_000000000000000000000A\") { id } }").await;
    assert_eq!(unknown["node"], Value::Null);
}
