//! The rate of durable recording, and its effect on reads: a local server at
//! 127.0.0.1, on SQLite and, if their URLs are set, on PostgreSQL and MariaDB.
//!
//! `cargo bench --workspace --bench record [-- --seconds 5 --connections 64]`

#![expect(clippy::panic, reason = "a benchmark that cannot run stops")]

mod client;
mod plain;
#[path = "../load/server.rs"]
mod server;
#[expect(dead_code, reason = "the other benchmarks use filled databases")]
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use clap::Parser;
use client::{Done, Load, Request};
use server::{Memory, Server};
use support::engine::Engine;
use support::{CALLS, MAX_PAGE_SIZE, cases, data};

#[derive(Parser)]
struct Args {
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,

    /// Connections that record; each sends its next call after the last acknowledgement
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,

    /// Rows of the stream
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rows: u64,

    /// Calls per second of the steady load during which reads are measured
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,

    /// Only this part
    #[arg(long, value_enum)]
    part: Option<Part>,

    /// Set by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Part {
    /// One call per request
    Calls,
    /// Many rows per request
    Streams,
    /// Reads during writes
    Reads,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !args.bench {
        // `cargo test --benches` also runs this.
        println!("record: run it with cargo bench");
        return Ok(());
    }
    let wants = |part| args.part.is_none_or(|wanted| wanted == part);
    for target in Engine::all() {
        println!("\n{}:\n", target.name);
        if wants(Part::Calls) {
            writes(&target, &args).await?;
        }
        if wants(Part::Streams) {
            streams(&target, &args).await?;
        }
    }
    if wants(Part::Reads) {
        reads(&args).await?;
    }
    Ok(())
}

/// One call per request, compared with a program that commits each call separately.
async fn writes(target: &Engine, args: &Args) -> anyhow::Result<()> {
    println!("| one call per request | connections | calls/s | p50 ms | p99 ms | ratio |");
    println!("|---|---:|---:|---:|---:|---:|");
    let time = Duration::from_secs(args.seconds);
    let plain = plain::commit_each(target, time).await?;
    println!("| SQL, one commit per call | 1 | {plain:.0} | | | 1 |");
    let cases = [
        ("`recordCalls`", Request::mutation()),
        ("`recordCalls` with an idempotency key", Request::mutation().with_key()),
        ("`POST /ingest/calls`", Request::line()),
    ];
    for (name, request) in cases {
        for connections in [1, args.connections] {
            let database = target.create().await?;
            let server = Server::start(&database.url, &[])?;
            let load = Load::start(&server, &request, connections, None).await?;
            let load = load.run_for(time).await?;
            let rate = load.acknowledged as f64 / load.elapsed.as_secs_f64();
            server.stop()?;
            // Exactly the acknowledged calls are stored.
            let stored = plain::count(&database).await?;
            anyhow::ensure!(stored == load.acknowledged, "{stored} of {}", load.acknowledged);
            println!(
                "| {name} | {connections} | {rate:.0} | {:.2} | {:.2} | {:.1} |",
                load.percentile(50),
                load.percentile(99),
                rate / plain
            );
            database.drop().await?;
        }
    }
    Ok(())
}

/// Many rows per request, compared with a program that inserts a thousand rows per statement.
async fn streams(target: &Engine, args: &Args) -> anyhow::Result<()> {
    println!("\n| a stream of {} rows | rows/s | peak memory MB | own MB | ratio |", args.rows);
    println!("|---|---:|---:|---:|---:|");
    let plain = plain::insert_many(target, args.rows).await?;
    println!("| SQL, 1,000 rows per statement and commit | {plain:.0} | | | 1 |");
    for (name, connections) in [("`POST /ingest/calls`", 1), ("the same, by 2 clients", 2)] {
        let database = target.create().await?;
        let server = Server::start(&database.url, &[])?;
        let elapsed = client::stream(&server, args.rows, connections).await?;
        let memory = server.stop()?;
        let stored = plain::count(&database).await?;
        anyhow::ensure!(stored == args.rows, "{stored} of {} rows", args.rows);
        let rate = args.rows as f64 / elapsed.as_secs_f64();
        let Memory { peak, own } = memory;
        println!("| {name} | {rate:.0} | {peak:.0} | {own:.0} | {:.2} |", rate / plain);
        database.drop().await?;
    }
    Ok(())
}

/// The latency of one reader during writes, and alone before and after, because the table grows.
async fn reads(args: &Args) -> anyhow::Result<()> {
    println!("\nReads of a table of {CALLS} calls in SQLite, one client:\n");
    println!("| query | writers | p50 ms | p99 ms | of idle | recorded calls/s |");
    println!("|---|---|---:|---:|---:|---:|");
    let time = Duration::from_secs(args.seconds);
    let file = data::sqlite(CALLS).await?;
    for case in cases::main()? {
        if !["usage", "lookup", "calls"].contains(&case.name) {
            continue;
        }
        let copy = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        std::fs::copy(&file, copy.path())?;
        let server = Server::start(&format!("sqlite://{}", copy.path().display()), &[])?;
        let query = serde_json::json!({ "query": case.query });
        let request = reqwest::Client::new().post(format!("{}/graphql", server.url)).json(&query);
        case.rows(&request.send().await?.json().await?)?;
        let query = Request::query(&case.query);
        let read = async || Load::start(&server, &query, 1, None).await?.run_for(time).await;
        let mut before = read().await?;
        println!("{}", line(&case, "nothing", &before, 1.0, 0.0));
        for (writers, rate) in [("steady", Some(args.rate)), ("all that goes", None)] {
            let load = Load::start(&server, &Request::line(), args.connections, rate).await?;
            let found = read().await?;
            let load = load.run_for(Duration::ZERO).await?;
            let recorded = load.acknowledged as f64 / load.elapsed.as_secs_f64();
            let after = read().await?;
            let idle = f64::midpoint(before.percentile(50), after.percentile(50));
            println!("{}", line(&case, writers, &found, found.percentile(50) / idle, recorded));
            before = after;
        }
        server.stop()?;
    }
    Ok(())
}

fn line(case: &cases::Case, writers: &str, read: &Done, of_idle: f64, recorded: f64) -> String {
    let (p50, p99) = (read.percentile(50), read.percentile(99));
    format!("| {} | {writers} | {p50:.2} | {p99:.2} | {of_idle:.1} | {recorded:.0} |", case.what)
}
