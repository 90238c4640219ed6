//! Everything that an answer depends on, but the flag set.

use super::answers::Answers;
use super::reason::Reason;
use crate::context::Context;
use crate::document::Timestamp;

/// The question that a source answers: who asks, when, and which answers are forced from outside.
///
/// ```
/// use tower_flags::engine::Query;
/// use tower_flags::{Context, Timestamp, Memory, Source};
///
/// let memory = Memory::new();
/// memory.set("dark_mode", true)?;
/// let (alice, now) = (Context::user("alice"), Timestamp::now());
/// assert!(memory.answer(&Query::new(&alice, now)).is_enabled("dark_mode"));
/// # Ok::<(), tower_flags::Problem>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Query<'a> {
    /// Who asks.
    pub context: &'a Context,
    /// When. Schedules and the expiry of forced answers are read at this instant.
    pub now: Timestamp,
    /// The answers that are forced, in descending order of precedence.
    pub forced: &'a [Forced],
    /// The answers of layers around, whose disabled flags are off here too.
    pub(crate) around: &'a [&'a Answers],
}

impl<'a> Query<'a> {
    /// Asks for this caller at this instant, with nothing forced.
    #[must_use]
    pub fn new(context: &'a Context, now: Timestamp) -> Self {
        Self { context, now, forced: &[], around: &[] }
    }

    /// The same question with these answers forced. Of several entries for one flag the first counts.
    #[must_use]
    pub fn forced(self, forced: &'a [Forced]) -> Self {
        Self { forced, ..self }
    }

    /// The same question inside of these answers: a flag that is disabled there is off.
    #[must_use]
    pub fn inside(self, around: &'a [&'a Answers]) -> Self {
        Self { around, ..self }
    }
}

/// An answer that is forced from outside of the flag set: step 3 of the order of deciding.
///
/// ```
/// use tower_flags::engine::{Forced, ForcedBy, Query, Reason};
/// use tower_flags::{Context, Timestamp, Memory, Source};
///
/// let memory = Memory::new();
/// memory.set("new_cart", false)?;
/// memory.set("new_search", r#"{"percentage": 0}"#)?;
/// let forced = [Forced::new("new_search", true, ForcedBy::Upstream), Forced::new("new_cart", true, ForcedBy::Upstream)];
/// let anyone = Context::anonymous();
/// let answers = memory.answer(&Query::new(&anyone, Timestamp::now()).forced(&forced));
/// assert_eq!(answers.evaluation("new_search").reason, Reason::Upstream);
/// assert!(!answers.is_enabled("new_cart"), "a disabled flag stays off");
/// # Ok::<(), tower_flags::Problem>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forced {
    /// The flag's name.
    pub flag: String,
    /// Whether it is on. A flag that is disabled in its definition stays off.
    pub enabled: bool,
    /// The variant, where it is on; without one, or with an unknown one, the weights choose. The flags of another engine have
    /// no weights: there it is none.
    pub variant: Option<String>,
    /// Who forces it.
    pub by: ForcedBy,
    /// The only user whom it is for; `None` for every user.
    pub only_for: Option<String>,
    /// The instant from which on it is void; `None` for as long as the request lives.
    pub until: Option<Timestamp>,
}

impl Forced {
    /// Forces a flag on or off, for every user, as long as the request lives.
    #[must_use]
    pub fn new(flag: impl Into<String>, enabled: bool, by: ForcedBy) -> Self {
        Self { flag: flag.into(), enabled, variant: None, by, only_for: None, until: None }
    }

    /// Forces this variant, too.
    #[must_use]
    pub fn with_variant(mut self, variant: impl Into<String>) -> Self {
        self.variant = Some(variant.into());
        self
    }
}

/// Who forces an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForcedBy {
    /// A tester's signed override. Only flags that are `overridable` can be forced so.
    Override,
    /// The calling service's decision.
    Upstream,
}

impl ForcedBy {
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Override => Reason::Override,
            Self::Upstream => Reason::Upstream,
        }
    }
}
