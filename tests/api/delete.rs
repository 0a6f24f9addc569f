//! `deleteErrorLogs`, `deleteErrorLogsWhere`, `pruneLogs`: what goes, what stays, who did it.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::{
    CallRow, ErrorRow, Kind, NOW, NULL, TestApp, TestDatabase, gateway, settings,
};
use crate::tests;

tests! {
    error_logs_go_by_their_ids,
    error_logs_go_by_a_filter,
    an_empty_filter_is_all_of_them,
    many_go_in_batches,
    what_arrives_meanwhile_stays.only(&[Kind::Sqlite]).empty(),
    what_is_told_is_what_was_deleted.only(&[Kind::Sqlite]),
    old_rows_are_pruned,
    the_room_that_is_freed_is_told,
    what_time_did_not_suffice_for_is_told.only(&[Kind::Postgres, Kind::MariaDb]),
    deleting_needs_its_scope,
    deletions_are_in_the_audit_log,
    no_key_is_stored_in_the_audit_log,
    nothing_is_deleted_that_the_audit_log_cannot_tell,
}

async fn ids(database: &TestDatabase, table: &str) -> Vec<i64> {
    let rows = database.query(&format!("SELECT id FROM {table} ORDER BY id")).await;
    rows.iter().map(|row| row[0].as_i64().unwrap()).collect()
}

async fn deleted(app: &TestApp, field: &str) -> Value {
    let data = app.data(&format!("mutation {{ done: {field} {{ deletedCount }} }}")).await;
    data["done"]["deletedCount"].clone()
}

async fn error_logs_go_by_their_ids(database: TestDatabase) {
    let rows: Vec<_> = (0..5).map(|_| ErrorRow::at("2026-03-01T11:00:00Z")).collect();
    database.insert(&rows).await;
    let app = TestApp::start(&database).await;
    let all = ids(&database, "t_error_logs").await;
    let names = [all[0], all[2], all[2], 999_999].map(|id| format!("\"error_{id}\"")).join(", ");
    assert_eq!(deleted(&app, &format!("deleteErrorLogs(ids: [{names}])")).await, 2);
    assert_eq!(ids(&database, "t_error_logs").await, [all[1], all[3], all[4]]);
    assert_eq!(deleted(&app, &format!("deleteErrorLogs(ids: [{names}])")).await, 0);
    assert_eq!(deleted(&app, "deleteErrorLogs(ids: [])").await, 0);
    // One that is no error log refuses them all.
    for other in ["call_1", "7", "error_x"] {
        let query = format!(
            "mutation {{ deleteErrorLogs(ids: [\"error_{}\", \"{other}\"]) {{ deletedCount }} }}",
            all[1]
        );
        let response = app.graphql(&query).await;
        assert_eq!(response["errors"][0]["extensions"]["argument"], "ids", "{response}");
    }
    assert_eq!(ids(&database, "t_error_logs").await.len(), 3);
}

async fn error_logs_go_by_a_filter(database: TestDatabase) {
    database
        .insert(&[
            ErrorRow::at("2026-03-01T10:00:00Z").key("a").code(429),
            ErrorRow::at("2026-03-01T11:00:00Z").key("a").code(403),
            ErrorRow::at("2026-03-01T11:00:00Z").key("b").code(403),
            ErrorRow::at_stored(NULL).key("a").code(403),
        ])
        .await;
    let app = TestApp::start(&database).await;
    let all = ids(&database, "t_error_logs").await;
    let filter = "{ keys: [\"a\"], errorCodes: [403], since: \"2026-03-01T10:30:00Z\" }";
    assert_eq!(deleted(&app, &format!("deleteErrorLogsWhere(filter: {filter})")).await, 1);
    assert_eq!(ids(&database, "t_error_logs").await, [all[0], all[2], all[3]]);
    // Where no time is asked for, a row without one matches as well.
    assert_eq!(deleted(&app, "deleteErrorLogsWhere(filter: { keys: [\"a\"] })").await, 2);
    assert_eq!(ids(&database, "t_error_logs").await, [all[2]]);
    assert_eq!(deleted(&app, "deleteErrorLogsWhere(filter: { keys: [] })").await, 0);
}

async fn an_empty_filter_is_all_of_them(database: TestDatabase) {
    database.insert(&[ErrorRow::at("2026-03-01T10:00:00Z"), ErrorRow::at_stored(NULL)]).await;
    if database.kind() == Kind::Sqlite {
        database.insert(&[ErrorRow::at_stored("soon").code("none")]).await;
    }
    let app = TestApp::start(&database).await;
    let count = ids(&database, "t_error_logs").await.len();
    assert_eq!(deleted(&app, "deleteErrorLogsWhere(filter: {})").await, count);
    assert_eq!(ids(&database, "t_error_logs").await, [0; 0]);
    let response = app.graphql("mutation { deleteErrorLogsWhere { deletedCount } }").await;
    assert!(response.get("data").is_none(), "all is never meant by leaving something out");
}

async fn many_go_in_batches(database: TestDatabase) {
    let rows: Vec<_> = (0..2345)
        .map(|number| {
            ErrorRow::at("2026-03-01T10:00:00Z").code(if number % 2 == 0 { 1 } else { 2 })
        })
        .collect();
    database.insert(&rows).await;
    let app = TestApp::start(&database).await;
    assert_eq!(deleted(&app, "deleteErrorLogsWhere(filter: { errorCodes: [1] })").await, 1173);
    assert_eq!(ids(&database, "t_error_logs").await.len(), 1172);
}

/// In a gateway's table, which gives the ids of its last rows again once these are gone.
async fn what_arrives_meanwhile_stays(database: TestDatabase) {
    database.execute(gateway::ddl(database.kind())).await;
    // The last row is the oldest, so that the index of the key has it first.
    let row =
        |n: i64| ErrorRow::at_stored(NOW.parse::<DateTime<Utc>>().unwrap() - TimeDelta::seconds(n));
    database.insert(&(1..=700).map(|n| row(n).key("k")).collect::<Vec<_>>()).await;
    // For each of the first rows, which go last, one that matches as well.
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
    assert_eq!(ids(&database, "t_error_logs").await.len(), 100);
}

/// Others delete as well: what they were faster with does not count.
async fn what_is_told_is_what_was_deleted(database: TestDatabase) {
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
    assert_eq!(ids(&database, "t_request_log").await.len(), 2, "a row without a time stays");
    assert_eq!(ids(&database, "t_error_logs").await.len(), 1);
    for args in ["callsOlderThan: null", "callsOlderThan: \"P3000000D\""] {
        let refused = prune(args).await;
        assert_eq!(refused["errors"][0]["extensions"]["argument"], "callsOlderThan", "{refused}");
    }
}

async fn the_room_that_is_freed_is_told(database: TestDatabase) {
    let row = ErrorRow::at("2026-02-01T00:00:00Z").log("x".repeat(4000));
    database.insert(&vec![row; 500]).await;
    let app = TestApp::start(&database).await;
    let query = "mutation { pruneLogs(errorsOlderThan: \"P1D\") { deletedErrorLogs freedBytes } }";
    let pruned = app.data(query).await["pruneLogs"].clone();
    assert_eq!(pruned["deletedErrorLogs"], 500);
    let freed = pruned["freedBytes"].as_u64().unwrap();
    match database.kind() {
        // A page each, at least.
        Kind::Sqlite => assert!((500 * 4096..800 * 4096).contains(&freed), "{freed}"),
        // They keep the room for new rows.
        Kind::Postgres | Kind::MariaDb => assert_eq!(freed, 0),
    }
    let storage = app.data("{ serverInfo { storage { freeBytes } } }").await;
    if database.kind() == Kind::Sqlite {
        assert_eq!(storage["serverInfo"]["storage"]["freeBytes"], 0, "{storage}");
    }
}

/// Somebody holds a row, so that the request cannot come to its end.
async fn what_time_did_not_suffice_for_is_told(database: TestDatabase) {
    let rows: Vec<_> = (1..=600).map(|id| ErrorRow::at("2026-02-01T10:00:00Z").id(id)).collect();
    database.insert(&rows).await;
    let app = TestApp::start_with(&database, |config| config.graphql.timeout_seconds = 2).await;
    database.execute("BEGIN; SELECT id FROM t_error_logs WHERE id = 500 FOR UPDATE").await;
    for mutation in [
        "pruneLogs(errorsOlderThan: \"P1D\") { deletedErrorLogs }",
        "deleteErrorLogsWhere(filter: {}) { deletedCount }",
    ] {
        let before = ids(&database, "t_error_logs").await.len();
        let response = app.graphql(&format!("mutation {{ {mutation} }}")).await;
        let error = &response["errors"][0];
        assert_eq!(error["extensions"]["code"], "TIMEOUT", "{response}");
        let deleted = before - ids(&database, "t_error_logs").await.len();
        assert_eq!(error["extensions"]["deletedErrorLogs"], deleted, "{response}");
        assert_eq!(error["extensions"]["deletedCalls"], 0);
        let words = format!("0 calls and {deleted} error logs");
        assert!(error["message"].as_str().unwrap().contains(&words), "{response}");
    }
    database.execute("ROLLBACK").await;
    // A slow database may have it sent again more than once.
    let prune = "mutation { pruneLogs(errorsOlderThan: \"P1D\") { deletedErrorLogs } }";
    while app.graphql(prune).await["errors"][0]["extensions"]["code"] == "TIMEOUT" {}
    assert_eq!(ids(&database, "t_error_logs").await, [0; 0]);
}

async fn deleting_needs_its_scope(database: TestDatabase) {
    database.insert(&[ErrorRow::at("2026-03-01T10:00:00Z")]).await;
    let app = TestApp::start_with(&database, |config| {
        let tokens = "others:READ,READ_REQUESTS,REVEAL_KEYS,RECORD,METRICS:0123456789abcdef";
        config.access = settings(&["--tokens", tokens]);
    })
    .await;
    for field in [
        "deleteErrorLogs(ids: [\"error_1\"]) { deletedCount }",
        "deleteErrorLogsWhere(filter: {}) { deletedCount }",
        "pruneLogs(errorsOlderThan: \"PT1S\") { deletedErrorLogs }",
    ] {
        let refused = app.graphql_as("0123456789abcdef", &format!("mutation {{ {field} }}")).await;
        assert_eq!(refused["errors"][0]["extensions"]["code"], "FORBIDDEN");
        assert!(refused["errors"][0]["message"].as_str().unwrap().contains("DELETE"), "{refused}");
    }
    assert_eq!(ids(&database, "t_error_logs").await.len(), 1);
}

async fn deletions_are_in_the_audit_log(database: TestDatabase) {
    database.insert(&[ErrorRow::at("2026-03-01T10:00:00Z").key("AIza-a-secret-key")]).await;
    let app = TestApp::start(&database).await;
    deleted(&app, "deleteErrorLogs(ids: [\"error_900\", \"error_800\"])").await;
    let filter = "{ keys: [\"AIza-a-secret-key\"], contains: \"quota\" }";
    deleted(&app, &format!("deleteErrorLogsWhere(filter: {filter})")).await;
    app.data("mutation { pruneLogs(callsOlderThan: \"P90D\") { deletedCalls } }").await;
    let rows =
        database.query("SELECT caller, action, subject FROM callscope_audit ORDER BY id").await;
    let texts: Vec<(&str, &str)> =
        rows.iter().map(|row| (row[1].as_str().unwrap(), row[2].as_str().unwrap())).collect();
    assert!(rows.iter().all(|row| row[0] == "anonymous"));
    assert_eq!(texts[0], ("DELETE_ERROR_LOGS", "{\"ids\":[800,900]}"));
    let key = app.data("{ apiKeys { nodes { id } } }").await;
    assert_eq!(key["apiKeys"]["nodes"], json!([]), "its only error log is gone");
    assert_eq!(texts[1].0, "DELETE_ERROR_LOGS");
    assert!(texts[1].1.contains("\"key_") && texts[1].1.contains("quota"), "{}", texts[1].1);
    assert!(!texts[1].1.contains("AIza"), "{}", texts[1].1);
    assert_eq!(texts[2], ("PRUNE_LOGS", "{\"callsOlderThan\":\"P90D\",\"errorsOlderThan\":null}"));
}

async fn nothing_is_deleted_that_the_audit_log_cannot_tell(database: TestDatabase) {
    database.insert(&[ErrorRow::at("2026-03-01T10:00:00Z")]).await;
    let app = TestApp::start(&database).await;
    database.execute("DROP TABLE callscope_audit").await;
    let response =
        app.graphql("mutation { deleteErrorLogsWhere(filter: {}) { deletedCount } }").await;
    assert_eq!(response["errors"][0]["extensions"]["code"], "DATABASE_UNAVAILABLE", "{response}");
    assert_eq!(ids(&database, "t_error_logs").await.len(), 1);
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
        // Of a key with a row, and of one without.
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
    assert!(subjects[0].contains("AIza...qrst"), "an auditor sees what was meant: {}", subjects[0]);
}
