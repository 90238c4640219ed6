//! Checks the entries of a page before it is served, with their neighbours outside of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::problem::Failure;
use super::state::State;
use crate::store::{Feed, Head, HistoryBreak, HistoryEntry, HistoryPage, Walk, digest_like};

/// Neighbours of up to this many entries are read together with them.
const TOGETHER: u64 = 8;
/// How long reading the neighbours of a flag's entries may take: each entry has its own. The page ends where it does.
const WITHIN: Duration = Duration::from_secs(1);
/// How often the head and the entry above are read while edits are made.
const ATTEMPTS: usize = 3;

/// An entry that was checked.
pub(super) struct CheckedEntry {
    pub(super) entry: HistoryEntry,
    /// Its digest, in the form in which the entry after it should carry it; `None` where that needs a key that this process
    /// does not have.
    pub(super) digest: Option<String>,
    /// The breaks at this entry, or next to it.
    pub(super) breaks: Vec<HistoryBreak>,
}

/// Entries that follow each other, newest first, between their neighbours.
struct Run {
    entries: Vec<HistoryEntry>,
    /// The number and digest that the newest should have.
    above: Head,
    /// The next older one.
    below: Option<HistoryEntry>,
}

/// Checks the entries of a page. `is_of_flag`: those between them are of other flags. `true` where not all of them could be
/// checked in time: the others are left out.
pub(super) async fn checked(
    state: &Arc<State>,
    entries: Vec<HistoryEntry>,
    is_of_flag: bool,
) -> Result<(Vec<CheckedEntry>, bool), Failure> {
    let (started, mut runs, mut is_cut) = (Instant::now(), Vec::new(), false);
    for entries in split(entries, is_of_flag) {
        if !runs.is_empty() && started.elapsed() > WITHIN {
            is_cut = true;
            break;
        }
        let (above, below) = neighbours(state, &entries).await?;
        runs.push(Run { entries, above, below });
    }
    let (keys, known) = (state.store.history_keys().cloned(), state.verifier.known());
    let (checked, breaks) = State::off_workers(&state.verifying, move || {
        let (mut checked, mut all) = (Vec::new(), Vec::new());
        for run in runs {
            let mut walk = Walk::new(keys.clone(), known.clone(), run.above.clone());
            run.entries.iter().chain(&run.below).for_each(|entry| walk.add(entry));
            let breaks = walk.end_of_page(run.below.is_none());
            let mut digest = run.above.digest;
            let first = checked.len();
            for entry in run.entries {
                let next = entry.previous.clone();
                let digest = digest_like(keys.as_ref(), &entry, &std::mem::replace(&mut digest, next));
                checked.push(CheckedEntry { entry, digest, breaks: Vec::new() });
            }
            breaks.iter().for_each(|broken| attach(&mut checked[first..], broken));
            all.extend(breaks);
        }
        (checked, all)
    })
    .await;
    state.verifier.found(Feed::name(&state.store), &breaks);
    Ok((checked, is_cut))
}

/// Shows a break with its entries; else, where they are not on the page, with the entry after them.
fn attach(checked: &mut [CheckedEntry], broken: &HistoryBreak) {
    let is_in = |checked: &CheckedEntry| (broken.number..=broken.through).contains(&checked.entry.number);
    if checked.iter().any(is_in) {
        checked.iter_mut().filter(|checked| is_in(checked)).for_each(|checked| checked.breaks.push(broken.clone()));
        return;
    }
    let after = checked.iter().rposition(|checked| checked.entry.number > broken.through).unwrap_or(0);
    if let Some(checked) = checked.get_mut(after) {
        checked.breaks.push(broken.clone());
    }
}

/// The entries of one flag in pieces whose numbers follow each other; others in one piece, in which gaps are breaks.
fn split(entries: Vec<HistoryEntry>, is_of_flag: bool) -> Vec<Vec<HistoryEntry>> {
    let mut runs: Vec<Vec<HistoryEntry>> = Vec::new();
    for entry in entries {
        match runs.last_mut() {
            Some(run)
                if !is_of_flag || run.last().is_some_and(|last| last.number == entry.number.saturating_add(1)) =>
            {
                run.push(entry);
            }
            _ => runs.push(vec![entry]),
        }
    }
    runs
}

/// The number and digest that the newest of these entries should have, and the entry before the oldest.
async fn neighbours(state: &State, entries: &[HistoryEntry]) -> Result<(Head, Option<HistoryEntry>), Failure> {
    let (Some(newest), Some(oldest)) = (entries.first(), entries.last()) else { return Ok((Head::default(), None)) };
    let (top, bottom) = (newest.number, oldest.number);
    let mut below = None;
    let mut head = Head::default();
    for attempt in 0..ATTEMPTS {
        // An edit may be made between reading the entries and the head.
        let many = if attempt == 0 && entries.len() as u64 <= TOGETHER { entries.len() + 2 } else { 1 };
        let page = HistoryPage::newest().before(top.saturating_add(2)).limit(many);
        let found = state.history(&page).await?;
        let above = found.iter().find(|entry| entry.number == top.saturating_add(1));
        let above = above.map(|above| Head::new(top, above.previous.clone()));
        below = below.or_else(|| found.into_iter().find(|entry| entry.number < bottom));
        if let Some(above) = above {
            head = above;
            break;
        }
        head = state.read("").await?.head;
        if head.number == top {
            break;
        }
        if head.number > top {
            // The entry above is missing, if it does not come yet.
            head = Head::new(top.saturating_add(1), String::new());
        }
    }
    if below.is_none() && bottom > 1 {
        let page = HistoryPage::newest().before(bottom).limit(1);
        below = state.history(&page).await?.into_iter().next();
    }
    Ok((head, below))
}
