//! Passwords that would cross a network in plain text.

use std::net::IpAddr;

use crate::document::{Problem, Severity};

/// Whether a host of a URL is this machine by its name or address, so that nothing leaves it. Other names may lead
/// anywhere, today or later.
pub(super) fn is_loopback(host: &str) -> bool {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = host.strip_suffix('.').unwrap_or(host);
    name.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// The problem of a URL that has not chosen, with its remedy.
pub(super) fn problem(host: &str, found: &str, help: &str) -> Problem {
    let problem = Problem::new(format!("a choice between TLS and plain text for {host}"), found).with_help(help);
    Problem { severity: Severity::Warning, ..problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        for host in
            ["localhost", "LocalHost.", "127.0.0.1", "127.255.255.254", "::1", "[::1]", "::ffff:127.0.0.1", "0:0::1"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "db.example.com",
            "localhost.example.com",
            "a.localhost",
            "127.0.0.1.example.com",
            "128.0.0.1",
            "10.0.0.1",
            "192.168.1.1",
            "0.0.0.0",
            "::",
            "[fd00::1]",
            "127.1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
