//! Connections: their protocols, their bounds, and what becomes of them when the server stops.

use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Version;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::process::{self, Process};
use crate::support::{Kind, TestApp, TestDatabase};
use crate::tests;

tests! {
    both_versions_of_http_are_spoken.only(&[Kind::Sqlite]),
    one_http_2_connection_takes_many_requests.only(&[Kind::Sqlite]),
    a_client_that_is_slow_with_its_head_is_cut.only(&[Kind::Sqlite]),
    a_client_that_is_slow_with_its_body_is_refused.only(&[Kind::Sqlite]),
    a_client_that_reads_nothing_is_cut.only(&[Kind::Sqlite]),
    an_http_2_client_that_reads_nothing_or_asks_nothing_is_cut.only(&[Kind::Sqlite]),
    a_slow_sign_in_is_refused.only(&[Kind::Sqlite]),
    a_large_head_is_refused.only(&[Kind::Sqlite]),
    connections_are_bounded.only(&[Kind::Sqlite]),
    the_server_outlives_a_lack_of_descriptors.only(&[Kind::Sqlite]),
    what_is_on_its_way_is_answered_when_the_server_stops.only(&[Kind::Sqlite]),
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

async fn connect(app: &TestApp) -> TcpStream {
    TcpStream::connect(app.url("").trim_start_matches("http://")).await.unwrap()
}

/// One answer with a body of `ok\n`.
async fn healthy(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "closed");
    }
    String::from_utf8(answer).unwrap()
}

/// What comes until the server closes the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut rest = Vec::new();
    // A reset is an end as well.
    stream.read_to_end(&mut rest).await.ok();
    String::from_utf8_lossy(&rest).into_owned()
}

async fn both_versions_of_http_are_spoken(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let second = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    for (client, version) in [(app.client(), Version::HTTP_11), (&second, Version::HTTP_2)] {
        let query = json!({ "query": "{ serverInfo { database } }" });
        let answer = client.post(app.url("/graphql")).json(&query).send().await.unwrap();
        assert_eq!(answer.version(), version);
        let body: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(body["data"]["serverInfo"]["database"], "SQLite");
    }
}

async fn one_http_2_connection_takes_many_requests(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.server.http.max_connections = 1).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    client.get(app.url("/healthz")).send().await.unwrap();
    let mut requests = JoinSet::new();
    for _ in 0..300 {
        requests.spawn(client.get(app.url("/healthz")).send());
    }
    for answer in requests.join_all().await {
        assert_eq!(answer.unwrap().status(), 200);
    }
}

async fn a_client_that_is_slow_with_its_head_is_cut(database: TestDatabase) {
    let app =
        TestApp::start_with(&database, |config| config.server.http.client_timeout_seconds = 1)
            .await;
    let mut clients = JoinSet::new();
    // Nothing; what may be either protocol; half a head; HTTP/2 without a request.
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for start in ["", "P", "PRI * HTTP", "GET /healthz HTTP/1.1\r\nHost: lo", preface] {
        let mut stream = connect(&app).await;
        let began = Instant::now();
        clients.spawn(async move {
            stream.write_all(start.as_bytes()).await.unwrap();
            rest(stream).await;
            assert!(began.elapsed() < Duration::from_secs(10), "{start:?}");
        });
    }
    // A second head that does not come.
    let mut idle = connect(&app).await;
    clients.spawn(async move {
        idle.write_all(HEALTH.as_bytes()).await.unwrap();
        healthy(&mut idle).await;
        rest(idle).await;
    });
    // Byte by byte, each in time, is no way around it.
    let mut dripping = connect(&app).await;
    clients.spawn(async move {
        let began = Instant::now();
        for byte in HEALTH.bytes().cycle() {
            let written = dripping.write_all(&[byte.max(b'a')]).await;
            let read = tokio::time::timeout(Duration::from_millis(100), dripping.read_u8()).await;
            if written.is_err() || matches!(read, Ok(Err(_))) {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(10));
        }
    });
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

async fn a_client_that_is_slow_with_its_body_is_refused(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.graphql.timeout_seconds = 1).await;
    let mut stream = connect(&app).await;
    let head = "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
        Content-Length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = rest(stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"REQUEST_TIMEOUT\""),
        "{answer}"
    );
}

async fn a_client_that_reads_nothing_is_cut(database: TestDatabase) {
    let app =
        TestApp::start_with(&database, |config| config.server.http.client_timeout_seconds = 1)
            .await;
    let mut stream = connect(&app).await;
    let request = "GET /schema.graphql HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // More answers than the buffers of both ends take, until the server takes no more.
    let sent = async { while stream.write_all(request.repeat(100).as_bytes()).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(60), sent).await.expect("is cut");
}

async fn a_large_head_is_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for (bytes, status) in [(30_000, 200), (100_000, 431)] {
        let request = app.client().get(app.url("/healthz")).header("X-Large", "x".repeat(bytes));
        assert_eq!(request.send().await.unwrap().status(), status);
    }
}

async fn connections_are_bounded(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.server.http.max_connections = 2).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&app).await;
        stream.write_all(HEALTH.as_bytes()).await.unwrap();
        healthy(&mut stream).await;
        open.push(stream);
    }
    let mut third = connect(&app).await;
    third.write_all(HEALTH.as_bytes()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), healthy(&mut third)).await;
    assert!(early.is_err(), "a third connection is served: {early:?}");
    // The two still are, and once one closes the third is.
    open[0].write_all(HEALTH.as_bytes()).await.unwrap();
    healthy(&mut open[0]).await;
    open.pop();
    healthy(&mut third).await;
}

/// The binary with few descriptors, and more connections than that.
async fn the_server_outlives_a_lack_of_descriptors(database: TestDatabase) {
    let binary = env!("CARGO_BIN_EXE_callscope");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40 && exec \"$@\"", "sh", binary, "serve"]);
    process::listen(&mut command);
    command.args(["--database-url", database.url()]);
    let server = Process::start(&mut command);
    let mut open = Vec::new();
    while open.len() < 80 {
        open.push(TcpStream::connect(&server.address).await.unwrap());
    }
    // The last of them is beyond what the process can have.
    let last = open.last_mut().unwrap();
    last.write_all(HEALTH.as_bytes()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), healthy(last)).await;
    assert!(early.is_err(), "{early:?}");
    open.drain(..79);
    healthy(&mut open[0]).await;
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.id())).unwrap();
        let fields: Vec<u64> =
            stat.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        // utime and stime, counted without the name and the state: hundredths of a second.
        fields[11] + fields[12]
    };
    assert!(!cfg!(target_os = "linux") || ticks() < 300, "it spins");
    server.kill();
}

async fn what_is_on_its_way_is_answered_when_the_server_stops(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut used = connect(&app).await;
    used.write_all(HEALTH.as_bytes()).await.unwrap();
    healthy(&mut used).await;
    // One that the server has not even accepted, and one whose next request it has not read.
    let mut new = connect(&app).await;
    new.write_all(HEALTH.as_bytes()).await.unwrap();
    used.write_all(HEALTH.as_bytes()).await.unwrap();
    let stopping = tokio::spawn(app.shutdown());
    for mut stream in [used, new] {
        healthy(&mut stream).await;
        assert_eq!(rest(stream).await, "");
    }
    stopping.await.unwrap();
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

async fn an_http_2_client_that_reads_nothing_or_asks_nothing_is_cut(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.server.http.client_timeout_seconds = 1;
    })
    .await;
    // `GET http://localhost/schema.graphql` in HPACK.
    let path = "/schema.graphql";
    let length = u8::try_from(path.len()).unwrap();
    let head = [&[0x82, 0x86, 0x04, length], path.as_bytes(), &[0x01, 9], b"localhost"].concat();
    // No room for an answer, and room for it.
    for window in [0_u32, 65_535] {
        let mut stream = connect(&app).await;
        let settings = [&[0, 4], &window.to_be_bytes()[..]].concat();
        let bytes = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, 0, &settings),
            frame(4, 1, 0, &[]),
            frame(1, 5, 1, &head),
        ];
        stream.write_all(&bytes.concat()).await.unwrap();
        let end = tokio::time::timeout(Duration::from_secs(20), async {
            let (mut answer, mut part) = (Vec::new(), [0; 4096]);
            let mut ping = tokio::time::interval(Duration::from_millis(50));
            loop {
                tokio::select! {
                    // It goes on to say that it lives, as a client that holds an answer would.
                    _ = ping.tick() => {
                        stream.write_all(&frame(6, 0, 0, &[0; 8])).await.ok();
                    }
                    read = stream.read(&mut part) => match read {
                        Ok(0) | Err(_) => return answer,
                        Ok(count) => answer.extend_from_slice(&part[..count]),
                    },
                }
            }
        });
        let answer = end.await.expect("the connection is closed");
        let has_body = String::from_utf8_lossy(&answer).contains("type ApiKey");
        assert_eq!(has_body, window > 0, "an answer came, as far as there was room for it");
    }
}

async fn a_slow_sign_in_is_refused(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.graphql.timeout_seconds = 1).await;
    let send = async |head: &str, body: &str| {
        let mut stream = connect(&app).await;
        let head = format!(
            "POST /session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\n{head}\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        rest(stream).await
    };
    assert!(send("Content-Length: 100", "{").await.contains("REQUEST_TIMEOUT"));
    assert!(send("Content-Length: 5000", "").await.contains("PAYLOAD_TOO_LARGE"));
}
