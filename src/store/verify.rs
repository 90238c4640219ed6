//! Checking that a history is what was written: newest entry first, page by page.
//!
//! Each entry is compared with the digest that the next one carries, the last entry with the store's head. Only the
//! next entry's digest is kept meanwhile, so that a history of any length takes the memory of one page.

use std::fmt;
use std::time::Duration;

use tokio::time::timeout;

use super::history::{Head, HistoryEntry, HistoryPage};
use super::history_keys::{Attestation, HistoryKeys, attested, key_of};
use super::traits::Store;
use crate::error::{Error, ErrorKind};

/// Most breaks that are listed.
const MAX_BREAKS: usize = 100;
/// Fewest and most entries that are read at a time, by their size.
const MIN_STEP: usize = 8;
const MAX_STEP: usize = 64;
/// More bytes than this on a page make the next page smaller.
const LARGE_PAGE: usize = 512 * 1024;
/// A page of more bytes than this is hashed off the runtime's workers.
const ON_WORKER: usize = 64 * 1024;
/// How long the store may take for a page.
const PAGE_WITHIN: Duration = Duration::from_secs(10);

/// A place where a history is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryBreak {
    /// The number of the first entry concerned.
    pub number: u64,
    /// The number of the last one: mostly the same.
    pub through: u64,
    /// How they are broken.
    pub problem: BreakKind,
}

/// How a chain can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakKind {
    /// The entries are not there, or others are in their place.
    Missing,
    /// The entry after it, or the head, carries another digest than it has. That digest may have been changed instead.
    Changed,
    /// The store has entries after its own head.
    Head,
    /// The entries are chained without a key, although [keys](HistoryKeys) were in use before: a process without the key
    /// has written them, or an unknown author by the store's own tools.
    Unkeyed,
    /// The entries are chained with a key that this process does not accept for them. It cannot verify them.
    UnknownKey,
    /// The entry is another one than this process has seen at this place.
    Replaced,
    /// The history ended with these entries when this process saw it last, and now ends before them.
    CutOff,
}

impl BreakKind {
    /// The name in the admin API.
    #[cfg(feature = "admin")]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Head => "head",
            Self::Unkeyed => "unkeyed",
            Self::UnknownKey => "unknown-key",
            Self::Replaced => "replaced",
            Self::CutOff => "cut-off",
        }
    }
}

impl fmt::Display for HistoryBreak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, through, problem } = self;
        if *problem == BreakKind::Head {
            return write!(f, "the history should end with entry {number}, and the store has entries after it");
        }
        let is_one = number == through;
        if is_one {
            write!(f, "entry {number} of the history ")?;
        } else {
            write!(f, "entries {number} to {through} of the history ")?;
        }
        let words = match (problem, is_one) {
            (BreakKind::Missing, true) => "is missing or in another place",
            (BreakKind::Missing, false) => "are missing or in another place",
            (BreakKind::Unkeyed, true) => "was written without the key, although entries before it have one",
            (BreakKind::Unkeyed, false) => "were written without the key, although entries before them have one",
            (BreakKind::UnknownKey, true) => "was written with a key that this process does not accept for it",
            (BreakKind::UnknownKey, false) => "were written with a key that this process does not accept for them",
            (BreakKind::Replaced, true) => "differs from the entry that this process saw there before",
            (BreakKind::Replaced, false) => "differ from the entries that this process saw there before",
            (BreakKind::CutOff, true) => "was cut off from the end after this process had seen it",
            (BreakKind::CutOff, false) => "were cut off from the end after this process had seen them",
            (BreakKind::Changed | BreakKind::Head, true) => "was changed after it was written",
            (BreakKind::Changed | BreakKind::Head, false) => "were changed after they were written",
        };
        f.write_str(words)
    }
}

impl std::error::Error for HistoryBreak {}

/// The result of a check of a whole history: [`StoreExt::verification`](super::StoreExt::verification).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "the history may be broken"]
#[non_exhaustive]
pub struct Verification {
    /// The end of the history, as the store says.
    pub head: Head,
    /// How many entries were read.
    pub entries: u64,
    /// The first entry with a key that this process accepts: see [`HistoryKeys::keyed_from`].
    pub keyed_from: Option<u64>,
    /// The breaks, newest first: at most 100, of which the last is the oldest. Neighbours that are broken in the same way
    /// are one break.
    pub breaks: Vec<HistoryBreak>,
    /// How many breaks there are, with those that are not listed.
    pub broken: u64,
}

impl Verification {
    /// Whether the history is what was written, as far as its chain can tell.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.broken == 0
    }

    /// The oldest break.
    #[must_use]
    pub fn oldest_break(&self) -> Option<&HistoryBreak> {
        self.breaks.iter().min_by_key(|broken| broken.number)
    }
}

/// Checks a whole history without [keys](HistoryKeys), oldest entry first, and that it ends at `head`.
///
/// An end that was cut off shows only where the head is known from elsewhere, since who can cut the history can
/// mostly write the head too.
///
/// # Errors
///
/// The oldest link that is broken.
///
/// ```
/// use tower_flags::store::{Head, verify};
///
/// assert_eq!(verify([], &Head::default()), Ok(()));
/// let broken = verify([], &Head::new(3, "abc")).unwrap_err();
/// assert_eq!(broken.to_string(), "entries 1 to 3 of the history are missing or in another place");
/// ```
pub fn verify<'a>(
    entries: impl IntoIterator<Item = &'a HistoryEntry, IntoIter: DoubleEndedIterator>,
    head: &Head,
) -> Result<(), HistoryBreak> {
    let mut walk = Walk::new(None, Knowledge::default(), head.clone());
    for entry in entries.into_iter().rev() {
        walk.add(entry);
    }
    walk.end().oldest_break().cloned().map_or(Ok(()), Err)
}

/// A process's knowledge of a history from earlier checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Knowledge {
    /// The furthest end that it has seen: what ends before it was cut off.
    pub(crate) seen: Head,
    /// The end of the last check that found it whole: the entry there is still the same one.
    pub(crate) verified: Head,
    /// The first entry that had an accepted key.
    pub(crate) keyed_from: Option<u64>,
}

/// A check that goes on entry by entry, newest first.
#[derive(Debug)]
pub(crate) struct Walk {
    keys: Option<HistoryKeys>,
    known: Knowledge,
    /// From this entry on each has a key.
    required_from: Option<u64>,
    /// The number and digest that the next entry should have.
    expected: Head,
    has_begun: bool,
    /// The entries without a key so far: right unless one with a key comes before them.
    unkeyed: Option<(u64, u64)>,
    found: Verification,
}

impl Walk {
    /// `head` is what the first entry should be: the store's head, or the link of the entry above.
    pub(crate) fn new(keys: Option<HistoryKeys>, known: Knowledge, head: Head) -> Self {
        let required = keys.as_ref().and_then(HistoryKeys::required_from);
        let required_from = required.into_iter().chain(known.keyed_from).min();
        let found = Verification { head: head.clone(), ..Verification::default() };
        Self { keys, known, required_from, expected: head, has_begun: false, unkeyed: None, found }
    }

    pub(crate) fn add(&mut self, entry: &HistoryEntry) {
        self.found.entries += 1;
        let number = entry.number;
        let previous = Head::new(number.saturating_sub(1), entry.previous.clone());
        let expected = std::mem::replace(&mut self.expected, previous);
        let has_begun = std::mem::replace(&mut self.has_begun, true);
        if number > expected.number {
            if has_begun {
                self.report(BreakKind::Missing, number, number);
            } else {
                self.report(BreakKind::Head, expected.number, expected.number);
            }
        } else if number < expected.number {
            self.report(BreakKind::Missing, number + 1, expected.number);
        } else {
            self.compare(entry, &expected.digest);
        }
    }

    fn compare(&mut self, entry: &HistoryEntry, digest: &str) {
        let number = entry.number;
        let attested = attested(self.keys.as_ref(), entry, digest);
        match attested {
            Attestation::Same => {}
            Attestation::Other => self.report(BreakKind::Changed, number, number),
            Attestation::UnknownKey => self.report(BreakKind::UnknownKey, number, number),
        }
        if key_of(digest).is_some() {
            if attested == Attestation::Same {
                self.found.keyed_from = Some(number);
            }
            if let Some((first, last)) = self.unkeyed.take() {
                self.report(BreakKind::Unkeyed, first, last);
            }
        } else if self.required_from.is_some_and(|from| number >= from) {
            self.report(BreakKind::Unkeyed, number, number);
        } else {
            self.unkeyed = Some((number, self.unkeyed.map_or(number, |(_, last)| last)));
        }
        let is_other = |seen: &Head| seen.number == number && number > 0 && seen.digest != digest;
        if is_other(&self.known.seen) || is_other(&self.known.verified) {
            self.report(BreakKind::Replaced, number, number);
        }
    }

    pub(crate) fn report(&mut self, problem: BreakKind, number: u64, through: u64) {
        let breaks = &mut self.found.breaks;
        // Up to three kinds come for one entry.
        let neighbour = breaks.iter_mut().rev().take(4).find(|last| {
            last.problem == problem && problem != BreakKind::Head && last.number == through.saturating_add(1)
        });
        if let Some(neighbour) = neighbour {
            neighbour.number = number;
            return;
        }
        self.found.broken += 1;
        if breaks.len() == MAX_BREAKS {
            breaks.pop();
        }
        breaks.push(HistoryBreak { number, through, problem });
    }

    /// The breaks so far, after entries that are not all of a history; `is_end` where none is before them.
    #[cfg(feature = "admin")]
    pub(crate) fn end_of_page(mut self, is_end: bool) -> Vec<HistoryBreak> {
        if self.expected.number > 0 {
            if is_end {
                self.report(BreakKind::Missing, 1, self.expected.number);
            }
        } else if self.has_begun {
            self.check_first();
        }
        self.found.breaks
    }

    fn check_first(&mut self) {
        // The first entry follows nothing.
        if !self.expected.digest.is_empty() {
            self.report(BreakKind::Changed, 1, 1);
        }
    }

    /// The result, after the last entry.
    pub(crate) fn end(mut self) -> Verification {
        if self.expected.number > 0 {
            self.report(BreakKind::Missing, 1, self.expected.number);
        } else {
            self.check_first();
        }
        let (ends, seen) = (self.found.head.number, self.known.seen.number);
        if seen > ends {
            self.report(BreakKind::CutOff, ends + 1, seen);
        }
        self.found.breaks.sort_by_key(|broken| std::cmp::Reverse(broken.number));
        self.found
    }

    /// Adds a page. Large texts take a while to hash, and requests are served on this thread.
    async fn add_all(mut self, page: Vec<HistoryEntry>, bytes: usize) -> Result<Self, Error> {
        let add = move || {
            page.iter().for_each(|entry| self.add(entry));
            self
        };
        if bytes < ON_WORKER {
            return Ok(add());
        }
        tokio::task::spawn_blocking(add)
            .await
            .map_err(|cause| Error::new(ErrorKind::Unavailable, "verifying the history was given up").caused_by(cause))
    }
}

/// Reads the whole history and checks it: see [`StoreExt::verification`](super::StoreExt::verification).
pub(crate) async fn verification<S: Store + ?Sized>(store: &S, known: Knowledge) -> Result<Verification, Error> {
    let head = in_time(store, store.read("")).await?.head;
    let newest = HistoryPage::newest().limit(1);
    let newest = in_time(store, store.history(&newest)).await?.first().map_or(0, |entry| entry.number);
    let mut page = HistoryPage::newest().before(head.number.saturating_add(1));
    let mut walk = Walk::new(store.history_keys().cloned(), known, head.clone());
    if newest > head.number {
        // Edits that were made meanwhile have moved the head; entries above it have no other reason.
        let now = in_time(store, store.read("")).await?.head.number;
        if newest > now {
            walk.report(BreakKind::Head, now, now);
        }
    }
    let mut step = MIN_STEP;
    while page.before.is_some_and(|before| before > 1) {
        page.limit = step;
        let entries = in_time(store, store.history(&page)).await?;
        let Some(last) = entries.last() else { break };
        page.before = page.before.map(|before| last.number.min(before - 1));
        let bytes = entries.iter().map(HistoryEntry::size).sum();
        step = if bytes > LARGE_PAGE { step / 2 } else { step * 2 }.clamp(MIN_STEP, MAX_STEP);
        walk = walk.add_all(entries, bytes).await?;
    }
    Ok(walk.end())
}

async fn in_time<T>(store: &(impl Store + ?Sized), asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(PAGE_WITHIN, asked).await.unwrap_or_else(|_| {
        let message = format!("{} gave no answer within {PAGE_WITHIN:?}", store.name());
        Err(Error::new(ErrorKind::Unavailable, message))
    })
}

#[cfg(test)]
mod tests {
    use super::super::history_keys::digest_with;
    use super::*;
    use crate::document::Timestamp;

    fn chain(length: u64) -> Vec<HistoryEntry> {
        let mut entries: Vec<HistoryEntry> = Vec::new();
        for number in 1..=length {
            entries.push(HistoryEntry {
                number,
                flag: "x".to_owned(),
                version: number,
                at: Timestamp::from_unix_millis(number as i64),
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

    fn broken(entries: &[HistoryEntry], head: &Head) -> (u64, BreakKind) {
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
            assert_eq!(broken(&without, &head), (place as u64 + 1, BreakKind::Missing));
        }
        let mut swapped = entries.clone();
        swapped.swap(1, 2);
        assert_eq!(broken(&swapped, &head), (2, BreakKind::Missing));
        // Renumbered by somebody who knows the numbers but not the digests.
        (swapped[1].number, swapped[2].number) = (2, 3);
        assert_eq!(broken(&swapped, &head).1, BreakKind::Changed);
    }

    #[test]
    fn an_end_that_was_cut_off_shows_against_the_head_alone() {
        let entries = chain(4);
        assert_eq!(broken(&entries[..3], &head(&entries)), (4, BreakKind::Missing));
        assert_eq!(broken(&entries, &head(&entries[..3])), (3, BreakKind::Head));
        assert_eq!(verify(&entries[..3], &head(&entries[..3])), Ok(()), "who writes the head too is not found");
        assert_eq!(broken(&entries, &Head::new(4, "0".repeat(64))), (4, BreakKind::Changed));
    }

    #[test]
    fn links_say_what_is_wrong_with_them() {
        let said = |problem, through| HistoryBreak { number: 7, through, problem }.to_string();
        assert_eq!(said(BreakKind::Missing, 7), "entry 7 of the history is missing or in another place");
        assert_eq!(said(BreakKind::Changed, 7), "entry 7 of the history was changed after it was written");
        assert_eq!(said(BreakKind::Changed, 9), "entries 7 to 9 of the history were changed after they were written");
        assert_eq!(said(BreakKind::Head, 7), "the history should end with entry 7, and the store has entries after it");
    }

    const SECRET: &str = "6f0e5c1f4b7d4a0f9c3b2e1d0a9f8e7d";
    const OTHER: &str = "0d9c8b7a6f5e4d3c2b1a0f9e8d7c6b5a";

    /// A chain whose entries were written with these keys, and its head.
    fn keyed(keys: &[Option<&HistoryKeys>]) -> (Vec<HistoryEntry>, Head) {
        let mut entries = chain(keys.len() as u64);
        let mut head = Head::default();
        for (entry, keys) in entries.iter_mut().zip(keys) {
            entry.previous = head.digest;
            head = Head::new(entry.number, digest_with(*keys, entry));
        }
        (entries, head)
    }

    fn found(
        entries: &[HistoryEntry],
        head: &Head,
        keys: Option<&HistoryKeys>,
        known: &Knowledge,
    ) -> Vec<(BreakKind, u64, u64)> {
        let mut walk = Walk::new(keys.cloned(), known.clone(), head.clone());
        entries.iter().rev().for_each(|entry| walk.add(entry));
        walk.end().breaks.iter().map(|broken| (broken.problem, broken.number, broken.through)).collect()
    }

    #[test]
    fn a_chain_that_was_computed_again_is_found_by_the_key_alone() {
        let keys = HistoryKeys::new("a", SECRET).unwrap();
        for with in [None, Some(&keys)] {
            let (mut entries, _) = keyed(&[with; 5]);
            entries[1].actor = Some("mallory".to_owned());
            for at in 2..5 {
                entries[at].previous = entries[at - 1].digest();
            }
            // Entry 1 is as it was, and attested by entry 2.
            let found = found(&entries, &head(&entries), with, &Knowledge::default());
            let expected = if with.is_some() { vec![(BreakKind::Unkeyed, 2, 5)] } else { vec![] };
            assert_eq!(found, expected);
        }
        // The digests are there, and the attacker does not have the key.
        let (mut entries, end) = keyed(&[Some(&keys); 5]);
        entries[1].actor = Some("mallory".to_owned());
        assert_eq!(found(&entries, &end, Some(&keys), &Knowledge::default()), [(BreakKind::Changed, 2, 2)]);
    }

    #[test]
    fn entries_before_the_key_are_right_and_those_after_it_need_it() {
        let keys = HistoryKeys::new("a", SECRET).unwrap();
        let (with, none) = (Some(&keys), Knowledge::default());
        let (mut entries, end) = keyed(&[None, None, with, with]);
        assert_eq!(found(&entries, &end, with, &none), []);
        let required = keys.clone().keyed_from(2);
        assert_eq!(found(&entries, &end, Some(&required), &none), [(BreakKind::Unkeyed, 2, 2)]);
        // What was written before is protected by what was written since.
        entries[0].actor = Some("mallory".to_owned());
        entries[1].previous = entries[0].digest();
        assert_eq!(found(&entries, &end, with, &none), [(BreakKind::Changed, 2, 2)]);
        // A process without the key, between others.
        let (entries, end) = keyed(&[None, with, None, None, with, None]);
        assert_eq!(found(&entries, &end, with, &none), [(BreakKind::Unkeyed, 6, 6), (BreakKind::Unkeyed, 3, 4)]);
        let lacks = found(&entries, &end, None, &none);
        assert_eq!(lacks[1..3], [(BreakKind::UnknownKey, 5, 5), (BreakKind::Unkeyed, 3, 4)], "{lacks:?}");
        // Everything that had a key was cut off.
        let (entries, end) = keyed(&[None; 3]);
        let knows = Knowledge { keyed_from: Some(3), ..Knowledge::default() };
        assert_eq!(found(&entries, &end, with, &knows), [(BreakKind::Unkeyed, 3, 3)]);
    }

    #[test]
    fn keys_are_rotated_without_a_break_and_a_retired_one_is_worth_nothing() {
        let old = HistoryKeys::new("old", OTHER).unwrap();
        let both = HistoryKeys::new("new", SECRET).unwrap().accept_up_to(2, "old", OTHER).unwrap();
        let (entries, end) = keyed(&[Some(&old), Some(&old), Some(&both), Some(&both)]);
        assert_eq!(found(&entries, &end, Some(&both), &Knowledge::default()), []);
        let (entries, end) = keyed(&[Some(&old), Some(&old), Some(&both), Some(&old)]);
        assert_eq!(found(&entries, &end, Some(&both), &Knowledge::default()), [(BreakKind::UnknownKey, 4, 4)]);
    }

    #[test]
    fn an_end_that_this_process_has_seen_is_missed() {
        let entries = chain(4);
        let known = Knowledge { seen: head(&entries), verified: head(&entries), keyed_from: None };
        assert_eq!(found(&entries, &head(&entries), None, &known), []);
        assert_eq!(found(&entries[..2], &head(&entries[..2]), None, &known), [(BreakKind::CutOff, 3, 4)]);
        let mut others = entries.clone();
        others[3].actor = Some("mallory".to_owned());
        assert_eq!(found(&others, &head(&others), None, &known), [(BreakKind::Replaced, 4, 4)]);
    }

    #[test]
    fn the_end_of_the_last_check_and_the_furthest_one_are_both_compared() {
        let entries = chain(4);
        let known = Knowledge { seen: head(&entries), verified: head(&entries[..2]), keyed_from: None };
        assert_eq!(found(&entries, &head(&entries), None, &known), []);
        let mut others = entries.clone();
        others[3].actor = Some("mallory".to_owned());
        assert_eq!(found(&others, &head(&others), None, &known), [(BreakKind::Replaced, 4, 4)]);
        let mut others = entries[..2].to_vec();
        others[1].actor = Some("mallory".to_owned());
        let expected = [(BreakKind::CutOff, 3, 4), (BreakKind::Replaced, 2, 2)];
        assert_eq!(found(&others, &head(&others), None, &known), expected);
    }

    #[test]
    fn breaks_are_listed_up_to_a_limit_with_the_newest_and_the_oldest() {
        let mut entries = chain(500);
        for entry in entries.iter_mut().skip(1).step_by(2) {
            entry.version += 1000;
        }
        let mut walk = Walk::new(None, Knowledge::default(), Head::new(500, entries[499].digest()));
        entries.iter().rev().for_each(|entry| walk.add(entry));
        let found = walk.end();
        assert_eq!((found.broken, found.breaks.len(), found.entries), (249, MAX_BREAKS, 500));
        assert_eq!((found.breaks[0].number, found.oldest_break().unwrap().number), (498, 2));
    }
}
