//! Cookies of a request (RFC 6265, section 5.4).

use http::HeaderValue;

/// The values of the cookies of that name, in the order of the lines. There may be several: those of a parent
/// domain and of longer paths come along, and the first is not always ours.
pub(super) fn of<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let pairs = lines.into_iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    pairs.map(<[u8]>::trim_ascii).filter_map(move |pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}
