//! Outcomes of requests, for tests of observers.

use std::time::Duration;

use http::StatusCode;

use crate::observe::Outcome;
use crate::request::Flags;

/// The outcome of a request with these answers: status 200, no failure, no time. The fields can be set, so that a test of
/// an [`Observer`](crate::observe::Observer) needs no service.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use http::StatusCode;
/// use tower_flags::observe::{Observer, Outcome};
/// use tower_flags::testing::outcome;
/// use tower_flags::{Context, Flags};
///
/// /// Counts failures of requests that have read a flag.
/// #[derive(Default)]
/// struct Failures(AtomicU64);
///
/// impl Observer for Failures {
///     fn observe(&self, outcome: &Outcome<'_>) {
///         if outcome.is_failure() && !outcome.reads().is_empty() {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let flags = Flags::builder().on("new_search").build(Context::user("alice"));
/// assert!(flags.is_enabled("new_search"));
/// let failures = Failures::default();
/// let mut outcome = outcome(&flags);
/// failures.observe(&outcome);
/// outcome.status = Some(StatusCode::BAD_GATEWAY);
/// failures.observe(&outcome);
/// assert_eq!(failures.0.into_inner(), 1);
/// ```
#[must_use]
pub fn outcome(flags: &Flags) -> Outcome<'_> {
    Outcome::new(flags, Some(StatusCode::OK), Some(Duration::ZERO), Duration::ZERO, None)
}
