//! Check of the Host header against DNS rebinding: the owner of a domain can point it at 127.0.0.1, so that
//! a browser lets a page of that domain read this server's responses. Such a request has that domain in its
//! Host header.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::problem::Problem;

/// The accepted host names.
#[derive(Clone, Debug)]
pub enum Hosts {
    /// Every name: the server requires credentials, which another page does not have.
    Any,
    /// The loopback names and these.
    Named(Arc<[String]>),
}

impl Hosts {
    /// `exposed`: every client that reaches the server may read it.
    pub fn new(allowed: &[String], exposed: bool) -> Self {
        if allowed.is_empty() && !exposed { Self::Any } else { Self::Named(allowed.into()) }
    }

    /// Rejects a request with another host name.
    pub(crate) fn check(&self, request: &Request) -> Result<(), Problem> {
        if self.allow(request) {
            return Ok(());
        }
        let message = "the name in the Host header is not allowed; allow it with `--allowed-hosts`";
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "HOST_NOT_ALLOWED", message))
    }

    fn allow(&self, request: &Request) -> bool {
        let Self::Named(allowed) = self else { return true };
        // HTTP/2 and absolute URLs have the name in the URI, HTTP/1.1 in the header. If both are set, both
        // must be allowed: a proxy may read either of them.
        let authority = request.uri().authority().map(|authority| authority.as_str());
        let headers = request.headers().get_all(HOST).iter().map(HeaderValue::to_str);
        let mut names = authority.into_iter().map(Some).chain(headers.map(Result::ok)).peekable();
        names.peek().is_some()
            && names.all(|name| {
                name.and_then(host_of)
                    .is_some_and(|host| is_loopback(&host) || allowed.contains(&host))
            })
    }
}

/// The host name in lower case, without port and without a final dot.
fn host_of(authority: &str) -> Option<String> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let port = port.strip_prefix(':').unwrap_or(port);
    let is_plain = port.bytes().all(|byte| byte.is_ascii_digit()) && !host.contains('@');
    is_plain.then(|| host.trim_end_matches('.').to_ascii_lowercase())
}

fn is_loopback(host: &str) -> bool {
    let address = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().map(IpAddr::V6).ok(),
        None => host.parse().ok(),
    };
    match address {
        Some(address) => address.to_canonical().is_loopback(),
        None => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// Middleware of the check.
pub(crate) async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    match hosts.check(&request) {
        Ok(()) => next.run(request).await,
        Err(rejection) => rejection.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_have_no_port_and_are_lower_case() {
        for (authority, host) in [
            ("LocalHost:8000", Some("localhost")),
            ("calls.example.com.", Some("calls.example.com")),
            ("[::1]:8000", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("[::1", None),
            ("localhost:80@evil.example", None),
            ("localhost@evil.example", None),
            ("127.0.0.1:x", None),
        ] {
            assert_eq!(host_of(authority).as_deref(), host, "{authority}");
        }
    }

    #[test]
    fn loopback_has_many_names() {
        for host in [
            "localhost",
            "calls.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "localhost.evil.example",
            "evillocalhost",
            "0.0.0.0",
            "[::]",
            "10.0.0.1",
            "127.0.0.1.nip.io",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
