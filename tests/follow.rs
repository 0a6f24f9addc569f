//! A subscription to a file that gemini-balance created, while another process writes into it as gemini-balance
//! does. Ignored without python3.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "the tests of imports use the rest")]
mod data;
#[expect(dead_code, reason = "other tests use the rest")]
mod process;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use data::gateway_database;
use libtest_mimic::{Arguments, Completion, Trial};
use process::{Process, serve};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// Writes as gemini-balance does: each row in its own transaction, the error log of a failed call
/// before the call. Then it deletes the last call, so that the next call reuses its id.
const GATEWAY: &str = r#"
import sqlite3, sys
connection = sqlite3.connect("calls.db", isolation_level=None, timeout=30)
CALL = "INSERT INTO t_request_log (request_time, model_name, api_key, is_success, status_code, latency_ms) VALUES (?, ?, 'AIza-of-the-gateway-0001', ?, ?, 17)"
ERROR = "INSERT INTO t_error_logs (gemini_key, model_name, error_type, error_log, error_code, request_msg, request_time) VALUES ('AIza-of-the-gateway-0001', ?, 'gemini-chat', 'quota', 429, 'null', ?)"
for line in sys.stdin:
    number = int(line)
    time, model = f"2026-03-01 12:00:{number % 60:02}.{number:06}", f"live {number}"
    if number % 3 == 0:
        connection.execute(ERROR, (model, time))
        connection.execute(CALL, (time, model, 0, 429))
    else:
        connection.execute(CALL, (time, model, 1, 200))
    if number % 5 == 0:
        connection.execute("DELETE FROM t_request_log WHERE id = (SELECT max(id) FROM t_request_log)")
        connection.execute(CALL, (time, f"again {number}", 1, 200))
    print(number, flush=True)
"#;

/// The gateway's process; it ends with the test.
struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The results of a subscription, in order.
struct Events(BufReader<TcpStream>);

impl Events {
    fn follow(address: &str, query: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let body = json!({ "query": query }).to_string();
        let request = format!(
            "POST /graphql/stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Accept: text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut events = Self(BufReader::new(stream));
        assert_eq!(events.line(), "HTTP/1.1 200 OK");
        while !events.line().is_empty() {}
        events
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
        line.trim_end().to_owned()
    }

    /// Skips the protocol's lines between two lines of data.
    fn next(&mut self) -> Value {
        loop {
            if let Some(data) = self.line().strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }
}

fn main() {
    let name = "rows_appended_by_gemini_balance_are_sent";
    let trial = Trial::ignorable_test(name, || {
        let python = Command::new("python3").args(["-c", "import sqlite3"]).output();
        if !python.is_ok_and(|output| output.status.success()) {
            return Ok(Completion::ignored_with("python3 with sqlite3 is not here"));
        }
        rows_appended_by_gemini_balance_are_sent();
        Ok(Completion::Completed)
    });
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}

fn rows_appended_by_gemini_balance_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("calls.db"), gateway_database()).unwrap();
    let server = Process::start(&mut serve(folder.path(), "sqlite://calls.db"));
    let query = "subscription { callRecorded { model statusCode errorLog { message model } } }";
    let mut calls = Events::follow(&server.address, query);
    let mut errors =
        Events::follow(&server.address, "subscription { errorRecorded { model errorCode } }");
    let gateway = Command::new("python3")
        .args(["-c", GATEWAY])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut gateway = Gateway(gateway);
    let mut ask = gateway.0.stdin.take().unwrap();
    let mut output = BufReader::new(gateway.0.stdout.take().unwrap()).lines();
    let mut waits = vec![];
    for number in 1..=30 {
        writeln!(ask, "{number}").unwrap();
        assert_eq!(output.next().unwrap().unwrap(), number.to_string());
        let stored = Instant::now();
        let failed = number % 3 == 0;
        let model = format!("live {number}");
        let expected = json!({
            "model": &model,
            "statusCode": if failed { 429 } else { 200 },
            "errorLog": failed.then(|| json!({ "message": "quota", "model": &model })),
        });
        let mut event = calls.next();
        if number % 5 == 0 {
            // The deleted call may have been sent before its deletion.
            if event["data"]["callRecorded"] == expected {
                event = calls.next();
            }
            assert_eq!(event["data"]["callRecorded"]["model"], format!("again {number}"));
        } else {
            assert_eq!(event["data"]["callRecorded"], expected, "{event}");
        }
        waits.push(stored.elapsed());
        if failed {
            let expected = json!({ "model": model, "errorCode": 429 });
            assert_eq!(errors.next()["data"]["errorRecorded"], expected);
        }
    }
    waits.sort();
    let (usual, slowest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    println!(
        "30 calls of another process, received {usual:?} after their commit, {slowest:?} at most"
    );
}
