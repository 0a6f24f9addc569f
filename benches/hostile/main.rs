//! Eight hostile readers and one client with a cheap query, on a local server at 127.0.0.1.
//! Each hostile reader has its token and sends expensive documents, several at a time, for a fixed time.
//!
//! `cargo bench --workspace --bench hostile [-- --seconds 20 --calls 1000000]`

#![expect(clippy::panic, reason = "a benchmark that cannot run stops")]

#[path = "../load/server.rs"]
mod server;
#[expect(dead_code, reason = "the other benchmarks use the cases")]
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Value, json};
use server::Server;
use support::{CALLS, MAX_PAGE_SIZE, data};

/// Hostile readers, and requests that each has in flight.
const HOSTILE: usize = 8;
const IN_FLIGHT: usize = 4;

/// The pause between two requests of the modest client and of the health check.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Parser)]
struct Args {
    /// How long the hostile readers send
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// Calls of the table
    #[arg(long, default_value_t = CALLS, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    calls: u64,

    /// Set by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Documents of many percentiles, searches, long texts and diagnoses. A document refused for its cost counts
/// as refused.
fn expensive_documents() -> Vec<String> {
    let as_of = format!("asOf: \"{}\"", data::AS_OF);
    let month = format!("period: CURRENT_MONTH, {as_of}");
    let aliased = |count: usize, field: &str| -> String {
        (0..count).map(|alias| format!("a{alias}: {field} ")).collect()
    };
    let percentiles = format!(
        "callGroups(by: [API_KEY, MODEL, STATUS_CODE], {month}, orderBy: P95_LATENCY_DESC, first: 1000) \
         {{ counts {{ total }} latency {{ p50 p99 }} }}"
    );
    let series = format!("callSeries({month}, interval: \"PT6H\") {{ latency {{ p99 }} }}");
    let search = "errorLogs(filter: { contains: \"no such text\" }) { totalCount }";
    // The first ones meet error logs without a class.
    let classes = "errorGroups(by: [FAILURE_CLASS, MESSAGE_TEMPLATE]) { count latest { message } }";
    let class = "errorLogs(filter: { excludeFailureClasses: [UNKNOWN] }) { totalCount }";
    let counts = format!("usageStats({as_of}) {{ currentMonth {{ total }} }}");
    let texts = format!("errorLogs(first: 1000) {{ nodes {{ {} }} }}", aliased(49, "message"));
    // Past instants: each is computed, none is shared.
    let at =
        |hour: usize| format!("asOf: \"2026-03-{:02}T{:02}:30:00Z\"", 1 + hour / 24, hour % 24);
    let diagnoses = |hour: usize| {
        let at = at(hour);
        format!("d{hour}: diagnoses(period: LAST_24_HOURS, {at}) {{ cause evidence {{ id }} }} ")
    };
    let pool = |hour: usize| {
        let at = at(hour);
        format!(
            "p{hour}: poolForecast({at}, horizon: \"P7D\", step: \"PT1H\") {{ usable }} \
             u{hour}: usableKeys(model: \"gemini-2.5-flash\", {at}, first: 50) {{ nodes {{ id quotas({at}) {{ used }} }} }} "
        )
    };
    vec![
        format!("{{ {} }}", diagnoses(50)),
        format!("{{ {} }}", (30..34).map(diagnoses).collect::<String>()),
        format!("{{ {} }}", (60..63).map(pool).collect::<String>()),
        format!("{{ {} }}", aliased(4, &percentiles)),
        format!("{{ {percentiles} }}"),
        format!("{{ {} }}", aliased(4, &series)),
        format!("{{ {} }}", aliased(20, search)),
        format!("{{ {search} }}"),
        format!("{{ {} }}", aliased(3, classes)),
        format!("{{ {classes} }}"),
        format!("{{ {class} }}"),
        format!("{{ {} }}", aliased(40, &counts)),
        format!("{{ {texts} }}"),
    ]
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !args.bench {
        // `cargo test --benches` also runs this.
        println!("hostile: run it with cargo bench");
        return Ok(());
    }
    let file = data::sqlite(args.calls).await?;
    let token = |name: usize| format!("0123456789abcdef-{name}");
    let tokens: Vec<String> =
        (0..=HOSTILE).map(|name| format!("reader{name}:READ:{}", token(name))).collect();
    let database = format!("sqlite://{}", file.display());
    let server = Server::start(&database, &[("--tokens", &tokens.join(" "))])?;
    println!("\n{} calls in SQLite; {} s\n", args.calls, args.seconds);
    println!("| during | requests/s | p50 ms | p95 ms | longest ms | errors | /readyz not 200 |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    measure(&server, &token(HOSTILE), "no load", Duration::from_secs(args.seconds.min(5))).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut hostile = vec![];
    for name in 0..HOSTILE {
        for place in 0..IN_FLIGHT {
            let reader = Reader::new(&server, &token(name));
            let stop = Arc::clone(&stop);
            hostile.push(tokio::spawn(async move { attack(&reader, place + name, &stop).await }));
        }
    }
    let time = Duration::from_secs(args.seconds);
    measure(&server, &token(HOSTILE), "eight hostile readers", time).await?;
    stop.store(true, Ordering::Relaxed);
    let mut outcomes = BTreeMap::new();
    for reader in hostile {
        for (code, count) in reader.await? {
            *outcomes.entry(code).or_insert(0) += count;
        }
    }
    println!("\nThe hostile readers' answers: {outcomes:?}");
    let memory = server.stop()?;
    println!(
        "Peak memory of the server: {:.0} MB, without file mappings at the end {:.0} MB",
        memory.peak, memory.own
    );
    Ok(())
}

struct Reader {
    client: reqwest::Client,
    url: String,
    token: String,
}

impl Reader {
    fn new(server: &Server, token: &str) -> Self {
        Self { client: reqwest::Client::new(), url: server.url.clone(), token: token.to_owned() }
    }

    /// The code of the first error of the response, or `OK`.
    async fn send(&self, query: &str) -> String {
        let request = self.client.post(format!("{}/graphql", self.url)).bearer_auth(&self.token);
        let sent = request.json(&json!({ "query": query })).send().await;
        let Ok(response) = sent else { return "no answer".to_owned() };
        match response.json::<Value>().await {
            Err(_) => "no JSON".to_owned(),
            Ok(answer) => match answer["errors"][0]["extensions"]["code"].as_str() {
                Some(code) => code.to_owned(),
                None => "OK".to_owned(),
            },
        }
    }
}

async fn attack(reader: &Reader, first: usize, stop: &AtomicBool) -> BTreeMap<String, usize> {
    let documents = expensive_documents();
    let mut outcomes = BTreeMap::new();
    for document in documents.iter().cycle().skip(first % documents.len()) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let code = reader.send(document).await;
        if code != "OK" {
            // Without a pause, a refused client would measure its own speed.
            tokio::time::sleep(PAUSE).await;
        }
        *outcomes.entry(code).or_default() += 1;
    }
    outcomes
}

/// Measures a client with a cheap query, and the health check of a load balancer.
async fn measure(server: &Server, token: &str, during: &str, time: Duration) -> anyhow::Result<()> {
    let reader = Reader::new(server, token);
    let query = format!(
        "{{ errorLookup(key: \"{}\", timestamp: \"{}\", statusCode: 429) {{ id }} }}",
        data::key(7),
        data::AS_OF
    );
    let (mut times, mut errors, mut unready) = (vec![], 0, 0);
    let started = Instant::now();
    while started.elapsed() < time {
        let sent = Instant::now();
        errors += usize::from(reader.send(&query).await != "OK");
        times.push(sent.elapsed());
        let ready = reader.client.get(format!("{}/readyz", server.url)).send().await;
        unready += usize::from(!ready.is_ok_and(|answer| answer.status() == 200));
        tokio::time::sleep(PAUSE).await;
    }
    times.sort_unstable();
    let at = |percent: usize| {
        let rank = (times.len() * percent).div_ceil(100).max(1);
        times.get(rank - 1).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    println!(
        "| {during} | {:.0} | {:.1} | {:.1} | {:.1} | {errors} | {unready} |",
        times.len() as f64 / started.elapsed().as_secs_f64(),
        at(50),
        at(95),
        at(100)
    );
    Ok(())
}
