//! Where rules are kept and edited.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::error::Error;
use super::feed::{BoxFuture, Feed};
use super::history::{Head, HistoryEntry, content_of};
use super::history_keys::HistoryKeys;
use super::recent::RecentEdits;

/// A feed that can be edited, and remembers who changed what.
///
/// Implementations compare and write, and nothing more: what an edit means, retries, and the chain of the
/// history are in [`StoreExt`](super::StoreExt), once for all of them. The contract suite in
/// `tower_flags::testing` tells whether an implementation is right.
///
/// Usable as `Arc<dyn Store>`.
pub trait Store: Feed {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// One flag and the end of the history, as they are at one moment.
    ///
    /// # Errors
    ///
    /// The store cannot be read. An edit tries again after an error that is [`Unavailable`](super::ErrorKind::Unavailable),
    /// unless that is marked as [`answered`](Error::answered).
    fn read<'a>(&'a self, flag: &'a str) -> BoxFuture<'a, Result<Stored, Error>>;

    /// Writes all of it in one transaction, or nothing: `Ok(false)` where the flag's text or version, or the
    /// head, is not what the commit expects.
    ///
    /// A caller whose time is over drops the future. The edit is then in doubt, unless the store has said by
    /// [`Commit::begin_preparing`] that it has not sent it yet. A store that never says so is right, too: it leaves more
    /// doubt.
    ///
    /// # Errors
    ///
    /// The store cannot be written. Where the connection breaks in the midst of it, the commit may be there all
    /// the same; the head tells. Errors that are [`Rejected`](super::ErrorKind::Rejected) or marked as
    /// [`unchanged`](Error::unchanged) say that it is not there.
    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<bool, Error>>;

    /// A page of the history, newest first.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    fn history<'a>(&'a self, page: &'a HistoryPage) -> BoxFuture<'a, Result<Vec<HistoryEntry>, Error>>;

    /// The edits that were acknowledged in the last seconds, for stores whose server can lose them when it is killed:
    /// they are written again if the server comes back without them. By default there is no such memory.
    fn recent_edits(&self) -> Option<&RecentEdits> {
        None
    }

    /// The keys that this store's history is chained with; by default there are none, and its chain is one of SHA-256.
    /// [`StoreExt`](super::StoreExt) computes the digests: a store keeps them as they are, as texts of any length.
    fn history_keys(&self) -> Option<&HistoryKeys> {
        None
    }
}

/// The [`identity`](Feed::identity) of a store with a history.
pub(super) async fn identity_of(store: &(impl Store + ?Sized)) -> Result<Option<String>, Error> {
    let first = HistoryPage::newest().before(2).limit(1);
    match store.history(&first).await?.first() {
        Some(entry) => Ok(Some(entry.digest())),
        None if store.read("").await?.head.number == 0 => Ok(Some(String::new())),
        // The first entry was cut off.
        None => Ok(None),
    }
}

/// What a store can do, as data: the contract suite tests what is said here, and names what it skips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Other processes see edits: it is more than this process's memory.
    pub is_shared: bool,
    /// Edits are there after the store's own restart.
    pub is_durable: bool,
    /// [`Feed::subscribe`] hears of changes before the next resync.
    pub has_notices: bool,
    /// Others can change it past us, by its own tools.
    pub has_foreign_writers: bool,
}

impl Capabilities {
    /// A store that can do nothing of it: the memory of a process.
    #[must_use]
    pub const fn none() -> Self {
        Self { is_shared: false, is_durable: false, has_notices: false, has_foreign_writers: false }
    }
}

/// What a store holds of one flag, and where its history ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// The definition as it stands, whoever wrote it; `None` where there is none.
    pub definition: Option<String>,
    /// The version after the last edit of it, also where it was removed; 0 where it never was there.
    pub version: u64,
    /// The digest of the text that the last edit left ([`Commit::content`]), empty where it left none. Another
    /// one than the definition has tells that somebody changed the store without telling it.
    pub content: String,
    /// The end of the history.
    pub head: Head,
    /// Which run of the server answered; a restart or a failover begins another. `None` if the store cannot tell.
    pub run: Option<Arc<str>>,
}

impl Stored {
    /// The version of what is there: one above [`version`](Self::version) where somebody changed it past us since,
    /// as that is an edit too. It is what [`Change::at_version`](super::Change::at_version) compares.
    #[must_use]
    pub fn current_version(&self) -> u64 {
        self.version + u64::from(self.is_foreign())
    }

    /// Whether the text is another one than the last edit left.
    pub(super) fn is_foreign(&self) -> bool {
        content_of(self.definition.as_deref()) != self.content
    }
}

/// An edit that is ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// The flag's name.
    pub flag: String,
    /// The state that has to be there, all of it: text, version and head; also the run of the server, if it names one.
    pub expected: Stored,
    /// The text to write; `None` removes the flag.
    pub definition: Option<String>,
    /// The flag's version from now on.
    pub version: u64,
    /// The digest of the text, empty where the flag is removed; kept beside it.
    pub content: String,
    /// What the history gets, in this order: one entry, or two where somebody else's change was found.
    pub entries: Vec<HistoryEntry>,
    /// The end of the history from now on.
    pub head: Head,
    pub(super) progress: Progress,
}

impl Commit {
    /// For a [`Store::commit`] that has something to do before the edit can come to be, such as connecting, waiting for
    /// a lock, or writing in a transaction: dropping its future leaves everything as it was, until
    /// [`begin_sending`](Self::begin_sending).
    ///
    /// ```
    /// use tower_flags::store::{Commit, Error};
    ///
    /// async fn commit(commit: &Commit) -> Result<bool, Error> {
    ///     commit.begin_preparing();
    ///     // Connect, begin a transaction, compare and write.
    ///     if !commit.begin_sending() {
    ///         return Ok(false);
    ///     }
    ///     // COMMIT, and wait for the answer.
    ///     Ok(true)
    /// }
    /// # let _ = commit;
    /// ```
    pub fn begin_preparing(&self) {
        self.progress.0.store(PREPARING, Ordering::SeqCst);
    }

    /// Says that the edit may come to be from now on: it is in doubt if no answer comes. `false` where the caller has given
    /// up meanwhile, and was told that nothing was changed: then it must not be sent. That is possible only
    /// where the store goes on although its future was dropped, in a thread for example.
    #[must_use]
    pub fn begin_sending(&self) -> bool {
        let was = self.progress.0.compare_exchange(PREPARING, SENT, Ordering::SeqCst, Ordering::SeqCst);
        was != Err(GIVEN_UP)
    }

    /// Gives up waiting for it. Whether it is certain that it does not come to be.
    pub(super) fn give_up(&self) -> bool {
        self.progress.0.compare_exchange(PREPARING, GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// It may come to be, as far as the store has said.
const SENT: u8 = 0;
const PREPARING: u8 = 1;
/// It must not be sent any more.
const GIVEN_UP: u8 = 2;

/// How far a store is with a commit. Clones of the commit share it, and it is no part of what a commit is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicU8>);

impl PartialEq for Progress {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Progress {}

/// Which part of a history to read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryPage {
    /// Entries of this flag alone.
    pub flag: Option<String>,
    /// Entries with smaller numbers alone: the last one of the page before.
    pub before: Option<u64>,
    /// At most so many; at most 1 000.
    pub limit: usize,
}

impl Default for HistoryPage {
    fn default() -> Self {
        Self { flag: None, before: None, limit: 100 }
    }
}

impl HistoryPage {
    /// The newest hundred entries.
    #[must_use]
    pub fn newest() -> Self {
        Self::default()
    }

    /// Of this flag alone.
    #[must_use]
    pub fn of(mut self, flag: impl crate::document::FlagName) -> Self {
        self.flag = Some(flag.name().to_owned());
        self
    }

    /// The page after the one that ended with this number.
    #[must_use]
    pub fn before(mut self, number: u64) -> Self {
        self.before = Some(number);
        self
    }

    /// At most so many entries; at most 1 000.
    #[must_use]
    pub fn limit(mut self, entries: usize) -> Self {
        self.limit = entries.min(1000);
        self
    }

    /// Whether an entry belongs to it, but for the limit.
    #[must_use]
    pub fn has(&self, entry: &HistoryEntry) -> bool {
        self.flag.as_ref().is_none_or(|flag| *flag == entry.flag)
            && self.before.is_none_or(|before| entry.number < before)
    }
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn capabilities(&self) -> Capabilities {
        S::capabilities(self)
    }

    fn read<'a>(&'a self, flag: &'a str) -> BoxFuture<'a, Result<Stored, Error>> {
        S::read(self, flag)
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<bool, Error>> {
        S::commit(self, commit)
    }

    fn history<'a>(&'a self, page: &'a HistoryPage) -> BoxFuture<'a, Result<Vec<HistoryEntry>, Error>> {
        S::history(self, page)
    }

    fn recent_edits(&self) -> Option<&RecentEdits> {
        S::recent_edits(self)
    }

    fn history_keys(&self) -> Option<&HistoryKeys> {
        S::history_keys(self)
    }
}
