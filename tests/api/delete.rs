//! `deleteErrorLogs`, `deleteErrorLogsWhere`, `pruneLogs`: which rows are deleted and which stay, and the audit log.

use std::process::Command;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::{
    CallRow, ErrorRow, Kind, NOW, NULL, TestApp, TestDatabase, error_code, found, gateway,
};
use crate::tests;

tests! {
    error_logs_are_deleted_by_id,
    error_logs_are_deleted_by_filter,
    an_empty_filter_deletes_all_error_logs,
    many_rows_are_deleted_in_batches,
    rows_that_arrive_meanwhile_are_kept.only(&[Kind::Sqlite]).empty(),
    only_rows_of_this_deletion_are_counted.only(&[Kind::Sqlite]),
    old_rows_are_pruned,
    the_freed_space_is_reported,
    a_deletion_that_times_out_is_reported.only(&[Kind::Postgres, Kind::MariaDb]),
    deleting_requires_its_scope,
    deletions_are_in_the_audit_log,
    no_key_is_stored_in_the_audit_log,
    nothing_is_deleted_without_its_audit_entry,
    a_client_that_disconnects_stops_its_deletion,
    a_failed_deletion_reports_what_it_deleted,
    a_shutdown_stops_deletions.only(&[Kind::Sqlite]),
    a_deletion_is_found_by_its_id,
    callscope_audit_shows_the_outcome,
}

async fn deleted(app: &TestApp, field: &str) -> Value {
    let data = app.data(&format!("mutation {{ done: {field} {{ deletedCount }} }}")).await;
    data["done"]["deletedCount"].clone()
}

async fn error_logs_are_deleted_by_id(database: TestDatabase) {
    let rows: Vec<_> = (0..5).map(|_| ErrorRow::at("2026-03-01T11:00:00Z")).collect();
    database.insert(&rows).await;
    let app = TestApp::start(&database).await;
    let all = database.ids("t_error_logs").await;
    let names = [all[0], all[2], all[2], 999_999].map(|id| format!("\"error_{id}\"")).join(", ");
    assert_eq!(deleted(&app, &format!("deleteErrorLogs(ids: [{names}])")).await, 2);
    assert_eq!(database.ids("t_error_logs").await, [all[1], all[3], all[4]]);
    assert_eq!(deleted(&app, &format!("deleteErrorLogs(ids: [{names}])")).await, 0);
    assert_eq!(deleted(&app, "deleteErrorLogs(ids: [])").await, 0);
    // One id that is not an error log refuses the whole list.
    for other in ["call_1", "7", "error_x"] {
        let query = format!(
            "mutation {{ deleteErrorLogs(ids: [\"error_{}\", \"{other}\"]) {{ deletedCount }} }}",
            all[1]
        );
        let response = app.graphql(&query).await;
        assert_eq!(response["errors"][0]["extensions"]["argument"], "ids", "{response}");
    }
    assert_eq!(database.count("t_error_logs").await, 3);
}

async fn error_logs_are_deleted_by_filter(database: TestDatabase) {
    database
        .insert(&[
            ErrorRow::at("2026-03-01T10:00:00Z").key("a").code(429),
            ErrorRow::at("2026-03-01T11:00:00Z").key("a").code(403),
            ErrorRow::at("2026-03-01T11:00:00Z").key("b").code(403),
            ErrorRow::at_stored(NULL).key("a").code(403),
        ])
        .await;
    let app = TestApp::start(&database).await;
    let all = database.ids("t_error_logs").await;
    let filter = "{ keys: [\"a\"], errorCodes: [403], since: \"2026-03-01T10:30:00Z\" }";
    assert_eq!(deleted(&app, &format!("deleteErrorLogsWhere(filter: {filter})")).await, 1);
    assert_eq!(database.ids("t_error_logs").await, [all[0], all[2], all[3]]);
    // Without a time in the filter, rows without a time match as well.
    assert_eq!(deleted(&app, "deleteErrorLogsWhere(filter: { keys: [\"a\"] })").await, 2);
    assert_eq!(database.ids("t_error_logs").await, [all[2]]);
    assert_eq!(deleted(&app, "deleteErrorLogsWhere(filter: { keys: [] })").await, 0);
    let filter = "{ keys: [\"b\"], excludeKeys: [\"b\"] }";
    assert_eq!(deleted(&app, &format!("deleteErrorLogsWhere(filter: {filter})")).await, 0);
    let filter = "{ excludeKeys: [\"a\"] }";
    assert_eq!(deleted(&app, &format!("deleteErrorLogsWhere(filter: {filter})")).await, 1);
}

async fn an_empty_filter_deletes_all_error_logs(database: TestDatabase) {
    database.insert(&[ErrorRow::at("2026-03-01T10:00:00Z"), ErrorRow::at_stored(NULL)]).await;
    if database.kind() == Kind::Sqlite {
        database.insert(&[ErrorRow::at_stored("soon").code("none")]).await;
    }
    let app = TestApp::start(&database).await;
    let count = database.count("t_error_logs").await;
    assert_eq!(deleted(&app, "deleteErrorLogsWhere(filter: {})").await, count);
    assert_eq!(database.ids("t_error_logs").await, [0; 0]);
    let response = app.graphql("mutation { deleteErrorLogsWhere { deletedCount } }").await;
    assert!(response.get("data").is_none(), "a missing filter does not mean all rows");
}

async fn many_rows_are_deleted_in_batches(database: TestDatabase) {
    let rows: Vec<_> = (0..2345)
        .map(|number| {
            ErrorRow::at("2026-03-01T10:00:00Z").code(if number % 2 == 0 { 1 } else { 2 })
        })
        .collect();
    database.insert(&rows).await;
    let app = TestApp::start(&database).await;
    assert_eq!(deleted(&app, "deleteErrorLogsWhere(filter: { errorCodes: [1] })").await, 1173);
    assert_eq!(database.count("t_error_logs").await, 1172);
}

/// In a gateway's table, which reuses the ids of its last rows once these are deleted.
async fn rows_that_arrive_meanwhile_are_kept(database: TestDatabase) {
    database.execute(gateway::ddl(database.kind())).await;
    // The last row is the oldest, so that the index of the key lists it first.
    let row =
        |n: i64| ErrorRow::at_stored(NOW.parse::<DateTime<Utc>>().unwrap() - TimeDelta::seconds(n));
    database.insert(&(1..=700).map(|n| row(n).key("k")).collect::<Vec<_>>()).await;
    // Adds a matching row for each of the first rows, which are deleted last.
    database
        .execute(
            "CREATE TRIGGER arrives AFTER DELETE ON t_error_logs
             WHEN OLD.id <= 100 AND OLD.error_log <> 'new' BEGIN
             INSERT INTO t_error_logs (gemini_key, error_log, request_time)
             VALUES ('k', 'new', '2026-03-01 11:00:00.000000'); END",
        )
        .await;
    let app = TestApp::start(&database).await;
    assert_eq!(deleted(&app, "deleteErrorLogsWhere(filter: { keys: [\"k\"] })").await, 700);
    let new = "SELECT COUNT(*) FROM t_error_logs WHERE error_log = 'new'";
    assert_eq!(database.value(new).await, 100);
    assert_eq!(database.count("t_error_logs").await, 100);
}

/// Rows that other clients deleted first are not counted.
async fn only_rows_of_this_deletion_are_counted(database: TestDatabase) {
    let at = "2026-02-01T10:00:00Z";
    database.insert(&vec![ErrorRow::at(at); 300]).await;
    database.insert(&vec![CallRow::at(at); 300]).await;
    for table in ["t_error_logs", "t_request_log"] {
        let faster = format!(
            "CREATE TRIGGER faster_{table} BEFORE DELETE ON {table} WHEN OLD.id % 3 = 0 BEGIN
             SELECT RAISE(IGNORE); END"
        );
        database.execute(&faster).await;
    }
    let app = TestApp::start(&database).await;
    assert_eq!(deleted(&app, "deleteErrorLogs(ids: [\"error_3\", \"error_4\"])").await, 1);
    let query = "mutation { pruneLogs(callsOlderThan: \"P1D\", errorsOlderThan: \"P1D\") {
        deletedCalls deletedErrorLogs } }";
    let expected = json!({ "deletedCalls": 200, "deletedErrorLogs": 199 });
    assert_eq!(app.data(query).await["pruneLogs"], expected);
}

async fn old_rows_are_pruned(database: TestDatabase) {
    let times = ["2026-02-01T00:00:00Z", "2026-02-28T11:59:59.999999Z", "2026-02-28T12:00:00Z"];
    database.insert(&times.map(CallRow::at)).await;
    database.insert(&times.map(ErrorRow::at)).await;
    database.insert(&[CallRow::at_stored(NULL)]).await;
    let app = TestApp::start(&database).await;
    let prune = async |args: &str| {
        let query = format!("mutation {{ pruneLogs({args}) {{ deletedCalls deletedErrorLogs }} }}");
        app.graphql(&query).await
    };
    let counts = |calls: u32, errors: u32| json!({ "data": { "pruneLogs": { "deletedCalls": calls, "deletedErrorLogs": errors } } });
    assert_eq!(prune("errorsOlderThan: \"P7D\"").await, counts(0, 1));
    assert_eq!(prune("callsOlderThan: \"P1D\", errorsOlderThan: \"P1D\"").await, counts(2, 1));
    assert_eq!(prune("callsOlderThan: \"P1D\", errorsOlderThan: \"P1D\"").await, counts(0, 0));
    assert_eq!(database.count("t_request_log").await, 2, "a row without a time stays");
    assert_eq!(database.count("t_error_logs").await, 1);
    for args in ["callsOlderThan: null", "callsOlderThan: \"P3000000D\""] {
        let refused = prune(args).await;
        assert_eq!(refused["errors"][0]["extensions"]["argument"], "callsOlderThan", "{refused}");
    }
}

async fn the_freed_space_is_reported(database: TestDatabase) {
    let row = ErrorRow::at("2026-02-01T00:00:00Z").log("x".repeat(4000));
    database.insert(&vec![row; 500]).await;
    let app = TestApp::start(&database).await;
    let query = "mutation { pruneLogs(errorsOlderThan: \"P1D\") { deletedErrorLogs freedBytes } }";
    let pruned = app.data(query).await["pruneLogs"].clone();
    assert_eq!(pruned["deletedErrorLogs"], 500);
    let freed = pruned["freedBytes"].as_u64().unwrap();
    match database.kind() {
        // At least one page each.
        Kind::Sqlite => assert!((500 * 4096..800 * 4096).contains(&freed), "{freed}"),
        // These databases keep the space for new rows.
        Kind::Postgres | Kind::MariaDb => assert_eq!(freed, 0),
    }
    let storage = app.data("{ serverInfo { storage { freeBytes } } }").await;
    if database.kind() == Kind::Sqlite {
        assert_eq!(storage["serverInfo"]["storage"]["freeBytes"], 0, "{storage}");
    }
}

/// The test locks a row, so that the deletion cannot finish.
async fn a_deletion_that_times_out_is_reported(database: TestDatabase) {
    let rows: Vec<_> = (1..=600).map(|id| ErrorRow::at("2026-02-01T10:00:00Z").id(id)).collect();
    database.insert(&rows).await;
    let app = TestApp::start_with(&database, |config| config.graphql.timeout_seconds = 2).await;
    read_committed(&database).await;
    database.execute("BEGIN; SELECT id FROM t_error_logs WHERE id = 500 FOR UPDATE").await;
    for mutation in [
        "pruneLogs(errorsOlderThan: \"P1D\") { deletedErrorLogs }",
        "deleteErrorLogsWhere(filter: {}) { deletedCount }",
    ] {
        let before = database.count("t_error_logs").await;
        let response = app.graphql(&format!("mutation {{ {mutation} }}")).await;
        let error = &response["errors"][0];
        assert_eq!(error["extensions"]["code"], "TIMEOUT", "{response}");
        let deleted = before - database.count("t_error_logs").await;
        assert_eq!(error["extensions"]["deletedErrorLogs"], deleted, "{response}");
        assert_eq!(error["extensions"]["deletedCalls"], 0);
        let words = format!("0 calls and {deleted} error logs");
        assert!(error["message"].as_str().unwrap().contains(&words), "{response}");
        assert_eq!(await_outcome(&database).await, ended("timeout", deleted));
    }
    database.execute("ROLLBACK").await;
    // A slow database may require several retries.
    let prune = "mutation { pruneLogs(errorsOlderThan: \"P1D\") { deletedErrorLogs } }";
    while error_code(&app.graphql(prune).await) == "TIMEOUT" {}
    assert_eq!(database.ids("t_error_logs").await, [0; 0]);
}

async fn deleting_requires_its_scope(database: TestDatabase) {
    database.insert(&[ErrorRow::at("2026-03-01T10:00:00Z")]).await;
    let app = TestApp::start_with_tokens(
        &database,
        "others:READ,READ_REQUESTS,REVEAL_KEYS,RECORD,METRICS:0123456789abcdef",
    )
    .await;
    for field in [
        "deleteErrorLogs(ids: [\"error_1\"]) { deletedCount }",
        "deleteErrorLogsWhere(filter: {}) { deletedCount }",
        "pruneLogs(errorsOlderThan: \"PT1S\") { deletedErrorLogs }",
    ] {
        let refused = app.graphql_as("0123456789abcdef", &format!("mutation {{ {field} }}")).await;
        assert_eq!(error_code(&refused), "FORBIDDEN");
        assert!(refused["errors"][0]["message"].as_str().unwrap().contains("DELETE"), "{refused}");
    }
    assert_eq!(database.count("t_error_logs").await, 1);
}

async fn deletions_are_in_the_audit_log(database: TestDatabase) {
    let row = ErrorRow::at("2026-03-01T10:00:00Z").key("AIza-a-secret-key").log("quota");
    database.insert(&[row]).await;
    let app = TestApp::start(&database).await;
    deleted(&app, "deleteErrorLogs(ids: [\"error_900\", \"error_800\"])").await;
    let filter = "{ keys: [\"AIza-a-secret-key\"], contains: \"quota\",
        excludeKeys: [\"another\"], excludeModels: [\"for AIza-a-secret-key\"], excludeErrorCodes: [500] }";
    deleted(&app, &format!("deleteErrorLogsWhere(filter: {filter})")).await;
    app.data("mutation { pruneLogs(callsOlderThan: \"P90D\") { deletedCalls } }").await;
    let entries = "SELECT caller, action, subject, outcome, deleted_calls, deleted_error_logs
        FROM callscope_audit ORDER BY id";
    let rows = database.query(entries).await;
    let outcomes: Vec<_> = rows.iter().map(|row| row[3..].to_vec()).collect();
    assert_eq!(outcomes, [ended("completed", 0), ended("completed", 1), ended("completed", 0)]);
    let texts: Vec<(&str, &str)> =
        rows.iter().map(|row| (row[1].as_str().unwrap(), row[2].as_str().unwrap())).collect();
    assert!(rows.iter().all(|row| row[0] == "anonymous"));
    assert_eq!(texts[0], ("DELETE_ERROR_LOGS", "{\"ids\":[800,900]}"));
    let key = app.data("{ apiKeys { nodes { id } } }").await;
    assert_eq!(key["apiKeys"]["nodes"], json!([]), "its only error log was deleted");
    assert_eq!(texts[1].0, "DELETE_ERROR_LOGS");
    assert!(texts[1].1.contains("\"key_") && texts[1].1.contains("quota"), "{}", texts[1].1);
    assert!(!texts[1].1.contains("AIza"), "{}", texts[1].1);
    let subject: Value = serde_json::from_str(texts[1].1).unwrap();
    let filter = subject["filter"].as_object().unwrap();
    assert!(filter["excludeKeys"][0].as_str().unwrap().starts_with("key_"), "{filter:?}");
    assert_eq!(filter["excludeErrorCodes"], json!([500]));
    assert!(filter["excludeModels"][0].as_str().unwrap().starts_with("for "), "{filter:?}");
    assert!(!filter.contains_key("excludeErrorTypes"), "{filter:?}");
    assert_eq!(texts[2], ("PRUNE_LOGS", "{\"callsOlderThan\":\"P90D\",\"errorsOlderThan\":null}"));
}

async fn nothing_is_deleted_without_its_audit_entry(database: TestDatabase) {
    database.insert(&[ErrorRow::at("2026-03-01T10:00:00Z")]).await;
    let app = TestApp::start(&database).await;
    database.execute("DROP TABLE callscope_audit").await;
    let response =
        app.graphql("mutation { deleteErrorLogsWhere(filter: {}) { deletedCount } }").await;
    assert_eq!(error_code(&response), "DATABASE_UNAVAILABLE", "{response}");
    assert_eq!(database.count("t_error_logs").await, 1);
}

/// The columns of a completed entry.
fn ended(outcome: &str, error_logs: u64) -> Vec<Value> {
    vec![json!(outcome), json!(0), json!(error_logs)]
}

/// Outcome, calls and error logs of the last entry.
async fn last_outcome(database: &TestDatabase) -> Vec<Value> {
    let last = "SELECT outcome, deleted_calls, deleted_error_logs FROM callscope_audit
        ORDER BY id DESC LIMIT 1";
    database.query(last).await.remove(0)
}

/// The last outcome, once the deletion has ended.
async fn await_outcome(database: &TestDatabase) -> Vec<Value> {
    found("the outcome of the deletion", async || {
        Some(last_outcome(database).await).filter(|outcome| !outcome[0].is_null())
    })
    .await
}

/// Slows down deletions in SQLite to about a millisecond per row.
const SLOW: &str = "CREATE TRIGGER slow BEFORE DELETE ON t_error_logs BEGIN
    SELECT (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
            SELECT COUNT(*) FROM n); END";

/// Makes the test's transactions see what the server commits meanwhile.
async fn read_committed(database: &TestDatabase) {
    if database.kind() == Kind::MariaDb {
        database.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await;
    }
}

/// The most rows of one batch.
const LARGEST_BATCH: u64 = 4096;

/// SQLite deletes slowly; the other databases wait for a row that the test has locked.
async fn a_client_that_disconnects_stops_its_deletion(database: TestDatabase) {
    let rows: Vec<_> = (1..=9000).map(|id| ErrorRow::at("2026-02-01T10:00:00Z").id(id)).collect();
    database.insert(&rows).await;
    for (mutation, locked) in [
        ("deleteErrorLogsWhere(filter: {}) { deletedCount }", 1000),
        ("pruneLogs(errorsOlderThan: \"P1D\") { deletedErrorLogs }", 4000),
    ] {
        let app = TestApp::start(&database).await;
        let before = database.count("t_error_logs").await;
        let hold = match database.kind() {
            Kind::Sqlite => format!("DROP TRIGGER IF EXISTS slow; {SLOW}"),
            _ => format!("BEGIN; SELECT id FROM t_error_logs WHERE id = {locked} FOR UPDATE"),
        };
        read_committed(&database).await;
        database.execute(&hold).await;
        let query = json!({ "query": format!("mutation {{ {mutation} }}") });
        let sent = app.post(&query).send();
        let request = tokio::spawn(sent);
        while database.count("t_error_logs").await == before {
            assert!(!request.is_finished(), "ended before it was stopped");
        }
        request.abort();
        // Only this request is in flight once the server has dropped the other.
        let alone = "callscope_http_requests_in_flight 1\n";
        let metrics = async || app.metrics().await;
        while !metrics().await.contains(alone) {}
        let dropped = database.count("t_error_logs").await;
        if database.kind() != Kind::Sqlite {
            database.execute("ROLLBACK").await;
        }
        let outcome = await_outcome(&database).await;
        let left = database.count("t_error_logs").await;
        assert!(left > 0, "the deletion was not stopped");
        assert!(dropped - left <= LARGEST_BATCH, "{dropped} rows, then {left}");
        assert_eq!(outcome, ended("stopped", before - left));
        app.shutdown().await;
        assert_eq!(database.count("t_error_logs").await, left, "the deletion continues");
    }
}

async fn a_failed_deletion_reports_what_it_deleted(database: TestDatabase) {
    let rows: Vec<_> = (1..=1200).map(|id| ErrorRow::at("2026-02-01T10:00:00Z").id(id)).collect();
    database.insert(&rows).await;
    let app = TestApp::start(&database).await;
    let fail = match database.kind() {
        Kind::Sqlite => {
            "CREATE TRIGGER fail BEFORE DELETE ON t_error_logs WHEN OLD.id = 900 BEGIN
             SELECT RAISE(ABORT, 'refused'); END"
        }
        Kind::Postgres => {
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
             CREATE TRIGGER fail BEFORE DELETE ON t_error_logs FOR EACH ROW
             WHEN (OLD.id = 900) EXECUTE FUNCTION fail()"
        }
        Kind::MariaDb => {
            "CREATE TRIGGER fail BEFORE DELETE ON t_error_logs FOR EACH ROW
             IF OLD.id = 900 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'refused'; END IF"
        }
    };
    database.execute(fail).await;
    let ids: Vec<_> = (301..=1000).map(|id| format!("\"error_{id}\"")).collect();
    for mutation in [
        &*format!("deleteErrorLogs(ids: [{}]) {{ deletedCount }}", ids.join(", ")),
        "deleteErrorLogsWhere(filter: {}) { deletedCount }",
        "pruneLogs(errorsOlderThan: \"P1D\") { deletedErrorLogs }",
    ] {
        let before = database.count("t_error_logs").await;
        let response = app.graphql(&format!("mutation {{ {mutation} }}")).await;
        let error = &response["errors"][0];
        assert_eq!(error["extensions"]["code"], "INTERNAL", "{response}");
        let deleted = before - database.count("t_error_logs").await;
        assert_eq!(error["extensions"]["deletedErrorLogs"], deleted, "{response}");
        assert_eq!(await_outcome(&database).await, ended("failed", deleted), "{mutation}");
    }
    let left = database.count("t_error_logs").await;
    assert!(left > 0 && left < 1200, "some batches were committed: {left} are left");
}

async fn a_shutdown_stops_deletions(database: TestDatabase) {
    database.insert(&vec![ErrorRow::at("2026-02-01T10:00:00Z"); 9000]).await;
    let app =
        TestApp::start_with(&database, |config| config.server.shutdown_grace_seconds = 0).await;
    database.execute(SLOW).await;
    let query =
        json!({ "query": "mutation { deleteErrorLogsWhere(filter: {}) { deletedCount } }" });
    let sent = app.post(&query).send();
    let request = tokio::spawn(sent);
    while database.count("t_error_logs").await == 9000 {
        assert!(!request.is_finished(), "ended before it was stopped");
    }
    app.shutdown().await;
    let left = database.count("t_error_logs").await;
    assert!(left > 0, "the deletion was not stopped");
    assert_eq!(await_outcome(&database).await, ended("stopped", 9000 - left));
}

async fn a_deletion_is_found_by_its_id(database: TestDatabase) {
    database.insert(&vec![ErrorRow::at("2026-02-01T10:00:00Z"); 3]).await;
    database.insert(&[CallRow::at("2026-02-01T10:00:00Z")]).await;
    const ADMIN: &str = "admin-0123456789abcdef";
    const OTHER: &str = "other-0123456789abcdef";
    const READER: &str = "reader-0123456789abcdef";
    let app = TestApp::start_with_tokens(
        &database,
        &format!("admin:ALL:{ADMIN} other:DELETE:{OTHER} reader:READ:{READER}"),
    )
    .await;
    let find = async |token: &str, id: &str| {
        let fields = "id startedAt endedAt outcome deletedCalls deletedErrorLogs";
        let query = format!("{{ deletion(id: \"{id}\") {{ {fields} }} }}");
        app.graphql_as(token, &query).await
    };
    assert_eq!(find(ADMIN, "first").await, json!({ "data": { "deletion": null } }));
    let delete = "deleteErrorLogsWhere(filter: {}, deletionId: \"first\") { deletedCount }";
    let prune = "pruneLogs(callsOlderThan: \"P1D\", deletionId: \"second_2-b\") { deletedCalls }";
    let both = app.graphql_as(ADMIN, &format!("mutation {{ {delete} {prune} }}")).await;
    assert_eq!(both["data"]["deleteErrorLogsWhere"]["deletedCount"], 3, "{both}");
    let expected = |id: &str, calls: u32, errors: u32| {
        json!({ "data": { "deletion": { "id": id, "startedAt": NOW, "endedAt": NOW,
            "outcome": "COMPLETED", "deletedCalls": calls, "deletedErrorLogs": errors } } })
    };
    assert_eq!(find(ADMIN, "first").await, expected("first", 0, 3));
    assert_eq!(find(ADMIN, "second_2-b").await, expected("second_2-b", 1, 0));
    // Only deletions of the same caller are found.
    assert_eq!(find(OTHER, "first").await, json!({ "data": { "deletion": null } }));
    let refused = find(READER, "first").await;
    assert_eq!(error_code(&refused), "FORBIDDEN", "{refused}");
    // In progress, or killed.
    database.execute("UPDATE callscope_audit SET outcome = NULL, ended_at = NULL").await;
    let unknown = find(ADMIN, "first").await;
    assert_eq!(unknown["data"]["deletion"]["outcome"], Value::Null, "{unknown}");
    assert_eq!(unknown["data"]["deletion"]["deletedErrorLogs"], Value::Null, "{unknown}");
    // A caller uses an id once.
    let mutation = |id: &str| {
        format!(
            "mutation {{ deleteErrorLogs(ids: [\"error_1\"], deletionId: \"{id}\") {{ deletedCount }} }}"
        )
    };
    let long = "x".repeat(65);
    for id in ["first", "", "a b", "é", &long] {
        let refused = app.graphql_as(ADMIN, &mutation(id)).await;
        assert_eq!(refused["errors"][0]["extensions"]["argument"], "deletionId", "{refused}");
    }
    let allowed = app.graphql_as(OTHER, &mutation("first")).await;
    assert!(allowed.get("errors").is_none(), "{allowed}");
}

async fn callscope_audit_shows_the_outcome(database: TestDatabase) {
    database.insert(&vec![ErrorRow::at("2026-02-01T10:00:00Z"); 3]).await;
    let app = TestApp::start(&database).await;
    app.data("mutation { pruneLogs(errorsOlderThan: \"P1D\") { deletedErrorLogs } }").await;
    app.shutdown().await;
    for (action, at) in [("REVEAL_KEY", "2026-01-01"), ("DELETE_ERROR_LOGS", "2026-01-02")] {
        // Entries of a version without outcomes.
        let insert = format!(
            "INSERT INTO callscope_audit (at, caller, address, action, subject)
             VALUES ('{at}', 'admin', '-', '{action}', 'subject')"
        );
        database.execute(&insert).await;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_callscope"));
    let output =
        command.env_clear().args(["audit", "--database-url", database.url()]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let ends: Vec<_> = shown.lines().map(|line| line.rsplit("  ").next().unwrap()).collect();
    let unknown = "outcome unknown: in progress, or the process was killed";
    let expected = ["completed: 0 calls and 3 error logs deleted", "subject", unknown];
    assert_eq!(ends, expected, "{shown}");
}

async fn no_key_is_stored_in_the_audit_log(database: TestDatabase) {
    let key = "AIzaSyA-1234567890abcdefghijkl_mnopqrst";
    let app = TestApp::start(&database).await;
    let error = || ErrorRow::at("2026-03-01T10:00:00Z").key(key).log(format!("bad key {key}"));
    for filter in [
        format!("{{ contains: \"{key}\" }}"),
        format!("{{ contains: \"bad key {}\" }}", key.to_lowercase()),
        format!("{{ contains: \"{}\" }}", &key[2..]),
        format!("{{ models: [\"m\", \"{key}\"] }}"),
        format!("{{ errorTypes: [\"{key}\"] }}"),
        format!("{{ keys: [\"{key}\"] }}"),
        format!("{{ keyContains: \"{key}\" }}"),
    ] {
        // A key with a row, and a key without one.
        for rows in [vec![error()], vec![]] {
            database.insert(&rows).await;
            deleted(&app, &format!("deleteErrorLogsWhere(filter: {filter})")).await;
        }
        deleted(&app, "deleteErrorLogsWhere(filter: {})").await;
    }
    let query = "SELECT subject FROM callscope_audit ORDER BY id";
    let subjects: Vec<String> =
        database.query(query).await.iter().map(|row| row[0].to_string()).collect();
    assert_eq!(subjects.len(), 7 * 3 + 2, "{subjects:#?}");
    for subject in &subjects {
        for part in key.as_bytes().windows(10) {
            let part = str::from_utf8(part).unwrap().to_lowercase();
            assert!(!subject.to_lowercase().contains(&part), "{subject}");
        }
    }
    assert!(
        subjects[0].contains("AIza...qrst"),
        "the audit entry does not show the masked key: {}",
        subjects[0]
    );
}
