//! Each query in three forms in one run: through the server over HTTP, as plain SQL on the same
//! file, and as the server's own statements. A table of the medians is printed at the end.
//!
//! `cargo bench --workspace --bench api`; `cargo test --benches` runs each form once on few calls.

#![expect(clippy::expect_used, clippy::panic, reason = "a benchmark that cannot run stops")]

mod plain;
#[path = "../support/mod.rs"]
mod support;
mod table;

use std::time::Duration;

use callscope::app::{App, Config, Running};
use callscope::clock::Clock;
use criterion::{Criterion, SamplingMode};
use plain::Plain;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sea_orm::sqlx::{self, AssertSqlSafe, SqlitePool};
use support::cases::{self, Case};
use support::{CALLS, MAX_PAGE_SIZE, data, settings};
use tokio::runtime::Runtime;

/// The allocator of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let measured = std::env::args().any(|arg| arg == "--bench");
    let calls = if measured { CALLS } else { 2_000 };
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1200))
        .without_plots()
        .configure_from_args();
    let runtime = Runtime::new()?;
    let started = std::time::SystemTime::now();
    let cases = cases::all()?;
    let large = runtime.block_on(Subject::open(calls))?;
    let small = runtime.block_on(Subject::open(calls / 10))?;
    for case in &cases {
        large.measure(&runtime, &mut criterion, case, &small)?;
    }
    runtime.block_on(large.close())?;
    runtime.block_on(small.close())?;
    criterion.final_summary();
    if measured {
        table::print(&cases, calls, started)?;
    }
    Ok(())
}

/// A server and a connection that bypasses it, on the same file.
struct Subject {
    server: Running,
    client: reqwest::Client,
    pool: SqlitePool,
    config: Config,
}

impl Subject {
    async fn open(calls: u64) -> anyhow::Result<Self> {
        let file = data::sqlite(calls).await?;
        let url = format!("sqlite://{}", file.display());
        let config = Config {
            database: settings(&["--database-url", &url]),
            server: settings(&["--listen", "127.0.0.1:0"]),
            access: settings(&[]),
            graphql: settings(&["--max-page-size", MAX_PAGE_SIZE]),
            record: settings(&[]),
            keep: settings(&[]),
            observe: settings(&[]),
            clock: Clock::fixed(data::as_of()?),
        };
        let server = App::start(config.clone()).await?;
        // The settings of the server's own connections.
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .read_only(true)
            .pragma("mmap_size", "268435456")
            .pragma("cache_size", "-32768");
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        Ok(Self { server, client: reqwest::Client::new(), pool, config })
    }

    async fn close(self) -> anyhow::Result<()> {
        self.pool.close().await;
        self.server.shutdown().await
    }

    fn measure(
        &self,
        runtime: &Runtime,
        criterion: &mut Criterion,
        case: &Case,
        small: &Self,
    ) -> anyhow::Result<()> {
        let plain = Plain::of(case.name)?;
        runtime.block_on(self.check(case, &plain))?;
        let own = runtime.block_on(self.own_statements(case))?;
        let body = body(case);
        let mut group = criterion.benchmark_group(case.name);
        group.sampling_mode(SamplingMode::Flat);
        // The cost of a query must depend on its window and not on the table: measure the same calls in a table of
        // a tenth of the size, one right after the other, because the load of the machine changes over time.
        for (form, subject) in [("http", self), ("http_small", small)] {
            group.bench_function(form, |bencher| {
                bencher.to_async(runtime).iter(|| async {
                    subject.send(body.clone()).await.expect("an answer");
                });
            });
        }
        group.bench_function("plain", |bencher| {
            bencher.to_async(runtime).iter(|| async {
                plain.fetch(&self.pool).await.expect("rows");
            });
        });
        group.bench_function("own", |bencher| {
            bencher.to_async(runtime).iter(|| async {
                for sql in &own {
                    let sql = sqlx::query(AssertSqlSafe(sql.as_str()));
                    std::hint::black_box(sql.fetch_all(&self.pool).await.expect("rows"));
                }
            });
        });
        group.finish();
        Ok(())
    }

    /// Returns the complete body of the response.
    async fn send(&self, body: String) -> reqwest::Result<Vec<u8>> {
        let request = self.client.post(format!("http://{}/graphql", self.server.address));
        let request = request.header("content-type", "application/json").body(body);
        Ok(request.send().await?.error_for_status()?.bytes().await?.into())
    }

    /// Checks that both forms return the same number of rows, and the server no error.
    async fn check(&self, case: &Case, plain: &Plain) -> anyhow::Result<()> {
        let listed = case.rows(&serde_json::from_slice(&self.send(body(case)).await?)?)?;
        let rows = plain.fetch(&self.pool).await?;
        // A series includes its empty buckets.
        let same = listed.is_none_or(|listed| listed == rows || case.name == "series");
        anyhow::ensure!(same, "{}: {listed:?} rows, {rows} of plain SQL", case.name);
        Ok(())
    }

    /// The statements that a server sends for a case; uses another server, because it records all of them.
    async fn own_statements(&self, case: &Case) -> anyhow::Result<Vec<String>> {
        let recording = App::start(self.config.clone()).await?;
        recording.services.db.record();
        let url = format!("http://{}/graphql", recording.address);
        let request = self.client.post(url).header("content-type", "application/json");
        request.body(body(case)).send().await?.error_for_status()?.bytes().await?;
        let statements = recording.services.db.record();
        recording.shutdown().await?;
        Ok(statements)
    }
}

fn body(case: &Case) -> String {
    serde_json::json!({ "query": case.query }).to_string()
}
