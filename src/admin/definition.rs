//! Which definition may take the place of which.

use std::collections::HashSet;
use std::sync::Arc;

use super::problem::Failure;
use super::shown;
use super::state::State;
use crate::document::{
    Definition, Document, Edit, Flag, Problem, Severity, Timestamp, flag_from_json, is_name, not_a_name,
};
use crate::engine::{FlagSet, Identity};
use crate::store::{FeedContent, HistoryPage, Stored};

/// What a flag is, or was last where it is not there any more, when another definition takes its place.
#[derive(Clone, Debug)]
pub(super) struct Predecessor {
    is_there: bool,
    text: Option<String>,
    /// Whether it is off: as it is stored, or in this process whatever the store says.
    pub(super) is_off: bool,
}

impl Predecessor {
    pub(super) async fn of(state: &State, name: &str, stored: &Stored) -> Result<Self, Failure> {
        let mut text = stored.definition.clone();
        if text.is_none() && stored.version > 0 {
            // What was off when it was removed comes back off, also where that was done past the history.
            let newest = state.history(&HistoryPage::newest().of(name).limit(1)).await?;
            text = newest.into_iter().next().and_then(|entry| entry.after.or(entry.before));
        }
        let is_off = text.as_deref().is_some_and(|text| is_killed(name, text)) || state.source.holds_off(name);
        Ok(Self { is_there: stored.definition.is_some(), text, is_off })
    }

    /// A definition in its place, written out as every edit leaves it. What switches the flag off stops its plan.
    /// With `keeps_off`, a flag that is off stays off, its plan where it stood: switched on again it gives no
    /// more than it gave then. Without it, a definition that switches the flag on and pauses its plan later pauses it
    /// now: a process whose clock runs ahead has written that when the flag was killed.
    pub(super) fn replaced(&self, name: &str, text: &str, keeps_off: bool, now: Timestamp) -> Result<String, Failure> {
        let flag = flag_from_json(Some(name), text)?;
        let mut edit = Edit::new();
        let is_kept_off = keeps_off && self.is_off;
        let is_switched_off = !flag.is_enabled() && self.is_there && !self.is_off;
        if is_kept_off || is_switched_off {
            edit = edit.set("enabled", false);
        } else if self.is_off && flag.is_enabled() && flag.pauses_after(now) {
            edit = edit.set("paused_at", now.to_string());
        }
        let new = shown::object(name, text).unwrap_or_default();
        if is_kept_off
            && new.contains_key("schedule")
            && !new.contains_key("paused_at")
            && let Some(paused_at) = self.paused_at(name)
        {
            // A process whose clock runs ahead may have written it.
            edit = edit.set("paused_at", paused_at.min(now).to_string());
        }
        Ok(edit.text(name, Some(text), now)?)
    }

    fn paused_at(&self, name: &str) -> Option<Timestamp> {
        flag_from_json(Some(name), self.text.as_deref()?).ok()?.paused_at()
    }
}

/// Whether a stored text switches the flag off, as far as it can be read.
pub(super) fn is_killed(name: &str, text: &str) -> bool {
    let document = Document::from_texts([(name, text.as_bytes())]);
    document.is_ok_and(|document| document.flags.values().any(Definition::is_killed))
}

/// A definition that is accepted by itself.
pub(super) fn accepted(name: &str, text: &str) -> Result<Flag, Failure> {
    if !is_name(name) {
        return Err(not_a_name(name).into());
    }
    let (flag, problems) = shown::read(name, text);
    match flag {
        Some(flag) => Ok(flag),
        // Which means that there is none.
        None if problems.is_empty() => Err(Problem::new("a flag", text.trim()).of_flag(name).into()),
        None => Err(Failure::refused(&problems)),
    }
}

/// Whether all flags are still accepted with these in place of theirs, and without those that are `None`: what one
/// requires is there, nothing goes in a circle, and regular expressions keep to the limits. Compiling takes a while, and
/// requests are served on this thread.
pub(super) async fn fits(
    state: &State,
    stored: Arc<FeedContent>,
    changes: Vec<(String, Option<Flag>)>,
) -> Result<(), Failure> {
    let in_force = state.source.set();
    State::off_workers(&state.compiling, move || fits_after(&in_force, &stored.document, changes)).await
}

fn fits_after(in_force: &FlagSet, stored: &Document, changes: Vec<(String, Option<Flag>)>) -> Result<(), Failure> {
    // Without lines and columns, which a replaced flag does not have.
    let errors = |set: &FlagSet| -> Vec<Problem> {
        let errors = set.problems().iter().filter(|problem| problem.severity == Severity::Error);
        errors.map(|problem| Problem { source: None, line: None, column: None, ..problem.clone() }).collect()
    };
    let before = FlagSet::compile_after(stored, Some(in_force), Identity::default(), Timestamp::now());
    let mut document = stored.clone();
    document.change_all(changes)?;
    let after = FlagSet::compile_after(&document, Some(&before), Identity::default(), Timestamp::now());
    let before: HashSet<Problem> = errors(&before).into_iter().collect();
    let new: Vec<Problem> = errors(&after).into_iter().filter(|problem| !before.contains(problem)).collect();
    if new.is_empty() { Ok(()) } else { Err(Failure::refused(&new)) }
}

/// Like that, for one flag.
pub(super) async fn fits_in(state: &State, name: &str, flag: Option<Flag>) -> Result<(), Failure> {
    let stored = state.load().await.map_err(Failure::of_edit)?;
    fits(state, stored, vec![(name.to_owned(), flag)]).await
}
