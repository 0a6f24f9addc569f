//! Servers on the three nodes of a Galera cluster: migrations, idempotency keys, leases and subscriptions
//! across nodes, and nodes and servers that are killed and frozen under load.
//!
//!     scripts/cluster galera run -- cargo test --workspace --test galera
//!
//! Ignored without a cluster. The tests kill only nodes of that cluster, which the script has started.
//! `CALLSCOPE_TEST_CLUSTER_SECONDS` sets how long nodes are killed and frozen, 45 seconds by default.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "api/support/config.rs"]
mod config;
#[path = "crash/ledger.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod ledger;
#[expect(dead_code, reason = "other tests use the rest")]
mod process;
#[path = "crash/producer.rs"]
#[expect(dead_code, reason = "this test pauses between the attempts of a producer")]
mod producer;
#[path = "outages/trial.rs"]
mod trial;
#[expect(dead_code, reason = "the API tests use the rest")]
#[path = "api/support/wait.rs"]
mod wait;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use callscope::config::DatabaseConfig;
use callscope::domain::record::CallRecord;
use callscope::domain::table::LogTable;
use callscope::store::engine::Engine;
use callscope::store::rollup::{self, Folder};
use callscope::store::write::{self, Batch as Rows};
use callscope::store::{Database, lease, origin};
use ledger::{Ledger, Stored};
use libtest_mimic::Arguments;
use process::{Process, serve};
use producer::{Acknowledgement, Batch, client};
use rand::RngExt;
use sea_orm::sqlx::{AssertSqlSafe, Connection, MySqlConnection, query_scalar, raw_sql};
use serde_json::{Value, json};
use trial::trial;
use wait::eventually;

const PRODUCERS: usize = 9;

fn main() {
    let mut args = Arguments::from_args();
    // One test kills the nodes.
    args.test_threads = Some(1);
    let trials = vec![
        trial("simultaneous_migrations_end_well", Cluster::open, migrations),
        trial("a_shared_key_records_once", Cluster::open, shared_key),
        trial("leases_hold_across_nodes", Cluster::open, leases),
        trial("rollups_count_the_calls_of_all_nodes", Cluster::open, rollups),
        trial("subscribers_get_the_calls_of_all_nodes", Cluster::open, subscription),
        trial("killed_nodes_and_servers_lose_nothing", Cluster::open, outages),
    ];
    libtest_mimic::run(&args, trials).exit();
}

/// The nodes, with an empty database for one test.
struct Cluster {
    urls: Vec<String>,
    name: String,
}

impl Cluster {
    fn open() -> Result<Self, String> {
        let urls = std::env::var("CALLSCOPE_TEST_GALERA_URLS").unwrap_or_default();
        let urls: Vec<String> = urls.split_whitespace().map(str::to_owned).collect();
        if urls.is_empty() {
            return Err("CALLSCOPE_TEST_GALERA_URLS is not set: scripts/cluster galera run".into());
        }
        Ok(Self { urls, name: format!("callscope_test_{:08x}", rand::random::<u32>()) })
    }

    /// The URL of the test's database on a node.
    fn url(&self, node: usize) -> String {
        let (server, _) = self.urls[node].rsplit_once('/').expect("a database");
        format!("{server}/{}", self.name)
    }

    /// Creates the database and waits for it on every node.
    async fn create(&self) {
        let sql = format!("CREATE DATABASE {}", self.name);
        let mut admin = MySqlConnection::connect(&self.urls[0]).await.expect("connects");
        raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.expect("creates");
        for node in 0..self.urls.len() {
            eventually("the database on every node", async || {
                MySqlConnection::connect(&self.url(node)).await.is_ok()
            })
            .await;
        }
    }

    async fn drop(&self) {
        let sql = format!("DROP DATABASE {}", self.name);
        let mut admin = MySqlConnection::connect(&self.urls[0]).await.expect("connects");
        raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.expect("drops");
    }

    async fn migrated(&self) {
        self.create().await;
        callscope::store::connect::migrate(&self.config(0)).await.expect("migrates");
        for node in 0..self.urls.len() {
            self.await_tables(node).await;
        }
    }

    async fn await_tables(&self, node: usize) {
        eventually("the last step on every node", async || {
            self.number(node, "SELECT COUNT(*) FROM callscope_migrations").await
                == self.number(0, "SELECT COUNT(*) FROM callscope_migrations").await
        })
        .await;
    }

    fn config(&self, node: usize) -> DatabaseConfig {
        config::settings(&["--database-url", &self.url(node), "--rollup-from-calls", "0"])
    }

    async fn database(&self, node: usize) -> Database {
        Database::open(&self.config(node)).await.expect("opens")
    }

    /// The number that a statement returns on a node; None if the node does not answer.
    async fn number(&self, node: usize, sql: &str) -> Option<i64> {
        let mut connection = MySqlConnection::connect(&self.url(node)).await.ok()?;
        query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.ok()
    }

    /// Whether each node is synced with all others.
    async fn is_synced(&self) -> bool {
        let status = |name: &str| {
            format!(
                "SELECT CAST(variable_value AS SIGNED) FROM information_schema.global_status \
                 WHERE variable_name = '{name}'"
            )
        };
        let (state, size) = (status("wsrep_local_state"), status("wsrep_cluster_size"));
        let all = i64::try_from(self.urls.len()).ok();
        for node in 0..self.urls.len() {
            if self.number(node, &state).await != Some(4) || self.number(node, &size).await != all {
                return false;
            }
        }
        true
    }

    /// Waits until all nodes are synced members and have the same calls.
    async fn await_synced(&self) {
        eventually("synced nodes", async || {
            if !self.is_synced().await {
                return false;
            }
            let calls = self.number(0, "SELECT COUNT(*) FROM t_request_log").await;
            for node in 1..self.urls.len() {
                if self.number(node, "SELECT COUNT(*) FROM t_request_log").await != calls {
                    return false;
                }
            }
            calls.is_some()
        })
        .await;
    }

    fn serve(&self, node: usize) -> Process {
        let folder = env!("CARGO_TARGET_TMPDIR").as_ref();
        Process::start(serve(folder, &self.url(node)).args(["--timeout-seconds", "20"]))
    }

    /// Sends a signal to a node, or starts it again.
    fn script(&self, args: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cluster");
        let output = Command::new(script).arg("galera").args(args).output().expect("runs");
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
}

async fn migrations(cluster: Cluster) {
    for _ in 0..3 {
        let cluster = Cluster {
            name: format!("{}_{:08x}", cluster.name, rand::random::<u32>()),
            ..clone(&cluster)
        };
        cluster.create().await;
        let migrate = |node| {
            let config = cluster.config(node);
            async move { callscope::store::connect::migrate(&config).await }
        };
        let done = futures_util::future::join_all((0..cluster.urls.len()).map(migrate)).await;
        for (node, done) in done.into_iter().enumerate() {
            done.unwrap_or_else(|error| panic!("node {node}: {error:?}"));
            cluster.await_tables(node).await;
            let db = cluster.database(node).await;
            assert_eq!(db.engine(), Engine::Galera);
            assert_eq!(db.pending_indexes().await.unwrap().len(), 0);
            // All tables were created here, whichever server did it.
            assert_eq!(origin::external_tables(&db).await.unwrap(), [LogTable::Calls; 0]);
            db.close().await.unwrap();
        }
        cluster.drop().await;
    }
}

fn clone(cluster: &Cluster) -> Cluster {
    Cluster { urls: cluster.urls.clone(), name: cluster.name.clone() }
}

/// Clients send the same batch with the same key to all nodes at once.
async fn shared_key(cluster: Cluster) {
    cluster.migrated().await;
    let servers: Vec<Process> = (0..cluster.urls.len()).map(|node| cluster.serve(node)).collect();
    let ledger = Ledger::default();
    let http = client();
    for round in 0..60 {
        let mut batch = Batch::new(&format!("shared-{round}"), round);
        batch.keyed = true;
        let sent = servers.iter().map(|server| batch.send(&http, &server.address));
        let answers = futures_util::future::join_all(sent).await;
        let count = |wanted| answers.iter().filter(|answer| **answer == wanted).count();
        assert_eq!(count(Acknowledgement::Recorded), 1, "round {round}: {answers:?}");
        assert_eq!(
            count(Acknowledgement::Duplicate),
            answers.len() - 1,
            "round {round}: {answers:?}"
        );
        ledger.enter(batch, true);
    }
    cluster.await_synced().await;
    for node in 0..cluster.urls.len() {
        ledger.check(&Stored::read(&cluster.url(node)).await);
    }
    servers.into_iter().for_each(Process::kill);
    cluster.drop().await;
}

async fn leases(cluster: Cluster) {
    cluster.migrated().await;
    let mut databases = vec![];
    for node in 0..cluster.urls.len() {
        databases.push(cluster.database(node).await);
    }
    let mut now = "2026-03-01T12:00:00Z".parse().unwrap();
    for round in 0..40 {
        let until = now + chrono::TimeDelta::seconds(60);
        let holders = ["a", "b", "c"];
        let taken = databases.iter().zip(holders).map(|(db, holder)| async move {
            lease::acquire(db, "a lease", holder, (now, until)).await.unwrap()
        });
        let taken = futures_util::future::join_all(taken).await;
        assert_eq!(taken.iter().filter(|taken| **taken).count(), 1, "round {round}: {taken:?}");
        now = until + chrono::TimeDelta::seconds(1);
    }
    for db in databases {
        db.close().await.unwrap();
    }
    cluster.drop().await;
}

/// Nodes write at once, so that their ids mix and some become visible late.
async fn write_calls(databases: &[Database], rounds: usize) {
    let call = CallRecord {
        timestamp: "2026-03-01T11:30:00Z".parse().unwrap(),
        model: None,
        key: None,
        status_code: Some(200),
        latency_ms: Some(1),
    };
    for round in 0..rounds {
        let writes = databases.iter().enumerate().map(|(node, db)| {
            let rows =
                Rows { calls: vec![call.clone(); 1 + (round + node) % 4], ..Rows::default() };
            async move { write::insert(db, &rows, None).await.unwrap() }
        });
        futures_util::future::join_all(writes).await;
    }
}

async fn rollups(cluster: Cluster) {
    cluster.migrated().await;
    let mut databases = vec![];
    for node in 0..cluster.urls.len() {
        databases.push(cluster.database(node).await);
    }
    let now = 1_772_366_400_000_000;
    let mut folders: Vec<Folder> = databases.iter().map(|_| Folder::default()).collect();
    for _ in 0..5 {
        // Node 1 writes more: the ids of the others are gaps.
        write_calls(&databases[..1], 100).await;
        write_calls(&databases, 20).await;
        let folds = databases.iter().zip(&mut folders).map(|(db, folder)| async move {
            // Another server may fold at the same time.
            let _ = folder.fold(db, now, 1000).await;
        });
        futures_util::future::join_all(folds).await;
    }
    cluster.await_synced().await;
    while folders[1].fold(&databases[1], now, 1000).await.unwrap().more {}
    let calls = cluster.number(1, "SELECT COUNT(*) FROM t_request_log").await.unwrap();
    let folded = "SELECT folded FROM callscope_rollup_state";
    assert_eq!(cluster.number(1, folded).await, Some(calls));
    let gaps = cluster.number(1, "SELECT COUNT(*) FROM callscope_rollup_gaps").await.unwrap();
    println!("{calls} calls, {gaps} ranges of missing ids");
    assert!(gaps < calls / 3, "{gaps} ranges of missing ids for {calls} calls");
    let until = "2026-03-02T00:00:00Z".parse().unwrap();
    let verified = rollup::verify(&databases[1], None, until).await.unwrap();
    assert_eq!((verified.calls, verified.differences.len()), (calls, 0));
    for db in databases {
        db.close().await.unwrap();
    }
    cluster.drop().await;
}

/// A subscriber on one node gets every call of all nodes once.
async fn subscription(cluster: Cluster) {
    cluster.migrated().await;
    let servers: Vec<Process> = (0..cluster.urls.len()).map(|node| cluster.serve(node)).collect();
    let http = client();
    let body = json!({ "query": "subscription { callRecorded { model } }" });
    let url = format!("http://{}/graphql/stream", servers[0].address);
    let mut events = http.post(url).json(&body).send().await.expect("an answer");
    let mut expected = vec![];
    for number in 0..40 {
        let batches: Vec<Batch> = (0..servers.len())
            .map(|node| Batch::new(&format!("node {node}"), number))
            .filter(|batch| !batch.streamed)
            .collect();
        let sent =
            batches.iter().zip(&servers).map(|(batch, server)| batch.send(&http, &server.address));
        for answer in futures_util::future::join_all(sent).await {
            assert_eq!(answer, Acknowledgement::Recorded);
        }
        expected.extend(batches.iter().flat_map(|batch| batch.models().collect::<Vec<_>>()));
    }
    let (mut found, mut text) = (vec![], String::new());
    while found.len() < expected.len() {
        let part = tokio::time::timeout(Duration::from_secs(60), events.chunk()).await;
        let part = part.expect("an event").expect("a part").expect("the stream continues");
        text += std::str::from_utf8(&part).expect("UTF-8");
        while let Some((event, rest)) = text.split_once("\n\n") {
            if let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) {
                let data: Value = serde_json::from_str(data).expect("JSON");
                let model = data["data"]["callRecorded"]["model"].as_str();
                found.push(model.unwrap_or_else(|| panic!("{data}")).to_owned());
            }
            text = rest.to_owned();
        }
    }
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    servers.into_iter().for_each(Process::kill);
    cluster.drop().await;
}

/// The addresses of the servers: a server that is started again has another one.
type Addresses = Arc<Mutex<Vec<String>>>;

/// Kills and freezes nodes, and kills servers, while calls are recorded through all of them.
async fn outages(cluster: Cluster) {
    cluster.migrated().await;
    let seconds =
        std::env::var("CALLSCOPE_TEST_CLUSTER_SECONDS").map_or(45, |n| n.parse().unwrap());
    let mut servers: Vec<Process> =
        (0..cluster.urls.len()).map(|node| cluster.serve(node)).collect();
    let addresses = servers.iter().map(|server| server.address.clone()).collect();
    let addresses: Addresses = Arc::new(Mutex::new(addresses));
    let ledger = Arc::new(Ledger::default());
    let stop = Arc::new(AtomicBool::new(false));
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|number| {
            let (addresses, ledger, stop) = (addresses.clone(), ledger.clone(), stop.clone());
            tokio::spawn(produce(number, addresses, ledger, stop))
        })
        .collect();
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut events = [0; 4];
    let first = rand::rng().random_range(0..events.len());
    while Instant::now() < until {
        let pause = rand::rng().random_range(200..4000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        // Each kind in turn: there is time for a few only.
        let event = (first + events.iter().sum::<usize>()) % events.len();
        let node = rand::rng().random_range(0..servers.len());
        let nodes = [node, (node + 1) % servers.len()].map(|node| (node + 1).to_string());
        events[event] += 1;
        let frozen = match event {
            0 => {
                cluster.script(&["signal", &nodes[0], "KILL"]);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                cluster.script(&["restart", &nodes[0]]);
                &nodes[..0]
            }
            1 => {
                servers.remove(node).kill();
                servers.insert(node, cluster.serve(node));
                addresses.lock().unwrap()[node] = servers[node].address.clone();
                &nodes[..0]
            }
            2 => &nodes[..1],
            // The third node is without a majority.
            _ => &nodes[..],
        };
        for node in frozen {
            cluster.script(&["signal", node, "STOP"]);
        }
        if !frozen.is_empty() {
            // Longer than the nodes wait for each other.
            let pause = rand::rng().random_range(500..12_000);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        for node in frozen {
            cluster.script(&["signal", node, "CONT"]);
        }
        let acknowledged = ledger.acknowledged();
        eventually("calls are recorded again", async || {
            ledger.acknowledged() > acknowledged + PRODUCERS
        })
        .await;
        // Of two members of three, a kill would leave one, which has no majority until an operator intervenes.
        eventually("all nodes are members again", async || cluster.is_synced().await).await;
    }
    stop.store(true, Ordering::Relaxed);
    for producer in producers {
        producer.await.expect("a producer");
    }
    cluster.await_synced().await;
    // A server that did not get the last batch first.
    ledger.retry(&servers[1].address, 50).await;
    cluster.await_synced().await;
    for node in 0..cluster.urls.len() {
        ledger.check(&Stored::read(&cluster.url(node)).await);
    }
    let [killed, servers_killed, frozen, split] = events;
    println!(
        "{killed} kills of nodes and {servers_killed} of servers, {frozen} frozen nodes, {split} times no majority: \
         {}",
        ledger.summary()
    );
    servers.into_iter().for_each(Process::kill);
    cluster.drop().await;
}

/// Records batches until `stop` is set, and pauses while the node of its server is down.
async fn produce(
    producer: usize,
    addresses: Addresses,
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
) {
    let http = client();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let address = {
            let addresses = addresses.lock().unwrap();
            addresses[producer % addresses.len()].clone()
        };
        let batch = Batch::new(&format!("p{producer}"), number);
        let answer = batch.send(&http, &address).await;
        assert_ne!(answer, Acknowledgement::Duplicate, "{batch:?} was sent once");
        ledger.enter(batch, answer != Acknowledgement::None);
        if answer == Acknowledgement::None {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        number += 1;
    }
}
