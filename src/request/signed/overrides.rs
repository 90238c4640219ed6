//! Overrides that testers bring along.

use std::time::Duration;

use http::header::COOKIE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::claims::{Claims, Refusal, key_id};
use super::key::SigningKey;
use super::token::{LONGEST_LIFE, MAX_TOKEN, OVERRIDE};
use crate::context::Context;
use crate::document::Timestamp;
use crate::engine::{Forced, ForcedBy};
use crate::request::cookie;
use crate::request::counts::{Counters, count_reason};
use crate::request::sensitive::conceal;

static X_FLAG_OVERRIDE: HeaderName = HeaderName::from_static("x-flag-override");
/// The cookie and the parameter.
const NAME: &str = "flag_override";
/// Most cookies of that name that are looked at.
const MOST_COOKIES: usize = 4;

/// Lets testers force flags by signed tokens: [`FlagLayer::overrides`](crate::FlagLayer::overrides).
///
/// A tester opens a link with `?flag_override=` and a token ([`OverrideToken`](super::OverrideToken)): the
/// layer sets it as the cookie `flag_override`, which forces the flags from then on until the token
/// expires. The empty parameter, `?flag_override=`, ends that. Programs send the header `X-Flag-Override`
/// instead. The parameter comes before the header, the header before the cookie.
///
/// 1. Only flags whose definition says `"overridable": true` are forced, and a flag that is switched off
///    stays off.
/// 2. A token is ignored and counted if it is not signed, changed, expired, for another user, longer than 1 024 bytes,
///    or in a header of two lines. It lives for at most 30 days unless [`longest_life`](Self::longest_life) allows more,
///    and may expire 5 s later than that, since clocks differ. The first one for each reason is logged.
/// 3. A response to a request with a valid token says `X-Flag-Overrides: name=on,other=variant` and
///    `Cache-Control: no-store`. Hidden flags are forced and not named.
///
/// ```
/// use tower_flags::request::{Overrides, SigningKey};
/// use tower_flags::{FlagLayer, Memory};
///
/// let key = SigningKey::new("fdc1d0a6c3b24ae0b0b4a7a0a1f3f5a7c9e2")?;
/// let layer = FlagLayer::new(Memory::new()).overrides(Overrides::new(key));
/// # let _ = layer;
/// # Ok::<(), tower_flags::Error>(())
/// ```
///
/// **Caches**: a page that a shared cache serves by its address alone knows nothing of the cookie. Flags
/// that testers force belong on pages that are not cached so.
#[derive(Clone, Debug)]
#[must_use = "overrides do nothing until a layer has them"]
pub struct Overrides {
    keys: Vec<SigningKey>,
    longest_life: Duration,
    domain: Option<String>,
    is_secure: bool,
}

/// What a request has brought.
#[derive(Debug, Default)]
pub(in crate::request) struct RequestOverrides {
    pub(in crate::request) forced: Vec<Forced>,
    /// Whether a valid token was there, whatever it does.
    pub(in crate::request) is_valid: bool,
    pub(in crate::request) set_cookies: Vec<HeaderValue>,
}

impl Overrides {
    /// Takes tokens that this key has signed.
    pub fn new(key: SigningKey) -> Self {
        Self { keys: vec![key], longest_life: LONGEST_LIFE, domain: None, is_secure: true }
    }

    /// Accepts tokens of another key too: the one before, until everything that it has signed has expired. A token names
    /// the [id](SigningKey::id) of its key; one of an unknown id is rejected for that reason.
    pub fn also_accept(mut self, key: SigningKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Rejects tokens that expire later than this from now on; 30 days unless set. Who signs tokens of a longer life says
    /// so by [`OverrideToken::longest_life`](super::OverrideToken::longest_life) too.
    pub fn longest_life(mut self, duration: Duration) -> Self {
        self.longest_life = duration;
        self
    }

    /// Sets the cookie for a domain and all hosts below it: `example.com` for `shop.example.com` and
    /// `pay.example.com`. Unless this is called, a link holds for the host that it leads to.
    ///
    /// The domain has to be that of the service or a parent of it; browsers ignore the cookie otherwise.
    ///
    /// # Panics
    ///
    /// If it is not a domain name.
    #[track_caller]
    pub fn domain(mut self, domain: impl AsRef<str>) -> Self {
        self.domain = Some(cookie::domain(domain.as_ref()));
        self
    }

    /// Lets browsers send the cookie without TLS, for development: it is `Secure` unless this is called.
    pub fn insecure_cookie(mut self) -> Self {
        self.is_secure = false;
        self
    }

    pub(in crate::request) fn find(
        &self,
        request: &Parts,
        who: &Context,
        now: Timestamp,
        counters: &Counters,
    ) -> RequestOverrides {
        let link = request.uri.query().and_then(parameter);
        if link == Some(b"") {
            return RequestOverrides { set_cookies: self.cleared().collect(), ..RequestOverrides::default() };
        }
        // Of two lines nobody can say which was meant; neither is.
        let mut lines = request.headers.get_all(&X_FLAG_OVERRIDE).iter();
        let header = match (lines.next(), lines.next()) {
            (Some(line), None) => Some(line.as_bytes()),
            (Some(_), Some(_)) => Some(&b"two lines"[..]),
            (None, _) => None,
        };
        let cookies = cookie::of(request.headers.get_all(COOKIE), NAME).take(MOST_COOKIES);
        let tokens = link.map(|token| (token, true)).into_iter();
        for (token, is_link) in tokens.chain(header.into_iter().chain(cookies).map(|token| (token, false))) {
            match self.open(token, who, now) {
                Ok(claims) => {
                    let set_cookies = if is_link { self.cookies(token, &claims, now) } else { Vec::new() };
                    return RequestOverrides {
                        forced: claims.forced(ForcedBy::Override).collect(),
                        is_valid: true,
                        set_cookies,
                    };
                }
                Err(refusal) => {
                    if count_reason(&counters.refused_overrides, &counters.told, refusal.number()) {
                        let key_id = key_id(token);
                        tracing::warn!(%refusal, key_id, "a flag override was refused. Further ones for this reason are only counted");
                    }
                }
            }
        }
        RequestOverrides::default()
    }

    fn open(&self, token: &[u8], who: &Context, now: Timestamp) -> Result<Claims, Refusal> {
        if token.len() > MAX_TOKEN {
            return Err(Refusal::TooLong { most: MAX_TOKEN });
        }
        let token = std::str::from_utf8(token).map_err(|_| Refusal::Signature)?;
        let (_, claims) = Claims::open(OVERRIDE, &self.keys, token, now, self.longest_life)?;
        match &claims.user {
            Some(user) if who.user_id() != Some(user) => Err(Refusal::OtherUser),
            _ => Ok(claims),
        }
    }

    /// Marks the headers of a request that are for this layer as sensitive.
    pub(in crate::request) fn conceal(headers: &mut HeaderMap) {
        conceal(headers, &X_FLAG_OVERRIDE, |_| true);
        cookie::conceal_named(headers, NAME);
    }

    fn cookies(&self, token: &[u8], claims: &Claims, now: Timestamp) -> Vec<HeaderValue> {
        let Ok(token) = std::str::from_utf8(token) else { return Vec::new() };
        let seconds = claims.exp.saturating_sub(now.unix_millis().div_euclid(1000));
        // An older cookie of this host alone would be sent first, and win.
        let older = self.cleared().filter(|_| self.domain.is_some()).take(1);
        older.chain(cookie::line(NAME, token, seconds, self.domain.as_deref(), self.is_secure)).collect()
    }

    /// Makes browsers forget the cookie of this host and the cookie of the domain.
    fn cleared(&self) -> impl Iterator<Item = HeaderValue> {
        let domains = std::iter::once(None).chain(self.domain.as_deref().map(Some));
        domains.filter_map(|domain| cookie::line(NAME, "", 0, domain, false))
    }
}

/// The value of the parameter, as it is written: tokens have nothing that a URL would escape.
fn parameter(query: &str) -> Option<&[u8]> {
    query.split('&').find_map(|pair| pair.strip_prefix(NAME)?.strip_prefix('=')).map(str::as_bytes)
}
