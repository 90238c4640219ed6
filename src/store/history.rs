//! What was changed, by whom and why: a chain of entries, each of which carries the digest of the one
//! before.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::author::Author;
use crate::document::Timestamp;

/// One edit of one flag, as the store remembers it for ever.
///
/// The [`digest`](Self::digest) of an entry stands in the next one as `previous`, so that an entry that is
/// changed, taken out, or put elsewhere breaks the chain: [`verify`](crate::store::verify).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// Its place in the history of the store, from 1 on.
    pub number: u64,
    /// The flag's name.
    pub flag: String,
    /// The flag's version after the edit: raised by one, also by removing it.
    pub version: u64,
    /// When, by the clock of the process that edited.
    pub at: Timestamp,
    /// Who; `None` where somebody changed the store without telling it.
    pub actor: Option<String>,
    /// Why, if they said so.
    pub reason: Option<String>,
    /// The stored text before; `None` where the flag was not there.
    pub before: Option<String>,
    /// The stored text after; `None` where it was removed.
    pub after: Option<String>,
    /// The digest of the entry before; empty in the first. `id:` and hexadecimal digits where that entry was written with a
    /// [key](super::HistoryKeys).
    pub previous: String,
}

impl HistoryEntry {
    /// An edit of a flag that left it with this version, as a store reads it from its history. [`by`](Self::by),
    /// [`texts`](Self::texts) and [`chained_to`](Self::chained_to) complete it.
    ///
    /// ```
    /// use tower_flags::Timestamp;
    /// use tower_flags::store::{Author, Head, HistoryEntry, verify};
    ///
    /// let at: Timestamp = "2026-12-01T09:00:00Z".parse().unwrap();
    /// let first = HistoryEntry::new(1, "search", 1, at).by(&Author::new("alice").because("launch")).texts(None, Some("true"));
    /// let head = Head::of(&first);
    /// let second = HistoryEntry::new(2, "search", 2, at).by(&Author::new("bob")).texts(Some("true"), None).chained_to(&head);
    /// assert_eq!(verify([&first, &second], &Head::of(&second)), Ok(()));
    /// ```
    #[must_use]
    pub fn new(number: u64, flag: impl crate::document::FlagName, version: u64, at: Timestamp) -> Self {
        Self {
            number,
            flag: flag.name().to_owned(),
            version,
            at,
            actor: None,
            reason: None,
            before: None,
            after: None,
            previous: String::new(),
        }
    }

    /// Who made the edit, and why.
    #[must_use]
    pub fn by(mut self, author: &Author) -> Self {
        self.actor = Some(author.name().to_owned());
        self.reason = author.reason().map(str::to_owned);
        self
    }

    /// The stored texts before and after the edit; `None` where the flag is not there.
    #[must_use]
    pub fn texts(mut self, before: Option<&str>, after: Option<&str>) -> Self {
        self.before = before.map(str::to_owned);
        self.after = after.map(str::to_owned);
        self
    }

    /// The end of the history before this entry.
    #[must_use]
    pub fn chained_to(mut self, head: &Head) -> Self {
        self.previous.clone_from(&head.digest);
        self
    }

    /// SHA-256 over all of it, in hexadecimal digits. A store with [`HistoryKeys`](super::HistoryKeys) chains its entries
    /// by [`HistoryKeys::digest`](super::HistoryKeys::digest) instead.
    #[must_use]
    pub fn digest(&self) -> String {
        digest_of(&self.digested())
    }

    /// The bytes that a digest is over.
    pub(super) fn digested(&self) -> Vec<u8> {
        let Self { number, flag, version, at, actor, reason, before, after, previous } = self;
        // An array in JSON: no two entries have one text.
        let all = (number, flag, version, at, actor, reason, before, after, previous);
        serde_json::to_vec(&all).expect("texts and numbers are JSON")
    }

    /// About how many bytes it holds.
    pub(crate) fn size(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let texts = [&self.actor, &self.reason, &self.before, &self.after];
        self.flag.len() + self.previous.len() + texts.into_iter().map(length).sum::<usize>()
    }
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    hex_of(&Sha256::digest(bytes))
}

pub(super) fn hex_of(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// The digest of many parts, none of which is copied.
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
#[derive(Default)]
pub(super) struct Digester(Sha256);

#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
impl Digester {
    /// Adds a part with its length, so that no two rows of parts are alike.
    pub(super) fn add(&mut self, part: &[u8]) {
        self.0.update(part.len().to_le_bytes());
        self.0.update(part);
    }

    pub(super) fn finish(self) -> String {
        hex_of(&self.0.finalize())
    }
}

/// The digest that a store keeps beside a text; empty for none.
pub(super) fn content_of(text: Option<&str>) -> String {
    text.map(|text| digest_of(text.as_bytes())).unwrap_or_default()
}

/// The end of a history: the number and digest of its last entry. Number 0 and no digest where nothing was
/// edited yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Head {
    /// The number of the last entry.
    pub number: u64,
    /// Its digest, with the id of its [key](super::HistoryKeys) where it has one.
    pub digest: String,
}

impl Head {
    /// The end of a history whose last entry has this number and digest.
    #[must_use]
    pub fn new(number: u64, digest: impl Into<String>) -> Self {
        Self { number, digest: digest.into() }
    }

    /// The end of a history whose last entry is this one, and is chained without a key.
    #[must_use]
    pub fn of(entry: &HistoryEntry) -> Self {
        Self::new(entry.number, entry.digest())
    }
}

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
