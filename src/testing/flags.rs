//! Fixed answers that remember what was asked.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::context::Context;
use crate::document::{FlagName, assert_is_variant};
use crate::engine::{Answers, Query};
use crate::request::{Flags, FlagsBuilder, FlagsScope};
use crate::source::{ReadObserver, Source, Status};

/// Fixed answers for every caller; a name that is not among them is off, and unknown.
///
/// Clones share what was asked.
///
/// ```
/// use tower_flags::testing::TestFlags;
///
/// let flags = TestFlags::new().on("new_checkout").off("dark_mode").variant("pricing", "higher");
/// let answers = flags.flags();
/// assert!(answers.is_enabled("new_checkout"));
/// assert_eq!(answers.variant("pricing"), Some("higher"));
/// assert!(!answers.is_enabled("misspelt"));
/// assert_eq!(flags.asked(), ["new_checkout", "pricing", "misspelt"]);
/// ```
#[derive(Clone, Default)]
#[must_use = "fixed flags do nothing until something is asked of them"]
pub struct TestFlags {
    answers: FlagsBuilder,
    asked: Arc<ReadLog>,
}

/// What was asked, in order.
#[derive(Default)]
struct ReadLog(Mutex<Vec<String>>);

impl ReadObserver for ReadLog {
    fn read(&self, name: &str) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !names.iter().any(|asked| asked == name) {
            names.push(name.to_owned());
        }
    }
}

impl TestFlags {
    /// Without any flag.
    pub fn new() -> Self {
        Self::default()
    }

    /// The flag is on.
    ///
    /// # Panics
    ///
    /// As all of these, if no flag can have the name, or a declared flag has no such variant.
    #[track_caller]
    pub fn on(self, flag: impl FlagName) -> Self {
        self.with(|answers| answers.on(flag))
    }

    /// The flag is off.
    ///
    /// # Panics
    ///
    /// See [`on`](Self::on).
    #[track_caller]
    pub fn off(self, flag: impl FlagName) -> Self {
        self.with(|answers| answers.off(flag))
    }

    /// The flag is on with this variant, which has no value.
    ///
    /// # Panics
    ///
    /// See [`on`](Self::on).
    #[track_caller]
    pub fn variant(self, flag: impl FlagName, variant: impl AsRef<str>) -> Self {
        self.variant_with_value(flag, variant, Value::Null)
    }

    /// The flag is on with this variant, which stands for a value.
    ///
    /// # Panics
    ///
    /// See [`on`](Self::on).
    #[track_caller]
    pub fn variant_with_value(self, flag: impl FlagName, variant: impl AsRef<str>, value: impl Into<Value>) -> Self {
        let variant = variant.as_ref();
        assert_is_variant(&flag, variant);
        self.with(|answers| answers.variant(flag, variant, value))
    }

    #[track_caller]
    fn with(mut self, set: impl FnOnce(FlagsBuilder) -> FlagsBuilder) -> Self {
        self.answers = set(self.answers);
        if let Some(problem) = self.answers.problems().first() {
            panic!("{problem}");
        }
        self
    }

    /// The answers for an anonymous caller.
    #[must_use]
    pub fn flags(&self) -> Flags {
        self.flags_for(Context::anonymous())
    }

    /// The answers for this caller: the same, with another [`context`](Flags::context).
    #[must_use]
    pub fn flags_for(&self, context: Context) -> Flags {
        self.answers.clone().build(context).observed_by(Arc::clone(&self.asked) as Arc<dyn ReadObserver>)
    }

    /// The names that were asked for so far, unknown ones included, each once, in the order of asking.
    /// What asks about all flags at once, as the response header does, asks for none by name.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Source for TestFlags {
    fn answer(&self, query: &Query<'_>) -> Answers {
        self.answers.clone().answer(query)
    }

    fn status(&self) -> Status {
        Status::fresh()
    }

    fn read_observer(&self) -> Option<Arc<dyn ReadObserver>> {
        Some(Arc::clone(&self.asked) as Arc<dyn ReadObserver>)
    }
}

impl From<&TestFlags> for Flags {
    fn from(flags: &TestFlags) -> Self {
        flags.flags()
    }
}

impl From<TestFlags> for Flags {
    fn from(flags: TestFlags) -> Self {
        flags.flags()
    }
}

impl fmt::Debug for TestFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestFlags").field("answers", &self.answers).field("asked", &self.asked()).finish()
    }
}

/// Runs a future with these flags in scope: [`flag`](crate::flag) and everything else that reads the
/// current request's flags reads them.
///
/// ```
/// use tower_flags::flag;
/// use tower_flags::testing::{TestFlags, with_flags};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// with_flags(TestFlags::new().on("new_checkout"), async {
///     assert!(flag("new_checkout"));
/// })
/// .await;
/// # }
/// ```
pub fn with_flags<F: Future>(flags: impl Into<Flags>, future: F) -> FlagsScope<F> {
    flags.into().scope(future)
}
