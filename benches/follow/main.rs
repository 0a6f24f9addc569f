//! Many subscribers of one local server on 127.0.0.1, half by server-sent events and half by WebSocket:
//! the memory of each, the rate of new ones, the load while they stay, and how long an event
//! takes to reach the last of them while one of them reads nothing.
//!
//! `cargo bench --workspace --bench follow [-- --subscribers 10000]`

#[path = "../load/server.rs"]
mod server;
mod subscriber;

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use futures_util::{StreamExt, TryStreamExt, stream};
use server::{Memory, Server};
use subscriber::{Kind, Subscriber};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Concurrent connection attempts.
const MAKING: usize = 64;
/// Files of a process, without its connections.
const OTHER_FILES: u64 = 200;
/// How long the load of the server is measured without new events or subscribers.
const WATCHED: Duration = Duration::from_secs(10);
/// A later event counts as lost.
const LOST: Duration = Duration::from_secs(30);
const MAX_PAGE_SIZE: &str = "2000";

#[derive(Parser)]
struct Args {
    /// Subscribers; half by SSE, half by WebSocket
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    subscribers: u32,

    /// The subscription; for `callRecorded` the time from the commit to the last event is measured
    #[arg(
        long,
        default_value = "subscription { callRecorded { id timestamp model status apiKey { masked } } }"
    )]
    subscription: String,

    /// Calls that are recorded one by one
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// Set by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !args.bench {
        // `cargo test --benches` also runs this.
        println!("follow: run it with cargo bench");
        return Ok(());
    }
    allow_files(u64::from(args.subscribers) + OTHER_FILES)?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let url = format!("sqlite://{}", folder.path().join("calls.db").display());
    let most = args.subscribers.to_string();
    let connections = (args.subscribers + 100).to_string();
    let server = Server::start(
        &url,
        &[
            ("--max-connections", &connections),
            ("--max-connections-per-address", &connections),
            ("--max-subscriptions", &most),
            ("--max-subscriptions-in-all", &most),
        ],
    )?;
    let watch = Watch::new(&server);
    // Memory that the first requests allocate does not belong to subscribers.
    watch.metric("callscope_subscriptions").await?;
    let (events, mut received) = mpsc::unbounded_channel();
    let mut following = JoinSet::new();
    let halves =
        [(Kind::Sse, args.subscribers / 2), (Kind::WebSocket, args.subscribers.div_ceil(2))];
    let mut open = 0;
    println!("\n{} subscribers: {}\n", args.subscribers, args.subscription);
    println!("| by | subscribers | started/s | KB each, resident |\n|---|---:|---:|---:|");
    for (kind, count) in halves {
        let (before, started) = (watch.memory()?, Instant::now());
        let making = (0..count).map(|_| Subscriber::open(kind, &server.url, &args.subscription));
        let made: Vec<Subscriber> =
            stream::iter(making).buffer_unordered(MAKING).try_collect().await?;
        open += count;
        watch.until_subscriptions(open).await?;
        let took = started.elapsed();
        for subscriber in made {
            following.spawn(subscriber.follow(events.clone()));
        }
        let each = (watch.memory()? - before) * 1024.0 / f64::from(count);
        println!(
            "| {kind:?} | {count} | {:.0} | {each:.1} |",
            f64::from(count) / took.as_secs_f64()
        );
    }
    let is_recorded = args.subscription.contains("callRecorded");
    let slow = match is_recorded {
        // This subscriber reads nothing from now on.
        true => Some(Subscriber::open(Kind::Sse, &server.url, &args.subscription).await),
        false => None,
    };
    idle(&watch, &mut received).await?;
    if is_recorded {
        rounds(&args, &server, &mut received).await?;
    }
    drop(slow);
    following.shutdown().await;
    let memory = server.stop()?;
    println!("\npeak memory {:.0} MB, own in the end {:.0} MB", memory.peak, memory.own);
    Ok(())
}

/// The load of the server without new requests.
async fn idle(
    watch: &Watch<'_>,
    received: &mut mpsc::UnboundedReceiver<Instant>,
) -> anyhow::Result<()> {
    while received.try_recv().is_ok() {}
    let statements = "callscope_sql_statement_duration_seconds_count";
    let (sent, ticks) = (watch.metric(statements).await?, watch.ticks()?);
    tokio::time::sleep(WATCHED).await;
    let mut events = 0;
    while received.try_recv().is_ok() {
        events += 1;
    }
    let seconds = WATCHED.as_secs_f64();
    let statements = watch.metric(statements).await? - sent;
    // A tick is a hundredth of a second.
    let busy = (watch.ticks()? - ticks) / seconds;
    println!(
        "\nin {seconds} s: {:.0} events/s, {busy:.1} % of one core, {:.1} statements/s, {:.0} MB resident",
        f64::from(events) / seconds,
        statements / seconds,
        watch.memory()?
    );
    Ok(())
}

/// Records calls one by one; each must reach all subscribers.
async fn rounds(
    args: &Args,
    server: &Server,
    received: &mut mpsc::UnboundedReceiver<Instant>,
) -> anyhow::Result<()> {
    let client = reqwest::Client::new();
    let call = "mutation { recordCalls(input: { calls: [{ key: \"k\", model: \"m\", statusCode: 200 }] }) { recorded } }";
    let body = serde_json::json!({ "query": call });
    let (mut first, mut last) = (vec![], vec![]);
    for _ in 0..args.rounds {
        let sent = client.post(format!("{}/graphql", server.url)).json(&body).send().await?;
        let answer: serde_json::Value = sent.json().await?;
        let committed = Instant::now();
        anyhow::ensure!(answer.get("errors").is_none(), "{answer}");
        for number in 0..args.subscribers {
            let event = tokio::time::timeout(LOST, received.recv()).await;
            let at = event
                .with_context(|| format!("{number} events arrived"))?
                .context("no one left")?;
            let took = at.saturating_duration_since(committed).as_secs_f64() * 1e3;
            if number == 0 {
                first.push(took);
            } else if number + 1 == args.subscribers {
                last.push(took);
            }
        }
    }
    for (what, times) in [("first", &mut first), ("last", &mut last)] {
        times.sort_unstable_by(f64::total_cmp);
        let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
        println!(
            "from the answer to the {what} event: median {median:.0} ms, at most {most:.0} ms"
        );
    }
    Ok(())
}

/// Reads the metrics and the process values of the server.
struct Watch<'a> {
    server: &'a Server,
    client: reqwest::Client,
}

impl<'a> Watch<'a> {
    fn new(server: &'a Server) -> Self {
        Self { server, client: reqwest::Client::new() }
    }

    /// The sum of all metrics with this name.
    async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let get = self.client.get(format!("{}/metrics", self.server.url));
        let text = get.send().await?.error_for_status()?.text().await?;
        let of = |line: &str| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        };
        Ok(text.lines().filter_map(of).sum())
    }

    async fn until_subscriptions(&self, count: u32) -> anyhow::Result<()> {
        let started = Instant::now();
        while self.metric("callscope_subscriptions").await? < f64::from(count) {
            anyhow::ensure!(started.elapsed() < LOST, "not all {count} start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Resident memory in MB, without file mappings.
    fn memory(&self) -> anyhow::Result<f64> {
        Ok(Memory::of(self.server.id())?.own)
    }

    /// Processor time in hundredths of a second.
    fn ticks(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.server.id()))?;
        let fields: Vec<f64> =
            stat.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        // utime and stime, counted without the name and the state.
        Ok(fields.get(11).copied().unwrap_or_default()
            + fields.get(12).copied().unwrap_or_default())
    }
}

/// Raises the limit of open files of this process and its children, as far as the system allows.
fn allow_files(needed: u64) -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let current = limit.maximum.map_or(needed, |most| most.min(needed));
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..limit })?;
    println!("raised the limit of open files to {current}");
    anyhow::ensure!(current >= needed, "{needed} open files are needed: ulimit -Hn {needed}");
    Ok(())
}
