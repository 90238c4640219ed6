//! What was read of a request's answers, and what that says to caches and to the response header.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::flag::Variant;
use super::flags::{Flags, Layout, ones};
use super::reason::Reason;

/// Is told of every flag that is asked for by name, known or not, each time.
pub(crate) trait Recorder: Send + Sync {
    fn asked(&self, name: &str);
}

/// What the read marks cannot say.
#[derive(Default)]
pub(super) struct Looks {
    /// A name was asked for that the set does not know.
    has_missed: AtomicBool,
    /// Somebody was turned away by an answer that depends on who asks.
    has_turned_away: AtomicBool,
}

impl Clone for Looks {
    fn clone(&self) -> Self {
        let copied = |look: &AtomicBool| AtomicBool::new(look.load(Ordering::Relaxed));
        Self { has_missed: copied(&self.has_missed), has_turned_away: copied(&self.has_turned_away) }
    }
}

impl Flags {
    /// Like [`is_enabled_or`](Self::is_enabled_or) and [`variant`](Self::variant), without marking the flag as
    /// read: it may be that nobody is to know that it was looked at.
    pub(crate) fn peek(&self, name: &str, default: bool) -> (bool, Option<&str>) {
        self.record(name);
        match self.set().number(name) {
            Some(number) => {
                let is_on = if self.is_usable(number) { self.is_on(number) } else { default };
                (is_on, self.variant_of(number).map(Variant::name))
            }
            None => self.outer().map_or((default, None), |outer| outer.peek(name, default)),
        }
    }

    /// Marks flags as read that were peeked at.
    pub(crate) fn mark_each<'a>(&self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            if let Some(number) = self.set().number(name) {
                self.mark(number);
            } else if let Some(outer) = self.outer() {
                outer.mark_each(std::iter::once(name));
            }
        }
    }

    /// Says that somebody was turned away by flags that were peeked at: where an answer depends on who asks,
    /// so does what they get.
    pub(crate) fn turn_away<'a>(&self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            let is_of_caller = match self.set().number(name) {
                Some(number) => {
                    self.set().varying().get(number) || self.head().forced.iter().any(|entry| entry.flag == number)
                }
                None => match self.outer() {
                    Some(outer) => {
                        outer.turn_away(std::iter::once(name));
                        false
                    }
                    None => self.has_no_rules(),
                },
            };
            if is_of_caller {
                self.head().looks.has_turned_away.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Takes over which flags were read of other answers of the same request.
    pub(crate) fn adopt_reads(&self, other: &Self) {
        if !self.ptr_eq(other) {
            self.mark_each(other.read().into_iter());
        }
    }

    /// Whether one of these flags was read.
    #[cfg(feature = "overrides")]
    pub(crate) fn has_read_any<'a>(&self, mut names: impl Iterator<Item = &'a String>) -> bool {
        names.any(|name| match self.set().number(name) {
            Some(number) => self.is_read(number),
            None => self.outer().is_some_and(|outer| outer.has_read_any(std::iter::once(name))),
        })
    }

    /// Whether a flag was read whose answer depends on who asks.
    pub(crate) fn has_read_of_caller(&self) -> bool {
        let layout = Layout::of(self.set());
        let marks = &self.words()[layout.results + layout.variants..];
        let varying = self.set().varying().words();
        varying.iter().zip(marks).any(|(varying, mark)| varying & mark.load(Ordering::Relaxed) != 0)
            || self.head().forced.iter().any(|entry| self.is_read(entry.flag))
            || self.head().looks.has_turned_away.load(Ordering::Relaxed)
            || self.has_missed_what_others_get()
            || self.outer().is_some_and(Self::has_read_of_caller)
    }

    /// Whether a flag was asked for while there were no rules for this request: others, or the next one, may
    /// get another answer.
    fn has_missed_what_others_get(&self) -> bool {
        self.has_no_rules() && self.head().looks.has_missed.load(Ordering::Relaxed)
    }

    fn has_no_rules(&self) -> bool {
        matches!(self.set().absent(), Reason::Unavailable | Reason::NotLoaded)
    }

    /// Whether the answers about flags that clients may see differ from one caller to another.
    pub(crate) fn has_visible_of_caller(&self) -> bool {
        let set = self.set();
        let mut words = set.varying().words().iter().zip(set.hidden().words());
        words.any(|(varying, hidden)| varying & !hidden != 0)
            || !self.head().forced.is_empty()
            || self.outer().is_some_and(Self::has_visible_of_caller)
    }

    /// Active flags that clients may see, in ascending byte order, each with its variant; if asked for,
    /// only those that were read. Nothing is marked as read.
    pub(crate) fn for_each_visible<'a>(&'a self, is_read_only: bool, mut each: impl FnMut(&'a str, Option<&'a str>)) {
        if self.outer().is_some() {
            let read = self.read();
            for entry in self.entries().filter(|entry| entry.enabled && !entry.is_hidden) {
                if !is_read_only || read.binary_search(&entry.name).is_ok() {
                    each(entry.name, entry.variant);
                }
            }
            return;
        }
        let set = self.set();
        let layout = Layout::of(set);
        for (at, hidden) in set.hidden().words().iter().enumerate() {
            let mut visible = self.words()[at].load(Ordering::Relaxed) & !hidden;
            if is_read_only {
                visible &= self.words()[layout.results + layout.variants + at].load(Ordering::Relaxed);
            }
            for number in ones(&[visible]) {
                let number = at as u32 * 64 + number;
                each(set.name(number), self.variant_of(number).map(Variant::name));
            }
        }
    }

    /// The names of the flags whose answers were looked at, in ascending byte order.
    #[must_use]
    pub fn read(&self) -> Vec<&str> {
        let set = self.set();
        let mut names: Vec<&str> =
            (0_u32..).take(set.len()).filter(|&number| self.is_read(number)).map(|number| set.name(number)).collect();
        if let Some(outer) = self.outer() {
            names.extend(outer.read().into_iter().filter(|name| set.number(name).is_none()));
            names.sort_unstable();
        }
        names
    }

    fn read_word(&self, number: u32) -> &AtomicU64 {
        let layout = Layout::of(self.set());
        &self.words()[layout.results + layout.variants + number as usize / 64]
    }

    #[inline]
    pub(super) fn mark_read(&self, number: u32) {
        self.mark(number);
        if self.head().recorder.is_some() {
            self.record(self.set().name(number));
        }
    }

    #[inline]
    fn mark(&self, number: u32) {
        let (word, bit) = (self.read_word(number), 1 << (number % 64));
        // A mark that is there needs no exclusive cache line.
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Where a name is asked for that the set does not know.
    pub(super) fn asked_outside(&self, name: &str) -> Option<&Self> {
        let has_missed = &self.head().looks.has_missed;
        if !has_missed.load(Ordering::Relaxed) {
            has_missed.store(true, Ordering::Relaxed);
        }
        self.record(name);
        self.outer()
    }

    fn record(&self, name: &str) {
        if let Some(recorder) = &self.head().recorder {
            recorder.asked(name);
        }
    }

    fn is_read(&self, number: u32) -> bool {
        self.read_word(number).load(Ordering::Relaxed) >> (number % 64) & 1 == 1
    }

    pub(super) fn mark_all_read(&self) {
        for number in (0..self.set().len() as u32).step_by(64) {
            self.read_word(number).store(u64::MAX, Ordering::Relaxed);
        }
        if let Some(outer) = self.outer() {
            outer.mark_all_read();
        }
    }
}
