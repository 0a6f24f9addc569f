//! What those who follow cost: memory for each of them, and time for each event that each is told. A
//! server of our own on SQLite, every follower on a connection of its own.
//!
//! `cargo bench --workspace --bench follow [-- --followers 5000 --events 20]`; each follower takes a
//! file descriptor here and in the server (`ulimit -n`).

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

#[derive(Parser)]
struct Args {
    /// Those who follow
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    followers: u64,

    /// Calls that are recorded, one after the other
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    events: u64,

    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

const FIELDS: &str = "id timestamp model status statusCode latencyMs apiKey { id masked }";

/// What the follower with this number asks.
type Query = fn(u64) -> String;

/// What the followers have been told, all together.
#[derive(Default)]
struct Told {
    begun: AtomicU64,
    events: AtomicU64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !args.bench {
        // `cargo test --benches` comes here.
        println!("follow: run it with cargo bench");
        return Ok(());
    }
    println!(
        "| {} followers | KiB each | ms to the last | CPU µs for each event of each |",
        args.followers
    );
    println!("|---|---:|---:|---:|");
    let cases: [(&str, Query); 3] = [
        ("all ask the same", |_| format!("subscription {{ callRecorded {{ {FIELDS} }} }}")),
        ("each asks otherwise", |number| {
            format!("subscription S{number} {{ callRecorded {{ {FIELDS} }} }}")
        }),
        ("each has a filter that lets nothing pass", |number| {
            format!("subscription {{ callRecorded(key: \"nobody {number}\") {{ {FIELDS} }} }}")
        }),
    ];
    for (name, query) in cases {
        measure(&args, name, query).await?;
    }
    Ok(())
}

async fn measure(args: &Args, name: &str, query: Query) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let server = Server::start(folder.path(), args.followers)?;
    let told = Arc::new(Told::default());
    let mut followers = JoinSet::new();
    let client = reqwest::Client::new();
    // Whatever is set up once.
    record(&client, &server).await?;
    let before = server.memory_kib()?;
    for number in 0..args.followers {
        followers.spawn(follow(server.address.clone(), query(number), told.clone()));
        while followers.len() as u64 - told.begun.load(Ordering::Relaxed) > 200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    until(&told.begun, args.followers).await?;
    let each = (server.memory_kib()? - before) / args.followers as f64;
    let passes = if name.contains("nothing") { 0 } else { args.followers };
    let (cpu, mut slowest) = (server.cpu_seconds()?, Duration::ZERO);
    for event in 1..=args.events {
        let began = Instant::now();
        record(&client, &server).await?;
        until(&told.events, event * passes).await?;
        if passes == 0 {
            // So that each look is at one call, as in the other cases.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        slowest = slowest.max(began.elapsed());
    }
    let cpu = (server.cpu_seconds()? - cpu) * 1e6 / (args.events * args.followers) as f64;
    let slowest = if passes > 0 { format!("{}", slowest.as_millis()) } else { String::new() };
    println!("| {name} | {each:.1} | {slowest} | {cpu:.1} |");
    Ok(())
}

async fn record(client: &reqwest::Client, server: &Server) -> anyhow::Result<()> {
    let query = "mutation { recordCalls(input: { calls: [{ key: \"key-of-the-benchmark-1\", model: \"model\", statusCode: 200, latencyMs: 12 }] }) { recorded } }";
    let sent = client.post(format!("http://{}/graphql", server.address));
    let answer = sent.json(&json!({ "query": query })).send().await?.text().await?;
    anyhow::ensure!(answer.contains("\"recorded\":1"), "{answer}");
    Ok(())
}

async fn until(counter: &AtomicU64, count: u64) -> anyhow::Result<()> {
    let began = Instant::now();
    while counter.load(Ordering::Relaxed) < count {
        anyhow::ensure!(began.elapsed() < Duration::from_secs(120), "not everybody was told");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Counts what it is told, for ever.
async fn follow(address: String, query: String, told: Arc<Told>) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(&address).await?;
    let body = json!({ "query": query }).to_string();
    let request = format!(
        "POST /graphql/stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Accept: text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = vec![0; 2048];
    let mut begun = false;
    loop {
        let read = stream.read(&mut buffer).await?;
        anyhow::ensure!(read > 0, "the stream ended");
        let text = std::str::from_utf8(&buffer[..read])?;
        if !begun {
            anyhow::ensure!(text.starts_with("HTTP/1.1 200"), "{text}");
            begun = true;
            told.begun.fetch_add(1, Ordering::Relaxed);
        }
        anyhow::ensure!(!text.contains("\"errors\""), "{text}");
        told.events.fetch_add(text.matches("event: next").count() as u64, Ordering::Relaxed);
    }
}

/// The program itself, in a process of its own.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(folder: &std::path::Path, followers: u64) -> anyhow::Result<Self> {
        let most = (followers + 100).to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_callscope"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .args(["--max-connections", &most, "--max-subscriptions", &most])
            .args(["--max-subscriptions-in-all", &most])
            .env_clear()
            .env("CALLSCOPE_DATABASE_URL", "sqlite://calls.db")
            .current_dir(folder)
            .stderr(Stdio::piped())
            .spawn()
            .context("callscope does not start")?;
        let log = child.stderr.take().context("no log")?;
        let mut lines = BufReader::new(log).lines();
        loop {
            let Some(line) = lines.next().transpose()? else {
                anyhow::bail!("callscope stopped: {}", child.wait()?);
            };
            let address =
                line.split_once("http://").and_then(|(_, rest)| rest.split_once("/graphql"));
            if let Some((address, _)) = address {
                let address = address.to_owned();
                // Read to its end, so that the server never waits for its log.
                std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
                return Ok(Self { child, address });
            }
        }
    }

    /// What is its own, files aside.
    fn memory_kib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("no RssAnon")?;
        Ok(kib.parse()?)
    }

    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let behind = stat.rsplit(") ").next().context("no stat")?;
        let ticks =
            |at: usize| behind.split(' ').nth(at).and_then(|ticks| ticks.parse::<f64>().ok());
        let (user, system) = ticks(11).zip(ticks(12)).context("no times")?;
        // Linux counts hundredths of seconds here.
        Ok((user + system) / 100.0)
    }
}

impl Drop for Server {
    /// Also where a measurement fails, no server stays behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
