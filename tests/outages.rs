//! The database fails and recovers: these tests stop, kill and freeze their own servers, take away
//! their connections, and fill a disk. Callscope reports it, and recovers without a restart; subscriptions
//! continue, and deliver each call once.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "api/support/config.rs"]
mod config;
mod outages {
    #[expect(dead_code, reason = "other tests use the rest")]
    pub mod server;
    pub mod trial;
}

use std::process::Command;
use std::time::{Duration, Instant};

use callscope::app::{App, Running};
use callscope::clock::Clock;
use callscope::config::DatabaseConfig;
use callscope::store::{Database, schema};
use libtest_mimic::Arguments;
use outages::server::{Kind, Server};
use outages::trial::trial;
use serde_json::{Value, json};

/// Generous: a killed server replays its log before it answers.
const SOON: Duration = Duration::from_secs(45);

fn main() {
    let [postgres, mariadb] =
        [Kind::Postgres, Kind::MariaDb].map(|kind| move || Server::start(kind));
    let trials = vec![
        trial("postgres_fails_and_recovers", postgres, outage),
        trial("mariadb_fails_and_recovers", mariadb, outage),
        trial("an_index_is_rebuilt_after_postgres_was_killed", postgres, killed_build),
        trial("an_index_is_rebuilt_after_mariadb_was_killed", mariadb, killed_build),
        trial("an_import_survives_a_full_disk", || Ok(()), full_disk),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A Callscope with short timeouts.
struct Client {
    running: Running,
    http: reqwest::Client,
}

impl Client {
    async fn start(url: &str) -> Self {
        let config = callscope::app::Config {
            database: config::settings(&["--database-url", url, "--database-wait-seconds", "1"]),
            server: config::settings(&["--listen", "127.0.0.1:0"]),
            access: config::settings(&[]),
            graphql: config::settings(&["--timeout-seconds", "4"]),
            record: config::settings(&[]),
            keep: config::settings(&[]),
            replicas: config::settings(&[]),
            observe: config::settings(&[]),
            clock: Clock::System,
        };
        Self { running: App::start(config).await.expect("starts"), http: reqwest::Client::new() }
    }

    async fn status(&self, path: &str) -> u16 {
        let url = format!("http://{}{path}", self.running.address);
        self.http.get(url).send().await.expect("an answer").status().as_u16()
    }

    /// The code of the error, or `OK`.
    async fn query(&self) -> String {
        let url = format!("http://{}/graphql", self.running.address);
        let body =
            json!({ "query": "{ usageStats { lastHour { total } } errorLogs { totalCount } }" });
        let answer = self.http.post(url).json(&body).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        let code = answer["errors"][0]["extensions"]["code"].as_str();
        code.map_or_else(|| "OK".to_owned(), str::to_owned)
    }

    /// Waits until queries fail with one of `codes`; the server must report that it is not ready but alive.
    async fn assert_unavailable(&self, what: &str, codes: &[&str]) {
        let started = Instant::now();
        while self.status("/readyz").await != 503 {
            assert!(started.elapsed() < SOON, "{what}: still ready");
        }
        println!("{what}: not ready after {:?}", started.elapsed());
        let code = self.query().await;
        assert!(codes.contains(&code.as_str()), "{what}: {code}");
        assert_eq!(self.status("/healthz").await, 200, "{what}");
    }

    async fn assert_recovered(&self, what: &str) {
        let started = Instant::now();
        while self.status("/readyz").await != 200 || self.query().await != "OK" {
            assert!(started.elapsed() < SOON, "{what}: did not recover");
        }
        println!("{what}: recovered after {:?}", started.elapsed());
        // All connections at once, not only the one that was tried first.
        let queries = futures_util::future::join_all((0..16).map(|_| self.query())).await;
        assert!(queries.iter().all(|code| code == "OK"), "{what}: {queries:?}");
    }
}

/// A subscription that stays open throughout.
struct Subscription {
    response: reqwest::Response,
    text: String,
}

impl Subscription {
    async fn start(client: &Client) -> Self {
        let url = format!("http://{}/graphql/stream", client.running.address);
        let body = json!({ "query": "subscription { callRecorded { model } }" });
        let response = client.http.post(url).json(&body).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        Self { response, text: String::new() }
    }

    /// The model of the next call.
    async fn next(&mut self) -> String {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let data = data.map(|data| serde_json::from_str::<Value>(data).expect("JSON"));
                self.text = rest.to_owned();
                let Some(data) = data else { continue };
                let model = data["data"]["callRecorded"]["model"].as_str();
                return model.unwrap_or_else(|| panic!("{data}")).to_owned();
            }
            let part = tokio::time::timeout(SOON, self.response.chunk()).await.expect("an event");
            let part = part.expect("a part").expect("the stream continues");
            self.text += std::str::from_utf8(&part).expect("UTF-8");
        }
    }

    /// The next event must be a call that is recorded now.
    async fn assert_next_event(&mut self, client: &Client, what: &str) {
        let url = format!("http://{}/graphql", client.running.address);
        let query = "mutation R($model: String, $key: String) { recordCalls(input: {
            calls: [{ model: $model }], idempotencyKey: $key }) { recorded } }";
        let body = json!({ "query": query, "variables": { "model": what, "key": what } });
        let started = Instant::now();
        loop {
            let answer = client.http.post(&url).json(&body).send().await.expect("an answer");
            let answer: Value = answer.json().await.expect("JSON");
            if answer["data"]["recordCalls"]["recorded"] == 1 {
                break;
            }
            assert!(started.elapsed() < SOON, "{what}: {answer}");
        }
        assert_eq!(self.next().await, what);
    }
}

async fn outage(mut server: Server) {
    let kind = server.kind.name();
    let client = Client::start(&server.url()).await;
    client.assert_recovered(&format!("{kind} at first")).await;
    let mut subscription = Subscription::start(&client).await;
    subscription.assert_next_event(&client, "first").await;
    let gone = ["DATABASE_UNAVAILABLE"];

    let what = format!("{kind} stopped");
    server.stop();
    client.assert_unavailable(&what, &gone).await;
    server.start_again();
    client.assert_recovered(&what).await;
    subscription.assert_next_event(&client, &what).await;

    let what = format!("{kind} killed");
    server.kill();
    client.assert_unavailable(&what, &gone).await;
    server.start_again();
    client.assert_recovered(&what).await;
    subscription.assert_next_event(&client, &what).await;

    let what = format!("{kind} frozen");
    server.signal_all("STOP");
    // Pending requests time out.
    client.assert_unavailable(&what, &["DATABASE_UNAVAILABLE", "TIMEOUT"]).await;
    server.signal_all("CONT");
    client.assert_recovered(&what).await;
    subscription.assert_next_event(&client, &what).await;

    let what = format!("{kind} restarted");
    server.stop();
    server.start_again();
    client.assert_recovered(&what).await;
    subscription.assert_next_event(&client, &what).await;

    let what = format!("{kind} without connections to give");
    let held = server.allow_no_connection().await;
    client.assert_unavailable(&what, &gone).await;
    server.allow_connections(held).await;
    client.assert_recovered(&what).await;
    subscription.assert_next_event(&client, &what).await;

    client.running.shutdown().await.expect("stops");
}

/// The database is killed while it builds an index; the next migration builds the missing index.
async fn killed_build(mut server: Server) {
    let config = config::settings(&["--database-url", &server.url()]);
    schema::migrate(&config).await.expect("migrates");
    let (numbers, on) = match server.kind {
        Kind::Postgres => ("generate_series(1, 200000)", ""),
        Kind::MariaDb => ("seq_1_to_200000", " ON t_request_log"),
    };
    server
        .execute(&format!(
            "INSERT INTO t_request_log (request_time, model_name, api_key, is_success, status_code, \
             latency_ms) SELECT '2026-03-01 12:00:00', 'model', 'key', TRUE, 200, 1 FROM {numbers}"
        ))
        .await;
    for index in ["callscope_request_log_time", "callscope_request_log_key"] {
        server.execute(&format!("DROP INDEX {index}{on}")).await;
    }
    let migration = tokio::spawn({
        let config = config.clone();
        async move { schema::migrate(&config).await }
    });
    server.await_index_build().await;
    server.kill();
    assert!(migration.await.unwrap().is_err(), "a migration fails when its database is killed");
    server.start_again();
    let opened = DatabaseConfig { read_only: true, ..config.clone() };
    let opened = Database::open(&opened).await.expect("opens");
    let pending = opened.pending_indexes().await.expect("answers");
    assert!(!pending.is_empty(), "the build was not interrupted");
    println!("{} left {pending:?}", server.kind.name());
    schema::migrate(&config).await.expect("migrates");
    assert!(opened.pending_indexes().await.expect("answers").is_empty());
    opened.close().await.expect("closes");
}

/// The disk is full for this process: an import fails with a clear error and, once there
/// is space, continues.
async fn full_disk((): ()) {
    let folder = tempfile::tempdir().unwrap();
    let mut calls =
        String::from("request_time,model_name,api_key,is_success,status_code,latency_ms\n");
    for number in 0..40_000 {
        let (minute, second) = (number / 60 % 60, number % 60);
        calls += &format!(
            "2026-03-01 12:{minute:02}:{second:02},model,key-{},1,200,{number}\n",
            number % 7
        );
    }
    std::fs::write(folder.path().join("calls.csv"), calls).unwrap();
    let import = |limit: &str| {
        // The signal of the limit is ignored, so that the write returns an error.
        let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" import calls.csv");
        Command::new("bash")
            .args(["-c", &script, env!("CARGO_BIN_EXE_callscope")])
            .current_dir(folder.path())
            .output()
            .unwrap()
    };
    let failed = import("1500");
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && !text.contains("panicked"), "{text}");
    assert!(text.contains("unavailable"), "{text}");
    let done = import("unlimited");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url = format!("sqlite://{}/callscope.db", folder.path().display());
    let count: i64 = std::thread::spawn(move || {
        runtime.block_on(async {
            use sea_orm::sqlx::{Connection, SqliteConnection, query_scalar};
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            query_scalar("SELECT COUNT(*) FROM t_request_log")
                .fetch_one(&mut connection)
                .await
                .unwrap()
        })
    })
    .join()
    .unwrap();
    assert_eq!(count, 40_000);
}
