//! Which server, from its URL, and connecting to it.

use std::path::PathBuf;
use std::sync::Arc;

use redis::{ConnectionAddr, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::document::Problem;
use crate::error::{Error, ErrorKind};
use crate::store::plaintext;

/// A server and who we are there. It is not shown: it holds the password.
pub(super) struct Server {
    address: Address,
    /// What the address is called in messages, with the database.
    pub(super) name: String,
    pub(super) login: RedisConnectionInfo,
    /// The problem that the password crosses a network in plain text, and that this was not allowed.
    pub(super) plaintext: Option<Problem>,
}

enum Address {
    Tcp { host: String, port: u16, tls: Option<(TlsConnector, ServerName<'static>)> },
    Unix(PathBuf),
}

/// A stream of bytes to the server.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

impl Server {
    /// The server of a URL; a server's certificate has to come from one of `authorities`, in PEM, or else from one
    /// that this machine trusts.
    pub(super) fn new(url: &str, authorities: Option<&[u8]>) -> Result<Self, Error> {
        let wrong = |found: &str| {
            // What was found may hold the password.
            let expected = "expected a URL like redis://user:password@host:6379/0, or rediss:// for TLS";
            Error::new(ErrorKind::Configuration, format!("{expected}, found {found}"))
        };
        if url.contains('#') {
            return Err(wrong("one with a #, which is %23 in a password; certificates are always checked"));
        }
        // Without `%40` for an `@` in the password, a part of the password would be the host, which messages show.
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let host_ends = rest.find(['/', '?']).unwrap_or(rest.len());
        if !scheme.ends_with("unix") && rest[host_ends..].contains('@') {
            return Err(wrong("one with an @ after the host; in a password, @ is %40, / is %2F and ? is %3F"));
        }
        check_parameters(url).map_err(|found| wrong(&found))?;
        let (plain, is_tls) = match url.split_once("://") {
            Some(("rediss" | "valkeys", rest)) => (format!("redis://{rest}"), true),
            _ => (url.to_owned(), false),
        };
        let info = plain.into_connection_info().map_err(|cause| wrong("another").caused_by(cause))?;
        let login = info.redis_settings().clone();
        if login.db() < 0 {
            return Err(wrong("a negative number of the database"));
        }
        let database = login.db();
        // Nothing but an answer to what is needed: `CLIENT SETINFO` is refused by minimal users and older servers.
        let login = login.set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
        let (address, name) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                let name = format!("{bracketed}:{port}/{database}");
                let tls = if is_tls { Some(tls(host, authorities)?) } else { None };
                (Address::Tcp { host: host.clone(), port: *port, tls }, name)
            }
            ConnectionAddr::Unix(path) => (Address::Unix(path.clone()), format!("{}/{database}", path.display())),
            _ => return Err(wrong("another")),
        };
        let plaintext = match &address {
            Address::Tcp { host, tls: None, .. } if login.password().is_some() && !plaintext::is_loopback(host) => {
                Some(plaintext::problem(
                    host,
                    "a password in a redis:// URL",
                    "password and flags cross the network in plain text: write rediss:// in the URL, or call \
                     allow_plaintext() on the builder if you trust the network",
                ))
            }
            _ => None,
        };
        Ok(Self { address, name, login, plaintext })
    }

    pub(super) async fn stream(&self) -> std::io::Result<Box<dyn Bytes>> {
        match &self.address {
            Address::Tcp { host, port, tls } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(match tls {
                    Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
                    None => Box::new(stream),
                })
            }
            #[cfg(unix)]
            Address::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
            #[cfg(not(unix))]
            Address::Unix(_) => Err(std::io::Error::from(std::io::ErrorKind::Unsupported)),
        }
    }
}

/// Rejects parameters of a URL that the client ignores, and values that its errors repeat. What was found has no value.
fn check_parameters(url: &str) -> Result<(), String> {
    let (before, query) = url.split_once('?').unwrap_or((url, ""));
    let is_socket = before.split_once("://").is_some_and(|(scheme, _)| scheme.ends_with("unix"));
    let known: &[&str] = if is_socket { &["db", "user", "pass", "protocol"] } else { &["protocol"] };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        // A name alone may be a password that was cut in two.
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        if !known.contains(&name) {
            let is_of_a_name =
                |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.');
            let is_shown =
                !query.contains('@') && !name.is_empty() && name.len() <= 40 && name.chars().all(is_of_a_name);
            let found = if is_shown { format!("the parameter {name:?}") } else { "another parameter".to_owned() };
            return Err(format!("{found}; known are {}", known.join(", ")));
        }
        if name == "protocol" && !["2", "3", "resp2", "resp3"].contains(&value) {
            return Err("another protocol than resp3".to_owned());
        }
    }
    Ok(())
}

/// TLS with the cryptography that the application has chosen for its process, else with `ring`. Nothing is chosen
/// for the process here: an application may do that later, and rustls refuses a second choice.
fn tls(host: &str, authorities: Option<&[u8]>) -> Result<(TlsConnector, ServerName<'static>), Error> {
    let wrong = |message: String| Error::new(ErrorKind::Configuration, message);
    let name = ServerName::try_from(host.to_owned())
        .map_err(|cause| wrong(format!("expected a name or an address, found {host:?}")).caused_by(cause))?;
    let mut roots = RootCertStore::empty();
    let is_ours = authorities.is_some();
    match authorities {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let added = certificate
                    .map_err(|cause| cause.to_string())
                    .and_then(|certificate| roots.add(certificate).map_err(|cause| cause.to_string()));
                added.map_err(|cause| wrong(format!("expected certificates in PEM: {cause}")))?;
            }
        }
        // A few that cannot be read are no reason to do without the others.
        None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    }
    if roots.is_empty() {
        let place = if is_ours { "in the given PEM" } else { "on this machine; give them to the builder" };
        return Err(wrong(format!("expected certificates of authorities, found none {place}")));
    }
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| wrong("the process's cryptography has no TLS 1.2 or 1.3".to_owned()).caused_by(cause))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((TlsConnector::from(Arc::new(config)), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_the_server_and_not_the_password() {
        let name = |url: &str| Server::new(url, None).map(|server| server.name);
        assert_eq!(name("redis://127.0.0.1").unwrap(), "127.0.0.1:6379/0");
        assert_eq!(name("redis://alice:s3cret@flags.example.com:7000/3").unwrap(), "flags.example.com:7000/3");
        assert_eq!(name("redis://:s3cret@[::1]").unwrap(), "[::1]:6379/0");
        assert_eq!(name("redis+unix:///run/redis.sock?db=2&pass=s3cret").unwrap(), "/run/redis.sock/2");
        for url in [
            "",
            "flags.example.com",
            "http://alice:s3cret@host",
            "redis://alice:s3cret@host:port",
            "redis://alice:s3cret@host/x",
            "redis://alice:s3cret@host/-1",
            "redis://alice:s3#cret@host",
            "rediss://alice:s3cret@host#insecure",
            "redis://alice:s3cret@0.0.0.0",
        ] {
            let error = name(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{url}");
            assert!(!format!("{} {error:?}", error.chain()).contains("s3"), "{}", error.chain());
        }
    }

    #[test]
    fn authorities_have_to_be_certificates() {
        for pem in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = Server::new("rediss://localhost", Some(pem.as_bytes())).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().starts_with("expected certificates"), "{error}");
        }
    }
}
