//! The client of a request: its address and scheme, as a trusted proxy reports them, and the key that limits
//! are counted by.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::HeaderMap;

/// The client's address: the peer of the connection or, behind a trusted proxy, the last entry of
/// `X-Forwarded-For`. A proxy appends the address that it saw; earlier entries are the client's claim.
pub(crate) fn client_address(headers: &HeaderMap, peer: IpAddr, trust: bool) -> IpAddr {
    let forwarded = || {
        let last = headers.get_all("X-Forwarded-For").iter().next_back()?.to_str().ok()?;
        parse(last.rsplit(',').next()?.trim())
    };
    let address = if trust { forwarded() } else { None };
    address.unwrap_or(peer).to_canonical()
}

/// Whether the client used TLS, by the `X-Forwarded-Proto` header of a trusted proxy
/// (`--trust-forwarded-for`).
pub(crate) fn is_https(headers: &HeaderMap, trust: bool) -> bool {
    let last = headers.get_all("X-Forwarded-Proto").iter().next_back();
    let scheme = last.and_then(|value| value.to_str().ok()?.rsplit(',').next());
    trust && scheme.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

/// Parses an address with or without a port.
fn parse(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().or_else(|_| with_port()).ok().or_else(bracketed)
}

/// The client that limits are counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClientKey {
    Token(String),
    Address(IpAddr),
    /// All clients without an own bucket.
    Others,
}

impl ClientKey {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self::Address(network_of(address))
    }

    /// A unique name of the client.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Token(name) => format!("token {name}"),
            Self::Address(address) => format!("address {address}"),
            Self::Others => "others".to_owned(),
        }
    }
}

/// The addresses that count as one client: one IPv4 address, or an IPv6 /64 network, all of which one
/// machine may use.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(forwarded: &[&'static str], trust: bool) -> String {
        let headers = forwarded.iter().map(|value| {
            let name = axum::http::HeaderName::from_static("x-forwarded-for");
            (name, axum::http::HeaderValue::from_static(value))
        });
        let headers: HeaderMap = headers.fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        });
        client_address(&headers, "::ffff:10.0.0.1".parse().unwrap(), trust).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_sets_the_scheme() {
        let is_https = |scheme: &'static str, trust| {
            let name = axum::http::HeaderName::from_static("x-forwarded-proto");
            let value = axum::http::HeaderValue::from_static(scheme);
            super::is_https(&HeaderMap::from_iter([(name, value)]), trust)
        };
        assert!(is_https("https", true) && is_https("http, HTTPS", true));
        assert!(!is_https("https", false) && !is_https("http", true));
        assert!(!is_https("https, http", true));
        assert!(!super::is_https(&HeaderMap::new(), true));
    }

    #[test]
    fn the_last_forwarded_address_is_used() {
        assert_eq!(address(&["1.2.3.4"], false), "10.0.0.1");
        assert_eq!(address(&[], true), "10.0.0.1");
        assert_eq!(address(&["6.6.6.6, 1.2.3.4"], true), "1.2.3.4");
        assert_eq!(address(&["6.6.6.6", "7.7.7.7, 1.2.3.4:567"], true), "1.2.3.4");
        assert_eq!(address(&["[2001:db8::1]:80"], true), "2001:db8::1");
        assert_eq!(address(&["[2001:db8::1]"], true), "2001:db8::1");
        assert_eq!(address(&["2001:db8::1"], true), "2001:db8::1");
        assert_eq!(address(&["unknown"], true), "10.0.0.1");
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let of = |text: &str| ClientKey::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_ne!(of("::ffff:10.0.0.1"), of("::ffff:10.0.0.2"), "IPv4-mapped addresses");
    }
}
