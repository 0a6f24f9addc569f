//! Which web pages may connect. A browser lets a page of any site open a WebSocket to any server, sends
//! cookies along, and asks nobody first: CORS does not apply. It tells where the page is from, though.

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};

use super::super::address::is_https;
use super::super::problem::Problem;

/// Refuses pages of other origins than the server's own and the `listed`, and whoever is known by a
/// cookie without saying where from: every browser says so. `trusts_proxy` as in [`is_https`].
pub(super) fn check(
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
    let message = "a web page of this origin may not connect; `--cors-origin` names those that may, \
                   and a proxy must hand on the Host header";
    Err(Problem::new(StatusCode::FORBIDDEN, "CSRF_PREVENTED", message))
}

/// Whether the page comes from the name by which the server is called.
fn is_own(headers: &HeaderMap, origin: &str, is_https: bool) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next())
    else {
        return false;
    };
    let (host, origin) = (host.to_ascii_lowercase(), origin.to_ascii_lowercase());
    let (name, port) = match origin.split_once("://") {
        Some(("https", name)) => (name, ":443"),
        // Behind a proxy that speaks TLS, a page without it may be anybody's on the way.
        Some(("http", name)) if !is_https => (name, ":80"),
        _ => return false,
    };
    name.strip_suffix(port).unwrap_or(name) == host.strip_suffix(port).unwrap_or(&host)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn takes(headers: &[(&'static str, &str)], by_cookie: bool) -> bool {
        takes_behind(headers, by_cookie, true)
    }

    fn takes_behind(headers: &[(&'static str, &str)], by_cookie: bool, trusts_proxy: bool) -> bool {
        let listed = ["https://dash.example".to_owned()];
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| {
            map.append(name, value);
        });
        check(&map, &listed, by_cookie, trusts_proxy).is_ok()
    }

    #[test]
    fn a_page_of_the_server_is_its_own_whatever_the_default_port() {
        for (origin, host) in [
            ("http://localhost:8000", "localhost:8000"),
            ("http://LOCALHOST:8000", "localhost:8000"),
            ("https://calls.example", "Calls.Example"),
            ("https://calls.example", "calls.example:443"),
            ("http://calls.example:80", "calls.example"),
            ("http://[::1]:8000", "[::1]:8000"),
        ] {
            assert!(takes(&[("origin", origin), ("host", host)], true), "{origin} {host}");
        }
    }

    #[test]
    fn other_pages_are_refused() {
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
            assert!(!takes(&headers, false), "{origin}");
        }
        let twice = [("origin", "http://a"), ("origin", "http://a"), ("host", "a")];
        assert!(!takes(&twice, false));
        assert!(!takes(&[("origin", "http://a"), ("host", "a"), ("host", "a")], false));
        assert!(!takes(&[("origin", "http://a")], false));
        assert!(takes(&[("origin", "https://dash.example"), ("host", "a")], true));
    }

    #[test]
    fn a_cookie_needs_an_origin() {
        assert!(!takes(&[("host", "a")], true));
        assert!(takes(&[("host", "a")], false));
    }

    #[test]
    fn behind_tls_a_page_without_is_not_the_servers() {
        let from = |origin, trusts_proxy| {
            let scheme = ("x-forwarded-proto", "https");
            let headers = [("origin", origin), ("host", "a.example"), scheme];
            takes_behind(&headers, true, trusts_proxy)
        };
        assert!(from("https://a.example", true) && !from("http://a.example", true));
        assert!(from("http://a.example", false), "the header is not believed");
    }
}
