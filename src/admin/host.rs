//! The names under which the router may be reached.
//!
//! A page of another site can give its own name the address of this server (DNS rebinding). A browser then takes the two
//! for one origin, and the page reads and edits as if it came from here. It has no cookie and no token of ours under that
//! name; where the network alone is the credential, the name in the request is all that tells the two apart.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use http::header::HOST;
use http::request::Parts;

use super::problem::{Failure, Kind};
use crate::document::quoted;
use crate::error::Error;

/// The names under which the router may be reached, as browsers send them in `Host`. A request for another name is
/// rejected with 421, whatever its credentials.
///
/// A name is a host name or an IP address, with a port or without; without one it is good for every port. Upper and lower
/// case and a dot at the end make no difference. IPv6 addresses may be in brackets. There are no wildcards.
///
/// As text, for configuration and environment, the names have white space or commas between them.
///
/// ```
/// use tower_flags::admin::AllowedHosts;
///
/// let hosts = AllowedHosts::new(["flags.internal", "10.0.0.7:3001", "[::1]"])?;
/// assert_eq!(hosts, "Flags.Internal. 10.0.0.7:3001, ::1".parse()?);
/// assert!(AllowedHosts::new(["https://flags.internal"]).is_err());
/// assert!(AllowedHosts::new([""; 0]).is_err());
/// # Ok::<(), tower_flags::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHosts {
    /// `None`: any.
    names: Option<Vec<Name>>,
}

/// A host and a port, in one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    host: String,
    port: Option<u16>,
}

impl AllowedHosts {
    /// These names and no others.
    ///
    /// # Errors
    ///
    /// No name at all, or one that is not a host with or without a port, such as a URL or a pattern.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Result<Self, Error> {
        let names = names.into_iter().map(|name| Name::configured(name.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if names.is_empty() {
            return Err(Error::configuration("expected at least one allowed host, found none"));
        }
        Ok(Self { names: Some(names) })
    }

    /// This machine, by its own names: `localhost`, `127.0.0.1` and `[::1]`, each with any port.
    #[must_use]
    pub fn loopback() -> Self {
        let name = |host: &str| Name { host: host.to_owned(), port: None };
        Self { names: Some(["localhost", "127.0.0.1", "[::1]"].map(name).to_vec()) }
    }

    /// Any name. Safe where each request has a credential that a browser sends to our own name alone, as with
    /// [`Tokens`](super::Tokens); or where a proxy checks the name.
    #[must_use]
    pub fn any() -> Self {
        Self { names: None }
    }

    /// Whether a request is for one of the names. Each name that it has is checked: that of `Host` and that of the
    /// target, which HTTP/2 and requests to proxies have.
    pub(super) fn check(&self, parts: &Parts) -> Result<(), Failure> {
        let mut lines = parts.headers.get_all(HOST).iter();
        let line = lines.next();
        if lines.next().is_some() {
            return Err(Failure::new(Kind::Malformed, "expected one Host line, found more"));
        }
        let Some(names) = &self.names else { return Ok(()) };
        let target = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
        let found: Vec<&[u8]> = target.into_iter().chain(line.map(http::HeaderValue::as_bytes)).collect();
        let is_allowed = |found: &&[u8]| {
            let found = std::str::from_utf8(found).ok().and_then(Name::of);
            found.is_some_and(|found| names.iter().any(|name| name.allows(&found)))
        };
        let wrong = match found.iter().find(|found| !is_allowed(found)) {
            Some(wrong) => Some(String::from_utf8_lossy(wrong).into_owned()),
            None if found.is_empty() => None,
            None => return Ok(()),
        };
        let allowed: Vec<String> = names.iter().map(ToString::to_string).collect();
        let said = wrong.as_deref().map_or_else(|| "none".to_owned(), quoted);
        let detail = format!(
            "expected the request to be for {}, found {said}; nothing was changed. AllowedHosts, for Admin::allowed_hosts \
             or Authorizer::by_network, names the hosts; a proxy has to pass on the host that its client asked for",
            allowed.join(" or ")
        );
        Err(Failure::new(Kind::WrongHost, detail).with("found", wrong).with("allowed", allowed))
    }
}

impl FromStr for AllowedHosts {
    type Err = Error;

    /// # Errors
    ///
    /// As for [`new`](Self::new).
    fn from_str(text: &str) -> Result<Self, Error> {
        let is_between = |character: char| character.is_whitespace() || character == ',';
        Self::new(text.split(is_between).filter(|name| !name.is_empty()))
    }
}

impl Name {
    fn configured(text: &str) -> Result<Self, Error> {
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self { host: format!("[{address}]"), port: None });
        }
        Self::of(text).ok_or_else(|| {
            let hint = match text {
                _ if text.contains("//") => "; leave out the scheme and the path",
                _ if text.contains('*') => "; there are no wildcards, AllowedHosts::any() allows every name",
                _ if !text.is_ascii() => "; write the name as browsers send it, in its form that begins with xn--",
                _ => "",
            };
            let found = quoted(text);
            Error::configuration(format!(
                "expected a host, or a host and a port such as flags.internal:3001, found {found}{hint}"
            ))
        })
    }

    /// As a request names it; `None` for what is no host.
    fn of(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']')?;
                let address: Ipv6Addr = address.parse().ok()?;
                (format!("[{address}]"), if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
            }
            None => {
                let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
                let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
                let is_host = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
                if host.is_empty() || !is_host || host.starts_with('.') || host.ends_with('.') {
                    return None;
                }
                (host.parse::<Ipv4Addr>().map_or(host, |address| address.to_string()), port)
            }
        };
        let port = match port {
            None | Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
        };
        Some(Self { host, port })
    }

    /// Browsers leave out the port of the scheme.
    fn allows(&self, found: &Self) -> bool {
        let is_port =
            self.port.is_none() || self.port == found.port || matches!((self.port, found.port), (Some(80 | 443), None));
        self.host == found.host && is_port
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            None => f.write_str(&self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(hosts: &AllowedHosts, target: &str, lines: &[&str]) -> Result<(), Kind> {
        let mut request = http::Request::get(target);
        for line in lines {
            request = request.header(HOST, *line);
        }
        hosts.check(&request.body(()).unwrap().into_parts().0).map_err(|failure| failure.kind)
    }

    #[test]
    fn names_are_one_in_every_spelling() {
        let hosts =
            AllowedHosts::new(["flags.internal", "10.0.0.7:3001", "::1", "[2001:db8::1]:8443", "a.example:443"])
                .unwrap();
        for line in [
            "flags.internal",
            "FLAGS.Internal",
            "flags.internal.",
            "flags.internal:1",
            "flags.internal.:65535",
            "flags.internal:",
            "10.0.0.7:3001",
            "[::1]",
            "[::1]:3001",
            "[0:0:0:0:0:0:0:1]",
            "[2001:DB8:0::1]:8443",
            "a.example",
            "a.example:443",
        ] {
            assert_eq!(allows(&hosts, "/", &[line]), Ok(()), "{line}");
            assert_eq!(allows(&hosts, &format!("http://{line}/flags"), &[]), Ok(()), "as a target, {line}");
        }
        for line in [
            "",
            ".",
            ":80",
            "evil.example",
            "flags.internal.evil.example",
            "xflags.internal",
            "flags.internal..",
            "10.0.0.7",
            "10.0.0.7:3002",
            "10.0.0.7:03001x",
            "10.0.0.7:+3001",
            "[::1",
            "::1",
            "[::2]",
            "[::1]3001",
            "[::1]:x",
            "[2001:db8::1]",
            "a.example:80",
            "user@flags.internal",
            "flags.internal/x",
            "flags.internal,evil.example",
            "flags.internal evil.example",
            "flags.internal:99999",
            "fl\u{e4}gs.internal",
            "[::ffff:10.0.0.7]:3001",
            "010.0.0.7:3001",
        ] {
            assert_eq!(allows(&hosts, "/", &[line]), Err(Kind::WrongHost), "{line}");
        }
    }

    #[test]
    fn every_name_of_a_request_counts() {
        let hosts = AllowedHosts::new(["flags.internal"]).unwrap();
        assert_eq!(allows(&hosts, "/", &[]), Err(Kind::WrongHost));
        assert_eq!(allows(&hosts, "http://evil.example/", &["flags.internal"]), Err(Kind::WrongHost));
        assert_eq!(allows(&hosts, "http://flags.internal/", &["evil.example"]), Err(Kind::WrongHost));
        assert_eq!(allows(&hosts, "http://flags.internal/", &["flags.internal:80"]), Ok(()));
        for hosts in [hosts, AllowedHosts::any()] {
            let twice = ["flags.internal", "flags.internal"];
            assert_eq!(allows(&hosts, "/", &twice), Err(Kind::Malformed));
        }
        assert_eq!(allows(&AllowedHosts::any(), "/", &["evil.example"]), Ok(()));
        assert_eq!(allows(&AllowedHosts::any(), "/", &[]), Ok(()));
    }

    #[test]
    fn what_is_no_host_is_said_when_it_is_configured() {
        let message = |name: &str| AllowedHosts::new([name]).unwrap_err().to_string();
        let expected = "expected a host, or a host and a port such as flags.internal:3001, found";
        assert_eq!(message("https://a"), format!("{expected} \"https://a\"; leave out the scheme and the path"));
        assert!(message("*.a").ends_with("there are no wildcards, AllowedHosts::any() allows every name"));
        assert!(message("b\u{fc}cher.example").ends_with("in its form that begins with xn--"));
        for name in ["", "a b", "a:x", "a/b", "[::1", "a:99999", "@"] {
            assert!(message(name).starts_with(expected), "{name}");
        }
        assert_eq!(
            " , ".parse::<AllowedHosts>().unwrap_err().to_string(),
            "expected at least one allowed host, found none"
        );
    }
}
