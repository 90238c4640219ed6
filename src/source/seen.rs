//! What a source remembers of the versions it has seen, so that a store that comes back older switches nothing
//! on again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::{Definition, Problem, kept};
use crate::store::Loaded;

/// Versions and kills of everything that was loaded so far.
///
/// A store that was restored from an older copy may lack a kill. A flag that was seen switched off then stays
/// off until its version rises above the one it was found with, whatever the number: that somebody edits it is
/// the sign that they know.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Seen {
    /// The highest revision of the store.
    revision: Option<u64>,
    versions: BTreeMap<Arc<str>, u64>,
    /// Flags that are switched off by what is in force.
    killed: BTreeSet<Arc<str>>,
    /// Flags that are held off, with the version they were found with when the store came back older.
    held: BTreeMap<Arc<str>, u64>,
}

impl Seen {
    /// Takes in what was loaded, and holds off in it what has to stay off.
    pub(super) fn take(&mut self, loaded: &mut Loaded) {
        if self.is_older(loaded) {
            for name in &self.killed {
                let found = loaded.versions.get(name).copied().unwrap_or_default();
                self.held.entry(Arc::clone(name)).and_modify(|held| *held = (*held).min(found)).or_insert(found);
            }
        }
        self.report_age(loaded);
        self.held.retain(|name, held| loaded.versions.get(name).is_none_or(|version| version <= held));
        for (name, held) in &self.held {
            let Some(Definition::Good(flag)) = loaded.document.flags.get_mut(name) else { continue };
            if flag.is_enabled() {
                *flag = kept(flag, true, false);
                let expected = format!("a version above {held}, since the store came back older and the flag was off");
                let problem = Problem::new(expected, format!("version {held}")).of_flag(name);
                loaded.document.problems.push(problem.with_help("it stays off until somebody edits it"));
            }
        }
        self.revision = self.revision.max(loaded.revision);
        self.versions.clone_from(&loaded.versions);
        let is_killed = |(name, definition): (&Arc<str>, &Definition)| definition.is_killed().then(|| Arc::clone(name));
        self.killed = loaded.document.flags.iter().filter_map(is_killed).chain(self.held.keys().cloned()).collect();
    }

    /// The versions that the store said last.
    pub(super) fn versions(&self) -> &BTreeMap<Arc<str>, u64> {
        &self.versions
    }

    /// Whether the store has gone back behind what was seen of it.
    fn is_older(&self, loaded: &Loaded) -> bool {
        let has_older_flag =
            loaded.versions.iter().any(|(name, version)| self.versions.get(name).is_some_and(|seen| version < seen));
        has_older_flag || matches!((loaded.revision, self.revision), (Some(now), Some(seen)) if now < seen)
    }

    /// Says that the store lacks edits that were seen, until it has as many again.
    fn report_age(&self, loaded: &mut Loaded) {
        if let (Some(now), Some(seen)) = (loaded.revision, self.revision)
            && now < seen
        {
            let problem =
                Problem::new(format!("revision {seen} of the store or a later one"), format!("revision {now}"));
            let help = "it was restored from an older copy; what was edited since is lost there";
            loaded.document.problems.push(problem.with_help(help));
        }
    }
}
