//! The same rows by SQL alone, through the same driver, into tables of the same indexes; as durable.

use std::time::{Duration, Instant};

use anyhow::Context;
use callscope::config::DatabaseConfig;
use callscope::store::connect;
use sea_orm::sqlx::sqlite::SqliteSynchronous;
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, Statement};
use tempfile::TempDir;

use crate::data;
use crate::support::settings;

const NAME: &str = "callscope_record";

/// Where is recorded.
pub struct Target {
    pub name: &'static str,
    /// Of a server; none for SQLite.
    server: Option<String>,
}

/// A fresh database with the two tables.
pub struct Database {
    pub url: String,
    server: Option<String>,
    _folder: Option<TempDir>,
}

impl Target {
    pub fn all() -> anyhow::Result<Vec<Self>> {
        let mut targets = vec![Self { name: "SQLite", server: None }];
        for (name, variable) in [
            ("PostgreSQL", "CALLSCOPE_TEST_POSTGRES_URL"),
            ("MariaDB", "CALLSCOPE_TEST_MARIADB_URL"),
        ] {
            match std::env::var(variable) {
                Ok(server) => targets.push(Self { name, server: Some(server) }),
                Err(_) => println!("{name}: not measured, {variable} is not set"),
            }
        }
        Ok(targets)
    }

    pub async fn create(&self) -> anyhow::Result<Database> {
        let (url, folder) = match &self.server {
            None => {
                // Not in a folder that is memory.
                let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
                (format!("sqlite://{}", folder.path().join("calls.db").display()), Some(folder))
            }
            Some(server) => {
                run(server, &format!("DROP DATABASE IF EXISTS {NAME}")).await?;
                run(server, &format!("CREATE DATABASE {NAME}")).await?;
                let (address, _) = server.rsplit_once('/').unwrap_or((server, ""));
                (format!("{address}/{NAME}"), None)
            }
        };
        connect::migrate(&settings::<DatabaseConfig>(&["--database-url", &url])).await?;
        Ok(Database { url, server: self.server.clone(), _folder: folder })
    }
}

impl Database {
    /// As durable as the server's own connections.
    async fn connect(&self) -> anyhow::Result<DatabaseConnection> {
        let mut options = ConnectOptions::new(&self.url);
        options.max_connections(1).sqlx_logging(false).map_sqlx_sqlite_opts(|sqlite| {
            sqlite.synchronous(SqliteSynchronous::Full).pragma("cache_size", "-32768")
        });
        Ok(sea_orm::Database::connect(options).await?)
    }

    /// How many calls there are.
    pub async fn count(&self) -> anyhow::Result<u64> {
        let connection = self.connect().await?;
        let count = "SELECT COUNT(*) FROM t_request_log";
        let count = Statement::from_string(connection.get_database_backend(), count);
        let row = connection.query_one_raw(count).await?.context("no count")?;
        let count: i64 = row.try_get_by_index(0)?;
        connection.close().await?;
        Ok(u64::try_from(count)?)
    }

    pub async fn drop(self) -> anyhow::Result<()> {
        match &self.server {
            Some(server) => run(server, &format!("DROP DATABASE {NAME}")).await,
            None => Ok(()),
        }
    }
}

async fn run(url: &str, sql: &str) -> anyhow::Result<()> {
    let connection = sea_orm::Database::connect(url).await?;
    connection.execute_unprepared(sql).await?;
    Ok(connection.close().await?)
}

const INSERT: &str = "INSERT INTO t_request_log \
    (request_time, model_name, api_key, is_success, status_code, latency_ms) VALUES ";

/// As a gateway does it that keeps what it says: each call and its commit; calls a second.
pub async fn commit_each(target: &Target, time: Duration) -> anyhow::Result<f64> {
    let database = target.create().await?;
    let connection = database.connect().await?;
    let backend = connection.get_database_backend();
    let marks = match target.name {
        "PostgreSQL" => "(CAST($1 AS TIMESTAMP), $2, $3, $4, $5, $6)",
        _ => "(?, ?, ?, ?, ?, ?)",
    };
    let insert = format!("{INSERT}{marks}");
    let (began, mut calls) = (Instant::now(), 0_u64);
    while began.elapsed() < time {
        let values = [
            format!("2026-03-17 00:00:00.{:06}", calls % 1_000_000).into(),
            "gemini-2.5-flash".into(),
            data::key(calls % 50).into(),
            true.into(),
            200_i32.into(),
            900_i32.into(),
        ];
        let call = Statement::from_sql_and_values(backend, &insert, values);
        connection.execute_raw(call).await?;
        calls += 1;
    }
    let rate = calls as f64 / began.elapsed().as_secs_f64();
    connection.close().await?;
    database.drop().await?;
    Ok(rate)
}

/// Texts of a thousand rows; rows a second.
pub async fn insert_many(target: &Target, rows: u64) -> anyhow::Result<f64> {
    let database = target.create().await?;
    let connection = database.connect().await?;
    let truth = if target.name == "PostgreSQL" { "TRUE" } else { "1" };
    let values: Vec<String> = (0..1000)
        .map(|row| {
            let key = data::key(row % 50);
            format!(
                "('2026-03-17 00:00:00.{:06}', 'gemini-2.5-flash', '{key}', {truth}, 200, 900)",
                row * 1000
            )
        })
        .collect();
    let insert = format!("{INSERT}{}", values.join(", "));
    let began = Instant::now();
    for _ in 0..rows.div_ceil(1000) {
        connection.execute_unprepared(&insert).await?;
    }
    let rate = rows as f64 / began.elapsed().as_secs_f64();
    connection.close().await?;
    database.drop().await?;
    Ok(rate)
}
