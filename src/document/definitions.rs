//! Many definitions, and what was wrong with those that could not be read.

#[cfg(feature = "admin")]
use std::collections::HashSet;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::flag::Flag;
use super::name::FlagName;
use super::problem::{Place, Problem, Severity};
use super::read::{self, Definition, DocumentReading, Format, MAX_FLAGS, Raw, is_name, not_a_name};

/// The definitions of a set of flags by name, as far as they could be read.
///
/// A flag that is wrong costs only itself: it is a [`Problem`], and the others are there. The
/// [module documentation](crate::document) has the format.
///
/// ```
/// use tower_flags::Document;
///
/// let document = Document::from_json(
///     r#"{"flags": {"dark_mode": true, "search": {"enabled": true, "percentge": 5}}}"#,
/// )?;
/// assert!(document.flag("dark_mode").is_some());
/// assert!(document.flag("search").is_none());
/// assert_eq!(document.problems()[0].help.as_deref(), Some("did you mean \"percentage\"?"));
/// # Ok::<(), tower_flags::Problem>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    pub(crate) flags: BTreeMap<Arc<str>, Definition>,
    pub(crate) problems: Vec<Problem>,
    /// Where the flags stand that require others or have patterns, for problems that only the whole set shows.
    pub(crate) places: BTreeMap<Arc<str>, Place>,
}

impl Document {
    /// A document without flags.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a JSON document of at most 4 MiB and 10 000 flags.
    ///
    /// # Errors
    ///
    /// What refuses the document as a whole: no JSON, no `flags`, other keys beside it, a limit. What
    /// is wrong in one flag is in [`problems`](Self::problems).
    pub fn from_json(text: &str) -> Result<Self, Problem> {
        Self::from_text(text, Format::Json)
    }

    /// Reads a TOML document; otherwise like [`from_json`](Self::from_json).
    ///
    /// # Errors
    ///
    /// As for JSON. A key that stands twice is an error of the whole document in TOML.
    #[cfg(feature = "file")]
    #[cfg_attr(docsrs, doc(cfg(feature = "file")))]
    pub fn from_toml(text: &str) -> Result<Self, Problem> {
        Self::from_text(text, Format::Toml)
    }

    pub(crate) fn from_text(text: &str, format: Format) -> Result<Self, Problem> {
        read::document(text, format).map(Self::from)
    }

    /// Reads flags each of which has a text of its own, as stores keep them: its name, and bytes that should
    /// be JSON, at most 1 MiB each and 64 MiB together, of which the shortest come first. Lines and columns of problems
    /// are those of its text. A name that comes twice is refused: which of the two was meant nobody can say.
    ///
    /// ```
    /// use tower_flags::Document;
    ///
    /// let rows = [("dark_mode", "true"), ("search", r#"{"percentage": 101}"#), ("cart", "{")];
    /// let document = Document::from_texts(rows.map(|(name, text)| (name, text.as_bytes())))?;
    /// assert!(document.flag("dark_mode").is_some());
    /// assert_eq!(document.problems().len(), 2);
    /// # Ok::<(), tower_flags::Problem>(())
    /// ```
    ///
    /// # Errors
    ///
    /// More than 10 000 flags. Everything else costs one flag alone and is in [`problems`](Self::problems).
    pub fn from_texts<'a>(flags: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, Problem> {
        Self::from_raw(flags.into_iter().map(|(name, text)| (name, Raw::Text(text))))
    }

    pub(crate) fn from_raw<'a>(flags: impl IntoIterator<Item = (&'a str, Raw<'a>)>) -> Result<Self, Problem> {
        read::read_each(flags).map(Self::from)
    }

    /// Adds a flag, in place of one of the same name.
    ///
    /// # Errors
    ///
    /// A name outside `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`, or more than 10 000 flags.
    pub fn insert(&mut self, name: impl FlagName, flag: impl Into<Flag>) -> Result<(), Problem> {
        self.insert_shared(name.name(), Arc::new(flag.into()))
    }

    /// Adds many flags, and removes those that are `None`. Each problem is looked at once and not for every flag.
    #[cfg(feature = "admin")]
    pub(crate) fn change_all(&mut self, changes: Vec<(String, Option<Flag>)>) -> Result<(), Problem> {
        let names: HashSet<&str> = changes.iter().map(|(name, _)| &**name).collect();
        self.problems.retain(|problem| !problem.flag.as_deref().is_some_and(|flag| names.contains(flag)));
        for (name, flag) in changes {
            match flag {
                Some(flag) => self.put(&name, Arc::new(flag))?,
                None => drop(self.flags.remove(&*name)),
            }
            self.places.remove(&*name);
        }
        Ok(())
    }

    pub(crate) fn insert_shared(&mut self, name: &str, flag: Arc<Flag>) -> Result<(), Problem> {
        self.put(name, flag)?;
        self.forget(name);
        Ok(())
    }

    /// Adds a flag beside what was wrong with an earlier definition.
    fn put(&mut self, name: &str, flag: Arc<Flag>) -> Result<(), Problem> {
        if !is_name(name) {
            return Err(not_a_name(name));
        }
        if self.flags.len() >= MAX_FLAGS && !self.flags.contains_key(name) {
            return Err(Problem::new(format!("at most {MAX_FLAGS} flags"), "one more").of_flag(name));
        }
        self.flags.insert(Arc::from(name), Definition::Good(flag));
        Ok(())
    }

    /// Removes a flag; `false` if there was none.
    pub fn remove(&mut self, name: impl FlagName) -> bool {
        let name = name.name();
        self.forget(name);
        self.flags.remove(name).is_some()
    }

    /// What was wrong with an earlier definition is no news of the next.
    fn forget(&mut self, name: &str) {
        self.problems.retain(|problem| problem.flag.as_deref() != Some(name));
        self.places.remove(name);
    }

    /// The definition of a flag, if it was read without errors.
    #[must_use]
    pub fn flag(&self, name: impl FlagName) -> Option<&Flag> {
        match self.flags.get(name.name())? {
            Definition::Good(flag) => Some(flag),
            Definition::Refused { .. } => None,
        }
    }

    /// The flags that were read without errors, by name.
    pub fn flags(&self) -> impl Iterator<Item = (&str, &Flag)> {
        self.flags.iter().filter_map(|(name, definition)| match definition {
            Definition::Good(flag) => Some((name.as_ref(), flag.as_ref())),
            Definition::Refused { .. } => None,
        })
    }

    /// Everything that was wrong: errors first, each in the order of the text.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Says in every problem where the document came from.
    #[cfg(any(feature = "file", feature = "http"))]
    pub(crate) fn name_source(&mut self, name: &str) {
        for problem in &mut self.problems {
            problem.source = Some(name.to_owned());
        }
        for place in self.places.values_mut() {
            place.source = Some(name.to_owned());
        }
    }

    /// Warns of flags that other programs, which read the same document, may take for on for everybody.
    pub(crate) fn warn_of_defaults(&mut self) {
        let unclear = self.flags.iter().filter_map(|(name, definition)| match definition {
            Definition::Good(flag) if flag.is_enabled() && flag.is_restricted_by_default() => Some(name),
            _ => None,
        });
        let warn = |name: &Arc<str>| {
            let problem =
                Problem::new("\"percentage\" beside a list or rules, since others read the same store", "none");
            let help = "it counts as 0 here; some services that read such flags take them for on for everybody";
            let problem = problem.of_flag(name).at_path("percentage").with_help(help);
            Problem { severity: Severity::Warning, ..problem }
        };
        let warnings: Vec<Problem> = unclear.map(warn).collect();
        self.problems.extend(warnings);
    }

    /// What is in force when this update follows `in_force`.
    ///
    /// 1. A refused flag keeps its earlier good definition. If the refused text legibly says that
    ///    the flag is off, it is off at once, with its other settings kept.
    /// 2. Where the update lacks more than half of the flags in force, or all of them, the missing
    ///    ones stay in force and one problem says so, unless `allow_shrink`. Where both together are
    ///    more than 10 000, those in force come first.
    ///
    /// ```
    /// use tower_flags::Document;
    ///
    /// let good = Document::from_json(r#"{"flags": {"a": {"percentage": 50}, "b": true, "c": true}}"#)?;
    /// let cut = Document::from_json(r#"{"flags": {"a": {"percentage": "x", "enabled": false}}}"#)?;
    /// let in_force = cut.after(&good, false);
    /// assert!(!in_force.flag("a").unwrap().is_enabled());
    /// assert!(in_force.flag("b").unwrap().is_enabled());
    /// assert_eq!(in_force.problems().len(), 2);
    /// # Ok::<(), tower_flags::Problem>(())
    /// ```
    #[must_use]
    pub fn after(self, in_force: &Self, allow_shrink: bool) -> Self {
        self.after_removing(in_force, allow_shrink, &BTreeSet::new(), &BTreeSet::new()).0
    }

    /// Like [`after`](Self::after), but some flags are known to be `removed` on purpose, and others were `missing_before`
    /// together with more than half of all: those stay in effect until they are back, one by one.
    pub(crate) fn after_removing(
        mut self,
        in_force: &Self,
        allow_shrink: bool,
        removed: &BTreeSet<Arc<str>>,
        missing_before: &BTreeSet<Arc<str>>,
    ) -> (Self, Shortfall) {
        for (name, definition) in &mut self.flags {
            if let Definition::Refused { is_killed, is_hidden } = *definition
                && let Some(Definition::Good(earlier)) = in_force.flags.get(name)
            {
                *definition = Definition::Good(kept(earlier, is_killed, is_hidden));
            }
        }
        let is_missing = |name: &&Arc<str>| !self.flags.contains_key(*name) && !removed.contains(*name);
        let missing: BTreeSet<Arc<str>> = in_force.flags.keys().filter(is_missing).cloned().collect();
        let expected = in_force.flags.keys().filter(|name| !removed.contains(*name)).count();
        let is_shrunken = missing.len() * 2 > expected;
        let stays = |name: &Arc<str>| !allow_shrink && (is_shrunken || missing_before.contains(name));
        let (kept, dropped): (BTreeSet<_>, BTreeSet<_>) = missing.into_iter().partition(stays);
        if !kept.is_empty() {
            self.problems.push(shrunken(&kept, expected, is_shrunken));
            for name in &kept {
                self.flags.insert(Arc::clone(name), in_force.flags[name].clone());
            }
            self.drop_newest(in_force);
        }
        (self, Shortfall { kept, dropped })
    }

    /// Leaves out flags that are not in force yet, where there are too many.
    fn drop_newest(&mut self, in_force: &Self) {
        let excess = self.flags.len().saturating_sub(MAX_FLAGS);
        let is_new = |name: &&Arc<str>| !in_force.flags.contains_key(*name);
        let newest: Vec<Arc<str>> = self.flags.keys().rev().filter(is_new).take(excess).cloned().collect();
        if let Some(last) = newest.last() {
            let found = format!("{excess} more ({last} and those after it)");
            let problem = Problem::new(format!("at most {MAX_FLAGS} flags with those that stay in force"), found);
            self.problems.push(problem.at_path("flags").with_help("the new ones are left out"));
        }
        for name in newest {
            self.flags.remove(&name);
        }
    }
}

/// The flags in effect that an update lacks, except those that were removed on purpose.
#[derive(Debug, Default)]
pub(crate) struct Shortfall {
    /// They stay in effect.
    pub(crate) kept: BTreeSet<Arc<str>>,
    /// They do not stay in effect.
    pub(crate) dropped: BTreeSet<Arc<str>>,
}

impl From<DocumentReading> for Document {
    fn from(DocumentReading { flags, problems, places }: DocumentReading) -> Self {
        Self { flags, problems, places }
    }
}

/// An earlier definition that stays in force beside a refused one, off and hidden where that one
/// says so.
pub(crate) fn kept(earlier: &Arc<Flag>, is_killed: bool, is_hidden: bool) -> Arc<Flag> {
    let (enabled, hidden) = (earlier.enabled && !is_killed, earlier.hidden || is_hidden);
    if (enabled, hidden) == (earlier.enabled, earlier.hidden) {
        return Arc::clone(earlier);
    }
    Arc::new(Flag { enabled, hidden, ..Flag::clone(earlier) })
}

fn shrunken(missing: &BTreeSet<Arc<str>>, in_force: usize, is_shrunken: bool) -> Problem {
    let mut names: Vec<&str> = missing.iter().take(5).map(|name| name.as_ref()).collect();
    if missing.len() > names.len() {
        names.push("…");
    }
    let least = if is_shrunken { "at least half" } else { "all" };
    Problem::new(
        format!("{least} of the {in_force} flags in force"),
        format!("{} of them missing ({})", missing.len(), names.join(", ")),
    )
    .at_path("flags")
    .with_help("they stay in force; write back what was lost, or let the removal through by allow_shrink on the source or a restart")
}
