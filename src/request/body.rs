//! The body of a response, produced inside the scope of its request.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::carry::InFlags;
use crate::engine::Flags;

pin_project! {
    /// A body whose frames are produced, and which is dropped, with the request's flags in scope.
    ///
    /// Size hint, end of stream and trailers are the inner body's.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        body: InFlags<B>,
    }
}

impl<B> ResponseBody<B> {
    /// Without flags the body is as it was.
    pub(super) fn new(body: B, flags: Option<Flags>) -> Self {
        Self { body: InFlags::new(body, flags) }
    }
}

/// A body without a request, for layers that answer themselves.
impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::new(B::default(), None)
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.enter(|body| body.poll_frame(cx)).unwrap_or(Poll::Ready(None))
    }

    fn is_end_stream(&self) -> bool {
        self.body.inner().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.inner().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
