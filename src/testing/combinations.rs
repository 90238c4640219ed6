//! One test with every combination of some flags.

use std::fmt;

use super::caught::{caught, caught_sync};
use super::flags::TestFlags;
use crate::document::FlagName;

/// Every combination of some flags, to run a test with each.
///
/// ```
/// use tower_flags::flag;
/// use tower_flags::testing::Combinations;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut seen = Vec::new();
/// Combinations::of(["new_cart", "dark_mode"]).run_sync(|_| seen.push((flag("new_cart"), flag("dark_mode"))));
/// assert_eq!(seen, [(false, false), (false, true), (true, false), (true, true)]);
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "combinations do nothing until a test is run with them"]
pub struct Combinations {
    flags: Vec<(String, Vec<Choice>)>,
}

#[derive(Clone, Debug)]
enum Choice {
    Off,
    On,
    Variant(String),
}

/// Most combinations of one run: eight flags, on and off.
const MAX: usize = 256;

impl Combinations {
    /// Each of these flags off and on, and those that are declared with variants off and with each of these.
    ///
    /// # Panics
    ///
    /// With a flag that stands twice, and with more than 256 combinations, which eight flags have: nobody would
    /// wait for them. Test flags together that have to do with each other.
    #[track_caller]
    pub fn of(flags: impl IntoIterator<Item: FlagName>) -> Self {
        flags.into_iter().fold(Self::default(), |all, flag| match flag.variants() {
            [] => all.and(flag, vec![Choice::Off, Choice::On]),
            variants => all.with_variants(flag, variants.iter().copied()),
        })
    }

    /// And this flag off, and on with each of these variants.
    ///
    /// # Panics
    ///
    /// As [`of`](Self::of).
    #[track_caller]
    pub fn with_variants(self, flag: impl FlagName, variants: impl IntoIterator<Item: AsRef<str>>) -> Self {
        let variants = variants.into_iter().map(|variant| Choice::Variant(variant.as_ref().to_owned()));
        self.and(flag, [Choice::Off].into_iter().chain(variants).collect())
    }

    #[track_caller]
    fn and(mut self, flag: impl FlagName, choices: Vec<Choice>) -> Self {
        let is_new = self.flags.iter().all(|(name, _)| name != flag.name());
        assert!(is_new, "expected each flag once, found {:?} twice", flag.name());
        self.flags.push((flag.name().to_owned(), choices));
        let count = self.flags.iter().try_fold(1_usize, |count, (_, choices)| count.checked_mul(choices.len()));
        assert!(
            count.is_some_and(|count| count <= MAX),
            "expected at most {MAX} combinations, found more with flag {:?}; test fewer flags together",
            flag.name()
        );
        self
    }

    /// Runs the test with every combination, one after the other, with the flags in scope. Like a test function
    /// it returns nothing, or a `Result`.
    ///
    /// # Panics
    ///
    /// After all of them, if one has panicked or returned an error: with the flags of each that has, and what
    /// it said.
    pub async fn run<F: Future<Output: Verdict>>(&self, mut test: impl FnMut(TestFlags) -> F) {
        let mut failures = Vec::new();
        for combination in self.all() {
            let flags = combination.flags();
            let answers = flags.flags();
            let outcome = match caught_sync(|| answers.sync_scope(|| test(flags))) {
                Ok(future) => caught(answers.scope(future)).await.and_then(Verdict::verdict),
                Err(message) => Err(message),
            };
            failures.extend(outcome.err().map(|message| format!("{combination}: {message}")));
        }
        self.report(&failures);
    }

    /// Like [`run`](Self::run), for tests that wait for nothing.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    pub fn run_sync<V: Verdict>(&self, mut test: impl FnMut(TestFlags) -> V) {
        let mut failures = Vec::new();
        for combination in self.all() {
            let flags = combination.flags();
            let outcome = caught_sync(|| flags.flags().sync_scope(|| test(flags.clone()))).and_then(Verdict::verdict);
            failures.extend(outcome.err().map(|message| format!("{combination}: {message}")));
        }
        self.report(&failures);
    }

    fn report(&self, failures: &[String]) {
        assert!(
            failures.is_empty(),
            "{} of {} combinations failed\n{}",
            failures.len(),
            self.all().count(),
            failures.join("\n")
        );
    }

    /// The last flag changes fastest, as the last digit of a number does.
    fn all(&self) -> impl Iterator<Item = Combination<'_>> {
        let count = self.flags.iter().map(|(_, choices)| choices.len()).product();
        (0..count).map(|number: usize| {
            let mut rest = number;
            let mut chosen: Vec<(&str, &Choice)> = self
                .flags
                .iter()
                .rev()
                .map(|(flag, choices)| {
                    let choice = &choices[rest % choices.len()];
                    rest /= choices.len();
                    (flag.as_str(), choice)
                })
                .collect();
            chosen.reverse();
            Combination(chosen)
        })
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for () {}
    impl<E> Sealed for Result<(), E> {}
}

/// The result of a test: nothing, or a `Result` whose error is a failure. It cannot be implemented elsewhere.
pub trait Verdict: sealed::Sealed {
    /// The message of a failure.
    #[doc(hidden)]
    fn verdict(self) -> Result<(), String>;
}

impl Verdict for () {
    fn verdict(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Debug> Verdict for Result<(), E> {
    fn verdict(self) -> Result<(), String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

struct Combination<'a>(Vec<(&'a str, &'a Choice)>);

impl Combination<'_> {
    fn flags(&self) -> TestFlags {
        self.0.iter().fold(TestFlags::new(), |flags, (name, choice)| match choice {
            Choice::Off => flags.off(name),
            Choice::On => flags.on(name),
            Choice::Variant(variant) => flags.variant(name, variant),
        })
    }
}

impl fmt::Display for Combination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, choice)) in self.0.iter().enumerate() {
            let separator = if at == 0 { "with " } else { ", " };
            match choice {
                Choice::Off => write!(f, "{separator}{name} off")?,
                Choice::On => write!(f, "{separator}{name} on")?,
                Choice::Variant(variant) => write!(f, "{separator}{name}={variant}")?,
            }
        }
        Ok(())
    }
}
