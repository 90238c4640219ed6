//! Hearing of every flag that changes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::document::{Definition, Document, Flag};

/// How many changes wait for somebody who is slow to ask for them.
const WAITING: usize = 1024;

/// A flag whose definition in force is another one now, from [`Live::subscribe`](super::Live::subscribe).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FlagChange {
    /// The flag's name.
    pub flag: String,
    /// The definition before; `None` where there was no usable one.
    pub before: Option<Arc<Flag>>,
    /// The definition now; `None` if none is in effect any more: the flag was removed, or the store has lost it
    /// ([`Live::missing`](super::Live::missing)).
    pub after: Option<Arc<Flag>>,
    /// The flag's version in the store, where that has versions.
    pub flag_version: Option<u64>,
    /// The number of the rules in this process that it came with, as [`Flags::version`](crate::Flags::version).
    pub version: u64,
}

/// Changes as they come, from [`Live::subscribe`](super::Live::subscribe).
#[derive(Debug)]
pub struct Changes(broadcast::Receiver<FlagChange>);

/// So many changes were lost, since nobody asked for them in time: look at all flags anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissedChanges(pub u64);

impl fmt::Display for MissedChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} changes of flags were not asked for in time and are lost", self.0)
    }
}

impl std::error::Error for MissedChanges {}

impl Changes {
    /// Waits for the next one; `None` when the source is gone.
    ///
    /// # Errors
    ///
    /// [`MissedChanges`] once after some were lost; the next call goes on behind them. 1 024 wait.
    pub async fn next(&mut self) -> Option<Result<FlagChange, MissedChanges>> {
        match self.0.recv().await {
            Ok(change) => Some(Ok(change)),
            Err(RecvError::Lagged(count)) => Some(Err(MissedChanges(count))),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Where changes are told.
#[derive(Debug)]
pub(super) struct Notifier(broadcast::Sender<FlagChange>);

impl Default for Notifier {
    fn default() -> Self {
        Self(broadcast::Sender::new(WAITING))
    }
}

impl Notifier {
    pub(super) fn subscribe(&self) -> Changes {
        Changes(self.0.subscribe())
    }

    /// Tells what is different, in ascending order of names.
    pub(super) fn tell(&self, before: &Document, after: &Document, versions: &BTreeMap<Arc<str>, u64>, version: u64) {
        if self.0.receiver_count() == 0 {
            return;
        }
        let mut names: Vec<&Arc<str>> = before.flags.keys().chain(after.flags.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let (old, new) = (good(before, name), good(after, name));
            let is_same = match (old, new) {
                (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old == new,
                (None, None) => true,
                _ => false,
            };
            if !is_same {
                // Nobody listens any more: the count above is from a moment ago.
                let _ = self.0.send(FlagChange {
                    flag: name.as_ref().to_owned(),
                    before: old.cloned(),
                    after: new.cloned(),
                    flag_version: versions.get(name).copied(),
                    version,
                });
            }
        }
    }
}

fn good<'a>(document: &'a Document, name: &Arc<str>) -> Option<&'a Arc<Flag>> {
    match document.flags.get(name)? {
        Definition::Good(flag) => Some(flag),
        Definition::Refused { .. } => None,
    }
}
