//! A server of Callscope on a Citus cluster: its servers are killed while calls are recorded.
//!
//!     scripts/cluster citus run -- cargo test --workspace --test citus
//!
//! Ignored without a cluster. The test kills only servers of that cluster, which the script has started.
//! `CALLSCOPE_TEST_CLUSTER_SECONDS` sets how long, 45 seconds by default.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "crash/ledger.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod ledger;
#[expect(dead_code, reason = "other tests use the rest")]
mod process;
#[path = "crash/producer.rs"]
mod producer;
#[path = "outages/trial.rs"]
mod trial;
#[expect(dead_code, reason = "the API tests use the rest")]
#[path = "api/support/wait.rs"]
mod wait;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ledger::{Ledger, Stored};
use libtest_mimic::Arguments;
use process::{Process, serve};
use producer::produce;
use rand::RngExt;
use sea_orm::sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use serde_json::{Value, json};
use trial::trial;
use wait::eventually;

const PRODUCERS: usize = 6;

fn main() {
    let trials = vec![trial("killed_servers_lose_nothing", Cluster::open, outages)];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// The servers, the coordinator first, with a database for the test.
struct Cluster {
    urls: Vec<String>,
}

impl Cluster {
    fn open() -> Result<Self, String> {
        let urls = std::env::var("CALLSCOPE_TEST_CITUS_URLS").unwrap_or_default();
        let urls: Vec<String> = urls.split_whitespace().map(str::to_owned).collect();
        match urls.is_empty() {
            true => Err("CALLSCOPE_TEST_CITUS_URLS is not set: scripts/cluster citus run".into()),
            false => Ok(Self { urls }),
        }
    }

    /// Creates the database on all servers, and adds the workers.
    async fn create(&self, name: &str) -> String {
        let url = |server: &str| {
            let mut url = reqwest::Url::parse(server).unwrap();
            url.set_path(name);
            url
        };
        for server in &self.urls {
            execute(server, &format!("CREATE DATABASE {name}")).await;
            execute(url(server).as_str(), "CREATE EXTENSION citus").await;
        }
        let coordinator = url(&self.urls[0]);
        for (number, server) in self.urls.iter().enumerate() {
            let server = url(server);
            let address = format!("'{}', {}", server.host_str().unwrap(), server.port().unwrap());
            let function = ["citus_set_coordinator_host", "citus_add_node"][number.min(1)];
            execute(coordinator.as_str(), &format!("SELECT {function}({address})")).await;
        }
        coordinator.into()
    }

    /// Sends a signal to a server, or starts it again.
    fn script(&self, args: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cluster");
        let output = Command::new(script).arg("citus").args(args).output().expect("runs");
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
}

async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.expect("connects");
    raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .unwrap_or_else(|error| panic!("{error}, in {sql}"));
}

/// Kills the coordinator and the workers in turn. Each batch has rows on several workers.
async fn outages(cluster: Cluster) {
    let name = format!("callscope_test_{:08x}", rand::random::<u32>());
    let url = cluster.create(&name).await;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let migrated = Command::new(env!("CARGO_BIN_EXE_callscope"))
        .args(["migrate", "--citus", "--database-url", &url])
        .current_dir(folder)
        .output()
        .expect("runs");
    assert!(migrated.status.success(), "{migrated:?}");
    let server = Process::start(serve(folder, &url).args([
        "--rollup-from-calls",
        "0",
        "--timeout-seconds",
        "20",
    ]));
    let ledger = Arc::new(Ledger::default());
    let stop = Arc::new(AtomicBool::new(false));
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|number| {
            let (ledger, stop) = (ledger.clone(), stop.clone());
            tokio::spawn(produce(format!("p{number}"), server.address.clone(), ledger, stop))
        })
        .collect();
    let seconds =
        std::env::var("CALLSCOPE_TEST_CLUSTER_SECONDS").map_or(45, |n| n.parse().unwrap());
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut kills = [0; 3];
    while Instant::now() < until {
        let pause = Duration::from_millis(rand::rng().random_range(200..3000));
        tokio::time::sleep(pause).await;
        let node = kills.iter().sum::<usize>() % cluster.urls.len();
        kills[node] += 1;
        let number = (node + 1).to_string();
        cluster.script(&["signal", &number, "KILL"]);
        tokio::time::sleep(pause).await;
        cluster.script(&["restart", &number]);
        let acknowledged = ledger.acknowledged();
        eventually("calls are recorded again", async || {
            ledger.acknowledged() > acknowledged + PRODUCERS
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for producer in producers {
        producer.await.expect("a producer");
    }
    // A worker that was killed between the two steps of a COMMIT shows its rows after this.
    execute(&url, "SELECT recover_prepared_transactions()").await;
    ledger.retry(&server.address, 50).await;
    execute(&url, "SELECT recover_prepared_transactions()").await;
    let stored = Stored::read(&url).await;
    ledger.check(&stored);
    // The statistics count the same calls, also those that appeared late.
    let http = producer::client();
    eventually("all calls in the statistics", async || {
        let query = json!({ "query": "{ usageStats { last24Hours { total } } serverInfo { rollups { lagRows } } }" });
        let sent = http.post(format!("http://{}/graphql", server.address)).json(&query).send();
        let answer: Value = sent.await.expect("an answer").json().await.expect("JSON");
        let total = &answer["data"]["usageStats"]["last24Hours"]["total"];
        *total == json!(stored.calls()) && answer["data"]["serverInfo"]["rollups"]["lagRows"] == json!(0)
    })
    .await;
    let [coordinator, workers @ ..] = kills;
    println!(
        "{coordinator} kills of the coordinator, {} of workers: {}",
        workers.iter().sum::<usize>(),
        ledger.summary()
    );
    server.kill();
    for server in cluster.urls.iter().rev() {
        execute(server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }
}
