//! A server, and a connection that bypasses it.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use callscope::app::{App, Config, Running};
use callscope::clock::Clock;
use callscope::config::DatabaseConfig;
use callscope::store::dialect::Dialect;
use callscope::store::rollup::{self, Phase, summary};
use callscope::store::{self, classification, error_days, text_index};
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use serde_json::Value;

use crate::plain::Plain;
use crate::support::cases::{self, Case};
use crate::support::engine::Database;
use crate::support::{MAX_PAGE_SIZE, data, settings};

/// The forms of a case take turns, since the load of the machine changes: for so long, but at most and at least so
/// many times.
const TIME: Duration = Duration::from_secs(2);
const LEAST: usize = 5;
const MOST: usize = 50;

/// Plain SQL that has taken so many ms is not repeated.
const PLAIN_TIME: f64 = 2e3;

/// No fold takes longer.
const FOLD_LIMIT: Duration = Duration::from_secs(1800);

/// The median of each form in ms; `None` if the case has no such form.
pub struct Times {
    pub http: f64,
    pub plain: Option<f64>,
    pub own: Option<f64>,
}

/// How long all calls took to be folded, and the rows and bytes of the rollups.
pub struct Folded {
    pub seconds: f64,
    pub cells: i64,
    pub bytes: Option<i64>,
}

pub struct Subject {
    server: Running,
    client: reqwest::Client,
    connection: DatabaseConnection,
    config: Config,
}

impl Subject {
    pub async fn open(database: &Database, has_text_index: bool) -> anyhow::Result<Self> {
        let connection = database.connect().await?;
        // An earlier run may have left its rollups. The leases of one that was killed never end, since the clock
        // of the servers does not run.
        for table in ["state", "gaps", "cells", "series"] {
            connection.execute_unprepared(&format!("DELETE FROM callscope_rollup_{table}")).await?;
        }
        let leases = "DELETE FROM callscope_settings WHERE name LIKE '%lease%'";
        connection.execute_unprepared(leases).await?;
        let config = Config {
            database: settings(&[
                "--database-url",
                &database.url,
                "--max-database-seconds-per-minute",
                "0",
                "--text-index",
                if has_text_index { "true" } else { "false" },
            ]),
            server: settings(&["--listen", "127.0.0.1:0"]),
            access: settings(&[]),
            graphql: settings(&["--max-page-size", MAX_PAGE_SIZE]),
            record: settings(&[]),
            keep: settings(&[]),
            replicas: settings(&[]),
            observe: settings(&[]),
            clock: Clock::fixed(data::as_of()?),
        };
        let server = App::start(config.clone()).await?;
        Ok(Self { server, client: reqwest::Client::new(), connection, config })
    }

    pub async fn close(self) -> anyhow::Result<()> {
        self.connection.close().await?;
        self.server.shutdown().await
    }

    /// Waits until the background jobs have folded all calls, indexed all texts, classified all error logs and
    /// counted those of past days.
    pub async fn fold(&self) -> anyhow::Result<Folded> {
        let db = &self.server.services.db;
        let started = Instant::now();
        loop {
            let found = summary(db).await?;
            if let Some(found) = found.filter(|found| found.phase == Phase::Ready && found.lag == 0)
            {
                let seconds = started.elapsed().as_secs_f64();
                while self.config.database.text_index
                    && db.dialect() == Dialect::Sqlite
                    && text_index::next_step(db).await?.is_some()
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                while !has_classes(db).await? {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                let now = self.config.clock.now().timestamp_micros();
                while error_days::first_new(db, error_days::EARLIEST, now).await?.is_some()
                    || error_days::exist(db).await? != db.failures().has_days()
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                return Ok(Folded { seconds, cells: found.cells, bytes: found.bytes });
            }
            ensure!(started.elapsed() < FOLD_LIMIT, "the calls are not folded");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Fails if a root query of the schema has no case.
    pub async fn has_case_of_each_query(&self) -> anyhow::Result<()> {
        let query = "{ __schema { queryType { fields { name } } } }".to_owned();
        let answer: Value = serde_json::from_slice(&self.send(&self.server, &query).await?)?;
        let fields = answer.pointer("/data/__schema/queryType/fields").and_then(Value::as_array);
        let cases = cases::all()?;
        for field in fields.context("no fields")? {
            let name = field["name"].as_str().context("no name")?;
            let is_selected = |case: &Case| {
                case.query.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == name)
            };
            ensure!(cases.iter().any(is_selected), "no case of {name} in support/cases.rs");
        }
        Ok(())
    }

    /// Fails if the rollups of a day differ from its calls, or if these are not `calls` in total.
    pub async fn verify(&self, calls: u64) -> anyhow::Result<()> {
        let config = DatabaseConfig { rollup_from_calls: 0, ..self.config.database.clone() };
        let db = store::Database::open(&config).await?;
        let verified = rollup::verify(&db, None, self.config.clock.now()).await?;
        ensure!(verified.differences.is_empty(), "{}", verified.differences.join("\n"));
        ensure!(verified.calls.unsigned_abs() == calls, "{} calls are compared", verified.calls);
        Ok(())
    }

    pub async fn times(&self, case: &Case, is_measured: bool) -> anyhow::Result<Times> {
        let backend = self.connection.get_database_backend();
        let plain = Some(Plain::of(case.name, backend)?).filter(|plain| !plain.is_empty());
        if let Some(plain) = &plain {
            self.check(case, plain).await?;
        }
        let own = self.own_statements(case).await?;
        let (mut http_times, mut plain_times, mut own_times) = (vec![], vec![], vec![]);
        let (least, most) = if is_measured { (LEAST, MOST) } else { (1, 1) };
        let started = Instant::now();
        while http_times.len() < least || (http_times.len() < most && started.elapsed() < TIME) {
            http_times.push(time(self.send(&self.server, &case.query)).await?);
            if let Some(plain) = &plain
                && plain_times.iter().sum::<f64>() < PLAIN_TIME
            {
                plain_times.push(time(plain.fetch(&self.connection)).await?);
            }
            own_times.push(time(self.run(&own)).await?);
        }
        Ok(Times {
            http: median(http_times),
            plain: plain.map(|_| median(plain_times)),
            own: (!own.is_empty()).then(|| median(own_times)),
        })
    }

    /// Returns the complete body of the response.
    async fn send(&self, server: &Running, query: &str) -> anyhow::Result<Vec<u8>> {
        let request = self.client.post(format!("http://{}/graphql", server.address));
        let sent = request.json(&serde_json::json!({ "query": query })).send().await?;
        Ok(sent.error_for_status()?.bytes().await?.into())
    }

    async fn run(&self, statements: &[String]) -> anyhow::Result<()> {
        let backend = self.connection.get_database_backend();
        for sql in statements {
            let rows = self.connection.query_all_raw(Statement::from_string(backend, sql)).await?;
            std::hint::black_box(rows);
        }
        Ok(())
    }

    /// Checks that both forms return the same number of rows, and the server no error.
    async fn check(&self, case: &Case, plain: &Plain) -> anyhow::Result<()> {
        let answer = self.send(&self.server, &case.query).await?;
        let listed = case.rows(&serde_json::from_slice(&answer)?)?;
        let rows = plain.fetch(&self.connection).await?;
        // A series includes its empty intervals.
        let is_series = case.name.starts_with("series");
        let same = listed.is_none_or(|listed| listed == rows || is_series && listed >= rows);
        ensure!(same, "{}: {listed:?} rows, {rows} of plain SQL", case.name);
        Ok(())
    }

    /// The statements that a server sends for a case when its caches are filled. Another server sends them, because
    /// it records all of them from then on.
    async fn own_statements(&self, case: &Case) -> anyhow::Result<Vec<String>> {
        let recording = App::start(self.config.clone()).await?;
        let has_days = self.server.services.db.failures().has_days();
        while recording.services.db.failures().has_days() != has_days {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.send(&recording, &case.query).await?;
        let mut fewest: Option<Vec<String>> = None;
        // A background job may send one at the same time.
        for _ in 0..3 {
            recording.services.db.record();
            self.send(&recording, &case.query).await?;
            let sent = recording.services.db.record();
            if fewest.as_ref().is_none_or(|fewest| sent.len() < fewest.len()) {
                fewest = Some(sent);
            }
        }
        recording.shutdown().await?;
        fewest.context("no request")
    }
}

/// In ms.
async fn time<T>(run: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<f64> {
    let started = Instant::now();
    std::hint::black_box(run.await?);
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

async fn has_classes(db: &store::Database) -> anyhow::Result<bool> {
    let mut after = i64::MIN;
    loop {
        let checked = classification::check(db, after).await?;
        match checked.last {
            _ if !checked.missing.is_empty() => return Ok(false),
            Some(last) => after = last,
            None => return Ok(true),
        }
    }
}
