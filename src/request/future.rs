//! The response to come.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;

use super::body::ResponseBody;
use super::carry::FlagsScope;
use super::config::Config;
use super::respond::{ResponsePlan, respond};
use super::scope::Scope;
use super::watch::Watch;
use crate::observe::Failure;

pin_project! {
    /// The future of a [`FlagService`](super::FlagService)'s response.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        /// The inner service's future is polled and dropped inside the scope.
        Running {
            #[pin]
            future: FlagsScope<F>,
            plan: ResponsePlan,
            watch: Option<Box<Watch>>,
            config: Arc<Config>,
        },
        /// A request that the layer leaves alone.
        Skipped {
            #[pin]
            future: F,
        },
    }
}

impl<F: Future> ResponseFuture<F> {
    pub(super) fn new(
        future: F,
        scope: Option<Scope>,
        plan: ResponsePlan,
        watch: Option<Box<Watch>>,
        config: Arc<Config>,
    ) -> Self {
        Self { state: State::Running { future: FlagsScope::new(future, scope), plan, watch, config } }
    }

    /// For a request that the layer leaves alone.
    pub(super) fn skipped(future: F) -> Self {
        Self { state: State::Skipped { future } }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Running { mut future, plan, watch, config } => {
                let result = ready!(future.as_mut().poll(cx));
                let Some(Scope { flags, .. }) = future.end() else { panic!("the future is polled after it has ended") };
                let mut watch = watch.take();
                Poll::Ready(match result {
                    Ok(response) => {
                        let (response, seen) = respond(response, &flags, plan, config);
                        if let Some(watch) = &mut watch {
                            watch.respond(response.status(), &seen);
                        }
                        Ok(response.map(|body| ResponseBody::new(body, flags, watch, Arc::clone(config))))
                    }
                    Err(error) => {
                        if let Some(watch) = &mut watch {
                            watch.fail(Failure::Service);
                        }
                        Err(error)
                    }
                })
            }
            StateProjection::Skipped { future } => {
                let result = ready!(future.poll(cx));
                Poll::Ready(result.map(|response| response.map(ResponseBody::skipped)))
            }
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
