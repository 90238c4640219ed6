//! Where a source keeps its rules: the documents in force, the set compiled from them, and who wants
//! to know of changes.
//!
//! Readers take the set with one atomic load. Writers take turns behind a mutex that no reader
//! touches.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;

use super::traits::{Freshness, Status};
use crate::document::{Document, Problem, Severity, Timestamp};
use crate::engine::{Answers, FlagSet, Identity, Query, Reason, SourceId};

/// Hears that a source has new definitions.
pub trait Subscriber: Send + Sync {
    fn changed(&self);
}

#[derive(Debug)]
pub(crate) struct Board {
    id: SourceId,
    set: ArcSwap<FlagSet>,
    writing: Mutex<Writing>,
}

#[derive(Default)]
struct Writing {
    document: Arc<Document>,
    listeners: Vec<Weak<dyn Subscriber>>,
}

impl std::fmt::Debug for Writing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writing").field("flags", &self.document.flags.len()).finish_non_exhaustive()
    }
}

impl Board {
    /// A board on which nothing has been loaded yet.
    pub(crate) fn new() -> Self {
        let id = SourceId::unique();
        Self { id, set: ArcSwap::new(FlagSet::empty(Reason::NotLoaded, id)), writing: Mutex::new(Writing::default()) }
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        // What is behind the mutex is replaced whole, so a writer that panicked left nothing halfway.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts new definitions in force. `update` gets those in force so far and returns the new ones
    /// with the store's version of them, or `None` to leave everything as it is.
    pub(crate) fn publish(&self, update: impl FnOnce(&Document) -> Option<(Document, String)>) {
        let listeners = {
            let mut writing = self.writing();
            let Some((mut document, revision)) = update(&writing.document) else { return };
            let previous = self.set.load_full();
            let identity = Identity { source: self.id, version: previous.version() + 1, revision };
            self.set.store(FlagSet::compile_and_settle(&mut document, Some(&previous), identity, Timestamp::now()));
            writing.document = Arc::new(document);
            writing.listeners.retain(|listener| listener.strong_count() > 0);
            writing.listeners.clone()
        };
        for listener in listeners {
            if let Some(listener) = listener.upgrade() {
                listener.changed();
            }
        }
    }

    pub(crate) fn answer(&self, query: &Query<'_>) -> Answers {
        Answers::decide(self.pinned_at(query.now), query)
    }

    /// The set in effect, with its schedules resolved.
    fn pinned_at(&self, now: Timestamp) -> Arc<FlagSet> {
        let set = self.set.load_full();
        if set.holds_at(now) {
            return set;
        }
        // A schedule has taken a step: the first request after it resolves it for all. If a new set was published
        // meanwhile, that stays.
        let pinned = set.pinned_at(now);
        self.set.compare_and_swap(&set, Arc::clone(&pinned));
        pinned
    }

    pub(crate) fn document(&self) -> Arc<Document> {
        Arc::clone(&self.writing().document)
    }

    pub(crate) fn on_change(&self, listener: Weak<dyn Subscriber>) {
        self.writing().listeners.push(listener);
    }

    pub(crate) fn has_listeners(&self) -> bool {
        !self.writing().listeners.is_empty()
    }

    pub(crate) fn id(&self) -> SourceId {
        self.id
    }

    pub(crate) fn set(&self) -> Arc<FlagSet> {
        self.set.load_full()
    }

    /// The status of rules that are as current as they can be.
    pub(crate) fn status(&self) -> Status {
        let set = self.set();
        Status {
            freshness: if set.version() == 0 { Freshness::NeverLoaded } else { Freshness::Fresh },
            version: set.version(),
            revision: set.revision().to_owned(),
            flags: set.len(),
            last_error: None,
            problems: set.problems().to_vec(),
        }
    }
}

/// Says in one line what is wrong with rules that were loaded; `false` if nothing is.
pub(crate) fn log_problems(source: &str, problems: &[Problem]) -> bool {
    let errors = || problems.iter().filter(|problem| problem.severity == Severity::Error);
    let Some(first) = errors().next() else { return false };
    let more = match errors().count() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more, see the status)"),
    };
    tracing::warn!(source, "rules loaded, with a problem: {first}{more}");
    true
}
