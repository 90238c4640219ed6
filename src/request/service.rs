//! The service: one request on its way in.

use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::accessors::inner_accessors;
use super::ask::RequestState;
use super::body::ResponseBody;
use super::config::Config;
use super::future::ResponseFuture;
use super::scope::{self, Scope};
use super::watch::Watch;

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

    inner_accessors!();
}

impl<S, B, R> Service<Request<B>> for FlagService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture<S::Future> {
        let (mut parts, body) = request.into_parts();
        if self.config.skip.as_ref().is_some_and(|skip| skip(&parts)) {
            return ResponseFuture::skipped(self.inner.call(Request::from_parts(parts, body)));
        }
        let start = Watch::start(&self.config, &parts);
        let mut state = RequestState::of(&mut parts, &self.config);
        let flags = state.decide(&self.config);
        let RequestState { incoming, plan, .. } = state;
        #[cfg(any(feature = "overrides", feature = "visitors"))]
        self.config.conceal(&mut parts.headers);
        let watch = Watch::of(start, &self.config, &flags);
        parts.extensions.insert(flags.clone());
        let request = Request::from_parts(parts, body);
        let mut scope = Some(Scope { flags, incoming: Some(incoming) });
        let future = scope::within(&mut scope, || self.inner.call(request));
        ResponseFuture::new(future, scope, plan, watch, Arc::clone(&self.config))
    }
}
