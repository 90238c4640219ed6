//! From definitions to tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decide::{Forced, ForcedAt, ForcedBy};
use super::hashed::Variants;
use super::patterns::Patterns;
use super::plan::Plan;
use super::settle::{Requirements, Settled};
use crate::engine::context::Context;
use crate::engine::document::Document;
use crate::engine::flag::Flag;
use crate::engine::flags::Flags;
use crate::engine::instant::Instant;
use crate::engine::lists::{Index, Place, Texts};
use crate::engine::name::FlagName;
use crate::engine::problem::Problem;
use crate::engine::read::Definition;
use crate::engine::reason::Reason;

/// Which source a set comes from. Two layers over the same source share the set that a request
/// has pinned. The default is the id of no source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourceId(pub(crate) u64);

/// A compiled, immutable set of flags: the answers to every question about them except who asks.
///
/// Made by sources; on its own it serves applications that decide outside of requests.
///
/// ```
/// use tower_flags::{Context, Document, FlagSet, Instant};
///
/// let document = Document::from_json(r#"{"flags": {"search": {"allowed_users": ["alice"]}}}"#)?;
/// let now: Instant = "2026-12-01T09:00:00Z".parse().unwrap();
/// let set = FlagSet::compile(&document, now);
/// assert!(set.evaluate(&Context::user("alice"), now).is_enabled("search"));
/// assert!(!set.evaluate(&Context::user("bob"), now).is_enabled("search"));
/// # Ok::<(), tower_flags::Problem>(())
/// ```
#[derive(Debug)]
pub struct FlagSet {
    core: Arc<Core>,
    plan: Plan,
}

/// Where a set comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    pub(crate) source: SourceId,
    pub(crate) version: u64,
    pub(crate) origin: String,
}

/// What a set holds whatever the time.
#[derive(Debug)]
pub(super) struct Core {
    identity: Identity,
    /// In ascending byte order; a flag's number is its position.
    names: Box<[Arc<str>]>,
    definitions: Box<[Definition]>,
    by_name: Index,
    pub(super) users: Index,
    pub(super) groups: Index,
    /// Flags that require others, each after those it requires.
    pub(super) requirements: Requirements,
    pub(super) patterns: Patterns,
    /// Flags with variants, ascending; the position is the slot of the variant in the answers.
    pub(super) split: Box<[u32]>,
    pub(super) variants: Variants,
    /// Flags that are switched off.
    killed: Bits,
    hidden: Bits,
    /// Why a name that is not here is off.
    absent: Reason,
    /// Reasons given by a foreign engine, in the order of names; empty for our own sets.
    given_reasons: Box<[Reason]>,
    problems: Box<[Problem]>,
}

/// One bit a flag.
#[derive(Clone, Debug)]
pub(crate) struct Bits(Box<[u64]>);

impl Bits {
    pub(crate) fn zero(flags: usize) -> Self {
        Self(vec![0; flags.div_ceil(64)].into_boxed_slice())
    }

    pub(crate) fn set(&mut self, flag: u32) {
        self.0[flag as usize / 64] |= 1 << (flag % 64);
    }

    pub(crate) fn get(&self, flag: u32) -> bool {
        self.0[flag as usize / 64] >> (flag % 64) & 1 == 1
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.0
    }
}

impl FlagSet {
    /// Compiles a document. Flags whose `requires` are unknown, cyclic or too deep, and those whose regular expressions
    /// are over a budget, are refused one by one; [`problems`](Self::problems) names them together with those of the
    /// document.
    #[must_use]
    pub fn compile(document: &Document, now: Instant) -> Arc<Self> {
        Self::compile_after(document, None, Identity { version: 1, ..Identity::default() }, now)
    }

    /// Compiles what follows `previous`, whose definitions stay in force where new ones cannot.
    pub(crate) fn compile_after(
        document: &Document,
        previous: Option<&Self>,
        identity: Identity,
        now: Instant,
    ) -> Arc<Self> {
        Self::of(Settled::from(document, previous), identity, now)
    }

    /// The same, and leaves in the document what is used instead of flags whose patterns are over a budget, with the
    /// problems: a document that is merged with others has to say itself what it refuses. A flag whose `requires` cannot
    /// be met stays as it is, since another document may have what it requires.
    pub(crate) fn compile_and_settle(
        document: &mut Document,
        previous: Option<&Self>,
        identity: Identity,
        now: Instant,
    ) -> Arc<Self> {
        let mut settled = Settled::from(document, previous);
        for (name, used, problem) in std::mem::take(&mut settled.unfit) {
            document.flags.insert(name, used);
            document.problems.push(problem);
        }
        Self::of(settled, identity, now)
    }

    fn of(settled: Settled, identity: Identity, now: Instant) -> Arc<Self> {
        let core = Core::build(settled, identity, Reason::Unknown, Box::default());
        let plan = Plan::at(&core, now);
        Arc::new(Self { core: Arc::new(core), plan })
    }

    /// A set without flags; every name is off for the given reason.
    pub(crate) fn empty(absent: Reason, source: SourceId) -> Arc<Self> {
        let core = Core::build(Settled::default(), Identity { source, ..Identity::default() }, absent, Box::default());
        let plan = Plan::at(&core, Instant::MIN);
        Arc::new(Self { core: Arc::new(core), plan })
    }

    /// A set whose answers somebody else gave: every flag is static.
    pub(crate) fn given(flags: BTreeMap<Arc<str>, (Arc<Flag>, Reason)>, identity: Identity) -> Arc<Self> {
        let mut settled = Settled::default();
        let mut reasons = Vec::with_capacity(flags.len());
        for (name, (flag, reason)) in flags {
            settled.names.push(name);
            settled.definitions.push(Definition::Good(flag));
            reasons.push(reason);
        }
        let core = Core::build(settled, identity, Reason::Unknown, reasons.into_boxed_slice());
        let plan = Plan::at(&core, Instant::MIN);
        Arc::new(Self { core: Arc::new(core), plan })
    }

    /// Decides every flag for one caller at one instant.
    #[must_use]
    pub fn evaluate(self: &Arc<Self>, context: &Context, now: Instant) -> Flags {
        Flags::decide(self.pinned_at(now), context.clone(), now, Box::default(), None)
    }

    /// Like [`evaluate`](Self::evaluate), with some flags forced from outside (step 3 of the order
    /// of deciding). Of several entries for one flag the first counts; unknown names are passed over, and
    /// so are overrides of flags that are not `overridable`, what is for another user, and what is void.
    #[must_use]
    pub fn evaluate_forced(self: &Arc<Self>, context: &Context, now: Instant, forced: &[Forced]) -> Flags {
        let mut resolved: Vec<ForcedAt> = Vec::with_capacity(forced.len());
        for entry in forced {
            // What is refused has nothing that could be forced.
            let is_for_caller = entry.only_for.as_ref().is_none_or(|user| context.user_id() == Some(user))
                && entry.until.is_none_or(|until| now < until);
            if let Some(flag) = self.number(&entry.flag)
                && is_for_caller
                && self.definition(flag).is_some_and(|flag| entry.by != ForcedBy::Override || flag.is_overridable())
                && resolved.iter().all(|other| other.flag != flag)
            {
                let variant = entry.variant.as_deref().and_then(|name| self.definition(flag)?.variant_number(name));
                resolved.push(ForcedAt { flag, enabled: entry.enabled, variant, reason: entry.by.reason() });
            }
        }
        let requested = (!forced.is_empty()).then(|| forced.into());
        Flags::decide(self.pinned_at(now), context.clone(), now, resolved.into_boxed_slice(), requested)
    }

    /// This set with its schedules resolved for `now`.
    pub(crate) fn pinned_at(self: &Arc<Self>, now: Instant) -> Arc<Self> {
        if self.plan.holds_at(now) {
            return Arc::clone(self);
        }
        Arc::new(Self { core: Arc::clone(&self.core), plan: Plan::at(&self.core, now) })
    }

    /// The instant of the next change by a schedule, if one is to come.
    #[must_use]
    pub fn next_change(&self) -> Option<Instant> {
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
    pub fn origin(&self) -> &str {
        &self.core.identity.origin
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

    #[inline]
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        let candidates = self.core.by_name.candidates(name.as_bytes());
        candidates.iter().find(|place| *self.core.names[place.flag as usize] == *name).map(|place| place.flag)
    }

    pub(crate) fn name(&self, number: u32) -> &str {
        self.core.name(number)
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

    pub(super) fn is_given(&self) -> bool {
        self.core.is_given()
    }

    pub(crate) fn given_reason(&self, number: u32) -> Option<Reason> {
        self.core.given_reasons.get(number as usize).copied()
    }

    /// Slot of a flag's variant in the answers, if it has variants.
    pub(crate) fn variant_slot(&self, number: u32) -> Option<usize> {
        self.core.split.binary_search(&number).ok()
    }

    pub(crate) fn variant_slots(&self) -> usize {
        self.core.split.len()
    }
}

impl Core {
    fn build(settled: Settled, identity: Identity, absent: Reason, given_reasons: Box<[Reason]>) -> Self {
        let Settled { names, definitions, requirements, patterns, problems, unfit: _ } = settled;
        let flags = |wanted: fn(&Flag) -> bool| {
            definitions.iter().zip(0_u32..).filter_map(move |(definition, number)| match definition {
                Definition::Good(flag) if wanted(flag) => Some((number, flag.as_ref())),
                _ => None,
            })
        };
        let index = |list: fn(&Flag) -> Option<&Texts>| {
            Index::build(flags(|flag| flag.enabled).flat_map(move |(flag, definition)| {
                list(definition)
                    .into_iter()
                    .flat_map(|texts| texts.iter().zip(0_u32..))
                    .map(move |(text, entry)| (Place { flag, entry }, text))
            }))
        };
        let by_name =
            Index::build(names.iter().zip(0_u32..).map(|(name, flag)| (Place { flag, entry: 0 }, name.as_ref())));
        let (mut killed, mut hidden) = (Bits::zero(names.len()), Bits::zero(names.len()));
        for (definition, number) in definitions.iter().zip(0_u32..) {
            let is_given_off = given_reasons.get(number as usize) == Some(&Reason::Disabled);
            if definition.is_killed() || is_given_off {
                killed.set(number);
            }
            if definition.is_hidden() {
                hidden.set(number);
            }
        }
        let with_variants = || flags(|flag| !flag.variants.is_empty());
        let split = with_variants().map(|(number, _)| number).collect();
        // What is switched off keeps its slot and is not hashed.
        let hashed = (0..).zip(with_variants()).filter(|(_, (_, flag))| flag.enabled);
        let variants =
            Variants::new(hashed.map(|(slot, (number, flag))| (slot, names[number as usize].as_ref(), flag)));
        Self {
            by_name,
            users: index(|flag| flag.allowed_users.as_ref()),
            groups: index(|flag| flag.allowed_groups.as_ref()),
            requirements,
            patterns,
            split,
            variants,
            killed,
            hidden,
            absent,
            given_reasons,
            problems,
            names: names.into_boxed_slice(),
            definitions: definitions.into_boxed_slice(),
            identity,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn is_given(&self) -> bool {
        !self.given_reasons.is_empty()
    }

    pub(super) fn name(&self, number: u32) -> &str {
        &self.names[number as usize]
    }

    pub(super) fn enabled_flags(&self) -> impl Iterator<Item = (u32, &Flag)> {
        self.definitions.iter().zip(0_u32..).filter_map(|(definition, number)| match definition {
            Definition::Good(flag) if flag.enabled => Some((number, flag.as_ref())),
            _ => None,
        })
    }

    pub(super) fn allows(&self, list: fn(&Flag) -> Option<&Texts>, place: Place, text: &[u8]) -> bool {
        match &self.definitions[place.flag as usize] {
            Definition::Good(flag) => {
                list(flag).is_some_and(|texts| texts.get(place.entry as usize).as_bytes() == text)
            }
            Definition::Refused { .. } => false,
        }
    }
}

impl FlagSet {
    pub(super) fn shared_flag(&self, name: &str) -> Option<&Arc<Flag>> {
        match &self.core.definitions[self.number(name)? as usize] {
            Definition::Good(flag) => Some(flag),
            Definition::Refused { .. } => None,
        }
    }
}
