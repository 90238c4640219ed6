//! Comparing a store with the edits that it has acknowledged, and writing again what it has lost.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::{Edit, Inner, KEPT, LONGEST_OUTAGE, LostEdit, RecentEdits};
use crate::document::Problem;
use crate::error::{Error, ErrorKind};
use crate::store::author::Author;
use crate::store::backoff::Backoff;
use crate::store::commit::{Commit, Stored};
use crate::store::commit_over::{commit_over, killed_text, now};
use crate::store::history::{Head, HistoryPage};
use crate::store::traits::Store;

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

/// Gives the store as long as there is a handle of it.
type Handle = dyn Fn() -> Option<Arc<dyn Store>> + Send + Sync;

impl RecentEdits {
    /// An empty memory. `store` returns the store as long as there is a handle of it, and must not keep it alive itself.
    #[must_use]
    pub fn new(store: impl Fn() -> Option<Arc<dyn Store>> + Send + Sync + 'static) -> Self {
        let store: Arc<Handle> = Arc::new(store);
        let inner = Inner {
            watch: Box::new(move |inner| Box::pin(compare_often(inner, Arc::clone(&store)))),
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            reports: watch::Sender::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The acknowledged edits that the store has lost and that were not written again, each by name, until its flag is
    /// edited: for the problems of [`Feed::load`](crate::store::Feed::load) or [`Feed::condition`](crate::store::Feed::condition).
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

    /// Compares the store with the edits that it has acknowledged, and writes lost ones again.
    ///
    /// # Errors
    ///
    /// The store cannot be read or written now.
    pub(in crate::store) async fn check<S: Store + ?Sized>(&self, store: &S) -> Result<(), Error> {
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
}

impl Edit {
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
}

/// In their order but for kills, which come before all others.
fn kills_first(mut edits: Vec<Edit>) -> Vec<Edit> {
    edits.sort_by_cached_key(|edit| !edit.is_off());
    edits
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
async fn compare_often(inner: Weak<Inner>, store: Arc<Handle>) {
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
        let Some(store) = store() else { return };
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
