//! Rollups: statistics from cells equal those of the calls, at every moment and for every writer.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use callscope::domain::window::Window;
use callscope::prune::{self, Cutoffs, Pace, Tally};
use callscope::store::call::CallScope;
use callscope::store::call_dimension::CallDimension;
use callscope::store::call_group::{self, GroupOrder, GroupQuery};
use callscope::store::rollup::{self, Folder, Phase};
use callscope::store::usage::{self, CountQuery};
use callscope::store::{Database, call_count};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::support::{
    CallRow, Kind, NULL, TestApp, TestDatabase, error_code, eventually, found as until, gateway,
};
use crate::tests;

tests! {
    sums_equal_a_plain_count_at_every_moment,
    a_server_folds_calls_and_reports_it,
    statistics_outlive_the_calls,
    a_window_among_deleted_calls_is_rounded_with_a_warning,
    percentiles_of_long_windows_are_close_and_say_so,
    calls_that_cannot_be_folded_are_counted.only(&[Kind::Sqlite]),
    changed_calls_are_found_and_folded_again,
    damaged_latencies_are_an_error,
    statements_read_few_rows,
    older_servers_may_fold_meanwhile,
    ids_of_an_emptied_table_are_counted_once.only(&[Kind::Sqlite]).empty(),
    many_calls_that_cannot_be_folded_turn_rollups_off.only(&[Kind::Sqlite]),
    the_command_verifies_and_rebuilds,
    a_read_only_server_counts_calls,
}

/// A server with a job that folds any number of calls.
pub async fn start(database: &TestDatabase) -> TestApp {
    TestApp::start_with(database, |config| {
        (config.database.rollups, config.database.rollup_from_calls) = (true, 0);
    })
    .await
}

const ROLLUPS: &str = "{ serverInfo { rollups { enabled since lagRows rows } } }";

/// Waits until the job has folded all calls.
pub async fn folded(app: &TestApp) -> Value {
    until("all calls are folded", async || {
        let rollups = app.data(ROLLUPS).await["serverInfo"]["rollups"].clone();
        let is_folded = rollups["enabled"] == true && rollups["lagRows"] == 0;
        is_folded.then_some(rollups)
    })
    .await
}

async fn a_server_folds_calls_and_reports_it(database: TestDatabase) {
    let app = start(&database).await;
    let calls = |minute: u32| CallRow::at(&format!("2026-03-01T11:{minute:02}:30Z"));
    database.insert(&(0..40).map(calls).collect::<Vec<_>>()).await;
    let rollups = folded(&app).await;
    assert_eq!(rollups["since"], "2026-03-01T00:00:00Z");
    // 40 minutes, one hour and one day with the key and without.
    assert_eq!(rollups["rows"], 44);
    let query = "{ usageStats { lastHour { total } } }";
    let statements = app.sql(query).await;
    let has_cells = |sql: &String| sql.contains("callscope_rollup_cells");
    assert!(statements.len() == 1 && statements.iter().all(has_cells), "{statements:?}");
    assert_eq!(app.data(query).await["usageStats"]["lastHour"]["total"], 40);
    // The calls are visible in cells before the job has the answer to its COMMIT.
    until("the folded calls are counted in the metrics", async || {
        app.metrics().await.contains("callscope_rollup_calls_total 40").then_some(())
    })
    .await;
    app.shutdown().await;
}

async fn statistics_outlive_the_calls(database: TestDatabase) {
    let app = start(&database).await;
    database
        .insert(&[
            CallRow::at("2026-01-05T10:15:00Z").key("key-old").model("old"),
            CallRow::at("2026-01-05T10:45:00Z").key("key-old").model("old").status(500),
            CallRow::at("2026-03-01T11:00:00Z").key("key-new"),
        ])
        .await;
    folded(&app).await;
    let prune = "mutation { pruneLogs(callsOlderThan: \"P10D\") { deletedCalls } }";
    assert_eq!(app.data(prune).await["pruneLogs"]["deletedCalls"], 2);
    assert_eq!(database.count("t_request_log").await, 1);
    let january = "between: { since: \"2026-01-01T00:00:00Z\", until: \"2026-02-01T00:00:00Z\" }";
    let data = app
        .data(&format!(
            "{{ groups: callGroups(by: [MODEL, STATUS_CODE], {january}) {{
                model statusCode counts {{ total }} latency {{ count max }} }}
              series: callSeries({january}, interval: \"P31D\") {{ counts {{ total failure }} }}
              list: callDetails({january}) {{ totalCount nodes {{ id }} }}
              apiKeys {{ nodes {{ masked firstSeenAt lastSeenAt counts({january}) {{ total }} }} }} }}"
        ))
        .await;
    let group = |code: u32| {
        json!({ "model": "old", "statusCode": code, "counts": { "total": 1 },
            "latency": { "count": 1, "max": 100 } })
    };
    assert_eq!(data["groups"], json!([group(200), group(500)]));
    let in_series = |field: &str| -> i64 {
        let buckets = data["series"].as_array().unwrap().iter();
        buckets.map(|bucket| bucket["counts"][field].as_i64().unwrap()).sum()
    };
    assert_eq!((in_series("total"), in_series("failure")), (2, 1));
    assert_eq!(data["list"], json!({ "totalCount": 0, "nodes": [] }));
    let keys = data["apiKeys"]["nodes"].as_array().unwrap();
    let old = keys.iter().find(|key| key["counts"]["total"] == 2).unwrap();
    assert_eq!(old["firstSeenAt"], "2026-01-05T10:15:00Z");
    assert_eq!(keys.len(), 2);
    app.shutdown().await;
}

async fn a_window_among_deleted_calls_is_rounded_with_a_warning(database: TestDatabase) {
    let app = start(&database).await;
    database
        .insert(&[
            CallRow::at("2026-01-05T10:15:00Z"),
            CallRow::at("2026-01-05T10:45:00Z"),
            CallRow::at("2026-03-01T11:00:00Z"),
        ])
        .await;
    folded(&app).await;
    // By the gateway.
    database.execute("DELETE FROM t_request_log WHERE request_time < '2026-02-01 00:00:00'").await;
    let total = |since: &str| {
        format!(
            "{{ callGroups(by: [STATUS], between: {{ since: \"{since}\", until: \"2026-03-01T12:00:00Z\" }}) \
             {{ counts {{ total }} }} }}"
        )
    };
    let cut = app.graphql(&total("2026-01-05T10:30:00Z")).await;
    assert_eq!(cut["data"]["callGroups"][0]["counts"]["total"], 3, "{cut}");
    assert_eq!(cut["extensions"]["warnings"][0]["code"], "WINDOW_ROUNDED", "{cut}");
    // Numbers of deleted calls are kept for whole hours, and not by latency.
    for query in [
        "{ callSeries(between: { since: \"2026-01-05T10:00:00Z\", until: \"2026-01-05T11:00:00Z\" }, \
         interval: \"PT15M\") { counts { total } } }",
        "{ callGroups(by: [STATUS], between: { since: \"2026-01-05T10:00:00Z\", \
         until: \"2026-01-05T11:00:00Z\" }, filter: { minLatencyMs: 1 }) { counts { total } } }",
    ] {
        let missing = app.graphql(query).await;
        let code = &missing["extensions"]["warnings"][0]["code"];
        assert_eq!(*code, "DELETED_CALLS_MISSING", "{missing}");
    }
    for (since, expected) in [("2026-01-05T10:00:00Z", 3), ("2026-01-05T11:00:00Z", 1)] {
        let whole = app.graphql(&total(since)).await;
        assert_eq!(whole["data"]["callGroups"][0]["counts"]["total"], expected, "{whole}");
        assert_eq!(whole.get("extensions"), None, "{whole}");
    }
    app.shutdown().await;
}

async fn percentiles_of_long_windows_are_close_and_say_so(database: TestDatabase) {
    let app = start(&database).await;
    let call = |number: i32| {
        CallRow::at(&format!("2026-03-01T{:02}:30:00Z", number % 12))
            .latency(number * number % 30_011)
    };
    database.insert(&(0..300).map(call).collect::<Vec<_>>()).await;
    let fields = "latency { count avg min p50 p90 p95 p99 max relativeError }";
    let groups =
        |period: &str| format!("{{ callGroups(by: [STATUS], period: {period}) {{ {fields} }} }}");
    folded(&app).await;
    let found = app.data(&groups("LAST_24_HOURS")).await["callGroups"][0]["latency"].clone();
    let off = TestApp::start(&database).await;
    let exact = off.data(&groups("LAST_24_HOURS")).await["callGroups"][0]["latency"].clone();
    for same in ["count", "avg", "min", "max"] {
        assert_eq!(found[same], exact[same], "{same}");
    }
    assert_eq!(
        (&exact["relativeError"], &found["relativeError"]),
        (&json!(0.0), &json!(0.0078125))
    );
    for percentile in ["p50", "p90", "p95", "p99"] {
        let (found, exact) =
            (found[percentile].as_f64().unwrap(), exact[percentile].as_f64().unwrap());
        assert!((found - exact).abs() <= exact * 0.0078125, "{percentile}: {found}, {exact}");
    }
    let short = app.data(&groups("LAST_HOUR")).await;
    assert_eq!(short["callGroups"][0]["latency"]["relativeError"], 0.0);
    app.shutdown().await;
    off.shutdown().await;
}

async fn calls_that_cannot_be_folded_are_counted(database: TestDatabase) {
    let off = TestApp::start(&database).await;
    database
        .insert(&[
            CallRow::at("2026-03-01T10:00:00Z"),
            CallRow::at_stored("2026-03-01T10:30:00"),
            CallRow::at_stored("2026-03-01 10:30:00Z"),
            CallRow::at_stored("2026-03-01 10:30:00.5").status("Server disconnected"),
            CallRow::at_stored("soon"),
            CallRow::at_stored(NULL),
        ])
        .await;
    database.execute("UPDATE t_request_log SET api_key = x'ff00' WHERE id = 1").await;
    let app = start(&database).await;
    folded(&app).await;
    let query = "{ usageStats { last(duration: \"PT3H\") { total success } last24Hours { total } }
        callGroups(by: [API_KEY, STATUS_CODE], period: LAST_24_HOURS) { statusCode counts { total } } }";
    assert_eq!(app.data(query).await, off.data(query).await);
    assert_eq!(database.count("callscope_rollup_gaps").await, 4);
    app.shutdown().await;
    off.shutdown().await;
}

async fn changed_calls_are_found_and_folded_again(database: TestDatabase) {
    let app = start(&database).await;
    database
        .insert(&[CallRow::at("2026-02-27T10:00:00Z"), CallRow::at("2026-02-28T10:00:00Z")])
        .await;
    folded(&app).await;
    app.shutdown().await;
    let mut config = database.config();
    (config.rollups, config.rollup_from_calls) = (true, 0);
    let db = Database::open(&config).await.unwrap();
    let until = "2026-03-01T00:00:00Z".parse().unwrap();
    let verify = async || rollup::verify(&db, None, until).await.unwrap();
    let verified = verify().await;
    assert_eq!((verified.days, verified.calls, verified.differences.len()), (2, 2, 0));
    let ids = database.ids("t_request_log").await;
    database
        .execute(&format!("UPDATE t_request_log SET status_code = 500 WHERE id = {}", ids[0]))
        .await;
    let verified = verify().await;
    assert!(verified.differences[0].starts_with("2026-02-27"), "{verified:?}");
    rollup::request_rebuild(&db).await.unwrap();
    let mut folder = Folder::default();
    while folder.fold(&db, 1_772_366_400_000_000, 10).await.unwrap().more {}
    assert_eq!(verify().await.differences, [""; 0]);
    db.close().await.unwrap();
}

async fn damaged_latencies_are_an_error(database: TestDatabase) {
    let app = start(&database).await;
    database.insert(&[CallRow::at("2026-03-01T02:00:00Z")]).await;
    folded(&app).await;
    database.execute("UPDATE callscope_rollup_cells SET latencies = '*'").await;
    let query =
        "{ callGroups(by: [STATUS], period: LAST_24_HOURS) { counts { total } latency { p50 } } }";
    assert_eq!(error_code(&app.graphql(query).await), "INTERNAL");
    app.shutdown().await;
}

/// SQLite assigns the ids of an emptied table again, also those of calls that could not be folded.
async fn ids_of_an_emptied_table_are_counted_once(database: TestDatabase) {
    // The tables of Callscope never assign an id twice.
    database.execute(gateway::ddl(database.kind())).await;
    let app = start(&database).await;
    database.insert(&[CallRow::at_stored("2026-03-01 10:00:00Z")]).await;
    folded(&app).await;
    assert_eq!(database.count("callscope_rollup_gaps").await, 1);
    database.execute("DELETE FROM t_request_log").await;
    eventually("the job finds the empty table", async || {
        database.count("callscope_rollup_gaps").await == 0
    })
    .await;
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z")]).await;
    assert_eq!(database.ids("t_request_log").await, [1]);
    for _ in 0..2 {
        let query = "{ usageStats { lastHour { total } } }";
        assert_eq!(app.data(query).await["usageStats"]["lastHour"]["total"], 1);
        folded(&app).await;
    }
    app.shutdown().await;
}

async fn many_calls_that_cannot_be_folded_turn_rollups_off(database: TestDatabase) {
    let app = start(&database).await;
    let unfoldable = || vec![CallRow::at_stored("2026-03-01 10:00:00Z"); 600];
    database.insert_unwatched(&unfoldable()).await;
    folded(&app).await;
    // Deleted ones do not count.
    database.execute("DELETE FROM t_request_log WHERE id <= 500").await;
    database.insert_unwatched(&unfoldable()).await;
    folded(&app).await;
    assert_eq!(database.count("callscope_rollup_gaps").await, 700);
    database.insert_unwatched(&unfoldable()).await;
    eventually("rollups are off", async || {
        app.data(ROLLUPS).await["serverInfo"]["rollups"]["enabled"] == false
    })
    .await;
    let (last, all) = (
        "last(duration: \"P2D\") { total }",
        "{ usageStats { last(duration: \"P9D\") { total } } }",
    );
    let query = format!("{{ usageStats {{ {last} }} }}");
    assert_eq!(app.data(&query).await["usageStats"]["last"]["total"], 1300);
    assert_eq!(app.data(all).await["usageStats"]["last"]["total"], 1300);
    app.shutdown().await;
}

/// A server of an older version folds without cells of days.
async fn older_servers_may_fold_meanwhile(database: TestDatabase) {
    let app = start(&database).await;
    let call = |day: u32, hour: u32| CallRow::at(&format!("2026-02-{day:02}T{hour:02}:00:00Z"));
    database.insert(&[call(1, 10), call(2, 10), call(3, 10)]).await;
    folded(&app).await;
    let month = "between: { since: \"2026-02-01T00:00:00Z\", until: \"2026-03-01T00:00:00Z\" }";
    let query = format!("{{ callSeries({month}, interval: \"P1D\") {{ counts {{ total }} }} }}");
    let total = async || -> i64 {
        let data = app.data(&query).await;
        let days = data["callSeries"].as_array().unwrap().iter();
        days.map(|day| day["counts"]["total"].as_i64().unwrap()).sum()
    };
    let of_days = "SELECT COALESCE(SUM(total), 0) FROM callscope_rollup_cells WHERE level = 5";
    assert_eq!(total().await, 3);
    assert_eq!(database.value(of_days).await, 3);
    // It folds a fourth call into the cells of hours.
    database
        .execute("DELETE FROM callscope_rollup_cells WHERE level = 5 AND start < 1769990400")
        .await;
    database.execute("UPDATE callscope_rollup_state SET version = version + 1").await;
    assert_eq!(total().await, 3);
    database.insert(&[call(2, 11), call(20, 10), call(20, 11)]).await;
    folded(&app).await;
    assert_eq!(total().await, 6);
    // From the first day without any call of before.
    assert_eq!(database.value(of_days).await, 2 + 2);
    app.shutdown().await;
    assert_eq!(command(&database, "rebuild").0, Some(0));
    assert_eq!(database.value(of_days).await, 6);
    let (code, text) = command(&database, "verify");
    assert!(code == Some(0) && text.contains(", 6 calls"), "{text}");
}

/// A call that is folded already is not read again, and neither is any other single call.
async fn statements_read_few_rows(database: TestDatabase) {
    let app = start(&database).await;
    let call = |number: i32| {
        CallRow::at(&format!("2026-02-{:02}T10:00:00Z", 1 + number % 28)).key("AIza-the-first-key")
    };
    database.insert(&(0..500).map(call).collect::<Vec<_>>()).await;
    folded(&app).await;
    let month = "between: { since: \"2026-02-01T00:00:00Z\", until: \"2026-03-01T00:00:00Z\" }";
    database.execute("UPDATE t_request_log SET api_key = 'changed'").await;
    let query = format!(
        "{{ callGroups(by: [API_KEY], {month}) {{ apiKey {{ masked }} counts {{ total }} }} }}"
    );
    let groups = app.data(&query).await["callGroups"].clone();
    assert_eq!(
        groups,
        json!([{ "apiKey": { "masked": "AIza...-key" }, "counts": { "total": 500 } }])
    );
    app.shutdown().await;
}

/// The exit code and the output of `callscope rollup`.
fn command(database: &TestDatabase, command: &str) -> (Option<i32>, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_callscope"))
        .env_clear()
        .args(["rollup", command, "--database-url", database.url()])
        .output()
        .unwrap();
    let text = [run.stdout, run.stderr].concat();
    (run.status.code(), String::from_utf8(text).unwrap())
}

async fn the_command_verifies_and_rebuilds(database: TestDatabase) {
    let (code, text) = command(&database, "status");
    assert!(code == Some(1) && text.contains("no server has folded calls"), "{text}");
    let app = start(&database).await;
    database.insert(&[CallRow::at("2026-02-28T10:00:00Z")]).await;
    folded(&app).await;
    app.shutdown().await;
    let (code, text) = command(&database, "status");
    assert!(code == Some(0) && text.contains("state           ready"), "{text}");
    assert!(text.contains("folded calls    1\n"), "{text}");
    database.execute("UPDATE callscope_rollup_cells SET total = 7").await;
    let (code, text) = command(&database, "verify");
    assert!(code == Some(1) && text.contains("2026-02-28, by key: 7 calls"), "{text}");
    let (code, text) = command(&database, "rebuild");
    assert!(code == Some(0) && text.contains("folded 1 calls"), "{text}");
    let (code, text) = command(&database, "verify");
    assert!(code == Some(0) && text.ends_with(" 1 calls\n"), "{text}");
}

async fn a_read_only_server_counts_calls(database: TestDatabase) {
    let app = start(&database).await;
    database.insert(&[CallRow::at("2026-02-28T10:00:00Z")]).await;
    folded(&app).await;
    let read_only = TestApp::start_read_only(&database).await;
    database.execute("UPDATE callscope_rollup_cells SET total = 7").await;
    let query = "{ usageStats { last(duration: \"P2D\") { total } } }";
    assert_eq!(read_only.data(query).await["usageStats"]["last"]["total"], 1);
    assert_eq!(read_only.data(ROLLUPS).await["serverInfo"]["rollups"]["enabled"], false);
    assert_eq!(app.data(query).await["usageStats"]["last"]["total"], 7);
    app.shutdown().await;
    read_only.shutdown().await;
}

const KEYS: [Option<&str>; 4] = [Some("key-a"), Some("KEY-A"), Some("密钥"), None];
const MODELS: [Option<&str>; 3] = [Some("pro"), Some("flash"), None];
const CODES: [Option<i32>; 5] = [Some(200), Some(299), Some(429), Some(500), None];

/// A call as the test remembers it.
#[derive(Clone, Debug)]
struct Call {
    id: i32,
    at: DateTime<Utc>,
    key: Option<&'static str>,
    model: Option<&'static str>,
    code: Option<i32>,
    latency: Option<i32>,
    is_deleted: bool,
}

impl Call {
    fn is_success(&self) -> bool {
        self.code.is_some_and(|code| (200..300).contains(&code))
    }

    fn row(&self) -> CallRow {
        CallRow::at_stored(self.at)
            .id(self.id)
            .key(self.key.map_or(NULL, Into::into))
            .model(self.model.map_or(NULL, Into::into))
            .status(self.code.map_or(NULL, Into::into))
            .latency(self.latency.map_or(NULL, Into::into))
    }
}

/// A database with a gateway that writes, two servers that fold, and what they should find.
struct World<'a> {
    database: &'a TestDatabase,
    servers: [Arc<Database>; 2],
    folders: [Folder; 2],
    random: StdRng,
    calls: Vec<Call>,
    /// Calls with ids that are taken; they are committed later.
    late: Vec<Call>,
    next_id: i32,
    now: DateTime<Utc>,
    /// Earlier calls are deleted.
    deleted_before: DateTime<Utc>,
    /// Windows that start or end before are rounded.
    exact_from: DateTime<Utc>,
}

/// The seeds of a run, and the number of steps of each: more with these variables, for long runs.
fn runs() -> (u64, u64, u32) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("CALLSCOPE_TEST_ROLLUP_SEED").unwrap_or(1);
    let seeds = number("CALLSCOPE_TEST_ROLLUP_SEEDS").unwrap_or(2);
    (first, seeds, 60)
}

async fn sums_equal_a_plain_count_at_every_moment(database: TestDatabase) {
    let mut config = database.config();
    (config.rollups, config.rollup_from_calls) = (true, 0);
    let servers = [
        Arc::new(Database::open(&config).await.unwrap()),
        Arc::new(Database::open(&config).await.unwrap()),
    ];
    let (first, seeds, steps) = runs();
    for seed in first..first + seeds {
        for table in [
            "t_request_log",
            "callscope_rollup_state",
            "callscope_rollup_gaps",
            "callscope_rollup_cells",
            "callscope_rollup_series",
        ] {
            database.execute(&format!("DELETE FROM {table}")).await;
        }
        let mut world = World {
            database: &database,
            servers: servers.clone(),
            folders: [Folder::default(), Folder::default()],
            random: StdRng::seed_from_u64(seed),
            calls: vec![],
            late: vec![],
            next_id: 1,
            now: "2026-03-10T12:00:00Z".parse().unwrap(),
            deleted_before: DateTime::UNIX_EPOCH,
            exact_from: DateTime::UNIX_EPOCH,
        };
        for step in 0..steps {
            world.step().await;
            world.check(&format!("seed {seed}, step {step}")).await;
        }
        world.fold_all().await;
        let verified = rollup::verify(&servers[0], None, world.now).await.unwrap();
        assert!(verified.differences.is_empty(), "seed {seed}: {:?}", verified.differences);
        for server in &servers {
            let observed = rollup::refresh(server).await.unwrap().unwrap();
            assert!(matches!(observed.state.phase, Phase::Ready | Phase::First));
        }
    }
    for server in servers {
        server.close().await.unwrap();
    }
}

impl World<'_> {
    async fn step(&mut self) {
        self.now += TimeDelta::seconds(self.random.random_range(1..60));
        match self.random.random_range(0..21) {
            0..7 => self.insert().await,
            7..9 => self.commit_late().await,
            9..14 => self.fold().await,
            14..16 => self.kill_a_fold().await,
            16 => self.prune().await,
            17 => self.clean_up().await,
            18 => self.rebuild().await,
            19 => self.forget_days().await,
            _ => self.fold_all().await,
        }
    }

    fn server(&mut self) -> Arc<Database> {
        self.servers.choose(&mut self.random).unwrap().clone()
    }

    /// Some calls, mostly new ones; some ids are committed later.
    async fn insert(&mut self) {
        let has_late = self.database.kind() != Kind::Sqlite;
        let mut rows = vec![];
        for _ in 0..self.random.random_range(1..60) {
            let age = match self.random.random_range(0..10) {
                0 => TimeDelta::days(self.random.random_range(0..400)),
                1 | 2 => TimeDelta::hours(self.random.random_range(0..100)),
                _ => TimeDelta::zero(),
            };
            let at = self.now - age - TimeDelta::milliseconds(self.random.random_range(0..100_000));
            let call = Call {
                id: self.next_id,
                at: at.max(self.deleted_before),
                key: *KEYS.choose(&mut self.random).unwrap(),
                model: *MODELS.choose(&mut self.random).unwrap(),
                code: *CODES.choose(&mut self.random).unwrap(),
                latency: self.random.random_bool(0.9).then(|| self.random.random_range(-5..90_000)),
                is_deleted: false,
            };
            self.next_id += 1;
            if has_late && self.random.random_bool(0.1) {
                self.late.push(call);
            } else {
                rows.push(call.row());
                self.calls.push(call);
            }
        }
        self.database.insert_unwatched(&rows).await;
    }

    async fn commit_late(&mut self) {
        let late = std::mem::take(&mut self.late);
        let (now, later): (Vec<Call>, Vec<Call>) =
            late.into_iter().partition(|_| self.random.random_bool(0.5));
        let rows: Vec<CallRow> = now.iter().map(Call::row).collect();
        self.database.insert_unwatched(&rows).await;
        self.calls.extend(now);
        self.late = later;
    }

    fn stored_now(&self) -> i64 {
        self.now.timestamp_micros()
    }

    async fn fold(&mut self) {
        let most = self.random.random_range(1..80);
        self.fold_most(most).await;
    }

    /// A step of one of the servers; returns whether there is more.
    async fn fold_most(&mut self, most: u64) -> bool {
        let (now, one) = (self.stored_now(), self.random.random_range(0..2));
        self.folders[one].fold(&self.servers[one], now, most).await.unwrap().more
    }

    async fn fold_all(&mut self) {
        while self.fold_most(500).await {}
    }

    /// A fold that is dropped at any await.
    async fn kill_a_fold(&mut self) {
        let limit = Duration::from_micros(self.random.random_range(0..8000));
        let (now, one) = (self.stored_now(), self.random.random_range(0..2));
        let fold = self.folders[one].fold(&self.servers[one], now, 80);
        if let Ok(folded) = tokio::time::timeout(limit, fold).await {
            folded.unwrap();
        }
    }

    /// As if a server of an older version, which has no cells of days without keys, had folded all calls.
    async fn forget_days(&mut self) {
        self.database.execute("DELETE FROM callscope_rollup_cells WHERE level = 5").await;
        self.database
            .execute("UPDATE callscope_rollup_state SET days_version = days_version - 1")
            .await;
    }

    async fn prune(&mut self) {
        let before = self.cutoff();
        let cutoffs = Cutoffs { now: self.now, calls: Some(before), error_logs: None };
        let (server, tally) = (self.server(), Tally::default());
        let pace = Pace::foreground(&server);
        assert!(prune::prune(&server, cutoffs, pace, &tally, &|| false).await.unwrap());
        self.forget(before).await;
    }

    /// The gateway deletes old calls, which are folded already.
    async fn clean_up(&mut self) {
        self.fold_all().await;
        let before = self.cutoff();
        let text = before.format("%Y-%m-%d %H:%M:%S%.6f");
        self.database
            .execute(&format!("DELETE FROM t_request_log WHERE request_time < '{text}'"))
            .await;
        self.forget(before).await;
    }

    fn cutoff(&mut self) -> DateTime<Utc> {
        let age = TimeDelta::seconds(self.random.random_range(0..40 * 86_400));
        (self.now - age).max(self.deleted_before)
    }

    /// Calls before were deleted.
    async fn forget(&mut self, before: DateTime<Utc>) {
        self.deleted_before = before;
        let ids = self.database.ids("t_request_log").await;
        for call in &mut self.calls {
            call.is_deleted = !ids.contains(&call.id.into());
            assert!(!call.is_deleted || call.at < before);
        }
        assert!(self.calls.iter().all(|call| call.is_deleted || call.at >= before));
        if self.calls.iter().max_by_key(|call| call.id).is_some_and(|last| last.is_deleted) {
            // Its id may be used again: the rollups are rebuilt.
            self.fold_all().await;
        }
        let left = self.calls.iter().filter(|call| !call.is_deleted).map(|call| call.at).min();
        let from = self.exact_from.max(left.unwrap_or(self.now)).max(before);
        // The hour has calls of both sides.
        self.exact_from = (from + TimeDelta::hours(1)).duration_trunc(TimeDelta::hours(1)).unwrap();
        // A call of a deleted time would change a cell that the windows of the test cut.
        self.late.iter_mut().for_each(|call| call.at = call.at.max(before));
    }

    async fn rebuild(&mut self) {
        self.fold_all().await;
        let server = self.server();
        rollup::request_rebuild(&server).await.unwrap();
        self.fold_all().await;
        for server in &self.servers {
            rollup::refresh(server).await.unwrap();
        }
    }

    /// A window between days, or between times from which all calls exist.
    fn window(&mut self) -> Window {
        let mut end = || {
            let age =
                TimeDelta::microseconds(self.random.random_range(0..500 * 86_400 * 1_000_000));
            let age = if self.random.random_bool(0.5) { age / 100 } else { age };
            let at = self.now - age;
            let day = at.date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
            if at < self.exact_from || self.random.random_bool(0.3) { day } else { at }
        };
        let (one, other) = (end(), end());
        Window { since: one.min(other), until: one.max(other) }
    }

    async fn check(&mut self, step: &str) {
        let server = self.server();
        // The job of a server does this every second.
        if self.random.random_bool(0.5) {
            rollup::refresh(&server).await.unwrap();
        }
        let windows = [self.window(), self.window(), self.window()];
        let key = KEYS.choose(&mut self.random).unwrap().map(str::to_owned);
        let queries: Vec<CountQuery> =
            windows.iter().map(|window| CountQuery { window: *window, key: key.clone() }).collect();
        let counts = usage::counts(&server, &queries).await.unwrap();
        for (query, counts) in queries.iter().zip(counts) {
            let expected = self.expected(query.window, |call| {
                query.key.is_none() || call.key == query.key.as_deref()
            });
            let found = (counts.total, counts.success);
            assert_eq!(found, expected, "{step}: {query:?}, exact from {}", self.exact_from);
        }
        self.check_groups(&server, windows[0], step).await;
        self.check_series(&server, windows[1], step).await;
        self.check_list(&server, windows[2], step).await;
    }

    fn expected(&self, window: Window, filter: impl Fn(&Call) -> bool) -> (i64, i64) {
        let inside = |call: &&Call| (window.since..window.until).contains(&call.at) && filter(call);
        let calls: Vec<&Call> = self.calls.iter().filter(inside).collect();
        let success = calls.iter().filter(|call| call.is_success()).count();
        (calls.len() as i64, success as i64)
    }

    async fn check_groups(&mut self, server: &Database, window: Window, step: &str) {
        let all = [CallDimension::ApiKey, CallDimension::Model, CallDimension::StatusCode];
        let by: Vec<CallDimension> =
            all.into_iter().filter(|_| self.random.random_bool(0.5)).collect();
        let by = if by.is_empty() { vec![CallDimension::Success] } else { by };
        let models = self.random.random_bool(0.3).then(|| vec!["pro".to_owned()]);
        let mut excludes = || self.random.random_bool(0.2);
        let excluded =
            (excludes().then_some("key-a"), excludes().then_some("pro"), excludes().then_some(200));
        let latency = self.random.random_bool(0.5);
        let texts = |text: Option<&str>| text.into_iter().map(str::to_owned).collect();
        let query = GroupQuery {
            scope: CallScope {
                models: models.clone(),
                exclude_keys: texts(excluded.0),
                exclude_models: texts(excluded.1),
                exclude_status_codes: excluded.2.into_iter().collect(),
                ..CallScope::of(window)
            },
            by: by.clone(),
            order: GroupOrder::Total,
            limit: 1000,
            latency,
        };
        let has = |dimension| by.contains(&dimension);
        let mut expected: BTreeMap<_, (i64, i64, i64, i64)> = BTreeMap::new();
        for call in &self.calls {
            let is_model = models.is_none() || call.model == Some("pro");
            let is_excluded = excluded.0.is_some_and(|key| call.key == Some(key))
                || excluded.1.is_some_and(|model| call.model == Some(model))
                || excluded.2.is_some_and(|code| call.code == Some(code));
            if !(window.since..window.until).contains(&call.at) || !is_model || is_excluded {
                continue;
            }
            let group = (
                call.key.filter(|_| has(CallDimension::ApiKey)).map(str::to_owned),
                call.model.filter(|_| has(CallDimension::Model)).map(str::to_owned),
                call.code.filter(|_| has(CallDimension::StatusCode)),
                has(CallDimension::Success).then_some(call.is_success()),
            );
            let sums = expected.entry(group).or_default();
            sums.0 += 1;
            sums.1 += i64::from(call.is_success());
            if latency && let Some(latency) = call.latency {
                sums.2 += 1;
                sums.3 += i64::from(latency);
            }
        }
        let groups = call_group::groups(server, &query).await.unwrap();
        let mut found = BTreeMap::new();
        let mut last = i64::MAX;
        for group in groups {
            let counts = group.stats.counts;
            assert!(counts.total <= last, "{step}: groups are sorted");
            last = counts.total;
            let latencies = group.stats.latency;
            let sum = latencies.avg.map_or(0.0, |avg| avg * latencies.count as f64).round() as i64;
            let label = (group.key, group.model, group.status_code, group.success);
            found.insert(label, (counts.total, counts.success, latencies.count, sum));
        }
        assert_eq!(found, expected, "{step}: groups of {query:?}");
    }

    async fn check_series(&mut self, server: &Database, window: Window, step: &str) {
        let length = *[TimeDelta::hours(1), TimeDelta::days(1), TimeDelta::minutes(7)]
            .choose(&mut self.random)
            .unwrap();
        let since = window.since.max(self.exact_from).date_naive().and_time(chrono::NaiveTime::MIN);
        let mut bounds = vec![since.and_utc()];
        while bounds.len() < 100 && bounds[bounds.len() - 1] < window.until {
            bounds.push(bounds[bounds.len() - 1] + length);
        }
        let is_cut = length < TimeDelta::hours(1) && since.and_utc() < self.exact_from;
        if bounds.len() < 2 || is_cut {
            return;
        }
        let whole = Window { since: bounds[0], until: bounds[bounds.len() - 1] };
        let stats =
            call_group::series(server, &CallScope::of(whole), &bounds, false).await.unwrap();
        for (ends, stats) in bounds.windows(2).zip(stats) {
            let bucket = Window { since: ends[0], until: ends[1] };
            // The day of the first deletion has calls of both sides.
            let has_both = (bucket.since..bucket.until).contains(&self.exact_from);
            if has_both && length < TimeDelta::days(1) {
                continue;
            }
            let found = (stats.counts.total, stats.counts.success);
            assert_eq!(found, self.expected(bucket, |_| true), "{step}: {bucket:?}");
        }
    }

    async fn check_list(&mut self, server: &Database, window: Window, step: &str) {
        let scopes = [
            CallScope::of(window),
            CallScope { keys: Some(vec!["key-a".to_owned()]), ..CallScope::of(window) },
        ];
        let found = call_count::count_many(server, &scopes).await.unwrap();
        let expected = [None, Some("key-a")].map(|key| {
            self.expected(window, |call| !call.is_deleted && (key.is_none() || call.key == key)).0
        });
        assert_eq!(found, expected, "{step}: the list of {window:?}");
    }
}
