//! What a source remembers of the versions it has seen, so that a store that comes back older switches nothing
//! on again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::document::{Definition, Document, Problem, kept};
use crate::store::FeedContent;

/// Versions and kills of everything that was loaded so far.
///
/// A store that was restored from an older copy may lack a kill. A flag that was seen switched off then stays
/// off until its version rises above the one it was found with, whatever the number: that somebody edits it is
/// the sign that they know.
///
/// Another store in its place is not an older copy. Its flags are as it says, with one exception: a flag that was seen
/// switched off, and that its history does not know, stays off until its first edit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SeenFlags {
    /// The identity of the store in which all of it was seen; empty before that is known.
    #[serde(skip_serializing_if = "String::is_empty")]
    store: String,
    /// The highest revision of the store.
    highest: Option<u64>,
    /// The revision that it had last.
    sequence: Option<u64>,
    versions: BTreeMap<Arc<str>, u64>,
    /// Flags that were switched off when they were there last.
    killed: BTreeSet<Arc<str>>,
    /// Flags that are held off, with the version they were found with when the store came back older.
    held: BTreeMap<Arc<str>, u64>,
}

impl SeenFlags {
    /// Takes in what was loaded from the store of this identity, if that is known, and switches off the flags that have
    /// to stay off.
    pub(super) fn take(&mut self, loaded: &mut FeedContent, identity: Option<&str>) {
        match identity {
            Some(another) if !self.store.is_empty() && another != self.store => self.take_another(loaded, another),
            identity => self.take_same(loaded, identity.unwrap_or_default()),
        }
        self.held.retain(|name, held| loaded.versions.get(name).is_none_or(|version| version <= held));
        self.hold_off(&mut loaded.document);
        self.versions.clone_from(&loaded.versions);
        let flags = &loaded.document.flags;
        self.killed.retain(|name| !flags.contains_key(name));
        let killed = flags.iter().filter(|(_, definition)| definition.is_killed()).map(|(name, _)| Arc::clone(name));
        self.killed.extend(killed.chain(self.held.keys().cloned()));
    }

    fn take_same(&mut self, loaded: &mut FeedContent, identity: &str) {
        if self.is_older(loaded) {
            for name in &self.killed {
                let found = loaded.versions.get(name).copied().unwrap_or_default();
                self.held.insert(Arc::clone(name), found);
            }
        }
        self.report_age(loaded);
        self.highest = self.highest.max(loaded.sequence);
        self.sequence = loaded.sequence;
        if self.store.is_empty() {
            identity.clone_into(&mut self.store);
        }
    }

    fn take_another(&mut self, loaded: &FeedContent, identity: &str) {
        let is_unedited = |name: &Arc<str>| loaded.versions.get(name).is_none_or(|version| *version == 0);
        self.held = self.killed.iter().filter(|name| is_unedited(name)).map(|name| (Arc::clone(name), 0)).collect();
        // A store without a history may be the one that was seen, emptied: what comes back is compared with that.
        if !identity.is_empty() {
            identity.clone_into(&mut self.store);
            self.killed = self.held.keys().cloned().collect();
            self.highest = loaded.sequence;
            self.sequence = loaded.sequence;
        }
    }

    /// Whether the identity of the store matters for what was loaded.
    pub(super) fn depends_on_identity(&self, loaded: &FeedContent) -> bool {
        self.store.is_empty() || loaded.versions.is_empty() || self.is_older(loaded)
    }

    /// Switches off in a document what is held off.
    pub(super) fn hold_off(&self, document: &mut Document) {
        for (name, held) in &self.held {
            let Some(Definition::Good(flag)) = document.flags.get_mut(name) else { continue };
            if flag.is_enabled() {
                *flag = kept(flag, true, false);
                let expected = format!(
                    "a version above {held}, since the flag was off before the store came back older or was replaced"
                );
                let problem = Problem::new(expected, format!("version {held}")).of_flag(name);
                document.problems.push(problem.with_help("it stays off until somebody edits it"));
            }
        }
    }

    #[cfg(feature = "admin")]
    pub(super) fn holds_off(&self, flag: &str) -> bool {
        self.held.contains_key(flag)
    }

    /// The versions that the store said last.
    pub(super) fn versions(&self) -> &BTreeMap<Arc<str>, u64> {
        &self.versions
    }

    /// Whether the store has gone back behind what was seen of it.
    fn is_older(&self, loaded: &FeedContent) -> bool {
        let has_older_flag =
            loaded.versions.iter().any(|(name, version)| self.versions.get(name).is_some_and(|seen| version < seen));
        has_older_flag || matches!((loaded.sequence, self.sequence), (Some(now), Some(seen)) if now < seen)
    }

    /// Says that the store lacks edits that were seen, until it has as many again.
    fn report_age(&self, loaded: &mut FeedContent) {
        if let (Some(now), Some(seen)) = (loaded.sequence, self.highest)
            && now < seen
        {
            let problem =
                Problem::new(format!("revision {seen} of the store or a later one"), format!("revision {now}"));
            let help = "it was restored from an older copy; what was edited since is lost there";
            loaded.document.problems.push(problem.with_help(help));
        }
    }
}
