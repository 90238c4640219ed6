//! What all requests share.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinError;
use tokio::time::{Instant, sleep, timeout};

use super::access::Role;
use super::auth::Authorize;
use super::host::AllowedHosts;
use super::logins::Logins;
use super::problem::{Failure, Kind};
use super::seats::Seats;
use super::security::Security;
use super::shutdown::Shutdown;
use super::verifier::Verifier;
use crate::engine::FlagSet;
use crate::source::{Definitions, Layered, Live, Source};
use crate::store::{Error, Feed, FeedContent, HistoryEntry, HistoryPage, Store, Stored};

/// How many pieces of work that take a while are done at once.
pub(super) const WORK_AT_ONCE: usize = 4;
/// How long the store may take to answer.
pub(super) const STORE_WITHIN: Duration = Duration::from_secs(2);
/// So many bytes of the history, and what is read with them, make a page.
const MAX_HISTORY: usize = 4 * 1024 * 1024;
/// Most entries of the history that are read at once: small ones may be followed by large ones.
const MAX_ENTRIES: usize = 64;
/// How long an answer to an edit waits until this process goes by it.
pub(super) const IN_FORCE_WITHIN: Duration = Duration::from_millis(500);

pub(super) struct State {
    pub(super) store: Arc<dyn Store>,
    pub(super) source: Live,
    pub(super) effective: Option<Layered>,
    pub(super) authorizer: Box<dyn Authorize>,
    /// A request has to be for a host that each of them allows: the authorizer, and the application.
    pub(super) hosts: Vec<AllowedHosts>,
    pub(super) security: Security,
    /// Whether those who may not edit see whom flags name.
    pub(super) viewers_see_users: bool,
    pub(super) has_insecure_cookie: bool,
    /// Of those who listen to events.
    pub(super) listeners: Seats,
    /// One for each of those who fetch the whole history.
    pub(super) exports: Seats,
    /// One for each edit with a large body.
    pub(super) editing: Arc<Semaphore>,
    /// One for each definition that is compiled, and for each question that is decided: neither waits for the other.
    pub(super) compiling: Arc<Semaphore>,
    pub(super) explaining: Arc<Semaphore>,
    /// One for each page of the history that is checked.
    pub(super) verifying: Arc<Semaphore>,
    /// One for each large answer that is made.
    pub(super) answering: Arc<Semaphore>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) logins: Logins,
    /// Held while a waiting kill is written, and while somebody switches its flag on or forgets it.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// The line of edits that others were faster than.
    pub(super) overtaken: tokio::sync::Mutex<()>,
    /// Whether the store has made an edit since the last look at waiting kills.
    pub(super) has_written: AtomicBool,
    /// What the store held last.
    pub(super) loaded: Mutex<Option<Arc<FeedContent>>>,
    pub(super) shutdown: Shutdown,
    /// Notifies the router's tasks that it is gone.
    pub(super) end: watch::Sender<()>,
}

impl State {
    pub(super) fn hides_users(&self, role: Role) -> bool {
        role < Role::Editor && !self.viewers_see_users
    }

    /// One flag as the store has it.
    pub(super) async fn read(&self, flag: &str) -> Result<Stored, Failure> {
        self.in_time(self.store.read(flag)).await
    }

    pub(super) async fn history(&self, page: &HistoryPage) -> Result<Vec<HistoryEntry>, Failure> {
        self.in_time(self.store.history(page)).await
    }

    /// Up to `limit` entries, fewer where they are large, with whether there may be more behind them. Definitions
    /// of 1 MiB may have been edited a thousand times.
    pub(super) async fn history_within(
        &self,
        page: &HistoryPage,
        limit: usize,
    ) -> Result<(Vec<HistoryEntry>, bool), Failure> {
        let (mut entries, mut bytes, mut at_once) = (Vec::new(), 0, 10);
        let mut page = page.clone();
        loop {
            let wanted = at_once.min(limit - entries.len());
            let found = self.history(&page.clone().limit(wanted)).await?;
            let is_last = found.len() < wanted;
            bytes += found.iter().map(HistoryEntry::size).sum::<usize>();
            if let Some(last) = found.last() {
                page = page.before(last.number);
            }
            entries.extend(found);
            if is_last || entries.len() == limit || bytes >= MAX_HISTORY {
                return Ok((entries, !is_last));
            }
            // Small ones come in larger steps.
            at_once = (at_once * 2).min(MAX_ENTRIES);
        }
    }

    /// Everything that the store holds; not again where it is what was there last.
    pub(super) async fn load(&self) -> Result<Arc<FeedContent>, Failure> {
        let last = self.last().clone();
        let found = self.in_time(self.store.load(last.as_ref().map(|loaded| &*loaded.revision))).await?;
        match (found, last) {
            (Some(loaded), _) => {
                let loaded = Arc::new(loaded);
                *self.last() = Some(Arc::clone(&loaded));
                Ok(loaded)
            }
            (None, Some(last)) => Ok(last),
            (None, None) => Err(Failure::new(Kind::StoreUnavailable, "the store gave nothing to load")),
        }
    }

    /// Does work that takes a while off the runtime's workers, which serve other requests meanwhile, and not too much of it
    /// at once.
    pub(super) async fn off_workers<T: Send + 'static>(
        places: &Arc<Semaphore>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        // They are never closed.
        let place = Arc::clone(places).acquire_owned().await.ok();
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        match done.await.map_err(JoinError::try_into_panic) {
            Ok(done) => done,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The runtime is ending, and this request with it.
            Err(Err(_)) => std::future::pending().await,
        }
    }

    /// Waits until no waiting kill is being written.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Arc<FeedContent>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn in_time<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        match timeout(STORE_WITHIN, asked).await {
            Ok(answer) => answer.map_err(Failure::from),
            Err(_) => {
                let detail = format!("{} gave no answer within {STORE_WITHIN:?}", Feed::name(&self.store));
                Err(Failure::new(Kind::StoreUnavailable, detail))
            }
        }
    }

    /// The rules that this process goes by.
    pub(super) fn in_force(&self) -> Arc<FlagSet> {
        self.effective.as_ref().map_or_else(|| self.source.set(), Layered::set)
    }

    /// The source whose answers requests get.
    pub(super) fn answers(&self) -> &dyn Source {
        match &self.effective {
            Some(layered) => layered,
            None => &self.source,
        }
    }

    /// Whether anything but this router holds the source, as the layer of an application does.
    pub(super) fn is_source_shared(&self) -> bool {
        let own = 1 + usize::from(self.effective.is_some());
        self.source.holders() > own || self.effective.as_ref().is_some_and(Layered::is_shared)
    }

    /// The part whose definition is used in place of the store's.
    pub(super) fn shadowed_by(&self, flag: &str) -> Option<String> {
        let part = self.effective.as_ref()?.part_of(flag)?;
        (part != Definitions::name(&self.source)).then_some(part)
    }

    /// Waits a moment until this process goes by an edit. It may be longer in coming: what is in force stands in
    /// the answer.
    pub(super) async fn settle(&self, flag: &str, version: u64, within: Duration) {
        let deadline = Instant::now() + within;
        if !self.has_reached(flag, version) {
            self.source.look_now();
        }
        while !self.has_reached(flag, version) && Instant::now() < deadline {
            sleep(Duration::from_millis(2)).await;
        }
    }

    fn has_reached(&self, flag: &str, version: u64) -> bool {
        self.source.has_reached(flag, version)
            && (self.shadowed_by(flag).is_some() || self.in_force().flag(flag) == self.source.set().flag(flag))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn no_more_work_runs_at_once_than_there_are_places() {
        let places = Arc::new(Semaphore::new(2));
        let (begin, begins) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let ends = Arc::new(Mutex::new(ends));
        let work = |number: u32| {
            let (places, begin, ends) = (Arc::clone(&places), begin.clone(), Arc::clone(&ends));
            tokio::spawn(async move {
                let work = move || {
                    begin.send(number).unwrap();
                    ends.lock().unwrap().recv().unwrap();
                };
                State::off_workers(&places, work).await;
            })
        };
        let works: Vec<_> = (0..3).map(work).collect();
        let mut begun = Vec::new();
        while begun.len() < 2 {
            tokio::task::yield_now().await;
            begun.extend(begins.try_iter());
        }
        assert_eq!((places.available_permits(), begun.contains(&2)), (0, false));
        for _ in 0..3 {
            end.send(()).unwrap();
        }
        for work in works {
            work.await.unwrap();
        }
        assert_eq!((places.available_permits(), begins.try_iter().collect::<Vec<_>>()), (2, vec![2]));
    }
}
