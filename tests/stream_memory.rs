//! A stream of 100 MB does not grow the server. Mapped pages of the database file are not the server's memory,
//! so that only anonymous pages count.

#![cfg(target_os = "linux")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "other tests use the rest")]
mod process;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use process::{Process, serve};

const SOON: Duration = Duration::from_secs(60);
const STREAM_BYTES: usize = 100 << 20;
const LINE_BYTES: usize = 16 << 10;
/// Far smaller than the stream: a few chunks in flight, and SQLite's cache.
const GROWTH_BYTES: u64 = 48 << 20;

fn anonymous_bytes(server: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Sends `bytes` bytes of rows, and returns the number of recorded rows and the peak memory.
fn stream(server: &Process, bytes: usize) -> (usize, u64) {
    let mut connection = TcpStream::connect(&server.address).unwrap();
    connection.set_read_timeout(Some(SOON)).unwrap();
    let row = format!("{{\"key\":\"k\",\"message\":\"{}\"}}\n", "x".repeat(LINE_BYTES));
    let rows = bytes / row.len();
    let head = format!(
        "POST /ingest/errors HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
        rows * row.len()
    );
    connection.write_all(head.as_bytes()).unwrap();
    let mut most = 0;
    for number in 0..rows {
        connection.write_all(row.as_bytes()).unwrap();
        if number % 100 == 0 {
            most = most.max(anonymous_bytes(server));
        }
    }
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(&format!("\"recorded\":{rows},")), "{answer}");
    (rows, most.max(anonymous_bytes(server)))
}

/// Waits until the server has classified all error logs, which needs memory too.
fn await_classes(server: &Process) {
    let body = r#"{"query":"{ errorGroups(by: [FAILURE_CLASS]) { count } }"}"#;
    let request = format!(
        "POST /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let start = Instant::now();
    loop {
        let mut connection = TcpStream::connect(&server.address).unwrap();
        connection.set_read_timeout(Some(SOON)).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        if answer.contains("\"count\":") {
            return;
        }
        assert!(answer.contains("SERVER_BUSY") && start.elapsed() < SOON, "{answer}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_long_stream_needs_no_more_memory_than_a_short_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(&mut serve(folder.path(), "sqlite://calls.db"));
    // This stream allocates what the server allocates once.
    let (_, before) = stream(&server, STREAM_BYTES / 5);
    await_classes(&server);
    let before = before.max(anonymous_bytes(&server));
    let (rows, most) = stream(&server, STREAM_BYTES);
    let growth = most.saturating_sub(before);
    println!("{rows} rows of 100 MB: from {} to {} KiB", before >> 10, most >> 10);
    assert!(growth < GROWTH_BYTES, "grew by {} MiB", growth >> 20);
}
