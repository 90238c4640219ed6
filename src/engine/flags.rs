//! The answers of one request.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use serde::de::DeserializeOwned;

use super::builder::FlagsBuilder;
use super::context::Context;
use super::flag::Variant;
use super::instant::Instant;
use super::reason::{Answer, Reason};
use super::set::{FlagSet, ForcedAt, NO_VARIANT, SourceId, decide_all, decide_one, turn_off};

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
    set: Arc<FlagSet>,
    context: Context,
    now: Instant,
    forced: Box<[ForcedAt]>,
    /// The answers of a layer around this one, for names that the set does not know.
    outer: Option<Flags>,
    /// Where the same caller can be decided again. Weak: answers that are kept keep no source alive.
    home: Option<Weak<dyn Any + Send + Sync>>,
    words: W,
}

/// How the words of a set's answers are laid out.
#[derive(Clone, Copy)]
struct Layout {
    results: usize,
    variants: usize,
}

impl Layout {
    fn of(set: &FlagSet) -> Self {
        Self { results: set.len().div_ceil(64), variants: set.variant_slots().div_ceil(8) }
    }

    fn words(self) -> usize {
        2 * self.results + self.variants
    }
}

/// Makes the allocation with room for at least `words` words. Arrays of known size coerce to
/// slices behind the `Arc`, which is the one way to an unsized tail without `unsafe`.
fn allocate(words: usize, set: Arc<FlagSet>, context: Context, now: Instant, forced: Box<[ForcedAt]>) -> Arc<Answers> {
    macro_rules! sized {
        ($($size:literal)*) => {
            match words {
                $(0..=$size => {
                    Arc::new(Answers { set, context, now, forced, outer: None, home: None, words: [const { AtomicU64::new(0) }; $size] })
                })*
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
    pub(crate) fn decide(set: Arc<FlagSet>, context: Context, now: Instant, forced: Box<[ForcedAt]>) -> Self {
        let layout = Layout::of(&set);
        let mut answers = allocate(layout.words(), set, context, now, forced);
        if let Some(Answers { set, context, forced, words, .. }) = Arc::get_mut(&mut answers) {
            let (on, rest) = words.split_at_mut(layout.results);
            decide_all(set, context, forced, on, &mut rest[..layout.variants]);
        }
        Self(answers)
    }

    /// Answers without any flag, every name being off for the given reason.
    pub(crate) fn none(context: Context, now: Instant, reason: Reason) -> Self {
        Self::decide(FlagSet::empty(reason, SourceId::default()), context, now, Box::default())
    }

    /// Puts these answers before those of a layer around: its names that are unknown here are
    /// answered by it, and what it has switched off is off here too, together with what requires it.
    pub(crate) fn inside(self, outer: &Self) -> Self {
        let outer = outer.without(&self.killed_names());
        let names = outer.killed_names();
        let kept = self.without(&names);
        drop(self);
        let mut answers = kept.unshared();
        if let Some(Answers { outer: slot, .. }) = Arc::get_mut(&mut answers) {
            *slot = Some(outer.clone());
        }
        Self(answers)
    }

    /// These answers with some flags off, and with what requires them off too; the same value where
    /// none of them is on.
    fn without(&self, names: &[&str]) -> Self {
        let outer = self.0.outer.as_ref().map(|outer| (outer, outer.without(names)));
        let set = &self.0.set;
        let numbers: Vec<u32> =
            names.iter().filter_map(|name| set.number(name)).filter(|&number| self.is_on(number)).collect();
        if numbers.is_empty() && outer.as_ref().is_none_or(|(before, after)| before.ptr_eq(after)) {
            return self.clone();
        }
        let mut answers = self.copied();
        if let Some(Answers { set, forced, outer: slot, words, .. }) = Arc::get_mut(&mut answers) {
            let layout = Layout::of(set);
            let (on, rest) = words.split_at_mut(layout.results);
            turn_off(set, forced, &numbers, on, &mut rest[..layout.variants]);
            *slot = outer.map(|(_, after)| after);
        }
        Self(answers)
    }

    fn copied(&self) -> Arc<Answers> {
        let Answers { set, context, now, forced, home, words, .. } = &*self.0;
        let mut copy = allocate(words.len(), set.clone(), context.clone(), *now, forced.clone());
        if let Some(copy) = Arc::get_mut(&mut copy) {
            copy.home.clone_from(home);
        }
        for (word, copied) in copy.words.iter().zip(words) {
            word.store(copied.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        copy
    }

    /// Somebody may hold these answers already; they keep what they have.
    fn unshared(mut self) -> Arc<Answers> {
        if Arc::get_mut(&mut self.0).is_none() {
            return self.copied();
        }
        self.0
    }

    /// Says where the same caller can be decided again, of answers that nobody else holds yet and that
    /// do not know it; others keep what they have.
    pub(crate) fn at_home(mut self, home: impl FnOnce() -> Weak<dyn Any + Send + Sync>) -> Self {
        if let Some(Answers { home: slot @ None, .. }) = Arc::get_mut(&mut self.0) {
            *slot = Some(home());
        }
        self
    }

    /// Where the same caller can be decided again, as long as that is there.
    pub(crate) fn home<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.home.as_ref()?.upgrade()?.downcast().ok()
    }

    /// The answers of a layer around, where there is one with another source.
    pub(crate) fn outer(&self) -> Option<&Self> {
        self.0.outer.as_ref()
    }

    /// The answers for this caller by a source that has taken part in these: the same value where it
    /// is all theirs, else decided from the set that it has pinned.
    pub(crate) fn decided_by(&self, source: SourceId, context: &Context) -> Option<Self> {
        if source == SourceId::default() {
            return None;
        }
        if self.set().source() == source {
            if self.context() == context {
                return Some(self.clone());
            }
            let flags = self.set().evaluate(context, self.instant());
            return Some(match &self.0.outer {
                Some(outer) => flags.inside(outer),
                None => flags,
            });
        }
        // A layer between has its own answers for names that both know.
        let pinned = self.0.outer.as_ref()?.pinned_by(source)?;
        Some(pinned.evaluate(context, self.instant()).inside(self))
    }

    fn pinned_by(&self, source: SourceId) -> Option<&Arc<FlagSet>> {
        if self.set().source() == source {
            return Some(self.set());
        }
        self.0.outer.as_ref()?.pinned_by(source)
    }

    fn killed_names(&self) -> Vec<&str> {
        let set = &self.0.set;
        let own = ones(set.killed().words()).map(|number| set.name(number));
        let outer = self.0.outer.as_ref().map(Self::killed_names).unwrap_or_default();
        own.chain(outer).collect()
    }

    /// A builder for answers that somebody else has decided: foreign engines, and tests.
    pub fn builder() -> FlagsBuilder {
        FlagsBuilder::default()
    }

    /// Whether the flag is on for the caller; `false` for names that no flag has.
    #[must_use]
    pub fn is_enabled(&self, name: &str) -> bool {
        self.is_enabled_or(name, false)
    }

    /// Whether the flag is on for the caller, or `default` where no usable definition says so:
    /// [`Reason::is_default`].
    #[must_use]
    pub fn is_enabled_or(&self, name: &str, default: bool) -> bool {
        match self.0.set.number(name) {
            Some(number) => {
                self.mark_read(number);
                let set = &self.0.set;
                let is_usable = match set.given_reason(number) {
                    Some(reason) => !reason.is_default(),
                    None => set.definition(number).is_some() || set.is_killed(number),
                };
                if is_usable { self.is_on(number) } else { default }
            }
            None => self.0.outer.as_ref().map_or(default, |outer| outer.is_enabled_or(name, default)),
        }
    }

    /// The name of the variant the caller is served, if the flag is on and has variants.
    #[must_use]
    pub fn variant(&self, name: &str) -> Option<&str> {
        self.served(name).map(Variant::name)
    }

    /// The value of the variant the caller is served. `Ok(None)` where there is no variant or it has
    /// no value.
    ///
    /// # Errors
    ///
    /// A value that is not a `T`: nothing is coerced, so `1.5` is not an integer and `1` is no text.
    pub fn value<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, WrongType> {
        let Some(value) = self.served(name).and_then(Variant::value) else { return Ok(None) };
        T::deserialize(value).map(Some).map_err(|error| WrongType { flag: name.to_owned(), reason: error.to_string() })
    }

    fn served(&self, name: &str) -> Option<&Variant> {
        match self.0.set.number(name) {
            Some(number) => {
                self.mark_read(number);
                self.variant_of(number)
            }
            None => self.0.outer.as_ref()?.served(name),
        }
    }

    /// One answer with its reason and bucket, decided again from the same rules, caller and instant.
    #[must_use]
    pub fn evaluation(&self, name: &str) -> Answer {
        let Answers { set, context, now, forced, outer, .. } = &*self.0;
        let Some(number) = set.number(name) else {
            return match outer {
                Some(outer) => outer.evaluation(name),
                None => Answer::off(set.absent()),
            };
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
        let set = &self.0.set;
        let own = (0_u32..).take(set.len()).map(|number| self.entry(number));
        // Few requests pass two layers with different sources; only those merge.
        let merged = self.0.outer.as_ref().map(|outer| {
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

    /// Active flags that clients may see, in ascending byte order, each with its variant. Nothing is
    /// marked as read.
    pub(crate) fn for_each_visible<'a>(&'a self, mut each: impl FnMut(&'a str, Option<&'a str>)) {
        if self.0.outer.is_some() {
            for entry in self.entries().filter(|entry| entry.enabled && !entry.is_hidden) {
                each(entry.name, entry.variant);
            }
            return;
        }
        let set = &self.0.set;
        for (at, hidden) in set.hidden().words().iter().enumerate() {
            let visible = self.0.words[at].load(Ordering::Relaxed) & !hidden;
            for number in ones(&[visible]) {
                let number = at as u32 * 64 + number;
                each(set.name(number), self.variant_of(number).map(Variant::name));
            }
        }
    }

    /// The names of the flags whose answers were looked at, in ascending byte order.
    #[must_use]
    pub fn read(&self) -> Vec<&str> {
        let set = &self.0.set;
        let mut names: Vec<&str> =
            (0_u32..).take(set.len()).filter(|&number| self.is_read(number)).map(|number| set.name(number)).collect();
        if let Some(outer) = &self.0.outer {
            names.extend(outer.read().into_iter().filter(|name| set.number(name).is_none()));
            names.sort_unstable();
        }
        names
    }

    /// The caller these answers are for.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.0.context
    }

    /// The instant they were decided for.
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.0.now
    }

    /// The number of the rules in this process: raised by one at each swap; 0 before the first load.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.set.version()
    }

    /// The store's own version or digest of the rules, which processes can compare.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.0.set.origin()
    }

    /// The rules these answers come from.
    #[must_use]
    pub fn set(&self) -> &Arc<FlagSet> {
        &self.0.set
    }

    /// Whether both are one value, not only equal answers.
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    #[inline]
    fn is_on(&self, number: u32) -> bool {
        self.0.words[number as usize / 64].load(Ordering::Relaxed) >> (number % 64) & 1 == 1
    }

    fn is_killed(&self, name: &str) -> bool {
        self.0.set.number(name).is_some_and(|number| self.0.set.is_killed(number))
            || self.0.outer.as_ref().is_some_and(|outer| outer.is_killed(name))
    }

    fn is_hidden(&self, name: &str) -> bool {
        self.0.set.number(name).is_some_and(|number| self.0.set.is_hidden(number))
            || self.0.outer.as_ref().is_some_and(|outer| outer.is_hidden(name))
    }

    fn variant_of(&self, number: u32) -> Option<&Variant> {
        if self.0.set.variant_slots() == 0 {
            return None;
        }
        let slot = self.0.set.variant_slot(number)?;
        let word = self.0.words[Layout::of(&self.0.set).results + slot / 8].load(Ordering::Relaxed);
        let position = ((word >> (slot % 8 * 8)) as u8).checked_sub(NO_VARIANT + 1)?;
        self.0.set.definition(number)?.variants().get(usize::from(position))
    }

    fn entry(&self, number: u32) -> Entry<'_> {
        let set = &self.0.set;
        Entry {
            name: set.name(number),
            enabled: self.is_on(number),
            variant: self.variant_of(number).map(Variant::name),
            is_hidden: self.is_hidden(set.name(number)),
        }
    }

    fn read_word(&self, number: u32) -> &AtomicU64 {
        let layout = Layout::of(&self.0.set);
        &self.0.words[layout.results + layout.variants + number as usize / 64]
    }

    #[inline]
    fn mark_read(&self, number: u32) {
        let (word, bit) = (self.read_word(number), 1 << (number % 64));
        // A mark that is there needs no exclusive cache line.
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn is_read(&self, number: u32) -> bool {
        self.read_word(number).load(Ordering::Relaxed) >> (number % 64) & 1 == 1
    }

    fn mark_all_read(&self) {
        for number in (0..self.0.set.len() as u32).step_by(64) {
            self.read_word(number).store(u64::MAX, Ordering::Relaxed);
        }
        if let Some(outer) = &self.0.outer {
            outer.mark_all_read();
        }
    }
}

/// The positions of the bits that are set.
fn ones(words: &[u64]) -> impl Iterator<Item = u32> + '_ {
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

/// One flag's answer, from [`Flags::iter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry<'a> {
    /// The flag's name.
    pub name: &'a str,
    /// Whether it is on for the caller.
    pub enabled: bool,
    /// The variant served, if the flag is on and has variants.
    pub variant: Option<&'a str>,
    /// Whether the flag is never to be named to clients.
    pub is_hidden: bool,
}

/// A variant's value is not of the type asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrongType {
    /// The flag's name.
    pub flag: String,
    reason: String,
}

impl fmt::Display for WrongType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flag {:?}: the value of the variant served is of another type: {}", self.flag, self.reason)
    }
}

impl std::error::Error for WrongType {}
