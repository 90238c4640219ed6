//! One request on its way in.

use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use http::request::Parts;
use http::{Request, Response};
use tower_service::Service;

use super::body::ResponseBody;
use super::future::{ResponseFuture, Waiting};
use super::layer::Config;
use super::{refresh, scope};
use crate::engine::{Context, Flags, Instant};
use crate::source::{Evaluation, Source};

/// The service that [`FlagLayer`](super::FlagLayer) puts around another one.
#[derive(Clone, Debug)]
pub struct FlagService<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S> FlagService<S> {
    pub(super) fn new(inner: S, config: Arc<Config>) -> Self {
        Self { inner, config }
    }
}

impl<S, B, R> Service<Request<B>> for FlagService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture<S, B> {
        let (mut parts, body) = request.into_parts();
        let asked = Asked::of(&parts, &self.config);
        match asked.evaluate(&*self.config.source) {
            Evaluation::Ready(flags) => {
                let flags = refresh::attach(flags, &self.config);
                parts.extensions.insert(flags.clone());
                let request = Request::from_parts(parts, body);
                let future = scope::enter(&flags, || self.inner.call(request));
                ResponseFuture::running(future, flags, asked.answer, Arc::clone(&self.config))
            }
            Evaluation::Pending(evaluation) => {
                // The service that was made ready goes along; a clone of it may not be ready, and some
                // services panic then.
                let clone = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, clone);
                let request = Request::from_parts(parts, body);
                ResponseFuture::waiting(Waiting::new(evaluation, inner, request, asked), Arc::clone(&self.config))
            }
        }
    }
}

/// What a request asks of the layer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) context: Context,
    pub(super) now: Instant,
    /// The answers of a layer around this one.
    pub(super) outer: Option<Flags>,
    pub(super) answer: Answering,
}

/// What is to be done with the response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answering {
    /// Whether a layer around this one writes the header.
    pub(super) is_nested: bool,
    pub(super) is_header_wanted: bool,
}

impl Asked {
    fn of(parts: &Parts, config: &Config) -> Self {
        let outer = parts.extensions.get::<Flags>().cloned();
        let is_nested = outer.is_some();
        let answer = Answering { is_nested, is_header_wanted: !is_nested && config.header_policy.accepts(parts) };
        let context = config.identity.of(parts, outer.as_ref().map(Flags::context), &config.counters);
        let now = outer.as_ref().map_or_else(|| (config.clock)(), Flags::instant);
        Self { context, now, outer, answer }
    }

    /// Answers from the set that the request has pinned where there is one, else from the source.
    pub(super) fn evaluate(&self, source: &dyn Source) -> Evaluation {
        let Some(outer) = &self.outer else { return source.evaluate(&self.context, self.now) };
        if let Some(flags) = source.id().and_then(|id| outer.decided_by(id, &self.context)) {
            return Evaluation::Ready(flags);
        }
        match source.evaluate(&self.context, self.now) {
            Evaluation::Ready(flags) => Evaluation::Ready(flags.inside(outer)),
            pending @ Evaluation::Pending(_) => pending,
        }
    }
}
