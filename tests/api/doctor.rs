//! `callscope doctor`: each check, with its failure provoked.

use callscope::access::token;
use callscope::clock::Clock;
use callscope::config::{DatabaseConfig, Secret};
use callscope::doctor::{CheckInput, Finding, Level, run_checks};
use callscope::store::{self, Database, connect};
use chrono::TimeDelta;

use crate::support::{CallRow, ErrorRow, Kind, TestDatabase, gateway, settings};
use crate::tests;

tests! {
    a_healthy_database_has_no_error,
    missing_tables_are_reported.empty(),
    columns_of_another_type_are_reported.empty(),
    missing_indexes_are_reported,
    ids_that_end_soon_are_reported.empty().only(&[Kind::Postgres, Kind::MariaDb]),
    calls_in_the_future_suggest_the_zone,
    a_quiet_gateway_is_a_warning,
    asynchronous_commits_are_reported.only(&[Kind::Postgres]),
    clock_differences_are_reported.only(&[Kind::Postgres, Kind::MariaDb]),
    missing_rights_are_reported.only(&[Kind::Postgres, Kind::MariaDb]),
    the_secret_of_ids_is_checked,
    too_many_connections_are_reported.only(&[Kind::Postgres, Kind::MariaDb]),
    an_unreachable_database_ends_the_checks.only(&[Kind::Sqlite, Kind::Postgres, Kind::MariaDb]),
    a_blocking_journal_mode_is_reported.only(&[Kind::Sqlite]),
    callers_with_access_are_reported,
    partitions_are_reported.empty().only(&[Kind::Postgres, Kind::MariaDb]),
}

async fn findings(database: &DatabaseConfig, clock: &Clock) -> Vec<Finding> {
    let (server, access) = (settings(&[]), settings(&[]));
    run_checks(&CheckInput { database, server: &server, access: &access, settings: &[], clock })
        .await
}

async fn current_findings(database: &DatabaseConfig) -> Vec<Finding> {
    findings(database, &Clock::System).await
}

/// The worst of the findings about a subject, in its printed form.
fn worst(findings: &[Finding], subject: &str) -> (Level, String) {
    let about = findings.iter().filter(|finding| finding.subject == subject);
    let worst = about.max_by_key(|finding| finding.level);
    let worst = worst.unwrap_or_else(|| panic!("nothing about {subject} in {findings:#?}"));
    (worst.level, worst.to_string())
}

fn assert_found(findings: &[Finding], subject: &str, level: Level, words: &[&str]) {
    let (found, text) = worst(findings, subject);
    assert_eq!(found, level, "{text}");
    for word in words {
        assert!(text.contains(word), "no {word} in {text}");
    }
}

/// A call from `ago` before now.
fn call(ago: TimeDelta) -> CallRow {
    CallRow::at_stored(Clock::System.now() - ago)
}

async fn a_healthy_database_has_no_error(database: TestDatabase) {
    database.insert(&[call(TimeDelta::seconds(10))]).await;
    let found = current_findings(&database.config()).await;
    for subject in ["database", "tables", "indexes", "permissions", "ids of keys", "time zone"] {
        assert_found(&found, subject, Level::Ok, &[]);
    }
    assert!(found.iter().all(|finding| finding.level != Level::Error), "{found:#?}");
    // The test servers may run without syncing, which the check reports.
    let (level, text) = worst(&found, "durability");
    assert!(level == Level::Ok || text.contains("power failure"), "{text}");
    assert!(level == Level::Ok || database.kind() != Kind::Sqlite, "{text}");
    let (_, text) = worst(&found, "database");
    assert!(text.starts_with("✓ database: ") && text.ends_with(" answers"), "{text}");
    assert_found(&found, "size", Level::Ok, &["MB"]);
}

async fn missing_tables_are_reported(database: TestDatabase) {
    let config = database.config();
    let found = current_findings(&config).await;
    assert_found(&found, "tables", Level::Warning, &["there is no t_", "callscope migrate"]);
    let found = current_findings(&DatabaseConfig { read_only: true, ..config }).await;
    assert_found(&found, "tables", Level::Error, &["there is no t_"]);
}

async fn columns_of_another_type_are_reported(database: TestDatabase) {
    database
        .execute(
            "CREATE TABLE t_request_log (id INTEGER, request_time VARCHAR(50), \
             model_name VARCHAR(100), api_key VARCHAR(100), status_code VARCHAR(10))",
        )
        .await;
    let found = current_findings(&database.config()).await;
    let words = ["request_time is `", "status_code is `", "latency_ms is missing"];
    assert_found(&found, "tables", Level::Error, &words);
}

async fn missing_indexes_are_reported(database: TestDatabase) {
    let on = if database.kind() == Kind::MariaDb { " ON t_request_log" } else { "" };
    database.execute(&format!("DROP INDEX callscope_request_log_key{on}")).await;
    let config = database.config();
    let named = ["missing: callscope_request_log_key\n", "callscope migrate"];
    assert_found(&current_findings(&config).await, "indexes", Level::Warning, &named);
    let read_only = DatabaseConfig { read_only: true, ..config };
    assert_found(&current_findings(&read_only).await, "indexes", Level::Error, &named);
}

async fn ids_that_end_soon_are_reported(database: TestDatabase) {
    // The tables of gemini-balance.
    gateway::fill(&database).await;
    connect::migrate(&database.config()).await.expect("migrates");
    let tables = async || worst(&current_findings(&database.config()).await, "tables");
    assert_eq!(tables().await.0, Level::Ok);
    database.insert(&[ErrorRow::at("2026-03-01T12:00:00Z").id(1_700_000_000)]).await;
    let (level, text) = tables().await;
    assert_eq!(level, Level::Warning);
    assert!(text.contains("t_error_logs: the last id is 1700000000"), "{text}");
    let wide = match database.kind() {
        Kind::Postgres => "ALTER TABLE t_error_logs ALTER COLUMN id TYPE BIGINT",
        _ => "ALTER TABLE t_error_logs MODIFY id BIGINT NOT NULL AUTO_INCREMENT",
    };
    database.execute(wide).await;
    assert_eq!(tables().await.0, Level::Ok);
}

async fn calls_in_the_future_suggest_the_zone(database: TestDatabase) {
    database.insert(&[call(TimeDelta::hours(-8))]).await;
    let mut config = database.config();
    let words =
        ["7 hours 59 minutes in the future", "UTC+08:00", "--storage-time-zone Asia/Shanghai"];
    assert_found(&current_findings(&config).await, "time zone", Level::Error, &words);
    config.storage_time_zone = chrono_tz::Asia::Tokyo;
    assert_found(&current_findings(&config).await, "time zone", Level::Warning, &["Asia/Shanghai"]);
    config.storage_time_zone = chrono_tz::Asia::Shanghai;
    assert_found(&current_findings(&config).await, "time zone", Level::Ok, &["Asia/Shanghai"]);
}

async fn a_quiet_gateway_is_a_warning(database: TestDatabase) {
    database.insert(&[call(TimeDelta::hours(5))]).await;
    let words = ["5 hours 0 minutes old", "UTC-05:00", "Etc/GMT+5"];
    assert_found(&current_findings(&database.config()).await, "time zone", Level::Warning, &words);
}

async fn asynchronous_commits_are_reported(database: TestDatabase) {
    let config = database.config();
    let name = database.url().rsplit('/').next().unwrap();
    database.execute(&format!("ALTER DATABASE {name} SET synchronous_commit = off")).await;
    let words = ["synchronous_commit = off", "power failure"];
    assert_found(&current_findings(&config).await, "durability", Level::Warning, &words);
}

async fn clock_differences_are_reported(database: TestDatabase) {
    let config = database.config();
    assert_found(&current_findings(&config).await, "clock", Level::Ok, &[]);
    let clock = Clock::fixed(Clock::System.now() - TimeDelta::minutes(10));
    let found = findings(&config, &clock).await;
    assert_found(
        &found,
        "clock",
        Level::Error,
        &["60", " s ahead of the clock of this machine", "NTP"],
    );
}

async fn missing_rights_are_reported(database: TestDatabase) {
    let name = database.url().rsplit('/').next().unwrap().to_owned();
    let user = format!("reader_{}", &name[name.len().saturating_sub(16)..]);
    let (create, drop) = match database.kind() {
        Kind::Postgres => (
            format!(
                "CREATE ROLE {user} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}"
            ),
            format!("DROP OWNED BY {user}; DROP ROLE {user}"),
        ),
        _ => (
            format!("CREATE USER {user}@'%'; GRANT SELECT ON {name}.* TO {user}@'%'"),
            format!("DROP USER {user}@'%'"),
        ),
    };
    database.execute(&create).await;
    let url = database.url().replacen("callscope@", &format!("{user}@"), 1);
    let config = DatabaseConfig { database_url: Secret::new(url), ..database.config() };
    // All tables and indexes exist: no right is missing.
    assert_found(
        &current_findings(&config).await,
        "permissions",
        Level::Ok,
        &["lacks", "nothing is left"],
    );
    let on = if database.kind() == Kind::MariaDb { " ON t_request_log" } else { "" };
    database.execute(&format!("DROP INDEX callscope_request_log_key{on}")).await;
    let right = if database.kind() == Kind::MariaDb { "INDEX" } else { "ownership" };
    let found = current_findings(&config).await;
    assert_found(&found, "permissions", Level::Error, &[right, "callscope migrate"]);
    database.execute(&drop).await;
}

async fn the_secret_of_ids_is_checked(database: TestDatabase) {
    let subject = "ids of keys";
    let mut config = DatabaseConfig { read_only: true, ..database.config() };
    assert_found(&current_findings(&config).await, subject, Level::Error, &["CALLSCOPE_ID_KEY"]);
    config.id_key = Some(Secret::new("too short"));
    assert_found(&current_findings(&config).await, subject, Level::Error, &["16"]);
    config.id_key = Some(Secret::new("long enough for anybody"));
    assert_found(&current_findings(&config).await, subject, Level::Ok, &["configured"]);
    database.execute("INSERT INTO callscope_settings VALUES ('api_key_id_secret', 'x')").await;
    config.id_key = None;
    assert_found(&current_findings(&config).await, subject, Level::Ok, &["kept in the database"]);
}

async fn too_many_connections_are_reported(database: TestDatabase) {
    let config = DatabaseConfig { database_connections: 5_000, ..database.config() };
    let words = ["up to 5000", "--database-connections"];
    assert_found(&current_findings(&config).await, "connections", Level::Error, &words);
    assert_found(
        &current_findings(&database.config()).await,
        "connections",
        Level::Ok,
        &["up to 2"],
    );
}

async fn an_unreachable_database_ends_the_checks(database: TestDatabase) {
    let url = match database.kind() {
        Kind::Sqlite => "sqlite:///nowhere/nothing.db",
        Kind::Postgres => "postgres://user:Password-Marker@127.0.0.1:1/nothing",
        Kind::MariaDb => "mysql://user:Password-Marker@127.0.0.1:1/nothing",
    };
    let mut config = DatabaseConfig { database_url: Secret::new(url), ..database.config() };
    config.database_wait_seconds = 1;
    let found = current_findings(&config).await;
    assert_found(&found, "database", Level::Error, &["--database-url"]);
    assert_eq!(found.last().map(|finding| finding.subject), Some("database"), "{found:#?}");
    assert!(!format!("{found:?}").contains("Password-Marker"), "{found:#?}");
}

async fn a_blocking_journal_mode_is_reported(database: TestDatabase) {
    assert_found(
        &current_findings(&database.config()).await,
        "journal",
        Level::Ok,
        &["write-ahead"],
    );
    assert_found(&current_findings(&database.config()).await, "file", Level::Ok, &[]);
    database.execute("PRAGMA journal_mode = DELETE").await;
    let config = DatabaseConfig { read_only: true, ..database.config() };
    let words = ["`delete`", "PRAGMA journal_mode = WAL"];
    assert_found(&current_findings(&config).await, "journal", Level::Warning, &words);
}

async fn callers_with_access_are_reported(database: TestDatabase) {
    let check = async |listen: &str, access: &[&str]| {
        let (server, access) = (settings(&["--listen", listen]), settings(access));
        let (clock, database) = (Clock::System, database.config());
        let (database, server, access, clock) = (&database, &server, &access, &clock);
        worst(
            &run_checks(&CheckInput { database, server, access, settings: &[], clock }).await,
            "access",
        )
    };
    let (local, public) = ("127.0.0.1:8000", "0.0.0.0:8000");
    assert_eq!(check(local, &[]).await.0, Level::Ok);
    let (level, text) = check(public, &[]).await;
    assert!(level == Level::Error && text.contains("callscope token create"), "{text}");
    let (level, text) = check(public, &["--anonymous-scopes", "READ"]).await;
    assert!(level == Level::Warning && text.contains("may READ"), "{text}");
    assert_eq!(check(public, &["--anonymous-scopes", ""]).await.0, Level::Ok);
    assert_eq!(check(public, &["--tokens", "a:READ:0123456789abcdef"]).await.0, Level::Ok);
    let (db, now) = (Database::open(&database.config()).await.unwrap(), Clock::System.now());
    for (name, days) in [("long", 90), ("short", 3), ("over", -3)] {
        let end = Some(now + TimeDelta::days(days));
        let new = token::make(name, "READ".parse().unwrap(), now, end).unwrap();
        store::token::insert(&db, &new.row).await.unwrap();
    }
    db.close().await.unwrap();
    let (level, text) = check(public, &[]).await;
    assert!(level == Level::Warning && text.contains("within 7 days: short"), "{text}");
}

async fn partitions_are_reported(database: TestDatabase) {
    let columns = "id INTEGER, request_time TIMESTAMP(6) NULL, model_name VARCHAR(100), api_key VARCHAR(100), \
                   is_success BOOLEAN, status_code INTEGER, latency_ms INTEGER";
    let (kind, expected) = match database.kind() {
        Kind::Postgres => {
            let table =
                format!("CREATE TABLE t_request_log ({columns}) PARTITION BY RANGE (request_time)");
            let march = "CREATE TABLE march PARTITION OF t_request_log FOR VALUES FROM ('2026-03-01') TO \
                         ('2026-04-01')";
            let rest = "CREATE TABLE rest PARTITION OF t_request_log DEFAULT";
            database.execute(&[&table, march, rest].join("; ")).await;
            (Level::Warning, "while writers wait")
        }
        _ => {
            let table = format!(
                "CREATE TABLE t_request_log ({columns}) PARTITION BY HASH (id) PARTITIONS 2"
            );
            database.execute(&table).await;
            (Level::Ok, "")
        }
    };
    let found = current_findings(&database.config()).await;
    assert_found(&found, "cluster", kind, &["t_request_log has 2 partitions", expected]);
    assert!(!found.iter().any(|finding| finding.found.contains("t_error_logs has")), "{found:#?}");
}
