//! URLs of PostgreSQL, read strictly.
//!
//! `sqlx` ignores parameters that it does not know, and logs them with their values. Here they are errors, which show the
//! name at most. A password with a `/`, `?`, `#` or `@` that is not escaped ends up in another part of the URL; what could
//! be such a part is never shown.

use std::borrow::Cow;
use std::env;
use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::document::Problem;
use crate::store::plaintext;
use crate::store::{Error, ErrorKind};

const KNOWN: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];
const SSL_MODES: &str = "disable, allow, prefer, require, verify-ca, verify-full";
const ESCAPED: &str = "in a password write / as %2F, ? as %3F, # as %23 and @ as %40";

/// The server of a URL.
#[derive(Debug)]
pub(super) struct ServerUrl {
    pub(super) options: PgConnectOptions,
    /// The problem that neither the URL nor `PGSSLMODE` chooses between TLS and plain text, and the host is elsewhere.
    pub(super) plaintext: Option<Problem>,
}

impl ServerUrl {
    pub(super) fn new(url: &str) -> Result<Self, Error> {
        // A path, or the URL of something else, would connect to wherever the defaults say.
        let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        let Some(rest) = rest else {
            return Err(wrong("expected a URL that starts with postgres:// for PostgreSQL, found another one"));
        };
        let has_chosen = check(rest)?;
        let options = PgConnectOptions::from_str(url).map_err(|error| {
            wrong("expected a URL like postgres://user:password@host:port/database for PostgreSQL").caused_by(error)
        })?;
        let has_chosen = has_chosen || env::var("PGSSLMODE").is_ok_and(|mode| PgSslMode::from_str(&mode).is_ok());
        let plaintext = if has_chosen { None } else { plaintext_of(&options) };
        Ok(Self { options, plaintext })
    }
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration, message)
}

/// Rejects what is not shown to mean what it says; `true` if the URL chooses an `sslmode`.
fn check(rest: &str) -> Result<bool, Error> {
    let expected = "expected a URL like postgres://user:password@host:port/database for PostgreSQL";
    // They are removed in silence where URLs are parsed.
    if rest.contains(|character: char| character.is_ascii_control() || character.is_whitespace()) {
        return Err(wrong(format!("{expected}, found one with white space, which is written as %20")));
    }
    if rest.contains('#') {
        return Err(wrong(format!("{expected}, found one with a #; {ESCAPED}")));
    }
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = before.split_once('/').unwrap_or((before, ""));
    if path.contains('@') || query.contains('@') && !authority.contains('@') {
        return Err(wrong(format!("{expected}, found an @ after the host; {ESCAPED}")));
    }
    let mut has_chosen = false;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name);
        match &*name {
            "sslmode" | "ssl-mode" => {
                // The error of `sqlx` repeats the value.
                if PgSslMode::from_str(&decoded(value)).is_err() {
                    return Err(wrong(format!("expected one of {SSL_MODES} as {name}, found another value")));
                }
                has_chosen = true;
            }
            name if KNOWN.contains(&name) => {}
            name if name.starts_with("options[") && name.ends_with(']') => {}
            name => {
                let is_shown = !query.contains('@') && name.len() <= 40 && name.chars().all(is_of_a_name);
                let found = if is_shown { format!("{name:?}") } else { "another".to_owned() };
                let known = KNOWN.join(", ");
                let message = format!("expected parameters of PostgreSQL in the URL, found {found}");
                return Err(wrong(format!("{message}; known are {known} and options[…]; {ESCAPED}")));
            }
        }
    }
    Ok(has_chosen)
}

fn is_of_a_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.')
}

/// A name or value of a query, as it is meant.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        let digits = others.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let escaped = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match (first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &others[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(first),
        }
        rest = others;
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn plaintext_of(options: &PgConnectOptions) -> Option<Problem> {
    let host = options.get_host();
    let is_here = options.get_socket().is_some() || host.starts_with('/') || plaintext::is_loopback(host);
    (!is_here).then(|| {
        plaintext::problem(
            host,
            "a URL without sslmode",
            "without TLS, password and flags cross the network in plain text: write sslmode=verify-full in the URL \
             (or require), or call allow_plaintext() if you trust the network",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded_as_urls_write_them() {
        assert_eq!(decoded("ssl%6Dode"), "sslmode");
        assert_eq!(decoded("a+b%2Bc%"), "a b+c%");
        assert_eq!(decoded("%zz%4"), "%zz%4");
        assert_eq!(decoded("%ff"), "\u{fffd}");
    }
}
