//! Many concurrent clients that request the largest responses, and read them slowly or not at all,
//! grow the server by at most `--max-memory`. Mapped pages of the database file are not the server's
//! memory, so that only anonymous pages count.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
/// How long the clients run.
const LASTS: Duration = Duration::from_secs(12);

const MAX_MEMORY_MIB: u64 = 256;
/// The memory of a server without responses (docs/OPERATIONS.md).
const BASE_MIB: u64 = 200;

const LOGS: usize = 500;
const LOG_BYTES: usize = 64 << 10;

const READERS: usize = 12;
const SILENT: usize = 12;

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
        .args(["--max-memory", &MAX_MEMORY_MIB.to_string()])
        .current_dir(folder)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(child);
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(started.elapsed() < SOON, "did not start");
        std::thread::yield_now();
    }
    (server, port)
}

fn anonymous_mib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.0.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn send(port: u16, path: &str, kind: &str, body: &[u8]) -> TcpStream {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.set_read_timeout(Some(SOON)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(body).unwrap();
    connection
}

fn ask(port: u16, query: &str) -> TcpStream {
    let body = format!("{{\"query\":\"{query}\"}}");
    send(port, "/graphql", "application/json", body.as_bytes())
}

fn read(mut connection: TcpStream) -> String {
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// Stops the readers, also when an assertion fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn large_responses_stay_within_max_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (server, port) = serve(folder.path());
    let row = format!("{{\"key\":\"k\",\"message\":\"{}\"}}\n", "x".repeat(LOG_BYTES));
    let answer =
        read(send(port, "/ingest/errors", "application/x-ndjson", row.repeat(LOGS).as_bytes()));
    assert!(answer.contains(&format!("\"recorded\":{LOGS},")), "{answer}");
    let aliases = |many: usize| (0..many).map(|n| format!("a{n}: message ")).collect::<String>();
    let page = |first: usize, many: usize| {
        format!("{{ errorLogs(first: {first}) {{ nodes {{ {} }} }} }}", aliases(many))
    };
    let queries = [
        // Just below the limit; far above it; and one row repeated as often as possible.
        page(240, 1),
        page(500, 49),
        page(5, 45),
        "{ callDetails(period: LAST_30_DAYS, first: 1000) { nodes { id } } }".to_owned(),
    ];
    let (ends, answered, refused) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let most = std::thread::scope(|scope| {
        for number in 0..READERS {
            let (queries, ends, answered, refused) = (&queries, &ends, &answered, &refused);
            scope.spawn(move || {
                for turn in number.. {
                    if ends.load(Ordering::Relaxed) {
                        return;
                    }
                    let answer = read(ask(port, &queries[turn % queries.len()]));
                    let end = &answer[answer.len().saturating_sub(2000)..];
                    if end.contains("RESPONSE_TOO_LARGE") || end.contains("SERVER_BUSY") {
                        refused.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert!(answer.starts_with("HTTP/1.1 200"), "{}", &answer[..200]);
                        assert!(!end.contains("\"errors\""), "{end}");
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        // These clients send requests and read nothing.
        let silent: Vec<TcpStream> = (0..SILENT).map(|_| ask(port, &queries[0])).collect();
        let _ends = Ends(&ends);
        let (started, mut most) = (Instant::now(), 0);
        while started.elapsed() < LASTS {
            // Other clients are served meanwhile.
            let answer =
                read(ask(port, "{ serverInfo { version } errorLogs(first: 1) { nodes { id } } }"));
            assert!(answer.contains("\"version\"") && !answer.contains("\"errors\""), "{answer}");
            most = most.max(anonymous_mib(&server));
        }
        drop(silent);
        most
    });
    let (answered, refused) = (answered.into_inner(), refused.into_inner());
    println!("{answered} answered, {refused} refused, at most {most} MiB");
    assert!(answered > 0 && refused > 0);
    assert!(most < MAX_MEMORY_MIB + BASE_MIB, "{most} MiB");
}
