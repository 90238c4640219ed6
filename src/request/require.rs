//! Routes that are there for those alone whose flags are on.

use std::fmt;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context as TaskContext, Poll};

use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::accessors::inner_accessors;
use super::flags::Flags;
use super::oneshot::Oneshot;
use super::scope;
use crate::document::{FlagName, assert_is_variant};

/// Hides a route from callers whose flags are not as required: they get what a path gets that does
/// not exist.
///
/// It **hides and does not authorise**: percentages let people in whom nobody has chosen, and headers that
/// name the caller can be forged unless a proxy takes care. Check permissions in the route all the same.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use tower_flags::{FlagLayer, Memory, RequireFlagLayer};
/// use tower_layer::Layer;
///
/// async fn beta() -> &'static str {
///     "welcome"
/// }
///
/// let hidden = RequireFlagLayer::new("beta_page").layer(get(beta));
/// let app: Router = Router::new().route_service("/beta", hidden).layer(FlagLayer::new(Memory::new()));
/// ```
///
/// While it is closed the answer is 404 without a body, which is axum's own for paths that it does not
/// know. Where the application has a fallback, give the same one to [`fallback`](Self::fallback): a layer
/// cannot find it.
///
/// With `route_service` as above that holds to the byte, for every method. Under `route_layer` it holds for
/// the methods that the route has: to answers about others axum adds `Allow` by itself, after every layer,
/// and to those about `HEAD` a `Content-Length`, which give the route away. One difference is there by
/// intent: what caches are told about flags that were read, `Vary` and `Cache-Control`.
///
/// The layer that decides, [`FlagLayer`](crate::FlagLayer), goes around this one. Without it every gate is
/// closed, which counts as a read out of scope.
///
/// A gate is always ready. It decides first, and only then waits until the answering service is ready. A
/// rejected caller neither waits for the hidden service nor fails with it. Each request gets a clone of the
/// answering service, so the hidden service and the fallback have to be `Clone`.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct RequireFlagLayer<F = NotFound> {
    conditions: Arc<[Condition]>,
    fallback: F,
    /// Whether somebody was told that there is no layer around.
    has_warned: Arc<AtomicBool>,
}

/// The answer of a closed gate unless another is given: 404 without a body.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotFound;

/// The answer of a closed gate with another status, without a body; from [`RequireFlagLayer::status`].
#[derive(Clone, Copy, Debug)]
pub struct FallbackStatus(StatusCode);

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::NotFound {}
    impl Sealed for super::FallbackStatus {}
    impl<S> Sealed for super::Fallback<S> {}
}

/// A service that answers in the place of a closed gate, from [`RequireFlagLayer::fallback`].
#[derive(Clone, Copy, Debug)]
pub struct Fallback<S>(S);

#[derive(Clone, Debug)]
enum Condition {
    All(Vec<Name>),
    Any(Vec<Name>),
    None(Vec<Name>),
    Variant(Name, String),
}

/// A name with the answer that its declaration gives.
#[derive(Clone, Debug)]
struct Name {
    name: String,
    default: bool,
}

impl Name {
    fn of(name: impl FlagName) -> Self {
        Self { name: name.name().to_owned(), default: name.default_answer() }
    }

    fn all(names: impl IntoIterator<Item: FlagName>) -> Vec<Self> {
        names.into_iter().map(Self::of).collect()
    }

    fn is_on(&self, flags: &Flags) -> bool {
        flags.peek(&self.name, self.default).0
    }
}

impl Condition {
    fn holds(&self, flags: &Flags) -> bool {
        let is_on = |name: &Name| name.is_on(flags);
        match self {
            Self::All(names) => names.iter().all(is_on),
            Self::Any(names) => names.iter().any(is_on),
            Self::None(names) => !names.iter().any(is_on),
            Self::Variant(name, variant) => flags.peek(&name.name, name.default).1 == Some(variant),
        }
    }

    fn names(&self) -> &[Name] {
        match self {
            Self::All(names) | Self::Any(names) | Self::None(names) => names,
            Self::Variant(name, _) => std::slice::from_ref(name),
        }
    }
}

impl RequireFlagLayer {
    /// Open while the flag is on.
    pub fn new(flag: impl FlagName) -> Self {
        Self::of(Condition::All(vec![Name::of(flag)]))
    }

    /// Open while all of them are on; with no names, always.
    pub fn all_of(flags: impl IntoIterator<Item: FlagName>) -> Self {
        Self::of(Condition::All(Name::all(flags)))
    }

    /// Open while at least one of them is on; with no names, never.
    pub fn any_of(flags: impl IntoIterator<Item: FlagName>) -> Self {
        Self::of(Condition::Any(Name::all(flags)))
    }

    /// Open while none of them is on: for what a flag replaces.
    pub fn none_of(flags: impl IntoIterator<Item: FlagName>) -> Self {
        Self::of(Condition::None(Name::all(flags)))
    }

    /// Open while the caller is served this variant.
    ///
    /// # Panics
    ///
    /// If the flag is [declared](crate::declare_flags) without it: the route would never open.
    #[track_caller]
    pub fn variant(flag: impl FlagName, variant: impl AsRef<str>) -> Self {
        let variant = variant.as_ref();
        assert_is_variant(&flag, variant);
        Self::of(Condition::Variant(Name::of(flag), variant.to_owned()))
    }

    /// Answers with this status and no body while it is closed, instead of 404. It tells callers that the route is there.
    ///
    /// ```
    /// use axum::http::StatusCode;
    /// use tower_flags::RequireFlagLayer;
    ///
    /// let gate = RequireFlagLayer::new("beta_page").status(StatusCode::FORBIDDEN);
    /// # let _ = gate;
    /// ```
    pub fn status(self, status: StatusCode) -> RequireFlagLayer<FallbackStatus> {
        RequireFlagLayer { conditions: self.conditions, fallback: FallbackStatus(status), has_warned: self.has_warned }
    }

    fn of(condition: Condition) -> Self {
        Self { conditions: Arc::new([condition]), fallback: NotFound, has_warned: Arc::default() }
    }

    /// Answers with this service while it is closed: the application's own page for what does not exist.
    /// It sees the request as the route does: below `nest` and `nest_service` without the prefix, which axum has
    /// taken off the path.
    ///
    /// ```
    /// use axum::handler::HandlerWithoutStateExt;
    /// use axum::http::StatusCode;
    /// use axum::routing::get;
    /// use axum::Router;
    /// use tower_flags::{FlagLayer, Memory, RequireFlagLayer};
    /// use tower_layer::Layer;
    ///
    /// async fn nothing_here() -> (StatusCode, &'static str) {
    ///     (StatusCode::NOT_FOUND, "nothing here")
    /// }
    ///
    /// let gate = RequireFlagLayer::new("beta_page").fallback(nothing_here.into_service());
    /// let app: Router = Router::new()
    ///     .route_service("/beta", gate.layer(get(|| async { "welcome" })))
    ///     .fallback(nothing_here)
    ///     .layer(FlagLayer::new(Memory::new()));
    /// ```
    pub fn fallback<S>(self, service: S) -> RequireFlagLayer<Fallback<S>> {
        RequireFlagLayer { conditions: self.conditions, fallback: Fallback(service), has_warned: self.has_warned }
    }
}

impl<F> RequireFlagLayer<F> {
    /// Flags that let somebody in count as read. Those that turn somebody away do not, so that no header
    /// tells that they were looked at; caches are told that the answer depends on who asks.
    fn is_open(&self, flags: Option<&Flags>) -> bool {
        let names = || self.conditions.iter().flat_map(Condition::names).map(|name| &*name.name);
        let Some(flags) = flags else {
            let name = names().next().unwrap_or_default();
            scope::read_out_of_scope_by(&self.has_warned, name, "a gate is closed to everybody");
            return false;
        };
        let is_open = self.conditions.iter().all(|condition| condition.holds(flags));
        if is_open {
            flags.mark_each(names());
        } else {
            flags.turn_away(names());
        }
        is_open
    }

    /// Open while both are. The fallback is this one's.
    pub fn and<G>(mut self, other: RequireFlagLayer<G>) -> Self {
        let RequireFlagLayer { conditions: others, .. } = other;
        self.conditions = self.conditions.iter().chain(&*others).cloned().collect();
        self
    }
}

impl<F> fmt::Debug for RequireFlagLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequireFlagLayer").field(&self.conditions).finish()
    }
}

impl<S, F: Clone> Layer<S> for RequireFlagLayer<F> {
    type Service = RequireFlag<S, F>;

    fn layer(&self, inner: S) -> RequireFlag<S, F> {
        RequireFlag { inner, gate: self.clone() }
    }
}

/// The service that [`RequireFlagLayer`] puts around another one.
///
/// It comes from the layer:
///
/// ```compile_fail
/// let gate = tower_flags::request::RequireFlag::new("new_checkout");
/// ```
///
/// ```
/// let gate = tower_flags::RequireFlagLayer::new("new_checkout");
/// # let _ = gate;
/// ```
#[derive(Clone, Debug)]
pub struct RequireFlag<S, F = NotFound> {
    inner: S,
    gate: RequireFlagLayer<F>,
}

impl<S, F> RequireFlag<S, F> {
    inner_accessors!();
}

/// What answers while a gate is closed: [`NotFound`] or a [`Fallback`].
///
/// It cannot be implemented elsewhere: another answer is a service, for [`RequireFlagLayer::fallback`], or a
/// [status](RequireFlagLayer::status).
pub trait FallbackResponse<B, R, E>: sealed::Sealed {
    /// The answer to come.
    type Future: Future<Output = Result<Response<R>, E>>;

    /// Answers a request, once the service that gives the answer is ready.
    #[doc(hidden)]
    fn answer(&self, request: Request<B>) -> Self::Future;
}

impl<B, R: Default, E> FallbackResponse<B, R, E> for NotFound {
    type Future = Ready<Result<Response<R>, E>>;

    fn answer(&self, request: Request<B>) -> Self::Future {
        FallbackStatus(StatusCode::NOT_FOUND).answer(request)
    }
}

impl<B, R: Default, E> FallbackResponse<B, R, E> for FallbackStatus {
    type Future = Ready<Result<Response<R>, E>>;

    fn answer(&self, _: Request<B>) -> Self::Future {
        let mut response = Response::new(R::default());
        *response.status_mut() = self.0;
        ready(Ok(response))
    }
}

impl<B, R, S: Service<Request<B>, Response = Response<R>> + Clone> FallbackResponse<B, R, S::Error> for Fallback<S> {
    type Future = Oneshot<S, B>;

    fn answer(&self, request: Request<B>) -> Self::Future {
        Oneshot::new(self.0.clone(), request)
    }
}

impl<S, F, B, R> Service<Request<B>> for RequireFlag<S, F>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    F: FallbackResponse<B, R, S::Error>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = RequireFlagFuture<Oneshot<S, B>, F::Future>;

    /// Always ready: the answering service is known only once there is a request.
    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let flags = scope::of(request.extensions());
        let state = if self.gate.is_open(flags.as_ref()) {
            State::Open { future: Oneshot::new(self.inner.clone(), request) }
        } else {
            State::Closed { future: self.gate.fallback.answer(request) }
        };
        RequireFlagFuture { state }
    }
}

pin_project! {
    /// The response to come of a [`RequireFlag`].
    #[must_use = "futures do nothing unless polled"]
    pub struct RequireFlagFuture<F, G> {
        #[pin]
        state: State<F, G>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, G> {
        Open { #[pin] future: F },
        Closed { #[pin] future: G },
    }
}

impl<F: Future, G: Future<Output = F::Output>> Future for RequireFlagFuture<F, G> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        match self.project().state.project() {
            StateProjection::Open { future } => future.poll(cx),
            StateProjection::Closed { future } => future.poll(cx),
        }
    }
}

impl<F, G> fmt::Debug for RequireFlagFuture<F, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireFlagFuture").finish_non_exhaustive()
    }
}
