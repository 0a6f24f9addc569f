//! A PostgreSQL primary with a streaming standby: queries on the standby, and a server with both hosts in its
//! URL that finds the new primary after a promotion.
//!
//!     scripts/cluster postgres-standby run -- cargo test --workspace --test standby
//!
//! Ignored without such a cluster. The last test kills its primary, which the script has started.

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

use callscope::clock::Clock;
use chrono::TimeDelta;
use ledger::{Ledger, Stored};
use libtest_mimic::Arguments;
use process::{Process, serve};
use producer::{Acknowledgement, Batch, client, produce};
use sea_orm::sqlx::{AssertSqlSafe, Connection, PgConnection, query_scalar, raw_sql};
use serde_json::{Value, json};
use tokio::time::sleep;
use trial::trial;
use wait::{eventually, found};

const PRODUCERS: usize = 6;

fn main() {
    let mut args = Arguments::from_args();
    // The last test kills the primary.
    args.test_threads = Some(1);
    let trials = vec![
        trial("a_standby_answers_queries", Hosts::open, queries),
        trial("a_standby_answers_queries_of_a_server_that_writes", Hosts::open, replicas),
        trial("statistics_on_a_standby_do_not_miss_calls", Hosts::open, folded_meanwhile),
        trial("a_promoted_standby_is_found", Hosts::open, promotion),
    ];
    libtest_mimic::run(&args, trials).exit();
}

/// The two servers, with an empty database for one test.
struct Hosts {
    primary: String,
    standby: String,
}

impl Hosts {
    fn open() -> Result<Self, String> {
        let url = |name: &str| {
            let url = std::env::var(name).ok().filter(|url| !url.is_empty());
            let lack = || format!("{name} is not set: scripts/cluster postgres-standby run");
            url.ok_or_else(lack)
        };
        let (primary, standby) =
            (url("CALLSCOPE_TEST_PRIMARY_URL")?, url("CALLSCOPE_TEST_STANDBY_URL")?);
        Ok(Self { primary, standby })
    }

    /// Creates a database and returns its URL on both servers.
    async fn create(&self) -> [String; 2] {
        let name = format!("callscope_test_{:08x}", rand::random::<u32>());
        execute(&self.primary, &format!("CREATE DATABASE {name}")).await;
        let [primary, standby] = [&self.primary, &self.standby].map(|url| {
            let (server, _) = url.rsplit_once('/').expect("a database");
            format!("{server}/{name}")
        });
        eventually("the database on the standby", async || {
            PgConnection::connect(&standby).await.is_ok()
        })
        .await;
        [primary, standby]
    }
}

async fn execute(url: &str, sql: &str) {
    let mut admin = PgConnection::connect(url).await.expect("connects");
    raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.expect("runs");
}

fn script(args: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cluster");
    let output = Command::new(script).arg("postgres-standby").args(args).output().expect("runs");
    assert!(output.status.success(), "{args:?}: {output:?}");
}

fn start(url: &str, args: &[&str]) -> Process {
    Process::start(serve(env!("CARGO_TARGET_TMPDIR").as_ref(), url).args(args))
}

async fn query(address: &str, query: &str) -> Value {
    let sent = client().post(format!("http://{address}/graphql")).json(&json!({ "query": query }));
    sent.send().await.expect("an answer").json().await.expect("JSON")
}

async fn queries(hosts: Hosts) {
    let [primary, standby] = hosts.create().await;
    let writer = start(&primary, &[]);
    for number in [1, 3, 6] {
        let sent = Batch::new("standby", number).send(&client(), &writer.address).await;
        assert_eq!(sent, Acknowledgement::Recorded);
    }
    // The secret of the ids is in the database.
    let reader = start(&standby, &["--read-only"]);
    let totals = "{ usageStats { lastHour { total success } last24Hours { total } currentMonth { total } } \
        errorLogs(first: 10) { totalCount nodes { message apiKey { masked } } } errorGroups(by: [MODEL]) { count } \
        apiKeys(first: 5) { totalCount nodes { masked firstSeenAt counts(period: LAST_HOUR) { total } } } \
        callDetails(period: LAST_HOUR, first: 50) { totalCount nodes { model timestamp errorLog { message } } } \
        callGroups(by: [STATUS, MODEL], period: LAST_HOUR) { counts { total } latency { p95 } } }";
    let expected = query(&writer.address, totals).await;
    assert_eq!(expected["data"]["usageStats"]["lastHour"]["total"], 42, "{expected}");
    eventually("the calls on the standby", async || {
        query(&reader.address, totals).await == expected
    })
    .await;
    let record = "mutation { recordCalls(input: { calls: [{}] }) { recorded } }";
    let refused = query(&reader.address, record).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "FORBIDDEN", "{refused}");
    // A server that writes answers queries there too, and records nothing.
    let wrong = start(&standby, &[]);
    assert_eq!(query(&wrong.address, totals).await, expected);
    let refused = query(&wrong.address, record).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "DATABASE_UNAVAILABLE", "{refused}");
    // Of both hosts, a read-only server may prefer the standby.
    let both = both_hosts(&primary, &standby, "prefer-standby");
    let preferring = start(&both, &["--read-only"]);
    assert_eq!(query(&preferring.address, totals).await, expected);
    let name = primary.rsplit('/').next().unwrap();
    let sessions = format!(
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = '{name}' AND query LIKE '%t_error_logs%'"
    );
    let mut admin = PgConnection::connect(&hosts.standby).await.expect("connects");
    let count: i64 = query_scalar(AssertSqlSafe(sessions)).fetch_one(&mut admin).await.unwrap();
    assert!(count >= 2, "{count} sessions of both servers on the standby");
    [writer, reader, wrong, preferring].into_iter().for_each(Process::kill);
}

const WRITER: &str = "a-token-of-the-writer-0123456789";
const READER: &str = "a-token-of-the-reader-0123456789";
/// Seconds.
const MAX_LAG: &str = "25";

/// A server on the primary with the standby for its queries, and two clients.
struct Replicated {
    server: Process,
    standby: String,
}

impl Replicated {
    async fn get(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.server.address);
        client().get(url).bearer_auth(WRITER).send().await.unwrap().text().await.unwrap()
    }

    async fn send(&self, token: &str, query: &str) -> Value {
        let url = format!("http://{}/graphql", self.server.address);
        let sent = client().post(url).bearer_auth(token).json(&json!({ "query": query }));
        sent.send().await.unwrap().json().await.unwrap()
    }

    /// Records a failed call as the writer.
    async fn record(&self) {
        let call = "{ key: \"k\", statusCode: 429, error: { message: \"Quota exceeded\" } }";
        let record =
            format!("mutation {{ recordCalls(input: {{ calls: [{call}] }}) {{ recorded }} }}");
        let answer = self.send(WRITER, &record).await;
        assert_eq!(answer["data"]["recordCalls"]["recorded"], 1, "{answer}");
    }

    /// Records a failed call by a stream, as the writer.
    async fn stream(&self) {
        let line = json!({ "key": "k", "statusCode": 429, "error": { "message": "streamed" } });
        let url = format!("http://{}/ingest/calls", self.server.address);
        let request = client().post(url).bearer_auth(WRITER).body(line.to_string());
        let sent = request.header("Content-Type", "application/x-ndjson").send().await.unwrap();
        let report: Value = sent.json().await.unwrap();
        assert_eq!(report["recorded"], 1, "{report}");
    }

    async fn total(&self, token: &str) -> Value {
        let answer = self.send(token, "{ usageStats { lastHour { total } } }").await;
        assert!(answer["errors"].is_null(), "{answer}");
        answer["data"]["usageStats"]["lastHour"]["total"].clone()
    }

    /// The value of a metric of the standby.
    async fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics").await;
        let line = metrics.lines().find(|line| line.starts_with(&format!("callscope_{name}{{")));
        let value = line.and_then(|line| line.rsplit(' ').next()).map(str::parse);
        value.unwrap_or_else(|| panic!("no {name} in {metrics}")).unwrap()
    }

    async fn until_used(&self) {
        eventually("the standby is used", async || self.get("/readyz").await == "ready\n").await;
    }

    async fn until_degraded(&self, problem: &str) {
        eventually(problem, async || {
            let ready = self.get("/readyz").await;
            ready.starts_with("ready\ndegraded: replica 127.0.0.1:") && ready.contains(problem)
        })
        .await;
    }

    /// Sends queries of several statements until `stop` is set; returns their number. None of them may fail.
    async fn query_until(&self, stop: &AtomicBool) -> usize {
        let query = "{ usageStats { lastHour { total } } errorLogs(first: 5) { totalCount nodes { id message } } \
            callDetails(period: LAST_HOUR, first: 5) { totalCount nodes { errorLog { message } } } \
            errorGroups(by: [MODEL]) { count } }";
        let mut queries = 0;
        while !stop.load(Ordering::Relaxed) {
            let answer = self.send(READER, query).await;
            assert!(answer["errors"].is_null(), "{answer}");
            queries += 1;
        }
        queries
    }

    /// Runs `disturb` while four readers send queries.
    async fn under_queries(&self, disturb: impl AsyncFnOnce()) -> usize {
        let stop = AtomicBool::new(false);
        let readers = futures_util::future::join_all((0..4).map(|_| self.query_until(&stop)));
        let disturbed = async {
            disturb().await;
            stop.store(true, Ordering::Relaxed);
        };
        futures_util::join!(readers, disturbed).0.into_iter().sum()
    }
}

async fn replicas(hosts: Hosts) {
    let [primary, standby] = hosts.create().await;
    // An ordinary user, without the right to read everything about replication.
    let role =
        "DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$";
    execute(&hosts.primary, &format!("{role}; GRANT pg_read_all_data TO reader")).await;
    let standby = standby.replace("//callscope@", "//reader@");
    let tokens = format!("writer:ALL:{WRITER} reader:READ:{READER}");
    let standbys = ["--read-database-url", &standby, "--max-replica-lag", MAX_LAG];
    // A fold would change which server has the cells. A request may hold one connection only.
    let few = ["--rollups", "false", "--database-connections", "2", "--timeout-seconds", "10"];
    let server = start(&primary, &[&standbys[..], &["--tokens", &tokens], &few].concat());
    let pool = Replicated { server, standby };
    pool.until_used().await;
    reads_and_writes(&pool).await;
    replay_stops(&pool, &hosts).await;
    sessions_end(&pool, &hosts).await;
    the_standby_freezes(&pool).await;
    reads_while_calls_are_recorded(&pool).await;
    pool.server.kill();
}

/// The standby has calls, and not yet the cells into which they were folded.
async fn folded_meanwhile(hosts: Hosts) {
    let [primary, standby] = hosts.create().await;
    let tokens = format!("writer:ALL:{WRITER} reader:READ:{READER}");
    let args = ["--max-replica-lag", "60", "--rollup-from-calls", "0", "--tokens", &tokens];
    let server = start(&primary, &[&["--read-database-url", &standby][..], &args].concat());
    let pool = Replicated { server, standby };
    pool.until_used().await;
    // In the middle of a window, so that cells count it.
    let at = (Clock::System.now() - TimeDelta::hours(10)).to_rfc3339();
    let record = async || {
        let call = format!("{{ key: \"k\", timestamp: \"{at}\" }}");
        let record =
            format!("mutation {{ recordCalls(input: {{ calls: [{call}] }}) {{ recorded }} }}");
        let answer = pool.send(WRITER, &record).await;
        assert_eq!(answer["data"]["recordCalls"]["recorded"], 1, "{answer}");
    };
    let total = async || {
        let answer = pool.send(READER, "{ usageStats { last24Hours { total } } }").await;
        answer["data"]["usageStats"]["last24Hours"]["total"].clone()
    };
    let folded = async || {
        let rollups = "{ serverInfo { rollups { enabled lagRows } } }";
        eventually("the calls are folded", async || {
            let found = pool.send(WRITER, rollups).await["data"]["serverInfo"]["rollups"].clone();
            found == json!({ "enabled": true, "lagRows": 0 })
        })
        .await;
    };
    record().await;
    folded().await;
    // The next fold is some seconds later.
    record().await;
    eventually("the call on the standby", async || total().await == 2).await;
    execute(&hosts.standby, "SELECT pg_wal_replay_pause()").await;
    folded().await;
    assert_eq!(total().await, 2, "the standby has no cells with the second call");
    execute(&hosts.standby, "SELECT pg_wal_replay_resume()").await;
    pool.server.kill();
}

async fn reads_and_writes(pool: &Replicated) {
    for number in 1..=40 {
        pool.record().await;
        assert_eq!(pool.total(WRITER).await, number, "a client finds what it has written");
    }
    eventually("the calls on the standby", async || pool.total(READER).await == 40).await;
    let before = pool.metric("replica_statements_total").await;
    for _ in 0..20 {
        assert_eq!(pool.total(READER).await, 40);
    }
    let sent = pool.metric("replica_statements_total").await - before;
    assert!(sent >= 5.0, "{sent} statements on the standby");
    assert!(pool.metric("replica_lag_seconds").await < 8.0);
    let mut admin = PgConnection::connect(&pool.standby).await.expect("connects");
    let sessions = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                    AND query LIKE '%t_request_log%'";
    let count: i64 = query_scalar(sessions).fetch_one(&mut admin).await.unwrap();
    assert!(count >= 1, "{count} sessions of queries on the standby");
}

/// Prints how much of the work is done by the standby while calls are recorded.
async fn reads_while_calls_are_recorded(pool: &Replicated) {
    let before = pool.metric("replica_statements_total").await;
    let (stop, mut lags) = (AtomicBool::new(false), vec![]);
    let recording = async {
        let mut recorded = 0;
        while !stop.load(Ordering::Relaxed) {
            pool.record().await;
            recorded += 1;
            sleep(Duration::from_millis(50)).await;
        }
        recorded
    };
    let queries = async {
        for _ in 0..200 {
            pool.total(READER).await;
            lags.push(pool.metric("replica_lag_seconds").await);
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (recorded, ()) = futures_util::join!(recording, queries);
    let sent = pool.metric("replica_statements_total").await - before;
    lags.sort_by(f64::total_cmp);
    println!(
        "200 queries while {recorded} calls were recorded: {sent} on the standby, which was {:.2} s old, at most {:.2} s",
        lags[100], lags[199]
    );
    assert!(sent >= 100.0, "{sent} of 200 statements on the standby");
    let mut waits = vec![];
    for _ in 0..5 {
        pool.record().await;
        let (written, before) = (Instant::now(), pool.metric("replica_statements_total").await);
        eventually("the writer uses the standby again", async || {
            pool.total(WRITER).await;
            pool.metric("replica_statements_total").await > before
        })
        .await;
        waits.push(written.elapsed());
    }
    waits.sort();
    println!("the standby was used again {:.2?} after a write", waits[2]);
}

async fn replay_stops(pool: &Replicated, hosts: &Hosts) {
    execute(&hosts.standby, "SELECT pg_wal_replay_pause()").await;
    pool.record().await;
    assert_eq!(pool.total(WRITER).await, 41, "a client finds what it has written");
    assert_eq!(pool.total(READER).await, 40, "the standby is not yet too old for others");
    pool.stream().await;
    assert_eq!(pool.total(WRITER).await, 42, "also by a stream of lines");
    let messages = "{ errorLogs(first: 1) { totalCount } }";
    let count =
        async |token| pool.send(token, messages).await["data"]["errorLogs"]["totalCount"].clone();
    assert_eq!((count(WRITER).await, count(READER).await), (json!(42), json!(40)));
    let delete =
        "mutation { deleteErrorLogsWhere(filter: { contains: \"streamed\" }) { deletedCount } }";
    let deleted = pool.send(WRITER, delete).await;
    assert_eq!(deleted["data"]["deleteErrorLogsWhere"]["deletedCount"], 1, "{deleted}");
    assert_eq!((count(WRITER).await, count(READER).await), (json!(41), json!(40)));
    // Classes that the server has noted are on the primary only.
    let classes = "{ errorGroups(by: [FAILURE_CLASS]) { count } }";
    eventually("the class of the new failure", async || {
        let groups = pool.send(READER, classes).await["data"]["errorGroups"].clone();
        groups == json!([{ "count": 41 }])
    })
    .await;
    assert_eq!(pool.total(READER).await, 40, "other queries still use the standby");
    pool.until_degraded("s behind").await;
    assert!(pool.metric("replica_lag_seconds").await > 25.0);
    assert_eq!(pool.total(READER).await, 42);
    assert_eq!(pool.metric("replica_used").await, 0.0);
    execute(&hosts.standby, "SELECT pg_wal_replay_resume()").await;
    pool.until_used().await;
    assert_eq!(pool.total(READER).await, 42);
}

/// As by a conflict with recovery.
async fn sessions_end(pool: &Replicated, hosts: &Hosts) {
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%t_request_log%' \
               AND pid <> pg_backend_pid()";
    let queries = pool
        .under_queries(async || {
            for _ in 0..20 {
                execute(&hosts.standby, end).await;
                sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    println!("{queries} queries while sessions on the standby were ended");
    assert!(queries > 20, "{queries} queries");
    pool.until_used().await;
}

async fn the_standby_freezes(pool: &Replicated) {
    let queries = pool
        .under_queries(async || {
            script(&["signal", "2", "STOP"]);
            pool.until_degraded("unavailable").await;
            // Longer than the server tries to end the sessions of its statements.
            sleep(Duration::from_secs(12)).await;
            script(&["signal", "2", "CONT"]);
        })
        .await;
    println!("{queries} queries while the standby was frozen");
    assert!(queries > 20, "{queries} queries");
    assert!(pool.metric("replica_statements_failed_total").await > 0.0);
    pool.until_used().await;
    let before = pool.metric("replica_statements_total").await;
    assert_eq!(pool.total(READER).await, 42);
    assert!(pool.metric("replica_statements_total").await > before, "it answers queries again");
}

/// The URL of both hosts, the standby first.
fn both_hosts(primary: &str, standby: &str, target: &str) -> String {
    let authority =
        |url: &str| url.split('/').nth(2).unwrap().rsplit('@').next().unwrap().to_owned();
    let both = format!("{},{}", authority(standby), authority(primary));
    primary.replace(&authority(primary), &both) + "?target_session_attrs=" + target
}

async fn promotion(hosts: Hosts) {
    let [primary, standby] = hosts.create().await;
    // Without it, a promotion loses the last acknowledged calls.
    execute(&hosts.primary, "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    execute(&hosts.primary, "SELECT pg_reload_conf()").await;
    let url = both_hosts(&primary, &standby, "read-write");
    // One of them sends its queries to the standby, until that is the primary.
    let servers = [start(&url, &[]), start(&url, &["--read-database-url", &standby])];
    let ledger = Arc::new(Ledger::default());
    let stop = Arc::new(AtomicBool::new(false));
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|number| {
            let address = servers[number % 2].address.clone();
            tokio::spawn(produce(format!("p{number}"), address, ledger.clone(), stop.clone()))
        })
        .collect();
    let more_than = async |acknowledged: usize| {
        eventually("acknowledged calls", async || ledger.acknowledged() > acknowledged).await;
    };
    more_than(100).await;
    script(&["signal", "1", "KILL"]);
    found("an error", async || (ledger.refused() > 0).then_some(())).await;
    script(&["promote"]);
    let acknowledged = ledger.acknowledged();
    more_than(acknowledged + 100).await;
    for server in &servers {
        eventually("a healthy server", async || {
            let url = format!("http://{}/readyz", server.address);
            client().get(url).send().await.expect("an answer").status() == 200
        })
        .await;
    }
    eventually("the new primary is no standby", async || {
        let url = format!("http://{}/readyz", servers[1].address);
        let ready =
            client().get(url).send().await.expect("an answer").text().await.expect("a text");
        ready.contains("not a standby")
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    for producer in producers {
        producer.await.expect("a producer");
    }
    ledger.retry(&servers[1].address, 50).await;
    ledger.check(&Stored::read(&standby).await);
    println!("{}", ledger.summary());
    // Queries use the new primary as well, with every connection.
    let totals = "{ usageStats { lastHour { total } } }";
    let queries = (0..16).map(|_| query(&servers[0].address, totals));
    for answer in futures_util::future::join_all(queries).await {
        assert!(answer["errors"].is_null(), "{answer}");
    }
    servers.into_iter().for_each(Process::kill);
}
