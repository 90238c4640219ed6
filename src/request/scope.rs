//! The answers of the current task, and reading them from anywhere below the layer.

use std::collections::HashSet;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};

use http::Extensions;
use http::request::Parts;

use super::flags::Flags;
use super::incoming::Incoming;
use super::resolved::ResolvedAnswers;
use crate::context::Context;
use crate::document::{DeclaredFlag, FlagName};
use crate::engine::Readable;

tokio::task_local! {
    pub(super) static CURRENT: Scope;
}

/// The answers in scope.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) flags: Flags,
    /// The request that they were decided for, in the call and the future of the layer's inner service;
    /// `None` in bodies, and where answers were taken along.
    pub(super) incoming: Option<Incoming>,
}

impl From<Flags> for Scope {
    fn from(flags: Flags) -> Self {
        Self { flags, incoming: None }
    }
}

/// The answers of the layer around.
#[derive(Clone, Debug)]
pub(super) struct OuterLayer {
    pub(super) flags: Flags,
    /// Whether there is a flag layer around, which adds the headers.
    pub(super) is_layer: bool,
    /// The caller whom the extensions named, if the request has lost its extensions.
    pub(super) lost: Option<Context>,
}

/// Finds the layers around through the request's extensions, else through the scope if the request was rebuilt without
/// them. The answers of a resolving layer are taken out: those of this layer will have them.
pub(super) fn around(parts: &mut Parts) -> Option<OuterLayer> {
    let layer = layer_around(parts);
    let Some(ResolvedAnswers { answers, home }) = parts.extensions.remove() else { return layer };
    let (flags, is_layer, lost) = match layer {
        Some(OuterLayer { flags, is_layer, lost }) => (Some(flags), is_layer, lost),
        None => (None, false, None),
    };
    Some(OuterLayer { flags: Flags::resolved(answers, flags, Vec::new(), home), is_layer, lost })
}

/// The flag layer around.
pub(super) fn layer_around(parts: &Parts) -> Option<OuterLayer> {
    if let Some(flags) = parts.extensions.get::<Flags>() {
        return Some(OuterLayer { flags: flags.clone(), is_layer: true, lost: None });
    }
    let scope = CURRENT.try_with(|scope| {
        let incoming = scope.incoming.as_ref().filter(|incoming| incoming.is_rebuilt_as(parts))?;
        let lost = incoming.is_named_by_extension.then(|| scope.flags.context().clone());
        Some(OuterLayer { flags: scope.flags.clone(), is_layer: true, lost })
    });
    scope.ok().flatten()
}

/// The answers of a request: those that the layer around has put into it, else those in scope.
pub(super) fn of(extensions: &Extensions) -> Option<Flags> {
    extensions.get::<Flags>().cloned().or_else(Flags::current)
}

/// Runs `work` with these answers in scope.
pub(super) fn enter<T>(flags: &Flags, work: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(flags.clone().into(), work)
}

/// Drops a value with these answers in scope, or without where the thread is ending and has no scope
/// any more: [`enter`] would panic then, and a panic in a thread's last drops ends the process.
pub(super) fn drop_within<T>(flags: &Flags, value: T) {
    // Tokio drops a future like that, whether or not it was polled.
    drop(CURRENT.scope(flags.clone().into(), DropGuard(value)));
}

struct DropGuard<T>(#[allow(dead_code, reason = "held to be dropped")] T);

impl<T> Future for DropGuard<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// Whether the flag is on for the caller of the current request.
///
/// `false` for names that no flag has, and the declared default for [declared](crate::declare_flags)
/// flags. Outside of any request it is the same, is counted
/// ([`reads_out_of_scope`]) and logged once for each place in the code, or a panic where
/// [`panic_out_of_scope`] asks for it; [`try_flag`] tells the two apart. What is lost where is in [the limitations](crate::docs::limitations).
///
/// ```
/// use tower_flags::flag;
///
/// assert!(!flag("new_checkout")); // there is no request here
/// ```
#[must_use]
#[track_caller]
pub fn flag(name: impl FlagName) -> bool {
    // Before the answers are borrowed, since the application's code for names may enter a scope.
    let (name, default) = (name.name(), name.default_answer());
    match CURRENT.try_with(|scope| scope.flags.is_enabled_or(name, default)) {
        Ok(is_enabled) => is_enabled,
        Err(_) => {
            read_out_of_scope(name);
            default
        }
    }
}

/// The variant that the caller of the current request is served, if the flag is on and has variants.
///
/// Outside of any request it is `None` and counts like [`flag`].
#[must_use]
#[track_caller]
pub fn variant(name: impl FlagName) -> Option<String> {
    let name = name.name();
    match CURRENT.try_with(|scope| scope.flags.variant(name).map(str::to_owned)) {
        Ok(variant) => variant,
        Err(_) => {
            read_out_of_scope(name);
            None
        }
    }
}

/// Like [`flag`], and tells whether there is a request at all. An unknown name is `Ok(false)`.
///
/// # Errors
///
/// [`OutOfScope`] where no layer is around the current task; that is neither counted nor logged.
pub fn try_flag(name: impl FlagName) -> Result<bool, OutOfScope> {
    let (name, default) = (name.name(), name.default_answer());
    CURRENT.try_with(|scope| scope.flags.is_enabled_or(name, default)).map_err(|_| OutOfScope)
}

impl<T: Readable> DeclaredFlag<T> {
    /// The answer for the caller of the current request, as [`Flags::get`] gives it. Outside of any
    /// request it is the default, and counts like [`flag`].
    ///
    /// ```
    /// tower_flags::declare_flags! {
    ///     static ALL;
    ///     /// What the pricing page shows.
    ///     PRICING: enum Pricing { Control = "control", Higher = "higher" } = "pricing_page";
    /// }
    ///
    /// assert_eq!(PRICING.get(), Pricing::Control); // there is no request here
    /// ```
    #[must_use]
    #[track_caller]
    pub fn get(self) -> T {
        match CURRENT.try_with(|scope| scope.flags.get(self)) {
            Ok(answer) => answer,
            Err(_) => {
                read_out_of_scope(self.name());
                T::default_of(self.declaration())
            }
        }
    }
}

impl Flags {
    /// The answers of the request that the current task works on.
    ///
    /// ```
    /// use tower_flags::Flags;
    ///
    /// assert!(Flags::current().is_none());
    /// ```
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|scope| scope.flags.clone()).ok()
    }
}

/// No layer is around the current task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfScope;

impl fmt::Display for OutOfScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no flags in scope: either the route has no FlagLayer around it, or its `skip` leaves the request out, or the \
             code runs in a task of its own; `tower_flags::spawn` and `.in_current_flags()` take the flags along",
        )
    }
}

impl std::error::Error for OutOfScope {}

static PANICS: AtomicBool = AtomicBool::new(false);

/// Makes every read of a flag with no request around panic at its place in the code, for the whole
/// process: for tests, which then find what production would only count. Not for services.
///
/// ```should_panic
/// use tower_flags::request::panic_out_of_scope;
///
/// panic_out_of_scope(true);
/// let _ = tower_flags::flag("new_checkout");
/// ```
pub fn panic_out_of_scope(panics: bool) {
    PANICS.store(panics, Ordering::Relaxed);
}

static OUT_OF_SCOPE: AtomicU64 = AtomicU64::new(0);

/// How often a flag was read with no request around, in this process so far.
#[must_use]
pub fn reads_out_of_scope() -> u64 {
    OUT_OF_SCOPE.load(Ordering::Relaxed)
}

/// The same for gates and clients, which have no place in the code: each says once what comes of it.
#[cold]
pub(super) fn read_out_of_scope_by(has_warned: &AtomicBool, name: &str, consequence: &str) {
    OUT_OF_SCOPE.fetch_add(1, Ordering::Relaxed);
    assert!(!PANICS.load(Ordering::Relaxed) || std::thread::panicking(), "flag {name:?} read: {OutOfScope}");
    if !has_warned.swap(true, Ordering::Relaxed) {
        tracing::warn!(flag = name, "{consequence}: {OutOfScope}");
    }
}

#[cold]
#[track_caller]
fn read_out_of_scope(name: &str) {
    /// Grows by one entry for each call in the program's text, so it is bounded.
    static SEEN: Mutex<Option<HashSet<Location<'static>>>> = Mutex::new(None);

    OUT_OF_SCOPE.fetch_add(1, Ordering::Relaxed);
    // A panic while another unwinds would end the process, and hide the first.
    assert!(!PANICS.load(Ordering::Relaxed) || std::thread::panicking(), "flag {name:?} read: {OutOfScope}");
    let place = *Location::caller();
    // Reading a flag never waits: where somebody else is at it, this place is logged the next time.
    let is_new = match SEEN.try_lock() {
        Ok(mut seen) => seen.get_or_insert_default().insert(place),
        Err(_) => false,
    };
    if is_new {
        tracing::warn!(flag = name, %place, "flag read as its default, which is off unless it is declared otherwise: {OutOfScope}");
    }
}
