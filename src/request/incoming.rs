//! Recognises a request that a middleware has rebuilt since it passed the outer layer.

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

/// The parts of a request that a layer keeps, for an inner layer that receives the request without its extensions.
///
/// Two kinds of requests look alike to the inner layer: those that a middleware has rebuilt, and those that a handler
/// makes. Both come without extensions, in the scope of the outer layer. They differ in their parts. A rebuilt request
/// has the path or the headers of the original, moved or cloned, so these lie at the same place in memory. The clone
/// here makes sure that nothing else can lie there.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    path: Option<PathAndQuery>,
    header: Option<HeaderValue>,
    /// Whether the request's extensions named the caller.
    pub(super) is_named_by_extension: bool,
}

impl Incoming {
    /// Keeps the header that names the user, which must not be read again; without one, the first header.
    pub(super) fn of(parts: &Parts, user_header: &HeaderName, is_named_by_extension: bool) -> Self {
        let header = parts.headers.get(user_header).or_else(|| parts.headers.values().next());
        Self {
            path: parts.uri.path_and_query().cloned(),
            header: header.filter(|value| !value.is_empty()).cloned(),
            is_named_by_extension,
        }
    }

    /// Whether these are the parts of the same request, rebuilt: the path or a header was moved or cloned, or both
    /// are equal.
    pub(super) fn is_rebuilt_as(&self, parts: &Parts) -> bool {
        let paths = self.path.as_ref().zip(parts.uri.path_and_query());
        let paths = paths.map(|(own, other)| (own.as_str(), other.as_str()));
        // The path `/` is a constant of `http`, at the same place for all requests.
        let has_path = paths.is_some_and(|(own, other)| own.len() > 1 && std::ptr::eq(own, other));
        let has_equal_path = paths.is_some_and(|(own, other)| own == other);
        has_path
            || self.has_header_in(parts, |own, other| std::ptr::eq(own, other))
            || has_equal_path && self.has_header_in(parts, |own, other| own == other)
    }

    fn has_header_in(&self, parts: &Parts, is: fn(&[u8], &[u8]) -> bool) -> bool {
        let own = self.header.as_ref().map(HeaderValue::as_bytes);
        own.is_some_and(|own| parts.headers.values().any(|other| is(own, other.as_bytes())))
    }
}
