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
        let lines = headers.get_all(CACHE_CONTROL).into_iter();
        for directive in lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',')) {
            let name = directive.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii();
            let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
            directives.is_shared |= is(b"public") || is(b"s-maxage");
            directives.is_unshared |= is(b"private") || is(b"no-store");
        }
        directives
    }
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
