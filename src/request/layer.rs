//! The layer and its configuration.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[cfg(any(feature = "overrides", feature = "visitors"))]
use http::HeaderMap;
use http::HeaderName;
use http::request::Parts;
use tower_layer::Layer;

use super::caught::Code;
use super::counts::{Counters, RequestCounts, count};
use super::header::HeaderPolicy;
use super::identity::{Headers, Identity};
use super::service::FlagService;
#[cfg(feature = "overrides")]
use super::signed::{AcceptDecisions, Overrides};
#[cfg(feature = "visitors")]
use super::visitors::Visitors;
use crate::engine::{Context, Flags, Instant};
use crate::source::Source;

/// Decides every flag once per request; see the [module documentation](crate::request).
///
/// Clones share configuration, source and counts.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct FlagLayer {
    config: Arc<Config>,
}

type Predicate = dyn Fn(&Parts) -> bool + Send + Sync;

/// What all services of a layer share.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) source: Arc<dyn Source>,
    pub(super) identity: Identity,
    pub(super) header_policy: HeaderPolicy,
    pub(super) header_limit: usize,
    pub(super) is_in_response: bool,
    pub(super) is_told_to_caches: bool,
    pub(super) skip: Option<Arc<Predicate>>,
    #[cfg(feature = "overrides")]
    pub(super) overrides: Option<Overrides>,
    #[cfg(feature = "overrides")]
    pub(super) accepted: Option<AcceptDecisions>,
    #[cfg(feature = "visitors")]
    pub(super) visitors: Option<Visitors>,
    pub(super) deadline: Duration,
    pub(super) clock: Arc<dyn Fn() -> Instant + Send + Sync>,
    pub(super) counters: Arc<Counters>,
}

impl FlagLayer {
    /// A layer over a source, with everything else at its default. Does not block and cannot fail.
    pub fn new(source: impl Source) -> Self {
        let config = Config {
            source: Arc::new(source),
            identity: Identity::default(),
            header_policy: HeaderPolicy::default(),
            header_limit: 1024,
            is_in_response: false,
            is_told_to_caches: true,
            skip: None,
            #[cfg(feature = "overrides")]
            overrides: None,
            #[cfg(feature = "overrides")]
            accepted: None,
            #[cfg(feature = "visitors")]
            visitors: None,
            deadline: Duration::from_millis(50),
            clock: Arc::new(system_clock),
            counters: Arc::default(),
        };
        Self { config: Arc::new(config) }
    }

    fn configured(mut self, configure: impl FnOnce(&mut Config)) -> Self {
        configure(Arc::make_mut(&mut self.config));
        self
    }

    /// Names the caller from the request, where no [`Context`] is in its extensions. Headers are not
    /// read then, unless [`trust_headers`](Self::trust_headers) asks for them where the closure
    /// returns `None`.
    ///
    /// ```
    /// use tower_flags::{Context, FlagLayer, Memory};
    ///
    /// #[derive(Clone)]
    /// struct Session {
    ///     user: String,
    ///     plan: String,
    /// }
    ///
    /// let layer = FlagLayer::new(Memory::new()).identify(|request| {
    ///     let session = request.extensions.get::<Session>()?;
    ///     Some(Context::user(&session.user).with_attribute("plan", session.plan.as_str()))
    /// });
    /// # let _ = layer;
    /// ```
    pub fn identify(self, closure: impl Fn(&Parts) -> Option<Context> + Send + Sync + 'static) -> Self {
        self.configured(|config| {
            let counters = Arc::clone(&config.counters);
            config.identity.closure = Some(Arc::new(move |request: &Parts| {
                // The headers and the layer around do not name the caller then: the closure may have known better.
                let named = counters.caught(Code::Identify, || closure(request));
                named.unwrap_or_else(|| Some(Context::anonymous()))
            }));
        })
    }

    /// Says that a proxy in front sets the headers that name the caller and takes away those that
    /// clients send. Without it the first caller named by a header is logged as a warning.
    pub fn trust_headers(self) -> Self {
        self.configured(|config| config.identity.headers = Headers::Trusted)
    }

    /// Reads no headers: callers whom neither an extension nor the closure names are anonymous.
    pub fn ignore_headers(self) -> Self {
        self.configured(|config| config.identity.headers = Headers::Ignored)
    }

    /// The header that holds the user id; `X-User-ID` unless set.
    pub fn user_header(self, name: HeaderName) -> Self {
        self.configured(|config| {
            let groups = config.identity.groups_header.clone();
            config.identity.set_headers(name, groups);
        })
    }

    /// The header that holds the groups, comma separated; `X-User-Groups` unless set.
    pub fn groups_header(self, name: HeaderName) -> Self {
        self.configured(|config| {
            let user = config.identity.user_header.clone();
            config.identity.set_headers(user, name);
        })
    }

    /// On which responses `X-Active-Flags` stands; on all unless set.
    pub fn header_policy(self, policy: HeaderPolicy) -> Self {
        self.configured(|config| config.header_policy = policy.counting(&config.counters))
    }

    /// Longest value of `X-Active-Flags` in bytes; 1 024 unless set. Proxies cap the headers of a
    /// response: nginx at about 3 900 bytes for all of them unless told otherwise.
    pub fn header_limit(self, bytes: usize) -> Self {
        self.configured(|config| config.header_limit = bytes)
    }

    /// Puts the request's [`Flags`](crate::Flags) into the extensions of the response too, for layers
    /// around this one: access logs, say.
    pub fn flags_in_response(self) -> Self {
        self.configured(|config| config.is_in_response = true)
    }

    /// Says nothing in `Vary` and `Cache-Control` of flags that were read: for applications that tell caches
    /// themselves what depends on whom. Responses that set a visitor's cookie are `private` all the same, and
    /// those to testers `no-store`. See the [module documentation](crate::request).
    pub fn leave_cache_headers(self) -> Self {
        self.configured(|config| config.is_told_to_caches = false)
    }

    /// Decides nothing for requests that the predicate accepts: health checks, assets. They cost a branch
    /// and have no scope, so that reading a flag there is a read outside of any request.
    ///
    /// ```
    /// use tower_flags::{FlagLayer, Memory};
    ///
    /// let layer = FlagLayer::new(Memory::new()).skip(|request| {
    ///     let path = request.uri.path();
    ///     path == "/health" || path.starts_with("/assets/")
    /// });
    /// # let _ = layer;
    /// ```
    ///
    /// A router that is nested under a path has its own part of the path here.
    pub fn skip(self, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.configured(|config| {
            let counters = Arc::clone(&config.counters);
            config.skip = Some(Arc::new(move |request: &Parts| {
                counters.caught(Code::Skip, || predicate(request)).unwrap_or_default()
            }));
        })
    }

    /// Lets testers force flags by signed tokens. Off unless set.
    #[cfg(feature = "overrides")]
    #[cfg_attr(docsrs, doc(cfg(feature = "overrides")))]
    pub fn overrides(self, overrides: Overrides) -> Self {
        self.configured(|config| config.overrides = Some(overrides))
    }

    /// Takes over what the calling service has decided. Off unless set.
    #[cfg(feature = "overrides")]
    #[cfg_attr(docsrs, doc(cfg(feature = "overrides")))]
    pub fn accept_decisions(self, accepted: AcceptDecisions) -> Self {
        self.configured(|config| config.accepted = Some(accepted))
    }

    /// Gives anonymous callers an id in a cookie, so that partial rollouts stay with their browser. Off
    /// unless set.
    #[cfg(feature = "visitors")]
    #[cfg_attr(docsrs, doc(cfg(feature = "visitors")))]
    pub fn visitors(self, visitors: Visitors) -> Self {
        self.configured(|config| config.visitors = Some(visitors))
    }

    /// How long a source that is not ready may take; 50 ms unless set.
    ///
    /// # Panics
    ///
    /// Requests to a source that is not ready panic in a tokio runtime without timers.
    pub fn deadline(self, deadline: Duration) -> Self {
        self.configured(|config| config.deadline = deadline)
    }

    /// Where the instant of a request comes from; the system's clock unless set.
    ///
    /// ```
    /// use tower_flags::{FlagLayer, Instant, Memory};
    ///
    /// let launch: Instant = "2026-12-01T09:00:00Z".parse().unwrap();
    /// let layer = FlagLayer::new(Memory::new()).clock(move || launch);
    /// # let _ = layer;
    /// ```
    pub fn clock(self, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        self.configured(|config| {
            let counters = Arc::clone(&config.counters);
            config.clock = Arc::new(move || counters.caught(Code::Clock, &clock).unwrap_or_else(system_clock));
        })
    }

    /// What was refused, late or left out so far, over all clones of the layer.
    #[must_use]
    pub fn counts(&self) -> RequestCounts {
        self.config.counters.read()
    }
}

pub(super) fn system_clock() -> Instant {
    Instant::from(SystemTime::now())
}

impl<S> Layer<S> for FlagLayer {
    type Service = FlagService<S>;

    fn layer(&self, inner: S) -> FlagService<S> {
        FlagService::new(inner, Arc::clone(&self.config))
    }
}

impl fmt::Debug for FlagLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

impl Config {
    /// Whether answers may depend on what a calling service has decided.
    pub(super) fn accepts_decisions(&self) -> bool {
        #[cfg(feature = "overrides")]
        return self.accepted.is_some();
        #[cfg(not(feature = "overrides"))]
        false
    }

    /// Whether a flag was read that calling services may decide.
    pub(super) fn has_read_decided(&self, flags: &Flags) -> bool {
        #[cfg(feature = "overrides")]
        return self.accepted.as_ref().is_some_and(|accepted| flags.has_read_any(accepted.flags()));
        #[cfg(not(feature = "overrides"))]
        {
            let _ = flags;
            false
        }
    }

    /// Marks the headers of a request that are for this layer alone as sensitive, for inner loggers and for clients that
    /// send headers on.
    #[cfg(any(feature = "overrides", feature = "visitors"))]
    pub(super) fn conceal(&self, headers: &mut HeaderMap) {
        #[cfg(feature = "overrides")]
        if self.overrides.is_some() {
            Overrides::conceal(headers);
        }
        #[cfg(feature = "overrides")]
        if self.accepted.is_some() {
            AcceptDecisions::conceal(headers);
        }
        #[cfg(feature = "visitors")]
        if let Some(visitors) = &self.visitors {
            visitors.conceal(headers);
        }
    }

    pub(super) fn count_late(&self, consequence: &str) {
        if count(&self.counters.late_evaluations) {
            tracing::warn!(
                deadline = ?self.deadline,
                "flags were not decided in time; {consequence}. Further times are only counted",
            );
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlagLayer")
            .field("header_policy", &self.header_policy)
            .field("header_limit", &self.header_limit)
            .field("deadline", &self.deadline)
            .field("counts", &self.counters.read())
            .finish_non_exhaustive()
    }
}
