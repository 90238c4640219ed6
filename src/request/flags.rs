//! The answers of one request: a stack of [`Answers`], innermost layer first.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use serde::de::DeserializeOwned;

use super::marks::Marks;
use crate::context::Context;
use crate::document::{DeclaredFlag, FlagName, Timestamp, Variant};
use crate::engine::{
    Answers, Entry, Evaluation, FlagSet, Forced, Readable, Reader, Reason, SourceId, WrongType, value_of,
};
#[cfg(feature = "testing")]
use crate::source::ReadObserver;

/// The answers of one request: every flag decided once, from one version of the flag set.
///
/// Cheap to clone. All clones are one value, which also remembers which flags were read. It keeps its answers for as long
/// as it is held, whatever is reloaded meanwhile.
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
pub struct Flags(Arc<Level>);

/// Where the caller of some answers can be decided again, as `refresh` knows it. Answers hold it weakly: those that are kept
/// keep no source alive. `None` where no layer has made them.
pub(super) type Home = Option<Weak<dyn Any + Send + Sync>>;

/// Lets answers find their layer again.
pub(super) fn home<T: Send + Sync + 'static>(layer: &Arc<T>) -> Home {
    let layer: Weak<T> = Arc::downgrade(layer);
    Some(layer)
}

/// The answers of one layer, and those around.
pub(super) struct Level {
    pub(super) answers: Answers,
    pub(super) marks: Marks,
    /// The answers of the layers around, for names that the set does not know.
    around: Option<Flags>,
    /// The answers that were asked to be forced, by name, for deciding again.
    forced: Vec<Forced>,
    /// Where the same caller can be decided again.
    pub(super) home: Home,
    /// The number of the request; 0 where no layer has made these answers.
    request: u64,
    #[cfg(feature = "testing")]
    observer: Option<Arc<dyn ReadObserver>>,
}

impl From<Answers> for Flags {
    /// The answers for code outside of requests, which runs in their [scope](Flags::scope).
    fn from(answers: Answers) -> Self {
        Self::new(answers, None, Vec::new(), None, 0)
    }
}

impl Flags {
    /// The answers of a layer, with those around it. Flags that either disables are off in both.
    pub(super) fn new(answers: Answers, around: Option<Self>, forced: Vec<Forced>, home: Home, request: u64) -> Self {
        let around = around.map(|around| around.without_killed(&answers));
        Self(Arc::new(Level {
            marks: Marks::of(answers.flag_set()),
            answers,
            around,
            forced,
            home,
            request,
            #[cfg(feature = "testing")]
            observer: None,
        }))
    }

    /// The answers of an engine that knew nothing of the layers around.
    pub(super) fn resolved(answers: Answers, around: Option<Self>, forced: Vec<Forced>, home: Home) -> Self {
        let levels = around.iter().flat_map(Self::levels);
        let answers = levels.fold(answers, |answers, level| answers.without_killed(&level.answers).unwrap_or(answers));
        let request = around.as_ref().map_or(0, Self::request);
        Self::new(answers, around, forced, home, request)
    }

    /// Notifies an observer of each name that is read.
    #[cfg(feature = "testing")]
    pub(crate) fn observed_by(mut self, observer: Arc<dyn ReadObserver>) -> Self {
        if let Some(level) = Arc::get_mut(&mut self.0) {
            level.observer = Some(observer);
        }
        self
    }

    /// These answers inside of others that disable some of their flags; the same value where that changes nothing.
    fn without_killed(&self, killer: &Answers) -> Self {
        let level = &*self.0;
        let answers = level.answers.without_killed(killer);
        let around = level.around.as_ref().map(|around| around.without_killed(killer));
        let is_same = match (&level.around, &around) {
            (Some(before), Some(after)) => before.ptr_eq(after),
            _ => true,
        };
        if answers.is_none() && is_same {
            return self.clone();
        }
        let answers = answers.unwrap_or_else(|| level.answers.clone());
        let Level { forced, home, request, .. } = level;
        Self::new(answers, around, forced.clone(), home.clone(), *request)
    }

    /// The answers of another engine with what this request forces.
    pub(super) fn with_forced(self, forced: &[Forced]) -> Self {
        if forced.is_empty() {
            return self;
        }
        let Level { answers, around, home, request, .. } = &*self.0;
        Self::new(answers.clone().with_forced(forced), around.clone(), forced.to_vec(), home.clone(), *request)
    }

    /// Whether the flag is on for the caller; `false` for names that no flag has.
    #[must_use]
    pub fn is_enabled(&self, name: impl FlagName) -> bool {
        self.is_enabled_or(&name, name.default_answer())
    }

    /// Whether the flag is on for the caller, or `default` where no usable definition answers: [`Reason::is_default`].
    #[must_use]
    pub fn is_enabled_or(&self, name: impl FlagName, default: bool) -> bool {
        self.look_up(name.name()).map_or(default, |(level, number)| level.answers.answer(number, default))
    }

    /// The name of the variant that the caller is served, if the flag is on and has variants.
    #[must_use]
    pub fn variant(&self, name: impl FlagName) -> Option<&str> {
        self.served(name.name()).map(Variant::name)
    }

    /// The value of the variant that the caller is served. `Ok(None)` where there is no variant or it has no value.
    ///
    /// # Errors
    ///
    /// The value is not a `T`. Nothing is coerced, so `1.5` is not an integer and `1` is no text.
    pub fn value<T: DeserializeOwned>(&self, name: impl FlagName) -> Result<Option<T>, WrongType> {
        let name = name.name();
        self.served(name).map_or(Ok(None), |variant| value_of(name, variant))
    }

    /// The value of the variant that the caller is served, or `default` where there is none. A value of another type is
    /// the default, too, and logged once; [`value`](Self::value) returns an error for it.
    ///
    /// ```
    /// use tower_flags::{Context, Flags};
    ///
    /// let flags = Flags::builder().variant("pricing", "higher", 1.2).build(Context::anonymous());
    /// assert_eq!(flags.value_or("pricing", 1.0), 1.2);
    /// assert_eq!(flags.value_or("no_such_flag", 1.0), 1.0);
    /// ```
    #[must_use]
    pub fn value_or<T: DeserializeOwned>(&self, name: impl FlagName, default: T) -> T {
        static HAS_WARNED: AtomicBool = AtomicBool::new(false);

        match self.value(name) {
            Ok(value) => value.unwrap_or(default),
            Err(error) => {
                if !HAS_WARNED.swap(true, Ordering::Relaxed) {
                    tracing::warn!("{error}; the code's default is used. Said once");
                }
                default
            }
        }
    }

    fn served(&self, name: &str) -> Option<&Variant> {
        self.look_up(name).and_then(|(level, number)| level.answers.variant_at(number))
    }

    /// The value of the variant that is served, without a mark.
    pub(super) fn value_served(&self, name: &str) -> Option<&serde_json::Value> {
        let (level, number) = self.find(name)?;
        level.answers.variant_at(number)?.value()
    }

    /// The answer of a declared flag in its own type: `bool`, or the enum of its variants.
    ///
    /// A `bool` is the declared default where no usable definition says otherwise. An enum is its first variant there,
    /// where the flag is off, and where a variant is served that the enum does not have.
    ///
    /// ```
    /// use tower_flags::{Context, Flags, declare_flags};
    ///
    /// declare_flags! {
    ///     static ALL;
    ///     /// What the pricing page shows.
    ///     PRICING: enum Pricing { Control = "control", Higher = "higher" } = "pricing_page";
    /// }
    ///
    /// let flags = Flags::builder().variant("pricing_page", "higher", 1.2).build(Context::anonymous());
    /// assert_eq!(flags.get(PRICING), Pricing::Higher);
    /// ```
    #[must_use]
    pub fn get<T: Readable>(&self, flag: DeclaredFlag<T>) -> T {
        T::read(self, flag.declaration())
    }

    /// One answer with its reason and bucket, decided again from the same set, caller and instant.
    #[must_use]
    pub fn evaluation(&self, name: impl FlagName) -> Evaluation {
        match self.look_up(name.name()) {
            Some((level, number)) => level.answers.evaluation_at(number),
            None => Evaluation::off(self.outermost().answers.flag_set().absent()),
        }
    }

    /// The names of the flags that are on for the caller, in ascending byte order. All flags count as read.
    pub fn active(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|entry| entry.enabled).map(|entry| entry.name)
    }

    /// Every flag with its answer, in ascending byte order of names. All flags count as read.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.levels().for_each(|level| level.marks.mark_all());
        self.entries()
    }

    /// Like [`iter`](Self::iter), without a mark.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let own = &self.0.answers;
        // Few requests pass two layers with different sources; only those merge.
        let merged = self.0.around.as_ref().map(|_| {
            let known = |name: &str| self.find(name);
            let mut merged: Vec<Entry<'_>> = Vec::new();
            for level in self.levels() {
                let entries = level.answers.iter();
                let seen =
                    entries.filter(|entry| known(entry.name).is_some_and(|(first, _)| std::ptr::eq(first, level)));
                merged.extend(seen.map(|entry| Entry { is_hidden: self.is_hidden(entry.name), ..entry }));
            }
            merged.sort_unstable_by_key(|entry| entry.name);
            merged
        });
        let own = own.iter().take(if merged.is_some() { 0 } else { usize::MAX });
        own.chain(merged.into_iter().flatten())
    }

    /// The flags that a tester's override has decided, each with its answer, in ascending byte order of names.
    pub(super) fn overrides(&self) -> Vec<Entry<'_>> {
        let is_forced = |(level, number): (&Level, u32)| {
            let is_override = level.answers.forced_at(number).is_some_and(|entry| entry.reason == Reason::Override);
            is_override && !level.answers.is_killed(number)
        };
        if self.levels().all(|level| level.answers.forced().is_empty()) {
            return Vec::new();
        }
        self.entries().filter(|entry| self.find(entry.name).is_some_and(is_forced)).collect()
    }

    /// The caller these answers are for.
    #[must_use]
    pub fn context(&self) -> &Context {
        self.0.answers.context()
    }

    /// The instant they were decided for.
    #[must_use]
    pub fn instant(&self) -> Timestamp {
        self.0.answers.instant()
    }

    /// The number of the flag set in this process: raised by one at each swap; 0 before the first load.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.flag_set().version()
    }

    /// The store's own version or digest of the flag set, which processes can compare.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.flag_set().revision()
    }

    /// The flag set that these answers come from: that of the innermost layer.
    #[must_use]
    pub fn flag_set(&self) -> &Arc<FlagSet> {
        self.0.answers.flag_set()
    }

    /// Whether both are one value, not only equal answers.
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The innermost level.
    pub(super) fn level(&self) -> &Level {
        &self.0
    }

    /// The answers of the layers around.
    pub(super) fn around(&self) -> Option<&Self> {
        self.0.around.as_ref()
    }

    /// The answers that were asked to be forced, whether or not this set knows them.
    pub(super) fn forced(&self) -> &[Forced] {
        &self.0.forced
    }

    /// The number of the request that these answers belong to; 0 where no layer has made them.
    pub(super) fn request(&self) -> u64 {
        self.0.request
    }

    /// The levels from the innermost outward.
    pub(super) fn levels(&self) -> impl Iterator<Item = &Level> {
        std::iter::successors(Some(&*self.0), |level| level.around.as_ref().map(|around| &*around.0))
    }

    /// These answers from the level of a source outward, if the source has taken part in them.
    pub(super) fn outward_from(&self, source: SourceId) -> Option<&Self> {
        if source == SourceId::default() {
            return None;
        }
        std::iter::successors(Some(self), |flags| flags.around()).find(|flags| flags.flag_set().source() == source)
    }

    fn outermost(&self) -> &Level {
        self.levels().last().unwrap_or(&self.0)
    }

    /// The level that answers for a name, without a mark.
    #[inline]
    pub(super) fn find(&self, name: &str) -> Option<(&Level, u32)> {
        self.levels().find_map(|level| Some((level, level.answers.flag_set().number(name)?)))
    }

    /// The same, and marks the flag as read, or the name as missed.
    #[inline]
    fn look_up(&self, name: &str) -> Option<(&Level, u32)> {
        for level in self.levels() {
            level.observe(name);
            match level.answers.flag_set().number(name) {
                Some(number) => {
                    level.marks.mark(number);
                    return Some((level, number));
                }
                None => level.marks.miss(),
            }
        }
        None
    }

    fn is_hidden(&self, name: &str) -> bool {
        self.levels().any(|level| {
            let set = level.answers.flag_set();
            set.number(name).is_some_and(|number| set.is_hidden(number))
        })
    }
}

impl Level {
    #[cfg(feature = "testing")]
    pub(super) fn observe(&self, name: &str) {
        if let Some(observer) = &self.observer {
            observer.read(name);
        }
    }

    #[cfg(not(feature = "testing"))]
    pub(super) fn observe(&self, _: &str) {}
}

impl<'a> IntoIterator for &'a Flags {
    type Item = Entry<'a>;
    type IntoIter = std::vec::IntoIter<Entry<'a>>;

    /// As [`Flags::iter`]: all flags count as read.
    fn into_iter(self) -> Self::IntoIter {
        self.iter().collect::<Vec<_>>().into_iter()
    }
}

impl Reader for Flags {
    fn is_enabled_or(&self, name: &str, default: bool) -> bool {
        Flags::is_enabled_or(self, name, default)
    }

    fn variant(&self, name: &str) -> Option<&str> {
        Flags::variant(self, name)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let active: Vec<&str> = self.entries().filter(|entry| entry.enabled).map(|entry| entry.name).collect();
        f.debug_struct("Flags").field("version", &self.version()).field("active", &active).finish_non_exhaustive()
    }
}
