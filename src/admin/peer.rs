//! Where a request comes from.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::ConnectInfo;
use http::request::Parts;

/// The client: an IPv4 address, an IPv6 network of 64 bits, or `None` if the address is not known.
pub(super) type Peer = Option<IpAddr>;

/// The address that the server was connected from, where the application tells.
pub(super) fn peer(parts: &Parts) -> Peer {
    let ConnectInfo(address) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(match address.ip().to_canonical() {
        // One client usually has all addresses of a network of 64 bits.
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
        ip @ IpAddr::V4(_) => ip,
    })
}
