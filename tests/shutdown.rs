//! SIGTERM and SIGHUP under load: every started response arrives completely.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "other tests use the rest")]
mod process;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use process::{Process, serve};

const CLIENTS: usize = 16;
const SOON: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq)]
enum End {
    /// The last response announced the end of the connection.
    Announced,
    /// Closed between two requests: the server did not read the next one.
    Closed,
}

/// Sends requests one by one until the connection ends; each response must be complete.
fn ask(address: &str, answered: &AtomicUsize) -> End {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let body = r#"{"query": "{ usageStats { lastHour { total } } errorLogs { totalCount } }"}"#;
    let request = format!(
        "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    loop {
        if stream.write_all(request.as_bytes()).is_err() {
            return End::Closed;
        }
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => {
                    assert!(answer.is_empty(), "cut off: {}", String::from_utf8_lossy(&answer));
                    return End::Closed;
                }
                Ok(read) => answer.extend_from_slice(&buffer[..read]),
                Err(error) => {
                    let reset =
                        matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
                    assert!(answer.is_empty() && reset, "{error}, after {} bytes", answer.len());
                    return End::Closed;
                }
            }
            if is_complete(&answer) {
                break;
            }
        }
        let answer = String::from_utf8(answer).unwrap().to_lowercase();
        assert!(
            answer.starts_with("http/1.1 200 ok") && answer.contains("\"totalcount\":0"),
            "{answer}"
        );
        answered.fetch_add(1, Ordering::Relaxed);
        if answer.contains("connection: close") {
            return End::Announced;
        }
    }
}

fn is_complete(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| body.len() >= length.trim().parse::<usize>().unwrap())
}

/// Runs `clients` clients until `requests` requests are answered; then sends the signal to stop.
fn ask_and_stop(process: &Process, clients: usize, requests: usize, signal: &str) -> Vec<End> {
    let answered = AtomicUsize::new(0);
    let ends = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..clients).map(|_| scope.spawn(|| ask(&process.address, &answered))).collect();
        let started = Instant::now();
        while answered.load(Ordering::Relaxed) < requests {
            assert!(started.elapsed() < SOON, "no responses after {answered:?}");
            std::thread::yield_now();
        }
        let stopped = Command::new("kill").args(["-s", signal, &process.id().to_string()]).status();
        assert!(stopped.unwrap().success());
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    println!("{answered:?} answers, ends: {ends:?}");
    ends
}

fn lose_no_response(signal: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(&mut serve(folder.path(), "sqlite://calls.db"));
    let ends = ask_and_stop(&process, CLIENTS, 20 * CLIENTS, signal);
    // The server announces the end to clients that it serves. A client that sends its next request while
    // the server closes the connection gets no response, and may retry elsewhere.
    assert_eq!(ends.len(), CLIENTS);
    assert!(process.wait().success());
    assert!(TcpStream::connect(&process.address).is_err());
}

#[test]
fn sigterm_under_load_loses_no_response() {
    lose_no_response("TERM");
}

/// A terminal sends it when it closes, or an operator who expects a reload.
#[test]
fn sighup_under_load_loses_no_response() {
    lose_no_response("HUP");
}

#[test]
fn a_server_under_nohup_ignores_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let serve = "trap '' HUP; exec \"$0\" serve --database-url sqlite://calls.db --listen \
                 127.0.0.1:0 --log-format json";
    let mut command = Command::new("sh");
    command.args(["-c", serve, env!("CARGO_BIN_EXE_callscope")]).current_dir(folder.path());
    let mut process = Process::start(&mut command);
    // It stops after the second signal.
    let stopped = Command::new("kill").args(["-s", "HUP", &process.id().to_string()]).status();
    assert!(stopped.unwrap().success());
    let ends = ask_and_stop(&process, CLIENTS, 20 * CLIENTS, "TERM");
    assert_eq!(ends.len(), CLIENTS);
    assert!(process.wait().success());
}

#[test]
fn an_unread_log_does_not_block_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = serve(folder.path(), "sqlite://calls.db");
    let (mut process, log) = Process::start_with_log(&mut command);
    // A pipe holds 64 KB, and each request logs a line of at least 200 bytes.
    ask_and_stop(&process, 2, 1000, "TERM");
    assert!(process.wait().success());
    drop(log);
}
