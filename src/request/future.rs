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
use super::counts::count;
use super::header;
use super::layer::Config;
use super::service::{Answering, Asked};
use super::{caches, refresh, scope};
use crate::engine::{Flags, Reason};
use crate::source::Evaluation;

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
            future: TaskLocalFuture<Flags, S::Future>,
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
    evaluation: Pin<Box<dyn Future<Output = Flags> + Send>>,
    /// Made at the first poll, where the runtime is sure to be there.
    deadline: Option<Pin<Box<Sleep>>>,
    inner: S,
    request: Request<B>,
    asked: Asked,
}

impl<S, B> Waiting<S, B> {
    pub(super) fn new(
        evaluation: Pin<Box<dyn Future<Output = Flags> + Send>>,
        inner: S,
        request: Request<B>,
        asked: Asked,
    ) -> Box<Self> {
        Box::new(Self { evaluation, deadline: None, inner, request, asked })
    }

    fn poll(&mut self, cx: &mut TaskContext<'_>, config: &Config) -> Poll<Flags> {
        let flags = match self.evaluation.as_mut().poll(cx) {
            Poll::Ready(flags) => flags,
            Poll::Pending => {
                let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(config.deadline)));
                ready!(deadline.as_mut().poll(cx));
                if count(&config.counters.late_evaluations) {
                    tracing::warn!(
                        deadline = ?config.deadline,
                        "flags were not decided in time; the source's fallback answers, or every flag is off. Further \
                         times are only counted",
                    );
                }
                match config.source.fallback().map(|fallback| self.asked.evaluate(fallback)) {
                    Some(Evaluation::Ready(flags)) => return Poll::Ready(flags),
                    _ => Flags::none(self.asked.context.clone(), self.asked.now, Reason::Unavailable),
                }
            }
        };
        Poll::Ready(self.asked.settle(flags))
    }
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    pub(super) fn running(future: S::Future, flags: Flags, answering: Answering, config: Arc<Config>) -> Self {
        Self { state: State::running(future, flags, answering), config }
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
    fn running(future: S::Future, flags: Flags, answering: Answering) -> Self {
        Self::Running { future: scope::CURRENT.scope(flags.clone(), future), flags, answering }
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
                    let Some(mut waiting) = waiting.take() else { return Poll::Pending };
                    let flags = refresh::attach(flags, this.config);
                    waiting.request.extensions_mut().insert(flags.clone());
                    let Waiting { mut inner, request, asked, .. } = *waiting;
                    let future = scope::enter(&flags, || inner.call(request));
                    this.state.set(State::running(future, flags, asked.answer));
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
    if answering.is_nested {
        finish_headers(response.headers_mut(), flags, answering, config);
        response.extensions_mut().get_or_insert_with(|| flags.clone());
    } else {
        // What the handler saw may be the answers of a layer inside this one.
        let seen = response.extensions().get::<Flags>().unwrap_or(flags).clone();
        finish_headers(response.headers_mut(), &seen, answering, config);
        if config.is_in_response {
            response.extensions_mut().insert(seen);
        }
    }
    response.map(|body| ResponseBody::new(body, Some(flags.clone())))
}

fn finish_headers(headers: &mut HeaderMap, seen: &Flags, answering: &mut Answering, config: &Config) {
    finish_overrides(headers, seen, answering);
    if !answering.is_nested {
        header::write(headers, seen, answering.header, config.header_limit, &config.counters);
    }
    let is_read = seen.has_read_of_caller();
    if config.is_told_to_caches && (is_read || may_differ(headers, seen, answering, config)) {
        if answering.is_by_headers {
            caches::vary(headers, &config.identity.vary);
        }
        if seen.context().visitor().is_some() {
            caches::vary(headers, &HeaderValue::from_static("cookie"));
        }
        if is_read {
            caches::make_private(headers, Directives::of(headers));
        }
    }
    if let Some(cookie) = answering.visitor_cookie.take() {
        let directives = Directives::of(headers);
        if !directives.is_shared {
            caches::make_private(headers, directives);
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// Whether `X-Active-Flags` could be another one for another caller. A response without it counts too:
/// one that a cache keeps without `Vary` is served to everybody.
fn may_differ(headers: &HeaderMap, seen: &Flags, answering: &Answering, config: &Config) -> bool {
    !answering.is_nested
        && config.header_policy.tells_callers_apart()
        && seen.has_visible_of_caller()
        && !Directives::of(headers).is_shared
}

fn finish_overrides(headers: &mut HeaderMap, seen: &Flags, answering: &mut Answering) {
    let overrides = seen.overrides();
    if answering.is_overridden || !overrides.is_empty() {
        header::write_overrides(headers, &overrides);
        caches::forbid(headers);
    }
    if let Some(cookie) = answering.override_cookie.take() {
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
