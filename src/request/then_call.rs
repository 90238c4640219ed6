//! Prepares a request, which may take a wait, and then calls a service with it.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use http::{Extensions, Request};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::oneshot::Oneshot;

/// What a layer waits for before it calls the service inside.
pub(super) trait Prepare {
    /// Ends by leaving in the request what was waited for.
    fn poll_prepare(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, extensions: &mut Extensions) -> Poll<()>;
}

pin_project! {
    /// Prepares the request, waits until the service is ready, and calls it.
    pub(super) struct ThenCall<P, S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<P, S, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<P, S, B>
    where
        S: Service<Request<B>>,
    {
        // Service and request are `None` only while they are handed on.
        Preparing { #[pin] prepare: P, next: Option<(S, Request<B>)> },
        Called { #[pin] future: Oneshot<S, B> },
    }
}

impl<P, S, B> ThenCall<P, S, B>
where
    S: Service<Request<B>>,
{
    pub(super) fn new(prepare: P, service: S, request: Request<B>) -> Self {
        Self { state: State::Preparing { prepare, next: Some((service, request)) } }
    }

    /// With nothing to wait for.
    pub(super) fn now(service: S, request: Request<B>) -> Self {
        Self { state: State::Called { future: Oneshot::new(service, request) } }
    }
}

impl<P, S, B> Future for ThenCall<P, S, B>
where
    P: Prepare,
    S: Service<Request<B>>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProjection::Preparing { prepare, next } => {
                    let Some((_, request)) = next else { return Poll::Pending };
                    ready!(prepare.poll_prepare(cx, request.extensions_mut()));
                    let Some((service, request)) = next.take() else { return Poll::Pending };
                    state.set(State::Called { future: Oneshot::new(service, request) });
                }
                StateProjection::Called { future } => return future.poll(cx),
            }
        }
    }
}
