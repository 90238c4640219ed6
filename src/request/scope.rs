//! The answers of the current task, and reading them from anywhere below the layer.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::panic::Location;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::Extensions;
use http::request::Parts;

use super::flags::Flags;
use super::incoming::Incoming;
use super::resolved::ResolvedAnswers;
use crate::context::Context;
use crate::document::{DeclaredFlag, FlagName};
use crate::engine::Readable;

thread_local! {
    /// What the task that this thread runs has in scope. Futures lend it while they are polled or dropped, so that it follows the
    /// task from thread to thread, as in tokio's `task_local`. Moving it here and back touches no count of references, which
    /// costs as much as everything else here.
    static CURRENT: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

/// Reads what is in scope; `None` without a scope, and where the thread is ending.
pub(super) fn current<T>(read: impl FnOnce(&Scope) -> T) -> Option<T> {
    CURRENT.try_with(|current| current.borrow().as_ref().map(read)).ok().flatten()
}

/// Runs `work` with this in scope, which is back when `work` is done, or panics. Where the thread is ending there is no scope
/// any more, and `work` runs without: a panic in the last drops of a thread ends the process.
pub(super) fn within<T>(scope: &mut Option<Scope>, work: impl FnOnce() -> T) -> T {
    fn swap(scope: &mut Option<Scope>) {
        let _ = CURRENT.try_with(|current| std::mem::swap(&mut *current.borrow_mut(), scope));
    }

    struct SwapBack<'a>(&'a mut Option<Scope>);

    impl Drop for SwapBack<'_> {
        fn drop(&mut self) {
            swap(self.0);
        }
    }

    swap(scope);
    let _back = SwapBack(scope);
    work()
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
    let scope = current(|scope| {
        let incoming = scope.incoming.as_ref().filter(|incoming| incoming.is_rebuilt_as(parts))?;
        let lost = incoming.is_named_by_extension.then(|| scope.flags.context().clone());
        Some(OuterLayer { flags: scope.flags.clone(), is_layer: true, lost })
    });
    scope.flatten()
}

/// The answers of a request: those that the layer around has put into it, else those in scope.
pub(super) fn of(extensions: &Extensions) -> Option<Flags> {
    extensions.get::<Flags>().cloned().or_else(Flags::current)
}

/// Runs `work` with these answers in scope.
pub(super) fn enter<T>(flags: &Flags, work: impl FnOnce() -> T) -> T {
    within(&mut Some(flags.clone().into()), work)
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
    match current(|scope| scope.flags.is_enabled_or(name, default)) {
        Some(is_enabled) => is_enabled,
        None => {
            read_out_of_scope(name);
            default
        }
    }
}

/// The variant that the caller of the current request is served, if the flag is on and has variants.
///
/// Outside of any request it is `None` and counts like [`flag`]. A `match` needs `as_deref`:
///
/// ```
/// use tower_flags::variant;
///
/// let rows = match variant("list_layout").as_deref() {
///     Some("dense") => 50,
///     _ => 20,
/// };
/// assert_eq!(rows, 20); // there is no request here
/// ```
#[must_use]
#[track_caller]
pub fn variant(name: impl FlagName) -> Option<String> {
    let name = name.name();
    match current(|scope| scope.flags.variant(name).map(str::to_owned)) {
        Some(variant) => variant,
        None => {
            read_out_of_scope(name);
            None
        }
    }
}

/// Like [`flag`], and tells whether there is a request at all. An unknown name is `Ok(false)`.
///
/// # Errors
///
/// [`OutOfScopeError`] where no layer is around the current task; that is neither counted nor logged.
pub fn try_flag(name: impl FlagName) -> Result<bool, OutOfScopeError> {
    let (name, default) = (name.name(), name.default_answer());
    current(|scope| scope.flags.is_enabled_or(name, default)).ok_or(OutOfScopeError)
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
        match current(|scope| scope.flags.get(self)) {
            Some(answer) => answer,
            None => {
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
        current(|scope| scope.flags.clone())
    }
}

/// No layer is around the current task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfScopeError;

impl fmt::Display for OutOfScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no flags in scope: either the route has no FlagLayer around it, or its `skip` leaves the request out, or the \
             code runs in a task of its own; `tower_flags::spawn` and `.in_current_flags()` take the flags along",
        )
    }
}

impl std::error::Error for OutOfScopeError {}

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
    assert!(!PANICS.load(Ordering::Relaxed) || std::thread::panicking(), "flag {name:?} read: {OutOfScopeError}");
    if !has_warned.swap(true, Ordering::Relaxed) {
        tracing::warn!(flag = name, "{consequence}: {OutOfScopeError}");
    }
}

#[cold]
#[track_caller]
fn read_out_of_scope(name: &str) {
    /// Grows by one entry for each call in the program's text, so it is bounded.
    static SEEN: Mutex<Option<HashSet<Location<'static>>>> = Mutex::new(None);

    OUT_OF_SCOPE.fetch_add(1, Ordering::Relaxed);
    // A panic while another unwinds would end the process, and hide the first.
    assert!(!PANICS.load(Ordering::Relaxed) || std::thread::panicking(), "flag {name:?} read: {OutOfScopeError}");
    let place = *Location::caller();
    // Reading a flag never waits: where somebody else is at it, this place is logged the next time.
    let is_new = match SEEN.try_lock() {
        Ok(mut seen) => seen.get_or_insert_default().insert(place),
        Err(_) => false,
    };
    if is_new {
        tracing::warn!(flag = name, %place, "flag read as its default, which is off unless it is declared otherwise: {OutOfScopeError}");
    }
}
