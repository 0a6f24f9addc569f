//! Attacks by pages of other sites in a browser: sending requests (CSRF), reading responses (CORS), and
//! naming the server as another host (DNS rebinding).

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use super::http::{QUERY, answer, assert_refused, post};
use crate::support::{Kind, TestApp, TestDatabase, settings};
use crate::tests;

tests! {
    a_simple_get_is_refused.only(&[Kind::Sqlite]),
    a_form_or_a_text_is_refused.only(&[Kind::Sqlite]),
    no_origin_is_allowed_by_default.only(&[Kind::Sqlite]),
    listed_origins_are_allowed.only(&[Kind::Sqlite]),
    loopback_accepts_only_its_own_names.only(&[Kind::Sqlite]),
    listed_hosts_are_accepted.only(&[Kind::Sqlite]),
    every_route_checks_the_host.only(&[Kind::Sqlite]),
    anonymous_scopes_require_a_loopback_host.only(&[Kind::Sqlite]),
    metrics_with_a_token_accept_any_host.only(&[Kind::Sqlite]),
}

fn get(app: &TestApp) -> RequestBuilder {
    app.get("/graphql").query(&[("query", QUERY)])
}

async fn a_simple_get_is_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    assert_refused(get(&app), 403, "CSRF_PREVENTED").await;
    // Headers that a page can set without a preflight, or that the browser adds.
    for (name, value) in [
        ("Accept", "application/json"),
        ("Accept", "application/graphql-response+json"),
        ("Accept-Language", "x"),
        ("Content-Type", "text/plain"),
        ("Content-Type", "application/x-www-form-urlencoded; a=application/json"),
        ("Content-Type", "text/plain, application/json"),
        ("Cookie", "session=x"),
        ("X-Callscope-Client", ""),
    ] {
        assert_refused(get(&app).header(name, value), 403, "CSRF_PREVENTED").await;
    }
    // Browsers add this header themselves; it proves nothing, and the request is refused even earlier.
    let basic = get(&app).header("Authorization", "Basic eDp5");
    assert_refused(basic, 401, "UNAUTHENTICATED").await;
    for (name, value) in [
        ("X-Callscope-Client", "curl"),
        ("Apollo-Require-Preflight", "true"),
        ("X-Apollo-Operation-Name", "A"),
        ("GraphQL-Preflight", "1"),
        ("X-Requested-With", "XMLHttpRequest"),
        ("Content-Type", "application/json"),
    ] {
        assert_eq!(answer(get(&app).header(name, value)).await.0, 200, "{name}");
    }
    let head = app.client().head(app.url("/graphql")).query(&[("query", QUERY)]);
    assert_eq!(answer(head).await.0, 403);
}

async fn a_form_or_a_text_is_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let body = json!({ "query": "mutation { x }" }).to_string();
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
    {
        // Refused even with the header: such a body is never read.
        for header in ["Accept", "X-Callscope-Client"] {
            let sent = post(&app).header("Content-Type", kind).header(header, "*/*");
            assert_refused(sent.body(body.clone()), 415, "UNSUPPORTED_MEDIA_TYPE").await;
        }
    }
    // `fetch` and `sendBeacon` with a body that has no type.
    assert_refused(post(&app).body(body), 415, "UNSUPPORTED_MEDIA_TYPE").await;
}

/// Sends the preflight of a JSON request from another origin, and returns the status and headers.
async fn preflight(app: &TestApp, origin: &str) -> (u16, HeaderMap) {
    let request = app.client().request(Method::OPTIONS, app.url("/graphql"));
    let request = request
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "content-type,x-own");
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.headers().clone())
}

fn value(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().unwrap().to_owned())
}

async fn no_origin_is_allowed_by_default(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for origin in ["https://evil.example", "null", "http://localhost:8000"] {
        let (status, headers) = preflight(&app, origin).await;
        assert_eq!((status, value(&headers, "access-control-allow-origin")), (405, None));
        let sent = post(&app).header("Origin", origin).json(&json!({ "query": QUERY }));
        let headers = sent.send().await.unwrap().headers().clone();
        assert!(headers.keys().all(|name| !name.as_str().starts_with("access-control-")));
    }
}

async fn listed_origins_are_allowed(database: TestDatabase) {
    let listed = ["https://dash.example", "http://localhost:3000"];
    let app = TestApp::start_with(&database, |config| {
        config.server.http.cors_origin = listed.map(str::to_owned).to_vec();
    })
    .await;
    for origin in listed {
        let (status, headers) = preflight(&app, origin).await;
        assert_eq!(status, 200);
        for (name, expected) in [
            ("access-control-allow-origin", origin),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "GET,POST,DELETE"),
            ("access-control-allow-headers", "content-type,x-own"),
        ] {
            assert_eq!(value(&headers, name).as_deref(), Some(expected));
        }
        let sent = post(&app).header("Origin", origin).json(&json!({ "query": QUERY }));
        let headers = sent.send().await.unwrap().headers().clone();
        assert_eq!(value(&headers, "access-control-allow-origin").as_deref(), Some(origin));
        assert!(value(&headers, "vary").unwrap().contains("origin"));
    }
    // Signing out uses DELETE.
    let sign_out = app.client().request(Method::OPTIONS, app.url("/session"));
    let sign_out = sign_out
        .header("Origin", listed[0])
        .header("Access-Control-Request-Method", "DELETE")
        .send();
    let methods = value(sign_out.await.unwrap().headers(), "access-control-allow-methods").unwrap();
    assert!(methods.split(',').any(|method| method.trim() == "DELETE"), "{methods}");
    // A page may read why its request was refused.
    let refused = post(&app).header("Origin", listed[0]).bearer_auth("gone").send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let allowed = value(refused.headers(), "access-control-allow-origin");
    assert_eq!(allowed.as_deref(), Some(listed[0]));
    for origin in [
        "https://evil.example",
        "null",
        "http://dash.example",
        "https://dash.example:444",
        "https://dash.example.evil.example",
        "https://evil.dash.example",
    ] {
        let (_, headers) = preflight(&app, origin).await;
        assert_eq!(value(&headers, "access-control-allow-origin"), None, "{origin}");
        assert_eq!(value(&headers, "access-control-allow-credentials"), None, "{origin}");
        // A request that needs no preflight is refused too.
        assert_refused(get(&app).header("Origin", origin), 403, "CSRF_PREVENTED").await;
    }
}

async fn loopback_accepts_only_its_own_names(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let send = |host: &str| post(&app).header("Host", host).json(&json!({ "query": QUERY }));
    for host in [
        "localhost",
        "LOCALHOST:8000",
        "calls.localhost",
        "127.0.0.1",
        "127.1.2.3:80",
        "[::1]:8000",
    ] {
        assert_eq!(answer(send(host)).await.0, 200, "{host}");
    }
    for host in
        ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io:8000", "0.0.0.0", "10.0.0.1"]
    {
        assert_refused(send(host), 421, "HOST_NOT_ALLOWED").await;
        let get = |path: &str| answer(app.get(path).header("Host", host));
        for path in ["/", "/calls", "/graphiql", "/schema.graphql", "/nothing"] {
            assert_eq!(get(path).await.0, 421, "{path}");
        }
        assert_eq!(get("/healthz").await.0, 200);
    }
    // In HTTP/2 the name is not a header; the client takes it from its URL.
    let second = reqwest::Client::builder()
        .http2_prior_knowledge()
        .resolve("evil.example", app.url("").trim_start_matches("http://").parse().unwrap());
    let url = app.url("/graphql").replace("127.0.0.1", "evil.example");
    let sent = second.build().unwrap().post(url).json(&json!({ "query": QUERY }));
    assert_refused(sent, 421, "HOST_NOT_ALLOWED").await;
}

async fn listed_hosts_are_accepted(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.server.http.allowed_hosts = vec!["calls.example".to_owned()];
    })
    .await;
    let send = |host: &str| post(&app).header("Host", host).json(&json!({ "query": QUERY }));
    for host in ["calls.example", "Calls.Example.:443", "localhost:8000"] {
        assert_eq!(answer(send(host)).await.0, 200, "{host}");
    }
    for host in ["evil.example", "x.calls.example"] {
        assert_refused(send(host), 421, "HOST_NOT_ALLOWED").await;
    }
}

async fn every_route_checks_the_host(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let send = async |method: Method, path: &str, host: &str| {
        let request = app.client().request(method, app.url(path)).header("Host", host);
        request.send().await.unwrap().status().as_u16()
    };
    for (method, path) in [
        (Method::GET, "/metrics"),
        (Method::GET, "/graphql"),
        (Method::POST, "/graphql"),
        (Method::GET, "/graphql/stream"),
        (Method::POST, "/graphql/stream"),
        (Method::GET, "/graphql/ws"),
        (Method::POST, "/ingest/calls"),
        (Method::POST, "/ingest/errors"),
        (Method::POST, "/v1/traces"),
        (Method::GET, "/session"),
        (Method::POST, "/session"),
        (Method::DELETE, "/session"),
        (Method::GET, "/schema.graphql"),
        (Method::GET, "/graphiql"),
        (Method::GET, "/"),
        (Method::GET, "/nothing"),
    ] {
        assert_eq!(send(method.clone(), path, "evil.example").await, 421, "{method} {path}");
        assert_ne!(send(method.clone(), path, "localhost").await, 421, "{method} {path}");
    }
    for host in ["127.0.0.1:9100", "localhost", "[::1]:8000"] {
        assert_eq!(
            send(Method::GET, "/metrics", host).await,
            200,
            "a scraper on this machine: {host}"
        );
    }
    // These routes return no data.
    for path in ["/healthz", "/readyz"] {
        assert_eq!(send(Method::GET, path, "evil.example").await, 200, "{path}");
    }
}

async fn anonymous_scopes_require_a_loopback_host(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.access = settings(&["--anonymous-scopes", "READ,METRICS"]);
    })
    .await;
    let send = |host: &str| post(&app).header("Host", host).json(&json!({ "query": QUERY }));
    assert_eq!(answer(send("localhost")).await.0, 200);
    assert_refused(send("evil.example"), 421, "HOST_NOT_ALLOWED").await;
    let metrics = app.get("/metrics").header("Host", "evil.example");
    assert_refused(metrics, 421, "HOST_NOT_ALLOWED").await;
}

async fn metrics_with_a_token_accept_any_host(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.access = settings(&["--tokens", "scraper:METRICS:scraper-0123456789"]);
        config.server.http.allowed_hosts = vec!["calls.example".to_owned()];
    })
    .await;
    let get = || app.get("/metrics").header("Host", "10.0.0.1:8000");
    assert_eq!(answer(get().bearer_auth("scraper-0123456789")).await.0, 200);
    assert_refused(get(), 421, "HOST_NOT_ALLOWED").await;
}
