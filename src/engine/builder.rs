//! Answers that somebody else has decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::context::Context;
use super::flag::{Flag, Variant};
use super::flags::Flags;
use super::instant::Instant;
use super::name::FlagName;
use super::percentage::Percentage;
use super::problem::{Problem, quoted};
use super::read::{MAX_FLAGS, NAME_PATTERN, is_name, not_a_name};
use super::reason::Reason;
use super::set::{FlagSet, Identity, SourceId};

/// Builds [`Flags`] from answers that somebody else has decided.
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
    flags: BTreeMap<Arc<str>, (Flag, Reason)>,
    identity: Identity,
    problems: Vec<Problem>,
}

impl FlagsBuilder {
    /// A flag that is on. Names that no flag can have are left out; see [`build`](Self::build).
    pub fn on(self, name: impl FlagName) -> Self {
        self.set(name.name(), Flag::on())
    }

    /// A flag that is off.
    pub fn off(self, name: impl FlagName) -> Self {
        self.set(name.name(), Flag::rollout(Percentage::ZERO))
    }

    /// A flag that is on with a variant, which stands for a value (`null` for none). Variants have
    /// names as flags do; with another the flag is on without a variant.
    pub fn variant(mut self, name: impl FlagName, variant: &str, value: impl Into<Value>) -> Self {
        let name = name.name();
        if !is_name(variant) {
            self.problems.push(Problem::new(NAME_PATTERN, quoted(variant)).of_flag(name).at_path("variants"));
            return self.on(name);
        }
        let value = Some(value.into()).filter(|value| !value.is_null());
        let variant = Variant { name: variant.to_owned(), weight: Percentage::HUNDRED, value };
        self.set(name, Flag { variants: vec![variant], ..Flag::on() })
    }

    /// Why a flag that was given is as it is; [`Reason::Static`] unless said. With [`Reason::Disabled`] it is
    /// switched off: nobody can force it on.
    pub fn reason(mut self, name: impl FlagName, reason: Reason) -> Self {
        if let Some((_, slot)) = self.flags.get_mut(name.name()) {
            *slot = reason;
        }
        self
    }

    /// Marks a flag that was given as never to be named to clients.
    pub fn hidden(mut self, name: impl FlagName) -> Self {
        if let Some((flag, _)) = self.flags.get_mut(name.name()) {
            flag.hidden = true;
        }
        self
    }

    /// Lets testers force a flag that was given.
    pub fn overridable(mut self, name: impl FlagName) -> Self {
        if let Some((flag, _)) = self.flags.get_mut(name.name()) {
            flag.overridable = true;
        }
        self
    }

    /// The source, its version in this process, and its own version or digest.
    pub fn identity(mut self, source: SourceId, version: u64, origin: impl Into<String>) -> Self {
        self.identity = Identity { source, version, origin: origin.into() };
        self
    }

    fn set(mut self, name: &str, flag: Flag) -> Self {
        if is_name(name) && self.flags.len() < MAX_FLAGS {
            self.flags.insert(Arc::from(name), (flag, Reason::Static));
        } else {
            self.problems.push(not_a_name(name));
        }
        self
    }

    /// What could not be taken: names that no flag or variant can have, and flags above 10 000.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The answers, for a caller.
    #[must_use]
    pub fn build(self, context: Context) -> Flags {
        let flags = self.flags.into_iter().map(|(name, (flag, reason))| (name, (Arc::new(flag), reason))).collect();
        Flags::decide(FlagSet::given(flags, self.identity), context, Instant::MIN, Box::default(), None)
    }
}
