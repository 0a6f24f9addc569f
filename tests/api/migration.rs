//! Opening a database: Callscope creates missing tables and indexes, and leaves existing ones
//! unchanged.

use callscope::observe::redact::without_values;
use callscope::store::{Database, connect};
use serde_json::{Value, json};

use crate::data::gateway_database;
use crate::support::{CallRow, ErrorRow, Kind, TestDatabase, gateway};
use crate::tests;

tests! {
    a_fresh_database_gets_tables_and_indexes.empty(),
    opening_twice_is_harmless.empty(),
    errors_show_the_names_of_tables_and_columns,
    four_concurrent_migrations_are_harmless.empty(),
    a_gateways_tables_stay_unchanged.empty(),
    a_gateway_can_continue_writing.empty(),
    an_older_audit_log_gets_its_columns.empty(),
    read_only_creates_nothing.empty(),
    read_only_changes_no_byte.empty().only(&[Kind::Sqlite]),
    read_only_changes_no_byte_of_a_real_file.empty().only(&[Kind::Sqlite]),
    the_gateways_tables_match_gemini_balance.empty().needs(REAL_DDL),
}

const REAL_DDL: &str = "../shared/data/ddl.sql";

const TABLES: [&str; 15] = [
    "callscope_audit",
    "callscope_error_cells",
    "callscope_error_days",
    "callscope_failures",
    "callscope_idempotency",
    "callscope_imports",
    "callscope_migrations",
    "callscope_rollup_cells",
    "callscope_rollup_gaps",
    "callscope_rollup_series",
    "callscope_rollup_state",
    "callscope_settings",
    "callscope_tokens",
    "t_error_logs",
    "t_request_log",
];

pub const INDEXES: [&str; 7] = [
    "callscope_audit_deletion(caller,deletion_id)",
    "callscope_error_logs_key(gemini_key,request_time,id,error_code)",
    "callscope_error_logs_time(request_time,id,error_code,error_type,model_name,gemini_key)",
    "callscope_idempotency_at(at)",
    "callscope_request_log_key(api_key,request_time,id,status_code,latency_ms,model_name)",
    "callscope_request_log_time(request_time,id,status_code,latency_ms,model_name,api_key)",
    "callscope_rollup_series_digest(digest)",
];

async fn a_fresh_database_gets_tables_and_indexes(database: TestDatabase) {
    assert_eq!(tables(&database).await, Vec::<String>::new());
    open(&database).await;
    assert_eq!(tables(&database).await, TABLES);
    assert_eq!(indexes(&database).await, INDEXES);
}

async fn opening_twice_is_harmless(database: TestDatabase) {
    open(&database).await;
    database.insert(&[CallRow::at("2026-03-01T12:00:00Z")]).await;
    let first = contents(&database).await;
    open(&database).await;
    assert_eq!(contents(&database).await, first);
    assert_eq!(tables(&database).await, TABLES);
    assert_eq!(indexes(&database).await, INDEXES);
}

async fn four_concurrent_migrations_are_harmless(database: TestDatabase) {
    futures_util::future::join_all((0..4).map(|_| open(&database))).await;
    assert_eq!(tables(&database).await, TABLES);
    assert_eq!(indexes(&database).await, INDEXES);
    let steps = "SELECT COUNT(*) - COUNT(DISTINCT version) FROM callscope_migrations";
    assert_eq!(database.value(steps).await, 0);
}

async fn a_gateways_tables_stay_unchanged(database: TestDatabase) {
    gateway::fill(&database).await;
    let before = contents(&database).await;
    open(&database).await;
    assert_eq!(contents(&database).await, before);
    assert_eq!(tables(&database).await, TABLES);
    assert_eq!(indexes(&database).await, INDEXES);
}

/// Tables that Callscope created also accept a gateway's statements.
async fn a_gateway_can_continue_writing(database: TestDatabase) {
    gateway::fill(&database).await;
    let calls = database.count("t_request_log").await;
    let errors = database.count("t_error_logs").await;
    open(&database).await;
    database.insert(&[CallRow::at("2026-03-01T12:00:09.000001Z").status(503)]).await;
    database.insert(&[ErrorRow::at("2026-03-01T12:00:09.000001Z").code(503)]).await;
    assert_eq!(database.count("t_request_log").await, calls + 1);
    assert_eq!(database.count("t_error_logs").await, errors + 1);
}

/// Also after an interruption between two columns.
async fn an_older_audit_log_gets_its_columns(database: TestDatabase) {
    let id = match database.kind() {
        Kind::Sqlite => "id integer NOT NULL PRIMARY KEY AUTOINCREMENT",
        Kind::Postgres => "id bigserial NOT NULL PRIMARY KEY",
        Kind::MariaDb => "id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY",
    };
    let table = format!(
        "CREATE TABLE callscope_audit ({id}, at varchar(32) NOT NULL, caller varchar(64) NOT NULL,
         address varchar(64) NOT NULL, action varchar(32) NOT NULL, subject text NOT NULL);
         ALTER TABLE callscope_audit ADD COLUMN deletion_id varchar(64);
         INSERT INTO callscope_audit (at, caller, address, action, subject)
         VALUES ('2026-01-01', 'a', '-', 'PRUNE_LOGS', '{{}}'), ('2026-01-01', 'a', '-', 'PRUNE_LOGS', '{{}}')"
    );
    database.execute(&table).await;
    open(&database).await;
    let entries = "SELECT caller, outcome, deleted_calls, ended_at FROM callscope_audit";
    let entry = vec![json!("a"), Value::Null, Value::Null, Value::Null];
    assert_eq!(database.query(entries).await, [entry.clone(), entry]);
    assert_eq!(indexes(&database).await, INDEXES);
}

async fn read_only_creates_nothing(database: TestDatabase) {
    gateway::fill(&database).await;
    let before = contents(&database).await;
    open_read_only(&database).await;
    assert_eq!(contents(&database).await, before);
    assert_eq!(tables(&database).await, ["t_error_logs", "t_request_log"]);
    assert_eq!(indexes(&database).await, Vec::<String>::new());
}

async fn read_only_changes_no_byte(database: TestDatabase) {
    gateway::fill(&database).await;
    database.close().await;
    opening_changes_no_byte(&database).await;
}

async fn read_only_changes_no_byte_of_a_real_file(database: TestDatabase) {
    std::fs::write(file(&database), gateway_database()).expect("writes");
    opening_changes_no_byte(&database).await;
}

/// The gateway tables of these tests equal gemini-balance's, except for the
/// text of comments.
async fn the_gateways_tables_match_gemini_balance(database: TestDatabase) {
    let real = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(REAL_DDL);
    let all = std::fs::read_to_string(real).expect("reads");
    let name = match database.kind() {
        Kind::Sqlite => "SQLite ",
        Kind::Postgres => "PostgreSQL ",
        Kind::MariaDb => "MySQL ",
    };
    let section = all.split("-- ").find(|section| section.starts_with(name));
    let section = section.and_then(|section| section.split_once('\n')).expect("a section").1;
    assert_eq!(words(gateway::ddl(database.kind())), words(section));
}

/// The words of a statement, without the quoted texts.
fn words(sql: &str) -> Vec<String> {
    let unquoted: Vec<&str> = sql.split('\'').step_by(2).collect();
    unquoted.join("''").split_whitespace().map(str::to_owned).collect()
}

async fn open(database: &TestDatabase) {
    let opened = Database::open(&database.config()).await.expect("opens");
    opened.ping().await.expect("answers");
    opened.close().await.expect("closes");
}

async fn open_read_only(database: &TestDatabase) {
    let mut config = database.config();
    config.read_only = true;
    let opened = Database::open(&config).await.expect("opens");
    opened.ping().await.expect("answers");
    assert!(opened.begin_transaction().await.is_err(), "nothing can be written");
    opened.close().await.expect("closes");
}

fn file(database: &TestDatabase) -> &str {
    database.url().strip_prefix("sqlite://").expect("SQLite")
}

async fn opening_changes_no_byte(database: &TestDatabase) {
    let file = file(database);
    let before = std::fs::read(file).unwrap();
    open_read_only(database).await;
    assert!(std::fs::read(file).unwrap() == before, "the file has changed");
    for suffix in ["-wal", "-shm", "-journal"] {
        let side_file = format!("{file}{suffix}");
        assert!(!std::path::Path::new(&side_file).exists(), "{side_file} was left behind");
    }
    // The owner of the file can still write to it.
    connect::migrate(&database.config()).await.expect("migrates");
    assert_eq!(indexes(database).await, INDEXES);
}

/// The gateway's tables: the definition of each, without our indexes, and every row.
async fn contents(database: &TestDatabase) -> Value {
    let mut contents = Vec::new();
    for table in ["t_request_log", "t_error_logs"] {
        contents.push(json!({
            "definition": definition(database, table).await,
            "rows": database.query(&format!("SELECT * FROM {table} ORDER BY id")).await,
        }));
    }
    contents.into()
}

async fn definition(database: &TestDatabase, table: &str) -> Vec<String> {
    let sql = match database.kind() {
        Kind::Sqlite => format!("SELECT sql FROM sqlite_master WHERE name = '{table}'"),
        Kind::Postgres => format!(
            "SELECT concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull,
                pg_get_expr(adbin, adrelid))
             FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
             WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum;
             SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint
             WHERE conrelid = '{table}'::regclass"
        ),
        Kind::MariaDb => format!("SHOW CREATE TABLE {table}"),
    };
    let rows = database.query(&sql).await;
    let texts = rows.iter().filter_map(|row| row.last()?.as_str());
    let lines = texts.flat_map(|text| text.lines());
    lines
        .filter(|line| !line.trim_start().starts_with("KEY `callscope_"))
        // MariaDB ends each line of a list except the last with a comma.
        .map(|line| line.trim_end_matches(',').to_owned())
        .collect()
}

async fn tables(database: &TestDatabase) -> Vec<String> {
    let sql = match database.kind() {
        Kind::Sqlite => {
            // `searches` tests the index of texts.
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
             AND name NOT LIKE 'callscope_text_%'"
        }
        Kind::Postgres => "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
        Kind::MariaDb => "SHOW TABLES",
    };
    sorted(database.query(sql).await)
}

/// Every index except primary keys, as `name(column,column)`.
pub async fn indexes(database: &TestDatabase) -> Vec<String> {
    let sql = match database.kind() {
        Kind::Sqlite => {
            "SELECT index_.name || '(' || (
                SELECT group_concat(name, ',') FROM pragma_index_info(index_.name)
             ) || ')'
             FROM sqlite_master AS index_ WHERE type = 'index' AND sql IS NOT NULL
             AND name NOT LIKE 'callscope_text_%'"
        }
        Kind::Postgres => {
            "SELECT indexname || replace(substring(indexdef FROM '\\(.*\\)'), ', ', ',')
             FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT LIKE '%\\_pkey'"
        }
        Kind::MariaDb => {
            "SELECT CONCAT(index_name, '(', GROUP_CONCAT(column_name ORDER BY seq_in_index), ')')
             FROM information_schema.statistics
             WHERE table_schema = DATABASE() AND index_name <> 'PRIMARY'
             GROUP BY table_name, index_name"
        }
    };
    sorted(database.query(sql).await)
}

fn sorted(rows: Vec<Vec<Value>>) -> Vec<String> {
    let mut names: Vec<String> =
        rows.iter().filter_map(|row| Some(row.first()?.as_str()?.to_owned())).collect();
    names.sort();
    names
}

/// Checks every table of the migrations, including later ones.
async fn errors_show_the_names_of_tables_and_columns(database: TestDatabase) {
    let columns = match database.kind() {
        Kind::Sqlite => {
            "SELECT DISTINCT info.name FROM sqlite_master AS t JOIN pragma_table_info(t.name) AS info
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'
             AND t.name NOT LIKE 'callscope_text_index_%'"
        }
        Kind::Postgres => {
            "SELECT DISTINCT column_name::text FROM information_schema.columns
             WHERE table_schema = 'public'"
        }
        Kind::MariaDb => {
            "SELECT DISTINCT column_name FROM information_schema.columns
             WHERE table_schema = DATABASE()"
        }
    };
    let mut names = [tables(&database).await, sorted(database.query(columns).await)].concat();
    let own = |index: &String| index.split('(').next().unwrap_or_default().to_owned();
    names.extend(indexes(&database).await.iter().map(own));
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        for error in [format!("no such thing: \"{name}\""), format!("Unknown 'gateway.{name}'")] {
            assert_eq!(without_values(&error), error);
        }
    }
}
