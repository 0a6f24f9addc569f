//! Clients that need little processor time, on their own thread: they write prepared requests to the
//! socket, and read only the length and the status of responses.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::{MissedTickBehavior, interval};

use crate::data;
use crate::server::Server;

const DIFFERENT_CALLS: u64 = 1000;

/// A request, and the text that its response must contain.
#[derive(Clone)]
pub struct Request {
    path: &'static str,
    content_type: &'static str,
    body: fn(u64, &str) -> String,
    text: String,
    expected: &'static str,
}

impl Request {
    /// `recordCalls` with one call.
    pub fn mutation() -> Self {
        Self {
            path: "/graphql",
            content_type: "application/json",
            body: |number, _| {
                let call = call(number);
                format!(
                    r#"{{"query":"mutation R($input: RecordCallsInput!) {{ recordCalls(input: $input) {{ recorded }} }}","variables":{{"input":{{"calls":[{call}]}}}}}}"#
                )
            },
            text: String::new(),
            expected: r#""recorded":1"#,
        }
    }

    /// A line of a stream.
    pub fn line() -> Self {
        Self {
            path: "/ingest/calls",
            content_type: "application/x-ndjson",
            body: |number, _| call(number).to_owned() + "\n",
            ..Self::mutation()
        }
    }

    pub fn query(query: &str) -> Self {
        Self {
            body: |_, query| serde_json::json!({ "query": query }).to_string(),
            text: query.to_owned(),
            expected: r#"{"data":{"#,
            ..Self::mutation()
        }
    }

    /// Adds an idempotency key.
    pub fn with_key(self) -> Self {
        Self {
            body: |number, _| {
                let call = call(number);
                format!(
                    r#"{{"query":"mutation R($input: RecordCallsInput!) {{ recordCalls(input: $input) {{ recorded }} }}","variables":{{"input":{{"calls":[{call}],"idempotencyKey":"key {number}"}}}}}}"#
                )
            },
            ..self
        }
    }

    fn write(&self, number: u64, into: &mut String) {
        use std::fmt::Write;
        let body = (self.body)(number, &self.text);
        into.clear();
        let _ = write!(
            into,
            "POST {} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n{body}",
            self.path,
            self.content_type,
            body.len()
        );
    }
}

/// A call in the form of a producer. Calls are prepared in advance, to keep the clients cheap.
fn call(number: u64) -> &'static str {
    static CALLS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let call = |number: u64| {
            let key = data::key(number % 50);
            let (status, latency) =
                if number.is_multiple_of(17) { (429, 180) } else { (200, 900 + number % 700) };
            format!(
                r#"{{"key":"{key}","model":"gemini-2.5-flash","statusCode":{status},"latencyMs":{latency}}}"#
            )
        };
        (0..DIFFERENT_CALLS).map(call).collect()
    });
    &CALLS[(number % DIFFERENT_CALLS) as usize]
}

/// Running clients.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Vec<Duration>>>,
    started: Instant,
}

/// The results of the clients.
pub struct Done {
    pub acknowledged: u64,
    pub elapsed: Duration,
    times: Vec<Duration>,
}

impl Load {
    /// Starts `clients` clients; `rate` is the number of requests per second of all of them, by default
    /// as many as are answered.
    pub async fn start(
        server: &Server,
        request: &Request,
        connections: u32,
        rate: Option<u64>,
    ) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let address = address(server)?;
        let (request, stopping) = (request.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            runtime()?.block_on(run(address, request, connections, rate, stopping))
        });
        Ok(Self { stop, thread, started: Instant::now() })
    }

    pub async fn run_for(self, time: Duration) -> anyhow::Result<Done> {
        tokio::time::sleep(time).await;
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread;
        let mut times = tokio::task::spawn_blocking(move || thread.join())
            .await?
            .map_err(|_| anyhow::anyhow!("a client failed"))??;
        let elapsed = self.started.elapsed();
        times.sort_unstable();
        Ok(Done { acknowledged: times.len() as u64, elapsed, times })
    }
}

impl Done {
    /// In ms; `percent` percent of the requests took at most this time.
    pub fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.times.len() * percent).div_ceil(100).max(1);
        self.times.get(rank - 1).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn address(server: &Server) -> anyhow::Result<String> {
    Ok(server.url.strip_prefix("http://").context("no address")?.to_owned())
}

async fn run(
    address: String,
    request: Request,
    connections: u32,
    rate: Option<u64>,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<Vec<Duration>> {
    let next = Arc::new(AtomicU64::new(0));
    let pause = rate.map(|rate| Duration::from_secs_f64(f64::from(connections) / rate as f64));
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let client = send(address.clone(), request.clone(), next.clone(), pause, stop.clone());
            tokio::spawn(client)
        })
        .collect();
    let mut times = vec![];
    for client in clients {
        times.extend(client.await??);
    }
    Ok(times)
}

async fn send(
    address: String,
    request: Request,
    next: Arc<AtomicU64>,
    pause: Option<Duration>,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<Vec<Duration>> {
    let mut connection = Connection::open(&address).await?;
    let mut ticks = pause.map(|pause| {
        let mut ticks = interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    });
    let (mut times, mut text) = (vec![], String::new());
    while !stop.load(Ordering::Relaxed) {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        request.write(next.fetch_add(1, Ordering::Relaxed), &mut text);
        let sent = Instant::now();
        connection.stream.write_all(text.as_bytes()).await?;
        let answer = connection.answer().await?;
        times.push(sent.elapsed());
        anyhow::ensure!(answer.contains(request.expected), "{answer}");
    }
    Ok(times)
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Of the last response.
    read: usize,
}

impl Connection {
    async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 * 1024), read: 0 })
    }

    /// The complete response, by its content length.
    async fn answer(&mut self) -> anyhow::Result<&str> {
        self.buffer.drain(..self.read);
        loop {
            let head = self.buffer.windows(4).position(|end| end == b"\r\n\r\n");
            if let Some(head) = head.map(|at| at + 4) {
                let text = std::str::from_utf8(&self.buffer[..head])?;
                let length = text
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .with_context(|| format!("no length: {text}"))?;
                let end = head + length.parse::<usize>()?;
                if self.buffer.len() >= end {
                    self.read = end;
                    return Ok(std::str::from_utf8(&self.buffer[..end])?);
                }
            }
            let read = self.stream.read_buf(&mut self.buffer).await?;
            anyhow::ensure!(read > 0, "the server closed the connection");
        }
    }
}

/// Sends `rows` lines by `clients` clients, in one request each; returns the time to the last response.
pub async fn stream(server: &Server, rows: u64, clients: u64) -> anyhow::Result<Duration> {
    let address = address(server)?;
    // The texts are prepared in advance: only the server is measured.
    let block: Arc<Vec<u8>> =
        Arc::new((0..1000).map(|n| call(n).to_owned() + "\n").collect::<String>().into());
    anyhow::ensure!(
        rows.is_multiple_of(1000 * clients),
        "rows must be a multiple of 1,000 per client"
    );
    let started = Instant::now();
    let thread = std::thread::spawn(move || {
        runtime()?.block_on(async {
            let sending =
                (0..clients).map(|_| send_stream(&address, &block, rows / clients / 1000));
            futures_util::future::try_join_all(sending).await
        })
    });
    let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
    joined.map_err(|_| anyhow::anyhow!("a client failed"))??;
    Ok(started.elapsed())
}

async fn send_stream(address: &str, block: &[u8], blocks: u64) -> anyhow::Result<()> {
    let mut connection = Connection::open(address).await?;
    let length = block.len() as u64 * blocks;
    let head = format!(
        "POST /ingest/calls HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/x-ndjson\r\n\
         content-length: {length}\r\n\r\n"
    );
    connection.stream.write_all(head.as_bytes()).await?;
    for _ in 0..blocks {
        connection.stream.write_all(block).await?;
    }
    let answer = connection.answer().await?;
    anyhow::ensure!(answer.contains(&format!("\"recorded\":{}", blocks * 1000)), "{answer}");
    Ok(())
}
