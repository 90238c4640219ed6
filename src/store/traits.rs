//! Where rules are kept and edited.

use std::sync::Arc;

use super::commit::{Commit, Stored};
use super::feed::{BoxFuture, Feed};
use super::history::{HistoryEntry, HistoryPage};
use super::history_keys::HistoryKeys;
use super::recent::RecentEdits;
use crate::error::Error;

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
