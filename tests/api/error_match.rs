//! The error log of a call: `errorLookup` and `Call.errorLog` are compared with a literal implementation of
//! the rules over every row, and their statements are counted.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::{CallRow, ErrorRow, Kind, NULL, TestApp, TestDatabase, gateway};
use crate::tests;

tests! {
    lookups_follow_the_rules,
    calls_follow_the_same_rules,
    whole_seconds_match.empty(),
    other_time_formats_match.only(&[Kind::Sqlite]),
    a_status_text_is_not_a_code.only(&[Kind::Sqlite]),
    both_ends_of_the_window_are_included,
    ties_prefer_the_later_time_then_the_higher_id,
    a_matching_code_is_preferred_to_a_nearer_time,
    keys_are_compared_by_bytes,
    a_successful_call_has_no_error_log,
    a_page_needs_one_more_statement,
    lists_of_a_request_are_matched_together,
    a_dense_range_is_matched,
    many_lookups_need_few_statements,
}

/// A generator of the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

fn base() -> DateTime<Utc> {
    "2026-03-01T09:00:00Z".parse().unwrap()
}

/// Few instants, so that distances are equal and fall on the ends of the windows.
const OFFSETS: [i64; 17] = [
    -300_000_001,
    -300_000_000,
    -299_999_999,
    -100_000_001,
    -100_000_000,
    -2_000_000,
    -1_000_000,
    -1,
    0,
    1,
    1_000_000,
    2_000_000,
    100_000_000,
    100_000_001,
    300_000_000,
    300_000_001,
    600_000_000,
];

fn instant(dice: &mut Dice) -> DateTime<Utc> {
    base() + TimeDelta::microseconds(dice.of(&OFFSETS))
}

const CODES: [Option<i32>; 4] = [None, Some(429), Some(403), Some(500)];

#[derive(Clone)]
struct Logged {
    id: i32,
    key: &'static str,
    at: DateTime<Utc>,
    code: Option<i32>,
}

fn log(dice: &mut Dice, count: i32) -> Vec<Logged> {
    (1..=count)
        .map(|id| Logged {
            id,
            key: dice.of(&["a", "b", "A"]),
            at: instant(dice),
            code: dice.of(&CODES),
        })
        .collect()
}

async fn store(database: &TestDatabase, logged: &[Logged]) {
    let rows: Vec<ErrorRow> = logged
        .iter()
        .map(|row| {
            let code = row.code.map_or(NULL, Into::into);
            ErrorRow::at_stored(row.at).id(row.id).key(row.key).code(code)
        })
        .collect();
    database.insert(&rows).await;
}

/// A literal implementation of the rules, over every row.
fn expected(
    logged: &[Logged],
    key: &str,
    at: DateTime<Utc>,
    code: Option<i32>,
    seconds: i64,
) -> Value {
    let window = TimeDelta::seconds(seconds);
    let near: Vec<&Logged> =
        logged.iter().filter(|row| row.key == key && (row.at - at).abs() <= window).collect();
    let with_code: Vec<&Logged> =
        near.iter().copied().filter(|row| code.is_some() && row.code == code).collect();
    let candidates = if with_code.is_empty() { near } else { with_code };
    let best = candidates.into_iter().min_by(|one, other| {
        let distance = |row: &Logged| (row.at - at).abs();
        let nearer = distance(one).cmp(&distance(other));
        nearer.then(other.at.cmp(&one.at)).then(other.id.cmp(&one.id))
    });
    best.map_or(Value::Null, |row| json!({ "databaseId": row.id }))
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

async fn lookups_follow_the_rules(database: TestDatabase) {
    let dice = &mut Dice(1);
    let mut found = 0;
    let app = TestApp::start(&database).await;
    for size in [12, 60, 240] {
        let logged = log(dice, size);
        database.delete("t_error_logs", "TRUE").await;
        store(&database, &logged).await;
        for _ in 0..6 {
            let mut fields = String::new();
            let mut answers = json!({});
            for number in 0..40 {
                let (key, at, code) = (dice.of(&["a", "b", "A"]), instant(dice), dice.of(&CODES));
                let seconds = dice.of(&[None, Some(1), Some(2), Some(3), Some(100), Some(300)]);
                let code_argument =
                    code.map_or(String::new(), |code| format!(", statusCode: {code}"));
                let window = seconds.map_or(String::new(), |s| format!(", windowSeconds: {s}"));
                fields += &format!(
                    "q{number}: errorLookup(key: \"{key}\", timestamp: \"{}\"{code_argument}{window}) {{ databaseId }}\n",
                    text(at)
                );
                let answer = expected(&logged, key, at, code, seconds.unwrap_or(100));
                found += i32::from(!answer.is_null());
                answers[format!("q{number}")] = answer;
            }
            let data = app.data(&format!("{{ {fields} }}")).await;
            assert_eq!(data, answers, "{fields}");
        }
    }
    assert!((100..720).contains(&found), "{found} of 720 lookups find something");
}

async fn calls_follow_the_same_rules(database: TestDatabase) {
    let dice = &mut Dice(2);
    let logged = log(dice, 150);
    store(&database, &logged).await;
    let mut rows = vec![];
    let mut answers = vec![];
    for id in 1..=400 {
        let (key, at) =
            (dice.of(&[Some("a"), Some("b"), Some("A"), Some("none"), None]), instant(dice));
        let code =
            dice.of(&[None, Some(429), Some(403), Some(199), Some(300), Some(200), Some(299)]);
        let failed = code.is_none_or(|code| !(200..=299).contains(&code));
        let answer = match key {
            Some(key) if failed => expected(&logged, key, at, code, 300),
            _ => Value::Null,
        };
        answers.push(json!({ "databaseId": id, "errorLog": answer }));
        let key = key.map_or(NULL, Into::into);
        let code = code.map_or(NULL, Into::into);
        rows.push(CallRow::at_stored(at).id(id).key(key).status(code));
    }
    database.insert(&rows).await;
    let app = TestApp::start(&database).await;
    let data = app
        .data("{ callDetails(period: LAST_24_HOURS, first: 1000) { nodes { databaseId errorLog { databaseId } } } }")
        .await;
    let mut nodes = data["callDetails"]["nodes"].as_array().unwrap().clone();
    nodes.sort_by_key(|node| node["databaseId"].as_i64());
    assert_eq!(nodes, answers);
    let matched = answers.iter().filter(|answer| !answer["errorLog"].is_null()).count();
    assert!((50..350).contains(&matched), "{matched} of 400 calls have an error log");
}

/// The id that a lookup finds for `key` at a time, with more arguments.
async fn lookup(app: &TestApp, at: &str, more: &str) -> Value {
    let key = if more.contains("key:") { "" } else { "key: \"key\", " };
    let query = format!("{{ errorLookup({key}timestamp: \"{at}\" {more}) {{ databaseId }} }}");
    app.data(&query).await["errorLookup"]["databaseId"].clone()
}

/// MySQL's DATETIME stores whole seconds.
async fn whole_seconds_match(database: TestDatabase) {
    database.execute(gateway::ddl(database.kind())).await;
    database
        .insert(&[
            ErrorRow::at("2026-03-01T11:00:00Z"),
            ErrorRow::at("2026-03-01T11:00:01Z"),
            ErrorRow::at("2026-03-01T11:01:40Z"),
        ])
        .await;
    let app = TestApp::start(&database).await;
    assert_eq!(lookup(&app, "2026-03-01T11:00:00.4Z", "").await, 1);
    assert_eq!(lookup(&app, "2026-03-01T11:00:00.5Z", "").await, 2);
    assert_eq!(lookup(&app, "2026-03-01T11:00:00.6Z", "").await, 2);
    assert_eq!(lookup(&app, "2026-03-01T11:03:20Z", "").await, 3);
    assert_eq!(lookup(&app, "2026-03-01T11:03:20.000001Z", "").await, Value::Null);
    assert_eq!(lookup(&app, "2026-03-01T10:59:59Z", "windowSeconds: 1").await, 1);
    assert_eq!(lookup(&app, "2026-03-01T10:59:58.999999Z", "windowSeconds: 1").await, Value::Null);
}

/// Other programs leave out the fraction or some of its digits.
async fn other_time_formats_match(database: TestDatabase) {
    let row = |time: &str| ErrorRow::at_stored(time);
    database.insert(&[row("2026-03-01 11:00:00"), row("2026-03-01 11:10:00.5")]).await;
    let app = TestApp::start(&database).await;
    assert_eq!(lookup(&app, "2026-03-01T10:59:00Z", "windowSeconds: 60").await, 1);
    assert_eq!(lookup(&app, "2026-03-01T11:01:00Z", "windowSeconds: 60").await, 1);
    assert_eq!(lookup(&app, "2026-03-01T11:01:00.000001Z", "windowSeconds: 60").await, Value::Null);
    assert_eq!(lookup(&app, "2026-03-01T11:10:01.5Z", "windowSeconds: 1").await, 2);
    assert_eq!(lookup(&app, "2026-03-01T11:09:59.5Z", "windowSeconds: 1").await, 2);
    assert_eq!(lookup(&app, "2026-03-01T11:10:01.500001Z", "windowSeconds: 1").await, Value::Null);
}

async fn a_status_text_is_not_a_code(database: TestDatabase) {
    let at = "2026-03-01T11:00:00Z";
    database
        .insert(&[
            CallRow::at(at).id(1).status("Server disconnected without sending a response."),
            CallRow::at(at).id(2).status(""),
            CallRow::at(at).id(3).status(500),
        ])
        .await;
    database
        .insert(&[
            ErrorRow::at("2026-03-01T11:00:01Z").code(429),
            ErrorRow::at("2026-03-01T11:00:02Z").code(500),
            ErrorRow::at("2026-03-01T11:00:03Z").code("Server disconnected"),
        ])
        .await;
    let app = TestApp::start(&database).await;
    let data = app
        .data("{ callDetails(period: LAST_24_HOURS, orderBy: OLDEST_FIRST) { nodes { statusCode status errorLog { databaseId } } } }")
        .await;
    let call = |code: Option<i32>, id| json!({ "statusCode": code, "status": "FAILURE", "errorLog": { "databaseId": id } });
    let nodes = json!([call(None, 1), call(None, 1), call(Some(500), 2)]);
    assert_eq!(data["callDetails"]["nodes"], nodes);
}

async fn both_ends_of_the_window_are_included(database: TestDatabase) {
    database
        .insert(&[
            ErrorRow::at("2026-03-01T11:00:00Z"),
            ErrorRow::at("2026-03-01T11:30:00.000001Z"),
        ])
        .await;
    let app = TestApp::start(&database).await;
    for (seconds, early, late, too_early, too_late) in [
        (1, "10:59:59", "11:00:01", "10:59:58.999999", "11:00:01.000001"),
        (100, "10:58:20", "11:01:40", "10:58:19.999999", "11:01:40.000001"),
        (300, "10:55:00", "11:05:00", "10:54:59.999999", "11:05:00.000001"),
    ] {
        let at = |time: &str| format!("2026-03-01T{time}Z");
        let window = format!("windowSeconds: {seconds}");
        assert_eq!(lookup(&app, &at(early), &window).await, 1);
        assert_eq!(lookup(&app, &at(late), &window).await, 1);
        assert_eq!(lookup(&app, &at(too_early), &window).await, Value::Null);
        assert_eq!(lookup(&app, &at(too_late), &window).await, Value::Null);
    }
    // 100 seconds by default, also for null.
    for window in ["", "windowSeconds: null"] {
        assert_eq!(lookup(&app, "2026-03-01T11:31:40.000001Z", window).await, 2);
        assert_eq!(lookup(&app, "2026-03-01T11:31:40.000002Z", window).await, Value::Null);
    }
    for seconds in [0, -1, 301] {
        let query = format!(
            "{{ errorLookup(key: \"key\", timestamp: \"2026-03-01T11:00:00Z\", windowSeconds: {seconds}) {{ id }} }}"
        );
        let error = &app.graphql(&query).await["errors"][0];
        let extensions = json!({ "code": "BAD_USER_INPUT", "argument": "windowSeconds" });
        assert_eq!(error["extensions"], extensions);
    }
}

async fn ties_prefer_the_later_time_then_the_higher_id(database: TestDatabase) {
    database
        .insert(&[
            ErrorRow::at("2026-03-01T11:00:02Z").id(9),
            ErrorRow::at("2026-03-01T11:00:00Z").id(8),
            ErrorRow::at("2026-03-01T11:00:02Z").id(4),
            ErrorRow::at("2026-03-01T11:00:00Z").id(7),
        ])
        .await;
    let app = TestApp::start(&database).await;
    assert_eq!(lookup(&app, "2026-03-01T11:00:01Z", "").await, 9);
    assert_eq!(lookup(&app, "2026-03-01T11:00:00.999999Z", "").await, 8);
    assert_eq!(lookup(&app, "2026-03-01T13:00:00+02:00", "").await, 8);
}

async fn a_matching_code_is_preferred_to_a_nearer_time(database: TestDatabase) {
    database
        .insert(&[
            ErrorRow::at("2026-03-01T11:00:00Z").code(500),
            ErrorRow::at("2026-03-01T11:01:00Z").code(429),
            ErrorRow::at("2026-03-01T11:00:01Z").code(NULL),
        ])
        .await;
    let app = TestApp::start(&database).await;
    let at = "2026-03-01T11:00:00.7Z";
    assert_eq!(lookup(&app, at, "statusCode: 429").await, 2);
    assert_eq!(lookup(&app, at, "statusCode: 500").await, 1);
    assert_eq!(lookup(&app, at, "statusCode: 403").await, 3);
    assert_eq!(lookup(&app, at, "statusCode: null").await, 3);
    assert_eq!(lookup(&app, at, "statusCode: 429, windowSeconds: 10").await, 3);
}

async fn keys_are_compared_by_bytes(database: TestDatabase) {
    let row = |key: &str| ErrorRow::at("2026-03-01T11:00:00Z").key(key);
    database.insert(&[row("key"), row("KEY"), row("kéy"), row("key ").code(500)]).await;
    let app = TestApp::start(&database).await;
    for (key, id) in [("key", 1), ("KEY", 2), ("kéy", 3), ("key ", 4)] {
        let more = format!("key: \"{key}\"");
        assert_eq!(lookup(&app, "2026-03-01T11:00:00Z", &more).await, id, "{key}");
    }
    for key in ["", "ke", "%", "_ey", "Key"] {
        let more = format!("key: \"{key}\"");
        assert_eq!(lookup(&app, "2026-03-01T11:00:00Z", &more).await, Value::Null, "{key}");
    }
    let data = app.data("{ apiKeys { nodes { id secret } } }").await;
    let keys = data["apiKeys"]["nodes"].as_array().unwrap();
    let id = keys.iter().find(|key| key["secret"] == "KEY").unwrap()["id"].as_str().unwrap();
    assert_eq!(lookup(&app, "2026-03-01T11:00:00Z", &format!("key: \"{id}\"")).await, 2);
}

async fn a_successful_call_has_no_error_log(database: TestDatabase) {
    let at = "2026-03-01T11:00:00Z";
    database
        .insert(&[
            CallRow::at(at).status(200),
            // Only the status code decides.
            CallRow::at(at).status(204).success(false),
            CallRow::at(at).status(429).key(NULL),
        ])
        .await;
    database.insert(&[ErrorRow::at(at), ErrorRow::at(at).key(NULL)]).await;
    let app = TestApp::start(&database).await;
    let query = "{ callDetails(period: LAST_24_HOURS) { nodes { errorLog { id } } } }";
    let none = json!({ "errorLog": null });
    assert_eq!(app.data(query).await["callDetails"]["nodes"], json!([none, none, none]));
    assert_eq!(lookup(&app, at, "key: \"\"").await, Value::Null);
}

const PAGE: &str = "{ callDetails(period: LAST_24_HOURS, first: 1000) {
    nodes { databaseId errorLog { databaseId message } } } }";

/// A thousand calls of 50 keys within the hour, 6 in 100 of them failed, each with its error log.
async fn a_page_needs_one_more_statement(database: TestDatabase) {
    let at = |number: i32| base() + TimeDelta::milliseconds(i64::from(number) * 3500);
    let calls: Vec<CallRow> = (0..1000)
        .map(|number| {
            let row = CallRow::at_stored(at(number)).key(format!("key-{}", number % 50));
            if number % 16 == 0 { row.status(429) } else { row }
        })
        .collect();
    let errors: Vec<ErrorRow> = (0..1000)
        .step_by(16)
        .map(|number| ErrorRow::at_stored(at(number)).key(format!("key-{}", number % 50)))
        .collect();
    database.insert(&calls).await;
    database.insert(&errors).await;
    let app = TestApp::start(&database).await;
    assert_eq!(app.statements(PAGE).await, 2);
    let data = app.data(PAGE).await;
    let nodes = data["callDetails"]["nodes"].as_array().unwrap();
    let matched = nodes.iter().filter(|node| !node["errorLog"].is_null()).count();
    assert_eq!((nodes.len(), matched), (1000, errors.len()));
}

async fn lists_of_a_request_are_matched_together(database: TestDatabase) {
    let row = |key: &str| CallRow::at("2026-03-01T11:00:00Z").key(key).status(429);
    database.insert(&[row("a"), row("b"), row("c")]).await;
    database.insert(&[ErrorRow::at("2026-03-01T11:00:00Z").key("b")]).await;
    let app = TestApp::start(&database).await;
    let list = "(period: LAST_24_HOURS) { nodes { errorLog { message } } }";
    let query = format!(
        "{{ callDetails{list} other: callDetails(period: LAST_24_HOURS, key: \"b\") {{ edges {{ node {{ errorLog {{ id }} }} }} }} }}"
    );
    assert_eq!(app.statements(&query).await, 3);
    // One statement each: the keys, their calls, the error logs of all these calls.
    let query = format!("{{ apiKeys {{ nodes {{ calls{list} }} }} }}");
    assert_eq!(app.statements(&query).await, 3);
}

async fn a_dense_range_is_matched(database: TestDatabase) {
    let dice = &mut Dice(3);
    let logged: Vec<Logged> = (1..=5000)
        .map(|id| {
            let at = base() + TimeDelta::milliseconds(dice.below(590_000) as i64 - 295_000);
            Logged { id, key: "a", at, code: dice.of(&[Some(429), Some(503), None]) }
        })
        .collect();
    store(&database, &logged).await;
    let calls: Vec<CallRow> = [Some(429), Some(418), None]
        .into_iter()
        .map(|code| CallRow::at_stored(base()).key("a").status(code.map_or(NULL, Into::into)))
        .collect();
    database.insert(&calls).await;
    let app = TestApp::start(&database).await;
    // The list, the first attempt with whole rows, their times and codes, the matching rows.
    assert_eq!(app.statements(PAGE).await, 4);
    let data = app.data(PAGE).await;
    let found = |code| expected(&logged, "a", base(), code, 300)["databaseId"].clone();
    let ids: Vec<Value> = data["callDetails"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["errorLog"]["databaseId"].clone())
        .collect();
    assert_eq!(ids, [found(None), found(Some(418)), found(Some(429))]);
    assert_eq!(lookup(&app, &text(base()), "key: \"a\", statusCode: 503").await, found(Some(503)));
}

async fn many_lookups_need_few_statements(database: TestDatabase) {
    let at = |number: i32| base() - TimeDelta::seconds(i64::from(number) * 60);
    let key = |number: i32| format!("key-{}", number * 7 % 300);
    let calls: Vec<CallRow> = (0..1000)
        .map(|number| CallRow::at_stored(at(number)).key(key(number)).status(429))
        .collect();
    let errors: Vec<ErrorRow> = (0..1000)
        .map(|number| ErrorRow::at_stored(at(number)).id(number + 1).key(key(number)))
        .collect();
    database.insert(&calls).await;
    database.insert(&errors).await;
    let app = TestApp::start(&database).await;
    assert!(app.statements(PAGE).await <= 6);
    let data = app.data(PAGE).await;
    let nodes = data["callDetails"]["nodes"].as_array().unwrap();
    let ids: Vec<i64> =
        nodes.iter().map(|node| node["errorLog"]["databaseId"].as_i64().unwrap()).collect();
    assert_eq!(ids, (1..=1000).collect::<Vec<_>>());
}
