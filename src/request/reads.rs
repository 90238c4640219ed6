//! What was read of a request's answers, and what that means for caches and for the response header.

use std::sync::atomic::Ordering;

use super::flags::{Flags, Level};
use crate::document::Variant;
use crate::engine::{JoinedNames, Reason};

/// Active flags whose numbers follow each other. One with a variant stands alone.
#[derive(Clone, Copy)]
pub(super) struct VisibleRun<'a> {
    names: &'a JoinedNames,
    first: u32,
    last: u32,
    pub(super) variant: Option<&'a str>,
}

impl VisibleRun<'_> {
    /// A text that begins with the names, and their length; [`JoinedNames::SLACK`] bytes more can be copied.
    #[inline]
    pub(super) fn text(&self) -> (&[u8], usize) {
        self.names.between(self.first, self.last)
    }

    pub(super) fn count(&self) -> u32 {
        self.last - self.first + 1
    }

    /// The run without its last flag; `None` where it has no other.
    pub(super) fn shortened(mut self) -> Option<Self> {
        (self.first < self.last).then(|| {
            self.last -= 1;
            self
        })
    }
}

impl Flags {
    /// Like [`is_enabled_or`](Self::is_enabled_or) and [`variant`](Self::variant), without marking the flag as read.
    pub(super) fn peek(&self, name: &str, default: bool) -> (bool, Option<&str>) {
        for level in self.levels() {
            level.observe(name);
            let answers = &level.answers;
            if let Some(number) = answers.flag_set().number(name) {
                return (answers.answer(number, default), answers.variant_at(number).map(Variant::name));
            }
        }
        (default, None)
    }

    /// Marks flags as read that were peeked at.
    pub(super) fn mark_each<'a>(&self, names: impl Iterator<Item = &'a str>) {
        for (level, number) in names.filter_map(|name| self.find(name)) {
            level.marks.mark(number);
        }
    }

    /// Marks that a caller was turned away by flags that were peeked at. Where an answer depends on the caller, so does
    /// the response.
    pub(super) fn turn_away<'a>(&self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            let level = match self.find(name) {
                Some((level, number)) if level.is_of_caller(number) => level,
                Some(_) => continue,
                None => match self.levels().last() {
                    Some(level) if level.has_no_rules() => level,
                    _ => continue,
                },
            };
            level.marks.has_turned_away.store(true, Ordering::Relaxed);
        }
    }

    /// Takes over which flags were read of other answers of the same request.
    pub(super) fn adopt_reads(&self, other: &Self) {
        if !self.ptr_eq(other) {
            self.mark_each(other.read().into_iter());
        }
    }

    /// Whether one of these flags was read.
    #[cfg(feature = "overrides")]
    pub(super) fn has_read_any<'a>(&self, mut names: impl Iterator<Item = &'a String>) -> bool {
        names.any(|name| self.find(name).is_some_and(|(level, number)| level.marks.is_read(number)))
    }

    /// Whether a flag was read whose answer depends on who asks.
    pub(super) fn has_read_of_caller(&self) -> bool {
        self.levels().any(Level::has_read_of_caller)
    }

    /// Whether the answers about flags that clients may see differ from one caller to another.
    pub(super) fn has_visible_of_caller(&self) -> bool {
        self.levels().any(|level| {
            let set = level.answers.flag_set();
            let mut words = set.varying().words().iter().zip(set.hidden().words());
            words.any(|(varying, hidden)| varying & !hidden != 0) || level.forced_of_caller().next().is_some()
        })
    }

    /// Active flags that clients may see, in ascending order; if asked for, only those that were read. Nothing is marked
    /// as read. `None` where layers around have answers, too: their flags stand between these.
    pub(super) fn visible_runs(&self, is_read_only: bool) -> Option<impl Iterator<Item = VisibleRun<'_>>> {
        if self.around().is_some() {
            return None;
        }
        let Level { answers, marks, .. } = self.level();
        let set = answers.flag_set();
        let words = set.hidden().words().iter().zip(set.with_variants().words());
        Some(words.zip(0_u32..).flat_map(move |((hidden, &with_variants), at)| {
            let wanted = if is_read_only { marks.word(at as usize) } else { u64::MAX };
            let mut rest = answers.on_among(wanted & !hidden, at);
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                let first = at * 64 + bit;
                let is_alone = with_variants >> bit & 1 == 1;
                let count = if is_alone { 1 } else { ((rest & !with_variants) >> bit).trailing_ones() };
                rest &= u64::MAX.checked_shl(bit + count).unwrap_or_default();
                let variant = if is_alone { answers.variant_at(first).map(Variant::name) } else { None };
                Some(VisibleRun { names: set.joined_names(), first, last: first + count - 1, variant })
            })
        }))
    }

    /// The same, one by one, each with its variant.
    pub(super) fn for_each_visible<'a>(&'a self, is_read_only: bool, mut each: impl FnMut(&'a str, Option<&'a str>)) {
        for entry in self.entries().filter(|entry| entry.enabled && !entry.is_hidden) {
            let is_read = || self.find(entry.name).is_some_and(|(level, number)| level.marks.is_read(number));
            if !is_read_only || is_read() {
                each(entry.name, entry.variant);
            }
        }
    }

    /// The names of the flags whose answers were read, in ascending byte order.
    #[must_use]
    pub fn read(&self) -> Vec<&str> {
        let is_read = |name: &&str| self.find(name).is_some_and(|(level, number)| level.marks.is_read(number));
        let mut names: Vec<&str> = self.levels().flat_map(Level::names_read).filter(is_read).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Level {
    fn names_read(&self) -> impl Iterator<Item = &str> {
        let numbers = (0..self.answers.len()).filter(|&number| self.marks.is_read(number));
        numbers.map(|number| self.answers.flag_set().name(number))
    }

    /// Forced answers that another caller might not have.
    fn forced_of_caller(&self) -> impl Iterator<Item = u32> {
        self.answers.forced().iter().filter(|entry| entry.reason != Reason::Disabled).map(|entry| entry.flag)
    }

    fn is_of_caller(&self, number: u32) -> bool {
        self.answers.flag_set().varying().get(number) || self.forced_of_caller().any(|forced| forced == number)
    }

    fn has_read_of_caller(&self) -> bool {
        let varying = self.answers.flag_set().varying().words();
        varying.iter().enumerate().any(|(at, varying)| varying & self.marks.word(at) != 0)
            || self.forced_of_caller().any(|number| self.marks.is_read(number))
            || self.marks.has_turned_away.load(Ordering::Relaxed)
            // Another caller, or the next request, may get another answer.
            || self.has_no_rules() && self.marks.has_missed.load(Ordering::Relaxed)
    }

    fn has_no_rules(&self) -> bool {
        matches!(self.answers.flag_set().absent(), Reason::Unavailable | Reason::NotLoaded)
    }
}
