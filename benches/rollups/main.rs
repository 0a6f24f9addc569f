//! Statistics with rollups and without, of the same calls in the same run, over HTTP on 127.0.0.1; and how
//! long folding takes.
//!
//! `cargo bench --workspace --bench rollups [-- --calls 10000000 --days 31 --times 25]`, or with
//! `--database-url URL`: an empty database on PostgreSQL, MySQL or MariaDB, which it fills and leaves.

#![expect(clippy::panic, reason = "a benchmark that cannot run stops")]

#[path = "../load/server.rs"]
mod server;
#[expect(dead_code, reason = "the other benchmarks use the cases")]
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use callscope::config::DatabaseConfig;
use callscope::store::connect;
use clap::Parser;
use sea_orm::{ConnectionTrait, Database, DatabaseBackend, Statement};
use serde_json::{Value, json};
use server::Server;
use support::{CALLS, MAX_PAGE_SIZE, data, settings};

/// No fold of the largest table takes longer.
const FOLD_LIMIT: Duration = Duration::from_secs(1800);
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Parser)]
struct Args {
    /// Calls of the table
    #[arg(long, default_value_t = CALLS, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    calls: u64,

    /// The time of the calls in days; 62,500 calls a day by default
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=366))]
    days: Option<u32>,

    /// An empty database; a SQLite file by default
    #[arg(long)]
    database_url: Option<String>,

    /// Requests of each query
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
    times: u32,

    /// Set by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// The names and documents of the queries.
fn queries() -> Vec<(&'static str, String)> {
    let as_of = format!("asOf: \"{}\"", data::AS_OF);
    let counts = "counts { total success }";
    let latency = "latency { p50 p95 }";
    let days = format!("period: LAST_30_DAYS, {as_of}, interval: \"P1D\"");
    let hours = format!("period: LAST_24_HOURS, {as_of}, interval: \"PT1H\"");
    let month = format!("period: LAST_30_DAYS, {as_of}");
    let day = format!("period: LAST_24_HOURS, {as_of}");
    let windows =
        "lastMinute { total } lastHour { total } last24Hours { total } currentMonth { total }";
    vec![
        (
            "`usageStats`, all windows",
            format!("{{ usageStats({as_of}) {{ {windows} last8Hours {{ total }} }} }}"),
        ),
        ("`callSeries`, 30 days by day", format!("{{ callSeries({days}) {{ {counts} }} }}")),
        ("the same with percentiles", format!("{{ callSeries({days}) {{ {counts} {latency} }} }}")),
        ("`callSeries`, 24 h by hour", format!("{{ callSeries({hours}) {{ {counts} }} }}")),
        (
            "the same with percentiles",
            format!("{{ callSeries({hours}) {{ {counts} {latency} }} }}"),
        ),
        (
            "`callGroups` by key, 30 days",
            format!("{{ callGroups(by: [API_KEY], {month}, first: 50) {{ {counts} }} }}"),
        ),
        (
            "the same with percentiles",
            format!("{{ callGroups(by: [API_KEY], {month}, first: 50) {{ {counts} {latency} }} }}"),
        ),
        (
            "`callGroups` by key and status code, 24 h",
            format!(
                "{{ callGroups(by: [API_KEY, STATUS_CODE], {day}, first: 300) {{ {counts} }} }}"
            ),
        ),
        (
            "4 windows, 20 calls and their `errorLog`",
            format!(
                "{{ usageStats({as_of}) {{ {windows} }} callDetails(period: LAST_HOUR, {as_of}, first: 20) \
                 {{ nodes {{ timestamp model statusCode latencyMs errorLog {{ errorCode message }} }} }} }}"
            ),
        ),
        (
            "20 calls and `totalCount` of 24 h",
            format!("{{ callDetails({day}, first: 20) {{ totalCount nodes {{ timestamp }} }} }}"),
        ),
    ]
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !args.bench {
        // `cargo test --benches` also runs this.
        println!("rollups: run it with cargo bench");
        return Ok(());
    }
    let step = args
        .days
        .map_or(data::STEP_MICROS, |days| i64::from(days) * 86_400_000_000 / args.calls as i64);
    let database = match &args.database_url {
        Some(url) => fill(url, args.calls, step).await?,
        None => format!("sqlite://{}", data::sqlite_with(args.calls, step).await?.display()),
    };
    remove_rollups(&database).await?;
    let server = Server::start(&database, &[])?;
    let client = Client::new(&server);
    let started = Instant::now();
    let rollups = client.folded().await?;
    let (seconds, days) =
        (started.elapsed().as_secs_f64(), step as f64 * args.calls as f64 / 86.4e9);
    println!(
        "\n{} calls in {days:.0} days, {}\n",
        args.calls,
        database.split(':').next().unwrap_or("")
    );
    println!("folded in {seconds:.1} s, {:.0} calls/s; {rollups}\n", args.calls as f64 / seconds);
    let plain =
        Server::start(&database, &[("--rollups", "false"), ("--max-complexity", "1000000000")])?;
    let without = Client::new(&plain);
    println!("| query | with rollups, ms | p95 | without, ms | ratio |");
    println!("|---|---:|---:|---:|---:|");
    for (name, query) in queries() {
        let (median, p95) = client.time(&query, args.times).await?;
        let (of_calls, _) = without.time(&query, args.times.min(5)).await?;
        let ratio = of_calls / median;
        println!("| {name} | {median:.2} | {p95:.2} | {of_calls:.2} | {ratio:.0} |");
    }
    let memory = server.stop()?;
    println!(
        "\nMemory of the server: {:.0} MB at most, {:.0} MB at the end",
        memory.peak, memory.own
    );
    Ok(())
}

/// Fills an empty database.
async fn fill(url: &str, calls: u64, step_micros: i64) -> anyhow::Result<String> {
    connect::migrate(&settings::<DatabaseConfig>(&["--database-url", url])).await?;
    let database = Database::connect(url).await?;
    let backend = database.get_database_backend();
    let one = Statement::from_string(backend, "SELECT id FROM t_request_log LIMIT 1");
    ensure!(database.query_one_raw(one).await?.is_none(), "the database has calls already");
    eprintln!("filling the database");
    data::insert(calls, step_micros, async |sql| {
        database.execute_unprepared(&sql).await?;
        Ok(())
    })
    .await?;
    let analyze = match backend {
        DatabaseBackend::Postgres => "VACUUM ANALYZE",
        _ => "ANALYZE TABLE t_request_log, t_error_logs",
    };
    database.execute_unprepared(analyze).await?;
    database.close().await?;
    Ok(url.to_owned())
}

/// An earlier run may have left its rollups.
async fn remove_rollups(url: &str) -> anyhow::Result<()> {
    let database = Database::connect(url).await?;
    for table in ["state", "gaps", "cells", "series"] {
        database.execute_unprepared(&format!("DELETE FROM callscope_rollup_{table}")).await?;
    }
    Ok(database.close().await?)
}

struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    fn new(server: &Server) -> Self {
        Self { http: reqwest::Client::new(), url: format!("{}/graphql", server.url) }
    }

    async fn data(&self, query: &str) -> anyhow::Result<Value> {
        let sent = self.http.post(&self.url).json(&json!({ "query": query })).send().await?;
        let answer: Value = sent.json().await?;
        ensure!(answer.get("errors").is_none(), "{answer}");
        Ok(answer)
    }

    /// Waits until all calls are folded, and returns what the rollups contain.
    async fn folded(&self) -> anyhow::Result<Value> {
        let query = "{ serverInfo { rollups { enabled lagRows rows bytes } storage { bytes } } }";
        let started = Instant::now();
        while started.elapsed() < FOLD_LIMIT {
            let info = self.data(query).await?["data"]["serverInfo"].take();
            if info["rollups"]["enabled"] == true && info["rollups"]["lagRows"] == 0 {
                return Ok(info);
            }
            tokio::time::sleep(PAUSE).await;
        }
        anyhow::bail!("the calls are not folded after {FOLD_LIMIT:?}")
    }

    /// The median and the 95th percentile of the time of a query, in ms.
    async fn time(&self, query: &str, times: u32) -> anyhow::Result<(f64, f64)> {
        let mut taken = vec![];
        for _ in 0..times {
            let started = Instant::now();
            self.data(query).await?;
            taken.push(started.elapsed().as_secs_f64() * 1000.0);
        }
        taken.sort_by(f64::total_cmp);
        let at = |share: usize| taken.get((taken.len() - 1) * share / 100).copied();
        at(50).zip(at(95)).context("no request")
    }
}
