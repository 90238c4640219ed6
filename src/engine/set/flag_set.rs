//! A document compiled for many requests.

use std::sync::Arc;

use super::bits::Bits;
use super::core::{Core, Tables};
use super::identity::{Identity, SourceId};
use super::joined_names::JoinedNames;
use super::plan::Plan;
use super::settle::Settlement;
use crate::document::{Definition, Document, Flag, FlagName, Problem, Timestamp};
use crate::engine::reason::Reason;

/// A compiled, immutable set of flags: the answers to every question about them except who asks.
///
/// Made by sources; on its own it serves applications that decide outside of requests.
///
/// ```
/// use tower_flags::engine::Query;
/// use tower_flags::{Context, Document, FlagSet, Timestamp};
///
/// let document = Document::from_json(r#"{"flags": {"search": {"allowed_users": ["alice"]}}}"#)?;
/// let now: Timestamp = "2026-12-01T09:00:00Z".parse().unwrap();
/// let set = FlagSet::compile(&document, now);
/// assert!(set.answer(&Query::new(&Context::user("alice"), now)).is_enabled("search"));
/// assert!(!set.answer(&Query::new(&Context::user("bob"), now)).is_enabled("search"));
/// # Ok::<(), tower_flags::Problem>(())
/// ```
#[derive(Debug)]
pub struct FlagSet {
    core: Arc<Core>,
    plan: Plan,
}

impl FlagSet {
    /// Compiles a document. Flags whose `requires` are unknown, cyclic or too deep, and those whose regular expressions
    /// are over a budget, are refused one by one; [`problems`](Self::problems) names them together with those of the
    /// document.
    #[must_use]
    pub fn compile(document: &Document, now: Timestamp) -> Arc<Self> {
        Self::compile_after(document, None, Identity { version: 1, ..Identity::default() }, now)
    }

    /// Compiles what follows `previous`, whose definitions stay in force where new ones cannot.
    pub(crate) fn compile_after(
        document: &Document,
        previous: Option<&Self>,
        identity: Identity,
        now: Timestamp,
    ) -> Arc<Self> {
        let settled = Settlement::from(document, previous.map(Self::core));
        Self::of(settled.tables, identity, Reason::Unknown, false, now)
    }

    /// The same, and leaves in the document what is used instead of flags whose patterns are over a budget, with the
    /// problems: a document that is merged with others has to say itself what it refuses. A flag whose `requires` cannot
    /// be met stays as it is, since another document may have what it requires.
    pub(crate) fn compile_and_settle(
        document: &mut Document,
        previous: Option<&Self>,
        identity: Identity,
        now: Timestamp,
    ) -> Arc<Self> {
        let Settlement { tables, unfit } = Settlement::from(document, previous.map(Self::core));
        for (name, used, problem) in unfit {
            document.flags.insert(name, used);
            document.problems.push(problem);
        }
        Self::of(tables, identity, Reason::Unknown, false, now)
    }

    /// A set without flags; every name is off for the given reason.
    pub(crate) fn empty(absent: Reason, source: SourceId) -> Arc<Self> {
        Self::of(Tables::default(), Identity { source, ..Identity::default() }, absent, false, Timestamp::MIN)
    }

    /// A set whose answers another engine gives.
    pub(super) fn of_engine(tables: Tables, identity: Identity) -> Arc<Self> {
        Self::of(tables, identity, Reason::Unknown, true, Timestamp::MIN)
    }

    fn of(tables: Tables, identity: Identity, absent: Reason, is_of_engine: bool, now: Timestamp) -> Arc<Self> {
        let core = Core::build(tables, identity, absent, is_of_engine);
        let plan = Plan::at(&core, now);
        Arc::new(Self { core: Arc::new(core), plan })
    }

    /// Whether its schedules are resolved for an instant.
    pub(crate) fn holds_at(&self, now: Timestamp) -> bool {
        self.plan.holds_at(now)
    }

    /// This set with its schedules resolved for `now`.
    pub(crate) fn pinned_at(self: &Arc<Self>, now: Timestamp) -> Arc<Self> {
        if self.plan.holds_at(now) {
            return Arc::clone(self);
        }
        Arc::new(Self { core: Arc::clone(&self.core), plan: Plan::at(&self.core, now) })
    }

    /// The instant of the next change by a schedule, if one is to come.
    #[must_use]
    pub fn next_change(&self) -> Option<Timestamp> {
        self.plan.until()
    }

    /// The source the set comes from.
    #[must_use]
    pub fn source(&self) -> SourceId {
        self.core.identity.source
    }

    /// The number of the set in its process: raised by one at each swap; 0 before the first load.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.core.identity.version
    }

    /// The store's own version or digest, which processes can compare.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.core.identity.revision
    }

    /// Everything that is wrong with the definitions in the set.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.core.problems
    }

    /// How many flags there are, refused ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.core.len()
    }

    /// Whether there are no flags.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The definition in force of a flag.
    #[must_use]
    pub fn flag(&self, name: impl FlagName) -> Option<&Flag> {
        self.definition(self.number(name.name())?)
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    /// The number of a flag, by which [`Answers::set`](crate::engine::Answers::set) takes the results of another engine:
    /// its place in ascending byte order of names.
    #[inline]
    #[must_use]
    pub fn number(&self, name: impl FlagName) -> Option<u32> {
        self.core.number(name.name())
    }

    pub(crate) fn name(&self, number: u32) -> &str {
        self.core.name(number)
    }

    pub(crate) fn joined_names(&self) -> &JoinedNames {
        &self.core.joined_names
    }

    pub(crate) fn definition(&self, number: u32) -> Option<&Flag> {
        match &self.core.definitions[number as usize] {
            Definition::Good(flag) => Some(flag),
            Definition::Refused { .. } => None,
        }
    }

    pub(crate) fn is_killed(&self, number: u32) -> bool {
        self.core.killed.get(number)
    }

    pub(crate) fn killed(&self) -> &Bits {
        &self.core.killed
    }

    pub(crate) fn is_hidden(&self, number: u32) -> bool {
        self.core.hidden.get(number)
    }

    pub(crate) fn hidden(&self) -> &Bits {
        &self.core.hidden
    }

    /// Flags whose answer depends on who asks.
    pub(crate) fn varying(&self) -> &Bits {
        &self.plan.varying
    }

    /// The names of all flags, in ascending byte order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.core.names.iter().map(AsRef::as_ref)
    }

    pub(crate) fn absent(&self) -> Reason {
        self.core.absent
    }

    /// Whether another engine decides its flags.
    pub(crate) fn is_of_engine(&self) -> bool {
        self.core.is_of_engine
    }

    /// Flags that have variants.
    pub(crate) fn with_variants(&self) -> &Bits {
        &self.core.with_variants
    }

    /// Slot of a flag's variant in the answers, if it has variants.
    pub(crate) fn variant_slot(&self, number: u32) -> Option<usize> {
        self.core.split.binary_search(&number).ok()
    }

    pub(crate) fn variant_slots(&self) -> usize {
        self.core.split.len()
    }
}
