//! What was changed, by whom and why: a chain of entries, each of which carries the digest of the one
//! before.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::engine::Instant;

/// One edit of one flag, as the store remembers it for ever.
///
/// The [`digest`](Self::digest) of an entry stands in the next one as `previous`, so that an entry that is
/// changed, taken out, or put elsewhere breaks the chain: [`verify`].
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
    pub at: Instant,
    /// Who; `None` where somebody changed the store without telling it.
    pub actor: Option<String>,
    /// Why, if they said so.
    pub reason: Option<String>,
    /// The stored text before; `None` where the flag was not there.
    pub before: Option<String>,
    /// The stored text after; `None` where it was removed.
    pub after: Option<String>,
    /// The digest of the entry before; empty in the first.
    pub previous: String,
}

impl HistoryEntry {
    /// SHA-256 over all of it, in hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        let Self { number, flag, version, at, actor, reason, before, after, previous } = self;
        // An array in JSON: no two entries have one text.
        let all = (number, flag, version, at, actor, reason, before, after, previous);
        let text = serde_json::to_vec(&all).expect("texts and numbers are JSON");
        digest_of(&text)
    }
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    in_hex(&Sha256::digest(bytes))
}

fn in_hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest of many parts, none of which is copied.
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
#[derive(Default)]
pub(super) struct Digesting(Sha256);

#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
impl Digesting {
    /// Adds a part with its length, so that no two rows of parts are alike.
    pub(super) fn add(&mut self, part: &[u8]) {
        self.0.update(part.len().to_le_bytes());
        self.0.update(part);
    }

    pub(super) fn finish(self) -> String {
        in_hex(&self.0.finalize())
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
    /// Its digest.
    pub digest: String,
}

impl Head {
    /// The end of a history whose last entry has this number and digest.
    #[must_use]
    pub fn new(number: u64, digest: impl Into<String>) -> Self {
        Self { number, digest: digest.into() }
    }

    /// The end of a history whose last entry is this one.
    #[must_use]
    pub fn of(entry: &HistoryEntry) -> Self {
        Self::new(entry.number, entry.digest())
    }
}

/// A place where a history is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokenLink {
    /// The number of the entry that should be there, or whose content was changed.
    pub number: u64,
    /// What is wrong with it.
    pub problem: BrokenBy,
}

/// How a chain can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrokenBy {
    /// It is not there, or another one is in its place.
    Missing,
    /// The entry after it carries another digest than it has.
    Changed,
    /// The store's own head is another.
    Head,
}

impl fmt::Display for BrokenLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number;
        match self.problem {
            BrokenBy::Missing => write!(f, "entry {number} of the history is missing or in another place"),
            BrokenBy::Changed => write!(f, "entry {number} of the history was changed after it was written"),
            BrokenBy::Head => write!(f, "the history should end with entry {number}, and the store has another head"),
        }
    }
}

impl std::error::Error for BrokenLink {}

/// Checks a whole history, oldest entry first, and that it ends at `head`.
///
/// An end that was cut off shows only where the head is known from elsewhere, since who can cut the history can
/// mostly write the head too.
///
/// # Errors
///
/// The first link that is broken.
///
/// ```
/// use tower_flags::store::{Head, verify};
///
/// assert_eq!(verify([], &Head::default()), Ok(()));
/// assert_eq!(verify([], &Head::new(3, "abc")).unwrap_err().number, 3);
/// ```
pub fn verify<'a>(entries: impl IntoIterator<Item = &'a HistoryEntry>, head: &Head) -> Result<(), BrokenLink> {
    let mut link = Chain::default();
    for entry in entries {
        link.add(entry)?;
    }
    link.end(head)
}

/// A check that goes on entry by entry, oldest first.
#[derive(Debug, Default)]
pub(super) struct Chain {
    end: Head,
}

impl Chain {
    pub(super) fn add(&mut self, entry: &HistoryEntry) -> Result<(), BrokenLink> {
        let next = self.end.number + 1;
        if entry.number != next {
            return Err(BrokenLink { number: next, problem: BrokenBy::Missing });
        }
        if entry.previous != self.end.digest {
            return Err(BrokenLink { number: self.end.number.max(1), problem: BrokenBy::Changed });
        }
        self.end = Head::of(entry);
        Ok(())
    }

    pub(super) fn end(self, head: &Head) -> Result<(), BrokenLink> {
        if self.end == *head {
            return Ok(());
        }
        let problem = if self.end.number < head.number {
            BrokenLink { number: self.end.number + 1, problem: BrokenBy::Missing }
        } else if self.end.number == head.number {
            BrokenLink { number: head.number, problem: BrokenBy::Changed }
        } else {
            BrokenLink { number: head.number, problem: BrokenBy::Head }
        };
        Err(if self.end.number == 0 { BrokenLink { number: head.number, ..problem } } else { problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(length: u64) -> Vec<HistoryEntry> {
        let mut entries: Vec<HistoryEntry> = Vec::new();
        for number in 1..=length {
            entries.push(HistoryEntry {
                number,
                flag: "x".to_owned(),
                version: number,
                at: Instant::from_unix_millis(number as i64),
                actor: Some("alice".to_owned()).filter(|_| number % 2 == 0),
                reason: None,
                before: entries.last().and_then(|entry| entry.after.clone()),
                after: Some(format!(r#"{{"percentage":{number}}}"#)),
                previous: entries.last().map(HistoryEntry::digest).unwrap_or_default(),
            });
        }
        entries
    }

    fn head(entries: &[HistoryEntry]) -> Head {
        entries.last().map(Head::of).unwrap_or_default()
    }

    fn broken(entries: &[HistoryEntry], head: &Head) -> (u64, BrokenBy) {
        let link = verify(entries, head).unwrap_err();
        (link.number, link.problem)
    }

    #[test]
    fn a_chain_as_it_was_written_holds() {
        for length in 0..5 {
            let entries = chain(length);
            assert_eq!(verify(&entries, &head(&entries)), Ok(()));
        }
    }

    #[test]
    fn a_byte_that_is_changed_is_found_whichever_it_is() {
        let entries = chain(4);
        let head = head(&entries);
        for place in 0..entries.len() {
            let text = serde_json::to_string(&entries[place]).unwrap();
            let mut changes = 0;
            for at in 0..text.len() {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1;
                // Many of them are no entry any more, which is found by reading.
                let Ok(changed) = serde_json::from_slice::<HistoryEntry>(&bytes) else { continue };
                if changed == entries[place] {
                    continue;
                }
                changes += 1;
                let mut entries = entries.clone();
                entries[place] = changed;
                let (number, _) = broken(&entries, &head);
                assert!(number.abs_diff(place as u64 + 1) <= 1, "{number} at {place}");
            }
            assert!(changes > 30, "{changes}");
        }
    }

    #[test]
    fn entries_that_are_missing_or_swapped_are_named() {
        let entries = chain(4);
        let head = head(&entries);
        for place in 0..4 {
            let mut without = entries.clone();
            without.remove(place);
            assert_eq!(broken(&without, &head), (place as u64 + 1, BrokenBy::Missing));
        }
        let mut swapped = entries.clone();
        swapped.swap(1, 2);
        assert_eq!(broken(&swapped, &head), (2, BrokenBy::Missing));
        // Renumbered by somebody who knows the numbers but not the digests.
        (swapped[1].number, swapped[2].number) = (2, 3);
        assert_eq!(broken(&swapped, &head).1, BrokenBy::Changed);
    }

    #[test]
    fn an_end_that_was_cut_off_shows_against_the_head_alone() {
        let entries = chain(4);
        assert_eq!(broken(&entries[..3], &head(&entries)), (4, BrokenBy::Missing));
        assert_eq!(broken(&entries, &head(&entries[..3])), (3, BrokenBy::Head));
        assert_eq!(verify(&entries[..3], &head(&entries[..3])), Ok(()), "who writes the head too is not found");
        assert_eq!(broken(&entries, &Head::new(4, "0".repeat(64))), (4, BrokenBy::Changed));
    }

    #[test]
    fn links_say_what_is_wrong_with_them() {
        let said = |problem| BrokenLink { number: 7, problem }.to_string();
        assert_eq!(said(BrokenBy::Missing), "entry 7 of the history is missing or in another place");
        assert_eq!(said(BrokenBy::Changed), "entry 7 of the history was changed after it was written");
        assert_eq!(said(BrokenBy::Head), "the history should end with entry 7, and the store has another head");
    }
}
