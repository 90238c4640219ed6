//! The answers of one request.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use serde::de::DeserializeOwned;

use super::builder::FlagsBuilder;
use super::context::Context;
use super::entry::{Entry, WrongType};
use super::flag::Variant;
use super::instant::Instant;
use super::name::FlagName;
use super::reads::{Looks, Recorder};
use super::reason::{Answer, Reason};
use super::set::{FlagSet, Forced, ForcedAt, NO_VARIANT, SourceId, decide_all, decide_one, turn_off};

/// The answers of one request: every flag decided once, from one version of the rules.
///
/// Cheap to clone: all clones are one value, which also remembers what was read. It stays right
/// for as long as it is held, whatever is reloaded meanwhile.
///
/// ```
/// use tower_flags::{Context, Flags};
///
/// let flags = Flags::builder().on("new_search").variant("pricing", "higher", 1.2).build(Context::user("alice"));
/// assert!(flags.is_enabled("new_search"));
/// assert!(!flags.is_enabled("no_such_flag"));
/// assert_eq!(flags.variant("pricing"), Some("higher"));
/// assert_eq!(flags.value::<f64>("pricing")?, Some(1.2));
/// # Ok::<(), tower_flags::engine::WrongType>(())
/// ```
#[derive(Clone)]
pub struct Flags(Arc<Answers>);

/// One allocation: the words behind the head are results, variants and read marks.
struct Answers<W: ?Sized = [AtomicU64]> {
    head: Head,
    words: W,
}

/// What the answers were decided from, and what goes with them.
pub(super) struct Head {
    set: Arc<FlagSet>,
    context: Context,
    now: Instant,
    pub(super) forced: Box<[ForcedAt]>,
    /// What was asked to be forced, by name: for deciding again by other rules.
    requested: Option<Arc<[Forced]>>,
    /// The answers of a layer around this one, for names that the set does not know.
    outer: Option<Flags>,
    /// Where the same caller can be decided again. Weak: answers that are kept keep no source alive.
    home: Option<Weak<dyn Any + Send + Sync>>,
    /// Who wants to know what is asked.
    pub(super) recorder: Option<Arc<dyn Recorder>>,
    /// The source whose place these answers take, where it had none in time.
    stands_for: Option<SourceId>,
    /// The number of the request that these answers belong to; 0 where no layer has made them.
    request: u64,
    /// What was looked at without a mark of its own.
    pub(super) looks: Looks,
}

/// How the words of a set's answers are laid out.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) results: usize,
    pub(super) variants: usize,
}

impl Layout {
    pub(super) fn of(set: &FlagSet) -> Self {
        Self { results: set.len().div_ceil(64), variants: set.variant_slots().div_ceil(8) }
    }

    fn words(self) -> usize {
        2 * self.results + self.variants
    }
}

/// Makes the allocation with room for at least `words` words. Arrays of known size coerce to
/// slices behind the `Arc`, which is the one way to an unsized tail without `unsafe`.
fn allocate(words: usize, head: Head) -> Arc<Answers> {
    macro_rules! sized {
        ($($size:literal)*) => {
            match words {
                $(0..=$size => Arc::new(Answers { head, words: [const { AtomicU64::new(0) }; $size] }),)*
                more => {
                    // A set has at most 10 000 flags, which need 1 564 words.
                    unreachable!("a set of {more} words is larger than any document")
                }
            }
        };
    }
    sized!(2 4 6 8 12 16 24 32 48 64 96 128 192 256 384 512 768 1024 1600)
}

impl Flags {
    /// Decides every flag of a set, which is pinned for `now`.
    pub(crate) fn decide(
        set: Arc<FlagSet>,
        context: Context,
        now: Instant,
        forced: Box<[ForcedAt]>,
        requested: Option<Arc<[Forced]>>,
    ) -> Self {
        let layout = Layout::of(&set);
        let head = Head {
            set,
            context,
            now,
            forced,
            requested,
            outer: None,
            home: None,
            recorder: None,
            stands_for: None,
            request: 0,
            looks: Looks::default(),
        };
        let mut answers = allocate(layout.words(), head);
        if let Some(Answers { head: Head { set, context, forced, .. }, words }) = Arc::get_mut(&mut answers) {
            let (on, rest) = words.split_at_mut(layout.results);
            decide_all(set, context, forced, on, &mut rest[..layout.variants]);
        }
        Self(answers)
    }

    /// Answers without any flag, every name being off for the given reason.
    pub(crate) fn none(context: Context, now: Instant, reason: Reason) -> Self {
        Self::decide(FlagSet::empty(reason, SourceId::default()), context, now, Box::default(), None)
    }

    /// Puts these answers before those of a layer around: its names that are unknown here are
    /// answered by it, and what it has switched off is off here too, together with what requires it.
    pub(crate) fn inside(self, outer: &Self) -> Self {
        let outer = outer.without(&self.killed_names());
        let names = outer.killed_names();
        let kept = self.without(&names);
        drop(self);
        kept.with_head(|head| head.outer = Some(outer.clone()))
    }

    /// These answers with some flags off, and with what requires them off too; the same value where
    /// none of them is on.
    fn without(&self, names: &[&str]) -> Self {
        let outer = self.head().outer.as_ref().map(|outer| (outer, outer.without(names)));
        let set = self.set();
        let numbers: Vec<u32> =
            names.iter().filter_map(|name| set.number(name)).filter(|&number| self.is_on(number)).collect();
        if numbers.is_empty() && outer.as_ref().is_none_or(|(before, after)| before.ptr_eq(after)) {
            return self.clone();
        }
        let mut answers = self.copied();
        if let Some(Answers { head, words }) = Arc::get_mut(&mut answers) {
            let layout = Layout::of(&head.set);
            let (on, rest) = words.split_at_mut(layout.results);
            turn_off(&head.set, &head.forced, &numbers, on, &mut rest[..layout.variants]);
            head.outer = outer.map(|(_, after)| after);
        }
        Self(answers)
    }

    fn copied(&self) -> Arc<Answers> {
        let Head { set, context, now, forced, requested, outer, home, recorder, stands_for, request, looks } =
            self.head();
        let head = Head {
            set: set.clone(),
            context: context.clone(),
            now: *now,
            forced: forced.clone(),
            requested: requested.clone(),
            outer: outer.clone(),
            home: home.clone(),
            recorder: recorder.clone(),
            stands_for: *stands_for,
            request: *request,
            looks: looks.clone(),
        };
        let copy = allocate(self.0.words.len(), head);
        for (word, copied) in copy.words.iter().zip(&self.0.words) {
            word.store(copied.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        copy
    }

    /// These answers with something else beside them. Somebody may hold them already; they keep what
    /// they have.
    fn with_head(mut self, change: impl FnOnce(&mut Head)) -> Self {
        if Arc::get_mut(&mut self.0).is_none() {
            self.0 = self.copied();
        }
        if let Some(answers) = Arc::get_mut(&mut self.0) {
            change(&mut answers.head);
        }
        self
    }

    /// Says where the same caller can be decided again, of answers that nobody else holds yet and that
    /// do not know it; others keep what they have.
    pub(crate) fn at_home(mut self, home: impl FnOnce() -> Weak<dyn Any + Send + Sync>) -> Self {
        if let Some(Answers { head: Head { home: slot @ None, .. }, .. }) = Arc::get_mut(&mut self.0) {
            *slot = Some(home());
        }
        self
    }

    /// Makes these answers part of a request. A source may give the same value to several requests; each request then
    /// gets a copy with its own read marks.
    pub(crate) fn of_request(self, request: u64) -> Self {
        if self.request() == request { self } else { self.with_head(|head| head.request = request) }
    }

    /// The number of the request that these answers belong to; 0 where no layer has made them.
    pub(crate) fn request(&self) -> u64 {
        self.head().request
    }

    /// Tells somebody what is asked of these answers.
    #[cfg(feature = "testing")]
    pub(crate) fn recorded_by(self, recorder: Arc<dyn Recorder>) -> Self {
        self.with_head(|head| head.recorder = Some(recorder))
    }

    /// These answers with what is asked to be forced, and can be: decided anew by the same rules, for
    /// the same caller and instant.
    pub(crate) fn with_forced(&self, forced: &[Forced]) -> Self {
        let decided = self.set().evaluate_forced(self.context(), self.instant(), forced);
        let Head { outer, home, recorder, stands_for, request, .. } = self.head();
        // What is switched off around stays off.
        let decided = match outer {
            Some(outer) => decided.inside(outer),
            None => decided,
        };
        decided.with_head(|head| {
            head.home.clone_from(home);
            head.recorder.clone_from(recorder);
            head.stands_for = *stands_for;
            head.request = *request;
        })
    }

    /// Says that these answers take the place of a source's, which had none in time: for this request they
    /// are its answers.
    pub(crate) fn standing_for(self, source: Option<SourceId>) -> Self {
        if source.is_none() || source == Some(self.set().source()) {
            return self;
        }
        self.with_head(|head| head.stands_for = source)
    }

    fn is_of(&self, source: SourceId) -> bool {
        self.set().source() == source || self.head().stands_for == Some(source)
    }

    /// What was asked to be forced, by name, whether or not these rules know it.
    pub(crate) fn requested(&self) -> &[Forced] {
        self.head().requested.as_deref().unwrap_or_default()
    }

    /// The flags that a tester's override has decided, each with its answer; a layer's around included.
    pub(crate) fn overrides(&self) -> Vec<Entry<'_>> {
        let forced = self.head().forced.iter().filter(|entry| entry.reason == Reason::Override);
        let own = forced.filter(|entry| !self.is_killed(self.set().name(entry.flag)));
        let mut overrides: Vec<Entry<'_>> = own.map(|entry| self.entry(entry.flag)).collect();
        if let Some(outer) = self.outer() {
            let unknown = outer.overrides().into_iter().filter(|entry| self.set().number(entry.name).is_none());
            overrides.extend(unknown);
        }
        overrides.sort_unstable_by_key(|entry| entry.name);
        overrides
    }

    /// Where the same caller can be decided again, as long as that is there.
    pub(crate) fn home<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.head().home.as_ref()?.upgrade()?.downcast().ok()
    }

    /// The answers of a layer around, where there is one with another source.
    pub(crate) fn outer(&self) -> Option<&Self> {
        self.head().outer.as_ref()
    }

    /// The answers for this caller by a source that has taken part in these: the same value where it
    /// is all theirs, else decided from the set that it has pinned.
    pub(crate) fn decided_by(&self, source: SourceId, context: &Context) -> Option<Self> {
        if source == SourceId::default() {
            return None;
        }
        if self.is_of(source) {
            if self.context() == context {
                return Some(self.clone());
            }
            let flags = self.set().evaluate_forced(context, self.instant(), self.requested());
            let flags = flags.standing_for(self.head().stands_for);
            return Some(match self.outer() {
                Some(outer) => flags.inside(outer),
                None => flags,
            });
        }
        // A layer between has its own answers for names that both know.
        let pinned = self.outer()?.pinned_by(source)?;
        let flags = pinned.set().evaluate_forced(context, self.instant(), pinned.requested());
        Some(flags.inside(self))
    }

    /// The answers of that source among these and those of the layers around.
    fn pinned_by(&self, source: SourceId) -> Option<&Self> {
        if self.is_of(source) {
            return Some(self);
        }
        self.outer()?.pinned_by(source)
    }

    fn killed_names(&self) -> Vec<&str> {
        let set = self.set();
        let own = ones(set.killed().words()).map(|number| set.name(number));
        let outer = self.outer().map(Self::killed_names).unwrap_or_default();
        own.chain(outer).collect()
    }

    /// A builder for answers that somebody else has decided: foreign engines, and tests.
    pub fn builder() -> FlagsBuilder {
        FlagsBuilder::default()
    }

    /// Whether the flag is on for the caller; `false` for names that no flag has.
    #[must_use]
    pub fn is_enabled(&self, name: impl FlagName) -> bool {
        self.is_enabled_or(&name, name.default_answer())
    }

    /// Whether the flag is on for the caller, or `default` where no usable definition says so:
    /// [`Reason::is_default`].
    #[must_use]
    pub fn is_enabled_or(&self, name: impl FlagName, default: bool) -> bool {
        self.answer(name.name(), default)
    }

    #[inline]
    fn answer(&self, name: &str, default: bool) -> bool {
        match self.set().number(name) {
            Some(number) => {
                self.mark_read(number);
                if self.is_usable(number) { self.is_on(number) } else { default }
            }
            None => self.asked_outside(name).map_or(default, |outer| outer.answer(name, default)),
        }
    }

    /// The name of the variant the caller is served, if the flag is on and has variants.
    #[must_use]
    pub fn variant(&self, name: impl FlagName) -> Option<&str> {
        self.served(name.name()).map(Variant::name)
    }

    /// The value of the variant the caller is served. `Ok(None)` where there is no variant or it has
    /// no value.
    ///
    /// # Errors
    ///
    /// A value that is not a `T`: nothing is coerced, so `1.5` is not an integer and `1` is no text.
    pub fn value<T: DeserializeOwned>(&self, name: impl FlagName) -> Result<Option<T>, WrongType> {
        let name = name.name();
        let Some(value) = self.served(name).and_then(Variant::value) else { return Ok(None) };
        T::deserialize(value).map(Some).map_err(|error| WrongType::new(name, &error))
    }

    /// The value of the variant served, without a mark.
    pub(super) fn value_served(&self, name: &str) -> Option<&serde_json::Value> {
        match self.set().number(name) {
            Some(number) => self.variant_of(number)?.value(),
            None => self.outer()?.value_served(name),
        }
    }

    fn served(&self, name: &str) -> Option<&Variant> {
        match self.set().number(name) {
            Some(number) => {
                self.mark_read(number);
                self.variant_of(number)
            }
            None => self.asked_outside(name)?.served(name),
        }
    }

    /// Whether a usable definition says something about the flag.
    pub(super) fn is_usable(&self, number: u32) -> bool {
        let set = self.set();
        match set.given_reason(number) {
            Some(reason) => !reason.is_default(),
            None => set.definition(number).is_some() || set.is_killed(number),
        }
    }

    /// One answer with its reason and bucket, decided again from the same rules, caller and instant.
    #[must_use]
    pub fn evaluation(&self, name: impl FlagName) -> Answer {
        let Head { set, context, now, forced, outer, .. } = self.head();
        let name = name.name();
        let Some(number) = set.number(name) else {
            return self.asked_outside(name).map_or_else(|| Answer::off(set.absent()), |outer| outer.evaluation(name));
        };
        self.mark_read(number);
        if outer.as_ref().is_some_and(|outer| outer.is_killed(name)) {
            return Answer::off(Reason::Disabled);
        }
        let decision = decide_one(set, number, context, *now, forced, |number, variant| {
            self.is_on(number) && (variant.is_none() || self.variant_of(number).map(Variant::name) == variant)
        });
        let variant = decision.variant.and_then(|variant| set.definition(number)?.variants().get(usize::from(variant)));
        Answer {
            enabled: decision.enabled,
            variant: variant.map(|variant| variant.name().to_owned()),
            value: variant.and_then(|variant| variant.value().cloned()),
            reason: decision.reason,
            bucket: decision.bucket.map(super::bucketing::Bucket::thousandths),
            percentage: decision.percentage,
        }
    }

    /// The names of the flags that are on for the caller, in ascending byte order. All flags count
    /// as read.
    pub fn active(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|entry| entry.enabled).map(|entry| entry.name)
    }

    /// Every flag with its answer, in ascending byte order of names. All flags count as read.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.mark_all_read();
        self.entries()
    }

    /// Like [`iter`](Self::iter) without marking anything as read.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let set = self.set();
        let own = (0_u32..).take(set.len()).map(|number| self.entry(number));
        // Few requests pass two layers with different sources; only those merge.
        let merged = self.outer().map(|outer| {
            let mut merged: Vec<Entry<'_>> = (0_u32..).take(set.len()).map(|number| self.entry(number)).collect();
            let unknown: Vec<Entry<'_>> =
                outer.boxed_entries().filter(|entry| set.number(entry.name).is_none()).collect();
            merged.extend(unknown);
            merged.sort_unstable_by(|a, b| a.name.cmp(b.name));
            merged
        });
        let own = own.take(if merged.is_some() { 0 } else { usize::MAX });
        own.chain(merged.into_iter().flatten())
    }

    /// The same behind a pointer, where a layer is inside a layer inside a layer.
    fn boxed_entries(&self) -> Box<dyn Iterator<Item = Entry<'_>> + '_> {
        Box::new(self.entries())
    }

    /// The caller these answers are for.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.head().context
    }

    /// The instant they were decided for.
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.head().now
    }

    /// The number of the rules in this process: raised by one at each swap; 0 before the first load.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.set().version()
    }

    /// The store's own version or digest of the rules, which processes can compare.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.set().origin()
    }

    /// The rules these answers come from.
    #[must_use]
    pub fn set(&self) -> &Arc<FlagSet> {
        &self.head().set
    }

    /// Whether both are one value, not only equal answers.
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn words(&self) -> &[AtomicU64] {
        &self.0.words
    }

    pub(super) fn head(&self) -> &Head {
        &self.0.head
    }

    #[inline]
    pub(super) fn is_on(&self, number: u32) -> bool {
        self.0.words[number as usize / 64].load(Ordering::Relaxed) >> (number % 64) & 1 == 1
    }

    fn is_killed(&self, name: &str) -> bool {
        self.set().number(name).is_some_and(|number| self.set().is_killed(number))
            || self.outer().is_some_and(|outer| outer.is_killed(name))
    }

    fn is_hidden(&self, name: &str) -> bool {
        self.set().number(name).is_some_and(|number| self.set().is_hidden(number))
            || self.outer().is_some_and(|outer| outer.is_hidden(name))
    }

    pub(super) fn variant_of(&self, number: u32) -> Option<&Variant> {
        if self.set().variant_slots() == 0 {
            return None;
        }
        let slot = self.set().variant_slot(number)?;
        let word = self.0.words[Layout::of(self.set()).results + slot / 8].load(Ordering::Relaxed);
        let position = ((word >> (slot % 8 * 8)) as u8).checked_sub(NO_VARIANT + 1)?;
        self.set().definition(number)?.variants().get(usize::from(position))
    }

    fn entry(&self, number: u32) -> Entry<'_> {
        let set = self.set();
        Entry {
            name: set.name(number),
            enabled: self.is_on(number),
            variant: self.variant_of(number).map(Variant::name),
            is_hidden: self.is_hidden(set.name(number)),
        }
    }
}

/// The positions of the bits that are set.
pub(super) fn ones(words: &[u64]) -> impl Iterator<Item = u32> + '_ {
    words.iter().zip(0_u32..).flat_map(|(&word, at)| {
        let mut rest = word;
        std::iter::from_fn(move || {
            let bit = (rest != 0).then(|| rest.trailing_zeros())?;
            rest &= rest - 1;
            Some(at * 64 + bit)
        })
    })
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let active: Vec<&str> = self.entries().filter(|entry| entry.enabled).map(|entry| entry.name).collect();
        f.debug_struct("Flags").field("version", &self.version()).field("active", &active).finish_non_exhaustive()
    }
}
