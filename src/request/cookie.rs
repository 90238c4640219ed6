//! Cookies of a request (RFC 6265, section 5.4).

use http::HeaderValue;

/// The value of the first cookie of that name, on any of the lines.
pub(super) fn of<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>, name: &str) -> Option<&'a [u8]> {
    let pairs = lines.into_iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}
