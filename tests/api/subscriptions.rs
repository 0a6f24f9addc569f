//! Subscriptions over server-sent events.

use std::time::{Duration, Instant};

use callscope::access::token;
use callscope::store::token as store;
use chrono::TimeDelta;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use super::http::{assert_refused, usage};
use super::input_errors::{lock, unlock};
use super::persisted::hash;
use crate::support::{
    CallRow, Kind, TestApp, TestDatabase, error_code, found, logs, request_id, settings, within,
};
use crate::tests;

tests! {
    each_event_counts_again,
    windows_of_one_event_need_one_statement,
    a_subscription_may_select_a_key.only(&[Kind::Sqlite]),
    a_stream_is_neither_cached_nor_compressed.only(&[Kind::Sqlite]),
    the_interval_of_events_is_limited.only(&[Kind::Sqlite]),
    a_missing_scope_is_refused.only(&[Kind::Sqlite]),
    a_revoked_token_ends_its_streams,
    an_expired_session_ends_its_streams.only(&[Kind::Sqlite]),
    the_first_token_ends_anonymous_streams.only(&[Kind::Sqlite]),
    a_stream_survives_a_database_outage,
    an_event_may_time_out.only(&[Kind::Postgres, Kind::MariaDb]),
    streams_of_a_token_are_limited.only(&[Kind::Sqlite]),
    all_streams_together_are_limited.only(&[Kind::Sqlite]),
    a_stream_does_not_use_a_request_slot.only(&[Kind::Sqlite]),
    no_statement_runs_for_a_client_that_does_not_read.only(&[Kind::Sqlite]),
    a_silent_stream_has_comments.only(&[Kind::Sqlite]),
    an_http_2_stream_outlives_the_client_timeout.only(&[Kind::Sqlite]),
    a_client_that_disconnects_is_logged,
    shutdown_ends_streams,
    queries_and_mutations_get_one_response.only(&[Kind::Sqlite]),
    a_subscription_that_cannot_start_sends_an_error_event.only(&[Kind::Sqlite]),
    a_bad_request_is_refused.only(&[Kind::Sqlite]),
    persisted_subscriptions_are_executed.only(&[Kind::Sqlite]),
    streams_are_counted_and_logged.only(&[Kind::Sqlite]),
    only_the_stream_accepts_subscriptions.only(&[Kind::Sqlite]),
}

pub const FAST: &str =
    "subscription Fast { usageStats(every: \"PT0.5S\") { asOf lastHour { total } } }";
pub const SLOW: &str = "subscription Slow { usageStats(every: \"PT1H\") { asOf } }";
pub const READER: &str = "reader-0123456789abcdef";
pub const OTHER: &str = "other-0123456789abcdef";

/// The events of a response, in order.
pub struct Events {
    response: Response,
    text: String,
}

impl Events {
    /// Sends a request that must be accepted.
    pub async fn of(request: RequestBuilder) -> Self {
        let response = request.header("Accept", "text/event-stream").send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self { response, text: String::new() }
    }

    pub async fn subscribe(app: &TestApp, query: &str) -> Self {
        Self::of(post(app, query)).await
    }

    /// The name and the data of the next event, or `None` at the end of the stream.
    async fn any(&mut self) -> Option<(String, String)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let found = event.lines().find_map(|line| line.strip_prefix(name));
                    found.map(|value| value.strip_prefix(' ').unwrap_or(value).to_owned())
                };
                if let Some(name) = field("event:") {
                    return Some((name, field("data:").expect("a line of data")));
                }
                continue;
            }
            let part = self.response.chunk().await.unwrap()?;
            self.text += std::str::from_utf8(&part).unwrap();
        }
    }

    /// The next result.
    pub async fn next(&mut self) -> Value {
        let (name, data) = self.any().await.expect("an event");
        assert_eq!(name, "next", "{data}");
        serde_json::from_str(&data).unwrap()
    }

    /// Checks that only the end of the stream remains.
    pub async fn assert_complete(mut self) {
        assert_eq!(self.any().await, Some(("complete".into(), String::new())));
        assert_eq!(self.any().await, None);
    }
}

pub fn post(app: &TestApp, query: &str) -> RequestBuilder {
    app.client().post(app.url("/graphql/stream")).json(&json!({ "query": query }))
}

fn get(app: &TestApp, query: &str) -> RequestBuilder {
    app.get("/graphql/stream").query(&[("query", query)])
}

pub fn total(event: &Value) -> &Value {
    &event["data"]["usageStats"]["lastHour"]["total"]
}

pub async fn start_with_tokens(database: &TestDatabase) -> TestApp {
    TestApp::start_with_tokens(database, &format!("reader:READ:{READER} scraper:METRICS:{OTHER}"))
        .await
}

async fn each_event_counts_again(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z")]).await;
    let app = TestApp::start(&database).await;
    let start = Instant::now();
    let mut events = Events::subscribe(&app, FAST).await;
    let event = events.next().await;
    let expected = json!({ "asOf": "2026-03-01T12:00:00Z", "lastHour": { "total": 1 } });
    assert_eq!(event, json!({ "data": { "usageStats": expected } }));
    database.insert(&vec![CallRow::at("2026-03-01T11:59:59Z"); 3]).await;
    // On a busy machine an event may be older than the rows, or than the clock.
    let mut event = events.next().await;
    while total(&event) == 1 {
        event = events.next().await;
    }
    assert_eq!(total(&event), 4);
    // A window moves with the time of its event.
    app.clock.advance(TimeDelta::minutes(45));
    while event["data"]["usageStats"]["asOf"] == "2026-03-01T12:00:00Z" {
        event = events.next().await;
    }
    assert_eq!(event["data"]["usageStats"]["asOf"], "2026-03-01T12:45:00Z");
    assert_eq!(total(&event), 3);
    assert!(
        start.elapsed() >= Duration::from_millis(990),
        "the event is earlier than the interval"
    );
}

async fn windows_of_one_event_need_one_statement(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let query = "subscription { usageStats(every: \"PT0.5S\", timeZone: \"Asia/Shanghai\") {
        lastMinute { total } lastHour { failure } last8Hours { success } last24Hours { total }
        currentMonth { total } last(duration: \"PT5M\") { total } } }";
    let mut events = Events::subscribe(&app, query).await;
    for _ in 0..3 {
        events.next().await;
        let before = app.sent();
        assert!(events.next().await.get("errors").is_none());
        assert_eq!(app.sent() - before, 1);
    }
}

async fn a_subscription_may_select_a_key(database: TestDatabase) {
    let at = CallRow::at("2026-03-01T11:30:00Z");
    database.insert(&[at.clone().key("the-first-key"), at.clone().key("the-other-key"), at]).await;
    let app = TestApp::start(&database).await;
    let id = app.data("{ apiKey(key: \"the-other-key\") { id } }").await["apiKey"]["id"].clone();
    for key in ["the-first-key", id.as_str().unwrap()] {
        let query =
            format!("subscription {{ usageStats(key: \"{key}\") {{ lastHour {{ total }} }} }}");
        assert_eq!(total(&Events::subscribe(&app, &query).await.next().await), 1);
    }
}

async fn a_stream_is_neither_cached_nor_compressed(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for request in [post(&app, SLOW), get(&app, SLOW).header("X-Callscope-Client", "tests")] {
        let mut events = Events::of(request.header("Accept-Encoding", "gzip, br")).await;
        assert!(events.next().await["data"]["usageStats"].is_object());
        let header =
            |name: &str| events.response.headers().get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header("Content-Type"), Some("text/event-stream; charset=utf-8"));
        assert_eq!(header("Cache-Control"), Some("no-store"));
        assert_eq!(header("X-Accel-Buffering"), Some("no"));
        assert_eq!(header("Content-Encoding"), None);
    }
}

async fn the_interval_of_events_is_limited(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for every in ["PT0.499S", "PT1H0.000001S", "P30D", "often"] {
        let query = format!("subscription {{ usageStats(every: \"{every}\") {{ asOf }} }}");
        let mut events = Events::subscribe(&app, &query).await;
        let event = events.next().await;
        let extensions = json!({ "code": "BAD_USER_INPUT", "argument": "every" });
        assert_eq!(event["errors"][0]["extensions"], extensions, "{event}");
        events.assert_complete().await;
    }
    for every in ["\"PT0.5S\"", "\"PT1H\"", "null"] {
        let query = format!("subscription {{ usageStats(every: {every}) {{ asOf }} }}");
        assert_eq!(Events::subscribe(&app, &query).await.next().await, usage());
    }
}

async fn a_missing_scope_is_refused(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    assert_refused(post(&app, FAST), 401, "UNAUTHENTICATED").await;
    assert_refused(post(&app, FAST).bearer_auth("wrong"), 401, "UNAUTHENTICATED").await;
    let mut events = Events::of(post(&app, FAST).bearer_auth(OTHER)).await;
    assert_eq!(error_code(&events.next().await), "FORBIDDEN");
    events.assert_complete().await;
    let mut events = Events::of(get(&app, FAST).bearer_auth(READER)).await;
    assert_eq!(total(&events.next().await), 0);
}

async fn a_revoked_token_ends_its_streams(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    let now = app.clock.now();
    let new = token::make("short", "READ".parse().unwrap(), now, None).unwrap();
    store::insert(app.db(), &new.row).await.unwrap();
    app.clock.advance(TimeDelta::seconds(1));
    let subscribe = |query: &str| Events::of(post(&app, query).bearer_auth(new.token.expose()));
    let (mut fast, mut slow) = (subscribe(FAST).await, subscribe(SLOW).await);
    let mut lasting = Events::of(post(&app, FAST).bearer_auth(READER)).await;
    for events in [&mut fast, &mut slow, &mut lasting] {
        assert!(events.next().await["data"]["usageStats"].is_object());
    }
    assert!(store::revoke(app.db(), "short", now).await.unwrap());
    app.clock.advance(TimeDelta::seconds(5));
    for mut events in [fast, slow] {
        let event = loop {
            let event = events.next().await;
            if event.get("errors").is_some() {
                break event;
            }
        };
        assert_eq!(error_code(&event), "UNAUTHENTICATED");
        assert!(event.get("data").is_none(), "{event}");
        events.assert_complete().await;
    }
    assert!(lasting.next().await["data"]["usageStats"].is_object());
}

async fn an_expired_session_ends_its_streams(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    let login = app.client().post(app.url("/session")).json(&json!({ "token": READER }));
    let login = login.send().await.unwrap();
    let cookie = login.headers()["Set-Cookie"].to_str().unwrap().split(';').next().unwrap();
    let mut events = Events::of(post(&app, SLOW).header("Cookie", cookie)).await;
    assert_eq!(events.next().await, usage());
    app.clock.advance(TimeDelta::hours(12));
    assert_eq!(error_code(&events.next().await), "UNAUTHENTICATED");
    events.assert_complete().await;
}

async fn the_first_token_ends_anonymous_streams(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut events = Events::subscribe(&app, SLOW).await;
    assert_eq!(events.next().await, usage());
    let new = token::make("first", "READ".parse().unwrap(), app.clock.now(), None).unwrap();
    store::insert(app.db(), &new.row).await.unwrap();
    app.clock.advance(TimeDelta::seconds(5));
    assert_eq!(error_code(&events.next().await), "UNAUTHENTICATED");
    events.assert_complete().await;
}

async fn a_stream_survives_a_database_outage(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z")]).await;
    let app = TestApp::start(&database).await;
    let mut events = Events::subscribe(&app, FAST).await;
    assert_eq!(total(&events.next().await), 1);
    database.execute("ALTER TABLE t_request_log RENAME TO elsewhere").await;
    for _ in 0..2 {
        let event = events.next().await;
        assert_eq!(error_code(&event), "DATABASE_UNAVAILABLE", "{event}");
        assert_eq!(event["data"], Value::Null);
    }
    database.execute("ALTER TABLE elsewhere RENAME TO t_request_log").await;
    let event = events.next().await;
    assert_eq!((total(&event), event.get("errors")), (&json!(1), None));
}

async fn an_event_may_time_out(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.graphql.timeout_seconds = 1).await;
    let mut events = Events::subscribe(&app, FAST).await;
    assert_eq!(total(&events.next().await), 0);
    lock(&database, "t_request_log").await;
    assert_eq!(error_code(&events.next().await), "TIMEOUT");
    unlock(&database).await;
    assert_eq!(total(&events.next().await), 0);
}

/// The server frees the slot of an ended stream after a short time.
async fn subscribe_when_free(request: RequestBuilder) -> Events {
    found("a free slot", async || {
        let tried = request.try_clone().unwrap().send().await.unwrap();
        (tried.status() == 200).then_some(Events { response: tried, text: String::new() })
    })
    .await
}

/// Fails if statements are sent for any subscriber except one of this helper, which reads some
/// events of the same interval as `FAST`, each of one statement.
pub async fn assert_no_other_statements(app: &TestApp) {
    const EVENTS: u64 = 4;
    let mut events = Events::subscribe(app, FAST).await;
    events.next().await;
    let before = app.sent();
    for _ in 0..EVENTS {
        events.next().await;
    }
    // Another subscriber of this interval would double the number. The next event may be on its way.
    let sent = app.sent() - before;
    assert!(sent <= EVENTS + 1, "{sent} statements for {EVENTS} events");
}

async fn streams_of_a_token_are_limited(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        let tokens = format!("reader:READ:{READER} other:READ:{OTHER}");
        config.access = settings(&["--tokens", &tokens, "--anonymous-scopes", "READ"]);
        config.server.max_subscriptions = 2;
        config.server.trust_forwarded_for = true;
    })
    .await;
    let ways = |request: fn(&TestApp) -> RequestBuilder| {
        let sent = request(&app);
        [
            sent.try_clone().unwrap().bearer_auth(READER),
            sent.try_clone().unwrap().bearer_auth(OTHER),
            sent.try_clone().unwrap().header("X-Forwarded-For", "10.0.0.1"),
            sent.header("X-Forwarded-For", "10.0.0.2"),
        ]
    };
    let (mut open, mut more) = (vec![], vec![]);
    for request in ways(|app| post(app, SLOW)) {
        for _ in 0..2 {
            let mut events = Events::of(request.try_clone().unwrap()).await;
            assert_eq!(events.next().await, usage());
            open.push(events);
        }
        let refused = request.try_clone().unwrap().send().await.unwrap();
        assert!(refused.headers().contains_key("Retry-After"));
        assert_refused(request.try_clone().unwrap(), 429, "TOO_MANY_SUBSCRIPTIONS").await;
        more.push(request);
    }
    // Queries use no slot, and a refused subscription releases its slot.
    for request in ways(|app| post(app, "{ usageStats { asOf } }")) {
        assert_eq!(Events::of(request).await.next().await, usage());
    }
    drop(open);
    for request in more {
        assert_eq!(subscribe_when_free(request).await.next().await, usage());
    }
    for request in ways(|app| post(app, "subscription { nothing }")) {
        for _ in 0..3 {
            let mut events = subscribe_when_free(request.try_clone().unwrap()).await;
            assert_eq!(error_code(&events.next().await), "GRAPHQL_VALIDATION_FAILED");
        }
    }
}

async fn all_streams_together_are_limited(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.server.max_subscriptions_in_all = 2;
        config.server.trust_forwarded_for = true;
    })
    .await;
    let request = |address: &str| post(&app, SLOW).header("X-Forwarded-For", address);
    let open = (Events::of(request("10.0.0.1")).await, Events::of(request("10.0.0.2")).await);
    assert_refused(request("10.0.0.3"), 503, "TOO_MANY_SUBSCRIPTIONS").await;
    drop(open);
    subscribe_when_free(request("10.0.0.3")).await;
}

async fn a_stream_does_not_use_a_request_slot(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.server.max_concurrent_requests = 1;
        config.graphql.timeout_seconds = 1;
    })
    .await;
    let (mut first, mut second) =
        (Events::subscribe(&app, FAST).await, Events::subscribe(&app, FAST).await);
    // The request timeout does not end it either.
    for _ in 0..4 {
        assert_eq!(total(&first.next().await), 0);
        assert_eq!(total(&second.next().await), 0);
        app.data("{ usageStats { asOf } }").await;
    }
}

async fn no_statement_runs_for_a_client_that_does_not_read(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    // The stream's buffer holds less than one event until it is read.
    let small = reqwest::Client::builder().http2_prior_knowledge();
    let small = small.http2_initial_stream_window_size(64).build().unwrap();
    let request = small.post(app.url("/graphql/stream")).json(&json!({ "query": FAST }));
    let mut events = Events::of(request).await;
    // One event is sent and one is queued while another subscriber reads three.
    let mut quick = Events::subscribe(&app, FAST).await;
    for _ in 0..3 {
        quick.next().await;
    }
    drop(quick);
    assert_no_other_statements(&app).await;
    app.clock.advance(TimeDelta::seconds(2));
    let mut old = 0;
    while events.next().await["data"]["usageStats"]["asOf"] == "2026-03-01T12:00:00Z" {
        old += 1;
    }
    assert!(old <= 2, "{old}");
}

async fn a_silent_stream_has_comments(database: TestDatabase) {
    let timeouts = |config: &mut callscope::app::Config| {
        config.server.http.client_timeout_seconds = 1;
    };
    let app = TestApp::start_with(&database, timeouts).await;
    let mut events = Events::subscribe(&app, SLOW).await;
    assert_eq!(events.next().await, usage());
    let start = Instant::now();
    for _ in 0..2 {
        assert_eq!(events.response.chunk().await.unwrap().unwrap(), ":\n\n");
    }
    assert!(start.elapsed() > Duration::from_millis(1500), "{:?}", start.elapsed());
}

/// Its connection has no other request meanwhile, and is not idle.
async fn an_http_2_stream_outlives_the_client_timeout(database: TestDatabase) {
    let timeouts = |config: &mut callscope::app::Config| {
        config.server.http.client_timeout_seconds = 1;
    };
    let app = TestApp::start_with(&database, timeouts).await;
    let newer = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let request = newer.post(app.url("/graphql/stream")).json(&json!({ "query": FAST }));
    let mut events = Events::of(request).await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        events.next().await;
    }
}

/// The log line of a request, once it is logged.
async fn line(id: &str) -> Value {
    let logged =
        async || logs::of_request(id).into_iter().find(|line| line["message"] == "request");
    found("the log line of the request", logged).await
}

async fn a_client_that_disconnects_is_logged(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut events = Events::subscribe(&app, FAST).await;
    events.next().await;
    let id = request_id(&events.response);
    assert_eq!(logs::of_request(&id).iter().filter(|line| line["message"] == "request").count(), 0);
    drop(events);
    let line = line(&id).await;
    assert_eq!((&line["gone"], &line["kind"]), (&json!(true), &json!("subscription")), "{line}");
    // No more statements are sent for it.
    assert_no_other_statements(&app).await;
}

async fn shutdown_ends_streams(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let both = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let newer = both.post(app.url("/graphql/stream")).json(&json!({ "query": SLOW }));
    let mut streams = vec![Events::subscribe(&app, FAST).await, Events::of(newer).await];
    for events in &mut streams {
        events.next().await;
    }
    let stopping = tokio::spawn(app.shutdown());
    for mut events in streams {
        // The stream ends without `complete`, so that its client reconnects.
        assert_eq!(events.any().await, None);
    }
    drop(both);
    within("the server stops", stopping).await.unwrap();
}

async fn queries_and_mutations_get_one_response(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut events = Events::subscribe(&app, "{ usageStats { asOf } }").await;
    assert_eq!(events.next().await, usage());
    events.assert_complete().await;
    let mutation = "mutation { pruneLogs(callsOlderThan: \"P30D\") { deletedCalls } }";
    let mut events = Events::subscribe(&app, mutation).await;
    assert!(events.next().await["data"].is_object());
    events.assert_complete().await;
    let by_get = get(&app, mutation).header("X-Callscope-Client", "tests");
    assert_refused(by_get, 405, "METHOD_NOT_ALLOWED").await;
}

async fn a_subscription_that_cannot_start_sends_an_error_event(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| config.graphql.max_complexity = 1000).await;
    for (query, expected) in [
        ("subscription {", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { usageStats { nothing } }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { __typename }", "GRAPHQL_VALIDATION_FAILED"),
        // The specification allows one root field.
        (
            "subscription { usageStats { asOf } b: usageStats { asOf } }",
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (
            "subscription { ...A } fragment A on Subscription { usageStats { asOf } }",
            "GRAPHQL_VALIDATION_FAILED",
        ),
        ("subscription { ... { usageStats { asOf } } }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { usageStats @skip(if: true) { asOf } }", "GRAPHQL_VALIDATION_FAILED"),
        (
            "subscription { usageStats { lastMinute { total } lastHour { total } last8Hours { total } } }",
            "COST_EXCEEDED",
        ),
        ("subscription { usageStats(timeZone: \"Nowhere\") { asOf } }", "BAD_USER_INPUT"),
        ("subscription { usageStats(key: \"key_AAAAAAAAAAAAAAAAAAAAAA\") { asOf } }", "NOT_FOUND"),
    ] {
        let mut events = Events::subscribe(&app, query).await;
        let event = events.next().await;
        assert_eq!(error_code(&event), expected, "{query}: {event}");
        assert!(event.get("data").is_none_or(Value::is_null), "{event}");
        events.assert_complete().await;
    }
}

async fn a_bad_request_is_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let url = || app.url("/graphql/stream");
    assert_refused(get(&app, FAST), 403, "CSRF_PREVENTED").await;
    for accept in ["application/json", "text/html", "text/event-stream;q=0"] {
        assert_refused(post(&app, FAST).header("Accept", accept), 406, "NOT_ACCEPTABLE").await;
    }
    let text = app.client().post(url()).header("Content-Type", "text/plain").body("{}");
    assert_refused(text, 415, "UNSUPPORTED_MEDIA_TYPE").await;
    for (body, code) in
        [(json!({}), "BAD_REQUEST"), (json!([{ "query": FAST }]), "BATCH_TOO_LARGE")]
    {
        assert_refused(app.client().post(url()).json(&body), 400, code).await;
    }
    let put = app.client().put(url()).json(&json!({ "query": FAST })).send().await.unwrap();
    assert_eq!(put.status(), 405);
}

async fn persisted_subscriptions_are_executed(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let named = |hash: &str| json!({ "extensions": { "persistedQuery": { "version": 1, "sha256Hash": hash } } });
    let send = |body: &Value| app.client().post(app.url("/graphql/stream")).json(body);
    let hash = hash(SLOW);
    assert_refused(send(&named(&hash)), 400, "PERSISTED_QUERY_NOT_FOUND").await;
    let mut with_text = named(&hash);
    with_text["query"] = json!(SLOW);
    for body in [with_text, named(&hash)] {
        assert_eq!(Events::of(send(&body)).await.next().await, usage());
    }
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("documents.json");
    std::fs::write(&manifest, json!({ "slow": SLOW }).to_string()).unwrap();
    let app = TestApp::start_with(&database, |config| {
        config.server.http.trusted_documents = Some(manifest);
    })
    .await;
    let send = |body: Value| app.client().post(app.url("/graphql/stream")).json(&body);
    assert_refused(send(json!({ "query": FAST })), 403, "DOCUMENT_NOT_TRUSTED").await;
    for body in [json!({ "documentId": "slow" }), json!({ "query": SLOW })] {
        assert_eq!(Events::of(send(body)).await.next().await, usage());
    }
}

async fn streams_are_counted_and_logged(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let scrape = async || app.metrics().await;
    let mut streams = vec![];
    for _ in 0..2 {
        let mut events = Events::subscribe(&app, SLOW).await;
        events.next().await;
        streams.push(events);
    }
    let text = scrape().await;
    for line in ["callscope_subscriptions 2", "callscope_subscription_events_total 2"] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    let new = token::make("first", "READ".parse().unwrap(), app.clock.now(), None).unwrap();
    store::insert(app.db(), &new.row).await.unwrap();
    app.clock.advance(TimeDelta::seconds(5));
    for mut events in streams {
        events.next().await;
        let id = request_id(&events.response);
        events.assert_complete().await;
        let entry = line(&id).await;
        for (field, value) in [
            ("path", json!("/graphql/stream")),
            ("status", json!(200)),
            ("operation", json!("Slow")),
            ("kind", json!("subscription")),
            ("codes", json!("UNAUTHENTICATED")),
            ("caller", json!("anonymous")),
            ("gone", Value::Null),
        ] {
            assert_eq!(entry[field], value, "{field} of {entry}");
        }
        assert!(entry["duration_ms"].as_f64().unwrap() > 1000.0, "{entry}");
    }
}

async fn only_the_stream_accepts_subscriptions(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for query in [FAST, "subscription { nothing }"] {
        let response = app.graphql(query).await;
        assert_eq!(error_code(&response), "BAD_REQUEST", "{response}");
        assert!(response.get("data").is_none(), "{response}");
        let message = response["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains("/graphql/stream"), "{message}");
    }
}
