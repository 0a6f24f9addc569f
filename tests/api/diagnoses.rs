//! `diagnoses`, `ApiKey.diagnoses`, and `node` for a diagnosis. The rules are tested in `domain::diagnosis`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use callscope::diagnoses::Memory;
use callscope::domain::window::Window;
use callscope::error::Error;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::cost::cost;
use crate::subscriptions::Events;
use crate::support::{CallRow, ErrorRow, Kind, TestApp, TestDatabase, error_code, eventually};
use crate::tests;
use callscope::diagnoses::DiagnosisRef;

tests! {
    a_dead_key_is_diagnosed_with_its_evidence,
    a_fault_may_have_started_before_the_window,
    ended_diagnoses_are_in_windows_that_they_overlap,
    diagnoses_of_many_keys_read_the_calls_once,
    requests_share_the_current_diagnoses,
    concurrent_requests_for_a_time_share_its_diagnoses,
    a_subscription_sends_starts_and_ends,
    an_ended_diagnosis_is_found_by_its_id.only(&[Kind::Sqlite]),
    the_cost_of_an_id_is_that_of_its_calls.only(&[Kind::Sqlite]),
    any_number_of_models_is_diagnosed.only(&[Kind::Sqlite]),
    times_of_a_skipped_hour_are_diagnosed.only(&[Kind::Sqlite]),
    a_window_has_at_most_32_days.only(&[Kind::Sqlite]).empty(),
    a_cause_of_several_days_is_one_diagnosis,
    days_are_read_again_when_their_rows_change,
    the_end_of_a_long_diagnosis_is_found_by_its_id.only(&[Kind::Sqlite]),
    the_cost_of_a_long_window_is_that_of_its_calls.only(&[Kind::Sqlite]),
    concurrent_long_windows_share_their_days,
    a_silence_of_days_lasts.only(&[Kind::Sqlite]),
    a_window_ends_at_most_now.only(&[Kind::Sqlite]),
    a_fault_is_an_error_also_with_cached_days,
}

/// The time of the tests: the server's clock is at 2026-03-01T12:00:00Z.
const NOW: &str = "2026-03-01T12:00:00Z";
const DEAD: &str = "key-of-the-dead-0001";
const LEAKED: &str = "403 Your API key was reported as leaked. Please use another API key.";

fn text(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Four keys for eight hours, a call every minute. The first key is dead since `dead`.
async fn insert(database: &TestDatabase, dead: &str) {
    let (now, dead): (DateTime<Utc>, DateTime<Utc>) = (NOW.parse().unwrap(), dead.parse().unwrap());
    let (mut calls, mut errors) = (vec![], vec![]);
    for minute in 0..480 {
        let at = now - TimeDelta::minutes(480 - minute);
        let key =
            ["key-of-the-dead-0001", "key-of-tests-0002", "key-of-tests-0003", "key-of-tests-0004"]
                [minute as usize % 4];
        let model = ["gemini-2.5-flash", "gemini-2.5-pro"][minute as usize / 4 % 2];
        let fails = key == DEAD && at >= dead;
        let status = if fails { 403 } else { 200 };
        calls.push(CallRow::at(&text(at)).key(key).model(model).status(status).latency(700));
        if fails && minute % 3 > 0 {
            errors.push(ErrorRow::at(&text(at)).key(key).model(model).code(403).log(LEAKED));
        }
    }
    database.insert(&calls).await;
    database.insert(&errors).await;
}

const FIELDS: &str = "id cause severity remedy keys { masked } models since until lastSuccessAt \
    failures share confidence sentence evidence(first: 2) { timestamp failure { class } }";

async fn a_dead_key_is_diagnosed_with_its_evidence(database: TestDatabase) {
    insert(&database, "2026-03-01T10:00:00Z").await;
    let app = TestApp::start(&database).await;
    let data = app.data(&format!("{{ diagnoses(period: LAST_HOUR) {{ {FIELDS} }} }}")).await;
    let mut found = data["diagnoses"][0].clone();
    assert_eq!(data["diagnoses"].as_array().unwrap().len(), 1, "{data}");
    let id = found["id"].as_str().unwrap().to_owned();
    for field in ["id", "confidence", "evidence"] {
        found.as_object_mut().unwrap().remove(field);
    }
    let expected = json!({
        "cause": "KEY_DEAD", "severity": "WARNING", "remedy": "REPLACE_KEY",
        "keys": [{ "masked": "key-...0001" }], "models": [],
        "since": "2026-03-01T10:00:00Z", "until": null,
        "lastSuccessAt": "2026-03-01T09:56:00Z", "failures": 30, "share": 1.0,
        "sentence": "The provider has rejected key key-...0001 since 2026-03-01 10:00 UTC \
                     (403, 30 of 30 calls): replace the key.",
    });
    assert_eq!(found, expected);
    let evidence = data["diagnoses"][0]["evidence"].as_array().unwrap();
    assert_eq!(evidence.len(), 2);
    assert!(evidence.iter().all(|log| log["failure"]["class"] == "KEY_SUSPENDED"), "{evidence:?}");

    let query = format!("{{ node(id: \"{id}\") {{ ... on Diagnosis {{ {FIELDS} }} }} }}");
    assert_eq!(app.data(&query).await["node"], data["diagnoses"][0]);
    let query = "{ diagnoses(period: LAST_8_HOURS, causes: [MODEL_OUTAGE]) { id } }";
    assert_eq!(app.data(query).await["diagnoses"], json!([]));
    let chinese = app.data("{ diagnoses(period: LAST_HOUR) { sentence(language: \"zh\") } }").await;
    let sentence = chinese["diagnoses"][0]["sentence"].as_str().unwrap();
    assert!(sentence.contains("请更换密钥"), "{sentence}");
    let other =
        app.graphql("{ diagnoses(period: LAST_HOUR) { sentence(language: \"fr\") } }").await;
    assert_eq!(error_code(&other), "BAD_USER_INPUT");
}

async fn a_fault_may_have_started_before_the_window(database: TestDatabase) {
    insert(&database, "2026-03-01T04:00:00Z").await;
    let row = |at: &str, status: i32| CallRow::at(at).key(DEAD).status(status);
    database
        .insert(&[
            row("2026-02-20T10:00:00Z", 403),
            row("2026-02-21T10:00:00Z", 200),
            row("2026-02-22T10:00:00Z", 403),
            row("2026-02-25T10:00:00Z", 403),
        ])
        .await;
    let app = TestApp::start(&database).await;
    let data = app.data("{ diagnoses(period: LAST_24_HOURS) { cause since lastSuccessAt } }").await;
    let expected = json!([{
        "cause": "KEY_DEAD", "since": "2026-02-22T10:00:00Z",
        "lastSuccessAt": "2026-02-21T10:00:00Z",
    }]);
    assert_eq!(data["diagnoses"], expected);
}

async fn ended_diagnoses_are_in_windows_that_they_overlap(database: TestDatabase) {
    insert(&database, "2026-03-01T10:00:00Z").await;
    // The key works again for the last half hour.
    let ended =
        "UPDATE t_request_log SET status_code = 200 WHERE request_time >= '2026-03-01 11:30:00'";
    database.execute(ended).await;
    let app = TestApp::start(&database).await;
    let causes = async |window: &str| {
        let data = app.data(&format!("{{ diagnoses({window}) {{ cause until }} }}")).await;
        data["diagnoses"].clone()
    };
    let found = json!([{ "cause": "KEY_DEAD", "until": "2026-03-01T11:32:00Z" }]);
    assert_eq!(causes("period: LAST_HOUR").await, found);
    assert_eq!(causes("period: LAST_MINUTE").await, json!([]));
    let past = r#"between: { since: "2026-03-01T10:30:00Z", until: "2026-03-01T11:00:00Z" }"#;
    assert_eq!(causes(past).await, json!([{ "cause": "KEY_DEAD", "until": null }]));
}

async fn diagnoses_of_many_keys_read_the_calls_once(database: TestDatabase) {
    insert(&database, "2026-03-01T10:00:00Z").await;
    let app = TestApp::start(&database).await;
    let diagnoses = format!("diagnoses(period: LAST_HOUR, asOf: \"{NOW}\") {{ cause }}");
    let of_keys =
        format!("apiKeys {{ nodes {{ masked diagnoses(asOf: \"{NOW}\") {{ cause }} }} }}");
    let query = &format!("{{ {of_keys} {diagnoses} }}");
    let data = app.data(query).await;
    let of_key = |key: &Value| (key["masked"].clone(), key["diagnoses"].clone());
    let keys: Vec<_> = data["apiKeys"]["nodes"].as_array().unwrap().iter().map(of_key).collect();
    let dead = json!([{ "cause": "KEY_DEAD" }]);
    assert!(keys.contains(&(json!("key-...0001"), dead.clone())), "{keys:?}");
    assert_eq!(keys.iter().filter(|(_, found)| *found == json!([])).count(), 3, "{keys:?}");
    let one = app.statements(&format!("{{ {diagnoses} }}")).await;
    let all = app.statements(query).await;
    // One more for the list of keys.
    assert!(one > 1 && all == one + 1, "{one}, {all}");
}

async fn requests_share_the_current_diagnoses(database: TestDatabase) {
    insert(&database, "2026-03-01T10:00:00Z").await;
    let app = TestApp::start(&database).await;
    let hour = "{ diagnoses(period: LAST_HOUR) { cause } }";
    assert!(app.statements(hour).await > 1);
    let day =
        "{ diagnoses(period: LAST_24_HOURS) { cause } apiKeys { nodes { diagnoses { cause } } } }";
    // The list of keys.
    assert_eq!(app.statements(day).await, 1);
    app.clock.advance(TimeDelta::minutes(1));
    assert!(app.statements(hour).await > 1);
}

/// Each computation reserves memory for its pages and calls.
#[derive(Default)]
struct Counted {
    reservations: AtomicU32,
    bytes: AtomicU64,
}

impl Memory for Counted {
    fn reserve(&self, bytes: u64) -> Result<(), Error> {
        self.reservations.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn free(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn page_bytes(&self, rows: u32, _: u64) -> u64 {
        rows.into()
    }
}

async fn concurrent_requests_for_a_time_share_its_diagnoses(database: TestDatabase) {
    insert(&database, "2026-03-01T10:00:00Z").await;
    let app = TestApp::start(&database).await;
    let diagnoses = app.diagnoses();
    let memory = Counted::default();
    let computed = &memory.reservations;
    let at: DateTime<Utc> = NOW.parse().unwrap();
    let alone = diagnoses.at(at, &memory).await.unwrap();
    let of_one = computed.swap(0, Ordering::Relaxed);
    let [first, second, third] =
        join_all([(); 3].map(|()| diagnoses.at(at, &memory))).await.try_into().unwrap();
    assert_eq!(computed.swap(0, Ordering::Relaxed), of_one);
    let [first, second, third] = [first, second, third].map(Result::unwrap);
    assert!(Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&first, &third));
    assert_eq!(first.diagnoses, alone.diagnoses);
    // A request that comes later sees calls that were recorded meanwhile.
    let [_, other] = join_all([at, at - TimeDelta::hours(1)].map(|at| diagnoses.at(at, &memory)))
        .await
        .try_into()
        .unwrap();
    assert!(computed.load(Ordering::Relaxed) > of_one);
    assert_eq!(other.unwrap().at, at - TimeDelta::hours(1));
    assert_eq!(memory.bytes.load(Ordering::Relaxed), 0, "all memory is freed");
    // If the request that computes is cancelled, another one computes.
    let cancelled = diagnoses.at(at, &memory);
    let mut cancelled = Box::pin(cancelled);
    assert!(futures_util::poll!(&mut cancelled).is_pending());
    let mut waiting = Box::pin(diagnoses.at(at, &memory));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(cancelled);
    assert_eq!(waiting.await.unwrap().diagnoses, alone.diagnoses);
}

async fn a_subscription_sends_starts_and_ends(database: TestDatabase) {
    insert(&database, NOW).await;
    let app = TestApp::start(&database).await;
    let fields = "cause keys { masked } until failures sentence";
    let query = format!("subscription {{ diagnosisChanged {{ {fields} }} }}");
    let mut events = Events::subscribe(&app, &query).await;
    let calls = async |from: i64, status: i32| {
        let start: DateTime<Utc> = NOW.parse().unwrap();
        let at = |minute| text(start + TimeDelta::minutes(from + minute));
        let calls = (0..10).map(|minute| CallRow::at(&at(minute)).key(DEAD).status(status));
        database.insert(&calls.collect::<Vec<_>>()).await;
        app.clock.advance(TimeDelta::minutes(10));
    };
    // A failure is an event, and only one. The subscription continues.
    database.execute("ALTER TABLE t_request_log RENAME TO elsewhere").await;
    app.clock.advance(TimeDelta::minutes(1));
    assert_eq!(error_code(&events.next().await), "DATABASE_UNAVAILABLE");
    let sent = app.sent();
    eventually("a second attempt", async || app.sent() > sent).await;
    database.execute("ALTER TABLE elsewhere RENAME TO t_request_log").await;
    calls(0, 403).await;
    let event = events.next().await;
    let started = &event["data"]["diagnosisChanged"];
    let key = json!([{ "masked": "key-...0001" }]);
    assert_eq!((&started["cause"], &started["keys"]), (&json!("KEY_DEAD"), &key), "{event}");
    assert_eq!((&started["until"], &started["failures"]), (&json!(null), &json!(10)), "{event}");
    calls(10, 200).await;
    let event = events.next().await;
    let ended = &event["data"]["diagnosisChanged"];
    assert_eq!((&ended["cause"], &ended["keys"]), (&json!("KEY_DEAD"), &key), "{event}");
    assert_eq!(ended["until"], "2026-03-01T12:10:00Z", "{event}");
}

async fn an_ended_diagnosis_is_found_by_its_id(database: TestDatabase) {
    insert(&database, "2026-03-01T10:00:00Z").await;
    let app = TestApp::start(&database).await;
    let data = app.data("{ diagnoses(period: LAST_HOUR) { id since } }").await;
    let found = data["diagnoses"][0].clone();
    let node = format!("{{ node(id: {}) {{ ... on Diagnosis {{ id since }} }} }}", found["id"]);
    app.clock.advance(TimeDelta::days(40));
    assert_eq!(app.data("{ diagnoses(period: LAST_HOUR) { id } }").await["diagnoses"], json!([]));
    assert_eq!(app.data(&node).await["node"], found);
    database.execute("DELETE FROM t_request_log").await;
    app.clock.advance(TimeDelta::minutes(1));
    assert_eq!(app.data(&node).await["node"], json!(null));
}

async fn the_cost_of_an_id_is_that_of_its_calls(database: TestDatabase) {
    insert(&database, "2026-03-01T10:00:00Z").await;
    let app = TestApp::start(&database).await;
    let cost = async |query: &str| cost(&app, query).await;
    let id =
        app.data("{ diagnoses(period: LAST_HOUR) { id } }").await["diagnoses"][0]["id"].clone();
    let call = cost("{ node(id: \"call_1\") { id } }").await;
    let one = cost(&format!("{{ node(id: {id}) {{ id }} }}")).await;
    let calls = cost("{ diagnoses(period: LAST_HOUR) { id } }").await;
    let two = cost(&format!("{{ nodes(ids: [\"call_1\", {id}, {id}]) {{ id }} }}")).await;
    assert!(call < 1000 && one > calls && two > one, "{call}, {calls}, {one}, {two}");
}

async fn a_window_has_at_most_32_days(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let window = |since: &str| {
        format!("{{ diagnoses(between: {{ since: \"{since}\", until: \"{NOW}\" }}) {{ cause }} }}")
    };
    let response = app.graphql(&window("2026-01-28T11:59:59Z")).await;
    assert_eq!(error_code(&response), "BAD_USER_INPUT");
    assert_eq!(response["errors"][0]["extensions"]["argument"], "between", "{response}");
    for query in [&window("2026-01-28T12:00:00Z"), "{ diagnoses(period: LAST_HOUR) { cause } }"] {
        assert_eq!(app.data(query).await["diagnoses"], json!([]));
    }
}

/// Two keys and two models for six days, two calls a minute, except for two hours without a call on 25 February,
/// which start ten minutes before the border of two days.
/// gemini-2.5-pro fails from 24 February 20:00 to 25 February 06:00, the first key since 26 February 09:00, and
/// another one, which has no later calls, from 24 February 08:00 to 18:00.
async fn insert_days(database: &TestDatabase) {
    let now: DateTime<Utc> = NOW.parse().unwrap();
    let hour = |text: &str| -> DateTime<Utc> { format!("2026-02-{text}:00:00Z").parse().unwrap() };
    let mut calls = vec![];
    for minute in 0..6 * 24 * 60 {
        let at = now - TimeDelta::minutes(6 * 24 * 60 - minute);
        if at >= hour("25T12") - TimeDelta::minutes(10) && at < hour("25T14") {
            continue;
        }
        let of_two = if minute / 2 % 2 == 0 { DEAD } else { "key-of-tests-0002" };
        let of_one = at >= hour("24T08") && at < hour("24T18") && minute % 10 == 0;
        let key = if of_one { "key-of-the-past-0003" } else { of_two };
        let model = ["gemini-2.5-flash", "gemini-2.5-pro"][minute as usize % 2];
        let is_out = model == "gemini-2.5-pro" && at >= hour("24T20") && at < hour("25T06");
        let is_dead = key == DEAD && at >= hour("26T09");
        let status = match () {
            () if of_one || is_dead => 403,
            () if is_out => 503,
            () => 200,
        };
        calls.push(CallRow::at(&text(at)).key(key).model(model).status(status).latency(700));
    }
    database.insert(&calls).await;
}

async fn a_cause_of_several_days_is_one_diagnosis(database: TestDatabase) {
    insert_days(&database).await;
    let app = TestApp::start(&database).await;
    let query = "{ diagnoses(period: LAST_7_DAYS) {
        cause keys { masked } models since until lastSuccessAt failures share } }";
    let found = |masked: &[&str], models: &[&str], cause: &str, times: [Option<&str>; 3]| {
        let keys: Vec<_> = masked.iter().map(|masked| json!({ "masked": masked })).collect();
        let [since, until, success] = times;
        json!({ "cause": cause, "keys": keys, "models": models, "since": since, "until": until,
            "lastSuccessAt": success })
    };
    let mut data = app.data(query).await["diagnoses"].take();
    let mut counts = vec![];
    for one in data.as_array_mut().unwrap() {
        let one = one.as_object_mut().unwrap();
        counts.push((one.remove("failures").unwrap(), one.remove("share").unwrap()));
    }
    let expected = json!([
        found(
            &[],
            &[],
            "SILENT",
            [Some("2026-02-25T11:49:00Z"), Some("2026-02-25T14:00:00Z"), None]
        ),
        found(
            &[],
            &["gemini-2.5-pro"],
            "MODEL_OUTAGE",
            [
                Some("2026-02-24T20:01:00Z"),
                Some("2026-02-25T06:01:00Z"),
                Some("2026-02-24T19:59:00Z")
            ]
        ),
        found(
            &["key-...0001"],
            &[],
            "KEY_DEAD",
            [Some("2026-02-26T09:00:00Z"), None, Some("2026-02-26T08:57:00Z")]
        ),
        // Without later calls, it ends with its last failure.
        found(
            &["key-...0003"],
            &[],
            "KEY_DEAD",
            [Some("2026-02-24T08:00:00Z"), Some("2026-02-24T17:50:00Z"), None]
        ),
    ]);
    assert_eq!(data, expected);
    assert_eq!(counts[1], (json!(300), json!(1.0)));
    assert_eq!(counts[2], (json!(75 * 60 / 2), json!(1.0)));
    assert_eq!(counts[3].0, json!(60));

    // The end of a longer window is that of its last 24 hours.
    let lasting = async |since: &str| {
        let between = format!(r#"between: {{ since: "{since}", until: "2026-02-25T05:00:00Z" }}"#);
        let data = app.data(&format!("{{ diagnoses({between}) {{ cause since until }} }}")).await;
        data["diagnoses"].clone()
    };
    let of_day = lasting("2026-02-24T05:00:00Z").await;
    assert_eq!(of_day.as_array().unwrap().len(), 2, "{of_day}");
    assert_eq!(lasting("2026-02-23T12:00:00Z").await, of_day);
    // Only these causes, and so many.
    let few = "{ diagnoses(period: LAST_7_DAYS, causes: [KEY_DEAD], first: 1) { since } }";
    assert_eq!(app.data(few).await["diagnoses"], json!([{ "since": "2026-02-26T09:00:00Z" }]));
}

async fn days_are_read_again_when_their_rows_change(database: TestDatabase) {
    insert_days(&database).await;
    let app = TestApp::start(&database).await;
    let causes = async || {
        let data = app.data("{ diagnoses(period: LAST_7_DAYS) { cause } }").await;
        let causes = data["diagnoses"].as_array().unwrap().iter();
        causes.map(|one| one["cause"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let query = "{ diagnoses(period: LAST_7_DAYS) { cause } }";
    let first = app.statements(query).await;
    assert_eq!(causes().await, ["SILENT", "MODEL_OUTAGE", "KEY_DEAD", "KEY_DEAD"]);
    let again = app.statements(query).await;
    assert!(first > 3 * again, "{first}, {again}");
    // Rows of a past day that arrive late.
    let mut late = vec![];
    for minute in 0..60 {
        let at = format!("2026-02-27T03:{minute:02}:30Z");
        late.push(CallRow::at(&at).key("key-of-tests-0004").model("m-late").status(401));
    }
    database.insert(&late).await;
    app.clock.advance(TimeDelta::seconds(1));
    let after = causes().await;
    assert_eq!(after, ["SILENT", "MODEL_OUTAGE", "KEY_DEAD", "KEY_DEAD", "KEY_DEAD"]);
    // Its error logs say something else.
    let logs: Vec<_> = late
        .iter()
        .enumerate()
        .map(|(minute, _)| {
            let at = format!("2026-02-27T03:{minute:02}:30Z");
            ErrorRow::at(&at).key("key-of-tests-0004").code(401).log("credit balance is too low")
        })
        .collect();
    database.insert(&logs).await;
    app.clock.advance(TimeDelta::seconds(1));
    assert!(causes().await.contains(&"KEY_UNPAID".to_owned()));
}

async fn the_end_of_a_long_diagnosis_is_found_by_its_id(database: TestDatabase) {
    insert_days(&database).await;
    database
        .execute("UPDATE t_request_log SET status_code = 200 WHERE request_time >= '2026-02-28'")
        .await;
    let app = TestApp::start(&database).await;
    let query = "{ diagnoses(period: LAST_7_DAYS, causes: [KEY_DEAD], first: 1) { id until } }";
    let found = app.data(query).await["diagnoses"][0].clone();
    assert_eq!(found["until"], "2026-02-28T00:00:00Z");
    let node = format!("{{ node(id: {}) {{ ... on Diagnosis {{ id until }} }} }}", found["id"]);
    assert_eq!(app.data(&node).await["node"], found);
    // Longer than two days: the first success of the key.
    let later = "UPDATE t_request_log SET status_code = 403 WHERE request_time >= '2026-02-28' \
                 AND request_time < '2026-02-28 18:00:00' AND api_key = 'key-of-the-dead-0001'";
    database.execute(later).await;
    app.clock.advance(TimeDelta::seconds(1));
    assert_eq!(app.data(&node).await["node"]["until"], "2026-02-28T18:00:00Z");
    app.clock.advance(TimeDelta::days(5));
    let even_later = later
        .replace("'2026-02-28'", "'2026-02-26 09:00:00'")
        .replace("'2026-02-28 18", "'2026-03-01 11");
    database.execute(&even_later).await;
    assert_eq!(app.data(&node).await["node"]["until"], "2026-03-01T11:00:00Z");
    let sentence = node.replace("until", "sentence");
    let found = app.data(&sentence).await["node"]["sentence"].take();
    assert!(found.as_str().unwrap().contains("rejected key key-...0001 from"), "{found}");
}

async fn a_window_ends_at_most_now(database: TestDatabase) {
    insert(&database, "2026-03-01T10:00:00Z").await;
    let app = TestApp::start(&database).await;
    let found = async |window: &str| {
        app.data(&format!("{{ diagnoses({window}) {{ cause until }} }}")).await["diagnoses"].take()
    };
    let now = found("period: LAST_HOUR").await;
    assert_eq!(now, json!([{ "cause": "KEY_DEAD", "until": null }]));
    for (since, expected) in
        [("2026-02-27", &now), ("2026-03-01", &now), ("2026-03-02", &json!([]))]
    {
        let later =
            format!(r#"between: {{ since: "{since}T00:00:00Z", until: "2026-03-02T08:00:00Z" }}"#);
        assert_eq!(found(&later).await, *expected, "{since}");
        // The calls up to now are read, and charged.
        let cost = cost(&app, &format!("{{ diagnoses({later}) {{ cause }} }}")).await;
        assert!(cost > 1000 || *expected == json!([]), "{since}: {cost}");
    }
    // The month starts at midnight of the time zone: 16:00 in UTC on the day before.
    let month = async |zone: &str| {
        found(&format!("period: CURRENT_MONTH, timeZone: \"{zone}\", causes: [KEY_DEAD]")).await
    };
    assert_eq!(month("UTC").await, now);
    database.execute("UPDATE t_request_log SET status_code = 200").await;
    let row = |minute: i64| {
        let at = format!("2026-02-28T17:{minute:02}:00Z");
        CallRow::at(&at).key("key-of-tests-0009").model("m").status(if minute < 20 {
            401
        } else {
            200
        })
    };
    database.insert(&(0..30).map(row).collect::<Vec<_>>()).await;
    app.clock.advance(TimeDelta::minutes(2));
    assert_eq!(month("UTC").await, json!([]));
    assert_eq!(month("Asia/Shanghai").await[0]["cause"], "KEY_DEAD");
}

/// The second one finds the days of the first one, and the memory of each is freed.
async fn concurrent_long_windows_share_their_days(database: TestDatabase) {
    insert_days(&database).await;
    let app = TestApp::start(&database).await;
    let diagnoses = app.diagnoses();
    let until: DateTime<Utc> = NOW.parse().unwrap();
    let window = Window { since: until - TimeDelta::days(5), until };
    let of_one = Counted::default();
    let alone = diagnoses.within(window, false, &of_one).await.unwrap();
    let other = Window { until: until - TimeDelta::hours(3), ..window };
    let of_all = Counted::default();
    let found = join_all([(); 3].map(|()| diagnoses.within(other, false, &of_all))).await;
    let sinces = |found: &[DiagnosisRef]| {
        let mut sinces: Vec<_> = found.iter().map(|one| one.get().since).collect();
        sinces.sort_unstable();
        sinces
    };
    for found in found {
        assert_eq!(sinces(&found.unwrap()), sinces(&alone));
    }
    let (one, all) = (&of_one.reservations, &of_all.reservations);
    let (one, all) = (one.load(Ordering::Relaxed), all.load(Ordering::Relaxed));
    // One for the diagnoses of each day in the answer.
    assert!(all <= one + 2 * 5, "{one}, {all}");
    // The names and texts of the answer stay reserved.
    assert!(of_one.bytes.load(Ordering::Relaxed) < 10_000);
}

/// A silence that lasts is found although no call is in the last day.
async fn a_silence_of_days_lasts(database: TestDatabase) {
    insert_days(&database).await;
    let app = TestApp::start(&database).await;
    app.clock.advance(TimeDelta::hours(54));
    let query = "{ diagnoses(period: LAST_7_DAYS, causes: [SILENT]) { since until keys { id } } }";
    let found = app.data(query).await["diagnoses"].take();
    let lasting = json!({ "since": "2026-03-01T11:59:00Z", "until": null, "keys": [] });
    assert_eq!(found[0], lasting, "{found}");
}

async fn the_cost_of_a_long_window_is_that_of_its_calls(database: TestDatabase) {
    insert_days(&database).await;
    let app = TestApp::start(&database).await;
    let cost = async |period: &str| {
        cost(&app, &format!("{{ diagnoses(period: {period}) {{ cause }} }}")).await as f64
    };
    let (day, week) = (cost("LAST_24_HOURS").await, cost("LAST_7_DAYS").await);
    assert!(week > 3.0 * day && week < 8.0 * day, "{day}, {week}");
    // A part that starts before the window is read as a whole.
    let hour_more = r#"between: { since: "2026-02-28T11:30:00Z", until: "2026-03-01T11:59:00Z" }"#;
    let two = self::cost(&app, &format!("{{ diagnoses({hour_more}) {{ cause }} }}")).await as f64;
    assert!(two > 1.8 * day, "{day}, {two}");
}

/// Clients of the gateway choose the names of models, and keys are refused together.
async fn any_number_of_models_is_diagnosed(database: TestDatabase) {
    insert(&database, "2026-03-01T10:00:00Z").await;
    let now: DateTime<Utc> = NOW.parse().unwrap();
    let mut calls = vec![];
    for number in 0..10_000 {
        let at = text(now - TimeDelta::seconds(number));
        let model = format!("model-{number}");
        calls.push(CallRow::at(&at).key("key-of-tests-0002").model(model.as_str()).status(404));
    }
    for key in 0..96 {
        let name = format!("key-of-pool-{key:04}");
        for (minute, status) in [(60, 200), (50, 429), (40, 429), (20, 429)] {
            let at = now - TimeDelta::minutes(minute + key / 24) - TimeDelta::seconds(key % 24);
            let call = CallRow::at(&text(at)).key(name.as_str()).model("gemini-2.5-flash");
            calls.push(call.status(status));
        }
    }
    database.insert(&calls).await;
    let app = TestApp::start(&database).await;
    let query = "{ diagnoses(period: LAST_HOUR, causes: [KEY_DEAD]) { keys { masked } }
        usableKeys(model: \"gemini-2.5-flash\") { totalCount } }";
    let data = app.data(query).await;
    let dead = json!({ "keys": [{ "masked": "key-...0001" }] });
    assert!(data["diagnoses"].as_array().unwrap().contains(&dead), "{data}");
}

/// The gateway wrote local times of a clock that skips an hour, in UTC: the order of the rows is not that of times.
async fn times_of_a_skipped_hour_are_diagnosed(database: TestDatabase) {
    let mut calls = vec![];
    for minute in 50..58 {
        for (second, status) in [(1, 200), (2, 429), (3, 429)] {
            for key in ["key-of-tests-0001", "key-of-tests-0002"] {
                let at = format!("2026-03-29T02:{minute}:{second:02}Z");
                calls.push(CallRow::at(&at).key(key).model("gemini-2.5-pro").status(status));
            }
        }
    }
    calls
        .push(CallRow::at("2026-03-29T03:01:00Z").key("key-of-tests-0001").model("gemini-2.5-pro"));
    database.insert(&calls).await;
    let app = TestApp::start_with(&database, |config| {
        config.database.storage_time_zone = "Europe/Berlin".parse().unwrap();
    })
    .await;
    let at = "asOf: \"2026-03-29T01:30:00Z\"";
    let query = format!(
        "{{ diagnoses(period: LAST_24_HOURS, {at}) {{ cause }} usableKeys(model: \"m\", {at}) {{ totalCount }} }}"
    );
    app.data(&query).await;
}

async fn a_fault_is_an_error_also_with_cached_days(database: TestDatabase) {
    insert_days(&database).await;
    let app = TestApp::start(&database).await;
    let query = "{ diagnoses(period: LAST_7_DAYS) { cause } }";
    let before = app.data(query).await;
    database.execute("ALTER TABLE t_error_logs RENAME TO away").await;
    let response = app.graphql(query).await;
    assert_eq!(error_code(&response), "DATABASE_UNAVAILABLE", "{response}");
    database.execute("ALTER TABLE away RENAME TO t_error_logs").await;
    assert_eq!(app.data(query).await, before);
}
