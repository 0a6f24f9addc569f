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

use ledger::{Ledger, Stored};
use libtest_mimic::Arguments;
use process::{Process, serve};
use producer::{Acknowledgement, Batch, client, produce};
use sea_orm::sqlx::{AssertSqlSafe, Connection, PgConnection, query_scalar, raw_sql};
use serde_json::{Value, json};
use trial::trial;
use wait::{eventually, found};

const PRODUCERS: usize = 6;

fn main() {
    let mut args = Arguments::from_args();
    // The last test kills the primary.
    args.test_threads = Some(1);
    let trials = vec![
        trial("a_standby_answers_queries", Hosts::open, queries),
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
    let servers = [start(&url, &[]), start(&url, &[])];
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
