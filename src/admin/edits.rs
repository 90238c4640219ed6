//! Edits that are worked out from what is stored: read, decide, compare and write.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant as Time, sleep};

use super::call::{Answer, Call, Precondition};
use super::problem::{Failure, Kind};
use super::shown;
use super::state::{State, now};
use crate::engine::{
    Definition, Document, Edit, Flag, FlagSet, Instant, Problem, Severity, flag_from_json, is_name, kept, not_a_name,
};
use crate::store::{Change, ChangeError, Changed, StoreExt, Stored, digest_of, random_share};

/// How long an edit goes on trying while others are faster.
pub(super) const EDIT_WITHIN: Duration = Duration::from_secs(5);

/// Makes the change that `make` works out from what is stored, onto exactly that: where somebody else was faster it
/// is worked out anew, unless the request says what it was made for.
pub(super) async fn apply(
    call: &Call,
    within: Duration,
    precondition: &Precondition,
    make: impl Fn(&Stored) -> Result<Change, Failure> + Send + Sync,
) -> Result<Changed, Failure> {
    let (state, name) = (&call.state, call.name.as_str());
    if !is_name(name) {
        return Err(Failure::new(Kind::NoSuchFlag, not_a_name(name).to_string()));
    }
    let (author, deadline) = (call.author(), Time::now() + within);
    loop {
        let stored = state.read(name).await?;
        check(call, precondition, &stored)?;
        let change = make(&stored)?;
        let left = deadline.saturating_duration_since(Time::now());
        match state.store.change(name, change.over(&stored).within(left), &author).await {
            Ok(changed) => return Ok(changed),
            Err(ChangeError::Conflict(_)) if Time::now() < deadline => {
                sleep(Duration::from_millis(8).mul_f64(random_share())).await;
            }
            Err(ChangeError::Conflict(_)) => {
                let detail = format!("others changed flag {name:?} faster than this edit for {within:?}");
                return Err(Failure::new(Kind::StoreUnavailable, detail));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the flag is what the request says that it is.
fn check(call: &Call, precondition: &Precondition, stored: &Stored) -> Result<(), Failure> {
    let etag = shown::etag(stored);
    let detail = match precondition {
        Precondition::None => return Ok(()),
        Precondition::IsThere if etag.is_some() => return Ok(()),
        Precondition::IsMissing if etag.is_none() => return Ok(()),
        Precondition::IsOneOf(tags) if etag.as_ref().is_some_and(|etag| tags.contains(etag)) => return Ok(()),
        Precondition::IsMissing => "there is a flag of this name already",
        Precondition::IsThere => "there is no flag of this name",
        Precondition::IsOneOf(_) if etag.is_none() => "the flag is not there any more",
        Precondition::IsOneOf(_) => "somebody else has changed the flag since; look at it and decide again",
    };
    Err(Failure::stale(detail, shown::stored(&call.state, &call.name, stored)))
}

/// The text of a flag that has to be there.
pub(super) fn text(stored: &Stored) -> Result<&str, Failure> {
    let missing = || {
        let detail = match stored.version {
            0 => "there is no flag of this name".to_owned(),
            version => format!("the flag was removed (version {version})"),
        };
        Failure::new(Kind::NoSuchFlag, detail)
    };
    stored.definition.as_deref().ok_or_else(missing)
}

/// Whether a stored text switches the flag off, as far as it can be read.
pub(super) fn is_killed(name: &str, text: &str) -> bool {
    let document = Document::from_texts([(name, text.as_bytes())]);
    document.is_ok_and(|document| document.flags.values().any(Definition::is_killed))
}

/// A definition in place of another, which never switches a flag on that is off. Written out as every edit
/// leaves it, and with the plan standing still where this is what switches it off.
pub(super) fn definition(
    name: &str,
    text: &str,
    before: Option<&str>,
    keeps_off: bool,
    now: Instant,
) -> Result<String, Failure> {
    let flag: Flag = flag_from_json(Some(name), text)?;
    let was_off = before.is_some_and(|before| is_killed(name, before));
    let is_killed_now = !flag.is_enabled() && before.is_some() && !was_off;
    let edit = if (keeps_off && was_off) || is_killed_now { Edit::new().set("enabled", false) } else { Edit::new() };
    Ok(edit.apply(name, Some(text), now)?)
}

/// Switches a flag off. Of a text that is refused nothing can be kept: what is in force takes its place.
pub(super) fn kill_of(state: &State, name: &str, text: &str) -> Result<Change, Problem> {
    if flag_from_json(Some(name), text).is_ok() {
        return Ok(Change::kill());
    }
    let off = match state.source.set().flag(name) {
        Some(flag) => kept(&Arc::new(flag.clone()), true, false).to_stored(),
        None => "false".to_owned(),
    };
    Edit::new().set("enabled", false).apply(name, Some(&off), now()).map(Change::put_text)
}

/// Whether a definition is accepted: by itself, and among the flags that it requires.
pub(super) async fn accepted(call: &Call, text: &str) -> Result<(), Failure> {
    let name = call.name.as_str();
    if !is_name(name) {
        return Err(not_a_name(name).into());
    }
    let (flag, problems) = shown::read(name, text);
    let Some(flag) = flag else { return Err(Failure::refused(&problems)) };
    if flag.requires().next().is_some() {
        let loaded = call.state.load().await?;
        fits(&loaded.document, [(name, flag)])?;
    }
    Ok(())
}

/// Whether flags can be added to others: what they require is there, and goes in no circle.
pub(super) fn fits<'a>(stored: &Document, flags: impl IntoIterator<Item = (&'a str, Flag)>) -> Result<(), Failure> {
    let errors = |document: &Document| -> Vec<Problem> {
        let set = FlagSet::compile(document, now());
        set.problems().iter().filter(|problem| problem.severity == Severity::Error).cloned().collect()
    };
    let before = errors(stored);
    let mut document = stored.clone();
    let mut names = Vec::new();
    for (name, flag) in flags {
        document.insert(name, flag)?;
        names.push(name);
    }
    let is_new = |problem: &Problem| {
        !before.contains(problem) && problem.flag.as_deref().is_some_and(|flag| names.contains(&flag))
    };
    let new: Vec<Problem> = errors(&document).into_iter().filter(is_new).collect();
    if new.is_empty() { Ok(()) } else { Err(Failure::refused(&new)) }
}

/// The answer to an edit that was made: the flag as it is now.
pub(super) async fn edited(call: &Call, status: StatusCode, changed: &Changed) -> Answer {
    call.state.settle(&call.name, changed.version).await;
    let mut stored = Stored { definition: changed.definition.clone(), version: changed.version, ..Stored::default() };
    stored.content = stored.definition.as_ref().map(|text| digest_of(text.as_bytes())).unwrap_or_default();
    let mut shown = shown::stored(&call.state, &call.name, &stored);
    shown["stored"] = true.into();
    shown["changed"] = changed.entry.is_some().into();
    Ok(shown::answer(status, &shown))
}
