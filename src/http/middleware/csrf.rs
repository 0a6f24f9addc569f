//! Protection from cross-site request forgery. A browser sends a preflight, which CORS answers, unless the
//! request is a simple one: a form, a text, or a GET with the usual headers. POST routes accept only JSON,
//! NDJSON and protobuf, which are not simple, so only GET needs a check: another site could not read the
//! response, but the server would do the work and audit it under the user's name.
//!
//! WebSockets need a check of the origin, since CORS does not apply to them: a browser lets a page of any
//! site connect to any server, with cookies and without a preflight, but sends the page's origin.

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};

use crate::http::body::is_json;
use crate::http::client::is_https;
use crate::http::problem::Problem;

/// Headers that no simple request has: our own, those of Apollo's clients and of other servers.
const PREFLIGHT_HEADERS: [&str; 5] = [
    "x-callscope-client",
    "apollo-require-preflight",
    "x-apollo-operation-name",
    "graphql-preflight",
    "x-requested-with",
];

/// Rejects a GET that a browser sends without a preflight.
pub(crate) fn reject_simple(headers: &HeaderMap) -> Result<(), Problem> {
    let is_set = |name: &&str| headers.get(*name).is_some_and(|value| !value.is_empty());
    let has_header = PREFLIGHT_HEADERS.iter().any(is_set);
    // A browser adds `Basic` credentials automatically, but never a bearer token.
    let bearer = headers.get(AUTHORIZATION).is_some_and(|value| {
        value.as_bytes().get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"Bearer "))
    });
    if has_header || bearer || is_json(headers) {
        return Ok(());
    }
    let message = "a GET request needs a header that other web sites cannot set, for example \
                   X-Callscope-Client with the name of your client";
    Err(Problem::new(StatusCode::FORBIDDEN, "CSRF_PREVENTED", message))
}

/// Rejects WebSockets of pages of other origins than the server's own and the `listed`. A cookie requires an
/// `Origin` header, which every browser sends. `trusts_proxy` as in [`is_https`].
pub(crate) fn check_origin(
    headers: &HeaderMap,
    listed: &[String],
    by_cookie: bool,
    trusts_proxy: bool,
) -> Result<(), Problem> {
    let is_https = is_https(headers, trusts_proxy);
    let mut origins = headers.get_all(ORIGIN).iter();
    let is_allowed = match (origins.next(), origins.next()) {
        (None, _) => !by_cookie,
        (Some(origin), None) => origin.to_str().is_ok_and(|origin| {
            listed.iter().any(|listed| listed == origin) || is_own(headers, origin, is_https)
        }),
        _ => false,
    };
    if is_allowed {
        return Ok(());
    }
    let message = "web pages of this origin may not connect; allow the origin with `--cors-origin`, and \
                   let a proxy forward the Host header";
    Err(Problem::new(StatusCode::FORBIDDEN, "CSRF_PREVENTED", message))
}

/// Whether the origin is the server itself, by the Host header.
fn is_own(headers: &HeaderMap, origin: &str, is_https: bool) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next())
    else {
        return false;
    };
    let (host, origin) = (host.to_ascii_lowercase(), origin.to_ascii_lowercase());
    let (name, port) = match origin.split_once("://") {
        Some(("https", name)) => (name, ":443"),
        // If the proxy uses TLS, a page without TLS may come from an attacker on the network.
        Some(("http", name)) if !is_https => (name, ":80"),
        _ => return false,
    };
    name.strip_suffix(port).unwrap_or(name) == host.strip_suffix(port).unwrap_or(&host)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn allows(headers: &[(&'static str, &str)], by_cookie: bool) -> bool {
        allows_behind_proxy(headers, by_cookie, true)
    }

    fn allows_behind_proxy(
        headers: &[(&'static str, &str)],
        by_cookie: bool,
        trusts_proxy: bool,
    ) -> bool {
        let listed = ["https://dash.example".to_owned()];
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| {
            map.append(name, value);
        });
        check_origin(&map, &listed, by_cookie, trusts_proxy).is_ok()
    }

    #[test]
    fn pages_of_the_server_may_connect_with_or_without_default_port() {
        for (origin, host) in [
            ("http://localhost:8000", "localhost:8000"),
            ("http://LOCALHOST:8000", "localhost:8000"),
            ("https://calls.example", "Calls.Example"),
            ("https://calls.example", "calls.example:443"),
            ("http://calls.example:80", "calls.example"),
            ("http://[::1]:8000", "[::1]:8000"),
        ] {
            assert!(allows(&[("origin", origin), ("host", host)], true), "{origin} {host}");
        }
    }

    #[test]
    fn other_pages_are_rejected() {
        for origin in [
            "null",
            "",
            "http://evil.example",
            "http://localhost",
            "http://localhost:8001",
            "http://localhost:8000.evil.example",
            "http://evil.example/localhost:8000",
            "file://localhost:8000",
            "localhost:8000",
            "https://dash.example.evil.example",
            "http://dash.example",
        ] {
            let headers = [("origin", origin), ("host", "localhost:8000")];
            assert!(!allows(&headers, false), "{origin}");
        }
        let twice = [("origin", "http://a"), ("origin", "http://a"), ("host", "a")];
        assert!(!allows(&twice, false));
        assert!(!allows(&[("origin", "http://a"), ("host", "a"), ("host", "a")], false));
        assert!(!allows(&[("origin", "http://a")], false));
        assert!(allows(&[("origin", "https://dash.example"), ("host", "a")], true));
    }

    #[test]
    fn a_cookie_needs_an_origin() {
        assert!(!allows(&[("host", "a")], true));
        assert!(allows(&[("host", "a")], false));
    }

    #[test]
    fn behind_tls_a_page_without_tls_is_rejected() {
        let from = |origin, trusts_proxy| {
            let scheme = ("x-forwarded-proto", "https");
            let headers = [("origin", origin), ("host", "a.example"), scheme];
            allows_behind_proxy(&headers, true, trusts_proxy)
        };
        assert!(from("https://a.example", true) && !from("http://a.example", true));
        assert!(from("http://a.example", false), "the header is ignored");
    }
}
