//! `POST /v1/traces`: spans of model calls are recorded as calls.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::support::{Kind, TestApp, TestDatabase, settings};
use crate::tests;

tests! {
    spans_of_model_calls_are_recorded,
    other_spans_are_left_out.only(&[Kind::Sqlite]),
    a_call_reported_twice_is_recorded_once.only(&[Kind::Sqlite]),
    a_repeated_export_records_nothing,
    rejected_spans_are_reported,
    the_key_is_read_from_a_configured_attribute,
    refusals_have_the_format_of_the_request.only(&[Kind::Sqlite]),
    a_database_failure_may_be_retried,
    spans_are_rate_limited.only(&[Kind::Sqlite]),
    an_export_of_empty_spans_is_refused.only(&[Kind::Sqlite]),
    a_read_only_database_refuses_spans.only(&[Kind::Sqlite]),
}

/// 2026-03-01T11:59:00.25Z
const START: u64 = 1_772_366_340_250_000_000;

fn attribute((key, value): (&str, Value)) -> Value {
    let value = match value {
        Value::String(text) => json!({ "stringValue": text }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        other => other,
    };
    json!({ "key": key, "value": value })
}

/// A span of 12 ms, in OTLP's JSON format.
fn span(id: u64, attributes: Vec<(&str, Value)>) -> Value {
    json!({
        "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": format!("{id:016x}"),
        "name": "chat m", "kind": 3,
        "startTimeUnixNano": START.to_string(), "endTimeUnixNano": (START + 12_000_000).to_string(),
        "attributes": attributes.into_iter().map(attribute).collect::<Vec<_>>(),
    })
}

fn chat(id: u64, mut more: Vec<(&str, Value)>) -> Value {
    more.push(("gen_ai.operation.name", json!("chat")));
    more.push(("gen_ai.request.model", json!("model-of-span")));
    span(id, more)
}

fn export(spans: &[Value], resource: Vec<(&str, Value)>) -> Value {
    let resource: Vec<Value> = resource.into_iter().map(attribute).collect();
    json!({ "resourceSpans": [{ "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": { "name": "s" }, "spans": spans }] }] })
}

fn by_json(app: &TestApp, export: &Value) -> RequestBuilder {
    app.client().post(app.url("/v1/traces")).json(export)
}

fn by_protobuf(app: &TestApp, export: &Value) -> RequestBuilder {
    let export: ExportTraceServiceRequest = serde_json::from_value(export.clone()).unwrap();
    let kind = ("Content-Type", "application/x-protobuf");
    app.client().post(app.url("/v1/traces")).header(kind.0, kind.1).body(export.encode_to_vec())
}

async fn send(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["Content-Type"], "application/json");
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn spans_of_model_calls_are_recorded(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let key = ("callscope.key", json!("key-of-span"));
    let mut failed = chat(
        2,
        vec![
            key.clone(),
            ("http.response.status_code", json!(429)),
            ("error.type", json!("openai.RateLimitError")),
            ("gen_ai.input.messages", json!("[{\"role\":\"user\",\"parts\":[\"密\"]}]")),
        ],
    );
    failed["status"] = json!({ "code": 2, "message": "quota" });
    let spans = [chat(1, vec![key]), failed];
    assert_eq!(send(by_json(&app, &export(&spans, vec![]))).await, (200, json!({})));
    let query = "{ callDetails(period: LAST_HOUR) { nodes { timestamp model statusCode latencyMs
        apiKey { secret } errorLog { timestamp errorType errorCode message request } } } }";
    let at = "2026-03-01T11:59:00.25Z";
    let call = |code: u32, error: Value| {
        json!({ "timestamp": at, "model": "model-of-span", "statusCode": code, "latencyMs": 12,
            "apiKey": { "secret": "key-of-span" }, "errorLog": error })
    };
    let quota = json!({ "timestamp": at, "errorType": "openai.RateLimitError", "errorCode": 429,
        "message": "quota", "request": [{ "role": "user", "parts": ["密"] }] });
    let expected = json!([call(429, quota), call(200, Value::Null)]);
    assert_eq!(app.data(query).await["callDetails"]["nodes"], expected);

    // The same by protobuf, plain and compressed; with other spans, so not the same export.
    let plain = by_protobuf(&app, &export(&[chat(3, vec![])], vec![])).send().await.unwrap();
    assert_eq!(plain.headers()["Content-Type"], "application/x-protobuf");
    assert_eq!((plain.status().as_u16(), plain.bytes().await.unwrap().len()), (200, 0));
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    let body = export(&[chat(4, vec![])], vec![]).to_string();
    packer.write_all(body.as_bytes()).unwrap();
    let packed = by_json(&app, &json!(null)).body(packer.finish().unwrap());
    assert_eq!(send(packed.header("Content-Encoding", "gzip")).await, (200, json!({})));
    assert_eq!(database.count("t_request_log").await, 4);
    assert_eq!(database.count("t_error_logs").await, 1);
}

async fn other_spans_are_left_out(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let server = {
        let mut span = chat(1, vec![]);
        span["kind"] = json!(2);
        span
    };
    let tool = span(2, vec![("gen_ai.operation.name", json!("execute_tool"))]);
    let http = span(3, vec![("http.request.method", json!("POST"))]);
    let spans = export(&[server, tool, http], vec![]);
    assert_eq!(send(by_json(&app, &spans)).await, (200, json!({})));
    assert_eq!(send(by_json(&app, &json!({}))).await, (200, json!({})));
    assert_eq!(database.count("t_request_log").await, 0);
    let older = span(4, vec![("gen_ai.system", json!("openai")), ("http.status_code", json!(404))]);
    send(by_json(&app, &export(&[older], vec![]))).await;
    assert_eq!(database.value("SELECT status_code FROM t_request_log").await, 404);
}

/// `span` as a child of the span `parent`.
fn child_of(parent: u64, mut span: Value) -> Value {
    span["parentSpanId"] = json!(format!("{parent:016x}"));
    span
}

/// Reported by a framework, and by the client library that it uses.
async fn a_call_reported_twice_is_recorded_once(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let status = |code: u32| vec![("http.response.status_code", json!(code))];
    let key = |key: &str| vec![("callscope.key", json!(key))];
    let embeddings = vec![("gen_ai.operation.name", json!("embeddings"))];
    let server = {
        let mut span = child_of(20, span(21, vec![]));
        span["kind"] = json!(2);
        span
    };
    let of_another_trace = {
        let mut span = child_of(1, chat(1, status(209)));
        span["traceId"] = json!("1af7651916cd43dd8448eb211c80319c");
        span
    };
    let spans = [
        // Two attempts within spans of two frameworks, with another span between; children end
        // first.
        child_of(3, chat(4, [status(429), key("key-of-its-own")].concat())),
        child_of(3, chat(5, status(200))),
        child_of(2, span(3, vec![("http.request.method", json!("POST"))])),
        child_of(1, chat(2, key("key-of-the-framework"))),
        chat(1, [status(500), key("key-from-further-out")].concat()),
        // An embedding within a chat span is a separate call.
        child_of(10, span(11, [embeddings, status(201)].concat())),
        chat(10, status(202)),
        // So is the call of a gateway within the call to that gateway.
        child_of(21, chat(22, status(203))),
        server,
        chat(20, status(204)),
        // A cycle of parents does not hide a span.
        child_of(30, chat(30, status(205))),
        of_another_trace,
        child_of(0, chat(40, status(206))),
    ];
    assert_eq!(send(by_json(&app, &export(&spans, vec![]))).await, (200, json!({})));
    let calls = database
        .query("SELECT status_code, api_key FROM t_request_log ORDER BY status_code, id")
        .await;
    let key_of = |code: u32| match code {
        200 => json!("key-of-the-framework"),
        429 => json!("key-of-its-own"),
        _ => Value::Null,
    };
    let codes = [200, 201, 202, 203, 204, 205, 206, 209, 429];
    assert_eq!(calls, codes.map(|code| vec![json!(code), key_of(code)]));
}

async fn a_repeated_export_records_nothing(database: TestDatabase) {
    let (app, other) = (TestApp::start(&database).await, TestApp::start(&database).await);
    let spans = export(&[chat(1, vec![]), chat(2, vec![])], vec![]);
    for app in [&app, &other, &app] {
        assert_eq!(send(by_json(app, &spans)).await, (200, json!({})));
    }
    assert_eq!(by_protobuf(&app, &spans).send().await.unwrap().status(), 200);
    assert_eq!(database.count("t_request_log").await, 2);
    send(by_json(&app, &export(&[chat(3, vec![])], vec![]))).await;
    assert_eq!(database.count("t_request_log").await, 3);
}

async fn rejected_spans_are_reported(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let long = "Secret-Value".repeat(10);
    let mut timeless = chat(3, vec![]);
    timeless["startTimeUnixNano"] = json!("0");
    let unknown = chat(4, vec![("callscope.key", json!("key_AAAAAAAAAAAAAAAAAAAAAA"))]);
    let spans = [
        chat(1, vec![("callscope.key", json!(long))]),
        chat(0, vec![]),
        timeless,
        unknown,
        chat(5, vec![]),
    ];
    let (status, body) = send(by_json(&app, &export(&spans, vec![]))).await;
    let partial = &body["partialSuccess"];
    assert_eq!((status, &partial["rejectedSpans"]), (200, &json!("4")), "{body}");
    let message = partial["errorMessage"].as_str().unwrap();
    for part in ["key has 120 characters", "no valid ids", "no start", "no API key has the id"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("Secret-Value"), "{message}");
    assert_eq!(database.count("t_request_log").await, 1);
    let answer = by_protobuf(&app, &export(&spans[..2], vec![])).send().await.unwrap();
    let response = ExportTraceServiceResponse::decode(answer.bytes().await.unwrap()).unwrap();
    assert_eq!(response.partial_success.unwrap().rejected_spans, 2);
}

async fn the_key_is_read_from_a_configured_attribute(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.record = settings(&["--otlp-key-attribute", "app.key"]);
    })
    .await;
    let spans = [chat(1, vec![("app.key", json!("key-of-span"))]), chat(2, vec![])];
    send(by_json(&app, &export(&spans, vec![("app.key", json!("key-of-resource"))]))).await;
    let keys = app.data("{ apiKeys { nodes { id secret } } }").await;
    let nodes = keys["apiKeys"]["nodes"].as_array().unwrap().clone();
    let secrets: Vec<&str> = nodes.iter().map(|key| key["secret"].as_str().unwrap()).collect();
    assert_eq!(secrets, ["key-of-resource", "key-of-span"]);
    // The id of a key works too, and keeps the key out of the trace.
    send(by_json(&app, &export(&[chat(3, vec![("app.key", nodes[1]["id"].clone())])], vec![])))
        .await;
    let named = "SELECT COUNT(*) FROM t_request_log WHERE api_key = 'key-of-span'";
    assert_eq!(database.value(named).await, 2);
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

async fn refusals_have_the_format_of_the_request(database: TestDatabase) {
    let tokens = "writer:RECORD:0123456789abcdef-w reader:READ:0123456789abcdef-r";
    let app = TestApp::start_with(&database, |config| {
        config.access = settings(&["--tokens", tokens]);
        config.server.max_body_bytes = 4096;
    })
    .await;
    let empty = json!({});
    let (writer, reader) = ("0123456789abcdef-w", "0123456789abcdef-r");
    let large = json!({ "a": "x".repeat(5000) }).to_string();
    let as_writer = |request: RequestBuilder| request.bearer_auth(writer);
    for (request, status, code) in [
        (by_json(&app, &empty), 401, 16),
        (by_json(&app, &empty).bearer_auth(reader), 403, 7),
        (as_writer(by_json(&app, &empty)).body("{"), 400, 3),
        (as_writer(by_json(&app, &empty)).body("{\"resourceSpans\":7}"), 400, 3),
        (as_writer(by_json(&app, &empty)).body(large), 413, 8),
        (as_writer(by_json(&app, &empty)).header("Content-Encoding", "br"), 415, 3),
        (as_writer(app.client().post(app.url("/v1/traces"))).body("{}"), 415, 3),
    ] {
        let (found, body) = send(request).await;
        assert_eq!((found, &body["code"]), (status, &json!(code)), "{body}");
        assert!(body["message"].as_str().unwrap().len() > 10);
    }
    let bad = as_writer(by_protobuf(&app, &empty)).body(vec![0xff; 10]).send().await.unwrap();
    assert_eq!(bad.status(), 400);
    assert_eq!(bad.headers()["Content-Type"], "application/x-protobuf");
    assert_eq!(Status::decode(bad.bytes().await.unwrap()).unwrap().code, 3);
    assert_eq!(send(as_writer(by_json(&app, &empty))).await, (200, json!({})));
}

async fn a_database_failure_may_be_retried(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let spans = export(&[chat(1, vec![])], vec![]);
    database.execute("ALTER TABLE t_request_log RENAME TO elsewhere").await;
    let refused = by_json(&app, &spans).send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["Retry-After"]),
        (503, &"1".parse().unwrap())
    );
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], 14);
    database.execute("ALTER TABLE elsewhere RENAME TO t_request_log").await;
    assert_eq!(send(by_json(&app, &spans)).await, (200, json!({})));
    assert_eq!(database.count("t_request_log").await, 1);
}

async fn spans_are_rate_limited(database: TestDatabase) {
    let app =
        TestApp::start_with(&database, |config| config.server.max_requests_per_minute = 1).await;
    assert_eq!(send(by_json(&app, &json!({}))).await.0, 200);
    let refused = by_json(&app, &json!({})).send().await.unwrap();
    assert!(refused.headers().contains_key("Retry-After"));
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], 8);
}

/// A mebibyte of empty spans is 1 KiB of gzip, and 120 MiB when decoded.
async fn an_export_of_empty_spans_is_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let protobuf = |spans: usize| {
        let mut scope = vec![0x12];
        prost::encoding::encode_varint(2 * spans as u64, &mut scope);
        scope.extend([0x12, 0].repeat(spans));
        let mut body = vec![0x0a];
        prost::encoding::encode_varint(scope.len() as u64, &mut body);
        [body, scope].concat()
    };
    let sent = |kind: &str, body: Vec<u8>| {
        app.client().post(app.url("/v1/traces")).header("Content-Type", kind).body(body)
    };
    let gzip = |body: &[u8]| {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(body).unwrap();
        packer.finish().unwrap()
    };
    let json = |spans: usize| export(&vec![json!({}); spans], vec![]).to_string().into_bytes();
    let large = protobuf(500_000);
    for (request, status) in [
        (sent("application/x-protobuf", protobuf(10_000)), 200),
        (sent("application/x-protobuf", large.clone()), 413),
        (sent("application/x-protobuf", gzip(&large)).header("Content-Encoding", "gzip"), 413),
        (sent("application/json", json(10_000)), 200),
        (sent("application/json", json(200_000)), 413),
        (sent("application/json", gzip(&json(200_000))).header("Content-Encoding", "gzip"), 413),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
        let found = answer.bytes().await.unwrap();
        assert!(status == 200 || !found.is_empty());
    }
}

async fn a_read_only_database_refuses_spans(database: TestDatabase) {
    let app = TestApp::start_read_only(&database).await;
    assert_eq!(send(by_json(&app, &export(&[chat(1, vec![])], vec![]))).await.0, 403);
}
