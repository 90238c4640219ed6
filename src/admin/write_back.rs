//! Writing back flags that the store has lost: an edit with author and reason. A flag that is in the store again is left
//! alone. A flag that is off, or was off in the history, is written back switched off.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use super::call::{Answer, Call, Precondition};
use super::edits::{self, EDIT_WITHIN, edited};
use super::missing;
use super::problem::{Failure, Kind};
use super::reply;
use super::shown;
use super::state::IN_FORCE_WITHIN;
use crate::document::{Edit, Flag, Timestamp, flag_from_json};
use crate::source::MissingFlag;
use crate::store::{AppliedChange, Change, HistoryPage};

/// Writes one flag back.
pub(super) async fn write_back(call: Call) -> Answer {
    call.no_body()?;
    let changed = match missing::flag(&call.state, &call.name).await {
        Some(missing) => write(&call, &missing, false, EDIT_WITHIN).await?.0,
        None => {
            let stored = call.state.read(&call.name).await.map_err(Failure::of_edit)?;
            edits::text(&stored)?;
            AppliedChange::nothing(&stored)
        }
    };
    edited(&call, StatusCode::OK, &changed, &[]).await
}

/// Writes all of them back.
pub(super) async fn write_back_all(call: Call) -> Answer {
    call.no_body()?;
    let loaded = call.state.load().await.map_err(Failure::of_edit)?;
    let missing = missing::of(&call.state, &loaded);
    // A write-back that has begun is finished, even if the client disconnects.
    tokio::spawn(async move { write_each(&call, &missing).await })
        .await
        .unwrap_or_else(|_| Err(Failure::new(Kind::InDoubt, "writing back was interrupted; check the history")))
}

async fn write_each(call: &Call, missing: &[MissingFlag]) -> Answer {
    let (mut results, mut last, mut is_complete) = (Vec::new(), None, true);
    for missing in missing {
        let name = &missing.flag;
        let of_flag = call.of_flag(name);
        match write(&of_flag, missing, false, EDIT_WITHIN).await {
            Ok((changed, is_off)) => {
                let changes = shown::difference(name, None, changed.definition.as_deref());
                results.push(json!({ "name": name, "action": "create", "version": changed.version, "kept_off": is_off, "changes": changes }));
                last = Some((name, changed.version));
            }
            // It is there again.
            Err(failure) if failure.kind == Kind::Stale => {
                results.push(json!({ "name": name, "action": "none", "version": missing.version.unwrap_or_default(), "kept_off": false, "changes": [] }));
            }
            Err(failure) => {
                let is_over = failure.is_of_store();
                results.push(json!({ "name": name, "action": "refused", "error": failure.to_value() }));
                is_complete = false;
                if is_over {
                    let detail = "the flags before the rejected one are written back, those after it are not";
                    return Err(Failure::new(Kind::Incomplete, detail).with("flags", results));
                }
            }
        }
    }
    if let Some((name, version)) = last {
        call.state.settle(name, version, IN_FORCE_WITHIN).await;
    }
    let body = json!({ "dry_run": false, "complete": is_complete, "etag": null, "flags": results });
    Ok(reply::json(StatusCode::OK, body))
}

/// Removes a missing flag in a way that the store records: writes it back switched off, and then removes it.
pub(super) async fn remove(call: &Call, missing: &MissingFlag) -> Result<AppliedChange, Failure> {
    write(call, missing, true, EDIT_WITHIN).await?;
    edits::apply(call, EDIT_WITHIN, &Precondition::IsThere, |_, _| Ok(Change::remove())).await
}

/// Writes a missing flag back, switched off with `off`. Says whether it is off then.
pub(super) async fn write(
    call: &Call,
    missing: &MissingFlag,
    off: bool,
    within: Duration,
) -> Result<(AppliedChange, bool), Failure> {
    let (state, name) = (&call.state, call.name.as_str());
    let deadline = Instant::now() + within;
    let text = edits::until(call, deadline, text_of(call, missing)).await?;
    let left = deadline.saturating_duration_since(Instant::now());
    let changed = edits::apply(call, left, &Precondition::None, |stored, before| {
        if stored.definition.is_some() {
            let detail = "nothing was changed, because the flag is in the store again";
            return Err(Failure::stale(detail, shown::stored(state, name, stored)));
        }
        if stored.version > 0 && stored.content.is_empty() {
            return Err(Failure::removed(stored));
        }
        let mut text = before.replaced(name, &text, true, Timestamp::now())?;
        if off {
            text = Edit::new().set("enabled", false).apply(name, Some(&text), Timestamp::now())?;
        }
        Ok(Change::put_text(text).create_again())
    })
    .await?;
    let is_off = |text: &String| flag_from_json(Some(name), text).is_ok_and(|flag| !flag.is_enabled());
    let is_off = changed.definition.as_ref().is_some_and(is_off);
    Ok((changed, is_off))
}

/// The text of a missing flag, as it is in effect or was last: that of the history, with the keys of other services, if
/// it says the same.
async fn text_of(call: &Call, missing: &MissingFlag) -> Result<String, Failure> {
    let (state, name) = (&call.state, call.name.as_str());
    let newest = state.history(&HistoryPage::newest().of(name).limit(1)).await?;
    let recorded = newest.into_iter().next().and_then(|entry| entry.after.or(entry.before));
    let set = state.source.set();
    let Some(flag) = set.flag(name).or(missing.definition.as_deref()) else {
        return recorded.ok_or_else(|| {
            let detail = "nothing was changed, because no definition of the flag is known; create the flag with PUT";
            Failure::new(Kind::Missing, detail)
        });
    };
    let says_the_same = |text: &String| {
        flag_from_json(Some(name), text).is_ok_and(|recorded| Flag { enabled: flag.is_enabled(), ..recorded } == *flag)
    };
    match recorded.filter(says_the_same) {
        Some(text) if flag.is_enabled() => Ok(text),
        // Off here, whatever it was then.
        Some(text) => Ok(Edit::new().set("enabled", false).apply(name, Some(&text), Timestamp::now())?),
        None => Ok(flag.to_stored()),
    }
}
