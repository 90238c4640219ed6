//! Which flags were read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::engine::FlagSet;

/// The marks of one level.
pub(super) struct Marks {
    /// A bit for each flag that was read.
    read: Words,
    /// A name was read that the set does not know.
    pub(super) has_missed: AtomicBool,
    /// A caller was turned away by an answer that depends on who asks.
    pub(super) has_turned_away: AtomicBool,
}

/// The words in place for small sets.
enum Words {
    Few([AtomicU64; FEW]),
    Many(Box<[AtomicU64]>),
}

const FEW: usize = 4;

impl Marks {
    pub(super) fn of(set: &FlagSet) -> Self {
        let words = set.len().div_ceil(64);
        let zero = || AtomicU64::new(0);
        let read = if words <= FEW {
            Words::Few([const { AtomicU64::new(0) }; FEW])
        } else {
            Words::Many(std::iter::repeat_with(zero).take(words).collect())
        };
        Self { read, has_missed: AtomicBool::new(false), has_turned_away: AtomicBool::new(false) }
    }

    #[inline]
    fn words(&self) -> &[AtomicU64] {
        match &self.read {
            Words::Few(words) => words,
            Words::Many(words) => words,
        }
    }

    #[inline]
    pub(super) fn mark(&self, number: u32) {
        let (word, bit) = (&self.words()[number as usize / 64], 1 << (number % 64));
        // A mark that is there needs no exclusive cache line.
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Marks that a name was read that the set does not know.
    #[inline]
    pub(super) fn miss(&self) {
        if !self.has_missed.load(Ordering::Relaxed) {
            self.has_missed.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn mark_all(&self) {
        self.words().iter().for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
    }

    pub(super) fn is_read(&self, number: u32) -> bool {
        self.words()[number as usize / 64].load(Ordering::Relaxed) >> (number % 64) & 1 == 1
    }

    pub(super) fn word(&self, at: usize) -> u64 {
        self.words()[at].load(Ordering::Relaxed)
    }
}
