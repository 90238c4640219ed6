//! Flags that the store has lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::document::{Definition, Document, Flag, Problem, Shortfall, Timestamp};
use crate::store::FeedContent;

/// How many lost flags are reported one by one.
const NAMED: usize = 20;

/// A flag that the store has lost: its definition is gone, and no edit removed it. From
/// [`Live::missing`](super::Live::missing).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MissingFlag {
    /// The flag's name.
    pub flag: String,
    /// Its last version, if that is known.
    pub version: Option<u64>,
    /// When this process noticed.
    pub since: Timestamp,
    /// The definition that was in effect last; `None` where this process has never had it.
    pub definition: Option<Arc<Flag>>,
    /// Whether that definition is still in effect.
    pub is_in_effect: bool,
}

/// What a backup file held when this process started.
#[derive(Clone, Debug, Default)]
pub(super) struct BackupDefinitions {
    /// The flags that were in effect.
    pub(super) flags: Document,
    /// Those that the store had lost.
    pub(super) missing: Document,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct MissingFlags(BTreeMap<Arc<str>, MissingFlag>);

impl MissingFlags {
    pub(super) fn list(&self) -> Vec<MissingFlag> {
        self.0.values().cloned().collect()
    }

    /// Their definitions, beside those that are known from before.
    #[cfg(feature = "file")]
    pub(super) fn definitions(&self, mut before: Document) -> Document {
        for missing in self.0.values() {
            if let Some(flag) = &missing.definition {
                before.flags.insert(missing.flag.as_str().into(), Definition::Good(Arc::clone(flag)));
            }
        }
        before
    }

    pub(super) fn has(&self, flag: &str) -> bool {
        self.0.contains_key(flag)
    }

    /// The names of those that stay in effect.
    pub(super) fn kept(&self) -> BTreeSet<Arc<str>> {
        self.0.iter().filter(|(_, missing)| missing.is_in_effect).map(|(name, _)| Arc::clone(name)).collect()
    }

    /// The rules in effect after this load, and the flags missing then. `earlier_versions` are those before it, and
    /// `recalled` is what the backup file held if this is the first load.
    pub(super) fn after(
        mut self,
        loaded: &FeedContent,
        in_effect: &Document,
        earlier_versions: &BTreeMap<Arc<str>, u64>,
        recalled: &BackupDefinitions,
        allow_shrink: bool,
    ) -> (Document, Self) {
        let FeedContent { document, removed, versions, records_removals, .. } = loaded;
        let (after, Shortfall { kept, dropped }) =
            document.clone().after_removing(in_effect, allow_shrink, removed, &self.kept());
        if allow_shrink {
            return (after, Self::default());
        }
        self.0.retain(|name, _| !document.flags.contains_key(name) && !removed.contains(name));
        // A document is written as a whole: a flag that is no longer in it was removed.
        let lost = dropped.iter().filter(|_| *records_removals);
        for (name, is_in_effect) in kept.iter().map(|name| (name, true)).chain(lost.map(|name| (name, false))) {
            self.add(name, earlier_versions.get(name).copied(), in_effect).is_in_effect = is_in_effect;
        }
        if *records_removals {
            // Lost before this process started: by its record, the last edit left the flag there.
            let is_gone = |name: &Arc<str>| !after.flags.contains_key(name) && !removed.contains(name);
            for (name, version) in versions.iter().filter(|(name, _)| is_gone(name)) {
                self.add(name, Some(*version), &recalled.flags);
            }
            // Lost with every record of it. Another store in its place has records of its own, or else is as empty as
            // one that has lost everything.
            let is_empty = document.flags.is_empty() && versions.is_empty();
            for before in [Some(&recalled.missing), is_empty.then_some(&recalled.flags)].into_iter().flatten() {
                for name in before.flags.keys().filter(|name| is_gone(name)) {
                    self.add(name, earlier_versions.get(name).copied(), before);
                }
            }
        }
        (after, self)
    }

    /// The flag of this name, with the definition that it had `before` if it is new here.
    fn add(&mut self, name: &Arc<str>, version: Option<u64>, before: &Document) -> &mut MissingFlag {
        self.0.entry(Arc::clone(name)).or_insert_with(|| MissingFlag {
            flag: name.as_ref().to_owned(),
            version,
            since: Timestamp::now(),
            definition: last_of(before, name),
            is_in_effect: false,
        })
    }

    /// The problems of flags that are no longer in effect; the others share one problem.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let lost: Vec<&MissingFlag> = self.0.values().filter(|missing| !missing.is_in_effect).collect();
        const EXPECTED: &str = "the definition of every flag that no edit removed";
        if lost.len() > NAMED {
            let names: Vec<&str> = lost.iter().take(5).map(|missing| &*missing.flag).collect();
            let found = format!("{} of them missing ({}, …)", lost.len(), names.join(", "));
            return vec![Problem::new(EXPECTED, found).at_path("flags").with_help(HELP)];
        }
        let problem = |missing: &&MissingFlag| {
            let found = match missing.version {
                Some(version) => format!("none in the store, which had version {version}"),
                None => "none in the store".to_owned(),
            };
            Problem::new(EXPECTED, found).of_flag(&missing.flag).with_help(HELP)
        };
        lost.iter().map(problem).collect()
    }
}

const HELP: &str = "the flag is off until it is written back; an edit that removes it clears this problem too, and so does \
                    allow_shrink on the source, for a store that is new on purpose";

/// The definition that a flag had, if it can be written back.
fn last_of(before: &Document, name: &Arc<str>) -> Option<Arc<Flag>> {
    match before.flags.get(name)? {
        Definition::Good(flag) => Some(Arc::clone(flag)),
        Definition::Refused { is_killed, .. } => is_killed.then(|| Arc::new(Flag::off())),
    }
}
