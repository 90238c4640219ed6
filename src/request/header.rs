//! `X-Active-Flags`: which flags were on, for people who look at responses.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::counts::Counters;
use crate::engine::Flags;

static X_ACTIVE_FLAGS: HeaderName = HeaderName::from_static("x-active-flags");
static X_ACTIVE_FLAGS_OMITTED: HeaderName = HeaderName::from_static("x-active-flags-omitted");

/// On which responses `X-Active-Flags` stands.
///
/// The header tells whoever receives the response which flags are on for them. In production, show it
/// to nobody or to those who work on the service:
///
/// ```
/// use tower_flags::{Context, FlagLayer, HeaderPolicy, Memory};
///
/// // By what an auth layer has found out, not by a header that anybody can send.
/// let layer = FlagLayer::new(Memory::new()).header_policy(HeaderPolicy::when(|request| {
///     let caller = request.extensions.get::<Context>();
///     caller.is_some_and(|caller| caller.groups().any(|group| group == "staff"))
/// }));
/// # let _ = layer;
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum HeaderPolicy {
    /// On all responses that have active flags.
    #[default]
    All,
    /// On none.
    None,
    /// On responses to requests that the predicate accepts; from [`HeaderPolicy::when`].
    #[non_exhaustive]
    When(Arc<dyn Fn(&Parts) -> bool + Send + Sync>),
}

impl HeaderPolicy {
    /// On responses to requests that the predicate accepts.
    pub fn when(accepts: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self::When(Arc::new(accepts))
    }

    pub(super) fn accepts(&self, request: &Parts) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::When(accepts) => accepts(request),
        }
    }
}

impl std::fmt::Debug for HeaderPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::All => "All",
            Self::None => "None",
            Self::When(_) => "When(..)",
        })
    }
}

/// Takes away what a handler or a service behind it brought along, and writes the header if it is
/// wanted and the response is not meant for everybody.
pub(super) fn write(headers: &mut HeaderMap, flags: &Flags, is_wanted: bool, limit: usize, counters: &Counters) {
    if !is_wanted {
        // Looking at the few names that are there is cheaper than hashing two.
        while let Some(name) = headers.keys().find(|name| *name == X_ACTIVE_FLAGS || *name == X_ACTIVE_FLAGS_OMITTED) {
            let name = name.clone();
            headers.remove(name);
        }
        return;
    }
    let line = if is_shared(headers) { Line::default() } else { Line::of(flags, limit) };
    match line.value {
        Some(value) => {
            headers.insert(&X_ACTIVE_FLAGS, value);
        }
        None => {
            headers.remove(&X_ACTIVE_FLAGS);
        }
    }
    if line.omitted > 0 {
        counters.omitted_from_header.fetch_add(line.omitted, Ordering::Relaxed);
        headers.insert(&X_ACTIVE_FLAGS_OMITTED, HeaderValue::from(line.omitted));
    } else {
        headers.remove(&X_ACTIVE_FLAGS_OMITTED);
    }
}

/// Whether a cache may serve the response to somebody else.
fn is_shared(headers: &HeaderMap) -> bool {
    headers.get_all(CACHE_CONTROL).iter().any(|value| {
        value.as_bytes().split(|&byte| byte == b',').any(|directive| {
            let name = directive.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii();
            name.eq_ignore_ascii_case(b"public") || name.eq_ignore_ascii_case(b"s-maxage")
        })
    })
}

/// The header's value and how many flags did not fit.
#[derive(Default)]
struct Line {
    value: Option<HeaderValue>,
    omitted: u64,
}

impl Line {
    /// The longest prefix of the sorted list that takes at most `limit` bytes. Measured first and
    /// written after, into one buffer of that size.
    fn of(flags: &Flags, limit: usize) -> Self {
        let (mut size, mut taken, mut omitted) = (0, 0, 0_u64);
        flags.for_each_visible(|name, variant| {
            let separator = usize::from(taken > 0);
            let with_this = size + separator + name.len() + variant.map_or(0, |variant| 1 + variant.len());
            if omitted > 0 || with_this > limit {
                omitted += 1;
            } else {
                size = with_this;
                taken += 1;
            }
        });
        if taken == 0 {
            return Self { value: None, omitted };
        }
        let mut buffer = Vec::with_capacity(size);
        let mut left = taken;
        flags.for_each_visible(|name, variant| {
            if left > 0 {
                if left < taken {
                    buffer.push(b',');
                }
                buffer.extend_from_slice(name.as_bytes());
                if let Some(variant) = variant {
                    buffer.push(b'=');
                    buffer.extend_from_slice(variant.as_bytes());
                }
                left -= 1;
            }
        });
        // Names are plain ASCII by the pattern that documents are held to.
        Self { value: HeaderValue::from_maybe_shared(Bytes::from(buffer)).ok(), omitted }
    }
}
