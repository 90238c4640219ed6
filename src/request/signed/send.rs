//! Decisions for the next service.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use http::{HeaderValue, Request};
use tower_layer::Layer;
use tower_service::Service;

use super::decisions::{DECISIONS, X_FLAG_DECISIONS};
use super::key::SigningKey;
use super::token::{Claims, MAX_LEN, Wanted};
use crate::engine::{FlagName, Flags, Instant};
use crate::request::caught::caught;
use crate::request::layer::system_clock;
use crate::request::scope;

/// A layer around a client that sends the decisions of the current request along, so that the service
/// behind decides no differently: with [`AcceptDecisions`](super::AcceptDecisions) there.
///
/// `X-Flag-Decisions` holds the answers about the flags that are named here and that the rules know,
/// signed by HMAC-SHA256, with this service's name and an expiry, 30 s from now unless set. What does
/// not fit into 2 048 bytes is left out from the end of the list, with one warning. A header of that
/// name that is already there is taken away, so that nobody's is passed on by accident. Sending counts as
/// reading. Outside of a request nothing is sent, which counts as a read out of scope and is logged once: a
/// task of its own takes the flags along by [`spawn`](crate::spawn).
///
/// A client that takes other requests than those of `http` comes behind a `map_request` that converts them.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_flags::request::{SendDecisions, SigningKey};
///
/// let key = SigningKey::new("fdc1d0a6c3b24ae0b0b4a7a0a1f3f5a7c9e2")?;
/// let client = ServiceBuilder::new().layer(SendDecisions::new(key, "shop", ["new_checkout"]));
/// # let _ = client;
/// # Ok::<(), tower_flags::request::WeakKey>(())
/// ```
///
/// The header is bound to no caller: the service behind should be reached by the services before it alone,
/// or take decisions about flags only that it would show to anybody.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct SendDecisions {
    config: Arc<Config>,
}

#[derive(Clone)]
struct Config {
    key: SigningKey,
    service: String,
    flags: Vec<String>,
    valid_for: Duration,
    clock: Arc<dyn Fn() -> Instant + Send + Sync>,
    /// Whether somebody was told that not all of it fits.
    has_warned: Arc<AtomicBool>,
    /// Whether somebody was told that a request was made outside of any.
    is_lost: Arc<AtomicBool>,
}

impl SendDecisions {
    /// Signs with this key, in the name of this service, the answers about these flags.
    pub fn new(key: SigningKey, service: impl Into<String>, flags: impl IntoIterator<Item: FlagName>) -> Self {
        let config = Config {
            key,
            service: service.into(),
            flags: flags.into_iter().map(|flag| flag.name().to_owned()).collect(),
            valid_for: Duration::from_secs(30),
            clock: Arc::new(system_clock),
            has_warned: Arc::default(),
            is_lost: Arc::default(),
        };
        Self { config: Arc::new(config) }
    }

    /// How long the header is good for, rounded up to whole seconds; 30 s unless set. It is to cover what the
    /// clocks of the services differ by.
    pub fn valid_for(mut self, duration: Duration) -> Self {
        Arc::make_mut(&mut self.config).valid_for = duration;
        self
    }

    /// Where the instant comes from that the expiry counts from; the system's clock unless set.
    pub fn clock(mut self, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        let has_panicked = AtomicBool::new(false);
        Arc::make_mut(&mut self.config).clock = Arc::new(move || {
            caught(&clock).unwrap_or_else(|panic| {
                if !has_panicked.swap(true, Ordering::Relaxed) {
                    tracing::error!("the closure of `clock` panicked: {panic:?}; the system's clock is used");
                }
                system_clock()
            })
        });
        self
    }
}

impl<S> Layer<S> for SendDecisions {
    type Service = SendDecisionsService<S>;

    fn layer(&self, inner: S) -> SendDecisionsService<S> {
        SendDecisionsService { inner, config: Arc::clone(&self.config) }
    }
}

impl fmt::Debug for SendDecisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendDecisions")
            .field("service", &self.service)
            .field("flags", &self.flags)
            .field("valid_for", &self.valid_for)
            .finish_non_exhaustive()
    }
}

/// The client that [`SendDecisions`] makes of another one.
#[derive(Clone, Debug)]
pub struct SendDecisionsService<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S, B> Service<Request<B>> for SendDecisionsService<S>
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
        let flags = Flags::current();
        if flags.is_none()
            && let Some(name) = self.config.flags.first()
        {
            scope::read_out_of_scope_by(&self.config.is_lost, name, "nothing is sent to the next service");
        }
        match flags.and_then(|flags| self.config.header(&flags)) {
            Some(value) => {
                request.headers_mut().insert(&X_FLAG_DECISIONS, value);
            }
            None => {
                request.headers_mut().remove(&X_FLAG_DECISIONS);
            }
        }
        self.inner.call(request)
    }
}

impl Config {
    fn header(&self, flags: &Flags) -> Option<HeaderValue> {
        let decided: Vec<(&str, Wanted)> =
            self.flags.iter().filter_map(|name| Some((&**name, decided(flags, name)?))).collect();
        if decided.is_empty() {
            return None;
        }
        let now = (self.clock)().unix_millis().div_euclid(1000);
        let exp = now.saturating_add(i64::try_from(self.valid_for.as_millis().div_ceil(1000)).unwrap_or(i64::MAX));
        let from = Some(self.service.clone());
        let origin = Some(flags.origin().to_owned()).filter(|origin| !origin.is_empty());
        let mut claims = Claims { exp, user: None, from, origin, flags: BTreeMap::new() };
        let mut size = claims.payload().len();
        let count = decided.len();
        // Each adds `"name":answer,` with an answer of `true`, `false` or a name in quotes.
        let fitting = decided.into_iter().take_while(|(name, wanted)| {
            let answer = match wanted {
                Wanted::Switch(true) => 4,
                Wanted::Switch(false) => 5,
                Wanted::Variant(variant) => variant.len() + 2,
            };
            size += name.len() + r#""":,"#.len() + answer;
            SigningKey::sealed_len(size) <= MAX_LEN
        });
        claims.flags = fitting.map(|(name, wanted)| (name.to_owned(), wanted)).collect();
        let sent = claims.flags.len();
        if sent < count && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                flags = count,
                sent,
                "decisions for the next service take more than {MAX_LEN} bytes; the last ones are left out",
            );
        }
        if sent == 0 {
            return None;
        }
        let mut header = HeaderValue::try_from(claims.seal(DECISIONS, &self.key)).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

/// The answer, where a usable definition gives one.
fn decided(flags: &Flags, name: &str) -> Option<Wanted> {
    let answer = flags.evaluation(name);
    match answer.variant {
        _ if answer.reason.is_default() => None,
        Some(variant) => Some(Wanted::Variant(variant)),
        None => Some(Wanted::Switch(answer.enabled)),
    }
}
