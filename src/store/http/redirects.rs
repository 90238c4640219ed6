//! Where a redirect may lead: not from a host elsewhere to what only this machine can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Whether only this machine, or its link, reaches an address: loopback, link-local (where clouds serve credentials of
/// the machine), or none.
fn is_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        // Two clouds serve credentials elsewhere.
        IpAddr::V4(ip) if ip == Ipv4Addr::new(100, 100, 100, 200) => true,
        IpAddr::V6(ip) if ip == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254) => true,
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.octets()[0] == 0 || ip == Ipv4Addr::BROADCAST,
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified(),
    }
}

/// Whether the host of a URL is such an address, or the name of one. What other names stand for is found by [`NoLocal`].
pub(super) fn has_local_host(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let is_local_name = host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost");
    is_local_name || host.parse().is_ok_and(is_local)
}

/// Finds the addresses of names, except local ones. Where a proxy is in between, it finds them instead.
pub(super) struct NoLocal;

impl Resolve for NoLocal {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Vec<SocketAddr> = found.filter(|address| !is_local(address.ip())).collect();
            if addresses.is_empty() {
                let message = format!("{} has no address that a redirect from another host may lead to", name.as_str());
                return Err(message.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_hosts_are_known_however_they_are_written() {
        for local in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://0/",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://a.localhost/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::]/",
            "http://169.254.169.254/latest/meta-data/",
            "http://[fe80::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[fd00:ec2::254]/",
            "http://100.100.100.200/",
        ] {
            assert!(has_local_host(&Url::parse(local).unwrap()), "{local}");
        }
        for other in [
            "http://example.com/",
            "http://10.0.0.1/",
            "http://192.168.1.1/",
            "http://[2001:db8::1]/",
            "http://localhost.example.com/",
        ] {
            assert!(!has_local_host(&Url::parse(other).unwrap()), "{other}");
        }
    }

    #[tokio::test]
    async fn names_of_local_addresses_are_found_out() {
        let resolved = NoLocal.resolve("localhost".parse().unwrap()).await;
        let error = resolved.err().unwrap().to_string();
        assert_eq!(error, "localhost has no address that a redirect from another host may lead to");
    }
}
