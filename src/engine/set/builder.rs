//! The flags of another engine as a set.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::core::Tables;
use super::flag_set::FlagSet;
use super::identity::{Identity, SourceId};
use crate::document::{
    Definition, Flag, FlagName, MAX_FLAGS, NAME_PATTERN, Percentage, Problem, Variant, is_name, not_a_name, quoted,
};

/// Builds a [`FlagSet`] from the names, variants and values that another engine knows; its results are written to
/// [`Answers::of`](crate::engine::Answers::of).
///
/// ```
/// use tower_flags::FlagSet;
///
/// let set = FlagSet::builder().flag("search").variant("pricing", "a", 1).variant("pricing", "b", 2).flag("no such name");
/// assert_eq!(set.problems().len(), 1, "names are checked");
/// let set = set.build();
/// assert_eq!(set.names().collect::<Vec<_>>(), ["pricing", "search"]);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct FlagSetBuilder {
    flags: BTreeMap<Arc<str>, Flag>,
    identity: Identity,
    problems: Vec<Problem>,
}

impl FlagSet {
    /// A builder for the flags of another engine.
    pub fn builder() -> FlagSetBuilder {
        FlagSetBuilder::default()
    }
}

impl FlagSetBuilder {
    /// Adds a flag, unless it is there. A name that no flag can have is left out; see [`problems`](Self::problems).
    pub fn flag(mut self, name: impl FlagName) -> Self {
        self.entry(name.name());
        self
    }

    /// Adds a variant with its value (`null` for none) to a flag, and the flag, unless they are there. Variants have names
    /// as flags do; another is left out.
    pub fn variant(mut self, name: impl FlagName, variant: &str, value: impl Into<Value>) -> Self {
        let name = name.name();
        if !is_name(variant) {
            self.problems.push(Problem::new(NAME_PATTERN, quoted(variant)).of_flag(name).at_path("variants"));
            return self.flag(name);
        }
        let value = Some(value.into()).filter(|value| !value.is_null());
        let added = Variant { name: variant.to_owned(), weight: Percentage::HUNDRED, value };
        let Some(flag) = self.entry(name) else { return self };
        match flag.variants.iter().position(|known| known.name == variant) {
            Some(at) => flag.variants[at] = added,
            None if flag.variants.len() < MAX_VARIANTS => flag.variants.push(added),
            None => {
                let problem = Problem::new(format!("at most {MAX_VARIANTS} variants"), "more");
                self.problems.push(problem.of_flag(name).at_path("variants"));
            }
        }
        self
    }

    /// Marks a flag as never to be named to clients.
    pub fn hidden(mut self, name: impl FlagName) -> Self {
        if let Some(flag) = self.entry(name.name()) {
            flag.hidden = true;
        }
        self
    }

    /// Lets testers force a flag.
    pub fn overridable(mut self, name: impl FlagName) -> Self {
        if let Some(flag) = self.entry(name.name()) {
            flag.overridable = true;
        }
        self
    }

    /// The source, its version in this process, and its own version or digest.
    pub fn identity(mut self, source: SourceId, version: u64, revision: impl Into<String>) -> Self {
        self.identity = Identity { source, version, revision: revision.into() };
        self
    }

    fn entry(&mut self, name: &str) -> Option<&mut Flag> {
        if !self.flags.contains_key(name) {
            if !is_name(name) || self.flags.len() >= MAX_FLAGS {
                self.problems.push(not_a_name(name));
                return None;
            }
            self.flags.insert(Arc::from(name), Flag::rollout(Percentage::ZERO));
        }
        self.flags.get_mut(name)
    }

    /// Everything that was left out: names that no flag or variant can have, and flags above 10,000.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Compiles the set: once per update of the engine, and not per request.
    #[must_use]
    pub fn build(self) -> Arc<FlagSet> {
        let Self { flags, identity, problems } = self;
        let (names, definitions) =
            flags.into_iter().map(|(name, flag)| (name, Definition::Good(Arc::new(flag)))).unzip();
        FlagSet::of_engine(Tables { names, definitions, problems, ..Tables::default() }, identity)
    }
}

/// Most variants of a flag.
const MAX_VARIANTS: usize = 255;
