//! Answers that are given, for tests.

use std::collections::BTreeMap;

use serde_json::Value;

use super::flags::Flags;
use crate::context::Context;
use crate::document::{FlagName, Problem, Timestamp};
use crate::engine::{Answers, FlagSetBuilder, Query, Reason, SourceId};

/// Builds [`Flags`] from answers that are given.
///
/// Sources over another engine compile their flags once per update instead, by [`FlagSet::builder`](crate::FlagSet::builder).
///
/// ```
/// use tower_flags::engine::Reason;
/// use tower_flags::{Context, Flags};
///
/// let flags = Flags::builder().on("a").off("b").reason("b", Reason::Prerequisite).build(Context::anonymous());
/// assert_eq!(flags.active().collect::<Vec<_>>(), ["a"]);
/// assert_eq!(flags.evaluation("b").reason, Reason::Prerequisite);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct FlagsBuilder {
    set: FlagSetBuilder,
    given: BTreeMap<String, GivenAnswer>,
}

/// The answer of one flag.
#[derive(Clone, Debug)]
struct GivenAnswer {
    enabled: bool,
    variant: Option<String>,
    reason: Reason,
}

impl Flags {
    /// A builder for answers that are given: for tests.
    pub fn builder() -> FlagsBuilder {
        FlagsBuilder::default()
    }
}

impl FlagsBuilder {
    /// A flag that is on. Names that no flag can have are left out; see [`problems`](Self::problems).
    pub fn on(self, name: impl FlagName) -> Self {
        self.give(name.name(), true, None)
    }

    /// A flag that is off.
    pub fn off(self, name: impl FlagName) -> Self {
        self.give(name.name(), false, None)
    }

    /// A flag that is on with a variant, which has a value (`null` for none). Variants have names as flags do; with
    /// another name the flag is on without a variant.
    pub fn variant(mut self, name: impl FlagName, variant: &str, value: impl Into<Value>) -> Self {
        let name = name.name();
        self.set = self.set.variant(name, variant, value);
        self.give(name, true, Some(variant.to_owned()))
    }

    /// Why a flag that was given is as it is; [`Reason::Static`] unless set. With [`Reason::Disabled`] it is off, and
    /// nothing can force it on.
    pub fn reason(mut self, name: impl FlagName, reason: Reason) -> Self {
        if let Some(given) = self.given.get_mut(name.name()) {
            given.reason = reason;
        }
        self
    }

    /// Marks a flag that was given as never to be named to clients.
    pub fn hidden(mut self, name: impl FlagName) -> Self {
        if self.given.contains_key(name.name()) {
            self.set = self.set.hidden(name);
        }
        self
    }

    /// Lets testers force a flag that was given.
    pub fn overridable(mut self, name: impl FlagName) -> Self {
        if self.given.contains_key(name.name()) {
            self.set = self.set.overridable(name);
        }
        self
    }

    /// The source, its version in this process, and its own version or digest.
    pub fn identity(mut self, source: SourceId, version: u64, revision: impl Into<String>) -> Self {
        self.set = self.set.identity(source, version, revision);
        self
    }

    fn give(mut self, name: &str, enabled: bool, variant: Option<String>) -> Self {
        self.set = self.set.flag(name);
        self.given.insert(name.to_owned(), GivenAnswer { enabled, variant, reason: Reason::Static });
        self
    }

    /// Everything that was left out: names that no flag or variant can have, and flags above 10,000.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        self.set.problems()
    }

    /// The answers to a query.
    #[must_use]
    pub fn answer(self, query: &Query<'_>) -> Answers {
        let Self { set, given } = self;
        let set = set.build();
        let mut answers = Answers::of(&set, query);
        for (name, GivenAnswer { enabled, variant, reason }) in given {
            let Some(number) = set.number(&name) else { continue };
            match variant {
                Some(variant) => answers.set_variant(number, &variant),
                None => answers.set(number, enabled),
            };
            answers.set_reason(number, reason);
        }
        answers
    }

    /// The answers, for a caller.
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "a caller is mostly made for it")]
    pub fn build(self, context: Context) -> Flags {
        self.answer(&Query::new(&context, Timestamp::MIN)).into()
    }
}
