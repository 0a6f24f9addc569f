//! `callRecorded` and `errorRecorded`: subscribers get the rows of all writers.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::subscriptions::{Events, post, start_with_tokens};
use crate::support::{
    CallRow, ErrorRow, Kind, NULL, TestApp, TestDatabase, error_code, eventually, gateway,
};
use crate::tests;

tests! {
    local_records_are_sent_at_once,
    rows_of_other_writers_are_sent_in_order,
    rows_of_other_writers_are_sent_after_a_quiet_time,
    a_subscription_starts_with_new_rows,
    transactions_may_commit_out_of_order.only(&[Kind::Postgres, Kind::MariaDb]),
    the_first_rows_may_commit_out_of_order.only(&[Kind::Postgres, Kind::MariaDb]),
    rolled_back_ids_do_not_delay_rows.only(&[Kind::Postgres, Kind::MariaDb]),
    ids_may_be_reused.only(&[Kind::Sqlite]).empty(),
    the_last_rows_may_be_deleted,
    a_table_may_be_emptied_and_refilled.empty(),
    call_filters_match_the_lists,
    error_filters_match_the_lists,
    key_searches_see_only_what_is_shown.only(&[Kind::Sqlite]),
    a_slow_client_gets_the_number_of_missed_events.only(&[Kind::Sqlite]),
    a_failed_call_includes_its_error_log,
    an_event_of_columns_needs_no_statement,
    a_tail_stops_without_subscribers.only(&[Kind::Sqlite]),
    servers_of_a_database_notify_each_other.only(&[Kind::Postgres]),
    a_lost_listener_reconnects.only(&[Kind::Postgres]),
    notifications_missed_by_a_lost_listener_are_recovered.only(&[Kind::Postgres]),
    subscribing_requires_its_scope.only(&[Kind::Sqlite]),
    arguments_are_checked_before_the_subscription_starts.only(&[Kind::Sqlite]),
    an_unavailable_database_refuses_new_subscriptions.only(&[Kind::Postgres]),
    a_tail_never_scans_the_table,
}

const CALLS: &str = "subscription { callRecorded { databaseId model } }";
const ERRORS: &str = "subscription { errorRecorded { databaseId message } }";
const AT: &str = "2026-03-01T11:59:00Z";

/// Starts a server that polls too rarely to find rows by polling.
async fn start_without_polling(database: &TestDatabase) -> TestApp {
    TestApp::start_with(database, |config| config.server.follow_poll_ms = 60_000).await
}

fn call(model: impl Into<String>) -> CallRow {
    CallRow::at(AT).model(model.into())
}

async fn insert(database: &TestDatabase, models: &[&str]) {
    let rows: Vec<CallRow> = models.iter().map(|model| call(*model)).collect();
    database.insert(&rows).await;
}

/// The models of the next `count` calls.
async fn models(events: &mut Events, count: usize) -> Vec<String> {
    let mut found = vec![];
    while found.len() < count {
        let event = events.next().await;
        let model = event["data"]["callRecorded"]["model"].as_str();
        found.push(model.unwrap_or_else(|| panic!("{event}")).to_owned());
    }
    found
}

/// The ids of the next `count` rows.
async fn ids(events: &mut Events, count: usize) -> Vec<i64> {
    let mut found = vec![];
    while found.len() < count {
        let event = events.next().await;
        let row = event["data"].as_object().and_then(|data| data.values().next()).cloned();
        let id = row.as_ref().and_then(|row| row["databaseId"].as_i64());
        found.push(id.unwrap_or_else(|| panic!("{event}")));
    }
    found
}

async fn metric(app: &TestApp, line: &str) -> f64 {
    let text = app.metrics().await;
    let found = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    found.map_or(0.0, |value| value.parse().unwrap())
}

/// How often the statement of this name has completed.
async fn completed(app: &TestApp, statement: &str) -> f64 {
    let count = "callscope_sql_statement_duration_seconds_count";
    metric(app, &format!("{count}{{statement=\"{statement}\"}}")).await
}

/// Waits for three more polls of the table of calls.
async fn until_polled(app: &TestApp) {
    let before = completed(app, "call.tail").await;
    eventually("three more polls", async || completed(app, "call.tail").await >= before + 3.0)
        .await;
}

async fn record(app: &TestApp, model: &str) {
    let query = "mutation R($model: String) {
        recordCalls(input: { calls: [{ model: $model, key: \"k\", statusCode: 200 }] }) { recorded } }";
    let answer = app.graphql_with(query, json!({ "model": model })).await;
    assert_eq!(answer["data"]["recordCalls"]["recorded"], 1, "{answer}");
}

async fn local_records_are_sent_at_once(database: TestDatabase) {
    let app = start_without_polling(&database).await;
    let mut calls = Events::subscribe(&app, CALLS).await;
    let mut errors = Events::subscribe(&app, ERRORS).await;
    for model in ["a", "b", "c"] {
        record(&app, model).await;
        assert_eq!(models(&mut calls, 1).await, [model]);
    }
    app.data("mutation { recordErrors(input: { errors: [{ message: \"no\" }, { message: \"none\" }] }) { recorded } }").await;
    for message in ["no", "none"] {
        assert_eq!(errors.next().await["data"]["errorRecorded"]["message"], message);
    }
    let rows = |table: &str| format!("callscope_tail_rows_total{{table=\"{table}\"}}");
    assert_eq!(metric(&app, &rows("t_request_log")).await, 3.0);
    assert_eq!(metric(&app, &rows("t_error_logs")).await, 2.0);
}

async fn rows_of_other_writers_are_sent_in_order(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let (mut first, mut second) =
        (Events::subscribe(&app, CALLS).await, Events::subscribe(&app, CALLS).await);
    let mut errors = Events::subscribe(&app, ERRORS).await;
    insert(&database, &["a"]).await;
    assert_eq!(models(&mut first, 1).await, ["a"]);
    // More rows than one statement reads.
    let many: Vec<String> = (0..1300).map(|number| number.to_string()).collect();
    insert(&database, &many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(models(&mut first, 1300).await, many);
    assert_eq!(models(&mut second, 1).await, ["a"]);
    assert_eq!(models(&mut second, 1300).await, many);
    database.insert(&[ErrorRow::at(AT).log("one"), ErrorRow::at(AT).log("two")]).await;
    for message in ["one", "two"] {
        assert_eq!(errors.next().await["data"]["errorRecorded"]["message"], message);
    }
    // Rows that no list shows are not sent either.
    database.insert(&[CallRow::at_stored(NULL).model("timeless"), call("timely")]).await;
    assert_eq!(models(&mut first, 1).await, ["timely"]);
}

/// Waits until the table of calls is polled as rarely as by default, every 500 ms: without new rows the
/// interval doubles from poll to poll.
async fn until_rarely_polled(app: &TestApp) {
    let (mut looks, mut last) = (completed(app, "call.tail").await, Instant::now());
    eventually("an interval of more than 300 ms", async || {
        let now = completed(app, "call.tail").await;
        let interval = if now > looks { last.elapsed() } else { Duration::ZERO };
        if now > looks {
            (looks, last) = (now, Instant::now());
        }
        interval > Duration::from_millis(300)
    })
    .await;
}

/// After a time without rows the table is polled least often. `--bench follow` measures the delay.
async fn rows_of_other_writers_are_sent_after_a_quiet_time(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut events = Events::subscribe(&app, CALLS).await;
    for number in 0..3 {
        until_rarely_polled(&app).await;
        insert(&database, &[&number.to_string()]).await;
        assert_eq!(models(&mut events, 1).await, [number.to_string()]);
    }
}

async fn a_subscription_starts_with_new_rows(database: TestDatabase) {
    insert(&database, &["old"]).await;
    let app = TestApp::start(&database).await;
    let mut first = Events::subscribe(&app, CALLS).await;
    insert(&database, &["a"]).await;
    // The tail already reads the table. Rows from before the subscription are not sent.
    let mut second = Events::subscribe(&app, CALLS).await;
    insert(&database, &["b"]).await;
    assert_eq!(models(&mut second, 1).await, ["b"]);
    assert_eq!(models(&mut first, 2).await, ["a", "b"]);
}

async fn transactions_may_commit_out_of_order(database: TestDatabase) {
    insert(&database, &["before"]).await;
    let app = TestApp::start(&database).await;
    let mut events = Events::subscribe(&app, CALLS).await;
    let (slow, slower) = (second_connection(&database), second_connection(&database));
    slow.execute("BEGIN").await;
    insert(&slow, &["slow 1", "slow 2"]).await;
    slower.execute("BEGIN").await;
    insert(&slower, &["slower"]).await;
    insert(&slow, &["slow 3"]).await;
    insert(&database, &["quick"]).await;
    assert_eq!(models(&mut events, 1).await, ["quick"]);
    assert_eq!(metric(&app, "callscope_tail_gaps{table=\"t_request_log\"}").await, 1.0);
    slow.execute("COMMIT").await;
    assert_eq!(models(&mut events, 3).await, ["slow 1", "slow 2", "slow 3"]);
    // A new subscription gets rows that are committed from now on, with any id.
    let mut later = Events::subscribe(&app, CALLS).await;
    slower.execute("COMMIT").await;
    assert_eq!(models(&mut events, 1).await, ["slower"]);
    assert_eq!(models(&mut later, 1).await, ["slower"]);
    insert(&database, &["end"]).await;
    assert_eq!(models(&mut events, 1).await, ["end"]);
    assert_eq!(metric(&app, "callscope_tail_gaps{table=\"t_request_log\"}").await, 0.0);
    slow.close().await;
    slower.close().await;
}

/// The same database through another connection.
fn second_connection(database: &TestDatabase) -> TestDatabase {
    TestDatabase::new(database.kind(), database.url().to_owned())
}

async fn the_first_rows_may_commit_out_of_order(database: TestDatabase) {
    let slow = second_connection(&database);
    slow.execute("BEGIN").await;
    insert(&slow, &["slow"]).await;
    let app = TestApp::start(&database).await;
    let mut empty = Events::subscribe(&app, CALLS).await;
    insert(&database, &["quick"]).await;
    assert_eq!(models(&mut empty, 1).await, ["quick"]);
    // And a subscription on a tail that starts after these rows.
    let other = TestApp::start(&database).await;
    let mut behind = Events::subscribe(&other, CALLS).await;
    slow.execute("COMMIT").await;
    assert_eq!(models(&mut empty, 1).await, ["slow"]);
    assert_eq!(models(&mut behind, 1).await, ["slow"]);
    slow.close().await;
}

async fn rolled_back_ids_do_not_delay_rows(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut events = Events::subscribe(&app, CALLS).await;
    insert(&database, &["a"]).await;
    database.execute("BEGIN").await;
    insert(&database, &["never", "ever"]).await;
    database.execute("ROLLBACK").await;
    insert(&database, &["b"]).await;
    assert_eq!(models(&mut events, 2).await, ["a", "b"]);
    assert_eq!(metric(&app, "callscope_tail_gaps{table=\"t_request_log\"}").await, 1.0);
    insert(&database, &["c"]).await;
    assert_eq!(models(&mut events, 1).await, ["c"]);
}

async fn ids_may_be_reused(database: TestDatabase) {
    database.execute(gateway::ddl(database.kind())).await;
    insert(&database, &["1", "2", "3"]).await;
    let app = TestApp::start(&database).await;
    let mut events = Events::subscribe(&app, CALLS).await;
    let changes = [
        ("DELETE FROM t_request_log WHERE id >= 2", vec![2, 3]),
        // Between two polls the highest id may fall, rise, or stay.
        ("DELETE FROM t_request_log WHERE id >= 2", vec![2]),
        ("DELETE FROM t_request_log WHERE id >= 2", vec![2, 3, 4]),
        ("DELETE FROM t_request_log WHERE id = 4", vec![4]),
        ("DELETE FROM t_request_log WHERE id = 2", vec![5]),
        ("DELETE FROM t_request_log", vec![1, 2]),
    ];
    // As in a gateway's tables, no two rows are equal in every column.
    let mut changed = 0;
    for looked in [false, true] {
        for (delete, new) in &changes {
            changed += 1;
            if looked {
                database.execute(delete).await;
                until_polled(&app).await;
            }
            let values = new.iter().map(|_| {
                format!("('2026-03-01 11:59:00.000000', 'change {changed}', 'key', 1, 200, 1)")
            });
            let insert = format!(
                "INSERT INTO t_request_log (request_time, model_name, api_key, is_success, status_code, latency_ms) VALUES {}",
                values.collect::<Vec<_>>().join(", ")
            );
            let delete = if looked { "" } else { delete };
            database.execute(&format!("BEGIN; {delete}; {insert}; COMMIT")).await;
            assert_eq!(&ids(&mut events, new.len()).await, new, "{delete}, {looked}");
        }
        database.execute("DELETE FROM t_request_log").await;
        until_polled(&app).await;
        insert(&database, &["1", "2", "3"]).await;
        assert_eq!(ids(&mut events, 3).await, [1, 2, 3]);
    }
}

async fn the_last_rows_may_be_deleted(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut events = Events::subscribe(&app, CALLS).await;
    insert(&database, &["a", "b", "c"]).await;
    assert_eq!(models(&mut events, 3).await, ["a", "b", "c"]);
    database.execute("DELETE FROM t_request_log WHERE model_name = 'c'").await;
    until_polled(&app).await;
    insert(&database, &["d"]).await;
    assert_eq!(models(&mut events, 1).await, ["d"]);
    database.execute("DELETE FROM t_request_log WHERE model_name IN ('a', 'd')").await;
    insert(&database, &["e"]).await;
    assert_eq!(models(&mut events, 1).await, ["e"]);
}

async fn a_table_may_be_emptied_and_refilled(database: TestDatabase) {
    database.execute(gateway::ddl(database.kind())).await;
    let empty = match database.kind() {
        Kind::Sqlite => "DELETE FROM t_request_log",
        Kind::Postgres => "TRUNCATE t_request_log RESTART IDENTITY",
        Kind::MariaDb => "TRUNCATE t_request_log",
    };
    // More rows than the tail remembers at first, and fewer.
    for rows in [700, 20] {
        database.execute(empty).await;
        database.insert(&vec![call("old"); rows]).await;
        let app = TestApp::start(&database).await;
        let mut events = Events::subscribe(&app, CALLS).await;
        for again in [3, rows, 1, rows + 40] {
            database.execute(empty).await;
            database.insert(&vec![call(format!("new {again}")); again]).await;
            let expected: Vec<i64> = (1..=again as i64).collect();
            assert_eq!(ids(&mut events, again).await, expected, "{again} after {rows}");
        }
        database.execute(empty).await;
        until_polled(&app).await;
        insert(&database, &["new"]).await;
        assert_eq!(ids(&mut events, 1).await, [1]);
    }
}

/// Subscribes with each filter while the same rows are stored twice; compares the first events
/// with the list under the same filter.
async fn compare(
    app: &TestApp,
    (field, filters): (&str, &[&str]),
    list: impl Fn(&str) -> String,
    store: impl AsyncFn(),
) {
    let mut followed = vec![];
    for filter in filters {
        let query = format!("subscription {{ {field}{filter} {{ databaseId }} }}");
        followed.push(Events::subscribe(app, &query).await);
    }
    store().await;
    let listed = async |filter: &str| -> Vec<i64> {
        let data = app.data(&list(filter)).await;
        let nodes = data["list"]["nodes"].as_array().unwrap();
        let id = |node: &Value| node["databaseId"].as_i64().unwrap();
        let mut ids: Vec<i64> = nodes.iter().map(id).collect();
        ids.sort_unstable();
        ids
    };
    let (mut none, mut some) = (0, HashSet::new());
    let mut expected = vec![];
    for filter in filters {
        expected.push(listed(filter).await);
    }
    store().await;
    for ((filter, mut events), expected) in filters.iter().zip(followed).zip(expected) {
        if expected.is_empty() {
            none += 1;
            continue;
        }
        assert_eq!(ids(&mut events, expected.len()).await, expected, "{filter}");
        let again = ids(&mut events, 1).await;
        assert!(again[0] > expected[0], "{filter}: sent twice");
        assert!(listed(filter).await.contains(&again[0]), "{filter}: {again:?} is not listed");
        some.insert(expected);
    }
    assert!(some.len() > filters.len() / 2 && none < 4, "{} sorts, {none} of none", some.len());
}

async fn call_filters_match_the_lists(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut rows = vec![
        call("flash"),
        call("flash").key("key").latency(99),
        call("Flash").key("KEY").status(429).latency(100),
        call("flash-2").key("key two").status(199),
        call("pro").key("schlüssel").status(299).latency(NULL),
        call("pro").key(NULL).status(NULL).latency(101),
        CallRow::at(AT).model(NULL).key("SCHLÜSSEL").status(300).latency(0),
        call("größe").key("k_1").status(204).latency(2_000_000_000),
        CallRow::at("0999-01-01T00:00:00Z").key("old").status(-1).latency(-5),
        call("").key("").status(0),
    ];
    if database.kind() == Kind::Sqlite {
        rows.push(call("text").status("Server disconnected"));
        rows.push(call("text").status("").latency("soon"));
        rows.push(call("wide").latency("9000000000").status("3000000000"));
    }
    let filters = [
        "",
        "(key: \"key\")",
        "(key: \"schlüssel\")",
        "(key: \"key\", filter: { keys: [\"KEY\", \"key\"] })",
        "(key: \"key\", filter: { keys: [\"KEY\"] })",
        "(filter: {})",
        "(filter: { keys: [] })",
        "(filter: { keys: [\"key\", \"k_1\", \"\", \"SCHLÜSSEL\"] })",
        "(filter: { models: [\"flash\"] })",
        "(filter: { models: [\"Flash\", \"größe\", \"\"] })",
        "(filter: { models: [\"fla%\"] })",
        "(filter: { status: SUCCESS })",
        "(filter: { status: FAILURE })",
        "(filter: { statusCodes: [429, 204] })",
        "(filter: { statusCodes: [200], status: SUCCESS })",
        "(filter: { minLatencyMs: 100 })",
        "(filter: { maxLatencyMs: 100 })",
        "(filter: { minLatencyMs: 99, maxLatencyMs: 100 })",
        "(filter: { maxLatencyMs: 0 })",
        "(filter: { minLatencyMs: 2000000000 })",
        "(filter: { excludeKeys: [\"key\", \"schlüssel\", \"\"] })",
        "(filter: { excludeModels: [\"flash\", \"größe\"] })",
        "(filter: { excludeModels: [\"FLASH\"], excludeStatusCodes: [429] })",
        "(filter: { excludeStatusCodes: [429, 300, 0, -1] })",
        "(key: \"key\", filter: { excludeKeys: [\"KEY\"] })",
    ];
    let between = "between: { since: \"0001-01-02T00:00:00Z\", until: \"9999-01-01T00:00:00Z\" }";
    let list = |filter: &str| {
        let more = filter.trim_start_matches('(').trim_end_matches(')');
        format!(
            "{{ list: callDetails({between}, first: 500, {more}) {{ nodes {{ databaseId }} }} }}"
        )
    };
    compare(&app, ("callRecorded", &filters), list, async || database.insert(&rows).await).await;
}

async fn error_filters_match_the_lists(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let at = ErrorRow::at;
    let mut rows = vec![
        at(AT).key("key one").log("Quota exceeded for 100% of [a-z]* ?"),
        at(AT).key("KEY ONE").code(403).error_type("Gemini-Embed").log("ÜBERLAST"),
        at(AT).key(NULL).model(NULL).log("überlast, STRASSE"),
        at(AT).key("key two").code(NULL).error_type(NULL).log(NULL),
        at("2026-03-01T12:00:00Z").log("straße \\ _ ^]"),
        at("2026-03-01T12:00:00.250000Z").log("K \n second line: quota"),
        at("2026-03-01T12:00:00.500000Z").error_type("quota").log(""),
        at("2026-03-02T00:00:00Z").model("pro").code(500),
        at("0999-01-01T00:00:00Z").model("old"),
    ];
    if database.kind() == Kind::Sqlite {
        // Texts of other programs, which are compared as texts.
        for time in ["2026-03-01 12:00:00", "2026-03-01T12:00:00.5", "2026-03-01 12:00:00.25"] {
            rows.push(ErrorRow::at_stored(time).log("odd"));
        }
    }
    let filters = [
        "",
        "(filter: { keyContains: \"KEY o\" })",
        "(filter: { keyContains: \"k%\" })",
        "(filter: { keys: [\"key one\", \"key two\"], keyContains: \"two\" })",
        "(filter: { keys: [\"KEY ONE\"] })",
        "(filter: { models: [\"pro\", \"old\"] })",
        "(filter: { errorTypes: [\"quota\"] })",
        "(filter: { errorCodes: [403, 500] })",
        "(filter: { contains: \"QUOTA\" })",
        "(filter: { contains: \"überLAST\" })",
        "(filter: { contains: \"strasse\" })",
        "(filter: { contains: \"STRASSE\" })",
        "(filter: { contains: \"100% of [A-Z]* ?\" })",
        "(filter: { contains: \"\\\\ _ ^]\" })",
        "(filter: { contains: \"line: q\" })",
        "(filter: { contains: \"embed\", errorCodes: [403] })",
        "(filter: { contains: \"\" })",
        "(filter: { since: \"2026-03-01T12:00:00Z\" })",
        "(filter: { until: \"2026-03-01T12:00:00Z\" })",
        "(filter: { since: \"2026-03-01T12:00:00.25Z\", until: \"2026-03-01T12:00:00.5Z\" })",
        "(filter: { since: \"2026-03-01T12:00:00.000001Z\" })",
        "(filter: { excludeKeys: [\"key one\", \"key two\"] })",
        "(filter: { excludeModels: [\"pro\"], excludeErrorCodes: [403] })",
        "(filter: { excludeErrorTypes: [\"quota\", \"gemini-embed\"] })",
        "(filter: { keyContains: \"KEY o\", excludeKeys: [\"key one\"] })",
    ];
    let list = |filter: &str| {
        let more = filter.trim_start_matches('(').trim_end_matches(')');
        format!("{{ list: errorLogs(first: 500, {more}) {{ nodes {{ databaseId }} }} }}")
    };
    compare(&app, ("errorRecorded", &filters), list, async || database.insert(&rows).await).await;
}

async fn key_searches_see_only_what_is_shown(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    let reader = super::subscriptions::READER;
    let follow = |query: &str| Events::of(post(&app, query).bearer_auth(reader));
    let key = "Aiza-0123456789-secret-part-9876";
    let search = |text: &str| {
        format!(
            "subscription {{ errorRecorded(filter: {{ keyContains: \"{text}\" }}) {{ apiKey {{ masked }} message }} }}"
        )
    };
    let mut hidden = follow(&search("secret")).await;
    let mut shown = follow(&search("aiza")).await;
    // Keys that had no rows when the subscription started.
    database.insert(&[ErrorRow::at(AT).key(key).log("first")]).await;
    let event = shown.next().await;
    let expected = json!({ "apiKey": { "masked": "Aiza...9876" }, "message": "first" });
    assert_eq!(event["data"]["errorRecorded"], expected, "{event}");
    database.insert(&[ErrorRow::at(AT).key("secret-short").log("second")]).await;
    database
        .insert(&[
            ErrorRow::at(AT).key("sec").log("third"),
            ErrorRow::at(AT).key("Aiza-0123456789-secret-part-9877").log("last"),
        ])
        .await;
    assert_eq!(shown.next().await["data"]["errorRecorded"]["message"], "last");
    drop(shown);
    // A guessed key part is not confirmed: the stream for the hidden part has no event.
    let more = tokio::time::timeout(Duration::from_millis(200), hidden.next()).await;
    assert!(more.is_err(), "{more:?}");
}

async fn a_slow_client_gets_the_number_of_missed_events(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.server.follow_rows = 4).await;
    let mut quick = Events::subscribe(&app, CALLS).await;
    // The stream's buffer holds less than one event until it is read.
    let small = reqwest::Client::builder().http2_prior_knowledge();
    let small = small.http2_initial_stream_window_size(64).build().unwrap();
    let request = small.post(app.url("/graphql/stream")).json(&json!({ "query": CALLS }));
    let mut slow = Events::of(request).await;
    for number in 0..40 {
        insert(&database, &[&number.to_string()]).await;
        assert_eq!(
            models(&mut quick, 1).await,
            [number.to_string()],
            "other subscribers are not delayed"
        );
    }
    let mut received = 0;
    let event = loop {
        let event = slow.next().await;
        if event.get("errors").is_some() {
            break event;
        }
        assert_eq!(event["data"]["callRecorded"]["model"], received.to_string());
        received += 1;
    };
    assert!(event["data"].is_null() && event.as_object().unwrap().contains_key("data"), "{event}");
    let extensions = json!({ "code": "EVENTS_MISSED", "missed": 40 - received });
    assert_eq!(event["errors"][0]["extensions"], extensions, "{event}");
    assert_eq!(event["errors"][0]["path"], json!(["callRecorded"]));
    let missed = "callscope_tail_rows_missed_total{table=\"t_request_log\"}";
    assert_eq!(metric(&app, missed).await, f64::from(40 - received));
    insert(&database, &["present"]).await;
    assert_eq!(models(&mut slow, 1).await, ["present"]);
}

async fn a_failed_call_includes_its_error_log(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let query = "subscription { callRecorded(filter: { status: FAILURE }) {
        statusCode apiKey { masked } errorLog { message } } }";
    let mut events = Events::subscribe(&app, query).await;
    app.data("mutation { recordCalls(input: { calls: [
        { key: \"0123456789abcdef\", statusCode: 200 },
        { key: \"0123456789abcdef\", statusCode: 429, error: { message: \"quota\" } }] }) { recorded } }")
        .await;
    let expected = json!({ "statusCode": 429, "apiKey": { "masked": "0123...cdef" },
        "errorLog": { "message": "quota" } });
    assert_eq!(events.next().await["data"]["callRecorded"], expected);
    // As gateways do: the error log first, each in its own transaction.
    database.insert(&[ErrorRow::at(AT).key("k").log("refused")]).await;
    database.insert(&[call("m").key("k").status(429)]).await;
    let event = events.next().await;
    assert_eq!(event["data"]["callRecorded"]["errorLog"]["message"], "refused", "{event}");
}

async fn an_event_of_columns_needs_no_statement(database: TestDatabase) {
    let app = start_without_polling(&database).await;
    let query = "subscription { callRecorded { id databaseId timestamp model status statusCode latencyMs apiKey { id masked } } }";
    let mut events = Events::subscribe(&app, query).await;
    record(&app, "a").await;
    events.next().await;
    app.db().record();
    record(&app, "b").await;
    assert_eq!(events.next().await["data"]["callRecorded"]["model"], "b");
    let sent = app.db().record();
    let of_recording = |sql: &&String| sql.starts_with("INSERT") || sql.contains("pg_notify");
    let of_tail = |sql: &&String| sql.contains("ORDER BY") && sql.contains("LIMIT");
    let (recording, others): (Vec<&String>, Vec<&String>) = sent.iter().partition(of_recording);
    // The tail may have sent its statement before and read the call with it.
    assert!(!recording.is_empty() && others.iter().all(of_tail), "{sent:#?}");
}

async fn a_tail_stops_without_subscribers(database: TestDatabase) {
    let (app, other) = (TestApp::start(&database).await, TestApp::start(&database).await);
    let mut events = Events::subscribe(&other, CALLS).await;
    insert(&database, &["a"]).await;
    record(&app, "b").await;
    // Another server has a subscriber: it polls for the rows and, without finding any, for more.
    assert_eq!(models(&mut events, 2).await, ["a", "b"]);
    until_polled(&other).await;
    assert_eq!(completed(&app, "call.tail").await, 0.0);
    let mut events = Events::subscribe(&app, CALLS).await;
    insert(&database, &["c"]).await;
    assert_eq!(models(&mut events, 1).await, ["c"]);
}

async fn servers_of_a_database_notify_each_other(database: TestDatabase) {
    // Polling would not find a row before the end of the test.
    let (writer, reader) =
        (start_without_polling(&database).await, start_without_polling(&database).await);
    let mut events = Events::subscribe(&reader, CALLS).await;
    for model in ["a", "b", "c"] {
        record(&writer, model).await;
        assert_eq!(models(&mut events, 1).await, [model]);
    }
    assert!(metric(&reader, "callscope_tail_notifications_total").await > 0.0);
    assert_eq!(metric(&writer, "callscope_tail_notifications_total").await, 0.0);
}

async fn a_lost_listener_reconnects(database: TestDatabase) {
    let (writer, reader) =
        (start_without_polling(&database).await, start_without_polling(&database).await);
    let mut events = Events::subscribe(&reader, CALLS).await;
    let listeners =
        "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'";
    let counted = format!("SELECT COUNT(*) {listeners}");
    let until_listening = async || {
        eventually("a listener", async || database.value(&counted).await == json!(1)).await
    };
    until_listening().await;
    database.execute(&format!("SELECT pg_terminate_backend(pid) {listeners}")).await;
    until_listening().await;
    record(&writer, "a").await;
    assert_eq!(models(&mut events, 1).await, ["a"]);
}

/// The reconnect is refused, and meanwhile a notification is sent.
async fn notifications_missed_by_a_lost_listener_are_recovered(database: TestDatabase) {
    // Pooled connections stay open; only the listener connects anew.
    let start = async || {
        TestApp::start_with(&database, |config| {
            config.database.database_connections = 1;
            config.server.follow_poll_ms = 60_000;
        })
        .await
    };
    let (writer, reader) = (start().await, start().await);
    let mut events = Events::subscribe(&reader, CALLS).await;
    let name = database.value("SELECT current_database()").await;
    let (url, _) = database.url().rsplit_once('/').unwrap();
    let elsewhere = TestDatabase::new(database.kind(), format!("{url}/postgres"));
    let allow = async |allowed: bool| {
        let sql = format!("ALTER DATABASE {} ALLOW_CONNECTIONS {allowed}", name.as_str().unwrap());
        elsewhere.execute(&sql).await;
    };
    let listeners = format!(
        "FROM pg_stat_activity WHERE datname = '{}' AND query LIKE 'LISTEN %'",
        name.as_str().unwrap()
    );
    let counted = format!("SELECT COUNT(*) {listeners}");
    let until_listening = async |count: u32| {
        let found = async || elsewhere.value(&counted).await == json!(count);
        eventually("all servers listen", found).await;
    };
    let until_notified = async |count: f64| {
        eventually("all notifications are sent", async || {
            completed(&writer, "notify").await >= count
        })
        .await;
    };
    until_listening(1).await;
    // Opens the writer's connection. A poll would follow a recorded call.
    writer.data("mutation { recordErrors(input: { errors: [{}] }) { recorded } }").await;
    until_notified(1.0).await;
    allow(false).await;
    elsewhere.execute(&format!("SELECT pg_terminate_backend(pid) {listeners}")).await;
    until_listening(0).await;
    record(&writer, "a").await;
    until_notified(2.0).await;
    allow(true).await;
    assert_eq!(models(&mut events, 1).await, ["a"]);
    elsewhere.close().await;
}

async fn subscribing_requires_its_scope(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    for query in [CALLS, ERRORS] {
        let other = super::subscriptions::OTHER;
        let mut events = Events::of(post(&app, query).bearer_auth(other)).await;
        assert_eq!(error_code(&events.next().await), "FORBIDDEN");
        events.assert_complete().await;
    }
}

async fn arguments_are_checked_before_the_subscription_starts(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for (field, expected) in [
        ("callRecorded(key: \"key_AAAAAAAAAAAAAAAAAAAAAA\") { id }", "NOT_FOUND"),
        ("callRecorded(filter: { minLatencyMs: 2, maxLatencyMs: 1 }) { id }", "BAD_USER_INPUT"),
        ("errorRecorded(filter: { keys: [\"key_AAAAAAAAAAAAAAAAAAAAAA\"] }) { id }", "NOT_FOUND"),
        (
            "errorRecorded(filter: { since: \"2026-03-01T12:00:00Z\", until: \"2026-03-01T12:00:00Z\" }) { id }",
            "BAD_USER_INPUT",
        ),
    ] {
        let mut events = Events::subscribe(&app, &format!("subscription {{ {field} }}")).await;
        let event = events.next().await;
        assert_eq!(error_code(&event), expected, "{field}: {event}");
        events.assert_complete().await;
    }
}

async fn an_unavailable_database_refuses_new_subscriptions(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database.execute("ALTER TABLE t_request_log RENAME TO t_elsewhere").await;
    let mut events = Events::subscribe(&app, CALLS).await;
    assert_eq!(error_code(&events.next().await), "DATABASE_UNAVAILABLE");
    events.assert_complete().await;
    assert!(metric(&app, "callscope_tail_errors_total{table=\"t_request_log\"}").await > 0.0);
    database.execute("ALTER TABLE t_elsewhere RENAME TO t_request_log").await;
    let mut events = Events::subscribe(&app, CALLS).await;
    // An existing subscription survives the outage and misses no event.
    insert(&database, &["a"]).await;
    assert_eq!(models(&mut events, 1).await, ["a"]);
    database.execute("ALTER TABLE t_request_log RENAME TO t_elsewhere").await;
    let errors =
        async || metric(&app, "callscope_tail_errors_total{table=\"t_request_log\"}").await;
    let before = errors().await;
    eventually("another failed poll", async || errors().await > before).await;
    database.execute("ALTER TABLE t_elsewhere RENAME TO t_request_log").await;
    insert(&database, &["b", "c"]).await;
    assert_eq!(models(&mut events, 2).await, ["b", "c"]);
}

async fn a_tail_never_scans_the_table(database: TestDatabase) {
    database.insert(&vec![call("old"); 3000]).await;
    let app = TestApp::start(&database).await;
    app.db().record();
    let mut events = Events::subscribe(&app, CALLS).await;
    insert(&database, &["new"]).await;
    assert_eq!(models(&mut events, 1).await, ["new"]);
    let mut sent = app.db().record();
    // A variable of the server.
    sent.retain(|sql| !sql.contains("auto_increment_increment"));
    let analyse = match database.kind() {
        Kind::Sqlite => "ANALYZE",
        Kind::Postgres => "ANALYZE t_request_log",
        Kind::MariaDb => "ANALYZE TABLE t_request_log",
    };
    database.execute(analyse).await;
    assert!(sent.len() >= 3, "{sent:#?}");
    for sql in sent {
        let explain =
            if database.kind() == Kind::Sqlite { "EXPLAIN QUERY PLAN" } else { "EXPLAIN" };
        let plan = database.query(&format!("{explain} {sql}")).await;
        let plan = serde_json::to_string(&plan).unwrap();
        let by_id = match database.kind() {
            // SCAN without an index walks the table by its ids, and the limit ends it.
            Kind::Sqlite => !plan.contains("TEMP B-TREE") && !plan.contains("USING INDEX"),
            Kind::Postgres => plan.contains("Index Scan") && !plan.contains("Sort"),
            Kind::MariaDb => plan.contains("PRIMARY") && !plan.contains("filesort"),
        };
        assert!(by_id, "{sql}\n{plan}");
    }
}
