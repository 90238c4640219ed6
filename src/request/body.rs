//! The body of a response, produced inside the scope of its request.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::carry::FlagsScope;
use super::config::Config;
use super::flags::Flags;
use super::watch::Watch;
use crate::observe::Failure;

pin_project! {
    /// A body whose frames are produced, and which is dropped, with the request's flags in scope.
    ///
    /// Size hint, end of stream and trailers are the inner body's.
    pub struct ResponseBody<B> {
        #[pin]
        body: FlagsScope<B>,
        // Keeps the layer for `Flags::refresh` until the stream has ended.
        config: Option<Arc<Config>>,
        watch: Option<Box<Watch>>,
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn new(body: B, flags: Flags, watch: Option<Box<Watch>>, config: Arc<Config>) -> Self {
        Self { body: FlagsScope::new(body, Some(flags.into())), config: Some(config), watch }
    }

    /// The body of a request that the layer leaves alone.
    pub(super) fn skipped(body: B) -> Self {
        Self { body: FlagsScope::new(body, None), config: None, watch: None }
    }
}

/// A body without a request, for layers that answer themselves.
impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::skipped(B::default())
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let mut body = this.body;
        let polled = body.as_mut().enter(|body| body.poll_frame(cx)).unwrap_or(Poll::Ready(None));
        if let Some(watch) = this.watch {
            match &polled {
                Poll::Pending => {}
                Poll::Ready(Some(Err(_))) => watch.fail(Failure::Body),
                // The last frame is the end: a server need not ask for more.
                Poll::Ready(Some(Ok(_))) if !body.inner().is_none_or(Body::is_end_stream) => {}
                Poll::Ready(_) => watch.complete(),
            }
            if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
                *this.watch = None;
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let is_end = self.body.inner().is_none_or(Body::is_end_stream);
        // At the end, a server drops the body and polls it no further.
        if let Some(watch) = self.watch.as_ref().filter(|_| is_end) {
            watch.complete();
        }
        is_end
    }

    fn size_hint(&self) -> SizeHint {
        self.body.inner().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: fmt::Debug> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("body", &self.body).finish_non_exhaustive()
    }
}
