//! Who asks: from an extension, the application's closure, or headers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::caught::Code;
use super::counts::{Counters, count};
use super::scope::OuterLayer;
use crate::context::Context;

pub(super) static X_USER_ID: HeaderName = HeaderName::from_static("x-user-id");
pub(super) static X_USER_GROUPS: HeaderName = HeaderName::from_static("x-user-groups");

/// Longest user id in a header, in bytes.
const MAX_USER_ID: usize = 256;
/// Longest groups header, in bytes.
const MAX_GROUPS_LINE: usize = 8 * 1024;
/// Most groups in a header.
const MAX_GROUPS: usize = 100;
/// Longest group in a header, in bytes.
const MAX_GROUP: usize = 128;

type Identify = dyn Fn(&Parts) -> Option<Context> + Send + Sync;

/// How a layer finds out who asks.
#[derive(Clone)]
pub(super) struct Identification {
    pub(super) closure: Option<Arc<Identify>>,
    pub(super) headers: Headers,
    pub(super) user_header: HeaderName,
    pub(super) groups_header: HeaderName,
    /// Both names, as `Vary` has them.
    pub(super) vary: HeaderValue,
    /// Whether somebody was told that untrusted headers name the caller.
    has_warned: Arc<AtomicBool>,
}

/// Whether headers may name the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Headers {
    /// If there is no closure and no layer around; with one warning.
    Unsaid,
    Trusted,
    Ignored,
}

impl Default for Identification {
    fn default() -> Self {
        Self {
            closure: None,
            headers: Headers::Unsaid,
            user_header: X_USER_ID.clone(),
            groups_header: X_USER_GROUPS.clone(),
            vary: HeaderValue::from_static("x-user-id, x-user-groups"),
            has_warned: Arc::default(),
        }
    }
}

impl Identification {
    /// Names the caller by a closure of the application.
    pub(super) fn identify_by(
        &mut self,
        closure: impl Fn(&Parts) -> Option<Context> + Send + Sync + 'static,
        counters: &Arc<Counters>,
    ) {
        let counters = Arc::clone(counters);
        self.closure = Some(Arc::new(move |request: &Parts| {
            // The headers and the layer around do not name the caller then: the closure may have known better.
            counters.caught(Code::Identify, || closure(request)).unwrap_or_else(|| Some(Context::anonymous()))
        }));
    }

    /// The header that holds the user id, and the one that holds the groups.
    pub(super) fn set_headers(&mut self, user: HeaderName, groups: HeaderName) {
        // Names of headers are values of headers.
        if let Ok(vary) = HeaderValue::try_from(format!("{user}, {groups}")) {
            self.vary = vary;
        }
        (self.user_header, self.groups_header) = (user, groups);
    }

    /// The caller, and how it was found: the caller of the layer around, or an anonymous one, if nothing names one.
    pub(super) fn of(
        &self,
        request: &Parts,
        around: Option<&OuterLayer>,
        counters: &Counters,
    ) -> (Context, ContextOrigin) {
        let lost = || around.and_then(|around| around.lost.as_ref());
        if let Some(context) = request.extensions.get::<Context>().or_else(lost) {
            return (context.clone(), ContextOrigin::InExtension);
        }
        let outer = around.map(|around| around.flags.context());
        if let Some(context) = self.closure.as_ref().and_then(|identify| identify(request)) {
            return (context, ContextOrigin::Otherwise);
        }
        let may_read_headers = match self.headers {
            Headers::Unsaid => self.closure.is_none() && outer.is_none(),
            Headers::Trusted => true,
            Headers::Ignored => false,
        };
        let named = if may_read_headers { self.named_by_headers(&request.headers, counters) } else { None };
        let found = if may_read_headers { ContextOrigin::ByHeaders } else { ContextOrigin::Otherwise };
        (named.or_else(|| outer.cloned()).unwrap_or_default(), found)
    }

    /// The caller whom headers name; `None` where neither header is there.
    fn named_by_headers(&self, headers: &HeaderMap, counters: &Counters) -> Option<Context> {
        let user = match only(headers, &self.user_header) {
            Lines::None => None,
            Lines::One(value) if is_user_id(value) => Some(value.clone()),
            Lines::One(_) | Lines::More => {
                if count(&counters.refused_user_ids) {
                    tracing::warn!(
                        header = %self.user_header,
                        "a user id was refused (empty, not UTF-8, over {MAX_USER_ID} bytes, or on two lines); the caller \
                         counts as anonymous. Further ones are only counted",
                    );
                }
                return Some(Context::anonymous());
            }
        };
        let groups = match only(headers, &self.groups_header) {
            Lines::None => None,
            Lines::One(value) if are_groups(value) => Some(value.clone()),
            Lines::One(_) | Lines::More => {
                if count(&counters.refused_groups) {
                    tracing::warn!(
                        header = %self.groups_header,
                        "groups were refused (not UTF-8, over {MAX_GROUPS_LINE} bytes or {MAX_GROUPS} groups, one over \
                         {MAX_GROUP} bytes, or on two lines); the caller counts as being in none. Further ones are only \
                         counted",
                    );
                }
                None
            }
        };
        if user.is_none() && groups.is_none() {
            return None;
        }
        if self.headers == Headers::Unsaid && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "{} and {} name the caller, and anybody can send them: put a proxy in front that sets them and call \
                 `trust_headers()`, or let an auth layer insert a `Context`",
                self.user_header,
                self.groups_header,
            );
        }
        Some(Context::from_headers(user, groups))
    }
}

/// How the caller was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContextOrigin {
    InExtension,
    /// Headers were read, whether or not they name one.
    ByHeaders,
    /// By the closure, or as the caller of the layer around.
    Otherwise,
}

enum Lines<'a> {
    None,
    One(&'a HeaderValue),
    /// Which of them was meant nobody can say, and guessing is how callers are mistaken for others.
    More,
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Lines<'a> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Lines::None,
        (Some(value), None) => Lines::One(value),
        (Some(_), Some(_)) => Lines::More,
    }
}

fn is_user_id(value: &HeaderValue) -> bool {
    // White space alone comes through where no HTTP/1 parser has trimmed it, and is nobody's id.
    let starts_with_text = matches!(value.as_bytes(), [first, ..] if first.is_ascii_graphic());
    value.len() <= MAX_USER_ID
        && std::str::from_utf8(value.as_bytes()).is_ok_and(|id| starts_with_text || !id.trim().is_empty())
}

fn are_groups(value: &HeaderValue) -> bool {
    let Ok(line) = std::str::from_utf8(value.as_bytes()) else { return false };
    // A line this short has neither too many groups nor one that is too long.
    if line.len() <= MAX_GROUPS.min(MAX_GROUP) {
        return true;
    }
    let groups = || line.split(',').map(|group| group.trim_matches([' ', '\t'])).filter(|group| !group.is_empty());
    line.len() <= MAX_GROUPS_LINE
        && groups().nth(MAX_GROUPS).is_none()
        && groups().all(|group| group.len() <= MAX_GROUP)
}
