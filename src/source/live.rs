//! Any feed, kept current.

#[cfg(feature = "admin")]
mod admin;
#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

#[cfg(feature = "file")]
use super::backup::{Backup, BackupContent};
#[cfg(feature = "file")]
use super::backup_writer::BackupWriter;
use super::board::{Board, Subscriber, log_problems};
use super::changes::{Changes, Notifier};
use super::condition::Condition;
use super::health::Health;
use super::kills::{Kills, LocalKill};
use super::layered::{Definitions, sealed};
use super::missing::{BackupDefinitions, MissingFlag, MissingFlags};
use super::seen::SeenFlags;
use super::tasks::{blocking, joined};
use super::traits::{Freshness, Source, Status};
use crate::document::{Definition, Document, Flag, FlagName, Timestamp};
use crate::engine::{Answers, Query, SourceId};
use crate::store::{self, Author, Backoff, Error, ErrorKind, Feed, FeedContent, Notices, OwnWork, random_share};

/// How long [`Live::connect`] waits for the first rules.
const START: Duration = Duration::from_secs(1);
/// How long a feed may take to answer before it counts as failed.
pub(super) const LONGEST_REFRESH: Duration = Duration::from_secs(10);
/// How long a feed may take to report its condition; after that the previous answer stays.
const LONGEST_CONDITION: Duration = Duration::from_secs(5);
/// How long a kill in this process waits for the backup file. A disk that hangs holds up neither kills nor loading.
#[cfg(feature = "file")]
const LONGEST_SAVE: Duration = Duration::from_millis(200);

/// A source over any [`Feed`]: subscribes, loads, and keeps the rules current until the last clone
/// is dropped.
///
/// 1. Subscribe first, then load, so that no change falls between; load again at every notice, every
///    [`resync_every`](Feed::resync_every) ± 10 %, and in full after notices were lost.
/// 2. What cannot be loaded, or is refused as a whole, changes nothing: the last good rules stay.
/// 3. A flag that is refused keeps its last good definition; a kill inside it is taken.
/// 4. A feed that does not answer within 10 s, panics, or whose notices end, counts as failed and is asked again:
///    within 2 s, then at most 2 s apart for the first 10 s, then twice as far each time, up to 30 s and to its own
///    rhythm. Every wait is between 50 % and 100 % of that. The time in which this process reads and compiles the answer
///    does not count. Refused credentials are tried again every 5 minutes.
/// 5. An update that lacks more than half of the flags in force removes none of them, unless
///    [`allow_shrink`](LiveBuilder::allow_shrink). Removals that the store itself remembers do not count. Every
///    flag that the store has lost is a problem in the status: [`missing`](Self::missing).
/// 6. A store that comes back older, after it was restored from a copy, is reported. A flag that was seen
///    switched off stays off then until its version rises again, whatever the number. Another store in its place is
///    not older ([`Feed::identity`]): there a flag stays off only as long as the store knows of no edit of it.
/// 7. A backup file that cannot be written is a problem in the status until it can. It is written beside everything
///    else: neither kills nor loading wait for a disk that hangs.
///
/// Requests never wait for any of it: they read the compiled set.
#[derive(Clone, Debug)]
pub struct Live {
    shared: Arc<Shared>,
    /// Ends the task that keeps the rules current, when the last clone is dropped.
    #[cfg_attr(not(feature = "admin"), expect(dead_code, reason = "it ends the task when it is dropped"))]
    stop: Arc<oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    board: Board,
    health: Health,
    condition: Mutex<Condition>,
    seen: Mutex<SeenFlags>,
    /// Locked after the board, where both are.
    kills: Mutex<Kills>,
    missing: Mutex<MissingFlags>,
    /// How often the kills and the missing flags changed. Written under the board's lock.
    exceptions: AtomicU64,
    /// What the backup file held, until the store has given rules.
    recalled: Mutex<BackupDefinitions>,
    changes: Notifier,
    /// Wakes the keeper, whatever it waits for.
    look_now: Notify,
    #[cfg(feature = "file")]
    backup: Option<Arc<BackupWriter>>,
    allow_shrink: bool,
}

impl Live {
    /// Starts keeping a feed current, with everything at its default: see [`Live::builder`].
    ///
    /// # Errors
    ///
    /// There is no tokio runtime.
    pub async fn connect(feed: impl Feed) -> Result<Self, Error> {
        Self::builder(feed).connect().await
    }

    /// Hears of every flag that changes from now on, whoever changes it.
    ///
    /// ```
    /// use tower_flags::source::Live;
    /// use tower_flags::store::{Author, Change, MemoryStore, StoreExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let source = Live::connect(store.clone()).await?;
    /// let mut changes = source.subscribe();
    /// store.change("dark_mode", Change::put_text("true"), &Author::new("alice")).await?;
    /// let change = changes.next().await.expect("the source is there")?;
    /// assert_eq!((&*change.flag, change.flag_version), ("dark_mode", Some(1)));
    /// assert!(change.before.is_none() && change.after.is_some_and(|flag| flag.is_enabled()));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn subscribe(&self) -> Changes {
        self.shared.changes.subscribe()
    }

    /// Switches a flag off for everybody whom this process serves, at once and without the store: for the moment
    /// in which that cannot be written. Other processes go by the store.
    ///
    /// It holds until the store itself says that the flag is off, or until [`forget_kill`](Self::forget_kill); the
    /// status says so, and the backup file keeps it over a restart ([`survives_restart`](Self::survives_restart)).
    /// An edit of the flag in the store does not undo it.
    ///
    /// It is in effect at once. The call then waits for the backup file, for at most 200 ms.
    ///
    /// ```
    /// use tower_flags::source::{Live, Source};
    /// use tower_flags::store::{Author, Change, MemoryStore, StoreExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// store.change("new_checkout", Change::put_text("true"), &Author::new("alice")).await?;
    /// let source = Live::connect(store.clone()).await?;
    ///
    /// let kill = source.kill_here("new_checkout", &Author::new("bob").because("INC-17")).await?;
    /// assert_eq!((kill.version, source.local_kills().len(), source.status().problems.len()), (Some(1), 1, 1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Missing`](ErrorKind::Missing): no flag of this name is in effect, and the store has lost none.
    pub async fn kill_here(&self, flag: impl FlagName, by: &Author) -> Result<LocalKill, Error> {
        let flag = flag.name();
        let kill = LocalKill {
            flag: flag.to_owned(),
            version: self.shared.seen().versions().get(flag).copied(),
            at: Timestamp::now(),
            by: by.name().to_owned(),
            reason: by.reason().map(str::to_owned),
        };
        let added = kill.clone();
        // A flag that the store has lost may come back.
        let is_missing = self.shared.missing().has(flag);
        let is_there = self.republish(move |document, kills| {
            let is_there = is_missing || matches!(document.flags.get(&*added.flag), Some(Definition::Good(_)));
            if is_there {
                kills.add(added, document);
            }
            is_there
        });
        if is_there.await {
            tracing::warn!(source = self.shared.name, flag, by = kill.by, "switched off in this process alone");
            Ok(kill)
        } else {
            Err(Error::missing_flag(&self.shared.name, flag))
        }
    }

    /// The flags that the store has lost, in ascending order of names: by `FLUSHALL`, `TRUNCATE`, `DEL` of one key, an
    /// eviction, or truncation of a file. Each is a problem in the status until it is back or an edit has removed it.
    ///
    /// 1. If more than half of the flags are missing at once, or all, they stay in effect until each is back.
    /// 2. One lost flag of many is off, as it is for every other program that reads the store: a user may delete a key to
    ///    switch its flag off.
    /// 3. A store that records its removals ([`FeedContent::records_removals`]: Redis, PostgreSQL, SQLite) has lost every flag
    ///    that is missing without such a record. In a document that people write as a whole (a file, a URL, a table of
    ///    the application), a flag that is left out was removed, unless more than half are missing.
    ///
    /// A missing flag can be killed by [`kill_here`](Self::kill_here): it then stays off when it comes back.
    ///
    /// ```
    /// use tower_flags::source::Live;
    /// use tower_flags::store::MemoryStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let source = Live::connect(MemoryStore::new()).await?;
    /// assert_eq!(source.missing(), []);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn missing(&self) -> Vec<MissingFlag> {
        self.shared.missing().list()
    }

    /// What is switched off in this process alone, in ascending order of names.
    #[must_use]
    pub fn local_kills(&self) -> Vec<LocalKill> {
        self.shared.kills().list()
    }

    /// Lets the store decide again on a flag that [`kill_here`](Self::kill_here) has switched off. `false` where it
    /// has not.
    ///
    /// A flag that was removed meanwhile, or lost without staying in effect ([`missing`](Self::missing)), stays off.
    pub async fn forget_kill(&self, flag: impl FlagName) -> bool {
        let flag = flag.name().to_owned();
        self.republish(move |document, kills| kills.forget(&flag, document)).await
    }

    /// Whether the backup file holds a kill of [`kill_here`](Self::kill_here), so that it is in effect again after a
    /// restart. `false` without a backup file, where it could not be written (the status says why), and while a disk
    /// that is slow has not written it yet.
    #[must_use]
    pub fn survives_restart(&self, kill: &LocalKill) -> bool {
        #[cfg(feature = "file")]
        return self.shared.backup.as_ref().is_some_and(|backup| backup.holds(kill));
        #[cfg(not(feature = "file"))]
        {
            let _ = kill;
            false
        }
    }

    /// Puts other kills in force, and waits a moment for the backup file to have them. It goes on to its end where the
    /// caller goes away meanwhile.
    async fn republish(&self, change: impl FnOnce(&mut Document, &mut Kills) -> bool + Send + 'static) -> bool {
        let shared = Arc::clone(&self.shared);
        joined(tokio::spawn(async move {
            let changing = Arc::clone(&shared);
            let is_changed = blocking(move || changing.republish(change)).await;
            #[cfg(feature = "file")]
            if is_changed {
                shared.save_within(LONGEST_SAVE).await;
            }
            is_changed
        }))
        .await
    }

    /// Settings before connecting.
    pub fn builder(feed: impl Feed) -> LiveBuilder {
        LiveBuilder {
            feed: Arc::new(feed),
            allow_shrink: false,
            start_within: START,
            #[cfg(feature = "file")]
            backup: None,
        }
    }
}

/// Settings of a [`Live`].
#[must_use = "a builder does nothing until it connects"]
pub struct LiveBuilder {
    feed: Arc<dyn Feed>,
    allow_shrink: bool,
    start_within: Duration,
    #[cfg(feature = "file")]
    backup: Option<Backup>,
}

impl std::fmt::Debug for LiveBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveBuilder")
            .field("feed", &self.feed.name())
            .field("allow_shrink", &self.allow_shrink)
            .field("start_within", &self.start_within)
            .finish()
    }
}

impl LiveBuilder {
    /// Lets an update remove more than half of the flags at once, and reports none as missing; `false` unless set.
    pub fn allow_shrink(mut self, allow: bool) -> Self {
        self.allow_shrink = allow;
        self
    }

    /// How long to wait for the first rules before going on without; 1 s unless set.
    pub fn start_within(mut self, longest: Duration) -> Self {
        self.start_within = longest;
        self
    }

    /// Keeps the last rules in a file of this machine, readable for its owner alone, and starts with them where the
    /// store gives none in time. What was switched off by them stays off, also where the store comes back
    /// older: see [`Live`].
    ///
    /// Each process needs a file of its own; a file that another process writes too is a problem in the status, and so is
    /// one that cannot be read or written. None of these has other effects.
    ///
    /// A file is believed, and written, only if it is a regular file, and no link to one, of at most 64 MiB that this user or
    /// root owns and that other users outside of its group cannot write. The start waits 1 s for it. If reading takes longer, only the kills of
    /// this process are taken from it.
    ///
    /// The folder should be mounted rather than the file alone. A file that is mounted alone has to be there already. It
    /// is written in place and keeps its permissions; a crash while it is written costs the backup, which the next start
    /// detects and logs.
    #[cfg(feature = "file")]
    #[cfg_attr(docsrs, doc(cfg(feature = "file")))]
    pub fn backup(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.backup = Some(Backup::at(path.into()));
        self
    }

    /// Loads the rules, waiting for a bounded time, and goes on keeping them current. Without rules
    /// in time every flag is off, with reason [`NotLoaded`](crate::engine::Reason::NotLoaded), until
    /// they come.
    ///
    /// # Errors
    ///
    /// There is no tokio runtime.
    pub async fn connect(self) -> Result<Live, Error> {
        self.start().await.map(|(live, _)| live)
    }

    /// Like [`connect`](Self::connect), with what came of the first load.
    pub(super) async fn start(self) -> Result<(Live, Result<(), Error>), Error> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|cause| {
            Error::new(ErrorKind::Configuration, "rules are kept current by a task, so a tokio runtime has to be there")
                .caused_by(cause)
        })?;
        let shared = Arc::new(Shared {
            name: self.feed.name().to_owned(),
            board: Board::new(),
            health: Health::new(self.feed.name()),
            condition: Mutex::new(Condition::before_asking(self.feed.name(), self.feed.setup_problems())),
            seen: Mutex::default(),
            kills: Mutex::default(),
            missing: Mutex::default(),
            exceptions: AtomicU64::new(0),
            recalled: Mutex::default(),
            changes: Notifier::default(),
            look_now: Notify::new(),
            #[cfg(feature = "file")]
            backup: self.backup.map(|backup| BackupWriter::new(self.feed.name(), backup)),
            allow_shrink: self.allow_shrink,
        });
        #[cfg(feature = "file")]
        let saved = shared.remember().await;
        let (stop, stopped) = oneshot::channel();
        let (feed, within) = (self.feed, self.start_within);
        let mut keeper = Keeper::new(Arc::clone(&feed), Arc::clone(&shared));
        // In a task of its own, so that a feed that panics costs this attempt alone.
        let first = runtime.spawn(async move { (keeper.start_within(within).await, keeper) });
        let (first, keeper) = match first.await {
            Ok(first) => first,
            Err(panic) => (Err(shared.panicked(panic)), Keeper::after_panic(&feed, &shared)),
        };
        #[cfg(feature = "file")]
        if let (Err(_), Some(saved)) = (&first, saved) {
            shared.start_from(&saved);
        }
        #[cfg(feature = "file")]
        // A disk that hangs holds up no start.
        shared.save_within(within).await;
        runtime.spawn(supervise(keeper, stopped));
        Ok((Live { shared, stop: Arc::new(stop) }, first))
    }
}

/// The task that keeps one source current.
struct Keeper {
    feed: Arc<dyn Feed>,
    shared: Arc<Shared>,
    notices: Option<Box<dyn Notices>>,
    /// Whether what is in force came from the feed, and not from the backup file.
    has_loaded: bool,
    /// Whether the store has been asked for its identity since it was connected to.
    has_asked: bool,
    /// Whether the store does not allow us to ask.
    may_not_ask: bool,
    /// Of loading.
    backoff: Backoff,
    /// Of listening, where loading goes well.
    listening: Backoff,
    /// Asks the feed how it is doing, and ends with the keeper.
    asking: JoinSet<()>,
    /// When it last began to.
    asked: Option<Instant>,
    /// Compiles what was loaded. It goes on after a load that timed out, and the next load waits for its end.
    publishing: JoinSet<()>,
}

/// Runs a keeper until the source is dropped. A feed that panics costs one round, not all to come.
async fn supervise(keeper: Keeper, mut stopped: oneshot::Receiver<()>) {
    let (feed, shared) = (Arc::clone(&keeper.feed), Arc::clone(&keeper.shared));
    let mut keeper = keeper;
    loop {
        let mut running = tokio::spawn(keeper.run());
        tokio::select! {
            _ = &mut stopped => return running.abort(),
            outcome = &mut running => {
                // Cancelled, where the runtime is ending: nobody asks for rules any more.
                let Some(panic) = outcome.err().filter(tokio::task::JoinError::is_panic) else { return };
                shared.panicked(panic);
                keeper = Keeper::after_panic(&feed, &shared);
            }
        }
    }
}

impl Keeper {
    fn new(feed: Arc<dyn Feed>, shared: Arc<Shared>) -> Self {
        let (backoff, listening, asking) = (Backoff::default(), Backoff::default(), JoinSet::new());
        let (has_loaded, has_asked, may_not_ask) = (false, false, false);
        let (notices, publishing, asked) = (None, JoinSet::new(), None);
        Self {
            feed,
            shared,
            notices,
            has_loaded,
            has_asked,
            may_not_ask,
            backoff,
            listening,
            asking,
            asked,
            publishing,
        }
    }

    /// One that waits before its first attempt.
    fn after_panic(feed: &Arc<dyn Feed>, shared: &Arc<Shared>) -> Self {
        let mut keeper = Self::new(Arc::clone(feed), Arc::clone(shared));
        keeper.backoff.failed(Instant::now(), ErrorKind::Unavailable);
        keeper
    }

    async fn run(mut self) {
        if self.has_loaded {
            self.ask_for_condition();
        }
        loop {
            let wait = tokio::time::sleep(self.next_wait());
            // Notices come often; the store's condition seldom changes. However often they come, it is asked for.
            let is_due = self.asked.is_none_or(|asked| asked.elapsed() >= self.feed.resync_every());
            let mut is_resync = is_due || self.notices.is_none();
            tokio::select! {
                () = wait => is_resync = true,
                () = self.shared.look_now.notified() => {}
                notice = next_notice(&mut self.notices) => {
                    if let Err(error) = notice {
                        // All processes of a fleet lose a store at once, and must not ask for it at once.
                        self.notices = None;
                        self.backoff.failed(Instant::now(), error.kind());
                        self.shared.health.unheard_from_now_on(&error);
                        continue;
                    }
                }
            }
            // What goes wrong is in the status.
            let outcome = OwnWork::bounded(LONGEST_REFRESH, self.refresh()).await;
            let outcome = outcome.unwrap_or_else(|| self.given_up(LONGEST_REFRESH, "answer"));
            if is_resync && outcome.is_ok() {
                self.ask_for_condition();
            }
            #[cfg(feature = "file")]
            self.shared.save();
        }
    }

    /// Asks the feed how it is doing itself, unless the last answer is still to come. Notices do not wait for it.
    fn ask_for_condition(&mut self) {
        while let Some(asked) = self.asking.try_join_next() {
            if let Some(panic) = asked.err().and_then(|error| error.try_into_panic().ok()) {
                std::panic::resume_unwind(panic);
            }
        }
        if self.asking.is_empty() {
            self.asked = Some(Instant::now());
            self.asking.spawn(ask_for_condition(Arc::clone(&self.feed), Arc::clone(&self.shared)));
        }
    }

    /// Refreshes for the first time, or gives it up after this time as failed.
    async fn start_within(&mut self, longest: Duration) -> Result<(), Error> {
        let outcome = tokio::time::timeout(longest, self.refresh()).await;
        outcome.unwrap_or_else(|_| self.given_up(longest, "rules"))
    }

    /// What comes of a refresh that took too long.
    fn given_up(&mut self, longest: Duration, what: &str) -> Result<(), Error> {
        let message = format!("{} gave no {what} within {longest:?}", self.shared.name);
        let error = Error::new(ErrorKind::Unavailable, message);
        self.shared.failed(&error);
        self.notices = None;
        self.backoff.failed(Instant::now(), error.kind());
        Err(error)
    }

    /// Subscribes where that is due, and loads.
    async fn refresh(&mut self) -> Result<(), Error> {
        OwnWork::counted(async { while self.publishing.join_next().await.is_some() {} }).await;
        let mut unheard = None;
        if self.notices.is_none() {
            match self.feed.subscribe().await {
                Ok(notices) => self.notices = Some(notices),
                Err(error) => unheard = Some(error),
            }
            self.has_asked = false;
        }
        let known = self.shared.board.set();
        // Of what the backup file held, problems are not known.
        let known = self.has_loaded.then(|| known.revision());
        let outcome = match self.feed.load(known).await {
            Ok(Some(loaded)) => {
                let identity = self.identity(&loaded).await;
                // Compiling a large set takes a while, and requests are served on this thread.
                let shared = Arc::clone(&self.shared);
                self.publishing.spawn_blocking(move || shared.publish(loaded, identity.as_deref()));
                let published = OwnWork::counted(self.publishing.join_next()).await.unwrap_or(Ok(()));
                self.has_loaded |= published.is_ok();
                published.map_err(|error| {
                    Error::new(ErrorKind::Unavailable, format!("{}: compiling was given up", self.shared.name))
                        .caused_by(error)
                })
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        let now = Instant::now();
        match (&outcome, unheard) {
            (Ok(()), None) => {
                self.backoff.succeeded(now);
                self.listening.succeeded(now);
                self.shared.health.succeeded();
            }
            // Rules that are loaded from time to time are current enough, but somebody should know.
            (Ok(()), Some(error)) => {
                self.backoff.succeeded(now);
                self.listening.failed(now, error.kind());
                self.shared.health.unheard(&error);
            }
            (Err(error), _) => {
                self.backoff.failed(now, error.kind());
                self.listening = Backoff::default();
                self.shared.failed(error);
            }
        }
        outcome
    }

    /// The identity of the store, if it may matter.
    async fn identity(&mut self, loaded: &FeedContent) -> Option<String> {
        let is_needed = !self.has_asked || self.shared.seen().depends_on_identity(loaded);
        if self.may_not_ask || !is_needed {
            return None;
        }
        match tokio::time::timeout(LONGEST_CONDITION, self.feed.identity()).await {
            Ok(Ok(identity)) => {
                self.has_asked = true;
                identity
            }
            Ok(Err(error)) => {
                self.may_not_ask = error.kind() == ErrorKind::Denied;
                tracing::debug!(source = self.shared.name, "its identity is not known: {}", error.chain());
                None
            }
            Err(_) => None,
        }
    }

    /// A feed that is cheap to ask, a file, is asked in its own rhythm also while it fails.
    fn next_wait(&self) -> Duration {
        let (rhythm, now) = (self.feed.resync_every(), Instant::now());
        match self.backoff.wait(now) {
            Some(wait) if self.backoff.is_denied() => wait,
            Some(wait) => wait.min(rhythm),
            None => {
                let resync = rhythm.mul_f64(0.9 + 0.2 * random_share());
                self.listening.wait(now).map_or(resync, |wait| wait.min(resync))
            }
        }
    }
}

async fn ask_for_condition(feed: Arc<dyn Feed>, shared: Arc<Shared>) {
    let before = Timestamp::now();
    match tokio::time::timeout(LONGEST_CONDITION, feed.condition()).await {
        Ok(Ok(condition)) => shared.take_condition(condition, before, Timestamp::now()),
        Ok(Err(error)) => tracing::debug!(source = shared.name, "its condition is not known: {}", error.chain()),
        Err(_) => tracing::debug!(source = shared.name, "its condition is not known after {LONGEST_CONDITION:?}"),
    }
}

async fn next_notice(notices: &mut Option<Box<dyn Notices>>) -> Result<(), Error> {
    match notices {
        Some(notices) => notices.next().await,
        None => std::future::pending().await,
    }
}

impl Shared {
    /// What the backup file holds; from now on what it has seen counts as seen. Of what is read late, kills of this process
    /// count.
    #[cfg(feature = "file")]
    async fn remember(self: &Arc<Self>) -> Option<BackupContent> {
        let shared = Arc::clone(self);
        let late = move |saved: BackupContent| {
            shared.republish(|document, kills| {
                for kill in saved.kills {
                    kills.add(kill, document);
                }
                true
            });
        };
        let saved = self.backup.as_ref()?.read(late).await?;
        *self.seen() = saved.seen.clone();
        *self.kills() = Kills::of(saved.kills.clone());
        *self.recalled() = saved.recalled();
        Some(saved)
    }

    /// Puts the rules of the backup file in force, where the store has given none.
    #[cfg(feature = "file")]
    fn start_from(&self, saved: &BackupContent) {
        match saved.document() {
            Ok(mut document) => {
                self.kills().hold_off(&mut document, saved.seen.versions());
                // What the store gave too late for the start is newer.
                let is_first = || self.board.set().version() == 0;
                self.board.publish(|_| is_first().then(|| (document, saved.revision.clone())));
                tracing::warn!(
                    source = self.name,
                    flags = self.board.set().len(),
                    "started with the backup file's rules"
                );
            }
            Err(problem) => tracing::warn!(source = self.name, "the backup file: {problem}"),
        }
    }

    /// Starts to write what is in force into the backup file, where that does not hold it yet.
    #[cfg(feature = "file")]
    fn save(self: &Arc<Self>) {
        let Some(backup) = &self.backup else { return };
        let shared = Arc::clone(self);
        backup.save(move |held| {
            let set = shared.board.set();
            let saved = || {
                let missing = shared.recalled().missing.clone();
                let missing = shared.missing().definitions(missing);
                BackupContent::new(
                    &shared.board.document(),
                    set.revision(),
                    shared.seen().clone(),
                    &shared.kills(),
                    &missing,
                )
            };
            (set.version() != held).then(|| (set.version(), saved()))
        });
    }

    /// The same, and waits for at most this time until it is written or cannot be.
    #[cfg(feature = "file")]
    async fn save_within(self: &Arc<Self>, longest: Duration) {
        let Some(backup) = &self.backup else { return };
        let version = self.board.set().version();
        self.save();
        // What is not written by then goes on by itself.
        let _ = tokio::time::timeout(longest, backup.tried(version)).await;
    }

    fn panicked(&self, panic: tokio::task::JoinError) -> Error {
        let error = Error::new(ErrorKind::Unavailable, format!("{} panicked while it was read", self.name));
        let error = error.caused_by(panic);
        self.failed(&error);
        error
    }

    fn seen(&self) -> MutexGuard<'_, SeenFlags> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn missing(&self) -> MutexGuard<'_, MissingFlags> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recalled(&self) -> MutexGuard<'_, BackupDefinitions> {
        self.recalled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kills(&self) -> MutexGuard<'_, Kills> {
        self.kills.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts other kills in force, over the rules that are.
    fn republish(&self, change: impl FnOnce(&mut Document, &mut Kills) -> bool) -> bool {
        let (before, mut is_changed) = (self.board.document(), false);
        self.board.publish(|in_force| {
            let mut document = in_force.clone();
            is_changed = change(&mut document, &mut self.kills());
            self.exceptions.fetch_add(is_changed.into(), Relaxed);
            // What is held off for another reason stays off without the kill.
            self.seen().hold_off(&mut document);
            is_changed.then(|| (document, self.board.set().revision().to_owned()))
        });
        if is_changed {
            self.published(&before);
        }
        is_changed
    }

    /// Tells whom it concerns of the rules that are now in force.
    fn published(&self, before: &Document) -> Arc<Document> {
        let (set, document) = (self.board.set(), self.board.document());
        self.changes.tell(before, &document, self.seen().versions(), set.version());
        document
    }

    fn publish(&self, mut loaded: FeedContent, identity: Option<&str>) {
        let before = self.board.document();
        self.board.publish(|in_force| {
            let have_kills_ended = self.kills().take(&mut loaded.document, &loaded.versions);
            let earlier_versions = self.seen().versions().clone();
            self.seen().take(&mut loaded, identity);
            let missing = self.missing().clone();
            let recalled = std::mem::take(&mut *self.recalled());
            let (mut document, missing) =
                missing.after(&loaded, in_force, &earlier_versions, &recalled, self.allow_shrink);
            self.kills().settle(&missing.kept(), &mut document);
            document.problems.extend(missing.problems());
            let before = std::mem::replace(&mut *self.missing(), missing);
            self.exceptions.fetch_add((have_kills_ended || before != *self.missing()).into(), Relaxed);
            Some((document, loaded.revision))
        });
        let document = self.published(&before);
        let set = self.board.set();
        // As a part of `Layered` it may require flags of other parts, which is judged there.
        let is_part = self.board.has_listeners();
        if !log_problems(&self.name, if is_part { &document.problems } else { set.problems() }) {
            tracing::info!(source = self.name, version = set.version(), flags = set.len(), "rules loaded");
        }
    }

    /// Shows the feed's condition in the status; its clock was read between two instants of ours.
    fn take_condition(&self, found: store::Condition, before: Timestamp, after: Timestamp) {
        let mut condition = self.condition.lock().unwrap_or_else(PoisonError::into_inner);
        condition.take(&self.name, found, before, after);
    }

    fn failed(&self, error: &Error) {
        self.health.failed(error, self.board.set().version() > 0);
    }
}

impl Source for Live {
    fn answer(&self, query: &Query<'_>) -> Answers {
        self.shared.board.answer(query)
    }

    fn status(&self) -> Status {
        let mut status = self.shared.board.status();
        #[cfg(feature = "admin")]
        self.shared.kills().explain(&mut status.problems);
        let health = self.shared.health.now();
        let condition = self.shared.condition.lock().unwrap_or_else(PoisonError::into_inner);
        let stale_since = [health.stale_since, condition.stale_since].into_iter().flatten().min();
        if let (Freshness::Fresh, Some(since)) = (status.freshness, stale_since) {
            status.freshness = Freshness::StaleSince(since);
        }
        status.last_error.clone_from(&health.last_error);
        status.problems.splice(0..0, health.refused.iter().chain(&condition.problems).cloned());
        #[cfg(feature = "file")]
        status.problems.extend(self.shared.backup.as_ref().and_then(|backup| backup.problem()));
        status
    }

    fn id(&self) -> Option<SourceId> {
        Some(self.shared.board.id())
    }
}

impl Definitions for Live {
    fn name(&self) -> &str {
        &self.shared.name
    }
}

impl sealed::Part for Live {
    fn document(&self, _: Option<&Document>) -> Arc<Document> {
        self.shared.board.document()
    }

    fn lost(&self) -> Vec<(Arc<str>, Arc<Flag>)> {
        let missing = self.missing().into_iter().filter(|missing| !missing.is_in_effect);
        missing.filter_map(|missing| Some((missing.flag.into(), missing.definition?))).collect()
    }

    fn on_change(&self, listener: Weak<dyn Subscriber>) {
        self.shared.board.on_change(listener);
    }
}
