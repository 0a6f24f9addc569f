//! The server and the database are killed repeatedly while calls are recorded: every acknowledged
//! batch is stored exactly once, no batch is stored in part, and a retry with the same idempotency
//! key, to another server, records the missing batches and none twice.
//!
//! `CALLSCOPE_TEST_CRASHES` sets how often each of them is killed (`scripts/crash` sets many).

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod crash {
    #[expect(dead_code, reason = "storage_faults uses the rest")]
    pub mod ledger;
    pub mod producer;
}
#[expect(dead_code, reason = "other tests use the rest")]
mod process;
#[path = "outages/server.rs"]
#[expect(dead_code, reason = "outages uses the rest")]
mod server;
#[path = "outages/trial.rs"]
mod trial;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crash::ledger::{Ledger, Stored};
use crash::producer::produce;
use libtest_mimic::Arguments;
use process::{Process, serve};
use rand::RngExt;
use server::{Kind, Server};
use trial::trial;

/// Concurrent producers; each waits for its response.
const PRODUCERS: usize = 12;
const CRASHES: usize = 3;
/// The time from a start to its kill; thousands of calls are acknowledged over some crashes.
const LIFE: std::ops::Range<u64> = 20..700;

fn main() {
    let killed = |name: &str, victim: Victim, kind: Option<Kind>| {
        let start = move || kind.map(Server::start).transpose();
        trial(name, start, move |server| crashes(victim, server))
    };
    let trials = vec![
        killed("a_killed_server_loses_nothing_in_sqlite", Victim::Callscope, None),
        killed(
            "a_killed_server_loses_nothing_in_postgres",
            Victim::Callscope,
            Some(Kind::Postgres),
        ),
        killed("a_killed_server_loses_nothing_in_mariadb", Victim::Callscope, Some(Kind::MariaDb)),
        killed("a_killed_postgres_loses_nothing", Victim::Database, Some(Kind::Postgres)),
        killed("a_killed_mariadb_loses_nothing", Victim::Database, Some(Kind::MariaDb)),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

#[derive(Clone, Copy, PartialEq)]
enum Victim {
    Callscope,
    Database,
}

fn start(database_url: &str) -> Process {
    Process::start(&mut serve(env!("CARGO_TARGET_TMPDIR").as_ref(), database_url))
}

async fn crashes(victim: Victim, mut server: Option<Server>) {
    let crashes = std::env::var("CALLSCOPE_TEST_CRASHES").map_or(CRASHES, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let url = match &server {
        Some(server) => server.url(),
        None => format!("sqlite://{}", folder.path().join("calls.db").display()),
    };
    let ledger = Arc::new(Ledger::default());
    for crash in 0..crashes {
        // Two servers, as behind a balancer: a retry may reach the other one.
        let processes = [start(&url), start(&url)];
        let stop = Arc::new(AtomicBool::new(false));
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|number| {
                let name = format!("{crash}-{number}");
                let address = processes[number % 2].address.clone();
                tokio::spawn(produce(name, address, ledger.clone(), stop.clone()))
            })
            .collect();
        let acknowledged = ledger.acknowledged();
        // Producers are active before the kill.
        while ledger.acknowledged() < acknowledged + 10 * PRODUCERS {
            tokio::task::yield_now().await;
        }
        let life = rand::rng().random_range(LIFE);
        tokio::time::sleep(Duration::from_millis(life)).await;
        match (victim, &mut server) {
            (Victim::Database, Some(server)) => tokio::task::block_in_place(|| server.kill()),
            _ => drop(processes.map(Process::kill)),
        }
        stop.store(true, Ordering::Relaxed);
        for producer in producers {
            producer.await.expect("a producer");
        }
        if let Some(server) = &server {
            tokio::task::block_in_place(|| server.start_again());
        }
        // A third server, which did not get these batches first.
        let process = start(&url);
        ledger.retry(&process.address, 50).await;
        process.kill();
        ledger.check(&Stored::read(&url).await);
    }
    println!("{crashes} crashes: {}", ledger.summary());
}
