//! Where a request comes from, as a trusted proxy reports it.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

/// The address of the client: the other end of the connection, or what the proxy there says where it
/// is trusted. A proxy appends the address that it saw; what stands before came from the client.
pub(super) fn client_address(headers: &HeaderMap, peer: IpAddr, trust: bool) -> IpAddr {
    let forwarded = || {
        let last = headers.get_all("X-Forwarded-For").iter().next_back()?.to_str().ok()?;
        parse(last.rsplit(',').next()?.trim())
    };
    let address = if trust { forwarded() } else { None };
    address.unwrap_or(peer).to_canonical()
}

/// Whether the client used TLS, by the `X-Forwarded-Proto` of a proxy that `--trust-forwarded-for` trusts.
pub(super) fn is_https(headers: &HeaderMap, trust: bool) -> bool {
    let last = headers.get_all("X-Forwarded-Proto").iter().next_back();
    let scheme = last.and_then(|value| value.to_str().ok()?.rsplit(',').next());
    trust && scheme.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

/// An address, with a port behind it or without.
fn parse(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().or_else(|_| with_port()).ok().or_else(bracketed)
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
    fn the_scheme_is_believed_from_a_trusted_proxy_alone() {
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
    fn the_last_address_is_the_proxys() {
        assert_eq!(address(&["1.2.3.4"], false), "10.0.0.1");
        assert_eq!(address(&[], true), "10.0.0.1");
        assert_eq!(address(&["6.6.6.6, 1.2.3.4"], true), "1.2.3.4");
        assert_eq!(address(&["6.6.6.6", "7.7.7.7, 1.2.3.4:567"], true), "1.2.3.4");
        assert_eq!(address(&["[2001:db8::1]:80"], true), "2001:db8::1");
        assert_eq!(address(&["[2001:db8::1]"], true), "2001:db8::1");
        assert_eq!(address(&["2001:db8::1"], true), "2001:db8::1");
        assert_eq!(address(&["unknown"], true), "10.0.0.1");
    }
}
