//! Random ids for callers whom nobody knows.

use std::fmt::Write;
use std::time::Duration;

use http::header::COOKIE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use super::cookie;
use crate::context::Context;

/// Gives anonymous callers a random id in a cookie, so that partial rollouts and variants stay with
/// their browser: [`FlagLayer::visitors`](crate::FlagLayer::visitors).
///
/// 1. A caller without a user id is bucketed by the cookie `visitor`: 128 random bits as 32 hexadecimal
///    digits. One of another form, or none, is replaced by a new one, which counts at once.
/// 2. The id is hashed and nothing else: no allow-list, group or rule sees it, and it authorises nothing.
/// 3. A user id takes its place as soon as there is one. Logging in may so change what is seen.
/// 4. The cookie is `HttpOnly`, `SameSite=Lax`, `Secure` and lasts a year unless set otherwise. It is never
///    set on a response that says `public` or `s-maxage`; on others `Cache-Control: private` goes with it
///    where nothing forbids shared caches yet.
///
/// ```
/// use tower_flags::request::Visitors;
/// use tower_flags::{FlagLayer, Memory};
///
/// let layer = FlagLayer::new(Memory::new()).visitors(Visitors::new());
/// # let _ = layer;
/// ```
///
/// **Parallel first requests** of one browser get an id each, and the browser keeps the one that arrives last. To set
/// ids on pages only, skip what a page loads with [`FlagLayer::skip`](crate::FlagLayer::skip):
///
/// ```
/// use tower_flags::request::Visitors;
/// use tower_flags::{FlagLayer, Memory};
///
/// let layer = FlagLayer::new(Memory::new())
///     .visitors(Visitors::new())
///     .skip(|request| request.uri.path().starts_with("/assets/"));
/// # let _ = layer;
/// ```
///
/// A lasting id in a browser may take consent where you are.
#[derive(Clone, Debug)]
#[must_use = "this does nothing until a layer has it"]
pub struct Visitors {
    cookie: String,
    max_age: Duration,
    domain: Option<String>,
    is_secure: bool,
}

impl Default for Visitors {
    fn default() -> Self {
        let max_age = Duration::from_secs(365 * 24 * 60 * 60);
        Self { cookie: "visitor".to_owned(), max_age, domain: None, is_secure: true }
    }
}

impl Visitors {
    /// Everything at its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// The cookie's name: letters, digits, `-` and `_`.
    ///
    /// # Panics
    ///
    /// With any other name. Also if the name begins with `__Host-` and there is a [`domain`](Self::domain): browsers
    /// ignore such a cookie.
    #[track_caller]
    pub fn cookie(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        assert!(
            !name.is_empty() && name.bytes().all(is_fit),
            "expected a cookie's name of letters, digits, - and _, found {name:?}"
        );
        self.cookie = name;
        self.checked()
    }

    /// Sets the cookie for a domain and all hosts below it: `example.com` for `shop.example.com` and
    /// `pay.example.com`. Unless this is called, each host gives ids of its own.
    ///
    /// The domain has to be that of the service or a parent of it; browsers ignore the cookie otherwise. Ids that a
    /// host gave before stay with that host until they expire; another [`cookie`](Self::cookie) name replaces them.
    ///
    /// # Panics
    ///
    /// If it is not a domain name, or if the cookie's name begins with `__Host-`.
    #[track_caller]
    pub fn domain(mut self, domain: impl AsRef<str>) -> Self {
        self.domain = Some(cookie::domain(domain.as_ref()));
        self.checked()
    }

    #[track_caller]
    fn checked(self) -> Self {
        let is_of_host = self.cookie.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("__host-"));
        assert!(self.domain.is_none() || !is_of_host, "a cookie named {:?} cannot have a domain", self.cookie);
        self
    }

    /// How long browsers keep it, in whole seconds; they cap it, at 400 days as a rule.
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// Lets browsers send the cookie without TLS, for development.
    pub fn insecure_cookie(mut self) -> Self {
        self.is_secure = false;
        self
    }

    /// The caller with an id where there is no other, and the cookie that makes it last if it is new. Where
    /// the system has no random bits the caller stays without.
    pub(super) fn recognise(&self, request: &Parts, who: Context) -> (Context, Option<HeaderValue>) {
        if !who.is_anonymous() || who.visitor().is_some() {
            return (who, None);
        }
        if let Some(id) = cookie::of(request.headers.get_all(COOKIE), &self.cookie).find_map(known) {
            return (who.with_visitor(id), None);
        }
        let mut bits = [0; 16];
        if getrandom::fill(&mut bits).is_err() {
            return (who, None);
        }
        let id = bits.iter().fold(String::with_capacity(32), |mut id, byte| {
            let _ = write!(id, "{byte:02x}");
            id
        });
        let seconds = self.max_age.as_secs();
        let line = cookie::line(&self.cookie, &id, seconds, self.domain.as_deref(), self.is_secure);
        (who.with_visitor(id), line)
    }

    /// Marks the headers of a request that are for this layer as sensitive.
    pub(super) fn conceal(&self, headers: &mut HeaderMap) {
        cookie::conceal_named(headers, &self.cookie);
    }
}

/// An id of our own form.
fn known(value: &[u8]) -> Option<&str> {
    let is_ours = value.len() == 32 && value.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    std::str::from_utf8(value).ok().filter(|_| is_ours)
}
