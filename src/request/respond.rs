//! The headers of a response, as one plan.
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
    let facts = Facts::of(response.headers(), flags, &report.flags, plan, config);
    let own = [
        plan.is_by_headers.then_some(&config.identity.vary),
        report.flags.context().visitor().is_some().then_some(&COOKIE),
        config.accepts_decisions().then_some(&X_FLAG_DECISIONS),
    ];
    let vary = || report.vary.iter().chain(own.into_iter().flatten());
    add_headers(response.headers_mut(), &report.flags, facts, vary(), plan, config);
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

/// What decides on the headers of one response.
#[derive(Clone, Copy)]
struct Facts {
    directives: Directives,
    /// A flag of the caller was read.
    is_read: bool,
    /// `X-Active-Flags` could be another one for another caller. A response without the header counts too: a cache that
    /// keeps it without `Vary` serves it to every caller.
    may_differ: bool,
}

impl Facts {
    fn of(headers: &HeaderMap, flags: &Flags, seen: &Flags, plan: &ResponsePlan, config: &Config) -> Self {
        let is_read_of = |flags: &Flags| flags.has_read_of_caller() || config.has_read_decided(flags);
        let is_read = is_read_of(flags) || !seen.ptr_eq(flags) && is_read_of(seen);
        let policy = &config.header_policy;
        let needs_directives = !plan.is_nested && policy.may_name() || is_read || plan.visitor_cookie.is_some();
        let directives = if needs_directives { Directives::of(headers) } else { Directives::default() };
        let may_differ = !plan.is_nested
            && !directives.is_shared
            && policy.tells_callers_apart()
            && (seen.has_visible_of_caller() || config.accepts_decisions());
        Self { directives, is_read, may_differ }
    }
}

fn add_headers<'a>(
    headers: &mut HeaderMap,
    seen: &Flags,
    facts: Facts,
    vary: impl Iterator<Item = &'a HeaderValue>,
    plan: &mut ResponsePlan,
    config: &Config,
) {
    let Facts { directives, is_read, may_differ } = facts;
    add_overrides(headers, seen, plan, config);
    if !plan.is_nested {
        header::write(headers, seen, plan.wanted, directives, config.header_limit, &config.counters);
    }
    if config.is_told_to_caches && (is_read || may_differ) {
        vary.for_each(|by| caches::vary(headers, by));
    }
    let cookie = plan.visitor_cookie.take().filter(|_| !directives.is_shared);
    if config.is_told_to_caches && is_read || cookie.is_some() {
        caches::make_private(headers, directives);
    }
    if let Some(cookie) = cookie {
        headers.append(SET_COOKIE, cookie);
    }
}

fn add_overrides(headers: &mut HeaderMap, seen: &Flags, plan: &mut ResponsePlan, config: &Config) {
    let overrides = seen.overrides();
    header::write_overrides(headers, &overrides, config.header_limit);
    if plan.is_overridden || !overrides.is_empty() {
        caches::forbid(headers);
    }
    if plan.is_overridden && overrides.is_empty() {
        tracing::info!(
            "a valid override token forces nothing: its flags are unknown here, disabled, or not `overridable`"
        );
    }
    for cookie in plan.override_cookies.drain(..) {
        caches::forbid(headers);
        headers.append(SET_COOKIE, cookie);
    }
}
