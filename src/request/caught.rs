//! Panics in code of the application: its source, and the closures that it configures.
//!
//! A panic costs the request flags at most. With `panic = "abort"` nothing can be caught.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use super::counts::{Counters, count_reason};
use crate::engine::Flags;

/// Code of the application that a layer runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Code {
    Source,
    Identify,
    HeaderPolicy,
    Skip,
    Clock,
}

impl Code {
    /// The code that panicked, and the consequence.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Source => ("the source", "its fallback answers, or every flag is off"),
            Self::Identify => ("the closure of `identify`", "the caller counts as anonymous"),
            Self::HeaderPolicy => ("the closure of the header policy", "the response has no X-Active-Flags"),
            Self::Skip => ("the closure of `skip`", "the request is not skipped"),
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

/// Runs a closure, and returns the message of its panic if it panics.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

/// The future answers of a source; `None` if it panics. A panic while it is dropped is caught too.
pub(super) struct Pending {
    answers: Option<Pin<Box<dyn Future<Output = Flags> + Send>>>,
    counters: Arc<Counters>,
}

impl Pending {
    pub(super) fn new(answers: Pin<Box<dyn Future<Output = Flags> + Send>>, counters: &Arc<Counters>) -> Self {
        Self { answers: Some(answers), counters: Arc::clone(counters) }
    }

    fn end(&mut self) {
        let answers = self.answers.take();
        self.counters.caught(Code::Source, || drop(answers));
    }
}

impl Future for Pending {
    type Output = Option<Flags>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Flags>> {
        let Self { answers, counters } = &mut *self;
        let polled = match answers {
            Some(answers) => counters.caught(Code::Source, || answers.as_mut().poll(cx)),
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

impl Drop for Pending {
    fn drop(&mut self) {
        self.end();
    }
}
