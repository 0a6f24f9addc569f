//! Allowed hosts and origins, and the limits of connections.

use std::path::PathBuf;

use clap::Args;

use super::{u32_in, u64_in};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "HTTP")]
pub struct HttpConfig {
    /// Accepted host names, comma-separated (the Host header without its port). Loopback names are always
    /// accepted. By default a server on loopback accepts only those, any other server accepts all names
    #[arg(long, env, value_name = "NAMES", value_delimiter = ',', value_parser = parse_host)]
    pub allowed_hosts: Vec<String>,

    /// Origins of web pages that may use the API, comma-separated: `https://dash.example.com`
    #[arg(long, env, value_name = "ORIGINS", value_delimiter = ',', value_parser = parse_origin)]
    pub cors_origin: Vec<String>,

    /// The maximum of GraphQL requests in one HTTP request; with 1, batches (arrays) are rejected
    #[arg(long, env, value_name = "N", default_value_t = 1, value_parser = u32_in(1..=100))]
    pub max_batch: u32,

    /// The maximum of open connections. For a new one, the server closes an idle connection of the address
    /// with the most; if none is idle, the new one waits
    #[arg(long, env, value_name = "N", default_value_t = 1000, value_parser = u32_in(1..=100_000))]
    pub max_connections: u32,

    /// The maximum of open connections per address (for IPv6, per /64). A further one is closed, unless an
    /// idle one of the address can be closed instead. Behind a proxy, all connections have its address.
    /// By default three quarters of `--max-connections`
    #[arg(long, env, value_name = "N", value_parser = u32_in(1..=100_000))]
    pub max_connections_per_address: Option<u32>,

    /// Seconds that a client may take to send the head of its next request, to initialise a WebSocket, or
    /// to receive a part of a response, before its connection is closed
    #[arg(long, env, value_name = "S", default_value_t = 30, value_parser = u64_in(1..=3600))]
    pub client_timeout_seconds: u64,

    /// The maximum of cached documents for automatic persisted queries; 0 disables them
    #[arg(long, env, value_name = "N", default_value_t = 1000, value_parser = u32_in(0..=100_000))]
    pub persisted_queries: u32,

    /// A manifest of trusted documents, as graphql-codegen, relay-compiler or Apollo write it. Only these
    /// and the documents of the dashboard are accepted
    #[arg(long, env, value_name = "FILE")]
    pub trusted_documents: Option<PathBuf>,
}

impl HttpConfig {
    /// The limit of connections per address.
    pub fn connections_per_address(&self) -> u32 {
        self.max_connections_per_address.unwrap_or(self.max_connections - self.max_connections / 4)
    }
}

/// A name or address as in a Host header, without port.
fn parse_host(name: &str) -> Result<String, String> {
    let name = name.trim().trim_end_matches('.').to_ascii_lowercase();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    match address {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => Ok(name),
        None if is_name(&name) => Ok(name),
        _ => {
            Err("a host is a name or an address without scheme and port: calls.example.com".into())
        }
    }
}

/// An origin as a browser sends it. Not `*` or `null`, which would match any page.
fn parse_origin(origin: &str) -> Result<String, String> {
    let origin = origin.trim().trim_end_matches('/').to_ascii_lowercase();
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    match host {
        Some(host)
            if !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte)) =>
        {
            Ok(origin)
        }
        _ => {
            Err("an origin is a scheme, a host and perhaps a port: https://dash.example.com".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_origins_are_exact() {
        assert_eq!(parse_host("Calls.Example.com."), Ok("calls.example.com".into()));
        assert_eq!(parse_host("[::1]"), Ok("[::1]".into()));
        for host in ["", "*", "*.example.com", "https://a", "a:80", "a/b", "[x]"] {
            assert!(parse_host(host).is_err(), "{host}");
        }
        assert_eq!(parse_origin("https://A.example/"), Ok("https://a.example".into()));
        assert_eq!(parse_origin("http://localhost:3000"), Ok("http://localhost:3000".into()));
        for origin in
            ["", "*", "null", "a.example", "https://", "https://a/b", "https://*.a", "file://a"]
        {
            assert!(parse_origin(origin).is_err(), "{origin}");
        }
    }
}
