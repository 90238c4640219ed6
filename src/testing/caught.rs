//! Panics as values.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

pub(super) use crate::request::caught as caught_sync;

/// Runs a future to its end, or to its panic, whose message comes back.
pub(super) async fn caught<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(|cx| match caught_sync(|| future.as_mut().poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}
