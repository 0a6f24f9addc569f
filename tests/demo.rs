//! `callscope demo`: the rows that it writes, and the files that it refuses to change.

#![expect(clippy::unwrap_used, reason = "the functions here are tests too")]

use std::path::Path;
use std::sync::Arc;
use std::task::Poll;

use callscope::cli::demo::{prepare, write_live_calls};
use callscope::clock::Clock;
use callscope::config::{DatabaseConfig, Secret};
use callscope::demo::Traffic;
use callscope::store::{Database, demo as store};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sea_query::{Expr, Func, Query};

fn config(file: &Path) -> DatabaseConfig {
    DatabaseConfig {
        database_url: Secret::new(format!("sqlite://{}", file.display())),
        read_only: false,
        storage_time_zone: chrono_tz::Tz::UTC,
        database_connections: 2,
        database_wait_seconds: 5,
        max_database_seconds_per_minute: 30,
        index_build_seconds: 1,
        rollups: true,
        rollup_from_calls: 50_000,
        text_index: false,
        failure_classes: false,
        id_key: None,
    }
}

fn clock() -> Clock {
    Clock::fixed("2026-11-25T14:30:00Z".parse().unwrap())
}

/// The number of rows, the first and the last time.
async fn rows(db: &Database, table: &'static str) -> (i64, String, String) {
    let time = || Expr::col("request_time");
    let select = Query::select()
        .expr(Func::count(Expr::col("id")))
        .expr(Func::min(time()))
        .expr(Func::max(time()))
        .from(table)
        .take();
    let row = &db.query_all("test", &select).await.unwrap()[0];
    let text = |index| row.try_get_by_index(index).unwrap();
    (row.try_get_by_index(0).unwrap(), text(1), text(2))
}

async fn refusal(config: &DatabaseConfig) -> String {
    format!("{:#}", prepare(config, &clock(), 1).await.err().unwrap())
}

#[tokio::test]
async fn the_demo_recreates_its_database_and_adds_calls() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder.path().join("demo.db"));
    let earlier = Database::open(&config).await.unwrap();
    store::mark(&earlier, 0).await.unwrap();
    earlier.close().await.unwrap();

    let clock = clock();
    let until = clock.now();
    let live = prepare(&config, &clock, 1).await.unwrap();
    let (calls, errors) = Traffic::new(1, until).fold((0, 0), |(calls, errors), (_, error)| {
        (calls + 1, errors + i64::from(error.is_some()))
    });
    let db = Arc::new(Database::open(&config).await.unwrap());
    assert!(store::is_marked(&db).await.unwrap());
    let stored = rows(&db, "t_request_log").await;
    assert_eq!(stored.0, calls);
    assert!(stored.1.starts_with("2026-10-25 14:3") && stored.1.len() == 26, "{}", stored.1);
    assert!(stored.2.starts_with("2026-11-25 14:29:") && stored.2.len() == 26, "{}", stored.2);
    assert_eq!(rows(&db, "t_error_logs").await.0, errors);

    clock.advance(TimeDelta::minutes(5));
    let mut polls = 0;
    let after_a_write = std::future::poll_fn(|_| {
        polls += 1;
        if polls > 2 { Poll::Ready(()) } else { Poll::Pending }
    });
    write_live_calls(Arc::clone(&db), clock, live, after_a_write).await;
    let arrived = rows(&db, "t_request_log").await;
    assert!((90..=330).contains(&(arrived.0 - calls)), "{}", arrived.0 - calls);
    assert!(utc(&arrived.2) > until + TimeDelta::minutes(4));
    assert!(utc(&arrived.2) < until + TimeDelta::minutes(5));
}

fn utc(stored: &str) -> DateTime<Utc> {
    format!("{}Z", stored.replace(' ', "T")).parse().unwrap()
}

#[tokio::test]
async fn a_foreign_database_is_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.db");
    let config = config(&file);
    Database::open(&config).await.unwrap().close().await.unwrap();
    let before = std::fs::read(&file).unwrap();
    assert!(refusal(&config).await.contains("gateway.db was not made by `callscope demo`"));
    assert!(std::fs::read(&file).unwrap() == before);
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    for text in ["", "Remember the milk, and much more that SQLite cannot read."] {
        std::fs::write(&file, text).unwrap();
        assert!(refusal(&config(&file)).await.contains("notes.txt"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
}

#[tokio::test]
async fn a_running_demo_is_not_disturbed() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder.path().join("demo.db"));
    let running = Database::open(&config).await.unwrap();
    store::mark(&running, 1).await.unwrap();
    assert!(refusal(&config).await.contains("demo.db is in use"));
    assert!(store::is_marked(&running).await.unwrap());
}

#[tokio::test]
async fn the_demo_requires_a_writable_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("demo.db");
    let read_only = DatabaseConfig { read_only: true, ..config(&file) };
    assert!(refusal(&read_only).await.contains("--read-only"));
    assert!(!file.exists());
    let memory = DatabaseConfig { database_url: Secret::new("sqlite::memory:"), ..config(&file) };
    assert!(refusal(&memory).await.contains("in memory"));
}
