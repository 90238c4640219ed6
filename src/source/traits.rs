//! What answers a request.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::engine::{Context, Flags, Instant, Problem, SourceId};

/// Answers requests: every flag for one caller at one instant.
///
/// A source never fails: what it does not know is off, and [`status`](Self::status) tells operators
/// the rest. The crate's own sources are always ready; a source that has to ask somebody else
/// returns a future, which the layer runs under a deadline. A panic of a source is caught by the layer:
/// the [`fallback`](Self::fallback) answers, else every flag is off.
///
/// ```
/// use tower_flags::source::{Evaluation, Source, Status};
/// use tower_flags::{Context, Flags, Instant};
///
/// /// Switches everything on for people who work here.
/// struct Dogfood;
///
/// impl Source for Dogfood {
///     fn evaluate(&self, context: &Context, _: Instant) -> Evaluation {
///         let works_here = context.user_id().is_some_and(|user| user.ends_with("@example.com"));
///         let flags = Flags::builder();
///         let flags = if works_here { flags.on("new_search") } else { flags.off("new_search") };
///         Evaluation::Ready(flags.build(context.clone()))
///     }
///
///     fn status(&self) -> Status {
///         Status::fresh()
///     }
/// }
///
/// let layer = tower_flags::FlagLayer::new(Dogfood);
/// # let _ = layer;
/// ```
pub trait Source: Send + Sync + 'static {
    /// Decides every flag for the caller.
    fn evaluate(&self, context: &Context, now: Instant) -> Evaluation;

    /// How fresh the rules are and what is wrong with them.
    fn status(&self) -> Status;

    /// The id that this source gives its answers by [`FlagsBuilder::identity`], made once by
    /// [`SourceId::unique`]: a layer inside a layer over the same source then uses the answers that the
    /// request has pinned. `None` by default: every layer asks again.
    ///
    /// [`FlagsBuilder::identity`]: crate::engine::FlagsBuilder::identity
    fn id(&self) -> Option<SourceId> {
        None
    }

    /// The source that answers when an evaluation is late or panics. It has to be ready. `None` by default: every
    /// flag is off then, with reason [`Unavailable`](crate::engine::Reason::Unavailable).
    fn fallback(&self) -> Option<&dyn Source> {
        None
    }
}

/// What a [`Source`] answers.
#[non_exhaustive]
pub enum Evaluation {
    /// The answers.
    Ready(Flags),
    /// The answers to come.
    Pending(Pin<Box<dyn Future<Output = Flags> + Send>>),
}

impl fmt::Debug for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(flags) => f.debug_tuple("Ready").field(flags).finish(),
            Self::Pending(_) => f.debug_tuple("Pending").finish_non_exhaustive(),
        }
    }
}

impl<S: Source + ?Sized> Source for Arc<S> {
    fn evaluate(&self, context: &Context, now: Instant) -> Evaluation {
        S::evaluate(self, context, now)
    }

    fn status(&self) -> Status {
        S::status(self)
    }

    fn id(&self) -> Option<SourceId> {
        S::id(self)
    }

    fn fallback(&self) -> Option<&dyn Source> {
        S::fallback(self)
    }
}

/// How a source is doing, for health endpoints and operators.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Whether the rules are as current as the source promises.
    pub freshness: Freshness,
    /// The number of the rules in this process: raised by one at each swap; 0 before the first load.
    pub version: u64,
    /// The store's own version or digest of the rules, which processes can compare.
    pub origin: String,
    /// How many flags there are.
    pub flags: usize,
    /// What went wrong last, until it goes right again.
    pub last_error: Option<String>,
    /// What is wrong with the rules.
    pub problems: Vec<Problem>,
}

impl Status {
    /// The status of a source that has nothing to load.
    #[must_use]
    pub fn fresh() -> Self {
        Self {
            freshness: Freshness::Fresh,
            version: 0,
            origin: String::new(),
            flags: 0,
            last_error: None,
            problems: Vec::new(),
        }
    }
}

/// Whether rules are current.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Freshness {
    /// As current as the source promises.
    Fresh,
    /// The last attempt to load failed or was refused; earlier rules are in force since this instant.
    StaleSince(Instant),
    /// There have never been any rules: every flag is off.
    NeverLoaded,
}

impl SourceId {
    /// A new id, unlike any other in this process.
    #[must_use]
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
