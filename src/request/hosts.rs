//! Where the requests of a client go.

use std::net::Ipv6Addr;

use http::Uri;
use http::uri::Authority;

/// A host that may be sent decisions: any port of it unless one is named, by any scheme unless one is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    scheme: Option<&'static str>,
    /// In lower case. An IPv6 address is in brackets.
    name: String,
    port: Option<u16>,
}

impl Host {
    /// `payments.internal`, `payments.internal:8443`, `[::1]:8443`, or an origin: `https://payments.internal`.
    pub(super) fn parse(given: &str) -> Option<Self> {
        let (scheme, rest) = match given.split_once("://") {
            Some((scheme, rest)) => (Some(known(scheme)?), rest.strip_suffix('/').unwrap_or(rest)),
            None => (None, given),
        };
        let authority: Authority = rest.parse().ok()?;
        let name = authority.host();
        let port = match rest.strip_prefix(name)? {
            "" => scheme.and_then(default_port),
            _ => Some(authority.port_u16()?),
        };
        is_name(name).then(|| Self { scheme, name: name.to_ascii_lowercase(), port })
    }

    /// Whether a request to this URI goes to this host. One that names no host goes nowhere that is known.
    pub(super) fn has(&self, uri: &Uri) -> bool {
        let scheme = uri.scheme_str();
        let port = uri.port_u16().or_else(|| default_port(scheme?));
        uri.host().is_some_and(|name| name.eq_ignore_ascii_case(&self.name))
            && self.scheme.is_none_or(|own| scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(own)))
            && self.port.is_none_or(|own| port == Some(own))
    }
}

fn known(scheme: &str) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|known| known.eq_ignore_ascii_case(scheme))
}

fn default_port(scheme: &str) -> Option<u16> {
    match known(scheme)? {
        "http" => Some(80),
        _ => Some(443),
    }
}

/// A name or an IPv4 address, with the underscores of container networks; or an IPv6 address in brackets. No pattern:
/// a name with `*` in it, or one that begins with a dot, would match nothing.
fn is_name(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_fit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(host: &str, uri: &str) -> bool {
        Host::parse(host).unwrap().has(&uri.parse().unwrap())
    }

    #[test]
    fn a_host_is_compared_with_the_port_and_the_scheme_that_it_names() {
        for uri in ["http://payments.internal/pay", "https://Payments.Internal", "http://payments.internal:81/?a=b"] {
            assert!(has("payments.internal", uri) && has("PAYMENTS.internal", uri), "{uri}");
        }
        assert!(has("payments:443", "https://payments/") && has("payments:80", "http://payments/"));
        assert!(has("payments:8443", "https://payments:8443/") && has("payments:8443", "http://payments:8443/"));
        assert!(has("https://payments", "https://payments/") && has("HTTPS://payments/", "https://payments:443/"));
        assert!(has("http://payments:81", "http://payments:81/") && has("[::1]:81", "http://[::1]:81/"));
        assert!(has("127.0.0.1", "http://127.0.0.1:81/") && has("my_payments", "http://my_payments/"));
        assert!(has("payments", "payments:443"), "a request for a tunnel");
        assert!(has("payments", "http://user:word@payments/"), "whatever is before the host");
    }

    #[test]
    fn what_only_looks_like_the_host_is_another() {
        for uri in [
            "/",
            "*",
            "payments.internal",
            "http://evil.example/",
            "http://payments.internal.evil.example/",
            "http://evil.example/payments.internal",
            "http://evil.example/?payments.internal",
            "http://payments.internal@evil.example/",
            "http://payments.internal:443@evil.example/",
            "http://a@payments.internal@evil.example/",
            "http://sub.payments.internal/",
            "http://payments.interna/",
            "http://xpayments.internal/",
            "http://payments.internal./",
            "http://payments%2einternal/",
            "http://payments.internal%00.evil.example/",
        ] {
            let Ok(uri) = uri.parse::<Uri>() else { continue };
            // A name alone is a request for a tunnel to it, as hosts have no ports there.
            let is_tunnel = uri.scheme().is_none() && uri.host() == Some("payments.internal");
            assert_eq!(Host::parse("payments.internal").unwrap().has(&uri), is_tunnel, "{uri}");
        }
        assert!(!has("payments:8443", "http://payments/") && !has("payments:8443", "http://payments:8444/"));
        assert!(!has("https://payments", "http://payments/") && !has("https://payments", "http://payments:443/"));
        assert!(!has("https://payments", "https://payments:8443/") && !has("http://payments", "payments:80"));
        assert!(!has("[::1]", "http://[::2]/") && !has("127.0.0.1", "http://127.0.0.11/"));
    }

    #[test]
    fn what_is_no_host_is_none() {
        for given in [
            "",
            "*",
            "*.internal",
            ".internal",
            "pay ments",
            "payments:",
            "payments:0x50",
            "payments:65536",
            "payments/pay",
            "https://payments/pay",
            "https://payments//",
            "https://",
            "ftp://payments",
            "user@payments",
            "payments?a",
            "payments#a",
            "pay,ments",
            "::1",
            "[::1",
            "[payments]",
            "zahlung.\u{e4}",
        ] {
            assert_eq!(Host::parse(given), None, "{given:?}");
        }
    }
}
