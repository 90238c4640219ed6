//! Flags that are switched off in this process alone, since the store cannot be written.

#[cfg(feature = "admin")]
use std::collections::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::document::{Definition, Document, Problem, Timestamp, kept};

/// A flag that somebody has switched off in this process, and not in the store:
/// [`Live::kill_here`](crate::source::Live::kill_here).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LocalKill {
    /// The flag's name.
    pub flag: String,
    /// The flag's version at that time, where the store counts them: with another one somebody has edited it since.
    pub version: Option<u64>,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// Why, if they said so.
    pub reason: Option<String>,
}

impl LocalKill {
    /// What the status says of it.
    fn problem(&self, version: Option<u64>) -> Problem {
        let Self { flag, by, at, .. } = self;
        let found = format!("a kill by {by} at {at} in this process alone");
        let problem = Problem::new("a kill that is in the store", found).of_flag(flag);
        match (self.version, version) {
            (Some(then), Some(now)) if then != now => problem.with_help(format!(
                "the flag was edited since, from version {then} to {now}: switch it off in the store, or forget the kill"
            )),
            _ => problem.with_help("it stays off here; other processes go by the store"),
        }
    }
}

/// Why a kill is not in the store yet.
#[cfg(feature = "admin")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// The store's answer, or why there was none.
    pub(crate) error: String,
    /// Whether the store keeps answering so until its set-up or the kill is changed.
    pub(crate) is_permanent: bool,
}

#[cfg(feature = "admin")]
impl Obstacle {
    fn help(&self) -> String {
        let end = if self.is_permanent { "this does not go away by itself" } else { "it is tried again" };
        format!(
            "it stays off here, and other processes follow the store; the last attempt to write it failed: {}; {end}",
            self.error
        )
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Kills(BTreeMap<Arc<str>, ActiveKill>);

#[derive(Debug)]
struct ActiveKill {
    kill: LocalKill,
    /// What would be in effect without it, and the problem that stands for it. `None` where there would be no flag.
    instead: Option<(Definition, Problem)>,
    #[cfg(feature = "admin")]
    waits: Option<Obstacle>,
}

impl Kills {
    pub(super) fn list(&self) -> Vec<LocalKill> {
        self.0.values().map(|held| held.kill.clone()).collect()
    }

    #[cfg(feature = "admin")]
    pub(super) fn has(&self, flag: &str) -> bool {
        self.0.contains_key(flag)
    }

    #[cfg(feature = "admin")]
    pub(super) fn holds(&self, kill: &LocalKill) -> bool {
        self.0.get(&*kill.flag).is_some_and(|held| held.kill == *kill)
    }

    /// Remembers why a kill is not in the store yet.
    #[cfg(feature = "admin")]
    pub(super) fn wait(&mut self, flag: &str, waits: Obstacle) {
        if let Some(held) = self.0.get_mut(flag) {
            held.waits = Some(waits);
        }
    }

    #[cfg(feature = "admin")]
    pub(super) fn waits(&self, flag: &str) -> Option<Obstacle> {
        self.0.get(flag)?.waits.clone()
    }

    /// Adds to the kills' problems why they are not in the store yet.
    #[cfg(feature = "admin")]
    pub(super) fn explain<'a>(&'a self, problems: &mut [Problem]) {
        let waiting = |held: &'a ActiveKill| Some((&held.instead.as_ref()?.1, held.waits.as_ref()?));
        let waiting: HashMap<&Problem, &Obstacle> = self.0.values().filter_map(waiting).collect();
        if waiting.is_empty() {
            return;
        }
        for shown in problems {
            if let Some(waits) = waiting.get(&*shown) {
                shown.help = Some(waits.help());
            }
        }
    }

    #[cfg(feature = "file")]
    pub(super) fn of(kills: Vec<LocalKill>) -> Self {
        Self(kills.into_iter().map(|kill| (Arc::from(&*kill.flag), ActiveKill::new(kill))).collect())
    }

    /// What the store says of the flag.
    #[cfg(feature = "file")]
    pub(super) fn instead(&self, flag: &str) -> Option<&Definition> {
        Some(&self.0.get(flag)?.instead.as_ref()?.0)
    }

    /// Adds one, and switches the flag off.
    pub(super) fn add(&mut self, kill: LocalKill, document: &mut Document) {
        let version = kill.version;
        let name: Arc<str> = Arc::from(&*kill.flag);
        self.forget(&name, document);
        let mut held = ActiveKill::new(kill);
        held.hold_off(&name, document, version);
        self.0.insert(name, held);
    }

    /// Forgets one, and puts back what the store says. `false` where there is none.
    pub(super) fn forget(&mut self, flag: &str, document: &mut Document) -> bool {
        let Some((name, held)) = self.0.remove_entry(flag) else { return false };
        if let Some((definition, problem)) = held.instead {
            document.flags.insert(name, definition);
            document.problems.retain(|other| *other != problem);
        }
        true
    }

    /// Holds off what has just been loaded. A flag that the store itself has off needs no other kill: returns whether
    /// one has ended.
    pub(super) fn take(&mut self, document: &mut Document, versions: &BTreeMap<Arc<str>, u64>) -> bool {
        let before = self.0.len();
        self.0.retain(|name, _| !document.flags.get(name).is_some_and(Definition::is_killed));
        self.hold_off(document, versions);
        self.0.len() < before
    }

    /// Goes by the document that takes effect: reports the kills of flags that the store has lost and that are in it
    /// as they were (`kept`). Where a flag is not in it, nothing comes back when its kill is forgotten.
    pub(super) fn settle(&mut self, kept: &BTreeSet<Arc<str>>, document: &mut Document) {
        for (name, held) in &mut self.0 {
            if !document.flags.contains_key(name) {
                held.instead = None;
            } else if kept.contains(name) {
                document.problems.extend(held.instead.as_ref().map(|(_, problem)| problem.clone()));
            }
        }
    }

    /// Holds all of them off in a document.
    pub(super) fn hold_off(&mut self, document: &mut Document, versions: &BTreeMap<Arc<str>, u64>) {
        for (name, held) in &mut self.0 {
            held.hold_off(name, document, versions.get(name).copied());
        }
    }
}

impl ActiveKill {
    fn new(kill: LocalKill) -> Self {
        Self {
            kill,
            instead: None,
            #[cfg(feature = "admin")]
            waits: None,
        }
    }

    fn hold_off(&mut self, name: &Arc<str>, document: &mut Document, version: Option<u64>) {
        let Some(definition) = document.flags.get_mut(name) else { return };
        // One that is refused keeps its definition in force, which is switched off.
        let Definition::Good(flag) = &*definition else { return };
        let off = Definition::Good(kept(flag, true, false));
        let problem = self.kill.problem(version);
        self.instead = Some((std::mem::replace(definition, off), problem.clone()));
        document.problems.push(problem);
    }
}
