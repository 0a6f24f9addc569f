//! `callscope partition convert`: existing tables of PostgreSQL get monthly partitions while a gateway writes.

use std::cell::{Cell, RefCell};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use callscope::clock::Clock;
use callscope::doctor::{CheckInput, run_checks};
use callscope::prune::{self, Cutoffs, Pace, Tally};
use callscope::store::connect::migrate;
use callscope::store::partition::{self, convert};
use sea_orm::sqlx::{Connection, PgConnection, Row, query};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::rollups::{self, folded};
use super::subscriptions::Events;
use crate::support::{
    CallRow, ErrorRow, Kind, NOW, TestApp, TestDatabase, eventually, gateway, settings,
};
use crate::tests;

tests! {
    tables_of_the_gateway_are_converted_while_it_writes.empty().only(&[Kind::Postgres]),
    own_tables_are_converted_while_a_gateway_writes.empty().only(&[Kind::Postgres]),
    a_running_server_goes_on.empty().only(&[Kind::Postgres]),
    what_would_be_lost_is_refused.empty().only(&[Kind::Postgres]),
    missing_rights_are_reported.empty().only(&[Kind::Postgres]),
    rows_of_other_partitions_are_refused.empty().only(&[Kind::Postgres]),
    a_table_in_use_is_not_waited_for.empty().only(&[Kind::Postgres]),
    ids_continue_at_the_next_one_of_the_sequence.empty().only(&[Kind::Postgres]),
    a_stopped_command_waits_until_it_can_drop_its_check.empty().only(&[Kind::Postgres]),
    retention_empties_the_first_partition.empty().only(&[Kind::Postgres]),
    a_first_partition_in_use_does_not_keep_other_months.empty().only(&[Kind::Postgres]),
    a_server_drops_the_check_of_a_killed_command.empty().only(&[Kind::Postgres]),
    a_running_server_finds_the_partitions.empty().only(&[Kind::Postgres]),
}

const TABLES: [&str; 2] = ["t_request_log", "t_error_logs"];
/// A lock that the command waits for, so that it can be killed in a step.
const GATE: u32 = 42;

/// Counts the statements that change the schema, and lets one of them fail.
const FAULTS: &str = "
    CREATE SEQUENCE steps;
    CREATE TABLE fault (step BIGINT, kind TEXT);
    CREATE FUNCTION fail() RETURNS event_trigger LANGUAGE plpgsql AS $$
    DECLARE kind TEXT := (SELECT f.kind FROM fault AS f WHERE step = nextval('steps'));
    BEGIN
        IF kind = 'error' THEN RAISE EXCEPTION 'no disk';
        ELSIF kind = 'lost' THEN PERFORM pg_terminate_backend(pg_backend_pid());
        ELSIF kind IS NOT NULL THEN PERFORM pg_advisory_lock(42), pg_advisory_unlock(42);
        END IF;
    END $$;
    CREATE EVENT TRIGGER fail ON ddl_command_start EXECUTE FUNCTION fail();
    SELECT pg_advisory_lock(42)";

fn start(database: &TestDatabase) -> Child {
    start_with(database.url())
}

fn start_with(url: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callscope"));
    command.env_clear().args(["partition", "convert", "--database-url", url]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The error of the command.
async fn end(command: Child) -> Option<String> {
    let output = tokio::task::spawn_blocking(|| command.wait_with_output().unwrap());
    let output = output.await.unwrap();
    (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
}

async fn converted(database: &TestDatabase) -> u64 {
    let tables = "pg_class WHERE relkind = 'p' AND relname IN ('t_request_log', 't_error_logs')";
    database.count(tables).await
}

async fn checks(database: &TestDatabase) -> u64 {
    database.count("pg_constraint WHERE conname = 'callscope_before'").await
}

/// The ids that a gateway got.
#[derive(Default)]
struct Written {
    calls: RefCell<Vec<i64>>,
    errors: RefCell<Vec<i64>>,
    is_stopped: Cell<bool>,
}

fn ids(rows: &[sea_orm::sqlx::postgres::PgRow]) -> Vec<i64> {
    let id = |row: &sea_orm::sqlx::postgres::PgRow| {
        row.try_get::<i64, _>(0).unwrap_or_else(|_| row.get::<i32, _>(0).into())
    };
    rows.iter().map(id).collect()
}

/// Writes with prepared statements: one row, several rows, and transactions of both tables. The ids of a connection ascend.
async fn write(url: &str, written: &Written) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let (mut last_call, mut last_error) = (0, 0);
    let call = "INSERT INTO t_request_log (request_time, api_key, is_success, latency_ms) \
        VALUES (LOCALTIMESTAMP, 'k', TRUE, $1) RETURNING id";
    let error = "INSERT INTO t_error_logs (request_time, error_log) \
        VALUES (LOCALTIMESTAMP, $1), (LOCALTIMESTAMP, $1) RETURNING id";
    for number in 0_i32.. {
        if written.is_stopped.get() {
            break;
        }
        let one = query(call).bind(number).fetch_all(&mut connection).await.unwrap();
        query("BEGIN").execute(&mut connection).await.unwrap();
        let two = query(call).bind(number).fetch_all(&mut connection).await.unwrap();
        let text = number.to_string();
        let errors = query(error).bind(text).fetch_all(&mut connection).await.unwrap();
        query("COMMIT").execute(&mut connection).await.unwrap();
        for id in ids(&one).into_iter().chain(ids(&two)) {
            assert!(id > last_call, "{id} after {last_call}");
            last_call = id;
            written.calls.borrow_mut().push(id);
        }
        for id in ids(&errors) {
            assert!(id > last_error, "{id} after {last_error}");
            last_error = id;
            written.errors.borrow_mut().push(id);
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Runs the command with a fault in each of its steps, until it has none.
async fn convert_with_faults(database: &TestDatabase) {
    database.execute(FAULTS).await;
    let kinds = ["error", "lost", "killed", "stopped"];
    let (mut attempt, mut faults, mut done) = (0, [0; 4], 0);
    loop {
        // Each kind in the steps before the switch, which is one transaction.
        let step = if attempt < 16 { attempt / 4 + 1 } else { 5 + (attempt - 16) * 6 };
        let which = attempt % kinds.len();
        attempt += 1;
        let fault = format!(
            "DELETE FROM fault; SELECT setval('steps', 1, FALSE); INSERT INTO fault VALUES ({}, '{}')",
            step, kinds[which]
        );
        database.execute(&fault).await;
        let mut command = start(database);
        if which >= 2 {
            let waits = "pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 42 \
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            eventually("the command waits, or ends", async || {
                database.count(waits).await > 0 || command.try_wait().unwrap().is_some()
            })
            .await;
            if which == 2 {
                command.kill().unwrap();
            } else if command.try_wait().unwrap().is_none() {
                let id = command.id().to_string();
                assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
            }
        }
        let error = end(command).await;
        database.execute(&format!("SELECT pg_advisory_unlock({GATE})")).await;
        let sessions = "pg_stat_activity WHERE datname = current_database() \
            AND application_name <> 'gateway' AND pid <> pg_backend_pid() \
            AND backend_type = 'client backend'";
        eventually("the sessions of the command end", async || database.count(sessions).await == 0)
            .await;
        database.execute(&format!("SELECT pg_advisory_lock({GATE})")).await;
        let now = converted(database).await;
        let Some(error) = error else { break };
        // Only a process that was killed leaves it.
        assert!(which == 2 || checks(database).await == 0, "{error}");
        faults[which] += 1;
        if now > done {
            (attempt, done) = (0, now);
        }
    }
    assert!(faults.iter().all(|count| *count >= 8), "{faults:?}");
    assert_eq!((converted(database).await, checks(database).await), (2, 0));
    database.execute("DROP EVENT TRIGGER fail; DROP TABLE fault; DROP SEQUENCE steps").await;
}

/// Converts the tables with faults while a gateway writes, and compares all rows.
async fn convert_while_writing(database: &TestDatabase, gateway_url: &str) {
    let content = async |table: &str, rows: &str| {
        let sql = format!(
            "SELECT COALESCE(md5(string_agg(CAST({table} AS TEXT), ',' ORDER BY id)), '') FROM {table} WHERE {rows}"
        );
        database.value(&sql).await
    };
    let mut old = vec![];
    for table in TABLES {
        let ids = database.ids(table).await;
        let within = format!("id <= {}", ids.last().unwrap());
        let before = content(table, &within).await;
        old.push((table, ids, within, before));
    }
    let written = Written::default();
    let write = || write(gateway_url, &written);
    let convert = async {
        convert_with_faults(database).await;
        sleep(Duration::from_millis(300)).await;
        written.is_stopped.set(true);
    };
    futures_util::join!(write(), write(), write(), convert);
    for ((table, mut ids, within, before), new) in
        old.into_iter().zip([written.calls, written.errors])
    {
        ids.extend(new.into_inner());
        ids.sort_unstable();
        assert_eq!(database.ids(table).await, ids, "{table}");
        assert_eq!(content(table, &within).await, before, "{table}");
        assert_eq!(database.count(&format!("{table}_before")).await, ids.len() as u64);
    }
    // Each index of the partitions belongs to one of the table, which is valid.
    let loose = "pg_index JOIN pg_inherits ON inhrelid = indrelid WHERE NOT indisprimary AND (NOT indisvalid \
        OR NOT EXISTS (SELECT FROM pg_inherits AS of WHERE of.inhrelid = indexrelid))";
    assert_eq!(database.count(loose).await, 0);
    // None was built in the switch, which would name it differently.
    let built = "pg_index JOIN pg_class ON oid = indexrelid WHERE NOT indisprimary \
        AND indrelid = CAST('t_request_log_before' AS regclass) AND relname NOT LIKE 'callscope%before'";
    assert_eq!(database.count(built).await, 0);
    let invalid = "pg_index WHERE NOT indisvalid";
    assert_eq!(database.count(invalid).await, 0);
    // A repetition has nothing to do.
    assert_eq!(end(start(database)).await, None);
}

async fn fill(database: &TestDatabase) {
    let rows = "generate_series(1, 2000) AS i";
    let time = "LOCALTIMESTAMP - i * INTERVAL '1 hour'";
    database
        .execute(&format!(
            "INSERT INTO t_request_log (request_time, model_name, is_success, latency_ms) \
             SELECT {time}, 'm' || i % 5, TRUE, i FROM {rows}; \
             INSERT INTO t_error_logs (request_time, error_log, request_msg) SELECT {time}, 'quota', '{{}}' FROM {rows}"
        ))
        .await;
}

/// A role of this database only: all databases of a server share them.
fn role(name: &str, database: &TestDatabase) -> String {
    let database = database.url().rsplit('/').next().unwrap();
    format!("{name}_{}", &database[database.len().saturating_sub(16)..])
}

/// The gateway's user has only the rights to insert, and another role owns the tables.
async fn tables_of_the_gateway_are_converted_while_it_writes(database: TestDatabase) {
    database.execute(gateway::ddl(Kind::Postgres)).await;
    migrate(&database.config()).await.unwrap();
    fill(&database).await;
    let (user, owner) = (role("gateway", &database), role("owner", &database));
    database
        .execute(&format!(
            "CREATE ROLE {user} LOGIN; CREATE ROLE {owner}; \
             ALTER TABLE t_request_log OWNER TO {owner}; ALTER TABLE t_error_logs OWNER TO {owner}; \
             GRANT INSERT, SELECT (id), UPDATE (latency_ms) ON t_request_log TO {user}; \
             GRANT INSERT, SELECT ON t_error_logs TO {user} WITH GRANT OPTION; \
             GRANT USAGE ON t_request_log_id_seq, t_error_logs_id_seq TO {user}; \
             ALTER DEFAULT PRIVILEGES GRANT DELETE ON TABLES TO {user}"
        ))
        .await;
    let state = "SELECT string_agg(concat_ws(' ', relname, CAST(relowner AS regrole), \
        (SELECT string_agg(CAST(acl AS TEXT), ',' ORDER BY CAST(acl AS TEXT)) FROM unnest(relacl) AS acl), \
        (SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, attacl, \
        (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum)), ', ' \
        ORDER BY attnum) FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum > 0), \
        pg_get_serial_sequence(CAST(CAST(oid AS regclass) AS TEXT), 'id')), '; ' ORDER BY relname) FROM pg_class \
        WHERE relname IN ('t_request_log', 't_error_logs')";
    let before = database.value(state).await;
    assert!(before.as_str().unwrap().contains(&format!("{user}=a/{owner}")), "{before}");
    let url = database.url().replacen("callscope@", &format!("{user}@"), 1);
    convert_while_writing(&database, &format!("{url}?application_name=gateway")).await;
    assert_eq!(database.value(state).await, before);
    let others = format!(
        "pg_class WHERE (relname LIKE 't\\_%' OR relname LIKE 'callscope_moved%') AND relkind IN ('r', 'p') \
         AND CAST(relowner AS regrole) <> CAST('{owner}' AS regrole)"
    );
    assert_eq!(database.count(&others).await, 0);
    database
        .execute(&format!(
            "ALTER DEFAULT PRIVILEGES REVOKE DELETE ON TABLES FROM {user}; DROP OWNED BY {user}, {owner}; \
             DROP ROLE {user}, {owner}"
        ))
        .await;
}

async fn own_tables_are_converted_while_a_gateway_writes(database: TestDatabase) {
    migrate(&database.config()).await.unwrap();
    fill(&database).await;
    let url = format!("{}?application_name=gateway", database.url());
    convert_while_writing(&database, &url).await;
    let sequence = "SELECT pg_get_serial_sequence('t_request_log', 'id')";
    assert_eq!(database.value(sequence).await, "public.t_request_log_id_seq");
}

/// A server that was started before the conversion.
async fn a_running_server_goes_on(database: TestDatabase) {
    migrate(&database.config()).await.unwrap();
    for minute in 0..40 {
        let at = format!("2026-03-01T11:{minute:02}:30Z");
        database.insert(&[CallRow::at(&at).key("k").status(429)]).await;
        database.insert(&[ErrorRow::at(&at).key("k").log("Quota exceeded")]).await;
    }
    let app = rollups::start(&database).await;
    folded(&app).await;
    let mut events = Events::subscribe(&app, "subscription { callRecorded { model } }").await;
    let queries = [
        "{ usageStats { lastHour { total failed } last30Days { total } } }",
        "{ callDetails(period: LAST_HOUR) { totalCount nodes { id model errorLog { message } } } }",
        "{ callGroups(by: [MODEL], period: LAST_30_DAYS) { counts { total } latency { p95 } } }",
        "{ errorLogs { totalCount nodes { id message failureClass } } }",
        "{ errorGroups(by: [FAILURE_CLASS]) { count } }",
        "{ apiKeys { nodes { id } } }",
        "{ node(id: \"x\") { id } }",
    ];
    let answers = async || {
        let mut answers = vec![];
        for query in queries {
            answers.push(app.graphql(query).await);
        }
        answers
    };
    let mut expected = answers().await;
    for answer in &mut expected {
        answer.as_object_mut().unwrap().remove("extensions");
    }
    let compare = async |when: &str| {
        for (mut answer, expected) in answers().await.into_iter().zip(&expected) {
            answer.as_object_mut().unwrap().remove("extensions");
            assert_eq!(&answer, expected, "{when}");
        }
    };
    let convert = convert::convert(app.db(), NOW.parse().unwrap(), std::future::pending(), &|_| ());
    assert!(convert.await.unwrap());
    compare("after the conversion").await;
    assert!(!app.db().has_partitions());
    assert!(app.db().find_partitions().await.unwrap());
    app.db().use_partitions();
    compare("with partitions").await;
    for number in 0..3 {
        let model = format!("new {number}");
        if number == 1 {
            database.insert(&[CallRow::at("2026-03-01T11:59:00Z").model(model.clone())]).await;
        } else {
            let record = format!(
                "mutation {{ recordCalls(input: {{ calls: [{{ model: \"{model}\" }}] }}) {{ recorded }} }}"
            );
            assert_eq!(app.data(&record).await["recordCalls"]["recorded"], 1);
        }
        assert_eq!(events.next().await["data"]["callRecorded"]["model"], model);
    }
    folded(&app).await;
    let total = app.data("{ usageStats { lastHour { total } } }").await;
    assert_eq!(total["usageStats"]["lastHour"]["total"], 41, "two are from this second");
    partition::detach(app.db(), "t_request_log_2026_05", NOW.parse().unwrap()).await.unwrap();
    partition::attach(app.db(), "t_request_log_2026_05").await.unwrap();
    let moved = partition::detach(app.db(), "t_request_log_2026_01", NOW.parse().unwrap()).await;
    let error = moved.unwrap_err().to_string();
    assert!(error.contains("the rows of 2026-01 are in t_request_log_before"), "{error}");
    app.shutdown().await;
}

async fn what_would_be_lost_is_refused(database: TestDatabase) {
    migrate(&database.config()).await.unwrap();
    database
        .execute(
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        )
        .await;
    let child = "CREATE TABLE child () INHERITS (t_error_logs)";
    for (make, undo, expected) in [
        (
            "CREATE VIEW v AS SELECT id FROM t_request_log",
            "DROP VIEW v",
            "rule _RETURN on view v uses it",
        ),
        (
            "CREATE FUNCTION g(call t_request_log) RETURNS INT LANGUAGE sql AS 'SELECT 1'",
            "DROP FUNCTION g",
            "function g(t_request_log) uses it",
        ),
        (
            "CREATE TRIGGER tr BEFORE INSERT ON t_error_logs FOR EACH ROW EXECUTE FUNCTION f()",
            "DROP TRIGGER tr ON t_error_logs",
            "it has the trigger tr",
        ),
        (
            "CREATE RULE ru AS ON DELETE TO t_request_log DO INSTEAD NOTHING",
            "DROP RULE ru ON t_request_log",
            "it has the rule ru",
        ),
        (
            "CREATE TABLE other (call BIGINT REFERENCES t_request_log)",
            "DROP TABLE other",
            "constraint other_call_fkey on table other uses it",
        ),
        (
            "ALTER TABLE t_request_log ADD CONSTRAINT positive CHECK (latency_ms >= 0)",
            "ALTER TABLE t_request_log DROP CONSTRAINT positive",
            "it has the constraint positive",
        ),
        (
            "ALTER TABLE t_request_log ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t_request_log",
            "ALTER TABLE t_request_log DISABLE ROW LEVEL SECURITY; DROP POLICY p ON t_request_log",
            "it has row security; it has the policy p",
        ),
        (
            "CREATE PUBLICATION pub FOR ALL TABLES",
            "DROP PUBLICATION pub",
            "it is in the publication pub",
        ),
        (child, "DROP TABLE child", "it has the child child"),
        (
            "CREATE UNIQUE INDEX u ON t_request_log (api_key, request_time)",
            "DROP INDEX u",
            "it has the unique index u",
        ),
        (
            "ALTER TABLE t_request_log ADD twice INT GENERATED ALWAYS AS (latency_ms * 2) STORED",
            "ALTER TABLE t_request_log DROP twice",
            "its column twice is generated",
        ),
        (
            "ALTER TABLE t_request_log SET UNLOGGED",
            "ALTER TABLE t_request_log SET LOGGED",
            "it is not logged",
        ),
        (
            "CREATE TABLE t_request_log_before (id INT)",
            "DROP TABLE t_request_log_before",
            "the relation t_request_log_before exists",
        ),
    ] {
        database.execute(make).await;
        let error = end(start(&database)).await.unwrap_or_else(|| panic!("{make}"));
        assert!(error.contains(expected), "{make}: {error}");
        database.execute(undo).await;
    }
    assert_eq!((converted(&database).await, checks(&database).await), (0, 0));
    // New tables would be in another schema.
    database.execute("CREATE SCHEMA first; ALTER TABLE t_error_logs SET SCHEMA first").await;
    let name = database.url().rsplit('/').next().unwrap();
    database.execute(&format!("ALTER DATABASE \"{name}\" SET search_path = public, first")).await;
    let error = end(start(&database)).await.unwrap();
    assert!(error.contains("it is in the schema first"), "{error}");
    database.execute("ALTER TABLE first.t_error_logs SET SCHEMA public; DROP SCHEMA first").await;
    assert_eq!(end(start(&database)).await, None);
}

async fn missing_rights_are_reported(database: TestDatabase) {
    migrate(&database.config()).await.unwrap();
    let (user, owner) = (role("user", &database), role("owner", &database));
    database
        .execute(&format!(
            "CREATE ROLE {user} LOGIN; CREATE ROLE {owner}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {user}; \
             ALTER TABLE t_request_log OWNER TO {owner}; ALTER TABLE t_error_logs OWNER TO {owner}"
        ))
        .await;
    let url = database.url().replacen("callscope@", &format!("{user}@"), 1);
    for (grant, expected) in [
        (
            "GRANT USAGE ON SCHEMA public".to_owned(),
            "this user does not have the role of its owner",
        ),
        (format!("GRANT {owner}"), "this user needs CREATE on the schema public; its owner"),
        ("GRANT CREATE ON SCHEMA public".to_owned(), "needs CREATE on the schema public"),
    ] {
        database.execute(&format!("{grant} TO {user}")).await;
        let error = end(start_with(&url)).await.unwrap();
        assert!(error.contains(expected), "{grant}: {error}");
    }
    database.execute(&format!("GRANT CREATE ON SCHEMA public TO {owner}")).await;
    assert_eq!(end(start_with(&url)).await, None);
    database.execute("INSERT INTO t_request_log (is_success) VALUES (TRUE)").await;
    database.execute(&format!("DROP OWNED BY {user}, {owner}; DROP ROLE {user}, {owner}")).await;
}

async fn rows_of_other_partitions_are_refused(database: TestDatabase) {
    migrate(&database.config()).await.unwrap();
    database
        .execute(
            "INSERT INTO t_error_logs (request_time) VALUES (NULL), (LOCALTIMESTAMP + INTERVAL '70 days'), \
             (LOCALTIMESTAMP + INTERVAL '30 days')",
        )
        .await;
    let error = end(start(&database)).await.unwrap();
    assert!(
        error.contains("t_error_logs has 1 rows without a time and 1 rows at or after"),
        "{error}"
    );
    assert_eq!((converted(&database).await, checks(&database).await), (0, 0));
    database.execute("DELETE FROM t_error_logs WHERE id < 3").await;
    assert_eq!(end(start(&database)).await, None);
    database.execute("INSERT INTO t_error_logs (request_time) VALUES (NULL)").await;
    assert_eq!(database.ids("t_error_logs_default").await, [4]);
    assert_eq!(database.ids("t_error_logs_before").await, [3]);
}

/// A long transaction of another program.
async fn a_table_in_use_is_not_waited_for(database: TestDatabase) {
    migrate(&database.config()).await.unwrap();
    database.execute("BEGIN; SELECT * FROM t_error_logs").await;
    let command = start(&database);
    let work = async {
        let mut other = PgConnection::connect(database.url()).await.unwrap();
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let insert = query("INSERT INTO t_error_logs (request_time) VALUES (LOCALTIMESTAMP)");
            let start = Instant::now();
            insert.execute(&mut other).await.unwrap();
            slowest = slowest.max(start.elapsed());
            sleep(Duration::from_millis(200)).await;
        }
        slowest
    };
    let (error, slowest) = futures_util::join!(end(command), work);
    // The lock is waited for 0.2 seconds.
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let error = error.unwrap();
    assert!(error.contains("a transaction of another program uses t_error_logs"), "{error}");
    database.execute("COMMIT").await;
    assert_eq!((converted(&database).await, checks(&database).await), (1, 0));
    // Continued.
    assert_eq!(end(start(&database)).await, None);
    assert_eq!((converted(&database).await, database.count("t_error_logs_before").await), (2, 20));
}

async fn ids_continue_at_the_next_one_of_the_sequence(database: TestDatabase) {
    migrate(&database.config()).await.unwrap();
    database.execute("ALTER TABLE t_request_log ALTER COLUMN id RESTART WITH 500").await;
    assert_eq!(end(start(&database)).await, None);
    let insert =
        "INSERT INTO t_request_log (request_time, is_success) VALUES (LOCALTIMESTAMP, TRUE)";
    database.execute(&format!("{insert}; {insert}")).await;
    assert_eq!(database.ids("t_request_log").await, [500, 501]);
}

/// A transaction of another program that started after the CHECK.
async fn a_stopped_command_waits_until_it_can_drop_its_check(database: TestDatabase) {
    migrate(&database.config()).await.unwrap();
    let app = TestApp::start(&database).await;
    let check = "ALTER TABLE t_error_logs ADD CONSTRAINT callscope_before \
        CHECK (request_time IS NOT NULL AND request_time < '2100-01-01') NOT VALID";
    database.execute(check).await;
    database.execute("BEGIN; SELECT * FROM t_error_logs").await;
    let waits = Cell::new(false);
    let messages = std::sync::Mutex::new(vec![]);
    let progress = |message: &str| messages.lock().unwrap().push(message.to_owned());
    let command = async {
        let stop = std::future::ready(());
        let done = convert::convert(app.db(), NOW.parse().unwrap(), stop, &progress).await;
        assert!(!waits.get(), "it ended before the transaction");
        done.unwrap()
    };
    let other = async {
        waits.set(true);
        sleep(Duration::from_secs(9)).await;
        waits.set(false);
        database.execute("COMMIT").await;
    };
    let (done, ()) = futures_util::join!(command, other);
    assert!(!done);
    assert_eq!(checks(&database).await, 0);
    let messages = messages.into_inner().unwrap();
    assert!(
        messages[0].contains("dropping the CHECK callscope_before has to wait"),
        "{messages:?}"
    );
    app.shutdown().await;
}

async fn prune_before(app: &TestApp, before: &str) -> (u64, u64) {
    let before = Some(before.parse().unwrap());
    let cutoffs = Cutoffs { now: NOW.parse().unwrap(), calls: before, error_logs: before };
    let tally = Tally::default();
    prune::prune(app.db(), cutoffs, Pace::foreground(app.db()), &tally, &|| false).await.unwrap();
    (tally.counts().calls, tally.counts().error_logs)
}

async fn retention_empties_the_first_partition(database: TestDatabase) {
    migrate(&database.config()).await.unwrap();
    for month in ["2026-01", "2026-02"] {
        let times = ["01T00:00:00Z", "01T10:00:00Z"].map(|time| format!("{month}-{time}"));
        database.insert(&times.each_ref().map(|at| CallRow::at(at).key("k").model(month))).await;
        database.insert(&times.each_ref().map(|at| ErrorRow::at(at).key("k"))).await;
    }
    let app = rollups::start(&database).await;
    folded(&app).await;
    let now = NOW.parse().unwrap();
    assert!(convert::convert(app.db(), now, std::future::pending(), &|_| ()).await.unwrap());
    app.db().use_partitions();
    let file = "SELECT pg_relation_filenode('t_request_log_before')";
    let (first, size) = (database.value(file).await, "pg_table_size('t_error_logs_before')");
    // Row by row, while it has younger ones.
    assert_eq!(prune_before(&app, "2026-02-01T00:00:00Z").await, (2, 2));
    assert_eq!(database.value(file).await, first);
    // It ends with April. A late row of January is in it, one of May in its month.
    database
        .insert(&[CallRow::at("2026-01-05T00:00:00Z"), CallRow::at("2026-05-05T00:00:00Z")])
        .await;
    assert_eq!(database.ids("t_request_log_2026_05").await, [6]);
    // Deleted texts still have their space.
    database
        .execute(
            "INSERT INTO t_error_logs (request_time, error_log) SELECT '2026-02-01', \
             string_agg(md5(CAST(i AS TEXT)), '') FROM generate_series(1, 70000) AS i; \
             DELETE FROM t_error_logs",
        )
        .await;
    assert!(database.value(&format!("SELECT {size}")).await.as_i64().unwrap() > 1 << 20);
    folded(&app).await;
    assert_eq!(prune_before(&app, "2026-05-01T00:00:00Z").await, (3, 0));
    assert_ne!(database.value(file).await, first, "it was emptied as a whole");
    assert!(database.value(&format!("SELECT {size}")).await.as_i64().unwrap() < 1 << 20);
    let emptied = database.value(file).await;
    assert_eq!(prune_before(&app, "2026-05-01T00:00:00Z").await, (0, 0));
    assert_eq!(database.value(file).await, emptied, "an empty one is left");
    assert_eq!(database.ids("t_request_log").await, [6]);
    // Earlier times still have their partition.
    database.insert(&[CallRow::at("2026-01-05T00:00:00Z")]).await;
    assert_eq!(database.ids("t_request_log_before").await, [7]);
    let groups = "{ callGroups(by: [MODEL], between: { since: \"2026-01-01T00:00:00Z\", \
        until: \"2026-03-01T00:00:00Z\" }) { model counts { total } } }";
    let groups = app.data(groups).await["callGroups"].clone();
    let february = json!({ "model": "2026-02", "counts": { "total": 2 } });
    assert!(groups.as_array().unwrap().contains(&february), "{groups}");
    app.shutdown().await;
}

async fn a_first_partition_in_use_does_not_keep_other_months(database: TestDatabase) {
    migrate(&database.config()).await.unwrap();
    let app = TestApp::start(&database).await;
    let now = NOW.parse().unwrap();
    assert!(convert::convert(app.db(), now, std::future::pending(), &|_| ()).await.unwrap());
    app.db().use_partitions();
    database
        .insert(&[ErrorRow::at("2026-01-05T00:00:00Z"), ErrorRow::at("2026-05-05T00:00:00Z")])
        .await;
    database.execute("BEGIN; SELECT * FROM t_error_logs_before").await;
    assert_eq!(prune_before(&app, "2026-06-01T00:00:00Z").await, (0, 2));
    let month = "SELECT COUNT(*) FROM pg_class WHERE relname = 't_error_logs_2026_05'";
    assert_eq!(database.value(month).await, Value::from(0));
    database.execute("COMMIT").await;
    app.shutdown().await;
}

async fn a_server_drops_the_check_of_a_killed_command(database: TestDatabase) {
    migrate(&database.config()).await.unwrap();
    let check = "ALTER TABLE t_request_log ADD CONSTRAINT callscope_before \
        CHECK (request_time IS NOT NULL AND request_time < '2100-01-01') NOT VALID";
    database.execute(check).await;
    let findings = async || {
        let (server, access) = (settings(&[]), settings(&[]));
        let input = CheckInput {
            database: &database.config(),
            server: &server,
            access: &access,
            settings: &[],
            clock: &Clock::System,
        };
        run_checks(&input).await.iter().map(ToString::to_string).collect::<String>()
    };
    let interrupted =
        "t_request_log refuses rows without a time, and from 2100-01-01 00:00:00 on all rows";
    assert!(findings().await.contains(interrupted));
    let app = TestApp::start(&database).await;
    // A command that is running keeps it.
    database.execute("SELECT pg_advisory_lock(7163098414)").await;
    convert::drop_abandoned(app.db()).await.unwrap();
    assert_eq!(checks(&database).await, 1);
    assert!(!findings().await.contains(interrupted));
    let error = end(start(&database)).await.unwrap();
    assert!(error.contains("another `callscope partition convert` is running"), "{error}");
    database.execute("SELECT pg_advisory_unlock(7163098414)").await;
    sleep(Duration::from_secs(50)).await;
    eventually("the job drops it", async || checks(&database).await == 0).await;
    database.execute("INSERT INTO t_request_log (is_success) VALUES (TRUE)").await;
    assert_eq!(database.value("SELECT COUNT(*) FROM t_request_log").await, Value::from(1));
    app.shutdown().await;
}

async fn a_running_server_finds_the_partitions(database: TestDatabase) {
    migrate(&database.config()).await.unwrap();
    let app = TestApp::start(&database).await;
    assert_eq!(end(start(&database)).await, None);
    // Its job looks each minute, and waits for standbys after the first time.
    sleep(Duration::from_secs(90)).await;
    eventually("the server uses the partitions", async || app.db().has_partitions()).await;
    let list = "{ callDetails(period: LAST_HOUR) { totalCount } }";
    let statements = app.sql(list).await;
    assert!(statements.iter().any(|sql| sql.contains("callscope_moved_calls")), "{statements:?}");
    assert_eq!(app.readiness().await, (200, "ready\n".to_owned()));
    app.shutdown().await;
}
