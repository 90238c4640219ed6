//! One flag set decided for one query.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::bucketing::Bucket;
use super::entry::{Entry, WrongType};
use super::lazy::LazyResults;
use super::readable::{Readable, Reader};
use super::reason::{Evaluation, Reason};
use super::set::{Decision, FlagSet, ForcedAt, Results, decide_all, decide_one, ones, put, turn_off};
use crate::context::Context;
use crate::document::{DeclaredFlag, Flag, FlagName, Timestamp, Variant};

/// Every flag of one set, decided for one [`Query`](crate::engine::Query). Pure data: equal sets and queries have equal answers.
///
/// Set, caller and instant are fixed from the start; the work is done at the first look, and for one or two flags that are
/// read alone only for these. Whenever and on whichever thread that is, the answers are the same.
///
/// Within a request, read them through [`Flags`](crate::Flags), which also has the answers of the layers around. On their
/// own they are for code that decides outside of requests:
///
/// ```
/// use tower_flags::{Context, Memory, Source};
///
/// let memory = Memory::new();
/// memory.set("nightly_report", true)?;
/// let answers = memory.flags(&Context::user("billing"));
/// assert!(answers.is_enabled("nightly_report"));
/// # Ok::<(), tower_flags::Problem>(())
/// ```
///
/// # Answers of another engine
///
/// Compile a [`FlagSet`] from the names, variants and values of the engine once per update, by
/// [`FlagSet::builder`]. For each request, write the results by number:
///
/// ```
/// use tower_flags::engine::{Answers, FlagSet, Query, Reason};
/// use tower_flags::{Context, Timestamp};
///
/// let set = FlagSet::builder().flag("search").variant("pricing", "higher", 1.2).build();
/// let (search, pricing) = (set.number("search").unwrap(), set.number("pricing").unwrap());
///
/// let alice = Context::user("alice");
/// let mut answers = Answers::of(&set, &Query::new(&alice, Timestamp::now()));
/// answers.set(search, true);
/// answers.set_variant(pricing, "higher");
/// assert!(answers.is_enabled("search"));
/// assert_eq!(answers.value::<f64>("pricing").unwrap(), Some(1.2));
/// assert_eq!(answers.evaluation("search").reason, Reason::Engine);
/// ```
#[derive(Clone)]
pub struct Answers {
    set: Arc<FlagSet>,
    context: Context,
    now: Timestamp,
    /// In ascending order of flags.
    forced: Box<[ForcedAt]>,
    decided: LazyResults,
    /// The reasons that another engine gave, by number; empty where it gave none.
    reasons: Box<[Reason]>,
}

impl Answers {
    /// The answers of a set for a caller, with these forced, which are in ascending order of flags.
    pub(super) fn decide_with(set: Arc<FlagSet>, context: Context, now: Timestamp, forced: Box<[ForcedAt]>) -> Self {
        Self { set, context, now, forced, decided: LazyResults::default(), reasons: Box::default() }
    }

    /// The results of all flags.
    #[inline]
    fn results(&self) -> &Results {
        match self.decided.decided() {
            Some(results) => results,
            None => self.decide_now(),
        }
    }

    #[inline(never)]
    fn decide_now(&self) -> &Results {
        self.decided.decide(|| decide_all(&self.set, &self.context, &self.forced))
    }

    #[cfg(test)]
    pub(super) fn is_decided(&self) -> bool {
        self.decided.decided().is_some()
    }

    fn change_results(&mut self, change: impl FnOnce(&FlagSet, &[ForcedAt], &mut Results)) {
        let Self { set, context, forced, decided, .. } = self;
        decided.change(|| decide_all(set, context, forced), |results| change(set, forced, results));
    }

    /// Decides every flag now, where it is known that all will be asked for.
    pub(crate) fn decide_all(&self) {
        let _all = self.results();
    }

    /// The decision of one flag, where it is decided alone.
    #[inline]
    fn decided_alone(&self, number: u32) -> Option<Decision> {
        if self.decided.decided().is_some() { None } else { self.decide_alone(number) }
    }

    #[inline(never)]
    fn decide_alone(&self, number: u32) -> Option<Decision> {
        // What requires others is decided after them.
        let is_alone = !self.set.is_of_engine() && self.set.definition(number).is_none_or(Flag::requires_nothing);
        if !is_alone || !self.decided.takes_one_alone() {
            return None;
        }
        Some(decide_one(&self.set, number, &self.context, self.now, self.forced_at(number), |_, _| false))
    }

    /// Sets the result of a flag by its [number](FlagSet::number). A flag that the query forces keeps its answer.
    ///
    /// # Panics
    ///
    /// If the set has no flag of this number.
    pub fn set(&mut self, number: u32, enabled: bool) -> &mut Self {
        self.check(number);
        self.give(number, enabled, None)
    }

    /// Sets a flag on, with a variant of the set. A variant that the set does not have counts as none.
    ///
    /// # Panics
    ///
    /// If the set has no flag of this number.
    pub fn set_variant(&mut self, number: u32, variant: &str) -> &mut Self {
        self.check(number);
        let variant = self.set.definition(number).and_then(|flag| flag.variant_number(variant));
        self.give(number, true, variant)
    }

    /// Sets why a flag is as it is; [`Reason::Engine`] unless set. With [`Reason::Disabled`] the flag is off, and nothing
    /// can force it on. With a [default](Reason::is_default) reason its readers get their own default, unless the query
    /// forces it.
    ///
    /// # Panics
    ///
    /// If the set has no flag of this number.
    pub fn set_reason(&mut self, number: u32, reason: Reason) -> &mut Self {
        self.check(number);
        if self.reasons.is_empty() {
            self.reasons = vec![Reason::Engine; self.set.len()].into_boxed_slice();
        }
        self.reasons[number as usize] = reason;
        if reason == Reason::Disabled {
            self.turn_off(&[number]);
        }
        self
    }

    fn give(&mut self, number: u32, enabled: bool, variant: Option<u8>) -> &mut Self {
        if self.forced_at(number).is_none() {
            self.change_results(|set, _, results| put(set, results, number, enabled, variant));
        }
        self
    }

    #[track_caller]
    fn check(&self, number: u32) {
        let len = self.set.len();
        assert!((number as usize) < len, "expected the number of a flag, below {len}, found {number}");
    }

    /// Whether the flag is on; `false` for names that the set does not have.
    #[must_use]
    pub fn is_enabled(&self, name: impl FlagName) -> bool {
        self.is_enabled_or(&name, name.default_answer())
    }

    /// Whether the flag is on, or `default` where no usable definition answers: [`Reason::is_default`].
    #[must_use]
    pub fn is_enabled_or(&self, name: impl FlagName, default: bool) -> bool {
        self.set.number(name.name()).map_or(default, |number| self.answer(number, default))
    }

    /// The name of the variant that is served, if the flag is on and has variants.
    #[must_use]
    pub fn variant(&self, name: impl FlagName) -> Option<&str> {
        self.variant_at(self.set.number(name.name())?).map(Variant::name)
    }

    /// The value of the variant that is served; `Ok(None)` where there is no variant or it has no value.
    ///
    /// # Errors
    ///
    /// The value is not a `T`. Nothing is coerced.
    pub fn value<T: DeserializeOwned>(&self, name: impl FlagName) -> Result<Option<T>, WrongType> {
        let name = name.name();
        let variant = self.set.number(name).and_then(|number| self.variant_at(number));
        variant.map_or(Ok(None), |variant| value_of(name, variant))
    }

    /// The value of the variant that is served, or `default` where there is none, or one of another type;
    /// [`value`](Self::value) returns an error for that.
    ///
    /// ```
    /// use tower_flags::{Context, Memory, Source};
    ///
    /// let memory = Memory::new();
    /// memory.set("pricing", r#"{"enabled": true, "variants": {"higher": {"weight": 100, "value": 1.2}}}"#)?;
    /// let answers = memory.flags(&Context::user("alice"));
    /// assert_eq!(answers.value_or("pricing", 1.0), 1.2);
    /// assert_eq!(answers.value_or("pricing", String::from("text")), "text");
    /// # Ok::<(), tower_flags::Problem>(())
    /// ```
    #[must_use]
    pub fn value_or<T: DeserializeOwned>(&self, name: impl FlagName, default: T) -> T {
        self.value(name).ok().flatten().unwrap_or(default)
    }

    /// The answer of a declared flag in its own type: `bool`, or the enum of its variants.
    #[must_use]
    pub fn get<T: Readable>(&self, flag: DeclaredFlag<T>) -> T {
        T::read(self, flag.declaration())
    }

    /// One answer with its reason and bucket, decided again from the same set and query.
    #[must_use]
    pub fn evaluation(&self, name: impl FlagName) -> Evaluation {
        match self.set.number(name.name()) {
            Some(number) => self.evaluation_at(number),
            None => Evaluation::off(self.set.absent()),
        }
    }

    /// The names of the flags that are on, in ascending byte order.
    pub fn active(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|entry| entry.enabled).map(|entry| entry.name)
    }

    /// Every flag with its answer, in ascending byte order of names.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.decide_all();
        (0..self.len()).map(|number| self.entry(number))
    }

    /// The caller whom they are for.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The instant that they were decided for.
    #[must_use]
    pub fn instant(&self) -> Timestamp {
        self.now
    }

    /// The set that was decided.
    #[must_use]
    pub fn flag_set(&self) -> &Arc<FlagSet> {
        &self.set
    }

    /// The number of the set in this process: raised by one at each swap; 0 before the first load.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.set.version()
    }

    /// The store's own version or digest of the set, which processes can compare.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.set.revision()
    }

    /// How many flags there are.
    pub(crate) fn len(&self) -> u32 {
        // A document has at most 10,000 flags.
        self.set.len() as u32
    }

    #[inline]
    pub(crate) fn is_on(&self, number: u32) -> bool {
        match self.decided_alone(number) {
            Some(decision) => decision.enabled,
            None => self.results().is_on(number),
        }
    }

    /// A word of the results, one bit a flag: those that are on among these.
    #[inline]
    pub(crate) fn on_among(&self, flags: u64, at: u32) -> u64 {
        match self.decided.decided() {
            Some(results) => results.on()[at as usize] & flags,
            None => self.on_among_undecided(flags, at),
        }
    }

    #[inline(never)]
    fn on_among_undecided(&self, flags: u64, at: u32) -> u64 {
        if !flags.is_power_of_two() {
            return if flags == 0 { 0 } else { self.results().on()[at as usize] & flags };
        }
        let number = at * 64 + flags.trailing_zeros();
        // The last word has bits that stand for no flag.
        if number < self.len() && self.is_on(number) { flags } else { 0 }
    }

    /// The answer, or the reader's default where no usable definition answers.
    #[inline]
    pub(crate) fn answer(&self, number: u32, default: bool) -> bool {
        if self.is_usable(number) { self.is_on(number) } else { default }
    }

    /// Whether a usable definition answers, or the answer is forced.
    fn is_usable(&self, number: u32) -> bool {
        match self.reasons.get(number as usize) {
            Some(reason) => !reason.is_default() || self.forced_at(number).is_some(),
            None => self.set.definition(number).is_some() || self.is_killed(number),
        }
    }

    pub(crate) fn variant_at(&self, number: u32) -> Option<&Variant> {
        if self.set.variant_slots() == 0 {
            return None;
        }
        let slot = self.set.variant_slot(number)?;
        let position = match self.decided_alone(number) {
            Some(decision) => decision.variant?,
            None => self.results().variant(slot)?,
        };
        self.set.definition(number)?.variants().get(usize::from(position))
    }

    pub(crate) fn entry(&self, number: u32) -> Entry<'_> {
        Entry {
            name: self.set.name(number),
            enabled: self.is_on(number),
            variant: self.variant_at(number).map(Variant::name),
            is_hidden: self.set.is_hidden(number),
        }
    }

    pub(crate) fn evaluation_at(&self, number: u32) -> Evaluation {
        let set = &*self.set;
        let decision = match self.given_at(number) {
            Some(given) => given,
            None => decide_one(set, number, &self.context, self.now, self.forced_at(number), |number, variant| {
                self.is_on(number) && (variant.is_none() || self.variant_at(number).map(Variant::name) == variant)
            }),
        };
        let variant = decision.variant.and_then(|variant| set.definition(number)?.variants().get(usize::from(variant)));
        Evaluation {
            enabled: decision.enabled,
            variant: variant.map(|variant| variant.name().to_owned()),
            value: variant.and_then(|variant| variant.value().cloned()),
            reason: decision.reason,
            bucket: decision.bucket.map(Bucket::thousandths),
            percentage: decision.percentage,
        }
    }

    /// The decision of another engine, unless it was forced.
    fn given_at(&self, number: u32) -> Option<Decision> {
        if !self.set.is_of_engine() || self.forced_at(number).is_some() {
            return None;
        }
        let reason = self.reasons.get(number as usize).copied().unwrap_or(Reason::Engine);
        let variant = self.set.variant_slot(number).and_then(|slot| self.results().variant(slot));
        Some(Decision { variant, ..Decision::new(self.is_on(number), reason) })
    }

    /// The forced answer of a flag.
    pub(crate) fn forced_at(&self, number: u32) -> Option<&ForcedAt> {
        ForcedAt::of(&self.forced, number)
    }

    pub(crate) fn forced(&self) -> &[ForcedAt] {
        &self.forced
    }

    /// Whether a flag is off whatever is asked: disabled here, or around.
    pub(crate) fn is_killed(&self, number: u32) -> bool {
        self.set.is_killed(number)
            || self.reasons.get(number as usize) == Some(&Reason::Disabled)
            || self.forced_at(number).is_some_and(|entry| entry.reason == Reason::Disabled)
    }

    /// The flags that this set disables, by name.
    pub(super) fn killed(&self) -> impl Iterator<Item = &str> {
        let own = ones(self.set.killed().words());
        let given = self.reasons.iter().zip(0..).filter(|(reason, _)| **reason == Reason::Disabled);
        own.chain(given.map(|(_, number)| number)).map(|number| self.set.name(number))
    }

    /// These answers inside of others that disable some of their flags; `None` where that changes nothing.
    pub(crate) fn without_killed(&self, killer: &Self) -> Option<Self> {
        let numbers: Vec<u32> = killer.killed().filter_map(|name| self.set.number(name)).collect();
        // Readers of a flag that is not usable could have it on, by their own default.
        if !numbers.iter().any(|&number| self.is_on(number) || !self.is_usable(number)) {
            return None;
        }
        let mut answers = self.clone();
        answers.turn_off(&numbers);
        Some(answers)
    }

    /// The same answers with these forced, too, except flags that are disabled or forced already.
    pub(super) fn with_more_forced(mut self, forced: &[ForcedAt]) -> Self {
        let is_free = |entry: &&ForcedAt| !self.is_killed(entry.flag) && self.forced_at(entry.flag).is_none();
        let new: Vec<ForcedAt> = forced.iter().filter(is_free).copied().collect();
        self.change_results(|set, _, results| {
            new.iter().for_each(|entry| put(set, results, entry.flag, entry.enabled, entry.variant));
        });
        self.forced = by_flag(self.forced.iter().copied().chain(new));
        self
    }

    fn turn_off(&mut self, numbers: &[u32]) {
        self.forced = by_flag(numbers.iter().map(|&number| ForcedAt::kill(number)).chain(self.forced.iter().copied()));
        self.change_results(|set, forced, results| turn_off(set, forced, numbers, results));
    }
}

/// The value of a variant in the type of the reader.
pub(crate) fn value_of<T: DeserializeOwned>(name: &str, variant: &Variant) -> Result<Option<T>, WrongType> {
    let Some(value) = variant.value() else { return Ok(None) };
    T::deserialize(value).map(Some).map_err(|error| WrongType::new(name, &error))
}

/// Forced answers in ascending order of flags; of several for one flag the first.
pub(super) fn by_flag(forced: impl Iterator<Item = ForcedAt>) -> Box<[ForcedAt]> {
    let mut forced: Vec<ForcedAt> = forced.collect();
    forced.sort_by_key(|entry| entry.flag);
    forced.dedup_by_key(|entry| entry.flag);
    forced.into_boxed_slice()
}

impl<'a> IntoIterator for &'a Answers {
    type Item = Entry<'a>;
    type IntoIter = std::vec::IntoIter<Entry<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter().collect::<Vec<_>>().into_iter()
    }
}

impl Reader for Answers {
    fn is_enabled_or(&self, name: &str, default: bool) -> bool {
        Answers::is_enabled_or(self, name, default)
    }

    fn variant(&self, name: &str) -> Option<&str> {
        Answers::variant(self, name)
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let active: Vec<&str> = self.active().collect();
        f.debug_struct("Answers").field("version", &self.version()).field("active", &active).finish_non_exhaustive()
    }
}
