//! Edits that a store has acknowledged lately. They are written again if its server comes back without them.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::backoff::Backoff;
use super::change::{Author, commit_over, killed_text};
use super::error::{Error, ErrorKind};
use super::history::{Head, HistoryEntry};
use super::traits::{Commit, HistoryPage, Store, Stored};
use crate::document::{Document, Problem, Timestamp};

/// An edit is written again if it was acknowledged at most this long before the server was lost.
const KEPT: Duration = Duration::from_secs(10);
/// How long the server may be away. After that it may have been restored from a copy on purpose, and lost edits are
/// reported.
const LONGEST_OUTAGE: Duration = Duration::from_secs(60);
/// How many bytes of texts are kept.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// How often the store is compared with the memory, also while it does not answer: other processes wait up to 2 s for
/// what is written again.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Longest time for one comparison.
const LONGEST_CHECK: Duration = Duration::from_secs(10);
/// How many edits are written again in their own order before a kill among them. With more, kills come first.
const IN_ORDER: usize = 50;
/// How long an edit waits for other processes to write the edits before it again: longer than they take to notice.
const OTHERS: Duration = Duration::from_millis(1500);
const OTHERS_EVERY: Duration = Duration::from_millis(20);
/// How many lost edits the status names beside kills.
const REPORTED: usize = 100;

/// The edits that a store has acknowledged in the last 10 seconds, for stores whose server can lose them when it is
/// killed: see [`Store::recent_edits`]. Clones are one memory.
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
    store: Box<dyn Fn() -> Option<Arc<dyn Store>> + Send + Sync>,
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
    /// An empty memory. `store` returns the store as long as there is a handle of it, and must not keep it alive itself.
    #[must_use]
    pub fn new(store: impl Fn() -> Option<Arc<dyn Store>> + Send + Sync + 'static) -> Self {
        let inner = Inner {
            store: Box::new(store),
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            reports: watch::Sender::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The acknowledged edits that the store has lost and that were not written again, each by name, until its flag is
    /// edited: for the problems of [`Feed::load`](super::Feed::load) or [`Feed::condition`](super::Feed::condition).
    ///
    /// Compares the store with the memory before, and writes again what it has lost: call it before you read what is to
    /// be loaded.
    pub async fn problems(&self, store: &(impl Store + ?Sized)) -> Vec<Problem> {
        let has_edits = !self.inner.state().edits.is_empty();
        // The caller asks the same store, and sees the same error.
        if has_edits && let Err(error) = self.check(store).await {
            tracing::debug!(store = store.name(), "recent edits cannot be compared: {}", error.chain());
        }
        let reported: Vec<(String, u64)> =
            self.inner.state().lost.iter().map(|lost| (lost.flag.clone(), lost.version)).collect();
        for (flag, version) in reported {
            let is_edited = store.read(&flag).await.is_ok_and(|stored| stored.current_version() > version);
            if is_edited {
                self.inner.state().lost.retain(|lost| (&lost.flag, lost.version) != (&flag, version));
            }
        }
        self.inner.state().lost.iter().map(|lost| lost.problem.clone()).collect()
    }

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
            runtime.spawn(compare_often(Arc::downgrade(&self.inner)));
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

    /// Compares the store with the edits that it has acknowledged, and writes lost ones again.
    ///
    /// # Errors
    ///
    /// The store cannot be read or written now.
    pub(super) async fn check<S: Store + ?Sized>(&self, store: &S) -> Result<(), Error> {
        let _turn = self.inner.turn.lock().await;
        let outcome = match store.read("").await {
            Ok(stored) => self.compare(store, &stored).await,
            Err(error) => Err(error),
        };
        let mut state = self.inner.state();
        match &outcome {
            Ok(()) => state.away_since = None,
            Err(_) => _ = state.away_since.get_or_insert_with(Instant::now),
        }
        outcome
    }

    async fn compare<S: Store + ?Sized>(&self, store: &S, stored: &Stored) -> Result<(), Error> {
        let (edits, away_since) = {
            let mut state = self.inner.state();
            if !state.may_be_lost(stored) {
                state.forget_old();
                return Ok(());
            }
            (state.edits.iter().cloned().collect::<Vec<_>>(), state.away_since)
        };
        // The last attempt may not have written all lost edits again.
        let (mut lost, mut there): (Vec<_>, Vec<_>) = edits.into_iter().partition(|edit| edit.is_lost);
        let newest_there = newest_there(store, &there, &stored.head).await?;
        lost.extend(there.extract_if(.., |edit| edit.number() > newest_there));
        lost.sort_by_key(Edit::number);
        {
            let mut state = self.inner.state();
            let is_in = |edits: &[Edit], edit: &Edit| edits.iter().any(|other| other.is(edit));
            for edit in &mut state.edits {
                if is_in(&there, edit) {
                    edit.run.clone_from(&stored.run);
                }
                edit.is_lost |= is_in(&lost, edit);
            }
            if lost.is_empty() {
                state.forget_old();
                return Ok(());
            }
        }
        let now = Instant::now();
        let (lost_at, outage) = (away_since.unwrap_or(now), away_since.map_or(Duration::ZERO, |since| now - since));
        let (again, late): (Vec<_>, Vec<_>) =
            lost.into_iter().partition(|edit| outage <= LONGEST_OUTAGE && lost_at - edit.acknowledged <= KEPT);
        for edit in kills_first(late) {
            let found = format!("a store that came back without it after {} s", outage.as_secs());
            self.report(store, &edit, found).await?;
        }
        self.write_again(store, again).await
    }

    async fn write_again<S: Store + ?Sized>(&self, store: &S, mut lost: Vec<Edit>) -> Result<(), Error> {
        let mut kills = BTreeSet::new();
        for edit in &lost {
            if edit.is_off() {
                kills.insert(edit.commit.flag.clone())
            } else {
                kills.remove(&edit.commit.flag)
            };
        }
        if kills.is_empty() || lost.len() <= IN_ORDER {
            // Usually they follow what is there just as before, and the history is the same.
            let mut made = 0;
            while let Some(edit) = lost.get(made)
                && self.write_as_it_was(store, edit, &store.read(&edit.commit.flag).await?).await?
            {
                made += 1;
            }
            lost.drain(..made);
        }
        let (first, then): (Vec<_>, Vec<_>) = lost.into_iter().partition(|edit| kills.contains(&edit.commit.flag));
        for (edits, patience) in [(first, Duration::ZERO), (then, OTHERS)] {
            let until = Instant::now() + patience;
            for (at, edit) in edits.iter().enumerate() {
                let later = edits[at + 1..].iter().filter(|later| later.commit.flag == edit.commit.flag);
                let later: Vec<&Edit> = later.collect();
                self.settle(store, edit, &later, until).await?;
            }
        }
        Ok(())
    }

    /// Writes one edit again if nothing newer is there; `later` are the later edits of its flag. It first waits for other
    /// processes to write the edits before it.
    async fn settle<S: Store + ?Sized>(
        &self,
        store: &S,
        edit: &Edit,
        later: &[&Edit],
        until: Instant,
    ) -> Result<(), Error> {
        let commit = &edit.commit;
        loop {
            let stored = store.read(&commit.flag).await?;
            if self.write_as_it_was(store, edit, &stored).await? {
                return Ok(());
            }
            let is_older = stored.version < commit.version;
            if is_older && edit.goes_onto(&stored) {
                if self.write_anew(store, edit, commit.definition.clone(), stored).await? {
                    return Ok(());
                }
                continue;
            }
            // It is made already, or contained in a later edit.
            let is_made = stored.definition == commit.definition;
            if is_made || (is_older && later.iter().any(|later| later.goes_onto(&stored))) {
                self.forget(edit);
                return Ok(());
            }
            if is_older && Instant::now() < until {
                sleep(OTHERS_EVERY).await;
                continue;
            }
            let found = if is_older && self.is_newest(store, edit).await? {
                if let Some(definition) = edit.over(&stored, later) {
                    if self.write_anew(store, edit, definition, stored).await? {
                        return Ok(());
                    }
                    continue;
                }
                "a change past the store, which may be newer".to_owned()
            } else {
                format!("version {} of the flag, which is newer", stored.current_version())
            };
            return self.report(store, edit, found).await;
        }
    }

    /// `false` if the store is not in the state that the edit was made for.
    async fn write_as_it_was<S: Store + ?Sized>(&self, store: &S, edit: &Edit, stored: &Stored) -> Result<bool, Error> {
        let mut commit = Commit::clone(&edit.commit);
        commit.expected.run.clone_from(&stored.run);
        if commit.expected != *stored {
            return Ok(false);
        }
        self.write(store, edit, commit).await
    }

    /// As a new entry of the history, which says so; `false` where somebody was faster.
    async fn write_anew<S: Store + ?Sized>(
        &self,
        store: &S,
        edit: &Edit,
        definition: Option<String>,
        stored: Stored,
    ) -> Result<bool, Error> {
        let Some(entry) = edit.entry() else { return Ok(true) };
        let again = format!("written again: the store has lost entry {} of {}", entry.number, entry.at);
        let reason = entry.reason.as_ref().map_or_else(|| again.clone(), |reason| format!("{reason} ({again})"));
        let by = Author::new(entry.actor.clone().unwrap_or_default()).because(reason);
        let commit = commit_over(store, &edit.commit.flag, stored, definition, &by, now()).await?;
        self.write(store, edit, commit).await
    }

    async fn write<S: Store + ?Sized>(&self, store: &S, edit: &Edit, commit: Commit) -> Result<bool, Error> {
        match store.commit(&commit).await {
            Ok(true) => {
                self.forget(edit);
                let run = commit.expected.run.clone();
                self.add(&commit, run);
                let number = edit.number();
                tracing::warn!(
                    store = store.name(),
                    flag = commit.flag,
                    number,
                    "the store had lost an acknowledged edit: it is written again"
                );
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::InDoubt) => Err(error),
            Err(error) => {
                self.report(store, edit, format!("a store that rejects it: {}", error.chain())).await?;
                Ok(true)
            }
        }
    }

    /// Whether the history has nothing newer of the flag than the edit.
    async fn is_newest<S: Store + ?Sized>(&self, store: &S, edit: &Edit) -> Result<bool, Error> {
        let newest = store.history(&HistoryPage::newest().of(&edit.commit.flag).limit(1)).await?;
        Ok(newest.first().is_none_or(|newest| edit.entry().is_some_and(|entry| newest.at <= entry.at)))
    }

    /// Gives an edit up, and says so.
    async fn report<S: Store + ?Sized>(&self, store: &S, edit: &Edit, found: String) -> Result<(), Error> {
        let flag = &edit.commit.flag;
        let version = store.read(flag).await?.current_version();
        let problem = Problem::new(format!("{edit}, which the store acknowledged and lost"), found);
        let problem = problem.of_flag(flag).with_help("it is not written again: look at the flag, and edit it");
        tracing::error!(store = store.name(), "{problem}");
        self.forget(edit);
        let mut state = self.inner.state();
        state.report(LostEdit { problem, is_kill: edit.is_off(), flag: flag.clone(), version });
        drop(state);
        self.inner.reports.send_modify(|reports| *reports += 1);
        Ok(())
    }

    /// Logs the edits of a store that has been away for long: whether it still has them is not known.
    fn give_up(&self, store: &dyn Store) {
        let edits = {
            let mut state = self.inner.state();
            state.is_watched = false;
            state.edits.iter().cloned().collect()
        };
        for edit in kills_first(edits) {
            let flag = &edit.commit.flag;
            tracing::warn!(
                store = store.name(),
                flag,
                "{edit} was acknowledged, and the store has not answered for {LONGEST_OUTAGE:?} since: it is not written \
                 again where the store comes back without it"
            );
        }
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

    /// What it makes of a flag that lacks the edits before it, which are a part of it; `None` where it must not be written.
    /// A change by another program has no time, and may be newer than the edit; but off is the safe side.
    fn over(&self, stored: &Stored, later: &[&Edit]) -> Option<Option<String>> {
        let Commit { flag, definition, .. } = &*self.commit;
        match &stored.definition {
            _ if !stored.is_foreign() => Some(definition.clone()),
            _ if !self.is_kill() || !later.is_empty() => None,
            Some(text) => Some(Some(killed_text(flag, Some(text), now()))),
            None => Some(definition.clone()),
        }
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

/// In their order but for kills, which come before all others.
fn kills_first(mut edits: Vec<Edit>) -> Vec<Edit> {
    edits.sort_by_cached_key(|edit| !edit.is_off());
    edits
}

/// To the millisecond, as every store can hold it.
fn now() -> Timestamp {
    Timestamp::from_unix_millis(Timestamp::now().unix_millis())
}

/// How many bytes of texts a commit holds.
fn size(commit: &Commit) -> usize {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let entries: usize = commit.entries.iter().map(|entry| length(&entry.before) + length(&entry.after)).sum();
    length(&commit.definition) + length(&commit.expected.definition) + entries
}

/// The number of the newest of these edits that the store has; 0 if it has none. The store has the earlier ones too,
/// since each edit carries the digest of all before it.
async fn newest_there<S: Store + ?Sized>(store: &S, edits: &[Edit], head: &Head) -> Result<u64, Error> {
    let (Some(oldest), Some(newest)) = (edits.first(), edits.last()) else { return Ok(0) };
    if let Some(edit) = edits.iter().find(|edit| edit.commit.head == *head) {
        return Ok(edit.number());
    }
    let mut page = HistoryPage::newest().limit(1000).before(newest.number().saturating_add(1));
    while head.number >= oldest.number() && page.before.is_some_and(|before| before > oldest.number()) {
        let entries = store.history(&page).await?;
        let Some(last) = entries.last() else { break };
        page = page.before(last.number);
        for entry in &entries {
            let Ok(at) = edits.binary_search_by_key(&entry.number, Edit::number) else { continue };
            if edits[at].entry() == Some(entry) {
                return Ok(entry.number);
            }
        }
    }
    Ok(0)
}

/// Compares the store with the memory until nothing is left to compare, or the store has been away for long.
async fn compare_often(inner: Weak<Inner>) {
    let mut backoff = Backoff::default();
    loop {
        let wait = backoff.wait(Instant::now());
        let pause = {
            let Some(inner) = inner.upgrade() else { return };
            let mut state = inner.state();
            if state.edits.is_empty() {
                state.is_watched = false;
                return;
            }
            match wait {
                None => CHECK_EVERY,
                Some(wait) if backoff.is_denied() => wait.min(state.longest_pause()),
                Some(wait) => wait.min(CHECK_EVERY).min(state.longest_pause()),
            }
        };
        sleep(pause).await;
        let Some(inner) = inner.upgrade() else { return };
        let Some(store) = (inner.store)() else { return };
        let recent = RecentEdits { inner };
        if wait.is_some() && recent.inner.state().longest_pause().is_zero() {
            return recent.give_up(&*store);
        }
        match timeout(LONGEST_CHECK, recent.check(&*store)).await {
            Ok(Ok(())) => backoff.succeeded(Instant::now()),
            Ok(Err(error)) => backoff.failed(Instant::now(), error.kind()),
            Err(_) => {
                recent.inner.state().away_since.get_or_insert_with(Instant::now);
                backoff.failed(Instant::now(), ErrorKind::Unavailable);
            }
        }
    }
}
