//! What caches are told, so that nobody is served a page that was made for somebody else.

use http::header::{CACHE_CONTROL, VARY};
use http::{HeaderMap, HeaderValue};

/// What `Cache-Control` says of a response so far (RFC 9111, section 5.2.2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Directives {
    /// `public` or `s-maxage`: a shared cache is asked to keep it.
    pub(super) is_shared: bool,
    /// `private` or `no-store`: a shared cache may not.
    pub(super) is_unshared: bool,
}

impl Directives {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        if headers.is_empty() {
            return directives;
        }
        for line in headers.get_all(CACHE_CONTROL) {
            for directive in split_unquoted(line.as_bytes()) {
                let mut parts = directive.splitn(2, |&byte| byte == b'=');
                let name = parts.next().unwrap_or_default().trim_ascii();
                let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
                directives.is_shared |= is(b"public") || is(b"s-maxage");
                // `private="set-cookie"` is about that header alone; the rest may be kept.
                directives.is_unshared |= is(b"no-store") || is(b"private") && parts.next().is_none();
            }
        }
        directives
    }
}

/// The parts between commas that are in no quoted text (RFC 9110, sections 5.6.1 and 5.6.4).
fn split_unquoted(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    line.split(move |&byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ => return byte == b',' && !is_quoted,
        }
        false
    })
}

/// Keeps shared caches from storing the response, unless it has said something about them itself.
pub(super) fn make_private(headers: &mut HeaderMap, directives: Directives) {
    if !directives.is_shared && !directives.is_unshared {
        headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// Keeps everybody from storing the response, whatever it has said.
pub(super) fn forbid(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// Adds the headers that name the caller to `Vary`, once.
pub(super) fn vary(headers: &mut HeaderMap, by: &HeaderValue) {
    let has_it = headers.get_all(VARY).iter().any(|line| line == by || line.as_bytes().trim_ascii() == b"*");
    if !has_it {
        headers.append(VARY, by.clone());
    }
}
