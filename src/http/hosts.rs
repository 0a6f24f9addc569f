//! The names by which the server may be called. Whoever owns a domain can point it at 127.0.0.1 and so
//! read, from a page of that domain, what a browser takes for the page's own server (DNS rebinding).
//! Such a request has the name of that domain in its Host header.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// Which names are taken.
#[derive(Clone, Debug)]
pub enum Hosts {
    /// What protects the server does not depend on its name.
    Any,
    /// Those of loopback, and these.
    Named(Arc<[String]>),
}

impl Hosts {
    /// `exposed`: whether whoever reaches the server may read it, so that being reached is all that
    /// counts.
    pub fn new(allowed: &[String], exposed: bool) -> Self {
        if allowed.is_empty() && !exposed { Self::Any } else { Self::Named(allowed.into()) }
    }

    /// Refuses a request that came by another name.
    pub(super) fn check(&self, request: &Request) -> Result<(), Problem> {
        if self.take(request) {
            return Ok(());
        }
        let message = "this server does not go by the name in the Host header; \
                       `--allowed-hosts` names those that it does";
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "HOST_NOT_ALLOWED", message))
    }

    fn take(&self, request: &Request) -> bool {
        let Self::Named(allowed) = self else { return true };
        // HTTP/2 and absolute URLs have the name there, HTTP/1.1 in the header. Where both are
        // given both count, so that it does not matter which of them somebody else goes by.
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

/// The name alone, in lower case: without the port, and without the dot that may end it.
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

/// Refuses requests that came by another name.
pub(super) async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    match hosts.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_without_port_and_case() {
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
