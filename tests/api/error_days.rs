//! Groups of error logs from days that are counted: the same as those of single rows at every moment.

use callscope::store::classification;
use callscope::store::error_days::{self, DayCounter};
use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::bad_data::{insert_at, invalid_times, unusual_times};
use crate::support::{ErrorRow, Kind, NOW, NULL, TestApp, TestDatabase, eventually};
use crate::tests;

tests! {
    groups_of_counted_days_are_those_of_rows,
    a_change_of_old_rows_shows_at_once,
    days_of_older_rules_are_not_used,
    bytes_are_not_counted.only(&[Kind::Sqlite]),
    long_filters_read_rows,
    another_collation_changes_nothing.only(&[Kind::MariaDb]),
    unusual_times_do_not_stop_the_count,
    days_without_rows_are_forgotten,
    random_changes_show_at_once,
    the_job_counts_the_days_that_have_ended,
    ids_that_are_used_again_are_noticed.only(&[Kind::Sqlite]),
    an_interrupted_count_changes_nothing,
}

const ROWS: i64 = 8_700;

/// Error logs of six days before [`NOW`], one every minute.
async fn fill(database: &TestDatabase) {
    let now: DateTime<Utc> = NOW.parse().unwrap();
    let rows: Vec<ErrorRow> = (0..ROWS)
        .map(|number| {
            let of = |values: [&'static str; 3], step: i64| values[(number / step % 3) as usize];
            let row = ErrorRow::at_stored(now - TimeDelta::seconds(60 * number + 1))
                .key(of(["a", "b", "A"], 1))
                .model(of(["pro", "flash", "lite"], 5))
                .error_type(of(["chat", "embed", "list"], 11))
                .log(of(["Quota exceeded: requests per day", "The model is overloaded", "?"], 3))
                .code([429, 503, 400][(number / 3 % 3) as usize]);
            match number % 31 {
                0 => row.key(NULL),
                1 => row.model(NULL).error_type(NULL),
                2 => row.code(NULL),
                _ => row,
            }
        })
        .collect();
    database.insert(&rows).await;
}

fn now(app: &TestApp) -> i64 {
    app.clock.now().timestamp_micros()
}

/// Classifies all error logs and counts all days that have ended; returns their number.
async fn count_days(app: &TestApp) -> u32 {
    classification::add_all(app.db()).await.unwrap();
    let (mut counter, mut counted) = (DayCounter::default(), 0);
    while counter.step(app.db(), now(app)).await.unwrap() {
        counted += 1;
    }
    app.db().failures().set_has_days(true);
    counted
}

/// Compares each day with its rows once; returns how many were counted again.
async fn compare_days(app: &TestApp) -> u32 {
    let mut counter = DayCounter::default();
    let mut counted = 0;
    for _ in 0..20 {
        counted += u32::from(counter.step(app.db(), now(app)).await.unwrap());
    }
    counted
}

const FIELDS: &str = "{ apiKey { secret } model errorType errorCode failureClass messageTemplate { id } count \
    firstSeenAt lastSeenAt latest { databaseId } }";

/// Queries with other dimensions, filters and windows, and whether cells can answer them.
fn queries() -> Vec<(String, bool)> {
    let mut queries = vec![];
    let all = "API_KEY, MODEL, ERROR_TYPE, ERROR_CODE, FAILURE_CLASS, MESSAGE_TEMPLATE";
    for by in ["API_KEY", "ERROR_CODE", "FAILURE_CLASS", "MODEL, ERROR_TYPE", all] {
        for (filter, uses_cells) in [
            ("", true),
            ("since: \"2026-02-23T17:21:09Z\", until: \"2026-03-01T03:04:05.678Z\"", true),
            ("since: \"2026-02-24T00:00:00Z\"", true),
            ("until: \"2026-03-01T00:00:00Z\"", true),
            ("models: [\"pro\"], errorCodes: [429, 400]", true),
            (
                "excludeModels: [\"pro\"], excludeErrorCodes: [503], excludeErrorTypes: [\"chat\"]",
                true,
            ),
            ("failureClasses: [QUOTA_DAY]", true),
            ("excludeFailureClasses: [QUOTA_DAY], errorTypes: [\"embed\", \"none\"]", true),
            ("failureClasses: []", true),
            ("excludeMessageTemplates: [\"t1-0000000000000000\"]", true),
            ("contains: \"OVERLOADED\"", false),
            // Found by the index of keys.
            ("keyContains: \"a\"", false),
            ("since: \"2026-02-28T13:00:00Z\"", false),
        ] {
            let query = format!(
                "{{ errorGroups(by: [{by}], filter: {{ {filter} }}, first: 300) {FIELDS} }}"
            );
            queries.push((query, uses_cells));
        }
    }
    queries
}

async fn uses_cells(app: &TestApp, query: &str) -> bool {
    // Not a statement of the job.
    let is_of_query =
        |sql: &String| sql.starts_with("SELECT") && sql.contains("callscope_error_cells");
    app.sql(query).await.iter().any(is_of_query)
}

/// The groups, in an order that no tie changes.
async fn groups(app: &TestApp, query: &str) -> Vec<String> {
    let data = app.data(query).await;
    let mut groups: Vec<String> =
        data["errorGroups"].as_array().unwrap().iter().map(Value::to_string).collect();
    groups.sort();
    groups
}

/// Compares the groups of days with those of rows.
async fn check(app: &TestApp, query: &str, change: &str) {
    let found = groups(app, query).await;
    app.db().failures().set_has_days(false);
    let expected = groups(app, query).await;
    app.db().failures().set_has_days(true);
    assert_eq!(found, expected, "{change}: {query}");
}

async fn groups_of_counted_days_are_those_of_rows(database: TestDatabase) {
    fill(&database).await;
    let app = TestApp::start(&database).await;
    // From February 23 to February 28.
    assert_eq!(count_days(&app).await, 6);
    assert_eq!(compare_days(&app).await, 0);
    assert_eq!(database.count("callscope_error_days").await, 6);
    for (query, can_use_cells) in queries() {
        assert_eq!(uses_cells(&app, &query).await, can_use_cells, "{query}");
        check(&app, &query, "unchanged").await;
    }
    let largest =
        "{ errorGroups(by: [API_KEY, MODEL], first: 2) { count apiKey { secret } model } }";
    let found = app.data(largest).await;
    app.db().failures().set_has_days(false);
    assert_eq!(found, app.data(largest).await);
    // A window of one day without its ends, and a read-only server.
    app.db().failures().set_has_days(true);
    let day = "{ errorGroups(by: [MODEL], filter: { since: \"2026-02-25T00:00:01Z\", until: \"2026-02-26T00:00:00Z\" }) { count } }";
    assert_eq!(app.statements(day).await, 1);
    let reader = TestApp::start_read_only(&database).await;
    assert!(!uses_cells(&reader, largest).await);
}

async fn a_change_of_old_rows_shows_at_once(database: TestDatabase) {
    fill(&database).await;
    let app = TestApp::start(&database).await;
    count_days(&app).await;
    let query = format!(
        "{{ errorGroups(by: [API_KEY, MODEL, FAILURE_CLASS], filter: {{ since: \"2026-02-23T09:00:00Z\" }}, first: 300) {FIELDS} }}"
    );
    let old = || ErrorRow::at("2026-02-25T12:00:00Z").key("new").code(503).log("overloaded");
    let ids = database.ids("t_error_logs").await;
    let delete = |at: usize| format!("DELETE FROM t_error_logs WHERE id = {}", ids[at]);
    let at_25 = "2026-02-25 12:00:00";
    let changes: [(&str, Vec<String>, bool); 6] = [
        ("a new row", vec![], true),
        ("a deleted row", vec![delete(3000)], false),
        ("as many new rows as deleted ones", vec![delete(3001)], true),
        ("another row with the same values", vec![delete(3002)], true),
        (
            "a day without rows",
            vec![format!(
                "DELETE FROM t_error_logs WHERE request_time >= '{}' AND request_time < '{}'",
                "2026-02-26 00:00:00", "2026-02-27 00:00:00"
            )],
            false,
        ),
        (
            "a clean-up",
            vec![format!("DELETE FROM t_error_logs WHERE request_time < '{at_25}'")],
            false,
        ),
    ];
    for (change, statements, is_inserted) in changes {
        assert!(uses_cells(&app, &query).await);
        for statement in &statements {
            database.execute(statement).await;
        }
        if is_inserted {
            database.insert(&[old()]).await;
        }
        check(&app, &query, change).await;
        classification::add_all(app.db()).await.unwrap();
        let counted = compare_days(&app).await;
        assert!(counted > 0, "{change}");
        check(&app, &query, change).await;
        assert_eq!(compare_days(&app).await, 0, "{change}");
    }
    // All days were counted again, and those without rows are forgotten.
    assert_eq!(database.count("callscope_error_days").await, 3);
    let cells = database.value("SELECT COUNT(*) FROM callscope_error_cells WHERE day NOT IN (SELECT day FROM callscope_error_days)");
    assert_eq!(cells.await, 0);
}

async fn days_of_older_rules_are_not_used(database: TestDatabase) {
    fill(&database).await;
    let app = TestApp::start(&database).await;
    count_days(&app).await;
    let query = format!("{{ errorGroups(by: [FAILURE_CLASS], first: 300) {FIELDS} }}");
    database.execute("UPDATE callscope_error_cells SET class = 'UNKNOWN'").await;
    database.execute("UPDATE callscope_error_days SET rules = 0").await;
    assert!(!uses_cells(&app, &query).await);
    check(&app, &query, "older rules").await;
    assert_eq!(compare_days(&app).await, 6);
    assert!(uses_cells(&app, &query).await);
    check(&app, &query, "counted again").await;
    // Of a server with newer rules: not used, and left as they are.
    database.execute("UPDATE callscope_error_days SET rules = 99").await;
    assert!(!uses_cells(&app, &query).await);
    assert_eq!(compare_days(&app).await, 0);
    database.execute("UPDATE callscope_error_days SET rules = 0").await;
    assert_eq!(compare_days(&app).await, 6);
    // The longest run of days.
    let day = "(SELECT MIN(day) + 86400 FROM callscope_error_days)";
    let day = database.value(&format!("SELECT {day}")).await;
    database.execute(&format!("UPDATE callscope_error_days SET rules = 0 WHERE day = {day}")).await;
    assert!(uses_cells(&app, &query).await);
    check(&app, &query, "one day of older rules").await;
}

async fn bytes_are_not_counted(database: TestDatabase) {
    fill(&database).await;
    let app = TestApp::start(&database).await;
    database
        .execute("INSERT INTO t_error_logs (gemini_key, error_log, error_code, request_time) VALUES (x'61', '?', 429, '2026-02-28 12:00:00')")
        .await;
    count_days(&app).await;
    let days = "SELECT SUM(cells > 0) FROM callscope_error_days";
    assert_eq!(database.value(days).await, 5);
    for filter in ["", "models: [\"pro\"]"] {
        let query = format!("{{ errorGroups(by: [API_KEY], filter: {{ {filter} }}) {FIELDS} }}");
        check(&app, &query, "bytes").await;
    }
}

async fn long_filters_read_rows(database: TestDatabase) {
    fill(&database).await;
    let app = TestApp::start(&database).await;
    count_days(&app).await;
    let names = |prefix: &str, first: &str| {
        let names = (0..4_990).map(|number| format!("{prefix}{number}"));
        names.chain([first.to_owned()]).collect::<Vec<_>>()
    };
    let query = "query($filter: ErrorLogFilter!) { errorGroups(by: [MODEL], filter: $filter) { model count } }";
    let codes: Vec<u32> = (0..1_000).collect();
    let filter = json!({
        "models": names("model", "pro"), "errorTypes": names("type", "chat"), "errorCodes": codes,
    });
    let variables = json!({ "filter": filter });
    let with_days = app.graphql_with(query, variables.clone()).await;
    app.db().failures().set_has_days(false);
    assert_eq!(with_days, app.graphql_with(query, variables).await);
    assert_eq!(with_days["data"]["errorGroups"][0]["model"], "pro", "{with_days}");
}

async fn another_collation_changes_nothing(database: TestDatabase) {
    fill(&database).await;
    let app = TestApp::start(&database).await;
    count_days(&app).await;
    let tables = [
        ("callscope_failures", "utf8mb4_unicode_ci"),
        ("callscope_error_cells", "utf8mb4_unicode_ci"),
        ("t_error_logs", "utf8mb4_swedish_ci"),
    ];
    for (number, (table, collation)) in tables.into_iter().enumerate() {
        database
            .execute(&format!(
                "ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE {collation}"
            ))
            .await;
        // Statements over two collations are slow: a third of them each time.
        for (query, can_use_cells) in queries().into_iter().skip(number).step_by(tables.len()) {
            assert_eq!(uses_cells(&app, &query).await, can_use_cells, "{query}");
            check(&app, &query, collation).await;
        }
    }
}

async fn unusual_times_do_not_stop_the_count(database: TestDatabase) {
    fill(&database).await;
    insert_at(&database, invalid_times(database.kind())).await;
    insert_at(&database, unusual_times(database.kind())).await;
    if database.kind() == Kind::Sqlite {
        for at in ["2026-02-30 11:00:00", "2026-02-22T23:30:00-05:00", "2026-02-21"] {
            database.insert(&[ErrorRow::at_stored(at)]).await;
        }
    }
    let app = TestApp::start(&database).await;
    classification::add_all(app.db()).await.unwrap();
    let (mut counter, mut steps) = (DayCounter::default(), 0);
    while counter.step(app.db(), now(&app)).await.unwrap() {
        steps += 1;
        assert!(steps < 100, "the count does not end");
    }
    app.db().failures().set_has_days(true);
    for (query, _) in queries() {
        check(&app, &query, "unusual times").await;
    }
    compare_days(&app).await;
    assert_eq!(compare_days(&app).await, 0);
}

async fn days_without_rows_are_forgotten(database: TestDatabase) {
    fill(&database).await;
    let app = TestApp::start(&database).await;
    count_days(&app).await;
    let query = format!("{{ errorGroups(by: [MODEL, FAILURE_CLASS], first: 300) {FIELDS} }}");
    let delete = "DELETE FROM t_error_logs WHERE request_time >= '2026-02-25 00:00:00' AND request_time < '2026-02-26 00:00:00'";
    database.execute(delete).await;
    error_days::forget(app.db()).await.unwrap();
    assert_eq!(database.count("callscope_error_cells").await, 0);
    assert_eq!(count_days(&app).await, 5);
    assert!(uses_cells(&app, &query).await);
    check(&app, &query, "forgotten").await;
    // A day of older rules, and cells without a day.
    let day = "(SELECT * FROM (SELECT MIN(day) + 86400 FROM callscope_error_days) AS days)";
    database.execute(&format!("UPDATE callscope_error_days SET rules = 0 WHERE day = {day}")).await;
    database.execute("DELETE FROM t_error_logs WHERE request_time >= '2026-02-24 00:00:00' AND request_time < '2026-02-25 00:00:00'").await;
    check(&app, &query, "a day of older rules without rows").await;
    assert_eq!(compare_days(&app).await, 1);
    assert_eq!(database.count("callscope_error_days").await, 4);
    database.execute(&format!("DELETE FROM callscope_error_days WHERE day = {day}")).await;
    check(&app, &query, "cells without a day").await;
}

async fn random_changes_show_at_once(database: TestDatabase) {
    fill(&database).await;
    let app = TestApp::start(&database).await;
    count_days(&app).await;
    let seed = std::env::var("CALLSCOPE_TEST_ROLLUP_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut random = StdRng::seed_from_u64(seed);
    let mut counter = DayCounter::default();
    let queries: Vec<String> = queries().into_iter().map(|(query, _)| query).collect();
    let (mut log, mut with_cells) = (vec![], 0);
    for _ in 0..80 {
        let ids = database.ids("t_error_logs").await;
        let start: DateTime<Utc> = "2026-02-23T00:00:00Z".parse().unwrap();
        let mut at = || start + TimeDelta::seconds(random.random_range(0..8 * 86_400));
        let (row, until) = (ErrorRow::at_stored(at()), at().format("%F %T"));
        match random.random_range(0..9) {
            0 | 1 => {
                let key = ["a", "b", "new"][random.random_range(0..3)];
                database.insert(&[row.key(key).log("overloaded")]).await;
                log.push("insert".to_owned());
            }
            // Not the last one: SQLite would use its id again.
            2 => {
                let id = ids[random.random_range(0..ids.len() - 1)];
                database.execute(&format!("DELETE FROM t_error_logs WHERE id = {id}")).await;
                log.push(format!("delete {id}"));
            }
            3 => {
                let hour = format!(
                    "request_time < '{until}' AND id % 50 = {}",
                    random.random_range(0..50)
                );
                database
                    .execute(&format!(
                        "DELETE FROM t_error_logs WHERE {hour} AND id < {}",
                        ids[ids.len() - 1]
                    ))
                    .await;
                log.push(format!("delete where {hour}"));
            }
            4 => {
                classification::add_all(app.db()).await.unwrap();
                log.push("classify".to_owned());
            }
            5 if random.random_range(0..4) == 0 => {
                app.clock.advance(TimeDelta::hours(7));
                log.push("advance".to_owned());
            }
            _ => {
                for _ in 0..3 {
                    counter.step(app.db(), now(&app)).await.unwrap();
                }
                log.push("step".to_owned());
            }
        }
        let query = &queries[random.random_range(0..queries.len())];
        with_cells += u32::from(uses_cells(&app, query).await);
        check(&app, query, &format!("seed {seed}: {}", log.join(", "))).await;
    }
    assert!(with_cells > 20, "{with_cells}");
}

/// A row with the id of a deleted one changes no sum of ids.
async fn ids_that_are_used_again_are_noticed(database: TestDatabase) {
    fill(&database).await;
    let old = || ErrorRow::at("2026-02-25T12:00:00Z").log("overloaded");
    database.insert(&[old().key("first")]).await;
    let app = TestApp::start_with(&database, |config| config.database.failure_classes = true).await;
    let query = "{ errorGroups(by: [API_KEY], first: 300) { apiKey { secret } count } }";
    eventually("six days", async || database.count("callscope_error_days").await == 6).await;
    eventually("groups of days", async || uses_cells(&app, query).await).await;
    let last = "(SELECT MAX(id) FROM t_error_logs)";
    database.execute(&format!("DELETE FROM t_error_logs WHERE id = {last}")).await;
    eventually("a new count", async || {
        let total = "SELECT SUM(total) FROM callscope_error_cells WHERE gemini_key = 'first'";
        database.value(total).await.is_null()
    })
    .await;
    database.insert(&[old().key("second")]).await;
    check(&app, query, "an id that is used again").await;
    app.shutdown().await;
}

async fn the_job_counts_the_days_that_have_ended(database: TestDatabase) {
    fill(&database).await;
    let app = TestApp::start_with(&database, |config| config.database.failure_classes = true).await;
    eventually("six days", async || database.count("callscope_error_days").await == 6).await;
    let query = "{ errorGroups(by: [FAILURE_CLASS]) { failureClass count } }";
    eventually("groups of days", async || uses_cells(&app, query).await).await;
    check(&app, query, "the job").await;
    // March 1.
    app.clock.advance(TimeDelta::days(1));
    eventually("seven days", async || database.count("callscope_error_days").await == 7).await;
    app.shutdown().await;
}

async fn an_interrupted_count_changes_nothing(database: TestDatabase) {
    fill(&database).await;
    let app = TestApp::start(&database).await;
    count_days(&app).await;
    let sums = "SELECT SUM(total) FROM callscope_error_cells";
    let before = database.value(sums).await;
    let (refuse, allow) = match database.kind() {
        Kind::Sqlite => (
            &[
                "CREATE TRIGGER refuse BEFORE INSERT ON callscope_error_days BEGIN SELECT RAISE(ABORT, 'no'); END",
            ][..],
            "DROP TRIGGER refuse",
        ),
        Kind::Postgres => (
            &[
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'",
                "CREATE TRIGGER refuse BEFORE INSERT ON callscope_error_days FOR EACH ROW EXECUTE FUNCTION refuse()",
            ][..],
            "DROP TRIGGER refuse ON callscope_error_days",
        ),
        Kind::MariaDb => (
            &[
                "CREATE TRIGGER refuse BEFORE INSERT ON callscope_error_days FOR EACH ROW SIGNAL SQLSTATE '45000'",
            ][..],
            "DROP TRIGGER refuse",
        ),
    };
    for statement in refuse {
        database.execute(statement).await;
    }
    let ids = database.ids("t_error_logs").await;
    database.execute(&format!("DELETE FROM t_error_logs WHERE id = {}", ids[4000])).await;
    let mut counter = DayCounter::default();
    let mut failed = 0;
    for _ in 0..10 {
        failed += u32::from(counter.step(app.db(), now(&app)).await.is_err());
    }
    assert!(failed > 0);
    assert_eq!(database.value(sums).await, before);
    let query = format!("{{ errorGroups(by: [FAILURE_CLASS], first: 300) {FIELDS} }}");
    check(&app, &query, "a failed count").await;
    database.execute(allow).await;
    assert_eq!(compare_days(&app).await, 1);
    check(&app, &query, "counted again").await;
}
