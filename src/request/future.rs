//! One request on its way out.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;
use tokio::time::Sleep;
use tower_service::Service;

use super::body::ResponseBody;
use super::caches::Directives;
use super::caught::Pending;
use super::header;
use super::layer::Config;
use super::scope::Scope;
use super::service::{Answering, Asked};
use super::{caches, refresh, scope};
use crate::engine::Flags;

pin_project! {
    /// The response to come of a [`FlagService`](super::FlagService).
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B>,
        config: Arc<Config>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        /// The source is not ready; nothing of the inner service has run.
        Waiting { waiting: Option<Box<Waiting<S, B>>> },
        /// The inner service's future. Tokio polls and drops it inside the scope.
        Running {
            #[pin]
            future: TaskLocalFuture<Scope, S::Future>,
            flags: Flags,
            answering: Answering,
        },
        /// A request that the layer leaves alone.
        Skipped {
            #[pin]
            future: S::Future,
        },
    }
}

/// A request whose flags are being decided elsewhere.
pub(super) struct Waiting<S, B> {
    evaluation: Pending,
    /// Made at the first poll, where the runtime is sure to be there.
    deadline: Option<Pin<Box<Sleep>>>,
    inner: S,
    request: Request<B>,
    asked: Asked,
}

impl<S, B> Waiting<S, B> {
    pub(super) fn new(evaluation: Pending, inner: S, request: Request<B>, asked: Asked) -> Box<Self> {
        Box::new(Self { evaluation, deadline: None, inner, request, asked })
    }

    fn poll(&mut self, cx: &mut TaskContext<'_>, config: &Config) -> Poll<Flags> {
        match Pin::new(&mut self.evaluation).poll(cx) {
            Poll::Ready(Some(flags)) => Poll::Ready(self.asked.settle(flags)),
            Poll::Ready(None) => Poll::Ready(self.asked.without_source(config)),
            Poll::Pending => {
                let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(config.deadline)));
                ready!(deadline.as_mut().poll(cx));
                config.count_late("the source's fallback answers, or every flag is off");
                Poll::Ready(self.asked.without_source(config))
            }
        }
    }
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    /// Calls the inner service with a decided request.
    pub(super) fn running(inner: &mut S, request: Request<B>, flags: Flags, asked: Asked, config: Arc<Config>) -> Self {
        Self { state: State::running(inner, request, flags, asked, &config), config }
    }

    /// For a request that the layer leaves alone.
    pub(super) fn without_flags(future: S::Future, config: Arc<Config>) -> Self {
        Self { state: State::Skipped { future }, config }
    }

    pub(super) fn waiting(waiting: Box<Waiting<S, B>>, config: Arc<Config>) -> Self {
        Self { state: State::Waiting { waiting: Some(waiting) }, config }
    }
}

impl<S, B> State<S, B>
where
    S: Service<Request<B>>,
{
    fn running(inner: &mut S, mut request: Request<B>, flags: Flags, asked: Asked, config: &Arc<Config>) -> Self {
        let flags = refresh::attach(flags.of_request(asked.number), config);
        request.extensions_mut().insert(flags.clone());
        let scope = Scope { flags: flags.clone(), incoming: Some(asked.incoming) };
        let future = scope::CURRENT.sync_scope(scope.clone(), || inner.call(request));
        Self::Running { future: scope::CURRENT.scope(scope, future), flags, answering: asked.answer }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProjection::Waiting { waiting } => {
                    let flags = match waiting.as_mut() {
                        Some(waiting) => ready!(waiting.poll(cx, this.config)),
                        None => return Poll::Pending,
                    };
                    let Some(waiting) = waiting.take() else { return Poll::Pending };
                    let Waiting { mut inner, request, asked, .. } = *waiting;
                    this.state.set(State::running(&mut inner, request, flags, asked, this.config));
                }
                StateProjection::Running { future, flags, answering } => {
                    let outcome = ready!(future.poll(cx));
                    return Poll::Ready(outcome.map(|response| finish(response, flags, answering, this.config)));
                }
                StateProjection::Skipped { future } => {
                    let outcome = ready!(future.poll(cx));
                    return Poll::Ready(outcome.map(|response| response.map(|body| ResponseBody::new(body, None))));
                }
            }
        }
    }
}

fn finish<R>(
    mut response: Response<R>,
    flags: &Flags,
    answering: &mut Answering,
    config: &Config,
) -> Response<ResponseBody<R>> {
    // What the handler saw may be the answers of a layer inside this one.
    let (seen, others) = match response.extensions_mut().remove::<Seen>() {
        Some(Seen { flags: seen, vary }) if seen.request() == flags.request() => (seen, vary),
        // It belongs to another request: a cache in between kept its response, or the handler made its own request.
        Some(_) | None => (flags.clone(), Vec::new()),
    };
    // Something between the two may have read these.
    seen.adopt_reads(flags);
    let own = [
        answering.is_by_headers.then_some(&config.identity.vary),
        seen.context().visitor().is_some().then_some(&COOKIE),
        config.accepts_decisions().then_some(&X_FLAG_DECISIONS),
    ];
    let vary = || others.iter().chain(own.into_iter().flatten());
    let is_read_of = |flags: &Flags| flags.has_read_of_caller() || config.has_read_decided(flags);
    let is_read = is_read_of(flags) || !seen.ptr_eq(flags) && is_read_of(&seen);
    finish_headers(response.headers_mut(), &seen, is_read, vary(), answering, config);
    if answering.is_nested {
        let vary = vary().cloned().collect();
        response.extensions_mut().insert(Seen { flags: seen, vary });
    } else if config.is_in_response {
        response.extensions_mut().insert(seen);
    } else if response.extensions().get::<Flags>().is_some_and(|found| ![0, flags.request()].contains(&found.request()))
    {
        response.extensions_mut().remove::<Flags>();
    }
    response.map(|body| ResponseBody::new(body, Some(flags.clone())))
}

static COOKIE: HeaderValue = HeaderValue::from_static("cookie");
static X_FLAG_DECISIONS: HeaderValue = HeaderValue::from_static("x-flag-decisions");

/// What a layer tells the one around it, by the extensions of the response: what the handler saw, and by
/// which headers callers were told apart.
#[derive(Clone)]
struct Seen {
    flags: Flags,
    vary: Vec<HeaderValue>,
}

fn finish_headers<'a>(
    headers: &mut HeaderMap,
    seen: &Flags,
    is_read: bool,
    vary: impl Iterator<Item = &'a HeaderValue>,
    answering: &mut Answering,
    config: &Config,
) {
    finish_overrides(headers, seen, answering, config);
    let may_be_named = !answering.is_nested && config.header_policy.may_name();
    let is_asked_for = may_be_named || is_read || answering.visitor_cookie.is_some();
    let directives = if is_asked_for { Directives::of(headers) } else { Directives::default() };
    if !answering.is_nested {
        header::write(headers, seen, answering.header, directives, config.header_limit, &config.counters);
    }
    if config.is_told_to_caches && (is_read || may_differ(directives, seen, answering, config)) {
        for by in vary {
            caches::vary(headers, by);
        }
    }
    let cookie = answering.visitor_cookie.take().filter(|_| !directives.is_shared);
    if config.is_told_to_caches && is_read || cookie.is_some() {
        caches::make_private(headers, directives);
    }
    if let Some(cookie) = cookie {
        headers.append(SET_COOKIE, cookie);
    }
}

/// Whether `X-Active-Flags` could be another one for another caller. A response without it counts too:
/// one that a cache keeps without `Vary` is served to everybody.
fn may_differ(directives: Directives, seen: &Flags, answering: &Answering, config: &Config) -> bool {
    !answering.is_nested
        && config.header_policy.tells_callers_apart()
        && (seen.has_visible_of_caller() || config.accepts_decisions())
        && !directives.is_shared
}

fn finish_overrides(headers: &mut HeaderMap, seen: &Flags, answering: &mut Answering, config: &Config) {
    let overrides = seen.overrides();
    header::write_overrides(headers, &overrides, config.header_limit);
    if answering.is_overridden || !overrides.is_empty() {
        caches::forbid(headers);
    }
    if answering.is_overridden && overrides.is_empty() {
        tracing::info!(
            "a valid override token forces nothing: its flags are unknown here, switched off, or not `overridable`"
        );
    }
    for cookie in answering.override_cookies.drain(..) {
        caches::forbid(headers);
        headers.append(SET_COOKIE, cookie);
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
