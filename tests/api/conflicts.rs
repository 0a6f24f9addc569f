//! Transactions with a deadlock, a serialization failure or a lock timeout are retried a limited
//! number of times, and nothing is stored or deleted twice. Triggers raise the errors.

use callscope::domain::record::CallRecord;
use callscope::store::write::{self, Batch};
use serde_json::{Value, json};

use crate::support::{CallRow, ErrorRow, Kind, TestApp, TestDatabase, error_code};
use crate::tests;

tests! {
    recording_is_retried.only(&[Kind::Postgres, Kind::MariaDb]),
    a_conflict_at_commit_is_retried.only(&[Kind::Postgres]),
    deleting_and_pruning_are_retried.only(&[Kind::Postgres, Kind::MariaDb]),
    imports_are_retried.only(&[Kind::Postgres, Kind::MariaDb]),
    retries_are_limited.only(&[Kind::Postgres, Kind::MariaDb]),
    a_query_that_a_standby_cancels_is_repeated_once.only(&[Kind::Postgres]),
    a_rejected_group_is_written_batch_by_batch.only(&[Kind::Postgres, Kind::MariaDb]),
}

const EACH: &[&str] = &["deadlock", "serialization failure", "lock timeout"];

/// Makes the next `times` statements of kind `what` fail, such as `INSERT ON t_request_log`.
async fn inject_conflict(database: &TestDatabase, what: &str, conflict: &str, times: u32) {
    match database.kind() {
        Kind::Postgres => {
            postgres_function(database, conflict, times).await;
            let table = what.rsplit(' ').next().unwrap();
            database
                .execute(&format!(
                    "DROP TRIGGER IF EXISTS conflict ON {table}; CREATE TRIGGER conflict BEFORE {what} \
                     FOR EACH STATEMENT EXECUTE FUNCTION conflict()"
                ))
                .await;
        }
        _ => {
            let number = match conflict {
                "lock timeout" => 1205,
                _ => 1213,
            };
            // A MyISAM table is not affected by a rollback.
            for statement in [
                "DROP TRIGGER IF EXISTS conflict".to_owned(),
                "CREATE OR REPLACE TABLE attempts (attempt INT) ENGINE = MyISAM".to_owned(),
                "INSERT INTO attempts VALUES (0)".to_owned(),
                format!(
                    "CREATE TRIGGER conflict BEFORE {what} FOR EACH ROW BEGIN \
                     UPDATE attempts SET attempt = attempt + 1; \
                     IF (SELECT attempt FROM attempts) <= {times} THEN \
                     SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'conflict'; \
                     END IF; END"
                ),
            ] {
                database.execute(&statement).await;
            }
        }
    }
}

async fn postgres_function(database: &TestDatabase, conflict: &str, times: u32) {
    let code = if conflict == "deadlock" { "40P01" } else { "40001" };
    // A sequence is not affected by a rollback.
    database
        .execute(&format!(
            "DROP SEQUENCE IF EXISTS attempts; CREATE SEQUENCE attempts; \
             CREATE OR REPLACE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('attempts') <= {times} THEN RAISE EXCEPTION 'conflict' USING ERRCODE = '{code}'; \
             END IF; RETURN NULL; END $$"
        ))
        .await;
}

async fn attempts(database: &TestDatabase) -> u64 {
    let attempts = match database.kind() {
        Kind::Postgres => "SELECT last_value FROM attempts",
        _ => "SELECT attempt FROM attempts",
    };
    database.value(attempts).await.as_u64().unwrap()
}

async fn record(app: &TestApp, calls: Value, key: Option<&str>) -> Value {
    let query = "mutation R($calls: [CallInput!]!, $key: String) {
        recordCalls(input: { calls: $calls, idempotencyKey: $key }) { recorded duplicate } }";
    app.graphql_with(query, json!({ "calls": calls, "key": key })).await
}

async fn recording_is_retried(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let failed = json!({ "statusCode": 500, "error": { "message": "m" } });
    let (mut calls, mut errors) = (0, 0);
    for conflict in EACH {
        for (batch, key, table) in [
            (json!([{}]), None, "t_request_log"),
            (json!([{}, failed]), None, "t_error_logs"),
            (json!([{}, failed, {}]), Some(*conflict), "callscope_idempotency"),
        ] {
            inject_conflict(&database, &format!("INSERT ON {table}"), conflict, 2).await;
            let response = record(&app, batch.clone(), key).await;
            let recorded = batch.as_array().unwrap().len();
            let expected = json!({ "recorded": recorded, "duplicate": false });
            assert_eq!(response["data"]["recordCalls"], expected, "{conflict}: {response}");
            assert!(attempts(&database).await >= 3);
            calls += recorded as u64;
            errors += u64::from(recorded > 1);
        }
    }
    assert_eq!(database.count("t_request_log").await, calls);
    assert_eq!(database.count("t_error_logs").await, errors);
}

async fn a_conflict_at_commit_is_retried(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database
        .execute("CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN END $$")
        .await;
    database
        .execute(
            "CREATE CONSTRAINT TRIGGER conflict AFTER INSERT ON t_request_log \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION conflict()",
        )
        .await;
    for (number, key) in [None, Some("key")].into_iter().enumerate() {
        postgres_function(&database, "serialization failure", 2).await;
        let response = record(&app, json!([{}]), key).await;
        assert_eq!(response["data"]["recordCalls"]["recorded"], 1, "{response}");
        assert_eq!(attempts(&database).await, 3);
        assert_eq!(database.count("t_request_log").await, number as u64 + 1);
    }
}

async fn deleting_and_pruning_are_retried(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for conflict in EACH {
        database.insert(&vec![CallRow::at("2026-02-01T00:00:00Z"); 7]).await;
        database.insert(&vec![ErrorRow::at("2026-02-01T00:00:00Z"); 5]).await;
        inject_conflict(&database, "DELETE ON t_error_logs", conflict, 2).await;
        let deleted =
            app.data("mutation { deleteErrorLogsWhere(filter: {}) { deletedCount } }").await;
        assert_eq!(deleted["deleteErrorLogsWhere"]["deletedCount"], 5, "{conflict}");
        inject_conflict(&database, "DELETE ON t_request_log", conflict, 2).await;
        let pruned =
            app.data("mutation { pruneLogs(callsOlderThan: \"P1D\") { deletedCalls } }").await;
        assert_eq!(pruned["pruneLogs"]["deletedCalls"], 7, "{conflict}");
        assert_eq!(database.count("t_request_log").await, 0);
    }
}

async fn imports_are_retried(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let call = CallRecord {
        timestamp: "2026-03-01T11:30:00Z".parse().unwrap(),
        model: None,
        key: None,
        status_code: Some(200),
        latency_ms: Some(1),
    };
    for conflict in EACH {
        inject_conflict(&database, "INSERT ON t_request_log", conflict, 2).await;
        let batch = Batch { calls: vec![call.clone(); 3], ..Batch::default() };
        write::insert(app.db(), &batch, None).await.unwrap();
    }
    assert_eq!(database.count("t_request_log").await, 3 * EACH.len() as u64);
}

async fn retries_are_limited(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for key in [None, Some("key")] {
        inject_conflict(&database, "INSERT ON t_request_log", "deadlock", 1000).await;
        let response = record(&app, json!([{}]), key).await;
        let code = error_code(&response);
        assert_eq!(code, "DATABASE_UNAVAILABLE", "{response}");
        assert_eq!(attempts(&database).await, 5);
    }
    assert_eq!(database.count("t_request_log").await, 0);
    inject_conflict(&database, "INSERT ON t_request_log", "deadlock", 0).await;
    let response = record(&app, json!([{}]), Some("key")).await;
    assert_eq!(response["data"]["recordCalls"]["duplicate"], false, "{response}");
    assert_eq!(database.count("t_request_log").await, 1);
}

async fn a_query_that_a_standby_cancels_is_repeated_once(database: TestDatabase) {
    let app = TestApp::start_read_only(&database).await;
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z").model("found")]).await;
    let query = "{ callDetails(period: LAST_HOUR) { nodes { model } } }";
    // A view that fails as a standby does that must remove rows which the statement needs.
    database
        .execute(
            "CREATE SEQUENCE attempts; ALTER TABLE t_request_log RENAME TO calls; \
             CREATE FUNCTION succeeds() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN true; END $$; \
             CREATE VIEW t_request_log AS SELECT * FROM calls WHERE succeeds()",
        )
        .await;
    for code in ["40001", "57P01"] {
        for (failures, expected) in [(1, ""), (1000, "DATABASE_UNAVAILABLE")] {
            database
                .execute(&format!(
                    "ALTER SEQUENCE attempts RESTART; CREATE OR REPLACE FUNCTION succeeds() RETURNS boolean \
                     LANGUAGE plpgsql AS $$ BEGIN IF nextval('attempts') <= {failures} THEN \
                     RAISE EXCEPTION 'conflict with recovery' USING ERRCODE = '{code}'; END IF; \
                     RETURN true; END $$"
                ))
                .await;
            let response = app.graphql(query).await;
            assert_eq!(error_code(&response), expected, "{response}");
            if failures == 1 {
                assert_eq!(response["data"]["callDetails"]["nodes"], json!([{ "model": "found" }]));
            }
            assert_eq!(attempts(&database).await, 2, "{code}");
        }
    }
}

/// One batch that conflicts with another server must not fail the others of its group.
async fn a_rejected_group_is_written_batch_by_batch(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let condition = "NEW.model_name = 'contended'";
    match database.kind() {
        Kind::Postgres => {
            database
                .execute(&format!(
                    "CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                     IF {condition} THEN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END IF; \
                     RETURN NEW; END $$; CREATE TRIGGER conflict BEFORE INSERT ON t_request_log \
                     FOR EACH ROW EXECUTE FUNCTION conflict()"
                ))
                .await;
        }
        _ => {
            database
                .execute(&format!(
                    "CREATE TRIGGER conflict BEFORE INSERT ON t_request_log FOR EACH ROW BEGIN \
                     IF {condition} THEN SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, \
                     MESSAGE_TEXT = 'conflict'; END IF; END"
                ))
                .await;
        }
    }
    let batches = (0..12).map(|number| {
        let model = if number == 5 { "contended".to_owned() } else { format!("model {number}") };
        let app = &app;
        async move { record(app, json!([{ "model": model }]), Some(&format!("key {number}"))).await }
    });
    let responses = futures_util::future::join_all(batches).await;
    for (number, response) in responses.iter().enumerate() {
        let expected = if number == 5 { "DATABASE_UNAVAILABLE" } else { "" };
        assert_eq!(error_code(response), expected, "{number}: {response}");
    }
    assert_eq!(database.count("t_request_log").await, 11);
    assert_eq!(database.count("callscope_idempotency").await, 11);
}
