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
            directives.read(line.as_bytes());
        }
        directives
    }

    fn read(&mut self, line: &[u8]) {
        for directive in split_unquoted(line) {
            let mut parts = directive.splitn(2, |&byte| byte == b'=');
            let name = parts.next().unwrap_or_default().trim_ascii();
            let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
            self.is_shared |= is(b"public") || is(b"s-maxage");
            // `private="set-cookie"` is about that header alone; the rest may be kept.
            self.is_unshared |= is(b"no-store") || is(b"private") && parts.next().is_none();
        }
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

static PRIVATE: HeaderValue = HeaderValue::from_static("private");

/// Keeps shared caches from storing the response, unless it has said something about them itself.
///
/// The header becomes one line, since some caches read only the first.
pub(super) fn make_private(headers: &mut HeaderMap, directives: Directives) {
    let is_said = directives.is_shared || directives.is_unshared;
    let line = match headers.get_all(CACHE_CONTROL).iter().count() {
        0 => PRIVATE.clone(),
        1 if is_said => return,
        _ => {
            let said = joined(headers.get_all(CACHE_CONTROL).iter().map(HeaderValue::as_bytes));
            // An open quote on one line swallows the lines after it.
            let mut together = Directives::default();
            together.read(&said);
            let is_said = together.is_shared || together.is_unshared;
            let line = if is_said { said } else { joined([PRIVATE.as_bytes(), &said]) };
            HeaderValue::from_bytes(&line).unwrap_or_else(|_| PRIVATE.clone())
        }
    };
    headers.insert(CACHE_CONTROL, line);
}

/// The lines of a header as one (RFC 9110, section 5.3).
fn joined<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let lines: Vec<&[u8]> = lines.into_iter().filter(|line| !line.trim_ascii().is_empty()).collect();
    lines.join(&b", "[..])
}

/// Keeps everybody from storing the response, whatever it has said.
pub(super) fn forbid(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// Adds the headers that name the caller to `Vary`, each once, as one line.
pub(super) fn vary(headers: &mut HeaderMap, by: &HeaderValue) {
    let mut lines = headers.get_all(VARY).iter();
    let line = match (lines.next(), lines.next()) {
        (None, _) => by.clone(),
        (Some(line), None) if line == by => return,
        _ => {
            let said: Vec<&[u8]> = headers.get_all(VARY).iter().map(HeaderValue::as_bytes).collect();
            let names = || said.iter().flat_map(|line| names_of(line));
            if names().any(|name| name == b"*") {
                HeaderValue::from_static("*")
            } else {
                let is_new = |name: &&[u8]| !names().any(|said| said.eq_ignore_ascii_case(name));
                let new = names_of(by.as_bytes()).filter(is_new);
                let line = joined(said.iter().copied().chain(new));
                HeaderValue::from_bytes(&line).unwrap_or_else(|_| HeaderValue::from_static("*"))
            }
        }
    };
    headers.insert(VARY, line);
}

fn names_of(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}
