//! `POST /ingest/calls` and `/ingest/errors`: streams of rows, which rows are recorded, and what a retry
//! does.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http::assert_refused;
use super::input_errors::{lock, unlock};
use crate::support::{Kind, TestApp, TestDatabase, error_code, request_id, settings};
use crate::tests;

tests! {
    rows_accept_both_naming_styles,
    a_long_stream_is_recorded_completely,
    a_compressed_stream_is_decompressed,
    broken_compression_is_refused.only(&[Kind::Sqlite]),
    bad_lines_are_reported_and_the_others_recorded,
    reported_rejections_are_limited.only(&[Kind::Sqlite]),
    every_line_ending_is_accepted.only(&[Kind::Sqlite]),
    a_line_that_is_too_long_is_rejected.only(&[Kind::Sqlite]),
    a_key_may_be_given_by_its_id,
    a_retry_after_a_broken_connection_records_the_missing_rows,
    a_retry_of_a_whole_stream_records_nothing,
    an_idempotency_key_belongs_to_one_content_caller_and_route,
    rows_are_recorded_before_the_stream_ends,
    a_database_failure_reports_the_recorded_rows,
    a_full_queue_delays_and_then_refuses_a_stream.only(&[Kind::Postgres]),
    a_shutdown_reports_the_recorded_rows.only(&[Kind::Sqlite]),
    streams_are_limited.only(&[Kind::Sqlite]),
    one_caller_leaves_streams_to_others.only(&[Kind::Sqlite]),
    a_missing_line_ends_the_stream.only(&[Kind::Sqlite]),
    blank_lines_do_not_count_as_progress,
    an_excessive_compression_ratio_is_refused,
    streams_require_the_record_scope.only(&[Kind::Sqlite]),
    other_media_types_and_methods_are_refused.only(&[Kind::Sqlite]),
    streams_count_against_the_request_rate.only(&[Kind::Sqlite]),
    a_read_only_database_refuses_streams,
}

/// The lines of a chunk, as `ingest/intake` defines it.
const CHUNK: usize = 4096;

fn post(app: &TestApp, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    app.client().post(app.url(path)).header("Content-Type", "application/x-ndjson").body(body)
}

/// The status and the report.
async fn send(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn await_rows(database: &TestDatabase, table: &str, rows: u64) {
    while database.count(table).await < rows {
        tokio::task::yield_now().await;
    }
}

fn report(lines: u64, recorded: u64) -> Value {
    json!({ "lines": lines, "recorded": recorded, "duplicates": 0, "rejected": 0, "rejections": [] })
}

/// Calls of which every third failed and has an error log.
fn calls(range: std::ops::Range<usize>) -> String {
    let line = |number: usize| {
        let mut call = json!({ "timestamp": "2026-03-01T11:00:00Z", "key": "key-of-a-stream",
            "model": format!("model-{number}"), "statusCode": 200, "latencyMs": number });
        if number.is_multiple_of(3) {
            call["statusCode"] = json!(500);
            call["error"] = json!({ "message": format!("message-{number}") });
        }
        format!("{call}\n")
    };
    range.map(line).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(text.as_bytes()).unwrap();
    packer.finish().unwrap()
}

async fn rows_accept_both_naming_styles(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let lines = r#"{"timestamp":"2026-03-01T19:59:00.123456+08:00","key":"key-one","model":"m","statusCode":429,"latencyMs":7,"error":{"errorType":"chat","message":"quota \u00e9","request":{"a":["密",1]}}}
{"request_time":"2026-03-01 11:58:00","api_key":"key-one","model_name":"m","is_success":true,"status_code":200,"latency_ms":12,"id":7}
{}
"#;
    assert_eq!(send(post(&app, "/ingest/calls", lines)).await, (200, report(3, 3)));
    let query = "{ callDetails(period: LAST_HOUR) { nodes { timestamp model statusCode latencyMs
        apiKey { secret } errorLog { timestamp errorType errorCode message request } } } }";
    let key = json!({ "secret": "key-one" });
    let expected = json!([
        { "timestamp": "2026-03-01T11:59:00.123456Z", "model": "m", "statusCode": 429,
          "latencyMs": 7, "apiKey": key, "errorLog": { "timestamp": "2026-03-01T11:59:00.123456Z",
          "errorType": "chat", "errorCode": 429, "message": "quota é", "request": { "a": ["密", 1] } } },
        { "timestamp": "2026-03-01T11:58:00Z", "model": "m", "statusCode": 200, "latencyMs": 12,
          "apiKey": key, "errorLog": null },
    ]);
    app.clock.advance(chrono::TimeDelta::seconds(1));
    let mut nodes = app.data(query).await["callDetails"]["nodes"].clone();
    let now = nodes.as_array_mut().unwrap().remove(0);
    assert_eq!((&now["timestamp"], &now["model"]), (&json!("2026-03-01T12:00:00Z"), &Value::Null));
    assert_eq!(nodes, expected);

    let lines = r#"{"timestamp":"2026-03-01T10:00:00Z","key":"key-two","errorType":"t","errorCode":403,"message":"denied","request":["p"]}
{"request_time":"2026-03-01T09:00:00Z","gemini_key":"key-two","error_log":"gone","error_code":"Server disconnected","request_msg":"{\"p\": 1}"}"#;
    assert_eq!(send(post(&app, "/ingest/errors", lines)).await, (200, report(2, 2)));
    let query = "{ errorLogs(filter: { keys: [\"key-two\"] }) {
        nodes { timestamp errorType errorCode message request } } }";
    let expected = json!([
        { "timestamp": "2026-03-01T10:00:00Z", "errorType": "t", "errorCode": 403,
          "message": "denied", "request": ["p"] },
        { "timestamp": "2026-03-01T09:00:00Z", "errorType": null, "errorCode": null,
          "message": "gone", "request": "{\"p\": 1}" },
    ]);
    assert_eq!(app.data(query).await["errorLogs"]["nodes"], expected);
}

async fn a_long_stream_is_recorded_completely(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let rows = 2 * CHUNK + 100;
    let (status, summary) = send(post(&app, "/ingest/calls", calls(0..rows))).await;
    assert_eq!((status, summary), (200, report(rows as u64, rows as u64)));
    assert_eq!(database.count("t_request_log").await, rows as u64);
    assert_eq!(database.count("t_error_logs").await, rows.div_ceil(3) as u64);
    let distinct = "SELECT COUNT(DISTINCT model_name) FROM t_request_log";
    assert_eq!(database.value(distinct).await, rows as u64);
    // Long lines make chunks of fewer lines: one megabyte each.
    let line = json!({ "message": "x".repeat(60_000) });
    let lines = format!("{line}\n").repeat(50);
    assert_eq!(send(post(&app, "/ingest/errors", lines)).await, (200, report(50, 50)));
}

async fn a_compressed_stream_is_decompressed(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    // Two gzip members; the border is within a line.
    let lines = calls(0..5000);
    let (first, second) = lines.split_at(100_001);
    let body = [gzip(first), gzip(second)].concat();
    let packed = post(&app, "/ingest/calls", body).header("Content-Encoding", "gzip");
    assert_eq!(send(packed).await, (200, report(5000, 5000)));
    assert_eq!(database.count("t_request_log").await, 5000);
    let plain = post(&app, "/ingest/calls", "{}").header("Content-Encoding", "identity");
    assert_eq!(send(plain).await.0, 200);
}

async fn broken_compression_is_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for encoding in ["br", "zstd", "deflate", "gzip, gzip", "x"] {
        let packed = post(&app, "/ingest/calls", "{}").header("Content-Encoding", encoding);
        assert_refused(packed, 415, "UNSUPPORTED_MEDIA_TYPE").await;
    }
    let whole = gzip(&calls(0..CHUNK + 500));
    let packed =
        |body: Vec<u8>| post(&app, "/ingest/calls", body).header("Content-Encoding", "gzip");
    let (status, summary) = send(packed(whole[..whole.len() - 20].to_vec())).await;
    assert_eq!((status, error_code(&summary)), (400, "BAD_REQUEST"));
    assert_eq!(
        (&summary["lines"], &summary["recorded"]),
        (&json!(CHUNK), &json!(CHUNK)),
        "{summary}"
    );
    assert_eq!(database.count("t_request_log").await, CHUNK as u64);
    assert_refused(packed(b"{}\n{}\n".to_vec()), 400, "BAD_REQUEST").await;
}

async fn bad_lines_are_reported_and_the_others_recorded(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let long = "Secret-Value".repeat(20);
    let bad: Vec<(Vec<u8>, &str)> = vec![
        (b"{\"key\":\"Secret-Value\"".into(), "not a JSON object, at column 21"),
        (b"[{}]".into(), "not a JSON object"),
        (b"{\"model\":\"Secret-Value\xff\"}".into(), "not UTF-8"),
        (b"{\"prompt\":\"Secret-Value\"}".into(), "unknown field `prompt`"),
        (b"{\"statusCode\":\"Secret-Value\"}".into(), "statusCode is not a whole number"),
        (b"{\"timestamp\":\"Secret-Value\"}".into(), "timestamp is not an instant"),
        (b"{\"timestamp\":\"0999-01-01T00:00:00Z\"}".into(), "timestamp is in the year"),
        (b"{\"model\":\"a\",\"model_name\":\"Secret-Value\"}".into(), "model and model_name"),
        (format!("{{\"key\":\"{long}\"}}").into(), "key has 240 characters"),
        (b"{\"key\":\"Secret-Value\\u0000\"}".into(), "key contains a NUL"),
        (b"{\"statusCode\":200,\"error\":{}}".into(), "a call that succeeded has no `error`"),
        (b"{\"error\":{\"message\":7}}".into(), "in error: message is not a text"),
        (
            format!("{{\"error\":{{\"errorType\":\"{long}\"}}}}").into(),
            "in error: error_type has 240",
        ),
        (
            format!("{{\"error\":{{\"request\":{}{}}}}}", "[".repeat(101), "]".repeat(101)).into(),
            "in error: request nests deeper",
        ),
        (
            format!("{{\"error\":{{\"request\":[{}0]}}}}", "0,".repeat(100_000)).into(),
            "request has too many values",
        ),
    ];
    // Each bad line is between two good ones.
    let mut body = b"{\"model\":\"good\"}\n".to_vec();
    for (line, _) in &bad {
        body.extend_from_slice(line);
        body.extend_from_slice(b"\n{\"model\":\"good\"}\n");
    }
    let (status, summary) = send(post(&app, "/ingest/calls", body)).await;
    let good = bad.len() as u64 + 1;
    assert_eq!(status, 200);
    assert_eq!(
        (&summary["recorded"], &summary["rejected"]),
        (&json!(good), &json!(bad.len())),
        "{summary}"
    );
    for (index, (_, reason)) in bad.iter().enumerate() {
        let rejection = &summary["rejections"][index];
        assert_eq!(rejection["line"], 2 * index + 2);
        assert!(rejection["reason"].as_str().unwrap().starts_with(reason), "{reason}: {rejection}");
    }
    assert!(!summary.to_string().contains("Secret-Value"), "{summary}");
    assert_eq!(database.count("t_request_log").await, good);
    assert_eq!(database.count("t_error_logs").await, 0);
}

async fn reported_rejections_are_limited(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let body = format!("{{}}\n{}", "bad\n".repeat(10_000));
    let (status, summary) = send(post(&app, "/ingest/calls", body)).await;
    assert_eq!(
        (status, &summary["rejected"], &summary["recorded"]),
        (200, &json!(10_000), &json!(1))
    );
    assert_eq!(summary["rejections"].as_array().unwrap().len(), 100);
    assert_eq!(summary["rejections"][99]["line"], 101);
    // A stream without any recorded row is not a success.
    let (status, summary) = send(post(&app, "/ingest/calls", "bad\nworse")).await;
    assert_eq!((status, &summary["rejected"], &summary["lines"]), (422, &json!(2), &json!(2)));
    assert_eq!(error_code(&summary), "BAD_USER_INPUT");
}

async fn every_line_ending_is_accepted(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for (body, lines, recorded) in [
        ("", 0, 0),
        ("\n", 1, 0),
        ("{}", 1, 1),
        ("{}\n", 1, 1),
        ("{}\r\n{}\r\n", 2, 2),
        ("\u{feff}{}\n{}", 2, 2),
        ("\n\n  {} \n\t\n", 4, 1),
    ] {
        let expected = (200, report(lines, recorded));
        assert_eq!(send(post(&app, "/ingest/calls", body)).await, expected, "{body:?}");
    }
    assert_eq!(database.count("t_request_log").await, 7);
}

async fn a_line_that_is_too_long_is_rejected(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.server.max_body_bytes = 1024).await;
    let fits = format!("{{\"message\":\"{}\"}}", "x".repeat(1024 - 14));
    let long = format!("{{\"message\":\"{}\"}}", "x".repeat(1024 - 13));
    assert_eq!((fits.len(), long.len()), (1024, 1025));
    let huge = "x".repeat(1_000_000);
    for (body, line) in [
        (format!("{fits}\n{long}\n{fits}"), 2),
        (format!("{fits}\n{huge}\n{fits}\n"), 2),
        (format!("{fits}\n{fits}\n{huge}"), 3),
    ] {
        let (status, summary) = send(post(&app, "/ingest/errors", body)).await;
        let rejections = json!([{ "line": line, "reason": "longer than 1024 bytes" }]);
        assert_eq!((status, &summary["recorded"]), (200, &json!(2)), "{summary}");
        assert_eq!(summary["rejections"], rejections);
    }
}

async fn a_key_may_be_given_by_its_id(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    send(post(&app, "/ingest/calls", "{\"key\":\"key-to-be-named\"}")).await;
    let keys = app.data("{ apiKeys { nodes { id } } }").await;
    let id = keys["apiKeys"]["nodes"][0]["id"].as_str().unwrap();
    let other = TestApp::start(&database).await;
    let unknown = "key_AAAAAAAAAAAAAAAAAAAAAA";
    let body =
        format!("{{\"key\":\"{id}\"}}\n{{\"key\":\"{unknown}\"}}\n{{\"api_key\":\"{unknown}\"}}");
    let (status, summary) = send(post(&other, "/ingest/calls", body)).await;
    let rejections = json!([{ "line": 2, "reason": "no API key has the id in key" }]);
    assert_eq!((status, &summary["rejections"]), (200, &rejections), "{summary}");
    let named = "SELECT COUNT(*) FROM t_request_log WHERE api_key = 'key-to-be-named'";
    assert_eq!(database.value(named).await, 2);
    // An id in a stored column is taken literally.
    let literal = format!("SELECT COUNT(*) FROM t_request_log WHERE api_key = '{unknown}'");
    assert_eq!(database.value(&literal).await, 1);
}

/// Starts a request, to send its body in pieces.
async fn start_request(app: &TestApp, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(app.url("").trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn send_part(stream: &mut TcpStream, text: &str) {
    let piece = format!("{:x}\r\n{text}\r\n", text.len());
    stream.write_all(piece.as_bytes()).await.unwrap();
}

/// Ends the body and returns the status, the headers in lower case, and the report.
async fn end_request(mut stream: TcpStream) -> (u16, String, Value) {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let json = &body[body.find('{').unwrap()..=body.rfind('}').unwrap()];
    (head[9..12].parse().unwrap(), head.to_lowercase(), serde_json::from_str(json).unwrap())
}

async fn a_retry_after_a_broken_connection_records_the_missing_rows(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let rows = 2 * CHUNK + 700;
    let whole = calls(0..rows);
    // The connection breaks within a line of the second chunk.
    let mut broken = start_request(&app, "/ingest/calls", "Idempotency-Key: nightly\r\n").await;
    send_part(&mut broken, &whole[..whole.len() * 6 / 10]).await;
    await_rows(&database, "t_request_log", CHUNK as u64).await;
    drop(broken);
    let retry = || post(&app, "/ingest/calls", whole.clone()).header("Idempotency-Key", "nightly");
    let (status, summary) = send(retry()).await;
    let missing = rows - CHUNK;
    assert_eq!(
        (status, &summary["duplicates"], &summary["recorded"], &summary["lines"]),
        (200, &json!(CHUNK), &json!(missing), &json!(rows)),
        "{summary}"
    );
    assert_eq!(database.count("t_request_log").await, rows as u64);
    assert_eq!(database.count("t_error_logs").await, rows.div_ceil(3) as u64);
    let distinct = "SELECT COUNT(DISTINCT model_name) FROM t_request_log";
    assert_eq!(database.value(distinct).await, rows as u64);
    assert_eq!(send(retry()).await.1["duplicates"], rows);
}

async fn a_retry_of_a_whole_stream_records_nothing(database: TestDatabase) {
    let (one, other) = (TestApp::start(&database).await, TestApp::start(&database).await);
    let body = "{\"model\":\"m\"}\nbad\n{\"statusCode\":500,\"error\":{\"message\":\"m\"}}\n";
    let retry = |app: &TestApp| post(app, "/ingest/calls", body).header("Idempotency-Key", "once");
    let (_, first) = send(retry(&one)).await;
    assert_eq!((&first["recorded"], &first["duplicates"]), (&json!(2), &json!(0)));
    // A missing time is the server's time, which differs at the second attempt.
    other.clock.advance(chrono::TimeDelta::seconds(10));
    let (status, second) = send(retry(&other)).await;
    assert_eq!((status, &second["recorded"], &second["duplicates"]), (200, &json!(0), &json!(2)));
    assert_eq!(second["rejections"], first["rejections"]);
    // With another compression it is the same stream.
    let packed = post(&one, "/ingest/calls", gzip(body));
    let packed = packed.header("Idempotency-Key", "once").header("Content-Encoding", "gzip");
    assert_eq!(send(packed).await.1["duplicates"], 2);
    assert_eq!(database.count("t_request_log").await, 2);
    assert_eq!(database.count("t_error_logs").await, 1);
    // Without a key every stream is recorded.
    send(post(&one, "/ingest/calls", body)).await;
    assert_eq!(database.count("t_request_log").await, 4);
}

async fn an_idempotency_key_belongs_to_one_content_caller_and_route(database: TestDatabase) {
    let tokens = "a:RECORD:0123456789abcdef-a b:RECORD:0123456789abcdef-b";
    let app = TestApp::start_with_tokens(&database, tokens).await;
    let keyed = |token: &str, path: &str, body: &str, key: &str| {
        let request = post(&app, path, body.to_owned()).header("Idempotency-Key", key);
        request.bearer_auth(format!("0123456789abcdef-{token}"))
    };
    let body = "{\"model\":\"m\"}";
    assert_eq!(send(keyed("a", "/ingest/calls", body, "k")).await.1["recorded"], 1);
    assert_eq!(send(keyed("b", "/ingest/calls", body, "k")).await.1["recorded"], 1);
    assert_eq!(send(keyed("a", "/ingest/errors", body, "k")).await.1["recorded"], 1);
    let other = keyed("a", "/ingest/calls", "{\"model\":\"n\"}", "k");
    let (status, summary) = send(other).await;
    assert_eq!((status, error_code(&summary)), (409, "BAD_USER_INPUT"));
    assert_eq!((&summary["lines"], &summary["recorded"]), (&json!(0), &json!(0)));
    for bad in ["", &"x".repeat(256)] {
        assert_refused(keyed("a", "/ingest/calls", body, bad), 400, "BAD_USER_INPUT").await;
    }
    let longest = "ü".repeat(255);
    assert_eq!(send(keyed("a", "/ingest/calls", body, &longest)).await.1["recorded"], 1);
    let twice = keyed("a", "/ingest/calls", body, "one").header("Idempotency-Key", "two");
    assert_refused(twice, 400, "BAD_USER_INPUT").await;
    assert_eq!(database.count("t_request_log").await, 3);
}

async fn rows_are_recorded_before_the_stream_ends(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut stream = start_request(&app, "/ingest/calls", "").await;
    for row in 1..=3 {
        send_part(&mut stream, "{}\n{}\n{\"mo").await;
        await_rows(&database, "t_request_log", 3 * row - 1).await;
        send_part(&mut stream, "del\":\"m\"}\n").await;
        await_rows(&database, "t_request_log", 3 * row).await;
    }
    send_part(&mut stream, "").await;
    let (status, _, summary) = end_request(stream).await;
    assert_eq!((status, summary), (200, report(9, 9)));
}

async fn a_database_failure_reports_the_recorded_rows(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let lines = calls(0..CHUNK + 10);
    let first_end = calls(0..CHUNK).len();
    let mut stream = start_request(&app, "/ingest/calls", "Idempotency-Key: k\r\n").await;
    send_part(&mut stream, &lines[..first_end]).await;
    await_rows(&database, "t_request_log", CHUNK as u64).await;
    database.execute("ALTER TABLE t_request_log RENAME TO elsewhere").await;
    send_part(&mut stream, &format!("{}bad\n", &lines[first_end..])).await;
    send_part(&mut stream, "").await;
    let (status, head, summary) = end_request(stream).await;
    assert_eq!((status, error_code(&summary)), (503, "DATABASE_UNAVAILABLE"), "{summary}");
    assert!(head.contains("retry-after: 1"), "{head}");
    // The report leaves out rows that are neither recorded nor rejected.
    let summary = (&summary["lines"], &summary["recorded"], &summary["rejected"]);
    assert_eq!(summary, (&json!(CHUNK), &json!(CHUNK), &json!(0)));
    database.execute("ALTER TABLE elsewhere RENAME TO t_request_log").await;
    let rest: String = lines.lines().skip(CHUNK).map(|line| format!("{line}\n")).collect();
    assert_eq!(send(post(&app, "/ingest/calls", rest)).await, (200, report(10, 10)));
    assert_eq!(database.count("t_request_log").await, CHUNK as u64 + 10);
}

async fn a_full_queue_delays_and_then_refuses_a_stream(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.server.max_body_bytes = 2 << 20;
        config.server.max_streams = 100;
        // Long enough for a busy machine to send all of it.
        config.graphql.timeout_seconds = 15;
    })
    .await;
    lock(&database, "t_error_logs").await;
    // One chunk each; one request more than may wait.
    let line = format!("{{\"message\":\"{}\"}}\n", "x".repeat(1_200_000));
    let sent = (0..65).map(|_| post(&app, "/ingest/errors", line.clone()).send());
    let mut answers: FuturesUnordered<_> = sent.collect();
    let refused = answers.next().await.unwrap().unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &1.into()));
    let summary: Value = refused.json().await.unwrap();
    let (code, lines) = (error_code(&summary), &summary["lines"]);
    assert_eq!((code, lines), ("SERVER_BUSY", &json!(0)));
    unlock(&database).await;
    let others: Vec<_> = answers.map(|answer| answer.unwrap().status().as_u16()).collect().await;
    assert_eq!(others, [200; 64]);
    assert_eq!(database.count("t_error_logs").await, 64);
}

async fn a_shutdown_reports_the_recorded_rows(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut stream = start_request(&app, "/ingest/calls", "").await;
    send_part(&mut stream, "{}\n{}").await;
    await_rows(&database, "t_request_log", 1).await;
    let stopping = tokio::spawn(app.shutdown());
    let (status, _, summary) = end_request(stream).await;
    assert_eq!((status, &summary["recorded"], &summary["lines"]), (503, &json!(1), &json!(1)));
    stopping.await.unwrap();
    assert_eq!(database.count("t_request_log").await, 1);
}

async fn streams_are_limited(database: TestDatabase) {
    let app =
        TestApp::start_with(&database, |config| config.server.max_concurrent_requests = 1).await;
    let mut open = start_request(&app, "/ingest/calls", "").await;
    send_part(&mut open, "{}\n").await;
    await_rows(&database, "t_request_log", 1).await;
    let refused = post(&app, "/ingest/errors", "{}").send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["Retry-After"]),
        (503, &"1".parse().unwrap())
    );
    // Other requests than streams are still accepted.
    app.data("{ usageStats { asOf } }").await;
    send_part(&mut open, "").await;
    assert_eq!(end_request(open).await.0, 200);
    assert_eq!(send(post(&app, "/ingest/errors", "{}")).await.0, 200);
}

async fn one_caller_leaves_streams_to_others(database: TestDatabase) {
    let tokens = "a:RECORD:0123456789abcdef-a b:RECORD:0123456789abcdef-b";
    // The full number of streams, or fewer while one caller holds less than twice the free slots.
    for (max_streams, most) in [(2, 2), (100, 3)] {
        let app = TestApp::start_with(&database, |config| {
            config.access = settings(&["--tokens", tokens]);
            config.server.max_streams = max_streams;
            config.server.max_concurrent_requests = 4;
        })
        .await;
        let before = database.count("t_request_log").await;
        let mut open = Vec::new();
        for number in 1..=most {
            let token = "Authorization: Bearer 0123456789abcdef-a\r\n";
            let mut stream = start_request(&app, "/ingest/calls", token).await;
            send_part(&mut stream, "{}\n").await;
            await_rows(&database, "t_request_log", before + number).await;
            open.push(stream);
        }
        let one = post(&app, "/ingest/errors", "{}").bearer_auth("0123456789abcdef-a");
        let refused = one.send().await.unwrap();
        assert_eq!(refused.status().as_u16(), 429);
        assert_eq!(refused.headers()["Retry-After"], "10");
        let found: Value = refused.json().await.unwrap();
        assert_eq!(error_code(&found), "TOO_MANY_STREAMS");
        let other = || post(&app, "/ingest/errors", "{}").bearer_auth("0123456789abcdef-b");
        assert_eq!(send(other()).await.0, 200);
        for mut stream in open {
            send_part(&mut stream, "").await;
            assert_eq!(end_request(stream).await.0, 200);
        }
    }
}

async fn blank_lines_do_not_count_as_progress(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.graphql.timeout_seconds = 1).await;
    let before = std::time::Instant::now();
    let mut stream = start_request(&app, "/ingest/calls", "").await;
    send_part(&mut stream, "{}\n\n{}\n").await;
    let mut answer = Vec::new();
    // A newline every few milliseconds; and more newlines than a chunk has lines.
    for blanks in ["\n", "\n\n", &"\n".repeat(2 * CHUNK)].iter().cycle() {
        send_part(&mut stream, blanks).await;
        let reading = stream.read_buf(&mut answer);
        if tokio::time::timeout(std::time::Duration::from_millis(100), reading).await.is_ok() {
            break;
        }
        assert!(before.elapsed().as_secs() < 20, "blank lines hold a stream");
    }
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let body = &answer[answer.find("\r\n\r\n{").unwrap() + 4..];
    let found: Value = serde_json::from_str(body).unwrap();
    assert_eq!(error_code(&found), "REQUEST_TIMEOUT");
    assert_eq!(found["recorded"], 2, "{found}");
    assert!(found["lines"].as_u64().unwrap() >= 3, "{found}");
    assert_eq!(database.count("t_request_log").await, 2);
    // Rows do count as progress.
    let mut stream = start_request(&app, "/ingest/calls", "").await;
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(400));
    for row in 3..=6 {
        pace.tick().await;
        send_part(&mut stream, "{}\n").await;
        await_rows(&database, "t_request_log", row).await;
    }
    send_part(&mut stream, "").await;
    assert_eq!(end_request(stream).await.0, 200);
}

async fn an_excessive_compression_ratio_is_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let best = |text: &str| {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(text.as_bytes()).unwrap();
        packer.finish().unwrap()
    };
    let packed =
        |body: Vec<u8>| post(&app, "/ingest/calls", body).header("Content-Encoding", "gzip");
    let (blank, rows) = (best(&"\n".repeat(20_000_000)), best(&"{}\n".repeat(2_000_000)));
    // The same holds for a body sent in parts.
    let parts = best(&"\n".repeat(100_000)).repeat(200);
    for body in [blank, rows, parts] {
        let (size, before) = (body.len(), database.count("t_request_log").await);
        let (status, found) = send(packed(body)).await;
        let code = error_code(&found);
        assert_eq!((status, code), (413, "PAYLOAD_TOO_LARGE"), "{found}");
        let recorded = database.count("t_request_log").await - before;
        assert_eq!(found["recorded"], recorded, "{found}");
        assert!(recorded < (65_536 + 100 * size as u64) / 3, "{recorded} rows of {size} bytes");
    }
    // Usual rows, and a short body of equal rows, stay far below the limit.
    let before = database.count("t_request_log").await;
    assert_eq!(send(packed(best(&calls(0..20_000)))).await, (200, report(20_000, 20_000)));
    assert_eq!(send(packed(best(&"{}\n".repeat(20_000)))).await, (200, report(20_000, 20_000)));
    assert_eq!(database.count("t_request_log").await, before + 40_000);
}

async fn a_missing_line_ends_the_stream(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.graphql.timeout_seconds = 1).await;
    for (headers, recorded) in [("", 2), ("Idempotency-Key: k\r\n", 0)] {
        let mut stream = start_request(&app, "/ingest/calls", headers).await;
        send_part(&mut stream, "{}\n{}\n{\"model\":").await;
        let (status, _, summary) = end_request(stream).await;
        let code = error_code(&summary);
        assert_eq!((status, code), (408, "REQUEST_TIMEOUT"));
        assert_eq!((&summary["lines"], &summary["recorded"]), (&json!(recorded), &json!(recorded)));
    }
    assert_eq!(database.count("t_request_log").await, 2);
}

async fn streams_require_the_record_scope(database: TestDatabase) {
    let tokens = "writer:RECORD:0123456789abcdef-w reader:READ:0123456789abcdef-r";
    let app = TestApp::start_with_tokens(&database, tokens).await;
    for path in ["/ingest/calls", "/ingest/errors"] {
        let sent = |body: String| post(&app, path, body);
        assert_refused(sent("{}".into()), 401, "UNAUTHENTICATED").await;
        let reader = sent("{}".into()).bearer_auth("0123456789abcdef-r");
        assert_refused(reader, 403, "FORBIDDEN").await;
        // A client that is still sending also gets the refusal.
        let long = sent("{}\n".repeat(1_000_000)).bearer_auth("0123456789abcdef-r");
        assert_refused(long, 403, "FORBIDDEN").await;
        let writer = sent("{}".into()).bearer_auth("0123456789abcdef-w");
        assert_eq!(send(writer).await.0, 200);
    }
}

async fn other_media_types_and_methods_are_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let sent = |kind: &str| {
        app.client().post(app.url("/ingest/calls")).header("Content-Type", kind).body("{}")
    };
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain; a=application/json",
        "application/x-ndjson; charset=latin1",
        "text/csv",
    ] {
        assert_refused(sent(kind), 415, "UNSUPPORTED_MEDIA_TYPE").await;
    }
    assert_refused(
        app.client().post(app.url("/ingest/calls")).body("{}"),
        415,
        "UNSUPPORTED_MEDIA_TYPE",
    )
    .await;
    for kind in [
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "Application/JSON; charset=UTF-8",
    ] {
        assert_eq!(send(sent(kind)).await, (200, report(1, 1)), "{kind}");
    }
    let get = app.get("/ingest/calls").send().await.unwrap();
    assert_eq!(get.status(), 405);
}

async fn streams_count_against_the_request_rate(database: TestDatabase) {
    let app =
        TestApp::start_with(&database, |config| config.server.max_requests_per_minute = 1).await;
    let response = post(&app, "/ingest/calls", "{}").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let id = request_id(&response);
    let lines = crate::support::logs::of_request(&id);
    let of_stream = |line: &Value| line["path"] == "/ingest/calls" && line["status"] == 200;
    assert!(lines.iter().any(of_stream), "{lines:?}");
    for path in ["/ingest/calls", "/ingest/errors"] {
        assert_refused(post(&app, path, "{}"), 429, "RATE_LIMITED").await;
    }
}

async fn a_read_only_database_refuses_streams(database: TestDatabase) {
    let app = TestApp::start_read_only(&database).await;
    assert_refused(post(&app, "/ingest/calls", "{}"), 403, "FORBIDDEN").await;
    assert_eq!(database.count("t_request_log").await, 0);
}
