//! Panics in code of the application: its source, and the closures that it configures.
//!
//! A panic costs the request flags at most. With `panic = "abort"` nothing can be caught.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use http::request::Parts;
use pin_project_lite::pin_project;

use super::counts::{Counters, count_reason};
use crate::document::Timestamp;

/// Code of the application that a layer runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Code {
    Source,
    Identify,
    IdentifyLayer,
    HeaderPolicy,
    Skip,
    Clock,
    Observer,
}

impl Code {
    /// The code that panicked, and the consequence.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Source => ("the source", "every flag is off, or the fallback of its layer answers"),
            Self::Identify => ("the closure of `identify`", "the caller counts as anonymous"),
            Self::IdentifyLayer => ("the closure of `IdentifyLayer`", "the caller counts as anonymous"),
            Self::HeaderPolicy => ("the closure of the header policy", "the response has no X-Active-Flags"),
            Self::Skip => ("the closure of `skip`", "the request is not skipped"),
            Self::Observer => ("an observer", "it has not seen the outcome"),
            Self::Clock => ("the closure of `clock`", "the system's clock is used"),
        }
    }
}

impl Counters {
    /// Runs code of the application, and returns `None` if it panics. Each panic is counted; the first of each kind of
    /// code is logged.
    pub(super) fn caught<T>(&self, code: Code, run: impl FnOnce() -> T) -> Option<T> {
        caught(run).map_err(|panic| self.count_panic(code, &panic)).ok()
    }

    #[cold]
    fn count_panic(&self, code: Code, panic: &str) {
        let counter = if matches!(code, Code::Source) { &self.source_panics } else { &self.closure_panics };
        if count_reason(counter, &self.told, 32 + code as u32) {
            let (what, consequence) = code.words();
            tracing::error!("{what} panicked: {panic:?}; {consequence}. Its further panics are only counted");
        }
    }
}

/// A predicate over requests, from the application.
pub(super) type Predicate = dyn Fn(&Parts) -> bool + Send + Sync;

impl Counters {
    /// The same predicate; if it panics, that is counted, and it accepts nothing.
    pub(super) fn predicate(
        self: &Arc<Self>,
        code: Code,
        accepts: impl Fn(&Parts) -> bool + Send + Sync + 'static,
    ) -> Arc<Predicate> {
        let counters = Arc::clone(self);
        Arc::new(move |request: &Parts| counters.caught(code, || accepts(request)).unwrap_or_default())
    }

    /// The same clock; if it panics, that is counted, and the system's clock is read.
    pub(super) fn clock(
        self: &Arc<Self>,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
        let counters = Arc::clone(self);
        Arc::new(move || counters.caught(Code::Clock, &clock).unwrap_or_else(Timestamp::now))
    }
}

/// Runs a closure, and returns the message of its panic if it panics.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

pin_project! {
    /// A future from code of the application; `None` if it panics. A panic while it is dropped is caught too.
    pub(super) struct CaughtFuture<F> {
        // `None` once it has panicked, or is dropped.
        #[pin]
        future: Option<F>,
        code: Code,
        counters: Arc<Counters>,
    }

    impl<F> PinnedDrop for CaughtFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            this.end();
        }
    }
}

impl<F> CaughtFuture<F> {
    pub(super) fn new(code: Code, future: F, counters: &Arc<Counters>) -> Self {
        Self { future: Some(future), code, counters: Arc::clone(counters) }
    }

    fn end(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.counters.caught(*this.code, || this.future.set(None));
    }
}

impl<F: Future> Future for CaughtFuture<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        let polled = match this.future.as_pin_mut() {
            Some(future) => this.counters.caught(*this.code, || future.poll(cx)),
            None => Some(Poll::Pending),
        };
        match polled {
            Some(polled) => polled.map(Some),
            None => {
                self.end();
                Poll::Ready(None)
            }
        }
    }
}
