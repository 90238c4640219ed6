//! What answers a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::context::Context;
use crate::document::{Problem, Timestamp};
use crate::engine::{Answers, Query, SourceId};

/// Answers requests: every flag for one caller at one instant.
///
/// Reading never waits and never fails: a flag that a source does not know is off, and [`status`](Self::status) has the
/// rest for operators. If a source panics, every flag is off for that request. Engines that have to be awaited answer through
/// a [`ResolveLayer`](crate::request::ResolveLayer) instead.
///
/// ```
/// use std::sync::Arc;
///
/// use tower_flags::engine::{Answers, FlagSet, Query};
/// use tower_flags::source::{Source, Status};
///
/// /// Switches everything on for people who work here.
/// struct Dogfood {
///     set: Arc<FlagSet>,
/// }
///
/// impl Source for Dogfood {
///     fn answer(&self, query: &Query<'_>) -> Answers {
///         let works_here = query.context.user_id().is_some_and(|user| user.ends_with("@example.com"));
///         let mut answers = Answers::of(&self.set, query);
///         for number in 0..self.set.len() as u32 {
///             answers.set(number, works_here);
///         }
///         answers
///     }
///
///     fn status(&self) -> Status {
///         Status::fresh()
///     }
/// }
///
/// let layer = tower_flags::FlagLayer::new(Dogfood { set: FlagSet::builder().flag("new_search").build() });
/// # let _ = layer;
/// ```
pub trait Source: Send + Sync + 'static {
    /// Decides every flag for the query: synchronous and total, from one set.
    fn answer(&self, query: &Query<'_>) -> Answers;

    /// The answers for a caller by the system's clock, for code outside of requests. [`Flags`](crate::Flags) are made from
    /// them where that code reads them by [`flag`](crate::flag).
    ///
    /// ```
    /// use tower_flags::{Context, Memory, Source};
    ///
    /// let memory = Memory::new();
    /// memory.set("nightly_report", true)?;
    /// assert!(memory.flags(&Context::user("billing")).is_enabled("nightly_report"));
    /// # Ok::<(), tower_flags::Problem>(())
    /// ```
    fn flags(&self, context: &Context) -> Answers {
        self.answer(&Query::new(context, Timestamp::now()))
    }

    /// How fresh the rules are and what is wrong with them.
    fn status(&self) -> Status;

    /// The id that the sets of this source have, made once by [`SourceId::unique`] and given by
    /// [`FlagSetBuilder::identity`]: a layer inside a layer over the same source then uses the set that the request has
    /// pinned. `None` by default: every layer asks again.
    ///
    /// [`FlagSetBuilder::identity`]: crate::engine::FlagSetBuilder::identity
    fn id(&self) -> Option<SourceId> {
        None
    }

    /// Is notified of each name that is read of this source's answers; asked once, when a layer is made.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    fn read_observer(&self) -> Option<Arc<dyn ReadObserver>> {
        None
    }
}

/// Is notified of every flag that is read by name, known or not, each time.
#[cfg(feature = "testing")]
#[doc(hidden)]
pub trait ReadObserver: Send + Sync {
    fn read(&self, name: &str);
}

impl<S: Source + ?Sized> Source for Arc<S> {
    fn answer(&self, query: &Query<'_>) -> Answers {
        S::answer(self, query)
    }

    fn flags(&self, context: &Context) -> Answers {
        S::flags(self, context)
    }

    fn status(&self) -> Status {
        S::status(self)
    }

    fn id(&self) -> Option<SourceId> {
        S::id(self)
    }

    #[cfg(feature = "testing")]
    fn read_observer(&self) -> Option<Arc<dyn ReadObserver>> {
        S::read_observer(self)
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
    pub revision: String,
    /// How many flags there are.
    pub flags: usize,
    /// What went wrong last, until it goes right again.
    pub last_error: Option<String>,
    /// What is wrong with the rules.
    pub problems: Vec<Problem>,
}

impl Status {
    /// Whether the rules are as current as the source promises.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.freshness == Freshness::Fresh
    }

    /// The status of a source whose rules are current, or that has nothing to load. The other fields can be set.
    ///
    /// ```
    /// use tower_flags::source::Status;
    ///
    /// let mut status = Status::fresh();
    /// status.flags = 12;
    /// assert!(status.is_fresh());
    /// ```
    #[must_use]
    pub fn fresh() -> Self {
        Self::new(Freshness::Fresh)
    }

    /// The status of a source whose last attempt to load has failed: earlier rules are in effect since this instant.
    #[must_use]
    pub fn stale_since(at: Timestamp, error: impl Into<String>) -> Self {
        Self { last_error: Some(error.into()), ..Self::new(Freshness::StaleSince(at)) }
    }

    /// The status of a source that has never had rules.
    #[must_use]
    pub fn never_loaded() -> Self {
        Self::new(Freshness::NeverLoaded)
    }

    fn new(freshness: Freshness) -> Self {
        Self { freshness, version: 0, revision: String::new(), flags: 0, last_error: None, problems: Vec::new() }
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
    StaleSince(Timestamp),
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
