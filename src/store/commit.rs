//! What a store holds of one flag, and an edit of it that is ready to be written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::history::{Head, HistoryEntry, content_of};

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
    /// What [`Store::read`](super::Store::read) returns for a flag: its text, the version after its last edit, the digest of the
    /// text that this edit left, and the end of the history.
    #[must_use]
    pub fn new(definition: Option<String>, version: u64, content: impl Into<String>, head: Head) -> Self {
        Self { definition, version, content: content.into(), head, run: None }
    }

    /// Names the run of the server that answered.
    #[must_use]
    pub fn in_run(mut self, run: impl Into<Arc<str>>) -> Self {
        self.run = Some(run.into());
        self
    }

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
    /// For a [`Store::commit`](super::Store::commit) that has something to do before the edit can come to be, such as connecting, waiting for
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
