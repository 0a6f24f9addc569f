//! A stream of 100 MB does not grow the server. What the database maps of its file is no memory of ours,
//! so that only anonymous pages count.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
const STREAM_BYTES: usize = 100 << 20;
const LINE_BYTES: usize = 16 << 10;
/// Of which the stream is many times: a few chunks on their way, and SQLite's cache.
const GROWTH_BYTES: u64 = 48 << 20;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn serve(folder: &std::path::Path) -> (Server, u16) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let child = Command::new(env!("CARGO_BIN_EXE_callscope"))
        .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
        .args(["--database-url", "sqlite://calls.db"])
        .current_dir(folder)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(child);
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < SOON, "did not start");
        std::thread::yield_now();
    }
    (server, port)
}

fn anonymous_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.0.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Sends so many bytes of rows, and tells how many rows were recorded, and the most memory meanwhile.
fn stream(server: &Server, port: u16, bytes: usize) -> (usize, u64) {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
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

#[test]
fn a_long_stream_takes_no_more_memory_than_a_short_one() {
    let folder = tempfile::tempdir().unwrap();
    let (server, port) = serve(folder.path());
    // What is made once is made by this one.
    let (_, before) = stream(&server, port, STREAM_BYTES / 5);
    let (rows, most) = stream(&server, port, STREAM_BYTES);
    let growth = most.saturating_sub(before);
    println!("{rows} rows of 100 MB: from {} to {} KiB", before >> 10, most >> 10);
    assert!(growth < GROWTH_BYTES, "grew by {} MiB", growth >> 20);
}
