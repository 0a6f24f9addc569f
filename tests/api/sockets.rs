//! GraphQL over WebSocket: the graphql-transport-ws protocol, its close codes, and which clients may connect.

use std::time::{Duration, Instant};

use callscope::access::token;
use callscope::store::token as store;
use chrono::TimeDelta;
use futures_util::{SinkExt, StreamExt};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, Response};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::http::{assert_refused, usage};
use super::persisted::hash;
use super::subscriptions::{
    FAST, OTHER, READER, SLOW, assert_no_other_statements, start_with_tokens, total,
};
use crate::support::{
    CallRow, Kind, TestApp, TestDatabase, error_code, eventually, found, logs, settings, within,
};
use crate::tests;

tests! {
    events_are_sent_until_the_client_completes,
    queries_and_mutations_get_one_response,
    concurrent_operations_keep_their_ids.only(&[Kind::Sqlite]),
    pings_are_answered.only(&[Kind::Sqlite]),
    an_idle_connection_stays_open.only(&[Kind::Sqlite]),
    an_operation_that_cannot_start_gets_an_error.only(&[Kind::Sqlite]),
    field_errors_are_sent_with_the_data.only(&[Kind::Sqlite]),
    an_invalid_message_closes_with_4400.only(&[Kind::Sqlite]),
    an_operation_before_the_acknowledgement_closes_with_4401.only(&[Kind::Sqlite]),
    an_invalid_token_closes_with_4403.only(&[Kind::Sqlite]),
    another_protocol_closes_with_4406.only(&[Kind::Sqlite]),
    a_missing_initialisation_closes_with_4408.only(&[Kind::Sqlite]),
    an_id_in_use_closes_with_4409.only(&[Kind::Sqlite]),
    a_second_initialisation_closes_with_4429.only(&[Kind::Sqlite]),
    a_large_message_closes_with_1009.only(&[Kind::Sqlite]),
    messages_before_the_initialisation_are_limited.only(&[Kind::Sqlite]),
    unfinished_messages_count_against_body_memory.only(&[Kind::Sqlite]),
    wrong_tokens_are_limited.only(&[Kind::Sqlite]),
    broken_frames_close_with_1002_or_1007.only(&[Kind::Sqlite]),
    a_server_shutdown_closes_with_1001,
    a_token_is_accepted_from_every_source.only(&[Kind::Sqlite]),
    a_missing_scope_is_refused.only(&[Kind::Sqlite]),
    a_revoked_token_ends_its_connections,
    an_expired_session_ends_its_connections.only(&[Kind::Sqlite]),
    many_subscribers_share_the_token_check.only(&[Kind::Sqlite]),
    pages_of_other_origins_are_refused.only(&[Kind::Sqlite]),
    a_cookie_requires_an_origin.only(&[Kind::Sqlite]),
    requests_without_an_upgrade_are_refused.only(&[Kind::Sqlite]),
    operations_count_as_requests.only(&[Kind::Sqlite]),
    subscriptions_are_limited.only(&[Kind::Sqlite]),
    document_limits_apply.only(&[Kind::Sqlite]),
    persisted_documents_are_executed.only(&[Kind::Sqlite]),
    connections_are_limited.only(&[Kind::Sqlite]),
    a_client_that_reads_nothing_is_disconnected.only(&[Kind::Sqlite]),
    no_statement_runs_for_a_client_that_does_not_read.only(&[Kind::Sqlite]),
    a_slow_client_gets_the_number_of_missed_events.only(&[Kind::Sqlite]),
    a_dead_client_is_detected.only(&[Kind::Sqlite]),
    connections_and_operations_are_logged.only(&[Kind::Sqlite]),
    the_scheme_of_a_trusted_proxy_is_used.only(&[Kind::Sqlite]),
    variable_defaults_apply_in_directives.only(&[Kind::Sqlite]),
    no_log_level_contains_a_secret.only(&[Kind::Sqlite]),
}

const QUERY: &str = "{ usageStats { asOf } }";
const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", "graphql-transport-ws");

/// A client of the protocol, written without a protocol library.
struct Client {
    socket: WebSocketStream<TcpStream>,
    response: Response<Option<Vec<u8>>>,
}

impl Client {
    async fn try_open(app: &TestApp, headers: &[(&str, &str)]) -> Result<Self, Error> {
        let url = app.url("/graphql/ws").replace("http://", "ws://");
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let address = app.url("").replace("http://", "");
        let stream = TcpStream::connect(address).await.unwrap();
        let (socket, response) = client_async(request, stream).await?;
        Ok(Self { socket, response })
    }

    async fn open(app: &TestApp) -> Self {
        Self::try_open(app, &[PROTOCOL]).await.unwrap()
    }

    /// Opens a connection and initialises it.
    async fn ready(app: &TestApp) -> Self {
        Self::ready_as(app, json!({})).await
    }

    async fn ready_as(app: &TestApp, payload: Value) -> Self {
        let mut client = Self::open(app).await;
        client.init(payload).await;
        client
    }

    async fn init(&mut self, payload: Value) {
        self.send(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(self.next().await, json!({ "type": "connection_ack" }));
    }

    async fn send(&mut self, message: Value) {
        self.socket.send(Message::Text(message.to_string().into())).await.unwrap();
    }

    async fn subscribe(&mut self, id: &str, query: &str) {
        let payload = json!({ "query": query });
        self.send(json!({ "id": id, "type": "subscribe", "payload": payload })).await;
    }

    /// The next message of the protocol.
    async fn next(&mut self) -> Value {
        loop {
            match self.socket.next().await.expect("a message").expect("a frame") {
                Message::Text(text) => return serde_json::from_str(text.as_str()).unwrap(),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The payload of the next message, which must have this id and type.
    async fn payload(&mut self, id: &str, kind: &str) -> Value {
        let message = self.next().await;
        assert_eq!((&message["id"], &message["type"]), (&json!(id), &json!(kind)), "{message}");
        message["payload"].clone()
    }

    /// Subscribes and returns the code of the error that refuses the operation.
    async fn error_code(&mut self, id: &str, query: &str) -> String {
        self.subscribe(id, query).await;
        let errors = self.payload(id, "error").await;
        errors[0]["extensions"]["code"].as_str().unwrap().to_owned()
    }

    /// Skips messages up to the close frame and returns its code and reason.
    async fn close_code_and_reason(mut self) -> (u16, String) {
        let closing = async {
            loop {
                match self.socket.next().await.expect("a close frame").expect("a frame") {
                    Message::Close(Some(frame)) => {
                        return (frame.code.into(), frame.reason.to_string());
                    }
                    Message::Close(None) => panic!("no code"),
                    _ => {}
                }
            }
        };
        within("is closed", closing).await
    }

    fn request_id(&self) -> String {
        self.response.headers()["X-Request-Id"].to_str().unwrap().to_owned()
    }
}

fn close(code: u16, reason: &str) -> (u16, String) {
    (code, reason.to_owned())
}

/// A test must answer pings within this timeout, also on a busy machine.
async fn start_with_short_timeout(database: &TestDatabase) -> TestApp {
    TestApp::start_with(database, |config| config.server.http.client_timeout_seconds = 3).await
}

async fn events_are_sent_until_the_client_completes(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z")]).await;
    let app = TestApp::start(&database).await;
    let mut client = Client::ready(&app).await;
    assert_eq!(client.response.headers()["Sec-WebSocket-Protocol"], "graphql-transport-ws");
    client.subscribe("a", FAST).await;
    let stats = json!({ "asOf": "2026-03-01T12:00:00Z", "lastHour": { "total": 1 } });
    assert_eq!(
        client.next().await,
        json!({ "id": "a", "type": "next", "payload": { "data": { "usageStats": stats } } })
    );
    database.insert(&[CallRow::at("2026-03-01T11:59:59Z")]).await;
    assert_eq!(total(&client.payload("a", "next").await), 2);
    client.send(json!({ "id": "a", "type": "complete" })).await;
    client.send(json!({ "type": "ping" })).await;
    // An event already on its way may arrive before; no event arrives after.
    while client.next().await != json!({ "type": "pong" }) {}
    assert_no_other_statements(&app).await;
    // The id is free again, and completing an unknown operation is allowed.
    client.send(json!({ "id": "a", "type": "complete" })).await;
    client.subscribe("a", SLOW).await;
    assert_eq!(client.payload("a", "next").await, usage());
}

async fn queries_and_mutations_get_one_response(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut client = Client::ready(&app).await;
    client.subscribe("q", QUERY).await;
    assert_eq!(client.payload("q", "next").await, usage());
    assert_eq!(client.next().await, json!({ "id": "q", "type": "complete" }));
    client
        .subscribe("q", "mutation { pruneLogs(callsOlderThan: \"P30D\") { deletedCalls } }")
        .await;
    let payload = client.payload("q", "next").await;
    assert_eq!(payload, json!({ "data": { "pruneLogs": { "deletedCalls": 0 } } }));
    assert_eq!(client.next().await, json!({ "id": "q", "type": "complete" }));
    // A query has variables and an operation name.
    let payload = json!({
        "query": "query A { a: __typename } query B($zone: TimeZone) { c: usageStats(timeZone: $zone) { asOf } }",
        "operationName": "B",
        "variables": { "zone": "Asia/Shanghai" },
        "extensions": null,
    });
    client.send(json!({ "id": "v", "type": "subscribe", "payload": payload })).await;
    let answer = json!({ "data": { "c": { "asOf": "2026-03-01T12:00:00Z" } } });
    assert_eq!(client.payload("v", "next").await, answer);
}

async fn concurrent_operations_keep_their_ids(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut client = Client::ready(&app).await;
    // More operations than a connection runs at the same time.
    for number in 0..100 {
        client.subscribe(&number.to_string(), "{ __typename }").await;
    }
    client.subscribe("events \"é", FAST).await;
    let mut complete = Vec::new();
    let mut events = 0;
    while complete.len() < 100 || events < 2 {
        let message = client.next().await;
        match message["id"].as_str().unwrap() {
            "events \"é" => events += 1,
            id if message["type"] == "complete" => complete.push(id.parse::<u32>().unwrap()),
            _ => assert_eq!(message["payload"]["data"]["__typename"], "Query"),
        }
    }
    complete.sort_unstable();
    assert_eq!(complete, (0..100).collect::<Vec<_>>());
}

async fn pings_are_answered(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut client = Client::open(&app).await;
    let ping = json!({ "type": "ping", "payload": { "at": 1.5, "é": [null] } });
    client.send(ping.clone()).await;
    assert_eq!(client.next().await["payload"], ping["payload"]);
    client.init(json!(null)).await;
    for pong in [json!({ "type": "pong" }), json!({ "type": "pong", "payload": { "a": 1 } })] {
        client.send(pong).await;
    }
    client.send(json!({ "type": "ping", "payload": null })).await;
    assert_eq!(client.next().await, json!({ "type": "pong" }));
    client.send(ping).await;
    assert_eq!(client.next().await["type"], "pong");
    // Pings of the WebSocket protocol are answered as well.
    client.socket.send(Message::Ping("x".into())).await.unwrap();
    assert_eq!(client.socket.next().await.unwrap().unwrap(), Message::Pong("x".into()));
}

/// The wait is much longer than the client timeout of HTTP.
async fn an_idle_connection_stays_open(database: TestDatabase) {
    let app = start_with_short_timeout(&database).await;
    let mut client = Client::ready(&app).await;
    let mut pings = 0;
    while pings < 4 {
        // Reading the socket answers its pings.
        match client.socket.next().await.unwrap().unwrap() {
            Message::Ping(_) => pings += 1,
            other => panic!("{other:?}"),
        }
    }
    client.subscribe("q", QUERY).await;
    assert_eq!(client.payload("q", "next").await, usage());
}

async fn an_operation_that_cannot_start_gets_an_error(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut client = Client::ready(&app).await;
    for (query, code) in [
        ("subscription {", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        (
            "subscription { a: usageStats { asOf } b: usageStats { asOf } }",
            "GRAPHQL_VALIDATION_FAILED",
        ),
        ("subscription { usageStats(every: \"PT0.1S\") { asOf } }", "BAD_USER_INPUT"),
        ("", "BAD_REQUEST"),
    ] {
        assert_eq!(client.error_code("x", query).await, code, "{query}");
    }
    // No other message follows, and the connection stays open.
    client.subscribe("x", QUERY).await;
    assert_eq!(client.payload("x", "next").await, usage());
}

async fn field_errors_are_sent_with_the_data(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut client = Client::ready(&app).await;
    database.execute("ALTER TABLE t_request_log RENAME TO elsewhere").await;
    client.subscribe("x", "{ usageStats { asOf lastHour { total } } }").await;
    let payload = client.payload("x", "next").await;
    assert_eq!(payload["data"], Value::Null);
    assert_eq!(error_code(&payload), "DATABASE_UNAVAILABLE");
    assert_eq!(client.next().await, json!({ "id": "x", "type": "complete" }));
    client.subscribe("x", FAST).await;
    let payload = client.payload("x", "next").await;
    assert_eq!(error_code(&payload), "DATABASE_UNAVAILABLE");
    database.execute("ALTER TABLE elsewhere RENAME TO t_request_log").await;
    assert_eq!(total(&client.payload("x", "next").await), 0);
}

async fn an_invalid_message_closes_with_4400(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for text in [
        "",
        "{",
        "[]",
        r#"{"type":"start"}"#,
        r#"{"type":"connection_ack"}"#,
        r#"{"type":"ping","payload":1}"#,
        r#"{"id":"1","type":"subscribe","payload":{}}"#,
        r#"{"id":"","type":"complete"}"#,
    ] {
        for is_acknowledged in [false, true] {
            let mut client = Client::open(&app).await;
            if is_acknowledged {
                client.init(json!({})).await;
            }
            client.socket.send(Message::Text(text.into())).await.unwrap();
            assert_eq!(
                client.close_code_and_reason().await,
                close(4400, "Invalid message received"),
                "{text}"
            );
        }
    }
    let mut client = Client::open(&app).await;
    let init = json!({ "type": "connection_init" }).to_string();
    client.socket.send(Message::Binary(init.into())).await.unwrap();
    assert_eq!(client.close_code_and_reason().await.0, 4400);
}

async fn an_operation_before_the_acknowledgement_closes_with_4401(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut client = Client::open(&app).await;
    client.send(json!({ "id": "1", "type": "complete" })).await;
    client.subscribe("1", QUERY).await;
    assert_eq!(client.close_code_and_reason().await, close(4401, "Unauthorized"));
}

async fn an_invalid_token_closes_with_4403(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    for payload in [
        json!(null),
        json!({}),
        json!({ "token": "wrong" }),
        json!({ "token": "" }),
        json!({ "token": 1 }),
        json!({ "authorization": READER }),
        json!({ "authorization": "Bearer wrong" }),
        json!({ "authorization": format!("Bearer {READER}"), "token": "wrong" }),
    ] {
        let mut client = Client::open(&app).await;
        client.send(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(client.close_code_and_reason().await, close(4403, "Forbidden"), "{payload}");
    }
    // A wrong token in a header is refused like everywhere; a token in a message overrides the header.
    let refused = Client::try_open(&app, &[PROTOCOL, ("Authorization", "Bearer wrong")]).await;
    assert!(matches!(refused, Err(Error::Http(answer)) if answer.status() == 401));
    let bearer = format!("Bearer {READER}");
    let mut client = Client::try_open(&app, &[PROTOCOL, ("Authorization", &bearer)]).await.unwrap();
    client.send(json!({ "type": "connection_init", "payload": { "token": "wrong" } })).await;
    assert_eq!(client.close_code_and_reason().await.0, 4403);
}

async fn another_protocol_closes_with_4406(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    // A client that asks for another protocol learns it from the response, which tungstenite reports as an error.
    let mut client = Client::try_open(&app, &[]).await.unwrap();
    assert!(!client.response.headers().contains_key("Sec-WebSocket-Protocol"));
    client.socket.send(Message::Text(r#"{"type":"connection_init"}"#.into())).await.ok();
    assert_eq!(client.close_code_and_reason().await, close(4406, "Subprotocol not acceptable"));
    for offered in ["graphql-ws", "soap, graphql-ws", "GRAPHQL-TRANSPORT-WS"] {
        let (head, frame) = upgrade_by_hand(&app, offered).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(!head.to_ascii_lowercase().contains("sec-websocket-protocol"), "{head}");
        assert_eq!(frame[..4], [0x88, 28, 0x11, 0x36], "a close frame with 4406");
    }
    let (head, _) = upgrade_by_hand(&app, "graphql-ws,graphql-transport-ws").await;
    assert!(head.to_ascii_lowercase().contains("sec-websocket-protocol: graphql-transport-ws"));
}

/// The head of the response, and what the server sends before it closes or a second passes.
async fn upgrade_by_hand(app: &TestApp, offered: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(app.url("").replace("http://", "")).await.unwrap();
    let head = format!(
        "GET /graphql/ws HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, br\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {offered}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = async { while stream.read_buf(&mut answer).await.unwrap_or(0) > 0 {} };
    tokio::time::timeout(Duration::from_secs(1), reading).await.ok();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    (head, answer[end..].to_vec())
}

async fn a_missing_initialisation_closes_with_4408(database: TestDatabase) {
    let app = start_with_short_timeout(&database).await;
    let mut client = Client::open(&app).await;
    // A ping does not extend the timeout.
    client.send(json!({ "type": "ping" })).await;
    assert_eq!(
        client.close_code_and_reason().await,
        close(4408, "Connection initialisation timeout")
    );
}

async fn an_id_in_use_closes_with_4409(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut client = Client::ready(&app).await;
    client.subscribe("one", SLOW).await;
    client.payload("one", "next").await;
    client.subscribe("one", QUERY).await;
    assert_eq!(
        client.close_code_and_reason().await,
        close(4409, "Subscriber for one already exists")
    );
    // A close reason is short, however long the id.
    let mut client = Client::ready(&app).await;
    let id = "é".repeat(128);
    client.subscribe(&id, SLOW).await;
    client.payload(&id, "next").await;
    client.subscribe(&id, SLOW).await;
    let (code, reason) = client.close_code_and_reason().await;
    assert!(code == 4409 && reason.starts_with("Subscriber for éé"), "{code} {reason}");
}

async fn a_second_initialisation_closes_with_4429(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut client = Client::ready(&app).await;
    client.send(json!({ "type": "connection_init" })).await;
    assert_eq!(
        client.close_code_and_reason().await,
        close(4429, "Too many initialisation requests")
    );
}

async fn a_large_message_closes_with_1009(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.server.max_body_bytes = 10_000).await;
    let mut client = Client::ready(&app).await;
    let query = |length: usize| format!("{QUERY}{}", " ".repeat(length));
    client.subscribe("fits", &query(9000)).await;
    assert_eq!(client.payload("fits", "next").await, usage());
    client.subscribe("large", &query(10_000)).await;
    assert_eq!(client.close_code_and_reason().await, close(1009, "Message too large"));
    // Much more than the server reads: the server must send its close code before it cuts the connection.
    let mut client = Client::ready(&app).await;
    let sent = Message::Text(query(3_000_000).into());
    client.socket.send(sent).await.ok();
    assert_eq!(client.close_code_and_reason().await.0, 1009);
    // As with a body, a text of many values takes more memory than its length.
    let app = TestApp::start(&database).await;
    let mut client = Client::ready(&app).await;
    let many = format!("[{}0]", "0,".repeat(100_001));
    client.socket.send(Message::Text(many.into())).await.unwrap();
    assert_eq!(client.close_code_and_reason().await.0, 1009);
}

/// The start of a text frame with the header of `length` bytes, and `sent` bytes of its content.
fn unfinished_frame(length: u64, sent: usize) -> Vec<u8> {
    // The mask is zero, so the content is sent as it is.
    let head = [&[0x81, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
    [head, vec![b' '; sent]].concat()
}

async fn messages_before_the_initialisation_are_limited(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    // One frame of endless length; then whole frames, each of them small.
    let pings = {
        let text = json!({ "type": "ping", "payload": { "a": "x".repeat(100) } }).to_string();
        let length = u8::try_from(text.len()).unwrap();
        [&[0x81, 0xfe, 0, length, 0, 0, 0, 0][..], text.as_bytes()].concat().repeat(200)
    };
    for sent in [unfinished_frame(1 << 20, 20_000), pings] {
        let mut client = Client::open(&app).await;
        client.socket.get_mut().write_all(&sent).await.unwrap();
        assert_eq!(client.close_code_and_reason().await, close(1009, "Message too large"));
    }
    // A token is far below the limit. Once it is checked, messages may be as long as bodies.
    let mut client = Client::ready_as(&app, json!({ "padding": "x".repeat(8000) })).await;
    client.subscribe("1", &format!("{QUERY}{}", " ".repeat(50_000))).await;
    assert_eq!(client.payload("1", "next").await, usage());
    client.payload("1", "complete").await;
    for _ in 0..20 {
        client.subscribe("1", &format!("{QUERY}{}", " ".repeat(50_000))).await;
        while client.next().await["type"] != "complete" {}
    }
}

/// The code with which the server closes a connection that sends a long message, or `None`.
async fn refuses_long_message(app: &TestApp) -> Option<u16> {
    let mut client = Client::open(app).await;
    let payload = json!({ "query": format!("{QUERY}{}", " ".repeat(100_000)) });
    let messages = [
        json!({ "type": "connection_init" }),
        json!({ "id": "1", "type": "subscribe", "payload": payload }),
    ];
    for message in messages {
        // If the server closes the connection meanwhile, its close frame has the code.
        client.socket.send(Message::Text(message.to_string().into())).await.ok();
        if let Message::Close(Some(frame)) = client.socket.next().await?.ok()? {
            return Some(frame.code.into());
        }
    }
    None
}

async fn unfinished_messages_count_against_body_memory(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.server.max_body_bytes = 9 << 20;
    })
    .await;
    let mut open = Vec::new();
    // Two thirds of the memory for bodies are 128 MiB.
    let code = loop {
        assert!(open.len() < 40, "unfinished messages are not counted");
        let mut client = Client::ready(&app).await;
        client.socket.get_mut().write_all(&unfinished_frame(9 << 20, 8_300_000)).await.ok();
        open.push(client);
        if let Some(code) = refuses_long_message(&app).await {
            break code;
        }
    };
    assert_eq!(code, 1013);
    drop(open);
    let freed = async { while refuses_long_message(&app).await.is_some() {} };
    within("the memory is free again", freed).await;
}

async fn wrong_tokens_are_limited(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.access = settings(&["--tokens", &format!("reader:READ:{READER}")]);
        config.server.max_auth_failures_per_minute = 2;
    })
    .await;
    for code in [4403, 4403, 4429] {
        let mut client = Client::open(&app).await;
        let payload = json!({ "token": "wrong" });
        client.send(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(client.close_code_and_reason().await.0, code);
    }
    let mut client = Client::ready_as(&app, json!({ "token": READER })).await;
    client.subscribe("1", QUERY).await;
    assert_eq!(client.payload("1", "next").await, usage());
}

async fn broken_frames_close_with_1002_or_1007(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    // Both frames are masked, as a client's must be: a reserved bit; a text that is not UTF-8.
    for (frame, code) in [
        (vec![0xC1, 0x80, 0, 0, 0, 0], 1002),
        (vec![0x81, 0x81, 0, 0, 0, 0, 0xFF], 1007),
        (vec![0x81, 0x00], 1002),
    ] {
        let mut client = Client::open(&app).await;
        client.socket.get_mut().write_all(&frame).await.unwrap();
        assert_eq!(client.close_code_and_reason().await.0, code, "{frame:?}");
    }
}

async fn a_server_shutdown_closes_with_1001(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut following = Client::ready(&app).await;
    following.subscribe("1", SLOW).await;
    following.payload("1", "next").await;
    let idle = Client::ready(&app).await;
    let early = Client::open(&app).await;
    // This client does not answer the close frame.
    let silent = Client::ready(&app).await;
    let stopping = tokio::spawn(app.shutdown());
    for client in [following, idle, early] {
        assert_eq!(client.close_code_and_reason().await, close(1001, "Going away"));
    }
    within("the server stops", stopping).await.unwrap();
    assert_eq!(silent.close_code_and_reason().await.0, 1001);
}

async fn a_token_is_accepted_from_every_source(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    let bearer = format!("Bearer {READER}");
    for payload in [
        json!({ "token": READER }),
        json!({ "authorization": bearer }),
        json!({ "Authorization": bearer, "other": { "a": 1 } }),
    ] {
        let mut client = Client::ready_as(&app, payload).await;
        client.subscribe("1", QUERY).await;
        assert_eq!(client.payload("1", "next").await, usage());
    }
    let mut client = Client::try_open(&app, &[PROTOCOL, ("Authorization", &bearer)]).await.unwrap();
    client.init(json!(null)).await;
    client.subscribe("1", "{ viewer { name } }").await;
    assert_eq!(client.payload("1", "next").await["data"]["viewer"]["name"], "reader");
}

async fn a_missing_scope_is_refused(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    let mut client = Client::ready_as(&app, json!({ "token": OTHER })).await;
    assert_eq!(client.error_code("1", FAST).await, "FORBIDDEN");
    client.subscribe("1", QUERY).await;
    let payload = client.payload("1", "next").await;
    assert_eq!(error_code(&payload), "FORBIDDEN");
}

async fn a_revoked_token_ends_its_connections(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    let now = app.clock.now();
    let new = token::make("short", "READ".parse().unwrap(), now, None).unwrap();
    store::insert(app.db(), &new.row).await.unwrap();
    app.clock.advance(TimeDelta::seconds(1));
    let short = json!({ "token": new.token.expose() });
    let mut idle = Client::ready_as(&app, short.clone()).await;
    let mut slow = Client::ready_as(&app, short.clone()).await;
    for id in ["a", "b"] {
        slow.subscribe(id, SLOW).await;
        slow.payload(id, "next").await;
    }
    let mut fast = Client::ready_as(&app, short).await;
    fast.subscribe("c", FAST).await;
    let mut lasting = Client::ready_as(&app, json!({ "token": READER })).await;
    lasting.subscribe("d", FAST).await;
    lasting.payload("d", "next").await;
    assert!(store::revoke(app.db(), "short", now).await.unwrap());
    app.clock.advance(TimeDelta::seconds(5));
    let unauthenticated = |message: &Value| {
        assert_eq!(message["type"], "error", "{message}");
        assert_eq!(message["payload"][0]["extensions"]["code"], "UNAUTHENTICATED");
        message["id"].as_str().unwrap().to_owned()
    };
    let mut ids = vec![unauthenticated(&slow.next().await), unauthenticated(&slow.next().await)];
    ids.sort();
    assert_eq!(ids, ["a", "b"]);
    let last = loop {
        let message = fast.next().await;
        if message["type"] != "next" {
            break message;
        }
    };
    assert_eq!(unauthenticated(&last), "c");
    idle.send(json!({ "type": "pong" })).await;
    for client in [slow, fast, idle] {
        assert_eq!(client.close_code_and_reason().await, close(4403, "Forbidden"));
    }
    assert_eq!(total(&lasting.payload("d", "next").await), 0);
}

async fn an_expired_session_ends_its_connections(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    let cookie = sign_in(&app).await;
    let origin = app.url("");
    let headers = [PROTOCOL, ("Cookie", &cookie), ("Origin", &origin)];
    let mut client = Client::try_open(&app, &headers).await.unwrap();
    client.init(json!({})).await;
    client.subscribe("1", SLOW).await;
    assert_eq!(client.payload("1", "next").await, usage());
    let mut late = Client::try_open(&app, &headers).await.unwrap();
    app.clock.advance(TimeDelta::hours(12));
    late.send(json!({ "type": "connection_init" })).await;
    assert_eq!(late.close_code_and_reason().await.0, 4403);
    let errors = client.payload("1", "error").await;
    assert_eq!(errors[0]["extensions"]["code"], "UNAUTHENTICATED");
    assert_eq!(client.close_code_and_reason().await.0, 4403);
}

async fn sign_in(app: &TestApp) -> String {
    let login = app.client().post(app.url("/session")).json(&json!({ "token": READER }));
    let login = login.send().await.unwrap();
    login.headers()["Set-Cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
}

async fn many_subscribers_share_the_token_check(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    let mut clients = Vec::new();
    for _ in 0..30 {
        let mut client = Client::ready_as(&app, json!({ "token": READER })).await;
        client.subscribe("1", SLOW).await;
        client.payload("1", "next").await;
        clients.push(client);
    }
    // The cached identities expire at once, so that each check queries the tokens.
    let next_statement = async || {
        let before = app.sent();
        eventually("a statement is sent", async || {
            app.clock.advance(TimeDelta::seconds(5));
            app.sent() > before
        })
        .await;
    };
    // One query for all of them, every two seconds. A query for each would be 30 in that time.
    next_statement().await;
    let start = Instant::now();
    next_statement().await;
    assert!(start.elapsed() > Duration::from_secs(1), "{:?}", start.elapsed());
}

async fn pages_of_other_origins_are_refused(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.server.http.cors_origin = vec!["https://dash.example".to_owned()];
    })
    .await;
    let own = app.url("");
    for origin in [own.as_str(), "https://dash.example"] {
        let mut client = Client::try_open(&app, &[PROTOCOL, ("Origin", origin)]).await.unwrap();
        client.init(json!({})).await;
    }
    let port = format!("{own}0");
    for origin in
        ["https://evil.example", "null", "http://localhost", &port, "https://dash.example.evil"]
    {
        let refused = Client::try_open(&app, &[PROTOCOL, ("Origin", origin)]).await;
        let Err(Error::Http(answer)) = refused else { panic!("{origin} is taken") };
        assert_eq!(answer.status(), StatusCode::FORBIDDEN.as_u16());
        let body: Value = serde_json::from_slice(answer.body().as_ref().unwrap()).unwrap();
        assert_eq!(error_code(&body), "CSRF_PREVENTED");
    }
    // A page of another name that resolves to loopback has the right origin, but the wrong host.
    let evil = [PROTOCOL, ("Origin", "http://evil.example")];
    let mut request = "ws://evil.example/graphql/ws".into_client_request().unwrap();
    for (name, value) in evil {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(own.replace("http://", "")).await.unwrap();
    let refused = client_async(request, stream).await;
    assert!(matches!(refused, Err(Error::Http(answer)) if answer.status() == 421));
}

async fn a_cookie_requires_an_origin(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    let cookie = sign_in(&app).await;
    let own = app.url("");
    let open = |headers: Vec<(&'static str, String)>| {
        let app = &app;
        async move {
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            Client::try_open(app, &[&headers[..], &[PROTOCOL]].concat()).await
        }
    };
    let mut client = open(vec![("Cookie", cookie.clone()), ("Origin", own.clone())]).await.unwrap();
    client.init(json!({})).await;
    client.subscribe("1", "{ viewer { name } }").await;
    assert_eq!(client.payload("1", "next").await["data"]["viewer"]["name"], "reader");
    for headers in [
        vec![("Cookie", cookie.clone())],
        vec![("Cookie", cookie.clone()), ("Origin", "https://evil.example".to_owned())],
    ] {
        assert!(matches!(open(headers).await, Err(Error::Http(answer)) if answer.status() == 403));
    }
    // A cookie that is sent with a token is ignored.
    let bearer = ("Authorization", format!("Bearer {READER}"));
    open(vec![("Cookie", cookie), bearer]).await.unwrap().init(json!({})).await;
}

async fn requests_without_an_upgrade_are_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let url = app.url("/graphql/ws");
    let get = app.client().get(&url);
    let answer = get.try_clone().unwrap().send().await.unwrap();
    assert_eq!(answer.headers()["Upgrade"], "websocket");
    assert_refused(get, 426, "BAD_REQUEST").await;
    let second = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    assert_refused(second.get(&url), 426, "BAD_REQUEST").await;
    let post = app.client().post(&url).json(&json!({ "query": QUERY })).send().await.unwrap();
    assert_eq!(post.status(), 405);
}

async fn operations_count_as_requests(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.server.max_requests_per_minute = 3;
    })
    .await;
    let mut client = Client::ready(&app).await;
    for _ in 0..2 {
        client.subscribe("1", QUERY).await;
        assert_eq!(client.payload("1", "next").await, usage());
        client.payload("1", "complete").await;
    }
    for query in [QUERY, FAST] {
        client.subscribe("1", query).await;
        let errors = client.payload("1", "error").await;
        assert_eq!(errors[0]["extensions"]["code"], "RATE_LIMITED");
        assert!((1..=20).contains(&errors[0]["extensions"]["retryAfterSeconds"].as_u64().unwrap()));
    }
    let refused = Client::try_open(&app, &[PROTOCOL]).await;
    assert!(matches!(refused, Err(Error::Http(answer)) if answer.status() == 429));
}

async fn subscriptions_are_limited(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.server.max_subscriptions = 2;
        config.server.max_concurrent_requests = 1;
    })
    .await;
    let (mut first, mut second) = (Client::ready(&app).await, Client::ready(&app).await);
    first.subscribe("1", SLOW).await;
    assert_eq!(first.payload("1", "next").await, usage());
    second.subscribe("1", SLOW).await;
    assert_eq!(second.payload("1", "next").await, usage());
    assert_eq!(first.error_code("2", SLOW).await, "TOO_MANY_SUBSCRIPTIONS");
    // Subscriptions do not use the limit of concurrent queries.
    first.subscribe("2", QUERY).await;
    assert_eq!(first.payload("2", "next").await, usage());
    first.payload("2", "complete").await;
    // A slot is free once its subscription is complete or its connection is close_code_and_reason.
    second.send(json!({ "id": "1", "type": "complete" })).await;
    subscribe_when_free(&mut first, "2").await;
    drop(second);
    assert_eq!(first.error_code("3", SLOW).await, "TOO_MANY_SUBSCRIPTIONS");
    drop(first);
    let mut third = Client::ready(&app).await;
    subscribe_when_free(&mut third, "1").await;
    subscribe_when_free(&mut third, "2").await;
}

/// The server frees the slot of an ended subscription after a short time.
async fn subscribe_when_free(client: &mut Client, id: &str) {
    eventually("a free slot", async || {
        client.subscribe(id, SLOW).await;
        let message = client.next().await;
        let code = &message["payload"][0]["extensions"]["code"];
        assert!(message["type"] == "next" || code == "TOO_MANY_SUBSCRIPTIONS", "{message}");
        message["type"] == "next"
    })
    .await;
}

async fn document_limits_apply(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.graphql.max_complexity = 1000;
        config.graphql.max_root_fields = 2;
        config.server.max_subscriptions = 0;
    })
    .await;
    let mut client = Client::ready(&app).await;
    let windows = "{ lastMinute { total } lastHour { total } last8Hours { total } }";
    for (query, code) in [
        (format!("{{ usageStats {windows} }}"), "COST_EXCEEDED"),
        ("{ a: __typename b: __typename c: __typename }".to_owned(), "TOO_MANY_ROOT_FIELDS"),
        (SLOW.to_owned(), "TOO_MANY_SUBSCRIPTIONS"),
    ] {
        assert_eq!(client.error_code("1", &query).await, code);
    }
    let app =
        TestApp::start_with(&database, |config| config.server.max_subscriptions_in_all = 0).await;
    let mut client = Client::ready(&app).await;
    assert_eq!(client.error_code("1", SLOW).await, "TOO_MANY_SUBSCRIPTIONS");
}

async fn persisted_documents_are_executed(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut client = Client::ready(&app).await;
    let mut payload = json!({
        "extensions": { "persistedQuery": { "version": 1, "sha256Hash": hash(SLOW) } },
    });
    let subscribe =
        |id: &str, payload: &Value| json!({ "id": id, "type": "subscribe", "payload": payload });
    client.send(subscribe("1", &payload)).await;
    let errors = client.payload("1", "error").await;
    assert_eq!(errors[0]["message"], "PersistedQueryNotFound");
    payload["query"] = json!(SLOW);
    client.send(subscribe("1", &payload)).await;
    assert_eq!(client.payload("1", "next").await, usage());
    // Clients of the protocol must send a document, even an empty one.
    payload["query"] = json!("");
    client.send(subscribe("2", &payload)).await;
    assert_eq!(client.payload("2", "next").await, usage());
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("documents.json");
    std::fs::write(&manifest, json!({ "slow": SLOW }).to_string()).unwrap();
    let app = TestApp::start_with(&database, |config| {
        config.server.http.trusted_documents = Some(manifest);
    })
    .await;
    let mut client = Client::ready(&app).await;
    assert_eq!(client.error_code("1", FAST).await, "DOCUMENT_NOT_TRUSTED");
    client.send(subscribe("1", &json!({ "documentId": "slow" }))).await;
    assert_eq!(client.payload("1", "next").await, usage());
}

async fn connections_are_limited(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.server.http.max_connections = 2).await;
    let mut open = vec![Client::ready(&app).await, Client::ready(&app).await];
    let healthy = async |limit: u64| {
        let get = app.get("/healthz").timeout(Duration::from_millis(limit));
        get.send().await.is_ok()
    };
    assert!(!healthy(400).await, "a third connection is served");
    open[0].subscribe("1", QUERY).await;
    assert_eq!(open[0].payload("1", "next").await, usage());
    open.pop();
    assert!(healthy(20_000).await);
}

/// A document with a result many times larger than the document.
fn large_document() -> String {
    let fields: String = (0..30).map(|number| format!(" a{number}: __typename")).collect();
    format!("subscription {{ usageStats(every: \"PT0.5S\") {{ asOf{fields} }} }}")
}

async fn a_client_that_reads_nothing_is_disconnected(database: TestDatabase) {
    let app = start_with_short_timeout(&database).await;
    let mut client = Client::ready(&app).await;
    // More results than the buffers of both ends hold, until the server stops reading.
    let sdl = "{ __schema { types { name description fields { name description } } } }";
    let payload = json!({ "query": sdl });
    let sending = async {
        for id in 0_u64.. {
            let id = id.to_string();
            let message = json!({ "id": id, "type": "subscribe", "payload": payload });
            if client.socket.send(Message::Text(message.to_string().into())).await.is_err() {
                return;
            }
        }
    };
    within("is cut", sending).await;
}

async fn no_statement_runs_for_a_client_that_does_not_read(database: TestDatabase) {
    // A busy machine needs some time for the large results.
    let app = TestApp::start_with(&database, |config| {
        config.server.http.client_timeout_seconds = 120;
    })
    .await;
    let mut client = Client::ready(&app).await;
    // Small results fit into the buffers, so this sends enough of them to fill the buffers.
    let sdl = "{ __schema { types { name description fields { name description } } } }";
    for id in 0..200 {
        client.subscribe(&format!("large {id}"), sdl).await;
    }
    client.subscribe("1", &large_document()).await;
    // The large results fill the buffers before the slow client's own first event.
    let mut quick = Client::ready(&app).await;
    quick.subscribe("1", FAST).await;
    for _ in 0..3 {
        quick.payload("1", "next").await;
    }
    drop(quick);
    assert_no_other_statements(&app).await;
}

async fn a_slow_client_gets_the_number_of_missed_events(database: TestDatabase) {
    const ROWS: i64 = 2400;
    /// Rows of one transaction, of which the quick client misses none. Few transactions: the slow client is
    /// disconnected if it answers no ping for 40 s.
    const STEP: i64 = 400;
    let app = TestApp::start_with(&database, |config| {
        config.server.follow_rows = 512;
        // The slow client reads nothing for as long as a busy machine needs for all rows.
        config.server.http.client_timeout_seconds = 120;
    })
    .await;
    // Events of 4 KB, so that all of them exceed the buffers of both ends.
    let fields: String = (0..40).map(|number| format!(" a{number}: model")).collect();
    let query = format!("subscription {{ callRecorded {{ latencyMs{fields} }} }}");
    let row = |number: i64| {
        let row = CallRow::at("2026-03-01T11:59:00Z").model("m".repeat(100));
        row.latency(i32::try_from(number).unwrap())
    };
    let latency = |payload: &Value| payload["data"]["callRecorded"]["latencyMs"].as_i64();
    let (mut slow, mut quick) = (Client::ready(&app).await, Client::ready(&app).await);
    for client in [&mut slow, &mut quick] {
        client.subscribe("s", &query).await;
        // The subscription is active once it delivers a row.
        let soon = Duration::from_millis(200);
        while tokio::time::timeout(soon, client.next()).await.is_err() {
            database.insert(&[row(0)]).await;
        }
    }
    for first in (1..=ROWS).step_by(STEP as usize) {
        let last = (first + STEP - 1).min(ROWS);
        database.insert(&(first..=last).map(row).collect::<Vec<_>>()).await;
        loop {
            let payload = quick.payload("s", "next").await;
            let number = latency(&payload)
                .unwrap_or_else(|| panic!("the quick client misses events: {payload}"));
            if number == last {
                break;
            }
        }
    }
    let mut last = 0;
    let missed = loop {
        let payload = slow.payload("s", "next").await;
        match latency(&payload) {
            Some(0) => {}
            Some(number) => {
                assert_eq!(number, last + 1);
                last = number;
            }
            None => break payload,
        }
    };
    let extensions = json!({ "code": "EVENTS_MISSED", "missed": ROWS - last });
    assert_eq!(missed["errors"][0]["extensions"], extensions, "{missed}");
    assert_eq!(missed["data"], Value::Null);
    database.insert(&[row(7)]).await;
    assert_eq!(latency(&slow.payload("s", "next").await), Some(7), "the subscription continues");
}

async fn a_dead_client_is_detected(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.server.http.client_timeout_seconds = 5;
        config.server.max_subscriptions = 1;
    })
    .await;
    let mut client = Client::ready(&app).await;
    client.subscribe("1", SLOW).await;
    client.payload("1", "next").await;
    let id = client.request_id();
    // The client accepts data but never answers, like the kernel of a machine that hangs.
    let stream = client.socket.get_mut();
    let reading = async {
        let mut bytes = [0; 1024];
        while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {}
    };
    within("is cut", reading).await;
    let entry = line(&id, |line| line["close_code"].is_null()).await;
    assert_eq!(entry["gone"], true, "{entry}");
    subscribe_when_free(&mut Client::ready(&app).await, "1").await;
}

/// The log line of a request or an operation, once it is logged.
async fn line(id: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    found("the log line of the request", async || {
        let mut lines = logs::of_request(id).into_iter();
        lines.find(|line| line["message"] == "request" && is_it(line))
    })
    .await
}

async fn connections_and_operations_are_logged(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    logs::never_log(READER);
    let scrape = async || {
        let request = app.get("/metrics").bearer_auth(OTHER);
        request.send().await.unwrap().text().await.unwrap()
    };
    let mut client = Client::ready_as(&app, json!({ "token": READER })).await;
    let id = client.request_id();
    client.subscribe("1", SLOW).await;
    client.payload("1", "next").await;
    client.subscribe("2", "query Asked { usageStats { asOf } }").await;
    client.payload("2", "next").await;
    client.payload("2", "complete").await;
    assert_eq!(client.error_code("3", "{ nothing }").await, "GRAPHQL_VALIDATION_FAILED");
    client.subscribe("4", SLOW).await;
    client.payload("4", "next").await;
    let text = scrape().await;
    for line in ["callscope_subscriptions 2", "callscope_subscription_events_total 2"] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    let operations =
        "callscope_graphql_requests_total{operation=\"Asked\",kind=\"query\",code=\"OK\"} 1";
    assert!(text.contains(operations), "{text}");
    client.send(json!({ "id": "1", "type": "complete" })).await;
    // The client closes at once: while it waits for the log it would not answer pings.
    client.socket.close(None).await.unwrap();
    for (number, fields) in [
        (1, json!({ "operation": "Slow", "kind": "subscription" })),
        (2, json!({ "operation": "Asked", "kind": "query" })),
        (3, json!({ "kind": "query", "codes": "GRAPHQL_VALIDATION_FAILED" })),
        (4, json!({ "operation": "Slow", "kind": "subscription", "gone": true })),
    ] {
        let entry = line(&format!("{id}.{number}"), |_| true).await;
        for (field, value) in fields.as_object().unwrap() {
            assert_eq!(&entry[field], value, "{field} of {entry}");
        }
        assert_eq!((&entry["path"], &entry["caller"]), (&json!("/graphql/ws"), &json!("reader")));
        assert_eq!(entry.get("gone").is_some(), number == 4, "{entry}");
    }
    let entry = line(&id, |_| true).await;
    assert_eq!((&entry["status"], &entry["close_code"]), (&json!(101), &json!(1005)), "{entry}");
    assert_eq!(entry.get("gone"), None);
    // A client that disconnects without a close frame.
    let gone = Client::ready_as(&app, json!({ "token": READER })).await;
    let id = gone.request_id();
    drop(gone);
    let entry = line(&id, |_| true).await;
    assert_eq!((&entry["gone"], entry.get("close_code")), (&json!(true), None), "{entry}");
    let mut refused = Client::open(&app).await;
    let id = refused.request_id();
    refused.send(json!({ "type": "connection_init" })).await;
    assert_eq!(refused.close_code_and_reason().await.0, 4403);
    assert_eq!(line(&id, |_| true).await["close_code"], 4403);
}

async fn the_scheme_of_a_trusted_proxy_is_used(database: TestDatabase) {
    for (trusts, is_taken) in [(false, true), (true, false)] {
        let app = TestApp::start_with(&database, |config| {
            config.server.trust_forwarded_for = trusts;
        })
        .await;
        let origin = app.url("");
        let headers = [PROTOCOL, ("Origin", origin.as_str()), ("X-Forwarded-Proto", "https")];
        // A page without TLS, and a proxy that reports TLS.
        let opened = Client::try_open(&app, &headers).await;
        assert_eq!(opened.is_ok(), is_taken, "trusted: {trusts}");
    }
}

async fn variable_defaults_apply_in_directives(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut client = Client::ready(&app).await;
    for kind in ["query", "subscription"] {
        let query =
            format!("{kind}($a: Boolean = true) {{ usageStats {{ asOf @include(if: $a) }} }}");
        client.subscribe(kind, &query).await;
        assert_eq!(client.payload(kind, "next").await, usage(), "{kind}");
        client.send(json!({ "id": kind, "type": "complete" })).await;
        if kind == "query" {
            client.payload(kind, "complete").await;
        }
    }
}

/// The tests log at the most detailed level of an operator (`--log trace`).
async fn no_log_level_contains_a_secret(database: TestDatabase) {
    let secret = |transport: &str| format!("{transport}-token-0123456789abcdef");
    let transports = ["http1", "http2", "login", "socket", "header"];
    let tokens = transports.map(|transport| format!("{transport}:ALL:{}", secret(transport)));
    let app = TestApp::start_with_tokens(&database, &tokens.join(" ")).await;
    let body = json!({ "query": QUERY, "variables": { "prompt": "prompt-Of-This-Test" } });
    let second = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    for (client, transport) in [(app.client(), "http1"), (&second, "http2")] {
        let sent = client.post(app.url("/graphql")).bearer_auth(secret(transport)).json(&body);
        assert_eq!(sent.send().await.unwrap().json::<Value>().await.unwrap(), usage());
    }
    let login = app.client().post(app.url("/session")).json(&json!({ "token": secret("login") }));
    let login = login.send().await.unwrap();
    let cookie =
        login.headers()["Set-Cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    for client in [app.client(), &second] {
        let sent = client.post(app.url("/graphql")).header("Cookie", &cookie).json(&body);
        assert_eq!(sent.send().await.unwrap().json::<Value>().await.unwrap(), usage());
    }
    let bearer = format!("Bearer {}", secret("header"));
    let mut clients = [
        Client::ready_as(&app, json!({ "token": secret("socket") })).await,
        Client::try_open(&app, &[PROTOCOL, ("Authorization", &bearer)]).await.unwrap(),
    ];
    clients[1].init(json!({})).await;
    for client in &mut clients {
        client.send(json!({ "id": "1", "type": "subscribe", "payload": body })).await;
        assert_eq!(client.payload("1", "next").await, usage());
    }
    let marker = "line-of-no_log_level_contains_a_secret";
    tracing::trace!(target: "callscope::tests", marker);
    tracing::trace!(target: "tungstenite::protocol", marker);
    tracing::debug!(target: "callscope_of_others", marker);
    assert_eq!(
        logs::count(marker),
        2,
        "TRACE lines of the server and DEBUG lines of libraries are missing"
    );
    let session = cookie.split_once('=').unwrap().1;
    let secrets = transports.map(secret).into_iter().chain([session.to_owned()]);
    for text in secrets.chain(["prompt-Of-This-Test".to_owned()]) {
        assert_eq!(logs::count(&text), 0, "{text}");
        logs::never_log(&text);
    }
}
