//! Who asks, where finding out takes a wait: sessions, tokens that are verified elsewhere.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use http::request::Parts;
use http::{Extensions, Request};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::accessors::inner_accessors;
use super::caught::{CaughtFuture, Code, Predicate};
use super::counts::{Counters, RequestCounts};
use super::then_call::{Prepare, ThenCall};
use crate::context::Context;

/// Finds out who asks, asynchronously, and leaves the [`Context`] for the [`FlagLayer`](super::FlagLayer) inside.
///
/// The closure sees the request and takes from it what it needs; the future that it returns owns that. What the future
/// returns is an [`Identity`]: a `Context`, an `Option<Context>`, or either with a value beside it, which handlers find in the
/// request's extensions, so that no session is loaded and no token verified twice.
///
/// ```
/// use axum::extract::Extension;
/// use axum::{Router, routing::get};
/// use tower_flags::request::IdentifyLayer;
/// use tower_flags::{Context, FlagLayer, Memory};
///
/// #[derive(Clone)]
/// struct User {
///     id: i64,
///     name: String,
/// }
///
/// /// Your own: a session store, or a key server.
/// async fn user_of(token: Option<String>) -> Option<User> {
///     token.map(|_| User { id: 42, name: "Alice".to_owned() })
/// }
///
/// let identify = IdentifyLayer::new(|request| {
///     let token = request.headers.get("authorization").and_then(|value| value.to_str().ok());
///     let token = token.map(str::to_owned);
///     async move {
///         let user = user_of(token).await?;
///         Some((Context::user(user.id), user))
///     }
/// });
/// let app: Router = Router::new()
///     .route("/", get(|Extension(user): Extension<User>| async move { user.name }))
///     .layer(FlagLayer::new(Memory::new()))
///     .layer(identify.skip(|request| request.uri.path() == "/health")); // added later, so it is outside
/// ```
///
/// # Rules
///
/// 1. The context ends the search of the flag layer, an anonymous one too. `None` is anonymous.
/// 2. Requests that [`skip`](Self::skip) accepts pass without a call of the closure. Give the flag layer the same predicate.
/// 3. If the closure or its future panics, the caller is anonymous. If the predicate of `skip` panics, the request is not
///    skipped. Panics are counted in [`counts`](Self::counts), and the first of each closure is logged.
/// 4. The service is always ready. It calls a clone of the inner service as soon as that is ready, after the caller is known.
///
/// 5. An `async` closure would keep the request borrowed: `async |request: &Parts| …` does not compile. Take what you need
///    first, and return `async move { … }`, as above.
///
/// `examples/identity` has services with `tower-sessions`, `axum-login` and JSON Web Tokens.
///
/// It does not authenticate: a request without a user goes on. There is no deadline: the application's clients have theirs.
#[must_use = "a layer does nothing until it is put around a service"]
pub struct IdentifyLayer<I> {
    shared: Arc<Shared<I>>,
}

struct Shared<I> {
    identify: Arc<I>,
    skip: Option<Arc<Predicate>>,
    counters: Arc<Counters>,
}

impl<I> Clone for IdentifyLayer<I> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<I, F> IdentifyLayer<I>
where
    I: Fn(&Parts) -> F + Send + Sync + 'static,
    F: Future<Output: Identity> + Send + 'static,
{
    /// A layer that identifies callers by this closure.
    pub fn new(identify: I) -> Self {
        Self { shared: Arc::new(Shared { identify: Arc::new(identify), skip: None, counters: Arc::default() }) }
    }

    /// Lets requests pass that the predicate accepts: health checks, assets.
    pub fn skip(self, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        let Shared { identify, counters, .. } = &*self.shared;
        let skip = Some(counters.predicate(Code::Skip, predicate));
        let shared = Shared { identify: Arc::clone(identify), skip, counters: Arc::clone(counters) };
        Self { shared: Arc::new(shared) }
    }
}

impl<I> IdentifyLayer<I> {
    /// The panics of the layer's closures so far, over all clones of the layer.
    #[must_use]
    pub fn counts(&self) -> RequestCounts {
        self.shared.counters.read()
    }
}

impl<I> fmt::Debug for IdentifyLayer<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentifyLayer").finish_non_exhaustive()
    }
}

/// Who asks, with what handlers should find in the request's extensions.
///
/// Implemented for [`Context`], `(Context, T)`, and `Option` of both. It cannot be implemented elsewhere.
pub trait Identity: sealed::Sealed {
    /// Leaves it in a request.
    #[doc(hidden)]
    fn leave(self, extensions: &mut Extensions);
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::Context {}
    impl<T> Sealed for (super::Context, T) {}
    impl<T: Sealed> Sealed for Option<T> {}
}

impl Identity for Context {
    fn leave(self, extensions: &mut Extensions) {
        extensions.insert(self);
    }
}

impl<T: Clone + Send + Sync + 'static> Identity for (Context, T) {
    fn leave(self, extensions: &mut Extensions) {
        extensions.insert(self.0);
        extensions.insert(self.1);
    }
}

impl<T: Identity> Identity for Option<T> {
    fn leave(self, extensions: &mut Extensions) {
        match self {
            Some(identity) => identity.leave(extensions),
            None => Context::anonymous().leave(extensions),
        }
    }
}

impl<S, I> Layer<S> for IdentifyLayer<I> {
    type Service = Identify<S, I>;

    fn layer(&self, inner: S) -> Identify<S, I> {
        Identify { inner, shared: Arc::clone(&self.shared) }
    }
}

/// The service that [`IdentifyLayer`] puts around another one.
pub struct Identify<S, I> {
    inner: S,
    shared: Arc<Shared<I>>,
}

impl<S: Clone, I> Clone for Identify<S, I> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S, I> Identify<S, I> {
    inner_accessors!();
}

impl<S: fmt::Debug, I> fmt::Debug for Identify<S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identify").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, B, I, F> Service<Request<B>> for Identify<S, I>
where
    S: Service<Request<B>> + Clone,
    I: Fn(&Parts) -> F,
    F: Future<Output: Identity>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = IdentifyFuture<S, B, F>;

    /// Always ready: the inner service is called only after the caller is known.
    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = self.inner.clone();
        let (parts, body) = request.into_parts();
        let shared = &self.shared;
        if shared.skip.as_ref().is_some_and(|skip| skip(&parts)) {
            return IdentifyFuture { future: ThenCall::now(inner, Request::from_parts(parts, body)) };
        }
        let future = shared.counters.caught(Code::IdentifyLayer, || (shared.identify)(&parts));
        let future = future.map(|future| CaughtFuture::new(Code::IdentifyLayer, future, &shared.counters));
        let prepare = PendingContext { future };
        IdentifyFuture { future: ThenCall::new(prepare, inner, Request::from_parts(parts, body)) }
    }
}

pin_project! {
    /// The caller to come.
    struct PendingContext<F> {
        // `None` if the closure has panicked.
        #[pin]
        future: Option<CaughtFuture<F>>,
    }
}

impl<F> Prepare for PendingContext<F>
where
    F: Future<Output: Identity>,
{
    fn poll_prepare(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, extensions: &mut Extensions) -> Poll<()> {
        let identity = match self.project().future.as_pin_mut() {
            Some(future) => ready!(future.poll(cx)),
            None => None,
        };
        identity.leave(extensions);
        Poll::Ready(())
    }
}

pin_project! {
    /// The response to come of an [`Identify`].
    #[must_use = "futures do nothing unless polled"]
    pub struct IdentifyFuture<S, B, F>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        future: ThenCall<PendingContext<F>, S, B>,
    }
}

impl<S, B, F> Future for IdentifyFuture<S, B, F>
where
    S: Service<Request<B>>,
    F: Future<Output: Identity>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx)
    }
}

impl<S, B, F> fmt::Debug for IdentifyFuture<S, B, F>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentifyFuture").finish_non_exhaustive()
    }
}
