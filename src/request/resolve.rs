//! Engines whose reading is asynchronous: a layer outside of [`FlagLayer`](super::FlagLayer) awaits their answers.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use http::request::Parts;
use http::{Extensions, Request};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_layer::Layer;
use tower_service::Service;

use super::accessors::inner_accessors;
use super::caught::{CaughtFuture, Code, Predicate};
use super::counts::{Counters, RequestCounts, count};
use super::flags::{Flags, home};
use super::identity::{Headers, Identification};
use super::resolved::ResolvedAnswers;
use super::scope;
use super::then_call::{Prepare, ThenCall};
use crate::context::Context;
use crate::document::Timestamp;
use crate::engine::{Answers, Query, Reason, SourceId};
use crate::source::Source;

/// Answers that have to be awaited.
pub type BoxAnswers<'a> = Pin<Box<dyn Future<Output = Answers> + Send + 'a>>;

/// An engine whose reading is asynchronous, for a [`ResolveLayer`].
///
/// Most engines keep their rules in the process and are a [`Source`] instead: reading a flag then never waits.
pub trait Resolve: Send + Sync + 'static {
    /// Decides every flag of the engine for the caller, as [`Answers::of`] a set that is compiled once per update.
    fn resolve<'a>(&'a self, context: &'a Context, now: Timestamp) -> BoxAnswers<'a>;
}

/// Awaits the answers of an asynchronous engine, outside of [`FlagLayer`](super::FlagLayer), which finds them like those
/// of a layer around: for names that its own source does not know.
///
/// ```
/// use std::sync::Arc;
///
/// use axum::{Router, routing::get};
/// use tower_flags::engine::{Answers, FlagSet, Query};
/// use tower_flags::request::{BoxAnswers, Resolve, ResolveLayer};
/// use tower_flags::{Context, FlagLayer, Timestamp, Memory, flag};
///
/// /// Asks a service for each request.
/// struct Remote {
///     set: Arc<FlagSet>,
/// }
///
/// impl Resolve for Remote {
///     fn resolve<'a>(&'a self, context: &'a Context, now: Timestamp) -> BoxAnswers<'a> {
///         Box::pin(async move {
///             let mut answers = Answers::of(&self.set, &Query::new(context, now));
///             if let Some(search) = self.set.number("search") {
///                 answers.set(search, true); // as the service has answered
///             }
///             answers
///         })
///     }
/// }
///
/// let remote = Remote { set: FlagSet::builder().flag("search").build() };
/// let app: Router = Router::new()
///     .route("/", get(|| async { flag("search").to_string() }))
///     .layer(FlagLayer::new(Memory::new()))
///     .layer(ResolveLayer::new(remote)); // added later, so it is outside and runs first
/// ```
///
/// # Rules
///
/// 1. An answer that is not there within the [deadline](Self::deadline), or that panics, is replaced by that of the
///    [fallback](Self::fallback); without one, readers get their own defaults, with the reason
///    [`Unavailable`](Reason::Unavailable).
/// 2. The caller is found as in [`FlagLayer`](super::FlagLayer): a [`Context`] in the request's extensions, else the
///    closure of [`identify`](Self::identify), else headers. The flag layer then has the same caller.
/// 3. The service is always ready. It calls a clone of the inner service as soon as that is ready, after the answers are
///    there.
#[must_use = "a layer does nothing until it is put around a service"]
pub struct ResolveLayer {
    resolver: Arc<Resolver>,
}

impl Clone for ResolveLayer {
    fn clone(&self) -> Self {
        Self { resolver: Arc::clone(&self.resolver) }
    }
}

/// What all services of the layer share.
#[derive(Clone)]
pub(super) struct Resolver {
    engine: Arc<dyn Resolve>,
    fallback: Option<Arc<dyn Source>>,
    deadline: Duration,
    identity: Identification,
    skip: Option<Arc<Predicate>>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    counters: Arc<Counters>,
}

impl ResolveLayer {
    /// A layer over an engine, with a deadline of 50 ms and without a fallback.
    pub fn new(engine: impl Resolve) -> Self {
        Self {
            resolver: Arc::new(Resolver {
                engine: Arc::new(engine),
                fallback: None,
                deadline: Duration::from_millis(50),
                identity: Identification::default(),
                skip: None,
                clock: Arc::new(Timestamp::now),
                counters: Arc::default(),
            }),
        }
    }

    fn configured(mut self, configure: impl FnOnce(&mut Resolver)) -> Self {
        configure(Arc::make_mut(&mut self.resolver));
        self
    }

    /// The source that answers where the engine is late or panics.
    pub fn fallback(self, source: impl Source) -> Self {
        self.configured(|resolver| resolver.fallback = Some(Arc::new(source)))
    }

    /// How long a request waits for the engine; 50 ms unless set.
    pub fn deadline(self, deadline: Duration) -> Self {
        self.configured(|resolver| resolver.deadline = deadline)
    }

    /// Names the caller from the request, as in [`FlagLayer::identify`](super::FlagLayer::identify).
    pub fn identify(self, closure: impl Fn(&Parts) -> Option<Context> + Send + Sync + 'static) -> Self {
        self.configured(|resolver| resolver.identity.identify_by(closure, &resolver.counters))
    }

    /// Says that a proxy in front sets the headers that name the caller: see
    /// [`FlagLayer::trust_headers`](super::FlagLayer::trust_headers).
    pub fn trust_headers(self) -> Self {
        self.configured(|resolver| resolver.identity.headers = Headers::Trusted)
    }

    /// Reads no headers: callers whom neither an extension nor the closure names are anonymous.
    pub fn ignore_headers(self) -> Self {
        self.configured(|resolver| resolver.identity.headers = Headers::Ignored)
    }

    /// Resolves nothing for requests that the predicate accepts. Give the flag layer the same one.
    pub fn skip(self, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.configured(|resolver| resolver.skip = Some(resolver.counters.predicate(Code::Skip, predicate)))
    }

    /// Where the instant of a request comes from; the system's clock unless set. The flag layer has the same instant.
    pub fn clock(self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.configured(|resolver| resolver.clock = resolver.counters.clock(clock))
    }

    /// What was rejected or late so far, over all clones of the layer.
    #[must_use]
    pub fn counts(&self) -> RequestCounts {
        self.resolver.counters.read()
    }
}

impl fmt::Debug for ResolveLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Resolver { deadline, counters, .. } = &*self.resolver;
        f.debug_struct("ResolveLayer")
            .field("deadline", deadline)
            .field("counts", &counters.read())
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ResolveLayer {
    type Service = ResolveService<S>;

    fn layer(&self, inner: S) -> ResolveService<S> {
        ResolveService { inner, resolver: Arc::clone(&self.resolver) }
    }
}

/// The service that [`ResolveLayer`] puts around another one.
#[derive(Clone)]
pub struct ResolveService<S> {
    inner: S,
    resolver: Arc<Resolver>,
}

impl<S> ResolveService<S> {
    inner_accessors!();
}

impl<S: fmt::Debug> fmt::Debug for ResolveService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolveService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, B> Service<Request<B>> for ResolveService<S>
where
    S: Service<Request<B>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResolveFuture<S, B>;

    /// Always ready: the inner service is called only after the answers are there.
    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResolveFuture<S, B> {
        let inner = self.inner.clone();
        let (parts, body) = request.into_parts();
        if self.resolver.skip.as_ref().is_some_and(|skip| skip(&parts)) {
            return ResolveFuture { future: ThenCall::now(inner, Request::from_parts(parts, body)) };
        }
        let around = scope::layer_around(&parts);
        let (context, _) = self.resolver.identity.of(&parts, around.as_ref(), &self.resolver.counters);
        let around = around.map(|around| around.flags);
        let now = around.as_ref().map_or_else(|| (self.resolver.clock)(), Flags::instant);
        let resolution = Resolution { around, ..Resolution::new(Arc::clone(&self.resolver), context, now) };
        let request = Request::from_parts(parts, body);
        ResolveFuture { future: ThenCall::new(Box::new(resolution), inner, request) }
    }
}

/// The answers to come for one caller, within the deadline.
struct Resolution {
    resolver: Arc<Resolver>,
    context: Context,
    now: Timestamp,
    around: Option<Flags>,
    answers: CaughtFuture<BoxAnswers<'static>>,
    /// Made at the first poll, where the runtime is sure to be there.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Resolution {
    fn new(resolver: Arc<Resolver>, context: Context, now: Timestamp) -> Self {
        let (engine, caller) = (Arc::clone(&resolver.engine), context.clone());
        let answers: BoxAnswers<'static> = Box::pin(async move { engine.resolve(&caller, now).await });
        let answers = CaughtFuture::new(Code::Source, answers, &resolver.counters);
        Self { resolver, context, now, around: None, answers, deadline: None }
    }

    /// `None` if the engine is late or has panicked.
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Answers>> {
        if let Poll::Ready(answers) = Pin::new(&mut self.answers).poll(cx) {
            return Poll::Ready(answers);
        }
        let Resolver { deadline, counters, .. } = &*self.resolver;
        let sleep = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(*deadline)));
        ready!(sleep.as_mut().poll(cx));
        if count(&counters.late_evaluations) {
            tracing::warn!(
                ?deadline,
                "flags were not resolved in time; the fallback answers, or readers get their defaults. Further times are \
                 only counted",
            );
        }
        Poll::Ready(None)
    }

    /// The answers without the engine.
    fn fall_back(&self) -> Answers {
        let Resolver { fallback, counters, .. } = &*self.resolver;
        let query = Query::new(&self.context, self.now);
        let answers = fallback.as_ref().and_then(|source| {
            let answer = || {
                let pinned = self.around.as_ref().zip(source.id()).and_then(|(around, id)| around.outward_from(id));
                match pinned.map(Flags::flag_set).filter(|set| !set.is_of_engine()) {
                    Some(set) => set.answer(&query),
                    None => source.answer(&query),
                }
            };
            counters.caught(Code::Source, answer)
        });
        answers.unwrap_or_else(|| Answers::none(&query, Reason::Unavailable, SourceId::default()))
    }
}

impl Resolver {
    /// Resolves the caller of these answers again; `None` if the engine is late or panics.
    pub(super) async fn resolve_again(self: &Arc<Self>, flags: &Flags, around: Option<Flags>) -> Option<Flags> {
        let mut resolution = Resolution::new(Arc::clone(self), flags.context().clone(), (self.clock)());
        let answers = std::future::poll_fn(|cx| resolution.poll(cx)).await?.with_forced(flags.forced());
        Some(Flags::resolved(answers, around, flags.forced().to_vec(), home(self)))
    }
}

impl Prepare for Box<Resolution> {
    fn poll_prepare(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, extensions: &mut Extensions) -> Poll<()> {
        let resolution = self.get_mut();
        let answers = ready!(resolution.poll(cx)).unwrap_or_else(|| resolution.fall_back());
        extensions.insert(ResolvedAnswers { answers, home: home(&resolution.resolver) });
        Poll::Ready(())
    }
}

pin_project! {
    /// The response to come of a [`ResolveService`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ResolveFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        // Answers are awaited behind a pointer, as they come from a trait object.
        #[pin]
        future: ThenCall<Box<Resolution>, S, B>,
    }
}

impl<S, B> Future for ResolveFuture<S, B>
where
    S: Service<Request<B>>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx)
    }
}

impl<S, B> fmt::Debug for ResolveFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolveFuture").finish_non_exhaustive()
    }
}
