//! Connections: protocols, limits, and shutdown.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::Version;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::process::{self, Process};
use crate::support::{Kind, TestApp, TestDatabase, settings, within};
use crate::tests;

tests! {
    http_1_and_http_2_are_supported.only(&[Kind::Sqlite]),
    one_http_2_connection_serves_many_requests.only(&[Kind::Sqlite]),
    a_client_with_a_slow_head_is_disconnected.only(&[Kind::Sqlite]),
    a_client_with_a_slow_body_is_refused.only(&[Kind::Sqlite]),
    a_client_that_reads_nothing_is_disconnected.only(&[Kind::Sqlite]),
    a_stalled_or_silent_http_2_client_is_disconnected.only(&[Kind::Sqlite]),
    a_slow_sign_in_is_refused.only(&[Kind::Sqlite]),
    a_large_head_is_refused.only(&[Kind::Sqlite]),
    connections_are_limited.only(&[Kind::Sqlite]),
    idle_connections_are_closed_for_new_ones.only(&[Kind::Sqlite]),
    idle_http_2_connections_are_closed_for_new_ones.only(&[Kind::Sqlite]),
    connections_of_an_address_are_limited.only(&[Kind::Sqlite]),
    bodies_are_charged_by_bytes.only(&[Kind::Sqlite]),
    one_caller_leaves_body_memory_to_others.only(&[Kind::Sqlite]),
    a_refusal_reaches_a_client_that_writes_first.only(&[Kind::Sqlite]),
    a_refused_short_body_keeps_its_connection.only(&[Kind::Sqlite]),
    a_refused_endless_body_is_disconnected.only(&[Kind::Sqlite]),
    the_server_survives_a_lack_of_file_descriptors.only(&[Kind::Sqlite]),
    pending_requests_are_answered_at_shutdown.only(&[Kind::Sqlite]),
}

/// Shorter than the client timeout of 30 s by default, which would end these waits as well.
const SOON: Duration = Duration::from_secs(20);
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

async fn connect(app: &TestApp) -> TcpStream {
    TcpStream::connect(app.url("").trim_start_matches("http://")).await.unwrap()
}

/// Reads one response with the body `ok\n`.
async fn healthy(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "closed");
    }
    String::from_utf8(answer).unwrap()
}

/// Everything until the server closes the connection.
async fn read_to_end(mut stream: TcpStream) -> String {
    let mut rest = Vec::new();
    // A reset ends the connection as well.
    stream.read_to_end(&mut rest).await.ok();
    String::from_utf8_lossy(&rest).into_owned()
}

async fn http_1_and_http_2_are_supported(database: TestDatabase) {
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

async fn one_http_2_connection_serves_many_requests(database: TestDatabase) {
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

async fn a_client_with_a_slow_head_is_disconnected(database: TestDatabase) {
    let app =
        TestApp::start_with(&database, |config| config.server.http.client_timeout_seconds = 1)
            .await;
    let mut clients = JoinSet::new();
    // No byte; bytes of either protocol; half a head; HTTP/2 without a request.
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for start in ["", "P", "PRI * HTTP", "GET /healthz HTTP/1.1\r\nHost: lo", preface] {
        let mut stream = connect(&app).await;
        let started = Instant::now();
        clients.spawn(async move {
            stream.write_all(start.as_bytes()).await.unwrap();
            read_to_end(stream).await;
            assert!(started.elapsed() < SOON, "{start:?}");
        });
    }
    // The head of the second request never arrives.
    let mut idle = connect(&app).await;
    clients.spawn(async move {
        idle.write_all(HEALTH.as_bytes()).await.unwrap();
        healthy(&mut idle).await;
        read_to_end(idle).await;
    });
    // Single bytes, each in time, do not extend the timeout.
    let mut dripping = connect(&app).await;
    clients.spawn(async move {
        let started = Instant::now();
        for byte in HEALTH.bytes().cycle() {
            let written = dripping.write_all(&[byte.max(b'a')]).await;
            let read = tokio::time::timeout(Duration::from_millis(100), dripping.read_u8()).await;
            if written.is_err() || matches!(read, Ok(Err(_))) {
                break;
            }
            assert!(started.elapsed() < SOON);
        }
    });
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

async fn a_client_with_a_slow_body_is_refused(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.graphql.timeout_seconds = 1).await;
    let mut stream = connect(&app).await;
    let head = "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
        Content-Length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_to_end(stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"REQUEST_TIMEOUT\""),
        "{answer}"
    );
}

async fn a_client_that_reads_nothing_is_disconnected(database: TestDatabase) {
    let app =
        TestApp::start_with(&database, |config| config.server.http.client_timeout_seconds = 1)
            .await;
    let mut stream = connect(&app).await;
    let request = "GET /schema.graphql HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // More responses than the buffers of both ends hold, until the server stops reading.
    let sent = async { while stream.write_all(request.repeat(100).as_bytes()).await.is_ok() {} };
    within("is cut", sent).await;
}

async fn a_large_head_is_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for (bytes, status) in [(30_000, 200), (100_000, 431)] {
        let request = app.get("/healthz").header("X-Large", "x".repeat(bytes));
        assert_eq!(request.send().await.unwrap().status(), status);
    }
}

/// A connection from the given loopback address.
async fn connect_from(app: &TestApp, address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
    socket.connect(app.url("").trim_start_matches("http://").parse().unwrap()).await.unwrap()
}

/// The start of a request with an endless body.
const UNFINISHED: &str = "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\
    Content-Type: application/json\r\n\r\n{";
/// The rest of that body.
const FINISH: &str = "\"query\":\"{ __typename }\"}";

/// Opens a connection with an incomplete body, and waits until the server has read its head.
async fn busy_connection(app: &TestApp, address: &str) -> TcpStream {
    let mut stream = connect_from(app, address).await;
    stream.write_all(HEALTH.as_bytes()).await.unwrap();
    healthy(&mut stream).await;
    stream.write_all(UNFINISHED.as_bytes()).await.unwrap();
    stream
}

async fn connections_are_limited(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.server.http.max_connections = 2).await;
    let mut open =
        vec![busy_connection(&app, "127.0.0.1").await, busy_connection(&app, "127.0.0.1").await];
    let mut third = connect(&app).await;
    third.write_all(HEALTH.as_bytes()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(900), healthy(&mut third)).await;
    assert!(early.is_err(), "a third connection is served: {early:?}");
    // Both open connections are still served, and the third is once one of them closes.
    let rest = format!("{FINISH}{}", " ".repeat(99 - FINISH.len()));
    open[0].write_all(rest.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}}") {
        assert!(open[0].read_buf(&mut answer).await.unwrap() > 0, "closed");
    }
    open.pop();
    healthy(&mut third).await;
}

async fn idle_connections_are_closed_for_new_ones(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.server.http.max_connections = 4).await;
    let mut open = Vec::new();
    for address in ["127.0.0.3", "127.0.0.2", "127.0.0.2", "127.0.0.2"] {
        let mut stream = connect_from(&app, address).await;
        stream.write_all(HEALTH.as_bytes()).await.unwrap();
        healthy(&mut stream).await;
        open.push(stream);
    }
    // The server closes a connection of the address with the most, the one idle for longest.
    let mut next = connect(&app).await;
    next.write_all(HEALTH.as_bytes()).await.unwrap();
    let answered = tokio::time::timeout(SOON, healthy(&mut next)).await;
    assert!(answered.is_ok(), "idle connections block new ones");
    assert_eq!(read_to_end(open.remove(1)).await, "");
    for mut stream in open {
        stream.write_all(HEALTH.as_bytes()).await.unwrap();
        healthy(&mut stream).await;
    }
}

async fn idle_http_2_connections_are_closed_for_new_ones(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.server.http.max_connections = 1;
        config.server.http.client_timeout_seconds = 3600;
    })
    .await;
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat();
    let mut silent = connect_from(&app, "127.0.0.2").await;
    silent.write_all(&preface).await.unwrap();
    // The server's settings show that it has recognised HTTP/2.
    silent.read_u8().await.unwrap();
    let mut next = connect(&app).await;
    next.write_all(HEALTH.as_bytes()).await.unwrap();
    let answered = tokio::time::timeout(SOON, healthy(&mut next)).await;
    assert!(answered.is_ok(), "an idle HTTP/2 connection blocks new ones");
}

async fn connections_of_an_address_are_limited(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.server.http.max_connections_per_address = Some(2);
    })
    .await;
    let open = [busy_connection(&app, "127.0.0.2").await, busy_connection(&app, "127.0.0.2").await];
    // The server closes a third connection at once, and serves other addresses.
    let third = connect_from(&app, "127.0.0.2").await;
    let closed = tokio::time::timeout(SOON, read_to_end(third)).await;
    assert_eq!(closed.expect("a third connection stays open"), "");
    let mut other = connect_from(&app, "127.0.0.3").await;
    other.write_all(HEALTH.as_bytes()).await.unwrap();
    healthy(&mut other).await;
    drop(open);
    let served = async {
        loop {
            let mut stream = connect_from(&app, "127.0.0.2").await;
            let mut answer = Vec::new();
            // It may be refused until the server detects that the others are closed.
            if stream.write_all(HEALTH.as_bytes()).await.is_ok()
                && stream.read_buf(&mut answer).await.is_ok_and(|bytes| bytes > 0)
            {
                return stream;
            }
        }
    };
    let first = within("is served", served).await;
    // An idle connection of the address is closed for a new one.
    let mut second = connect_from(&app, "127.0.0.2").await;
    second.write_all(HEALTH.as_bytes()).await.unwrap();
    healthy(&mut second).await;
    let idle = async {
        loop {
            let mut third = connect_from(&app, "127.0.0.2").await;
            let mut answer = Vec::new();
            if third.write_all(HEALTH.as_bytes()).await.is_ok()
                && third.read_buf(&mut answer).await.is_ok_and(|bytes| bytes > 0)
            {
                return;
            }
        }
    };
    within("is served", idle).await;
    let closed = tokio::time::timeout(SOON, read_to_end(first)).await;
    assert!(closed.is_ok(), "the connection idle for longest stays open");
}

/// A request in chunks of one byte, with more chunks than there are KiB for bodies.
async fn bodies_are_charged_by_bytes(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let start = r#"{"query":"{ __typename }","extensions":{"padding":""#;
    let body = format!("{start}{}\"}}}}", "x".repeat(300_000));
    let mut stream = connect(&app).await;
    let head = "POST /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
        Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks: String = body.chars().map(|byte| format!("1\r\n{byte}\r\n")).collect();
    stream.write_all(format!("{head}{chunks}0\r\n\r\n").as_bytes()).await.unwrap();
    let answer = read_to_end(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // The same in frames of HTTP/2, which limits shorter frames separately.
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let frame = |bytes: &[u8]| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(bytes)));
    let frames: Vec<_> = body.as_bytes().chunks(300).map(frame).collect();
    let body = reqwest::Body::wrap(StreamBody::new(futures_util::stream::iter(frames)));
    let request = client.post(app.url("/graphql")).header("Content-Type", "application/json");
    assert_eq!(request.body(body).send().await.unwrap().status(), 200);
}

/// The status of a query from an address, with more header lines.
async fn query_from(app: &TestApp, address: &str, headers: &str) -> String {
    long_query_from(app, address, headers, 0).await
}

/// The same with `padding` more bytes.
async fn long_query_from(app: &TestApp, address: &str, headers: &str, padding: usize) -> String {
    let mut stream = connect_from(app, address).await;
    let body = format!(r#"{{"query":"{{ __typename }}"{}}}"#, " ".repeat(padding));
    let length = body.len();
    let request = format!(
        "POST /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to_end(stream).await
}

async fn one_caller_leaves_body_memory_to_others(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.access =
            settings(&["--tokens=a:READ:0123456789abcdef-a", "--anonymous-scopes=READ"]);
        config.server.max_body_bytes = 9 << 20;
    })
    .await;
    let head = format!(
        "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        9 << 20
    );
    let part = vec![b' '; 8 << 20];
    let mut open = Vec::new();
    let mut answer = String::new();
    // Two thirds of 128 MiB are enough.
    for _ in 0..20 {
        let mut stream = connect_from(&app, "127.0.0.2").await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&part).await.unwrap();
        open.push(stream);
        answer = long_query_from(&app, "127.0.0.2", "", 8 << 20).await;
        if !answer.starts_with("HTTP/1.1 200 ") {
            break;
        }
    }
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("RATE_LIMITED"), "{answer}");
    let other = query_from(&app, "127.0.0.3", "").await;
    assert!(other.starts_with("HTTP/1.1 200 "), "{other}");
    let token = "Authorization: Bearer 0123456789abcdef-a\r\n";
    let other = query_from(&app, "127.0.0.2", token).await;
    assert!(other.starts_with("HTTP/1.1 200 "), "{other}");
    // The memory of a cancelled body is free again.
    drop(open);
    let freed = async {
        while !long_query_from(&app, "127.0.0.2", "", 8 << 20).await.starts_with("HTTP/1.1 200 ") {}
    };
    within("the memory is free again", freed).await;
}

/// Requests that are refused before their bodies are read: a path, header lines, the status.
const REFUSED: [(&str, &str, u16); 6] = [
    ("/graphql", "Content-Type: application/json\r\n", 401),
    (
        "/graphql",
        "Authorization: Bearer 0123456789abcdef-a\r\nContent-Type: application/json\r\n",
        413,
    ),
    ("/graphql", "Authorization: Bearer 0123456789abcdef-a\r\nContent-Type: text/plain\r\n", 415),
    (
        "/ingest/calls",
        "Authorization: Bearer 0123456789abcdef-a\r\nContent-Type: application/json\r\n",
        403,
    ),
    (
        "/v1/traces",
        "Authorization: Bearer 0123456789abcdef-b\r\nContent-Type: application/json\r\n",
        413,
    ),
    ("/nothing", "Authorization: Bearer 0123456789abcdef-a\r\n", 404),
];

async fn with_tokens(database: &TestDatabase) -> TestApp {
    TestApp::start_with_tokens(database, "a:READ:0123456789abcdef-a b:RECORD:0123456789abcdef-b")
        .await
}

async fn a_refusal_reaches_a_client_that_writes_first(database: TestDatabase) {
    let app = with_tokens(&database).await;
    let body = vec![b'x'; 6 << 20];
    let length = body.len();
    for (path, headers, status) in REFUSED {
        let chunked = format!("{length:x}\r\n");
        for (framing, first, last) in [
            (format!("Content-Length: {length}"), "", ""),
            ("Transfer-Encoding: chunked".to_owned(), chunked.as_str(), "\r\n0\r\n\r\n"),
        ] {
            let mut stream = connect(&app).await;
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}{framing}\r\n\r\n{first}"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            // The client sends everything before it reads.
            let written = stream.write_all(&body).await;
            assert!(written.is_ok(), "{path} {status} {framing}: {written:?}");
            stream.write_all(last.as_bytes()).await.unwrap();
            let answer = read_to_end(stream).await.to_ascii_lowercase();
            assert!(
                answer.starts_with(&format!("http/1.1 {status} ")),
                "{path} {status}: {answer}"
            );
            assert!(answer.contains("connection: close"), "{answer}");
        }
    }
    // HTTP/2 ends only that request.
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    for _ in 0..3 {
        let request = client.post(app.url("/graphql")).header("Content-Type", "application/json");
        let answer = request.body(body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 401);
        assert!(answer.text().await.unwrap().contains("UNAUTHENTICATED"));
    }
}

async fn a_refused_short_body_keeps_its_connection(database: TestDatabase) {
    let app = with_tokens(&database).await;
    let mut stream = connect(&app).await;
    for _ in 0..3 {
        let request = "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\
            Content-Type: application/json\r\n\r\n{}";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}]}") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "closed");
        }
        assert!(answer.starts_with(b"HTTP/1.1 401 "));
    }
}

async fn a_refused_endless_body_is_disconnected(database: TestDatabase) {
    let app = with_tokens(&database).await;
    let mut stream = connect(&app).await;
    let head = "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
        Content-Length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut written = 0;
    let part = vec![b'x'; 1 << 20];
    while written < 200 && stream.write_all(&part).await.is_ok() {
        written += 1;
    }
    // 8 MiB, and the buffers of both ends.
    assert!(written < 100, "the server keeps reading a refused body");
}

/// The binary with few file descriptors, and more connections than those.
async fn the_server_survives_a_lack_of_file_descriptors(database: TestDatabase) {
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
    // The last of them exceeds the limit of the process.
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
    assert!(!cfg!(target_os = "linux") || ticks() < 300, "the server spins");
    server.kill();
}

async fn pending_requests_are_answered_at_shutdown(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut used = connect(&app).await;
    used.write_all(HEALTH.as_bytes()).await.unwrap();
    healthy(&mut used).await;
    // The server has not accepted the first connection, and has not read the next request of the second.
    let mut new = connect(&app).await;
    new.write_all(HEALTH.as_bytes()).await.unwrap();
    used.write_all(HEALTH.as_bytes()).await.unwrap();
    let stopping = tokio::spawn(app.shutdown());
    for mut stream in [used, new] {
        healthy(&mut stream).await;
        assert_eq!(read_to_end(stream).await, "");
    }
    stopping.await.unwrap();
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

async fn a_stalled_or_silent_http_2_client_is_disconnected(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.server.http.client_timeout_seconds = 1;
    })
    .await;
    // `GET http://localhost/schema.graphql` in HPACK.
    let path = "/schema.graphql";
    let length = u8::try_from(path.len()).unwrap();
    let head = [&[0x82, 0x86, 0x04, length], path.as_bytes(), &[0x01, 9], b"localhost"].concat();
    // A window of zero for responses, and a usual window.
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
        let end = tokio::time::timeout(SOON, async {
            let (mut answer, mut part) = (Vec::new(), [0; 4096]);
            let mut ping = tokio::time::interval(Duration::from_millis(50));
            loop {
                tokio::select! {
                    // The client keeps answering pings, like a client that reads a response slowly.
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
        assert_eq!(has_body, window > 0, "a response is sent if the window allows it");
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
        read_to_end(stream).await
    };
    assert!(send("Content-Length: 100", "{").await.contains("REQUEST_TIMEOUT"));
    assert!(send("Content-Length: 5000", "").await.contains("PAYLOAD_TOO_LARGE"));
}
