//! The body of a response, produced inside the scope of its request.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::scope;
use crate::engine::Flags;

pin_project! {
    /// A body whose frames are produced, and which is dropped, with the request's flags in scope.
    ///
    /// Size hint, end of stream and trailers are the inner body's.
    pub struct ResponseBody<B> {
        // `None` only while it is being dropped.
        #[pin]
        body: Option<B>,
        flags: Flags,
    }

    impl<B> PinnedDrop for ResponseBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            scope::drop_within(this.flags, Clear(this.body));
        }
    }
}

/// Drops what it points to when it is dropped itself.
struct Clear<'a, B>(Pin<&'a mut Option<B>>);

impl<B> Drop for Clear<'_, B> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn new(body: B, flags: Flags) -> Self {
        Self { body: Some(body), flags }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        match this.body.as_pin_mut() {
            Some(body) => scope::enter(this.flags, || body.poll_frame(cx)),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: fmt::Debug> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("body", &self.body).field("flags", &self.flags).finish()
    }
}
