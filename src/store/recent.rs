//! Edits that a store has acknowledged lately. They are written again if its server comes back without them.

mod recovery;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::commit::{Commit, Stored};
use super::feed::BoxFuture;
use super::history::HistoryEntry;
use crate::document::{Document, Problem, Timestamp};

/// An edit is written again if it was acknowledged at most this long before the server was lost.
const KEPT: Duration = Duration::from_secs(10);
/// How long the server may be away. After that it may have been restored from a copy on purpose, and lost edits are
/// reported.
const LONGEST_OUTAGE: Duration = Duration::from_secs(60);
/// How many bytes of texts are kept.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// How many lost edits the status names beside kills.
const REPORTED: usize = 100;

/// The edits that a store has acknowledged in the last 10 seconds, for stores whose server can lose them when it is
/// killed: see [`Store::recent_edits`](super::Store::recent_edits). Clones are one memory.
///
/// 1. Every edit by [`StoreExt::change`](super::StoreExt::change) is kept when it is acknowledged. A task compares the
///    store with the memory each second until the edit is 10 seconds old; the next edit and [`problems`](Self::problems)
///    do so too. The task does not ask a store again that rejects its credentials. After a minute without an answer it
///    logs each edit and ends; the next edit or load compares then.
/// 2. A server that was started again, or that another one has replaced, may lack the end of the history. The edits
///    that were acknowledged within 10 s before the server was lost are then written again: as the same entries of the
///    history where they go onto what is there, else as new ones by the same authors, whose reason says so.
/// 3. An edit is not written over a newer one, nor over what another program has written since the loss. It is logged
///    as lost then, and [`problems`](Self::problems) names it until the flag is edited. The same holds after an outage
///    of more than a minute, since a server may be restored from an older copy on purpose. The exception is a kill: it
///    switches off what another program has written, and keeps the rest of it.
/// 4. Kills come first, and all of them are named; of other edits, the last 100. Two processes that have both lost edits
///    of one flag leave the newest of them.
/// 5. What somebody removes in a server that goes on running is not lost, and is not written again.
///
/// The memory ends with the last handle of the store. At most 16 MiB of definitions are kept.
#[derive(Clone)]
pub struct RecentEdits {
    inner: Arc<Inner>,
}

struct Inner {
    /// Compares the store with the memory as long as there is something to compare.
    watch: Box<dyn Fn(Weak<Inner>) -> BoxFuture<'static, ()> + Send + Sync>,
    state: Mutex<State>,
    /// Held while the store is compared with the memory.
    turn: tokio::sync::Mutex<()>,
    /// How many lost edits were reported.
    reports: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// In the order of their numbers.
    edits: VecDeque<Edit>,
    bytes: usize,
    /// Since when the store has not answered.
    away_since: Option<Instant>,
    is_watched: bool,
    /// Kills first.
    lost: Vec<LostEdit>,
}

#[derive(Clone)]
struct Edit {
    commit: Arc<Commit>,
    acknowledged: Instant,
    /// The run of the server that was seen to have it.
    run: Option<Arc<str>>,
    /// Whether the store was seen to lack it.
    is_lost: bool,
}

/// An acknowledged edit that the store has lost, and that was not written again.
struct LostEdit {
    problem: Problem,
    is_kill: bool,
    flag: String,
    /// The flag's version in the store at that time.
    version: u64,
}

impl fmt::Debug for RecentEdits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentEdits").field("edits", &self.inner.state().edits.len()).finish_non_exhaustive()
    }
}

impl RecentEdits {
    /// Changes with every lost edit that is reported.
    #[cfg(feature = "redis")]
    pub(super) fn reports(&self) -> watch::Receiver<u64> {
        self.inner.reports.subscribe()
    }

    /// Keeps an edit that this run of the server has just made.
    pub(super) fn add(&self, commit: &Commit, run: Option<Arc<str>>) {
        let mut state = self.inner.state();
        state.bytes += size(commit);
        let edit = Edit { commit: Arc::new(commit.clone()), acknowledged: Instant::now(), run, is_lost: false };
        let at = state.edits.partition_point(|other| other.number() < edit.number());
        state.edits.insert(at, edit);
        while state.bytes > MOST_BYTES && state.edits.len() > 1 {
            state.forget_first();
        }
        // Without a runtime the next edit compares.
        if !state.is_watched
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            state.is_watched = true;
            runtime.spawn((self.inner.watch)(Arc::downgrade(&self.inner)));
        }
    }

    /// Notes that the store answers, and says whether it may have lost edits by what it says now.
    pub(super) fn may_be_lost(&self, stored: &Stored) -> bool {
        let mut state = self.inner.state();
        let may_be_lost = state.may_be_lost(stored);
        if !may_be_lost {
            state.away_since = None;
        }
        may_be_lost
    }

    fn forget(&self, edit: &Edit) {
        let mut state = self.inner.state();
        if let Some(at) = state.edits.iter().position(|other| other.is(edit)) {
            state.edits.remove(at);
            state.bytes -= size(&edit.commit);
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How long it is until a store that does not answer is given up.
    fn longest_pause(&self) -> Duration {
        self.away_since.map_or(Duration::MAX, |since| LONGEST_OUTAGE.saturating_sub(since.elapsed()))
    }

    fn may_be_lost(&self, stored: &Stored) -> bool {
        let Some(newest) = self.edits.back() else { return false };
        match &stored.run {
            Some(run) => self.edits.iter().any(|edit| edit.is_lost || edit.run.as_ref() != Some(run)),
            None => newest.commit.head != stored.head || self.edits.iter().any(|edit| edit.is_lost),
        }
    }

    /// Names a lost edit: after those before it, and after all kills where it is none.
    fn report(&mut self, lost: LostEdit) {
        let kills = self.lost.partition_point(|lost| lost.is_kill);
        if lost.is_kill {
            return self.lost.insert(kills, lost);
        }
        if self.lost.len() - kills == REPORTED {
            self.lost.remove(kills);
        }
        self.lost.push(lost);
    }

    /// Forgets the edits that the store has had for long enough.
    fn forget_old(&mut self) {
        while self.edits.front().is_some_and(|edit| edit.acknowledged.elapsed() > KEPT) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some(edit) = self.edits.pop_front() {
            self.bytes -= size(&edit.commit);
        }
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_off() { "kill" } else { "edit" };
        let by = self.entry().and_then(|entry| entry.actor.as_deref()).unwrap_or_default();
        let at = self.entry().map_or(Timestamp::MIN, |entry| entry.at);
        write!(f, "the {what} by {by} at {at}")
    }
}

impl Edit {
    fn number(&self) -> u64 {
        self.commit.head.number
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.commit, &other.commit)
    }

    /// Its entry in the history.
    fn entry(&self) -> Option<&HistoryEntry> {
        self.commit.entries.last()
    }

    /// Whether the flag is as the edit found it, whatever has become of others. Text alone does not tell where
    /// another program has written it.
    fn goes_onto(&self, stored: &Stored) -> bool {
        let expected = &self.commit.expected;
        let is_the_same = (stored.version, &stored.content) == (expected.version, &expected.content);
        stored.definition == expected.definition && (is_the_same || !stored.is_foreign())
    }

    /// Whether it leaves a flag that is off.
    fn is_kill(&self) -> bool {
        self.commit.definition.is_some() && self.is_off()
    }

    /// Whether it leaves the flag off for everybody.
    fn is_off(&self) -> bool {
        let Commit { flag, definition, .. } = &*self.commit;
        definition.as_ref().is_none_or(|text| {
            let document = Document::from_texts([(flag.as_str(), text.as_bytes())]);
            document.is_ok_and(|document| document.flags.values().all(|definition| definition.is_killed()))
        })
    }
}

/// How many bytes of texts a commit holds.
fn size(commit: &Commit) -> usize {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let entries: usize = commit.entries.iter().map(|entry| length(&entry.before) + length(&entry.after)).sum();
    length(&commit.definition) + length(&commit.expected.definition) + entries
}
