//! `X-Active-Flags`: which flags were on, for people who look at responses.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::caches::Directives;
use super::caught::Code;
use super::counts::Counters;
use super::flags::Flags;
use super::reads::VisibleRun;
use crate::engine::{Entry, JoinedNames};

static X_ACTIVE_FLAGS: HeaderName = HeaderName::from_static("x-active-flags");
static X_FLAG_OVERRIDES: HeaderName = HeaderName::from_static("x-flag-overrides");
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
    Never,
    /// On all responses, with those active flags alone that were read before the response began.
    Read,
    /// On responses to requests that the predicate accepts; from [`HeaderPolicy::when`].
    #[non_exhaustive]
    When(Arc<dyn Fn(&Parts) -> bool + Send + Sync>),
}

impl HeaderPolicy {
    /// On responses to requests that the predicate accepts. It sees the request as it came to the layer, not what
    /// [`identify`](crate::FlagLayer::identify) makes of it.
    #[must_use]
    pub fn when(accepts: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self::When(Arc::new(accepts))
    }

    /// The same policy; a predicate that panics is counted, and accepts nothing.
    pub(super) fn counting(self, counters: &Arc<Counters>) -> Self {
        match self {
            Self::When(accepts) => Self::When(counters.predicate(Code::HeaderPolicy, move |request| accepts(request))),
            other => other,
        }
    }

    /// Whether the header can be on a response at all.
    pub(super) fn may_name(&self) -> bool {
        !matches!(self, Self::Never)
    }

    /// Whether the header can differ between callers though no flag was read: it may be on any response,
    /// and leaving it out is an answer too.
    pub(super) fn tells_callers_apart(&self) -> bool {
        matches!(self, Self::All | Self::When(_))
    }

    pub(super) fn wants(&self, request: &Parts) -> HeaderContent {
        match self {
            Self::All => HeaderContent::All,
            Self::Read => HeaderContent::Read,
            Self::When(accepts) if accepts(request) => HeaderContent::All,
            Self::Never | Self::When(_) => HeaderContent::None,
        }
    }
}

impl std::fmt::Debug for HeaderPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::All => "All",
            Self::Read => "Read",
            Self::Never => "Never",
            Self::When(_) => "When(..)",
        })
    }
}

/// Which flags the header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderContent {
    None,
    Read,
    All,
}

/// Takes away what a handler or a service behind it brought along, and writes the header if it is
/// wanted and the response is not meant for everybody.
pub(super) fn write(
    headers: &mut HeaderMap,
    flags: &Flags,
    wanted: HeaderContent,
    directives: Directives,
    limit: usize,
    counters: &Counters,
) {
    if wanted == HeaderContent::None {
        take_away(headers, &X_ACTIVE_FLAGS);
        take_away(headers, &X_ACTIVE_FLAGS_OMITTED);
        return;
    }
    let line =
        if directives.is_shared { Line::default() } else { Line::of(flags, wanted == HeaderContent::Read, limit) };
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

/// Says which flags a tester has forced, and how, as many as fit; and takes away what others have said of it.
pub(super) fn write_overrides(headers: &mut HeaderMap, overrides: &[Entry<'_>], limit: usize) {
    let mut line = String::new();
    for entry in overrides.iter().filter(|entry| !entry.is_hidden) {
        let answer = entry.variant.unwrap_or(if entry.enabled { "on" } else { "off" });
        let separator = if line.is_empty() { "" } else { "," };
        let said = format!("{separator}{}={answer}", entry.name);
        if line.len() + said.len() > limit {
            break;
        }
        line.push_str(&said);
    }
    match HeaderValue::try_from(line) {
        Ok(mut line) if !line.is_empty() => {
            line.set_sensitive(true);
            headers.insert(&X_FLAG_OVERRIDES, line);
        }
        _ => take_away(headers, &X_FLAG_OVERRIDES),
    }
}

/// Removes a header that is mostly not there: looking at the few names that are is cheaper than hashing it.
fn take_away(headers: &mut HeaderMap, name: &HeaderName) {
    if headers.keys().any(|found| found == name) {
        headers.remove(name);
    }
}

/// The header's value and how many flags did not fit.
#[derive(Default)]
struct Line {
    value: Option<HeaderValue>,
    omitted: u64,
}

/// A line of up to this size is written on the stack.
const SHORT: usize = 1024;

impl Line {
    /// The longest prefix of the sorted list that takes at most `limit` bytes.
    fn of(flags: &Flags, is_read_only: bool, limit: usize) -> Self {
        let Some(runs) = flags.visible_runs(is_read_only) else { return Self::of_layers(flags, is_read_only, limit) };
        if limit <= SHORT {
            Self::of_runs(runs, limit, &mut [0; SHORT + JoinedNames::SLACK])
        } else {
            // More than the names of any set.
            let limit = limit.min(1 << 22);
            Self::of_runs(runs, limit, &mut vec![0; limit + JoinedNames::SLACK])
        }
    }

    /// The buffer has [`JoinedNames::SLACK`] bytes more than the limit.
    fn of_runs<'a>(runs: impl Iterator<Item = VisibleRun<'a>>, limit: usize, buffer: &mut [u8]) -> Self {
        let (mut size, mut omitted) = (0, 0);
        for run in runs {
            let separator = usize::from(size > 0);
            let fits = |run: &VisibleRun<'_>| {
                size + separator + run.text().1 + run.variant.map_or(0, |variant| 1 + variant.len()) <= limit
            };
            let mut fitting = Some(run).filter(|_| omitted == 0);
            while fitting.is_some_and(|run| !fits(&run)) {
                fitting = fitting.and_then(VisibleRun::shortened);
            }
            omitted += u64::from(run.count() - fitting.map_or(0, |run| run.count()));
            let Some(run) = fitting else { continue };
            let (text, len) = run.text();
            buffer[size] = b',';
            size += separator;
            copy(&mut buffer[size..], text, len);
            size += len;
            if let Some(variant) = run.variant {
                buffer[size] = b'=';
                buffer[size + 1..][..variant.len()].copy_from_slice(variant.as_bytes());
                size += 1 + variant.len();
            }
        }
        // Names are plain ASCII by the pattern that documents are held to.
        let value = if size > 0 { HeaderValue::from_bytes(&buffer[..size]).ok() } else { None };
        Self { value, omitted }
    }

    /// Measured first and written after, into one buffer of that size.
    fn of_layers(flags: &Flags, is_read_only: bool, limit: usize) -> Self {
        let (mut size, mut taken, mut omitted) = (0, 0, 0_u64);
        flags.for_each_visible(is_read_only, |name, variant| {
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
        flags.for_each_visible(is_read_only, |name, variant| {
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

/// Copies `len` bytes, and up to a chunk more, which both have.
#[inline(always)]
fn copy(to: &mut [u8], from: &[u8], len: usize) {
    const CHUNK: usize = JoinedNames::SLACK;
    let chunks = to.as_chunks_mut::<CHUNK>().0.iter_mut().zip(from.as_chunks::<CHUNK>().0);
    for (to, from) in chunks.take(len.div_ceil(CHUNK)) {
        *to = *from;
    }
}
