//! The same rows by plain SQL, through the same driver, into tables with the same indexes and durability.

use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, TimeDelta};
use sea_orm::{ConnectionTrait, Statement};

use crate::support::data;
use crate::support::engine::{Database, Engine};

/// The number of calls.
pub async fn count(database: &Database) -> anyhow::Result<u64> {
    let connection = database.connect().await?;
    let count = "SELECT COUNT(*) FROM t_request_log";
    let count = Statement::from_string(connection.get_database_backend(), count);
    let row = connection.query_one_raw(count).await?.context("no count")?;
    let count: i64 = row.try_get_by_index(0)?;
    connection.close().await?;
    Ok(u64::try_from(count)?)
}

const INSERT: &str = "INSERT INTO t_request_log \
    (request_time, model_name, api_key, is_success, status_code, latency_ms) VALUES ";

/// Like a durable gateway: commits each call separately; returns calls per second.
pub async fn commit_each(target: &Engine, time: Duration) -> anyhow::Result<f64> {
    let started = Instant::now();
    insert(target, 1, |_| started.elapsed() < time).await
}

/// Like an import: a thousand rows per statement and commit; returns rows per second.
pub async fn insert_many(target: &Engine, rows: u64) -> anyhow::Result<f64> {
    insert(target, 1000, |inserted| inserted < rows).await
}

/// Inserts `rows` calls per statement, each statement a transaction, while `continues` returns true.
async fn insert(
    target: &Engine,
    rows: u64,
    continues: impl Fn(u64) -> bool,
) -> anyhow::Result<f64> {
    let database = target.create().await?;
    let connection = database.connect().await?;
    let backend = connection.get_database_backend();
    let marks = |row: u64| match target.name {
        "PostgreSQL" => {
            let mark = |column: u64| 6 * row + column;
            format!(
                "(CAST(${} AS TIMESTAMP), ${}, ${}, ${}, ${}, ${})",
                mark(1),
                mark(2),
                mark(3),
                mark(4),
                mark(5),
                mark(6)
            )
        }
        _ => "(?, ?, ?, ?, ?, ?)".to_owned(),
    };
    let insert = INSERT.to_owned() + &(0..rows).map(marks).collect::<Vec<_>>().join(", ");
    let start = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    let (started, mut calls) = (Instant::now(), 0);
    while continues(calls) {
        let values = (calls..calls + rows).flat_map(|call| {
            let at = start + TimeDelta::milliseconds(i64::try_from(call).unwrap_or_default());
            let at = at.format("%F %T%.6f").to_string();
            let key = data::key(call % 50);
            let (is_success, status, latency) = (true.into(), 200_i32.into(), 900_i32.into());
            [at.into(), "gemini-2.5-flash".into(), key.into(), is_success, status, latency]
        });
        let insert = Statement::from_sql_and_values(backend, &insert, values.collect::<Vec<_>>());
        connection.execute_raw(insert).await?;
        calls += rows;
    }
    let rate = calls as f64 / started.elapsed().as_secs_f64();
    connection.close().await?;
    database.drop().await?;
    Ok(rate)
}
