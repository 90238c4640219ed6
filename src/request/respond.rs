//! The headers of a response, as one plan. [`HeaderChanges::of`] is this table:
//!
//! | header | added where | unless |
//! |---|---|---|
//! | `X-Active-Flags` | the [policy](super::HeaderPolicy) wants it on this request | a layer around adds it; the response is shared |
//! | `X-Flag-Overrides` | a tester's override has decided a flag | |
//! | `Vary` | a flag of the caller was read, or the header of another caller could differ | `leave_cache_headers` |
//! | `Cache-Control: private` | a flag of the caller was read, or a visitor's cookie is set | the response has such a directive; without a cookie also `leave_cache_headers` |
//! | `Cache-Control: no-store` | a tester's token was accepted, or its cookie is set | |
//! | `Set-Cookie` of visitors | the visitor is new | the response is shared |
//! | `Set-Cookie` of overrides | the token came in a link, or is over | |
//!
//! A response is *shared* if it says `public` or `s-maxage` itself: it is the same for all callers. A flag *of the caller*
//! is one whose answer depends on the caller.

use http::header::SET_COOKIE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};

use super::caches::{self, Directives};
use super::config::Config;
use super::flags::Flags;
use super::header::{self, HeaderContent};

/// What the request says about the headers of its response.
#[derive(Debug)]
pub(super) struct ResponsePlan {
    /// Whether a layer around this one adds `X-Active-Flags`.
    is_nested: bool,
    /// Which flags `X-Active-Flags` names.
    wanted: HeaderContent,
    /// Whether headers were read to find out who asks.
    is_by_headers: bool,
    /// Whether a tester's token was accepted.
    pub(super) is_overridden: bool,
    pub(super) override_cookies: Vec<HeaderValue>,
    pub(super) visitor_cookie: Option<HeaderValue>,
}

impl ResponsePlan {
    pub(super) fn of(request: &Parts, config: &Config, is_nested: bool, is_by_headers: bool) -> Self {
        Self {
            is_nested,
            wanted: if is_nested { HeaderContent::None } else { config.header_policy.wants(request) },
            is_by_headers,
            is_overridden: false,
            override_cookies: Vec::new(),
            visitor_cookie: None,
        }
    }

    /// Whether `X-Active-Flags` is to name every active flag.
    pub(super) fn names_all(&self) -> bool {
        self.wanted == HeaderContent::All
    }
}

/// What a layer reports to the one around it, by the extensions of the response.
#[derive(Clone)]
struct Report {
    /// What the handler saw.
    flags: Flags,
    /// The headers that distinguish callers.
    vary: Vec<HeaderValue>,
}

static COOKIE: HeaderValue = HeaderValue::from_static("cookie");
static X_FLAG_DECISIONS: HeaderValue = HeaderValue::from_static("x-flag-decisions");

/// Adds the headers, and leaves a report for the layer around. Returns the answers that the handler saw, too.
pub(super) fn respond<R>(
    mut response: Response<R>,
    flags: &Flags,
    plan: &mut ResponsePlan,
    config: &Config,
) -> (Response<R>, Flags) {
    let report = take_report(&mut response, flags);
    // A middleware between the two layers may have read these.
    report.flags.adopt_reads(flags);
    let overrides = report.flags.overrides();
    let is_read = is_read(flags, &report.flags, config);
    let directives = directives_of(response.headers(), is_read, plan, config);
    let facts = Facts::of(directives, is_read, &report.flags, !overrides.is_empty(), plan, config);
    let changes = HeaderChanges::of(facts);
    let own = [
        plan.is_by_headers.then_some(&config.identity.vary),
        report.flags.context().visitor().is_some().then_some(&COOKIE),
        config.accepts_decisions().then_some(&X_FLAG_DECISIONS),
    ];
    let vary = || report.vary.iter().chain(own.into_iter().flatten());
    let headers = response.headers_mut();
    header::write_overrides(headers, &overrides, config.header_limit);
    if changes.active_flags {
        header::write(headers, &report.flags, plan.wanted, directives, config.header_limit, &config.counters);
    }
    if changes.vary {
        vary().for_each(|by| caches::vary(headers, by));
    }
    match changes.caching {
        Caching::Unchanged => {}
        Caching::Private => caches::make_private(headers, directives),
        Caching::NoStore => caches::forbid(headers),
    }
    let visitor_cookie = plan.visitor_cookie.take().filter(|_| changes.visitor_cookie);
    for cookie in plan.override_cookies.drain(..).chain(visitor_cookie) {
        headers.append(SET_COOKIE, cookie);
    }
    if plan.is_overridden && overrides.is_empty() {
        tracing::info!(
            "a valid override token forces nothing: its flags are unknown here, disabled, or not `overridable`"
        );
    }
    drop(overrides);
    let extensions = response.extensions_mut();
    let seen = report.flags.clone();
    if plan.is_nested {
        let vary = vary().cloned().collect();
        extensions.insert(Report { flags: report.flags, vary });
    } else if config.is_in_response {
        extensions.insert(report.flags);
    } else if extensions.get::<Flags>().is_some_and(|found| ![0, flags.request()].contains(&found.request())) {
        extensions.remove::<Flags>();
    }
    (response, seen)
}

/// The report of the layer inside, if this request had one.
fn take_report<R>(response: &mut Response<R>, flags: &Flags) -> Report {
    match response.extensions_mut().remove::<Report>() {
        Some(report) if report.flags.request() == flags.request() => report,
        // It belongs to another request: a cache in between kept its response, or the handler made its own request.
        Some(_) | None => Report { flags: flags.clone(), vary: Vec::new() },
    }
}

/// What the response says about caches itself, where that is needed.
fn directives_of(headers: &HeaderMap, is_read: bool, plan: &ResponsePlan, config: &Config) -> Directives {
    let names_flags = !plan.is_nested && config.header_policy.may_name();
    let is_needed = names_flags || plan.visitor_cookie.is_some() || is_read;
    if is_needed { Directives::of(headers) } else { Directives::default() }
}

/// Whether a flag of the caller was read.
fn is_read(flags: &Flags, seen: &Flags, config: &Config) -> bool {
    let is_read_of = |flags: &Flags| flags.has_read_of_caller() || config.has_read_decided(flags);
    is_read_of(flags) || !seen.ptr_eq(flags) && is_read_of(seen)
}

/// What decides on the headers of one response.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    /// A layer around adds `X-Active-Flags`.
    is_nested: bool,
    /// The response says that it is the same for all callers.
    is_shared: bool,
    /// A flag of the caller was read.
    is_read: bool,
    /// `X-Active-Flags` could be another one for another caller. A response without the header counts too: a cache that
    /// keeps it without `Vary` serves it to every caller.
    may_differ: bool,
    /// A tester's token was accepted or has decided a flag, or its cookie is set.
    is_overridden: bool,
    is_new_visitor: bool,
    leaves_cache_headers: bool,
}

impl Facts {
    fn of(
        directives: Directives,
        is_read: bool,
        seen: &Flags,
        has_overrides: bool,
        plan: &ResponsePlan,
        config: &Config,
    ) -> Self {
        Self {
            is_nested: plan.is_nested,
            is_shared: directives.is_shared,
            is_read,
            may_differ: !plan.is_nested
                && config.header_policy.tells_callers_apart()
                && (seen.has_visible_of_caller() || config.accepts_decisions()),
            is_overridden: plan.is_overridden || has_overrides || !plan.override_cookies.is_empty(),
            is_new_visitor: plan.visitor_cookie.is_some(),
            leaves_cache_headers: !config.is_told_to_caches,
        }
    }
}

/// What happens to the headers of one response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HeaderChanges {
    /// `X-Active-Flags` is written, or taken away where the policy does not want it.
    active_flags: bool,
    vary: bool,
    caching: Caching,
    visitor_cookie: bool,
}

/// What becomes of `Cache-Control`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caching {
    Unchanged,
    /// Unless the response has such a directive.
    Private,
    NoStore,
}

impl HeaderChanges {
    fn of(facts: Facts) -> Self {
        let Facts { is_nested, is_shared, is_read, may_differ, is_overridden, is_new_visitor, leaves_cache_headers } =
            facts;
        let visitor_cookie = is_new_visitor && !is_shared;
        Self {
            active_flags: !is_nested,
            vary: (is_read || may_differ && !is_shared) && !leaves_cache_headers,
            caching: if is_overridden {
                Caching::NoStore
            } else if visitor_cookie || is_read && !leaves_cache_headers {
                Caching::Private
            } else {
                Caching::Unchanged
            },
            visitor_cookie,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_headers_holds() {
        let facts = Facts::default();
        let of = |facts: Facts| {
            let HeaderChanges { active_flags, vary, caching, visitor_cookie } = HeaderChanges::of(facts);
            (active_flags, vary, caching, visitor_cookie)
        };
        use Caching::{NoStore, Private, Unchanged};
        assert_eq!(of(facts), (true, false, Unchanged, false), "nothing was read");
        assert_eq!(of(Facts { is_nested: true, ..facts }), (false, false, Unchanged, false));
        assert_eq!(of(Facts { is_read: true, ..facts }), (true, true, Private, false));
        assert_eq!(of(Facts { may_differ: true, ..facts }), (true, true, Unchanged, false));
        let shared = Facts { is_shared: true, ..facts };
        assert_eq!(of(Facts { may_differ: true, ..shared }), (true, false, Unchanged, false), "all get the same");
        assert_eq!(of(Facts { is_read: true, ..shared }), (true, true, Private, false));
        assert_eq!(of(Facts { is_new_visitor: true, ..shared }), (true, false, Unchanged, false));
        assert_eq!(of(Facts { is_new_visitor: true, ..facts }), (true, false, Private, true));
        let left = Facts { leaves_cache_headers: true, ..facts };
        assert_eq!(of(Facts { is_read: true, may_differ: true, ..left }), (true, false, Unchanged, false));
        assert_eq!(
            of(Facts { is_new_visitor: true, ..left }),
            (true, false, Private, true),
            "a cookie is one caller's"
        );
        assert_eq!(of(Facts { is_overridden: true, is_read: true, ..left }), (true, false, NoStore, false));
        assert_eq!(of(Facts { is_overridden: true, is_new_visitor: true, ..facts }), (true, false, NoStore, true));
    }
}
