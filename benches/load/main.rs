//! Bounded load on a local server at 127.0.0.1: a fixed number of requests by a fixed
//! number of clients, on SQLite and on the servers whose URLs are set.
//!
//! `cargo bench --workspace --bench load [-- --requests 300 --case calls]`

#![expect(clippy::panic, reason = "a benchmark that cannot run stops")]

mod server;
#[expect(dead_code, reason = "the other benchmarks use empty databases")]
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use server::Server;
use support::cases::{self, Case};
use support::engine::Engine;
use support::{CALLS, MAX_PAGE_SIZE, data};

/// Clients; each sends its next request when it has read a response.
const CLIENTS: [usize; 3] = [1, 4, 16];

/// Warm-up requests, which are not measured.
const WARM_UP: usize = 8;

#[derive(Parser)]
struct Args {
    /// Requests of each measurement
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    requests: u32,

    /// Only this case
    #[arg(long)]
    case: Option<String>,

    /// Only this number of clients
    #[arg(long)]
    clients: Option<usize>,

    /// Calls of the table
    #[arg(long, default_value_t = CALLS, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    calls: u64,

    /// Set by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !args.bench {
        // `cargo test --benches` also runs this.
        println!("load: run it with cargo bench");
        return Ok(());
    }
    for engine in Engine::all() {
        let database = engine.filled(args.calls, data::STEP_MICROS).await?;
        let ran = run(engine.name, &database.url, &args).await;
        database.drop().await?;
        ran?;
    }
    Ok(())
}

async fn run(database: &str, url: &str, args: &Args) -> anyhow::Result<()> {
    println!("\n{database}, {} calls; {} requests each:\n", args.calls, args.requests);
    println!(
        "| query | clients | requests/s | p50 ms | p95 ms | p99 ms | answer KB | peak memory MB | own MB |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for case in cases::main()? {
        if args.case.as_deref().is_some_and(|name| name != case.name) {
            continue;
        }
        for clients in CLIENTS {
            if args.clients.is_some_and(|wanted| wanted != clients) {
                continue;
            }
            // A new server for each line, to measure its own peak memory.
            let server = Server::start(url, &[])?;
            let load = Load::run(&server, &case, clients, args.requests as usize).await?;
            let memory = server.stop()?;
            println!(
                "| {} | {clients} | {:.0} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} |",
                case.what,
                load.times.len() as f64 / load.elapsed.as_secs_f64(),
                load.percentile(50),
                load.percentile(95),
                load.percentile(99),
                load.bytes as f64 / 1024.0,
                memory.peak,
                memory.own
            );
        }
    }
    Ok(())
}

/// The result: the sorted time of each request, and the total time.
struct Load {
    times: Vec<Duration>,
    elapsed: Duration,
    /// Of one response.
    bytes: usize,
}

impl Load {
    async fn run(
        server: &Server,
        case: &Case,
        clients: usize,
        requests: usize,
    ) -> anyhow::Result<Self> {
        let client = reqwest::Client::new();
        let body = serde_json::json!({ "query": case.query }).to_string();
        let send = {
            let url = format!("{}/graphql", server.url);
            move || {
                let request = client.post(&url).header("content-type", "application/json");
                let sent = request.body(body.clone()).send();
                async move { sent.await?.error_for_status()?.bytes().await }
            }
        };
        let first = send().await?;
        case.rows(&serde_json::from_slice(&first)?)?;
        futures_util::future::try_join_all((0..WARM_UP.max(clients)).map(|_| send())).await?;
        let left = Arc::new(AtomicUsize::new(requests));
        let started = Instant::now();
        let running = (0..clients).map(|_| {
            let (left, send) = (left.clone(), send.clone());
            tokio::spawn(async move {
                let mut times = vec![];
                let next = |left: usize| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok() {
                    let sent = Instant::now();
                    send().await?;
                    times.push(sent.elapsed());
                }
                anyhow::Ok(times)
            })
        });
        let mut times = vec![];
        for client in running.collect::<Vec<_>>() {
            times.extend(client.await??);
        }
        let elapsed = started.elapsed();
        times.sort_unstable();
        Ok(Self { times, elapsed, bytes: first.len() })
    }

    /// In ms; `percent` percent of the requests took at most this time.
    fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.times.len() * percent).div_ceil(100).max(1);
        self.times.get(rank - 1).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}
