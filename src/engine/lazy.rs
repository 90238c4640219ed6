//! Results that are decided when they are first asked for.
//!
//! The set, the caller, the instant and what is forced are fixed before, so that the same comes out whenever that is, and
//! from whichever thread. Most requests read few of their flags: the first ones that they ask for are decided alone, and
//! nothing of them is kept. With one more, all flags are decided together, which is cheaper than many alone.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::set::Results;

/// The results of one query.
#[derive(Debug, Default)]
pub(super) struct LazyResults {
    results: OnceLock<Results>,
    /// How many flags were decided alone.
    alone: AtomicU32,
}

/// How many flags are decided alone. Two cost about as much as the hashing of a hundred in lanes.
const MOST_ALONE: u32 = 2;

impl LazyResults {
    /// The results, if they are decided.
    #[inline]
    pub(super) fn decided(&self) -> Option<&Results> {
        self.results.get()
    }

    /// The results, decided now unless they are.
    #[inline]
    pub(super) fn decide(&self, decide: impl FnOnce() -> Results) -> &Results {
        self.results.get_or_init(decide)
    }

    /// Changes the results, decided now unless they are.
    #[inline]
    pub(super) fn change(&mut self, decide: impl FnOnce() -> Results, change: impl FnOnce(&mut Results)) {
        self.results.get_or_init(decide);
        if let Some(results) = self.results.get_mut() {
            change(results);
        }
    }

    /// Whether one more flag is decided alone. Threads that ask at once may come to one more: that costs time and no answer.
    #[inline]
    pub(super) fn takes_one_alone(&self) -> bool {
        let is_free = self.alone.load(Ordering::Relaxed) < MOST_ALONE;
        if is_free {
            self.alone.fetch_add(1, Ordering::Relaxed);
        }
        is_free
    }
}

impl Clone for LazyResults {
    fn clone(&self) -> Self {
        Self { results: self.results.clone(), alone: AtomicU32::new(self.alone.load(Ordering::Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use crate::context::Context;
    use crate::document::{Document, Timestamp};
    use crate::engine::{Answers, FlagSet, Query};

    fn answers() -> Answers {
        let text = r#"{"flags": {
            "a": {"percentage": 50}, "b": {"percentage": 50}, "c": {"percentage": 50}, "d": {"enabled": true, "requires": ["a"]}
        }}"#;
        let set = FlagSet::compile(&Document::from_json(text).unwrap(), Timestamp::MIN);
        set.answer(&Query::new(&Context::user("alice"), Timestamp::MIN))
    }

    #[test]
    fn the_third_look_decides_all() {
        let answers = answers();
        for (name, is_decided) in [("a", false), ("b", false), ("c", true)] {
            let _ = answers.is_enabled(name);
            assert_eq!(answers.is_decided(), is_decided, "after {name}");
        }
    }

    #[test]
    fn what_requires_others_is_decided_with_them() {
        let answers = answers();
        let _ = answers.is_enabled("d");
        assert!(answers.is_decided());
    }

    #[test]
    fn what_no_flag_has_decides_nothing() {
        let answers = answers();
        assert!(!answers.is_enabled("no_such_flag"));
        assert!(!answers.is_decided());
    }
}
