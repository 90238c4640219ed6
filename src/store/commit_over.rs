//! The commit that makes another definition of what is stored.

use super::author::Author;
use super::commit::{Commit, Progress, Stored};
use super::history::{Head, HistoryEntry, HistoryPage, content_of};
use super::history_keys::{HistoryKeys, digest_with};
use super::traits::Store;
use crate::document::{Edit, FlagName, Timestamp, killed};
use crate::error::Error;

/// The commit that replaces what is stored by `definition`. A foreign change becomes an entry of the history first.
pub(super) async fn commit_over<S: Store + ?Sized>(
    store: &S,
    flag: &str,
    expected: Stored,
    definition: Option<String>,
    by: &Author,
    at: Timestamp,
) -> Result<Commit, Error> {
    let mut foreign_before = None;
    if expected.is_foreign() {
        // The content that the last edit left.
        let newest = store.history(&HistoryPage::newest().of(flag).limit(1)).await?;
        foreign_before = Some(newest.into_iter().next().and_then(|entry| entry.after));
    }
    Ok(Commit::after_foreign(flag, expected, foreign_before, definition, by, at, store.history_keys()))
}

impl Commit {
    /// The commit that replaces `expected` by a definition, or removes the flag: for tests of a [`Store`]. In a service
    /// [`StoreExt`](super::StoreExt) makes commits.
    ///
    /// The stored text has to be the one that the last edit left, and the history has no keys.
    ///
    /// ```
    /// use tower_flags::Timestamp;
    /// use tower_flags::store::{Author, Commit, MemoryStore, Store};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_flags::store::Error> {
    /// let store = MemoryStore::new();
    /// let stored = store.read("search").await?;
    /// let commit = Commit::new("search", stored, Some("true".to_owned()), &Author::new("alice"), Timestamp::now());
    /// assert!(store.commit(&commit).await?);
    /// assert!(!store.commit(&commit).await?, "the stored state is no longer the expected one");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(flag: impl FlagName, expected: Stored, definition: Option<String>, by: &Author, at: Timestamp) -> Self {
        Self::after_foreign(flag.name(), expected, None, definition, by, at, None)
    }

    /// The commit that makes `definition` of what is stored. Where the stored text is somebody else's, their
    /// change becomes an entry first: from `foreign_before`, what the last edit had left.
    pub(crate) fn after_foreign(
        flag: &str,
        expected: Stored,
        foreign_before: Option<Option<String>>,
        definition: Option<String>,
        by: &Author,
        at: Timestamp,
        keys: Option<&HistoryKeys>,
    ) -> Self {
        let (mut head, mut version) = (expected.head.clone(), expected.version);
        let mut entry = |actor: Option<&str>, reason: Option<&str>, before: Option<String>, after: Option<String>| {
            version += 1;
            let entry = HistoryEntry {
                number: head.number + 1,
                flag: flag.to_owned(),
                version,
                at,
                actor: actor.map(str::to_owned),
                reason: reason.map(str::to_owned),
                before,
                after,
                previous: std::mem::take(&mut head.digest),
            };
            head = Head::new(entry.number, digest_with(keys, &entry));
            entry
        };
        let theirs = foreign_before.map(|before| entry(None, None, before, expected.definition.clone()));
        let ours = entry(Some(by.name()), by.reason(), expected.definition.clone(), definition.clone());
        let entries = theirs.into_iter().chain([ours]).collect();
        let content = content_of(definition.as_deref());
        Self {
            flag: flag.to_owned(),
            expected,
            definition,
            version,
            content,
            entries,
            head,
            progress: Progress::default(),
        }
    }
}

/// The instant of an edit that is made now: to the millisecond, as every store can hold it.
pub(super) fn now() -> Timestamp {
    Timestamp::from_unix_millis(Timestamp::now().unix_millis())
}

/// The text of a flag, switched off. Nothing that is wrong with a flag holds up a kill.
pub(super) fn killed_text(flag: &str, text: Option<&str>, now: Timestamp) -> String {
    let off = Edit::new().set("enabled", false).apply(flag, text, now);
    off.unwrap_or_else(|_| killed(flag, text.unwrap_or_default()))
}
