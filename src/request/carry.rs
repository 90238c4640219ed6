//! Taking a request's answers along: into futures, streams, tasks and threads of their own.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use futures_core::Stream;
use pin_project_lite::pin_project;
use tokio::task::JoinHandle;

use super::flags::Flags;
use super::scope::{self, Scope};

pin_project! {
    /// A future or stream that runs, and is dropped, with a request's answers in scope. From
    /// [`Flags::scope`] and [`FlagsExt`].
    #[must_use = "futures and streams do nothing unless polled"]
    pub struct FlagsScope<T> {
        // `None` only while it is being dropped.
        #[pin]
        inner: Option<T>,
        // `None`: nothing is carried, what is in scope where it is polled stays.
        scope: Option<Scope>,
    }

    impl<T> PinnedDrop for FlagsScope<T> {
        fn drop(this: Pin<&mut Self>) {
            this.end();
        }
    }
}

impl<T> FlagsScope<T> {
    pub(super) fn new(inner: T, scope: Option<Scope>) -> Self {
        Self { inner: Some(inner), scope }
    }

    /// What is carried through the scope; `None` only while this is being dropped.
    pub(super) fn inner(&self) -> Option<&T> {
        self.inner.as_ref()
    }

    /// Runs `work` on what is inside, in scope.
    pub(super) fn enter<R>(self: Pin<&mut Self>, work: impl FnOnce(Pin<&mut T>) -> R) -> Option<R> {
        let this = self.project();
        let inner = this.inner.as_pin_mut()?;
        Some(if this.scope.is_some() { scope::within(this.scope, || work(inner)) } else { work(inner) })
    }

    /// Drops what is inside, in scope, and gives back what was carried.
    pub(super) fn end(self: Pin<&mut Self>) -> Option<Scope> {
        let this = self.project();
        let mut inner = this.inner;
        if this.scope.is_some() && inner.is_some() {
            scope::within(this.scope, || inner.set(None));
        }
        this.scope.take()
    }
}

impl<F: Future> Future for FlagsScope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        self.enter(|future| future.poll(cx)).unwrap_or(Poll::Pending)
    }
}

impl<S: Stream> Stream for FlagsScope<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<S::Item>> {
        self.enter(|stream| stream.poll_next(cx)).unwrap_or(Poll::Ready(None))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.as_ref().map_or((0, Some(0)), Stream::size_hint)
    }
}

impl<T: fmt::Debug> fmt::Debug for FlagsScope<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlagsScope")
            .field("inner", &self.inner)
            .field("flags", &self.scope.as_ref().map(|scope| &scope.flags))
            .finish()
    }
}

/// Takes a request's answers into futures and streams that run elsewhere.
///
/// ```
/// use tower_flags::{Context, Flags, FlagsExt, flag};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let flags = Flags::builder().on("new_receipt").build(Context::user("alice"));
/// let receipt = tokio::spawn(async { flag("new_receipt") }.in_flags(flags));
/// assert!(receipt.await.unwrap());
/// # }
/// ```
pub trait FlagsExt: Sized {
    /// Runs in the scope of these answers, in place of any other.
    fn in_flags(self, flags: Flags) -> FlagsScope<Self> {
        FlagsScope::new(self, Some(flags.into()))
    }

    /// Runs in the scope that is current **now**, at this call; where there is none, as it would
    /// without.
    fn in_current_flags(self) -> FlagsScope<Self> {
        FlagsScope::new(self, Flags::current().map(Scope::from))
    }
}

impl<T> FlagsExt for T {}

impl Flags {
    /// Runs a future with these answers in scope: [`flag`](crate::flag) reads them in it, also while it
    /// is dropped.
    ///
    /// ```
    /// use tower_flags::{Context, Flags, flag};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let flags = Flags::builder().on("dark_mode").build(Context::anonymous());
    /// assert!(flags.scope(async { flag("dark_mode") }).await);
    /// # }
    /// ```
    pub fn scope<F: Future>(&self, future: F) -> FlagsScope<F> {
        future.in_flags(self.clone())
    }

    /// Runs a closure with these answers in scope, on this thread.
    ///
    /// ```
    /// use tower_flags::{Context, Flags, flag};
    ///
    /// let flags = Flags::builder().on("dark_mode").build(Context::anonymous());
    /// assert!(flags.sync_scope(|| flag("dark_mode")));
    /// assert!(!flag("dark_mode"));
    /// ```
    pub fn sync_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        scope::enter(self, work)
    }
}

/// [`tokio::spawn`] that takes the current request's answers along, and nothing else; where there are
/// none, the task has none.
///
/// ```
/// use tower_flags::{Context, Flags, flag};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let flags = Flags::builder().on("new_receipt").build(Context::user("alice"));
/// let sent = flags.scope(async { tower_flags::spawn(async { flag("new_receipt") }).await });
/// assert!(sent.await.unwrap());
/// # }
/// ```
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.in_current_flags())
}

/// [`tokio::task::spawn_blocking`] that takes the current request's answers along, and nothing else;
/// where there are none, the closure has none.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let flags = Flags::current();
    tokio::task::spawn_blocking(move || match flags {
        Some(flags) => flags.sync_scope(work),
        None => work(),
    })
}
