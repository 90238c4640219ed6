//! The layer and its configuration.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use http::request::Parts;
use tower_layer::Layer;

use super::caught::Code;
use super::config::Config;
use super::counts::RequestCounts;
use super::header::HeaderPolicy;
use super::identity::Headers;
use super::service::FlagService;
#[cfg(feature = "overrides")]
use super::signed::{AcceptDecisions, Overrides};
#[cfg(feature = "visitors")]
use super::visitors::Visitors;
use crate::context::Context;
use crate::document::Timestamp;
use crate::observe::Observer;
use crate::source::Source;

/// Decides every flag once per request; see the [module documentation](crate::request).
///
/// Clones share configuration, source and counts.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct FlagLayer {
    config: Arc<Config>,
}

impl FlagLayer {
    /// A layer over a source, with everything else at its default. Does not block and cannot fail.
    pub fn new(source: impl Source) -> Self {
        Self { config: Arc::new(Config::new(Arc::new(source))) }
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
        self.configured(|config| config.identity.identify_by(closure, &config.counters))
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
        self.configured(|config| config.skip = Some(config.counters.predicate(Code::Skip, predicate)))
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

    /// Notifies an observer of the [outcome](crate::observe::Outcome) of each request; several are notified in this order.
    pub fn observe(self, observer: impl Observer) -> Self {
        self.configured(|config| config.observers.push(Arc::new(observer)))
    }

    /// Where the instant of a request comes from; the system's clock unless set.
    ///
    /// ```
    /// use tower_flags::{FlagLayer, Timestamp, Memory};
    ///
    /// let launch: Timestamp = "2026-12-01T09:00:00Z".parse().unwrap();
    /// let layer = FlagLayer::new(Memory::new()).clock(move || launch);
    /// # let _ = layer;
    /// ```
    pub fn clock(self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.configured(|config| config.clock = config.counters.clock(clock))
    }

    /// What was refused, late or left out so far, over all clones of the layer.
    #[must_use]
    pub fn counts(&self) -> RequestCounts {
        self.config.counters.read()
    }
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
