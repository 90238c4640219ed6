//! Marks headers that loggers and header compression should not keep: tokens and visitors' ids (RFC 7541, section 7.1.3).

use http::{HeaderMap, HeaderName, HeaderValue};

/// Marks the lines of a header that are ours.
pub(super) fn conceal(headers: &mut HeaderMap, name: &HeaderName, is_ours: impl Fn(&HeaderValue) -> bool) {
    for (_, line) in headers.iter_mut().filter(|(found, _)| *found == name) {
        if is_ours(line) {
            line.set_sensitive(true);
        }
    }
}
