//! Edits that are worked out from what is stored: read, decide, compare and write.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::call::{Answer, Call, Precondition};
use super::definition::Predecessor;
use super::missing;
use super::problem::{Failure, Kind};
use super::security;
use super::shown;
use super::state::IN_FORCE_WITHIN;
use crate::document::{is_name, not_a_name};
use crate::store::{AppliedChange, Change, ChangeError, Feed, StoreExt, Stored, digest_of, random_share};

/// How long an edit goes on trying while others are faster.
pub(super) const EDIT_WITHIN: Duration = Duration::from_secs(5);
/// How long an edit that was overtaken waits for others that were, before it goes on beside them.
const IN_LINE_FOR: Duration = Duration::from_millis(250);

/// Makes the change that `make` works out from what is stored, onto exactly that: where somebody else was faster it
/// is worked out anew, unless the request says what it was made for.
pub(super) async fn apply(
    call: &Call,
    within: Duration,
    precondition: &Precondition,
    make: impl Fn(&Stored, &Predecessor) -> Result<Change, Failure> + Send + Sync,
) -> Result<AppliedChange, Failure> {
    let deadline = Instant::now() + within;
    match attempt(call, within, precondition, &make).await {
        Err(failure) if matches!(failure.kind, Kind::NoSuchFlag | Kind::Removed) => {
            let missing = async { Ok(missing::flag(&call.state, &call.name).await) };
            let is_missing = until(call, deadline, missing).await?.is_some();
            if is_missing {
                Err(missing::failure(&call.name))
            } else if missing::is_known(&call.state, &call.name) {
                attempt(call, deadline.saturating_duration_since(Instant::now()), precondition, make).await
            } else {
                Err(failure)
            }
        }
        outcome => outcome,
    }
}

/// What an edit reads before it is sent, as long as it has time.
pub(super) async fn until<T>(
    call: &Call,
    deadline: Instant,
    asked: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let answer = timeout_at(deadline, asked).await.unwrap_or_else(|_| {
        let detail = format!("{} gave no answer in time", Feed::name(&call.state.store));
        Err(Failure::new(Kind::StoreUnavailable, detail))
    });
    answer.map_err(Failure::of_edit)
}

async fn attempt(
    call: &Call,
    within: Duration,
    precondition: &Precondition,
    make: impl Fn(&Stored, &Predecessor) -> Result<Change, Failure> + Send + Sync,
) -> Result<AppliedChange, Failure> {
    let (state, name) = (&call.state, call.name.as_str());
    if !is_name(name) {
        return Err(Failure::new(Kind::NoSuchFlag, not_a_name(name).to_string()));
    }
    let (author, deadline) = (call.author(), Instant::now() + within);
    let overtaken = || {
        let detail = format!("other edits of flag {name:?} kept coming first for {within:?}");
        Failure::new(Kind::StoreUnavailable, detail).of_edit()
    };
    // Those that were overtaken go one after the other. If all tried at once, some would not be first for seconds where
    // the store is slow.
    let mut line = None;
    loop {
        let stored = until(call, deadline, state.read(name)).await?;
        check(call, precondition, &stored)?;
        let before = until(call, deadline, Predecessor::of(state, name, &stored)).await?;
        let change = make(&stored, &before).map_err(|failure| of_other_part(call, failure))?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(overtaken());
        }
        match state.store.change(name, change.over(&stored).within(left), &author).await {
            Ok(changed) => {
                // Kills that wait for the store can be written now.
                state.has_written.store(true, Ordering::Relaxed);
                if changed.entry.is_some() {
                    security::edited(name, call.action, &call.who.name, Some(changed.version));
                }
                return Ok(changed);
            }
            Err(ChangeError::Conflict(_)) if Instant::now() < deadline => match line {
                None => line = timeout(IN_LINE_FOR, state.overtaken.lock()).await.ok(),
                Some(_) => sleep(Duration::from_millis(8).mul_f64(random_share())).await,
            },
            Err(ChangeError::Conflict(_)) => return Err(overtaken()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Says where to change a flag that the store does not have, but another part of the layers does.
pub(super) fn of_other_part(call: &Call, failure: Failure) -> Failure {
    match call.state.shadowed_by(&call.name) {
        Some(part) if failure.kind == Kind::NoSuchFlag => {
            let detail = format!(
                "nothing was changed, because the store has no flag of this name; the one in effect comes from {part}: \
                 change it there"
            );
            Failure::new(Kind::NoSuchFlag, detail)
        }
        _ => failure,
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
        // The tag that they received.
        Precondition::IsOneOf(tags)
            if call.hides_users() && shown::etag_without_users(stored).is_some_and(|etag| tags.contains(&etag)) =>
        {
            return Ok(());
        }
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
            version if stored.content.is_empty() => format!("the flag was removed (version {version})"),
            version => format!("the flag was removed outside of the history (version {version})"),
        };
        Failure::new(Kind::NoSuchFlag, detail)
    };
    stored.definition.as_deref().ok_or_else(missing)
}

/// The answer to an edit that was made: the flag as it is now, and keys that were left out.
pub(super) async fn edited(call: &Call, status: StatusCode, changed: &AppliedChange, not_taken: &[&str]) -> Answer {
    call.state.settle(&call.name, changed.version, IN_FORCE_WITHIN).await;
    let mut stored = Stored { definition: changed.definition.clone(), version: changed.version, ..Stored::default() };
    stored.content = stored.definition.as_ref().map(|text| digest_of(text.as_bytes())).unwrap_or_default();
    let mut shown = shown::stored(&call.state, &call.name, &stored);
    shown["stored"] = true.into();
    shown["changed"] = changed.entry.is_some().into();
    shown["notes"] = serde_json::json!(changed.notes);
    if !not_taken.is_empty() {
        shown["not_taken"] = serde_json::json!(not_taken);
    }
    Ok(shown::answer(status, shown))
}
