//! `recordCalls`, `recordErrors`: what they store and refuse, and what a retry does.

use std::collections::HashSet;

use callscope::ingest::recorder::Recorder;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};

use super::input_errors::{lock, unlock};
use crate::support::{Kind, TestApp, TestDatabase, error_code, eventually, settings, within};
use crate::tests;

tests! {
    a_call_is_stored_with_its_matching_error,
    error_logs_are_stored_without_a_call,
    missing_fields_get_defaults,
    a_batch_is_stored_completely_or_not_at_all,
    a_refused_input_is_reported_by_index_and_field,
    a_retry_records_nothing_and_returns_the_first_response,
    a_retry_returns_negative_ids.only(&[Kind::Sqlite]).empty(),
    unreadable_ids_of_a_key_are_an_internal_error,
    an_idempotency_key_belongs_to_one_content_and_caller,
    a_retry_from_another_server_records_nothing,
    a_retry_of_error_logs_records_nothing,
    the_request_header_sets_the_idempotency_key,
    a_group_needs_few_statements,
    idempotency_keys_are_found_by_index.only(&[Kind::Postgres]),
    one_of_many_concurrent_retries_records,
    two_servers_record_a_shared_key_once,
    concurrent_keys_are_kept_apart,
    concurrent_calls_are_all_recorded,
    a_refused_batch_does_not_affect_its_group,
    an_old_key_expires,
    keys_expire_after_the_configured_time,
    recording_requires_its_scope,
    scopes_of_the_payload_are_checked_before_recording,
    mutations_require_json_and_post,
    a_read_only_database_refuses_writes,
    a_slow_database_refuses_further_batches,
    a_timed_out_batch_may_be_stored,
    ids_may_have_64_bits.empty(),
}

const RECORD: &str = "mutation R($calls: [CallInput!]!, $key: String) {
    recordCalls(input: { calls: $calls, idempotencyKey: $key }) {
        recorded duplicate
        calls { id timestamp model statusCode latencyMs apiKey { secret }
                errorLog { timestamp errorType errorCode message request } } } }";

/// Sends calls as one batch and returns its payload or its error.
async fn record(app: &TestApp, calls: Value, key: Option<&str>) -> Result<Value, Value> {
    let response = app.graphql_with(RECORD, json!({ "calls": calls, "key": key })).await;
    match response["errors"].get(0) {
        Some(error) => Err(error.clone()),
        None => Ok(response["data"]["recordCalls"].clone()),
    }
}

async fn a_call_is_stored_with_its_matching_error(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let at = "2026-03-01T11:59:00.123456Z";
    let calls = json!([
        { "timestamp": at, "key": "k1", "model": "m", "statusCode": 200, "latencyMs": 12 },
        { "timestamp": at, "key": "k1", "model": "m", "statusCode": 429, "latencyMs": 7,
          "error": { "errorType": "chat", "message": "quota", "request": { "a": ["密", 1] } } },
        { "timestamp": at, "key": "k1", "model": "n", "latencyMs": 9,
          "error": { "errorCode": 599, "message": "no answer" } },
    ]);
    let payload = record(&app, calls, None).await.unwrap();
    let call = |id: &str, model, code: Value, latency, error: Value| {
        json!({ "id": id, "timestamp": at, "model": model, "statusCode": code,
            "latencyMs": latency, "apiKey": { "secret": "k1" }, "errorLog": error })
    };
    let ids: Vec<&str> =
        payload["calls"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
    let quota = json!({ "timestamp": at, "errorType": "chat", "errorCode": 429,
        "message": "quota", "request": { "a": ["密", 1] } });
    let nothing = json!({ "timestamp": at, "errorType": null, "errorCode": 599,
        "message": "no answer", "request": null });
    let expected = json!({ "recorded": 3, "duplicate": false, "calls": [
        call(ids[0], "m", json!(200), 12, Value::Null),
        call(ids[1], "m", json!(429), 7, quota),
        call(ids[2], "n", Value::Null, 9, nothing),
    ] });
    assert_eq!(payload, expected);
    let flags = database.query("SELECT is_success FROM t_request_log ORDER BY id").await;
    let truths: Vec<bool> =
        flags.iter().map(|row| row[0] == json!(1) || row[0] == json!(true)).collect();
    assert_eq!(truths, [true, false, false], "as the gateway writes them");
}

async fn error_logs_are_stored_without_a_call(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let query = "mutation { recordErrors(input: { errors: [
        { timestamp: \"2026-03-01T10:00:00+08:00\", key: \"k\", model: \"m\", errorType: \"t\",
          errorCode: 403, message: \"denied\", request: { prompt: \"p\" } },
        { message: \"second\" } ] }) {
        recorded duplicate errorLogs { timestamp message errorCode request apiKey { secret } } } }";
    let data = app.data(query).await;
    let expected = json!({ "recorded": 2, "duplicate": false, "errorLogs": [
        { "timestamp": "2026-03-01T02:00:00Z", "message": "denied", "errorCode": 403,
          "request": { "prompt": "p" }, "apiKey": { "secret": "k" } },
        { "timestamp": "2026-03-01T12:00:00Z", "message": "second", "errorCode": null,
          "request": null, "apiKey": null },
    ] });
    assert_eq!(data["recordErrors"], expected);
}

async fn missing_fields_get_defaults(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let payload = record(&app, json!([{}]), None).await.unwrap();
    let call = &payload["calls"][0];
    assert_eq!(call["timestamp"], "2026-03-01T12:00:00Z");
    assert!(["model", "statusCode", "latencyMs", "apiKey"].iter().all(|name| call[name].is_null()));
    assert_eq!(record(&app, json!([]), None).await.unwrap()["recorded"], 0);
}

async fn a_batch_is_stored_completely_or_not_at_all(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.graphql.max_record_batch = 3).await;
    let good = json!({ "key": "k", "statusCode": 500, "error": { "message": "m" } });
    let long = json!({ "key": "x".repeat(101) });
    for calls in [json!([good, long]), json!([long, good]), json!([good, good, good, good])] {
        let error = record(&app, calls, None).await.unwrap_err();
        assert_eq!(error["extensions"]["code"], "BAD_USER_INPUT", "{error}");
    }
    assert_eq!(
        (database.count("t_request_log").await, database.count("t_error_logs").await),
        (0, 0)
    );
    record(&app, json!([good, good, good]), None).await.unwrap();
    assert_eq!(
        (database.count("t_request_log").await, database.count("t_error_logs").await),
        (3, 3)
    );
}

async fn a_refused_input_is_reported_by_index_and_field(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let long = "x".repeat(101);
    for (call, parts) in [
        (json!({ "key": long }), ["calls[1]", "key has 101"]),
        (json!({ "model": long }), ["calls[1]", "model has 101"]),
        (json!({ "key": "a\0b" }), ["calls[1]", "key contains a NUL"]),
        (json!({ "timestamp": "0999-01-01T00:00:00Z" }), ["calls[1]", "timestamp"]),
        (json!({ "statusCode": 200, "error": {} }), ["calls[1]", "`error`"]),
        (
            json!({ "statusCode": 500, "error": { "errorType": long } }),
            ["errors[0]", "error_type has 101"],
        ),
    ] {
        let error = record(&app, json!([{}, call]), None).await.unwrap_err();
        assert_eq!(error["extensions"]["code"], "BAD_USER_INPUT");
        let message = error["message"].as_str().unwrap();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        assert!(!message.contains(&long), "no value is repeated: {message}");
    }
    assert_eq!(database.count("t_request_log").await, 0);
}

async fn a_retry_records_nothing_and_returns_the_first_response(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let calls = json!([{ "key": "a", "statusCode": 500, "error": { "message": "m" } }, {}]);
    let mut first = record(&app, calls.clone(), Some("batch-1")).await.unwrap();
    // A missing time is the server's time, which differs at the second attempt.
    app.clock.advance(chrono::TimeDelta::seconds(10));
    let second = record(&app, calls.clone(), Some("batch-1")).await.unwrap();
    first["duplicate"] = json!(true);
    assert_eq!(second, first);
    assert_eq!(database.count("t_request_log").await, 2);
    assert_eq!(database.count("t_error_logs").await, 1);
    let other = record(&app, calls, Some("batch-2")).await.unwrap();
    assert_eq!(other["duplicate"], false);
    assert_ne!(other["calls"][0]["id"], first["calls"][0]["id"]);
}

/// SQLite continues after the highest id of a table, which may be negative.
async fn a_retry_returns_negative_ids(database: TestDatabase) {
    for table in ["t_request_log", "t_error_logs"] {
        let key = if table == "t_error_logs" { "gemini_key" } else { "api_key" };
        let columns = "model_name TEXT, is_success INTEGER, status_code INTEGER, latency_ms INTEGER, \
            error_type TEXT, error_log TEXT, error_code INTEGER, request_msg TEXT";
        database
            .execute(&format!(
                "CREATE TABLE {table} (id INTEGER PRIMARY KEY, request_time DATETIME, {key} TEXT, \
                 {columns}); INSERT INTO {table} (id) VALUES (-100)"
            ))
            .await;
    }
    let app = TestApp::start(&database).await;
    let calls = json!([{ "statusCode": 500, "error": { "message": "m" } }, {}, {}]);
    let query = "mutation R($calls: [CallInput!]!) {
        recordCalls(input: { calls: $calls, idempotencyKey: \"k\" }) {
            recorded duplicate calls { id errorLog { message } } } }";
    let record = async || {
        let response = app.graphql_with(query, json!({ "calls": calls })).await;
        assert!(response["errors"].is_null(), "{response}");
        response["data"]["recordCalls"].clone()
    };
    let mut first = record().await;
    let ids = database.query("SELECT id FROM t_request_log ORDER BY id").await;
    assert_eq!(json!(ids), json!([[-100], [-99], [-98], [-97]]));
    assert_eq!((&first["recorded"], first["calls"].as_array().map(Vec::len)), (&json!(3), Some(3)));
    first["duplicate"] = json!(true);
    assert_eq!(record().await, first);
    // The same for a single call.
    assert_eq!(
        app.data("mutation { recordCalls(input: { calls: [{}] }) { recorded } }").await["recordCalls"]
            ["recorded"],
        1
    );
}

async fn unreadable_ids_of_a_key_are_an_internal_error(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    record(&app, json!([{}]), Some("k")).await.unwrap();
    database.execute("UPDATE callscope_idempotency SET call_ids = 'rubbish'").await;
    let error = record(&app, json!([{}]), Some("k")).await.unwrap_err();
    assert_eq!(error["extensions"]["code"], "INTERNAL", "{error}");
    assert_eq!(database.count("t_request_log").await, 1);
}

async fn an_idempotency_key_belongs_to_one_content_and_caller(database: TestDatabase) {
    let tokens = "a:READ,RECORD,REVEAL_KEYS:0123456789abcdef-a b:RECORD,READ:0123456789abcdef-b";
    let app = TestApp::start_with_tokens(&database, tokens).await;
    let send = async |token: &str, model: &str| {
        let query = format!(
            "mutation {{ recordCalls(input: {{ calls: [{{ model: \"{model}\" }}],
                idempotencyKey: \"k\" }}) {{ duplicate }} }}"
        );
        app.graphql_as(&format!("0123456789abcdef-{token}"), &query).await
    };
    let duplicate = |response: &Value| response["data"]["recordCalls"]["duplicate"].clone();
    assert_eq!(duplicate(&send("a", "m").await), false);
    assert_eq!(duplicate(&send("a", "m").await), true);
    assert_eq!(duplicate(&send("b", "m").await), false, "the key of another caller");
    let other = send("a", "n").await;
    assert_eq!(other["errors"][0]["extensions"]["argument"], "idempotencyKey", "{other}");
    assert_eq!(database.count("t_request_log").await, 2);
    for key in ["", &"x".repeat(256)] {
        let query = format!(
            "mutation {{ recordCalls(input: {{ calls: [], idempotencyKey: \"{key}\" }}) {{ recorded }} }}"
        );
        let refused = app.graphql_as("0123456789abcdef-a", &query).await;
        assert_eq!(error_code(&refused), "BAD_USER_INPUT");
    }
}

async fn a_retry_from_another_server_records_nothing(database: TestDatabase) {
    let one = TestApp::start(&database).await;
    let other = TestApp::start(&database).await;
    let calls = json!([{ "key": "a" }]);
    let first = record(&one, calls.clone(), Some("k")).await.unwrap();
    one.shutdown().await;
    let second = record(&other, calls, Some("k")).await.unwrap();
    assert_eq!((&first["duplicate"], &second["duplicate"]), (&json!(false), &json!(true)));
    assert_eq!(first["calls"], second["calls"]);
}

async fn a_retry_of_error_logs_records_nothing(database: TestDatabase) {
    let (one, other) = (TestApp::start(&database).await, TestApp::start(&database).await);
    let query = "mutation R($message: String!) { recordErrors(input: {
        errors: [{ message: $message, errorCode: 429 }, { message: \"second\" }], idempotencyKey: \"k\" }) {
        recorded duplicate errorLogs { id message errorCode } } }";
    let mut first = one.graphql_with(query, json!({ "message": "first" })).await;
    assert_eq!(first["data"]["recordErrors"]["duplicate"], false, "{first}");
    let second = other.graphql_with(query, json!({ "message": "first" })).await;
    first["data"]["recordErrors"]["duplicate"] = json!(true);
    assert_eq!(second, first);
    let refused = other.graphql_with(query, json!({ "message": "another" })).await;
    assert_eq!(refused["errors"][0]["extensions"]["argument"], "idempotencyKey", "{refused}");
    // The key of a calls request is a different key.
    let calls = record(&one, json!([{}]), Some("k")).await.unwrap();
    assert_eq!(calls["duplicate"], false);
    assert_eq!(database.count("t_error_logs").await, 2);
}

async fn the_request_header_sets_the_idempotency_key(database: TestDatabase) {
    let (one, other) = (
        TestApp::start(&database).await,
        TestApp::start_with(&database, |config| config.server.http.max_batch = 3).await,
    );
    let send = async |app: &TestApp, path: &str, key: &str, body: &Value| {
        let request = app.client().post(app.url(path)).json(body).header("Idempotency-Key", key);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let query = |model: &str| {
        json!({ "query": format!("mutation {{
            recordCalls(input: {{ calls: [{{ model: \"{model}\" }}] }}) {{ duplicate calls {{ id }} }}
            more: recordCalls(input: {{ calls: [{{ model: \"more\" }}] }}) {{ duplicate }}
            recordErrors(input: {{ errors: [{{}}] }}) {{ duplicate }}
            own: recordCalls(input: {{ calls: [{{}}], idempotencyKey: \"own {model}\" }}) {{ duplicate }}
        }}") })
    };
    let (status, first) = send(&one, "/graphql", "k", &query("m")).await;
    assert!(status == 200 && first.matches("\"duplicate\":false").count() == 4, "{first}");
    let (_, second) = send(&other, "/graphql", "k", &query("m")).await;
    assert_eq!(second, first.replace("false", "true"), "the response equals the first one");
    // Over server-sent events it is the same request.
    let (_, third) = send(&one, "/graphql/stream", "k", &query("m")).await;
    assert_eq!(third.matches("\"duplicate\":true").count(), 4, "{third}");
    assert_eq!(database.count("t_request_log").await, 3);
    assert_eq!(database.count("t_error_logs").await, 1);
    let (_, refused) = send(&one, "/graphql", "k", &query("n")).await;
    assert!(
        refused.contains("this idempotency key was used to record something else"),
        "{refused}"
    );
    // Each request of a batch records its own rows.
    let before = database.count("t_request_log").await;
    let plain =
        json!({ "query": "mutation { recordCalls(input: { calls: [{}] }) { duplicate } }" });
    for duplicate in ["false", "true"] {
        let (_, body) = send(&other, "/graphql", "batch", &json!([plain, plain, plain])).await;
        assert_eq!(body.matches(&format!("\"duplicate\":{duplicate}")).count(), 3, "{body}");
    }
    assert_eq!(database.count("t_request_log").await, before + 3);
    for bad in ["", &"x".repeat(256)] {
        let (status, body) = send(&one, "/graphql", bad, &plain).await;
        assert!(status == 400 && body.contains("BAD_USER_INPUT"), "{status} {body}");
    }
}

/// Counts include the statements of a transaction.
async fn a_group_needs_few_statements(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let calls = "calls: [{}, {}, { error: {} }]";
    // For an insert of several rows MariaDB first returns its `auto_increment_increment`.
    let of_ids = u64::from(database.kind() == Kind::MariaDb);
    for (input, expected) in [
        ("calls: [{}]".to_owned(), 1),
        ("calls: [{}, {}]".to_owned(), 1 + of_ids),
        (calls.to_owned(), 2 + of_ids),
        // The key is looked up and inserted.
        (format!("{calls}, idempotencyKey: \"a\""), 4 + of_ids),
        (format!("{calls}, idempotencyKey: \"a\""), 1),
    ] {
        let query = format!("mutation {{ recordCalls(input: {{ {input} }}) {{ recorded }} }}");
        let mut sent = app.sql(&query).await;
        // On PostgreSQL a notification follows the commit.
        sent.retain(|sql| !sql.contains("pg_notify"));
        assert_eq!(sent.len() as u64, expected, "{input}: {sent:#?}");
    }
}

/// The statement that finds keys was planned while the table was empty.
async fn idempotency_keys_are_found_by_index(database: TestDatabase) {
    let app =
        TestApp::start_with(&database, |config| config.database.database_connections = 1).await;
    // In groups of repeated sizes.
    let record_some = async |name: &str| {
        for round in 0..20 {
            let keys = (0..16).map(|number| format!("{name} {round} {number}"));
            let sent = keys.map(async |key| record(&app, json!([{}]), Some(&key)).await.unwrap());
            futures_util::future::join_all(sent).await;
        }
    };
    record_some("few").await;
    let others = "INSERT INTO callscope_idempotency (digest, content, call_ids, error_ids, at)
        SELECT repeat('x', 50) || n, 'c', '1', '', '2026-03-01T12:00:00.000000Z'
        FROM generate_series(1, 20000) AS n";
    database.execute(others).await;
    record_some("many").await;
    // A PostgreSQL session reports its reads when it ends.
    app.shutdown().await;
    let statistic = |column: &str| {
        format!("SELECT {column} FROM pg_stat_user_tables WHERE relname = 'callscope_idempotency'")
    };
    let inserted = async || database.value(&statistic("n_tup_ins")).await.as_u64() >= Some(20_640);
    eventually("all sessions report their statistics", inserted).await;
    let read = database.value(&statistic("seq_tup_read")).await.as_u64();
    assert!(read < Some(20_000), "{read:?} rows");
}

async fn one_of_many_concurrent_retries_records(database: TestDatabase) {
    let (one, other) = (TestApp::start(&database).await, TestApp::start(&database).await);
    let calls = json!([{ "key": "a" }, { "key": "b" }]);
    let tries = (0..20).map(|number| {
        let app = if number % 2 == 0 { &one } else { &other };
        record(app, calls.clone(), Some(["x", "y"][number / 10]))
    });
    let payloads = futures_util::future::join_all(tries).await;
    let payloads: Vec<Value> = payloads.into_iter().map(Result::unwrap).collect();
    let new = payloads.iter().filter(|payload| payload["duplicate"] == false).count();
    assert_eq!(new, 2, "one record for each key");
    let distinct: HashSet<String> = payloads.iter().map(|p| p["calls"].to_string()).collect();
    assert_eq!(distinct.len(), 2);
    assert_eq!(database.count("t_request_log").await, 4);
}

/// Two servers record groups that share some keys: the second transaction of a pair starts again, and the rest of
/// its group is recorded. One of the servers claims an expired key again.
async fn two_servers_record_a_shared_key_once(database: TestDatabase) {
    let (one, other) = (TestApp::start(&database).await, TestApp::start(&database).await);
    let send = async |app: &TestApp, number: usize| {
        let calls = json!([{ "model": format!("m{number}") }]);
        let key = (!number.is_multiple_of(4)).then(|| format!("k{number}"));
        record(app, calls, key.as_deref()).await.unwrap()
    };
    for round in 1..=3 {
        // Each server has its own order, so that they meet at every position of their groups.
        let of_one = futures_util::future::join_all((0..80).map(|n| send(&one, n)));
        let of_other = futures_util::future::join_all((0..80).rev().map(|n| send(&other, n)));
        let (of_one, mut of_other) = futures_util::future::join(of_one, of_other).await;
        of_other.reverse();
        for (number, (one, other)) in of_one.iter().zip(&of_other).enumerate() {
            let new = [one, other].iter().filter(|payload| payload["duplicate"] == false).count();
            let is_keyed = !number.is_multiple_of(4);
            assert_eq!(new, if is_keyed { 1 } else { 2 }, "k{number}");
            assert_eq!(one["calls"] == other["calls"], is_keyed, "k{number}");
        }
        assert_eq!(database.count("t_request_log").await, round * (60 + 2 * 20));
        assert_eq!(database.count("callscope_idempotency").await, 60);
        one.clock.advance(chrono::TimeDelta::hours(25));
        other.clock.advance(chrono::TimeDelta::hours(25));
    }
}

async fn concurrent_keys_are_kept_apart(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    // A batch without calls is also recognised by its key.
    let calls = |number: usize| match number % 5 {
        0 => json!([]),
        _ => json!([{ "model": format!("m{number}") }, { "model": "n" }]),
    };
    let send =
        async |number: usize, calls: Value| record(&app, calls, Some(&format!("k{number}"))).await;
    let old = (0..60).step_by(3).map(|number| send(number, calls(number)));
    let first = futures_util::future::join_all(old).await;
    // Some of the repeated keys have other content.
    let all = (0..60).map(|number| {
        let other = number % 6 == 3;
        send(number, if other { json!([{ "model": "other" }]) } else { calls(number) })
    });
    let answers = futures_util::future::join_all(all).await;
    for (number, answer) in answers.into_iter().enumerate() {
        match (number % 6, answer) {
            (0, answer) => {
                let mut expected = first[number / 3].clone().unwrap();
                expected["duplicate"] = json!(true);
                assert_eq!(answer, Ok(expected), "k{number}");
            }
            (3, answer) => {
                let error = answer.unwrap_err();
                assert_eq!(error["extensions"]["argument"], "idempotencyKey", "k{number}");
            }
            (_, answer) => {
                let answer = answer.unwrap();
                assert_eq!(answer["duplicate"], false, "k{number}");
                assert_eq!(answer["recorded"], json!(calls(number).as_array().unwrap().len()));
            }
        }
    }
    // 48 batches have two calls, 12 have no calls.
    assert_eq!(database.count("t_request_log").await, 96);
}

async fn concurrent_calls_are_all_recorded(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let sent = (0..100).map(|number| {
        let app = &app;
        async move {
            let model = format!("m{number}");
            let mut call = json!({ "model": model, "statusCode": 500 });
            if number % 3 == 0 {
                call["error"] = json!({ "message": model });
            }
            // Every tenth batch is refused, which must not affect the others.
            if number % 10 == 0 {
                call["key"] = json!("x".repeat(101));
            }
            (number, record(app, json!([call]), None).await)
        }
    });
    let answers = futures_util::future::join_all(sent).await;
    let mut ids = HashSet::new();
    for (number, answer) in &answers {
        match answer {
            Ok(payload) => {
                let call = &payload["calls"][0];
                assert_eq!(call["model"], format!("m{number}"), "each caller gets its own ids");
                assert!(ids.insert(call["id"].as_str().unwrap()));
            }
            Err(_) => assert_eq!(number % 10, 0),
        }
    }
    assert_eq!(ids.len(), 90);
    assert_eq!(database.count("t_request_log").await, 90);
    assert_eq!(database.count("t_error_logs").await, 30);
}

/// The database refuses some batches of a group: none of their rows is stored, all of the others are.
async fn a_refused_batch_does_not_affect_its_group(database: TestDatabase) {
    for statement in match database.kind() {
        Kind::Sqlite => &["CREATE TRIGGER refuse BEFORE INSERT ON t_error_logs
            WHEN NEW.model_name = 'refused' BEGIN SELECT RAISE(ABORT, 'no'); END"][..],
        Kind::Postgres => &[
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN IF NEW.model_name = ''refused'' THEN RAISE ''no''; END IF; RETURN NEW; END'",
            "CREATE TRIGGER refuse BEFORE INSERT ON t_error_logs
            FOR EACH ROW EXECUTE FUNCTION refuse()",
        ],
        Kind::MariaDb => &["CREATE TRIGGER refuse BEFORE INSERT ON t_error_logs FOR EACH ROW
            IF NEW.model_name = 'refused' THEN SIGNAL SQLSTATE '45000'; END IF"],
    } {
        database.execute(statement).await;
    }
    let app = TestApp::start(&database).await;
    let sent = (0..60).map(|number| {
        let app = &app;
        async move {
            let model = if number % 10 == 0 { "refused" } else { "recorded" };
            let error = (number % 2 == 0).then(|| json!({ "message": "m" }));
            let call = json!({ "model": model, "statusCode": 500, "error": error });
            let key = (number % 3 == 0).then(|| format!("key {number}"));
            (number, record(app, json!([{ "model": model }, call]), key.as_deref()).await)
        }
    });
    for (number, answer) in futures_util::future::join_all(sent).await {
        assert_eq!(answer.is_err(), number % 10 == 0, "{number}: {answer:?}");
    }
    assert_eq!(database.count("t_request_log").await, 54 * 2);
    assert_eq!(database.count("t_error_logs").await, 24);
    let refused = "SELECT COUNT(*) FROM t_request_log WHERE model_name = 'refused'";
    assert_eq!(database.value(refused).await, 0);
    // A batch that was not stored does not claim its key.
    assert_eq!(database.count("callscope_idempotency").await, 18);
}

async fn an_old_key_expires(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    record(&app, json!([{}]), Some("old")).await.unwrap();
    app.clock.advance(chrono::TimeDelta::hours(20));
    record(&app, json!([{}]), Some("young")).await.unwrap();
    app.clock.advance(chrono::TimeDelta::hours(5));
    let before = app.clock.now() - chrono::TimeDelta::hours(24);
    let forget = || callscope::store::idempotency::delete_expired(&app.services().db, before);
    assert_eq!((forget().await.unwrap(), forget().await.unwrap()), (1, 0));
    assert_eq!(record(&app, json!([{}]), Some("young")).await.unwrap()["duplicate"], true);
    assert_eq!(record(&app, json!([{}]), Some("old")).await.unwrap()["duplicate"], false);
}

async fn keys_expire_after_the_configured_time(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.record = settings(&["--idempotency-hours", "2"]);
    })
    .await;
    let duplicate = async |key: &str, model: &str| {
        let payload = record(&app, json!([{ "model": model }]), Some(key)).await.unwrap();
        assert_eq!(payload["calls"][0]["model"], model);
        payload["duplicate"] == true
    };
    assert!(!duplicate("old", "m").await);
    app.clock.advance(chrono::TimeDelta::minutes(90));
    assert!(duplicate("old", "m").await && !duplicate("young", "m").await);
    app.clock.advance(chrono::TimeDelta::minutes(40));
    // To the minute; an expired key accepts any content.
    assert!(!duplicate("old", "n").await && duplicate("old", "n").await);
    assert!(duplicate("young", "m").await);
    // Its rows are deleted too.
    app.clock.advance(chrono::TimeDelta::minutes(100));
    let soon = std::time::Duration::from_millis(10);
    let db = app.services().db.clone();
    let hours = chrono::TimeDelta::hours(2);
    let watch = app.services().clock_watch.clone();
    let _forgets = Recorder::start_with(db, watch, hours, soon);
    let removed = async || database.count("callscope_idempotency").await <= 1;
    eventually("the old key is removed", removed).await;
    assert!(duplicate("old", "n").await);
}

async fn recording_requires_its_scope(database: TestDatabase) {
    let tokens = "writer:RECORD:0123456789abcdef-w reader:READ:0123456789abcdef-r";
    let app = TestApp::start_with_tokens(&database, tokens).await;
    for field in ["recordCalls(input: { calls: [{}] })", "recordErrors(input: { errors: [{}] })"] {
        let query = format!("mutation {{ {field} {{ recorded }} }}");
        let refused = app.graphql_as("0123456789abcdef-r", &query).await;
        assert_eq!(error_code(&refused), "FORBIDDEN");
        assert!(refused["errors"][0]["message"].as_str().unwrap().contains("RECORD"));
        let taken = app.graphql_as("0123456789abcdef-w", &query).await;
        assert!(taken.get("errors").is_none(), "{taken}");
    }
}

async fn scopes_of_the_payload_are_checked_before_recording(database: TestDatabase) {
    let tokens = "writer:RECORD:0123456789abcdef-w both:RECORD,READ:0123456789abcdef-b";
    let app = TestApp::start_with_tokens(&database, tokens).await;
    let rows =
        async || (database.count("t_request_log").await, database.count("t_error_logs").await);
    let calls = "recordCalls(input: { calls: [{ key: \"k\" }] })";
    let errors = "recordErrors(input: { errors: [{ key: \"k\" }] })";
    for (token, scope, operation) in [
        ("w", "READ", format!("mutation {{ {calls} {{ recorded calls {{ id }} }} }}")),
        ("w", "READ", format!("mutation {{ {errors} {{ errorLogs {{ id }} recorded }} }}")),
        (
            "w",
            "READ",
            format!(
                "mutation {{ a: {calls} {{ recorded }} b: {errors} {{ errorLogs {{ id }} }} }}"
            ),
        ),
        (
            "w",
            "READ",
            format!(
                "mutation {{ ...M }} fragment M on Mutation {{ {calls} {{ ... on \
                RecordCallsPayload {{ ...P }} }} }} fragment P on RecordCallsPayload {{ c: calls {{ id }} }}"
            ),
        ),
        (
            "w",
            "READ",
            format!(
                "mutation($c: Boolean = true) {{ {calls} {{ calls @include(if: $c) {{ id }} }} }}"
            ),
        ),
        (
            "b",
            "REVEAL_KEYS",
            format!("mutation {{ {calls} {{ calls {{ apiKey {{ secret }} }} }} }}"),
        ),
        (
            "b",
            "READ_REQUESTS",
            format!("mutation {{ {calls} {{ calls {{ errorLog {{ request }} }} }} }}"),
        ),
        ("b", "READ_REQUESTS", format!("mutation {{ {errors} {{ errorLogs {{ request }} }} }}")),
        // A forbidden later field must not remove the result of an earlier one.
        (
            "b",
            "DELETE",
            format!(
                "mutation {{ {calls} {{ recorded }} deleteErrorLogsWhere(filter: {{}}) {{ deletedCount }} }}"
            ),
        ),
        (
            "b",
            "DELETE",
            format!(
                "mutation {{ {errors} {{ recorded }} pruneLogs(callsOlderThan: \"P1D\") {{ deletedCalls }} }}"
            ),
        ),
    ] {
        let response = app.graphql_as(&format!("0123456789abcdef-{token}"), &operation).await;
        let error = &response["errors"][0];
        assert_eq!(error["extensions"]["code"], "FORBIDDEN", "{operation}: {response}");
        assert!(error["message"].as_str().unwrap().ends_with(scope), "{operation}: {response}");
        assert_eq!(rows().await, (0, 0), "{operation}");
    }
    for (token, operation) in [
        ("w", format!("mutation {{ {calls} {{ recorded duplicate }} }}")),
        (
            "w",
            format!(
                "mutation($c: Boolean = false) {{ {calls} {{ recorded calls @include(if: $c) {{ id }} }} }}"
            ),
        ),
        ("b", format!("mutation {{ {calls} {{ calls {{ id apiKey {{ masked }} }} }} }}")),
        ("b", format!("mutation {{ {errors} {{ errorLogs {{ id message }} }} }}")),
    ] {
        let response = app.graphql_as(&format!("0123456789abcdef-{token}"), &operation).await;
        assert!(response.get("errors").is_none(), "{operation}: {response}");
    }
    assert_eq!(rows().await, (3, 1));
}

async fn mutations_require_json_and_post(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let query = "mutation { recordCalls(input: { calls: [{}] }) { recorded } }";
    let by_get = app.get("/graphql").query(&[("query", query)]);
    assert_eq!(by_get.header("X-Callscope-Client", "test").send().await.unwrap().status(), 405);
    let body = json!({ "query": query }).to_string();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let sent = app.client().post(app.url("/graphql")).header("Content-Type", kind);
        assert_eq!(sent.body(body.clone()).send().await.unwrap().status(), 415, "{kind}");
    }
    assert_eq!(database.count("t_request_log").await, 0);
    app.data(query).await;
    assert_eq!(database.count("t_request_log").await, 1);
}

async fn a_read_only_database_refuses_writes(database: TestDatabase) {
    let app = TestApp::start_read_only(&database).await;
    for query in [
        "mutation { recordCalls(input: { calls: [{}] }) { recorded } }",
        "mutation { deleteErrorLogs(ids: [\"error_1\"]) { deletedCount } }",
        "mutation { deleteErrorLogsWhere(filter: {}) { deletedCount } }",
        "mutation { pruneLogs(callsOlderThan: \"P1D\") { deletedCalls } }",
    ] {
        let response = app.graphql(query).await;
        assert_eq!(error_code(&response), "FORBIDDEN", "{response}");
    }
    assert_eq!(database.count("t_request_log").await, 0);
}

/// Blocks other writers until `unblock_writers`.
async fn block_writers(database: &TestDatabase) {
    match database.kind() {
        Kind::Sqlite => database.execute("BEGIN IMMEDIATE").await,
        _ => lock(database, "t_error_logs").await,
    }
}

async fn unblock_writers(database: &TestDatabase) {
    match database.kind() {
        Kind::Sqlite => database.execute("COMMIT").await,
        _ => unlock(database).await,
    }
}

async fn a_slow_database_refuses_further_batches(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.graphql.timeout_seconds = 100).await;
    // 1 MB each: together more than the queue takes.
    let request = "x".repeat(1_000_000);
    let query = "mutation($errors: [ErrorLogInput!]!) {
        recordErrors(input: { errors: $errors }) { recorded } }";
    let body = json!({ "query": query, "variables": { "errors": [{ "request": request }] } });
    block_writers(&database).await;
    let sent = (0..72).map(|_| app.post(&body).send());
    let mut answers: FuturesUnordered<_> = sent.collect();
    let (mut recorded, mut refused) = (0, 0);
    while let Some(response) = within("a response", answers.next()).await {
        let response = response.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let answer: Value = response.json().await.unwrap();
        match answer["errors"][0]["extensions"]["code"].as_str() {
            None => recorded += 1,
            // SQLite waits for the lock for a limited time; the next request takes its place.
            Some("DATABASE_UNAVAILABLE") if refused == 0 => answers.push(app.post(&body).send()),
            Some("DATABASE_UNAVAILABLE") => {}
            code => {
                assert_eq!(code, Some("SERVER_BUSY"), "{answer}");
                assert_eq!((status, &headers["retry-after"]), (503, &1.into()));
                refused += 1;
                if refused == 1 {
                    unblock_writers(&database).await;
                }
            }
        }
    }
    assert!((1..=17).contains(&refused), "{refused}");
    assert!(recorded > 0);
    assert_eq!(database.count("t_error_logs").await, recorded);
}

async fn a_timed_out_batch_may_be_stored(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.graphql.timeout_seconds = 1).await;
    block_writers(&database).await;
    let call = json!([{ "statusCode": 500, "error": { "message": "m" } }]);
    let late = record(&app, call.clone(), Some("k")).await.unwrap_err();
    assert_eq!(late["extensions"]["code"], "TIMEOUT");
    unblock_writers(&database).await;
    // With the same key it is recorded once, in either case.
    let retried = record(&app, call, Some("k")).await.unwrap();
    assert_eq!(retried["recorded"], 1);
    assert_eq!(database.count("t_request_log").await, 1);
    assert_eq!(database.count("t_error_logs").await, 1);
}

/// Tables of Callscope, after the last id of gemini-balance's.
async fn ids_may_have_64_bits(database: TestDatabase) {
    const LAST: i64 = i32::MAX as i64;
    let app = TestApp::start(&database).await;
    for table in ["t_request_log", "t_error_logs"] {
        let next = LAST + 1;
        database
            .execute(&match database.kind() {
                Kind::Sqlite => format!("INSERT INTO sqlite_sequence VALUES ('{table}', {LAST})"),
                Kind::Postgres => format!("ALTER SEQUENCE {table}_id_seq RESTART WITH {next}"),
                Kind::MariaDb => format!("ALTER TABLE {table} AUTO_INCREMENT = {next}"),
            })
            .await;
    }
    let failed = |key: &str| json!({ "model": "m", "key": key, "statusCode": 429, "error": { "message": "quota" } });
    let calls = json!([failed("key-of-tests-0001"), failed("key-of-tests-0002")]);
    let stored = record(&app, calls.clone(), Some("large ids")).await.unwrap();
    let again = record(&app, calls, Some("large ids")).await.unwrap();
    assert_eq!(again["calls"], stored["calls"]);
    for (index, call) in stored["calls"].as_array().unwrap().iter().enumerate() {
        let number = LAST + 1 + index as i64;
        assert_eq!(call["id"], format!("call_{number}"));
        let query =
            format!("{{ node(id: {}) {{ ... on Call {{ errorLog {{ id }} }} }} }}", call["id"]);
        let error = format!("error_{number}");
        assert_eq!(app.data(&query).await["node"]["errorLog"]["id"], error.as_str());
    }
}
