//! Propagates decisions to the next service: the client side.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Uri};
use tower_layer::Layer;
use tower_service::Service;

use super::accessors::inner_accessors;
use super::caught::caught;
use super::flags::Flags;
use super::hosts::Host;
use super::scope;
use super::signed::claims::{Claims, ForcedState, MAX_LEN, spelled};
use super::signed::decision_header::{DECISIONS, LONGEST_LIFE, X_FLAG_DECISIONS, service_name};
use super::signed::key::SigningKey;
use crate::document::{FlagName, Timestamp};

/// A layer around a client that sends the decisions of the current request along, so that the service
/// behind decides no differently: with [`AcceptDecisions`](super::AcceptDecisions) there.
///
/// 1. `X-Flag-Decisions` holds the answers about the flags that are named here and that the rules know, with this
///    service's name, the receiver's name and an expiry, 30 s from now unless [`valid_for`](Self::valid_for) says
///    otherwise, signed by HMAC-SHA256.
/// 2. It is sent to the hosts that [`to`](Self::to) lists, and to no other. A header of that name that the request already
///    has is removed, whatever the host, so that no foreign header is passed on.
/// 3. A header has at most 2 048 bytes. Flags that do not fit are left out from the end of the list, with one warning.
/// 4. Sending counts as reading. Outside of a request nothing is sent, which counts as a read out of scope and is logged
///    once: a task of its own takes the flags along by [`spawn`](crate::spawn).
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_flags::request::{SendDecisionsLayer, SigningKey};
///
/// let key = SigningKey::new("fdc1d0a6c3b24ae0b0b4a7a0a1f3f5a7c9e2")?;
/// let decisions = SendDecisionsLayer::new("shop", ["new_checkout"]).to("payments", key, ["payments.internal"]);
/// let client = ServiceBuilder::new().layer(decisions);
/// # let _ = client;
/// # Ok::<(), tower_flags::Error>(())
/// ```
///
/// A client of other requests than those of `http` goes behind a `map_request` that converts them.
///
/// # Redirects
///
/// Put this layer **inside** of whatever follows redirects, next to the client. It then judges each hop by itself: it signs
/// for hosts on the list, and removes the header for others.
///
/// ```text
/// ServiceBuilder::new()
///     .layer(FollowRedirectLayer::new())   // of tower-http
///     .layer(decisions)
///     .service(client)
/// ```
///
/// A layer or client further in that follows redirects by itself copies the header, like any it does not know, to wherever
/// the redirect leads; no layer outside can see that. Turn it off there: `redirect::Policy::none()` in `reqwest`, which
/// follows redirects by default.
///
/// The header is bound to no user: the service behind should be reached by the services before it alone, or accept
/// only flags that any user may see.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct SendDecisionsLayer {
    config: Arc<Config>,
}

#[derive(Clone)]
struct Config {
    service: String,
    flags: Vec<String>,
    audiences: Vec<Audience>,
    any_host: Option<Audience>,
    valid_for: Duration,
    longest_life: Duration,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    warned: LoggedWarnings,
}

/// Whom a header is for.
#[derive(Clone, Debug)]
struct Audience {
    name: String,
    key: SigningKey,
    hosts: Vec<Host>,
}

/// The warnings that were logged already.
#[derive(Clone, Default)]
struct LoggedWarnings {
    /// Not all of it fits.
    leaves_out: Arc<AtomicBool>,
    /// A request was made outside of any.
    is_lost: Arc<AtomicBool>,
    /// A request names no host.
    has_no_host: Arc<AtomicBool>,
    /// No service was named.
    sends_nothing: Arc<AtomicBool>,
}

impl SendDecisionsLayer {
    /// Sends the answers about these flags in the name of this service. Nothing is sent until [`to`](Self::to) or
    /// [`any_host`](Self::any_host) says to whom.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn new(own_name: impl Into<String>, flags: impl IntoIterator<Item: FlagName>) -> Self {
        let config = Config {
            service: service_name(own_name.into()),
            flags: flags.into_iter().map(|flag| flag.name().to_owned()).collect(),
            audiences: Vec::new(),
            any_host: None,
            valid_for: Duration::from_secs(30),
            longest_life: LONGEST_LIFE,
            clock: Arc::new(Timestamp::now),
            warned: LoggedWarnings::default(),
        };
        Self { config: Arc::new(config) }
    }

    /// Sends to this service, signed with this key, where a request goes to one of these hosts. Can be called for several
    /// services.
    ///
    /// A host is a name or an IP address: `payments.internal` with any port, `payments.internal:8443` with this port,
    /// `https://payments.internal` with this scheme and port. There are no patterns. The host of a request is that of its
    /// URI and not that of the header `Host`, which says nothing of where the request goes: a client whose connections lead
    /// to one place, with URIs such as `/pay`, takes [`any_host`](Self::any_host).
    ///
    /// The receiver has to accept this service with the same key, and to have the name that is given here:
    /// `AcceptDecisions::new("payments", …).from("shop", key)`.
    ///
    /// # Panics
    ///
    /// If the name is empty, if there is no host, if one is not a host, or if one was already listed for another service.
    #[track_caller]
    pub fn to(
        mut self,
        service: impl Into<String>,
        key: SigningKey,
        hosts: impl IntoIterator<Item: AsRef<str>>,
    ) -> Self {
        let name = service_name(service.into());
        let config = Arc::make_mut(&mut self.config);
        let mut listed = Vec::new();
        for given in hosts {
            let given = given.as_ref();
            let Some(host) = Host::parse(given) else {
                panic!(
                    "expected a host such as payments.internal, payments.internal:8443 or https://payments.internal, \
                     found {given:?}; `any_host` sends to every host"
                );
            };
            if let Some(other) = config.audiences.iter().find(|audience| audience.hosts.contains(&host)) {
                panic!("expected each host for one service, found {given:?} for {:?} and for {name:?}", other.name);
            }
            listed.push(host);
        }
        assert!(!listed.is_empty(), "expected a host of {name:?}, found none; `any_host` sends to every host");
        config.audiences.push(Audience { name, key, hosts: listed });
        self
    }

    /// Sends to this service, signed with this key, **whatever host a request goes to**, if no other service lists it. For
    /// clients that reach no other service: one connection, a proxy beside the process, a client that allows no other host.
    /// Through a redirect, the header can reach any host.
    ///
    /// # Panics
    ///
    /// If the name is empty, or if this was called before.
    #[track_caller]
    pub fn any_host(mut self, service: impl Into<String>, key: SigningKey) -> Self {
        let name = service_name(service.into());
        let any_host = &mut Arc::make_mut(&mut self.config).any_host;
        if let Some(other) = any_host {
            panic!("expected one service for any host, found {:?} and {name:?}", other.name);
        }
        *any_host = Some(Audience { name, key, hosts: Vec::new() });
        self
    }

    /// How long the header is good for, rounded up to whole seconds; 30 s unless set. It is to cover what the
    /// clocks of the services differ by.
    ///
    /// # Panics
    ///
    /// If it is more than 60 s, which receivers reject, or than [`longest_life`](Self::longest_life) has set before.
    #[track_caller]
    pub fn valid_for(mut self, duration: Duration) -> Self {
        let config = Arc::make_mut(&mut self.config);
        assert!(
            duration <= config.longest_life,
            "expected at most {}, found {}: receivers reject more, unless their `AcceptDecisions::longest_life` allows it; \
             then call `SendDecisionsLayer::longest_life` before `valid_for`",
            spelled(config.longest_life),
            spelled(duration)
        );
        config.valid_for = duration;
        self
    }

    /// Allows [`valid_for`](Self::valid_for) to say so much; 60 s unless set. It does not make headers live longer. For
    /// receivers that allow as much by [`AcceptDecisions::longest_life`](super::AcceptDecisions::longest_life).
    ///
    /// # Panics
    ///
    /// If headers are valid for longer already: 30 s, or what `valid_for` has set before.
    #[track_caller]
    pub fn longest_life(mut self, duration: Duration) -> Self {
        let config = Arc::make_mut(&mut self.config);
        assert!(
            duration >= config.valid_for,
            "expected at least {}, which headers are valid for, found {}; call `valid_for` with less before",
            spelled(config.valid_for),
            spelled(duration)
        );
        config.longest_life = duration;
        self
    }

    /// Where the instant comes from that the expiry counts from; the system's clock unless set.
    pub fn clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let has_panicked = AtomicBool::new(false);
        Arc::make_mut(&mut self.config).clock = Arc::new(move || {
            caught(&clock).unwrap_or_else(|panic| {
                if !has_panicked.swap(true, Ordering::Relaxed) {
                    tracing::error!("the closure of `clock` panicked: {panic:?}; the system's clock is used");
                }
                Timestamp::now()
            })
        });
        self
    }
}

impl<S> Layer<S> for SendDecisionsLayer {
    type Service = SendDecisions<S>;

    fn layer(&self, inner: S) -> SendDecisions<S> {
        let Config { audiences, any_host, warned, service, .. } = &*self.config;
        let sends_nothing = audiences.is_empty() && any_host.is_none();
        if sends_nothing && !warned.sends_nothing.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                service,
                "decisions are sent to no service: `SendDecisionsLayer` has neither `to` nor `any_host`"
            );
        }
        SendDecisions { inner, config: Arc::clone(&self.config) }
    }
}

impl fmt::Debug for SendDecisionsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendDecisionsLayer")
            .field("service", &self.service)
            .field("flags", &self.flags)
            .field("audiences", &self.audiences)
            .field("any_host", &self.any_host)
            .field("valid_for", &self.valid_for)
            .finish_non_exhaustive()
    }
}

/// The client that [`SendDecisionsLayer`] makes of another one.
#[derive(Clone, Debug)]
pub struct SendDecisions<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S> SendDecisions<S> {
    inner_accessors!();
}

impl<S, B> Service<Request<B>> for SendDecisions<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        // Also on the way to hosts that are not listed: a redirect may lead there, and a caller's header is not ours.
        request.headers_mut().remove(&X_FLAG_DECISIONS);
        if let Some(value) = self.config.header(request.uri()) {
            request.headers_mut().insert(&X_FLAG_DECISIONS, value);
        }
        self.inner.call(request)
    }
}

impl Config {
    /// The header for a request to this URI.
    fn header(&self, uri: &Uri) -> Option<HeaderValue> {
        let audience = self.audience(uri)?;
        let Some(flags) = Flags::current() else {
            if let Some(name) = self.flags.first() {
                scope::read_out_of_scope_by(&self.warned.is_lost, name, "nothing is sent to the next service");
            }
            return None;
        };
        self.signed(&flags, audience)
    }

    fn audience(&self, uri: &Uri) -> Option<&Audience> {
        let listed = self.audiences.iter().find(|audience| audience.hosts.iter().any(|host| host.has(uri)));
        let audience = listed.or(self.any_host.as_ref());
        if audience.is_none() && !self.audiences.is_empty() {
            match uri.host() {
                Some(host) => tracing::debug!(host, "decisions are not sent: the host is not listed"),
                None if self.warned.has_no_host.swap(true, Ordering::Relaxed) => {}
                None => tracing::warn!(
                    "decisions are not sent: the URI of the request names no host. Put `SendDecisionsLayer` inside of the layer \
                     that completes it, or take `any_host`. Said once",
                ),
            }
        }
        audience
    }

    fn signed(&self, flags: &Flags, to: &Audience) -> Option<HeaderValue> {
        let decided: Vec<(&str, ForcedState)> =
            self.flags.iter().filter_map(|name| Some((&**name, decided(flags, name)?))).collect();
        if decided.is_empty() {
            return None;
        }
        let now = (self.clock)().unix_millis().div_euclid(1000);
        let exp = now.saturating_add(i64::try_from(self.valid_for.as_millis().div_ceil(1000)).unwrap_or(i64::MAX));
        let mut claims = Claims {
            audience: Some(to.name.clone()),
            from: Some(self.service.clone()),
            revision: Some(flags.revision().to_owned()).filter(|revision| !revision.is_empty()),
            ..Claims::until(exp)
        };
        let mut size = claims.payload().len();
        let count = decided.len();
        // Each adds `"name":answer,` with an answer of `true`, `false` or a name in quotes.
        let fitting = decided.into_iter().take_while(|(name, wanted)| {
            let answer = match wanted {
                ForcedState::Switch(true) => 4,
                ForcedState::Switch(false) => 5,
                ForcedState::Variant(variant) => variant.len() + 2,
            };
            size += name.len() + r#""":,"#.len() + answer;
            to.key.sealed_len(size) <= MAX_LEN
        });
        claims.flags = fitting.map(|(name, wanted)| (name.to_owned(), wanted)).collect();
        let sent = claims.flags.len();
        if sent < count && !self.warned.leaves_out.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                flags = count,
                sent,
                "decisions for the next service take more than {MAX_LEN} bytes; the last ones are left out",
            );
        }
        if sent == 0 {
            return None;
        }
        let mut header = HeaderValue::try_from(claims.seal(DECISIONS, &to.key)).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

/// The answer, where a usable definition gives one.
fn decided(flags: &Flags, name: &str) -> Option<ForcedState> {
    let answer = flags.evaluation(name);
    match answer.variant {
        _ if answer.reason.is_default() => None,
        Some(variant) => Some(ForcedState::Variant(variant)),
        None => Some(ForcedState::Switch(answer.enabled)),
    }
}
