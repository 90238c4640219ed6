//! Cookies of a request (RFC 6265, section 5.4), and those that a response sets (section 4.1).

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::sensitive::conceal;

/// The values of the cookies of that name, in the order of the lines. There may be several: those of a parent
/// domain and of longer paths come along, and the first is not always ours.
pub(super) fn of<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let pairs = lines.into_iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    pairs.map(<[u8]>::trim_ascii).filter_map(move |pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// Marks the lines that hold a cookie of that name as sensitive.
pub(super) fn conceal_named(headers: &mut HeaderMap, name: &str) {
    conceal(headers, &COOKIE, |line| of([line], name).next().is_some());
}

/// A line of `Set-Cookie`, which is sensitive. It is for this host alone unless there is a domain.
pub(super) fn line(
    name: &str,
    value: &str,
    seconds: impl std::fmt::Display,
    domain: Option<&str>,
    is_secure: bool,
) -> Option<HeaderValue> {
    let domain = domain.map(|domain| format!("; Domain={domain}")).unwrap_or_default();
    let secure = if is_secure { "; Secure" } else { "" };
    let line = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{domain}{secure}");
    let mut line: HeaderValue = line.parse().ok()?;
    line.set_sensitive(true);
    Some(line)
}

/// A cookie's domain: in lower case, without a leading dot.
///
/// # Panics
///
/// If it is not a domain name. Browsers silently ignore such a cookie, and an IP address has no subdomains.
#[track_caller]
pub(super) fn domain(given: &str) -> String {
    let domain = given.strip_prefix('.').unwrap_or(given).to_ascii_lowercase();
    let is_label = |label: &str| {
        let is_fit = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        !label.is_empty() && label.len() <= 63 && is_fit && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_address = domain.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    assert!(
        domain.len() <= 253 && domain.split('.').all(is_label) && !is_address,
        "expected a domain such as example.com, found {given:?}"
    );
    domain
}
