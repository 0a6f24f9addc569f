//! The page: how its files are served. `web/tests` tests its behaviour in a browser.

use reqwest::Response;
use reqwest::header::HeaderMap;

use crate::support::{Kind, TestApp, TestDatabase};
use crate::tests;

tests! {
    the_page_is_served_at_its_paths.only(&[Kind::Sqlite]),
    an_unknown_path_returns_the_page_to_a_browser.only(&[Kind::Sqlite]),
    files_are_cached_and_the_page_is_revalidated.only(&[Kind::Sqlite]),
    brotli_is_sent_when_accepted.only(&[Kind::Sqlite]),
    an_unchanged_page_is_not_sent_again.only(&[Kind::Sqlite]),
    the_page_may_only_use_its_own_origin.only(&[Kind::Sqlite]),
    graphiql_is_part_of_the_server.only(&[Kind::Sqlite]),
    the_page_is_served_before_signing_in.only(&[Kind::Sqlite]),
}

async fn get(app: &TestApp, path: &str, headers: &[(&'static str, &str)]) -> Response {
    let mut request = app.get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

/// The URLs of the script and the style of a page.
async fn files_of(app: &TestApp, path: &str) -> Vec<String> {
    let page = get(app, path, &[]).await.text().await.unwrap();
    let parts = page.split('"').filter(|part| part.starts_with("/assets/"));
    parts.map(str::to_owned).collect()
}

async fn files(app: &TestApp) -> Vec<String> {
    files_of(app, "/").await
}

async fn the_page_is_served_at_its_paths(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let page = get(&app, "/", &[]).await.text().await.unwrap();
    assert!(page.starts_with("<!doctype html>"), "{page}");
    for path in ["/calls", "/calls?status=failure", "/keys", "/keys/key_x", "/errors"] {
        let response = get(&app, path, &[]).await;
        assert_eq!(value(response.headers(), "content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(response.text().await.unwrap(), page, "{path}");
    }
    for path in ["/call", "/calls/1", "/keys/a/b", "/index.html", "/assets/", "/assets/x.js"] {
        assert_eq!(get(&app, path, &[]).await.status(), 404, "{path}");
    }
    assert_eq!(app.client().post(app.url("/calls")).send().await.unwrap().status(), 405);
}

async fn an_unknown_path_returns_the_page_to_a_browser(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let page = get(&app, "/", &[]).await;
    let etag = value(page.headers(), "etag").unwrap().to_owned();
    let page = page.text().await.unwrap();
    let browser =
        [("accept", "text/html,application/xhtml+xml,*/*;q=0.8"), ("if-none-match", &*etag)];
    for path in ["/nowhere", "/calls/1", "/keys/a/b"] {
        let response = get(&app, path, &browser).await;
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(value(response.headers(), "content-type"), Some("text/html; charset=utf-8"));
        assert!(value(response.headers(), "content-security-policy").is_some());
        assert_eq!(response.text().await.unwrap(), page, "{path}");
        let other = get(&app, path, &[("accept", "application/json")]).await;
        assert_eq!((other.status().as_u16(), other.text().await.unwrap().as_str()), (404, ""));
    }
    let post = app.client().post(app.url("/nowhere")).header("accept", "text/html");
    assert_eq!(post.send().await.unwrap().text().await.unwrap(), "");
}

async fn files_are_cached_and_the_page_is_revalidated(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let files = files(&app).await;
    for end in [".js", ".css", ".svg"] {
        assert!(files.iter().any(|file| file.ends_with(end)), "{files:?}");
    }
    for file in files {
        let response = get(&app, &file, &[]).await;
        assert_eq!(response.status(), 200, "{file}");
        let headers = response.headers();
        assert_eq!(value(headers, "cache-control"), Some("public, max-age=31536000, immutable"));
        let kind = value(headers, "content-type").unwrap();
        assert!(["text/javascript", "text/css", "image/svg"].iter().any(|of| kind.starts_with(of)));
        assert!(!response.bytes().await.unwrap().is_empty());
    }
    let page = get(&app, "/keys", &[]).await;
    assert_eq!(value(page.headers(), "cache-control"), Some("no-cache"));
}

async fn brotli_is_sent_when_accepted(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for file in files(&app).await {
        let plain = get(&app, &file, &[("accept-encoding", "gzip, br;q=0")]).await;
        assert_eq!(value(plain.headers(), "content-encoding"), None);
        assert_eq!(value(plain.headers(), "vary"), Some("accept-encoding"));
        let small = get(&app, &file, &[("accept-encoding", "gzip, br")]).await;
        assert_eq!(value(small.headers(), "content-encoding"), Some("br"));
        assert_eq!(value(small.headers(), "vary"), Some("accept-encoding"));
        let (plain, small) = (plain.bytes().await.unwrap(), small.bytes().await.unwrap());
        let mut opened = Vec::new();
        brotli::BrotliDecompress(&mut small.as_ref(), &mut opened).unwrap();
        assert_eq!(opened, plain, "{file}");
        let head = app.client().head(app.url(&file)).header("accept-encoding", "br");
        let head = head.send().await.unwrap();
        assert_eq!(value(head.headers(), "content-length"), Some(&*small.len().to_string()));
        assert!(head.bytes().await.unwrap().is_empty());
    }
}

async fn an_unchanged_page_is_not_sent_again(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let first = get(&app, "/", &[]).await;
    let etag = value(first.headers(), "etag").unwrap().to_owned();
    let bare = etag.trim_start_matches("W/").to_owned();
    for known in [&*etag, &*bare, "*", &*format!("\"other\", {etag}")] {
        let again = get(&app, "/", &[("if-none-match", known)]).await;
        assert_eq!(again.status(), 304, "{known}");
        assert_eq!(value(again.headers(), "etag"), Some(&*etag));
        assert!(again.bytes().await.unwrap().is_empty());
    }
    assert_eq!(get(&app, "/", &[("if-none-match", "\"other\"")]).await.status(), 200);
}

async fn the_page_may_only_use_its_own_origin(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let mut paths = files(&app).await;
    paths.push("/".to_owned());
    for path in paths {
        let response = get(&app, &path, &[]).await;
        let headers = response.headers();
        let policy = value(headers, "content-security-policy").unwrap();
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(value(headers, "x-content-type-options"), Some("nosniff"));
        assert_eq!(value(headers, "referrer-policy"), Some("no-referrer"));
    }
}

async fn graphiql_is_part_of_the_server(database: TestDatabase) {
    let tokens = "reader:READ:reader-token-0123456789";
    let app = TestApp::start_with_tokens(&database, tokens).await;
    let response = get(&app, "/graphiql", &[]).await;
    assert_eq!(response.status(), 200);
    let headers = response.headers();
    assert_eq!(value(headers, "content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(value(headers, "cache-control"), Some("no-cache"));
    let policy = value(headers, "content-security-policy").unwrap();
    // Only inline styles are allowed, for the editor. Everything else is loaded from this server.
    let rules: Vec<&str> = policy.split("; ").collect();
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "worker-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(rules.contains(&rule), "{rule}: {policy}");
    }
    assert!(!policy.contains("http") && !policy.contains('*'), "{policy}");
    let files = files_of(&app, "/graphiql").await;
    for end in [".js", ".css"] {
        assert!(files.iter().any(|file| file.ends_with(end)), "{files:?}");
    }
    for file in files {
        let response = get(&app, &file, &[]).await;
        assert_eq!(response.status(), 200, "{file}");
        // Only GraphiQL's page has the relaxed policy.
        let policy = value(response.headers(), "content-security-policy").unwrap();
        assert!(!policy.contains("unsafe"), "{file}: {policy}");
    }
    assert_eq!(get(&app, "/graphiql.html", &[]).await.status(), 404);
}

async fn the_page_is_served_before_signing_in(database: TestDatabase) {
    let tokens = "reader:READ:reader-token-0123456789";
    let app = TestApp::start_with_tokens(&database, tokens).await;
    for headers in [
        [].as_slice(),
        &[("cookie", "callscope_session=of.another.server")],
        &[("authorization", "Bearer gone")],
    ] {
        assert_eq!(get(&app, "/calls", headers).await.status(), 200, "{headers:?}");
    }
}
