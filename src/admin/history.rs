//! What was changed by whom, and going back.

use http::StatusCode;
use serde_json::{Value, json};

use super::call::{Answer, Call};
use super::definition::{accepted, fits_in};
use super::edits::{self, EDIT_WITHIN, edited};
use super::links::{CheckedEntry, checked};
use super::problem::{Failure, Kind};
use super::reply;
use super::shown;
use super::state::State;
use super::verifier;
use crate::document::{Timestamp, is_name, not_a_name};
use crate::store::{BreakKind, Change, HistoryBreak, HistoryEntry, HistoryPage};

/// Entries of a page that does not say how many.
const PAGE: usize = 50;

pub(super) async fn of_all(call: Call) -> Answer {
    page(&call, HistoryPage::newest()).await
}

pub(super) async fn of_flag(call: Call) -> Answer {
    if !is_name(&call.name) {
        return Err(Failure::new(Kind::NoSuchFlag, not_a_name(&call.name).to_string()));
    }
    let answer = page(&call, HistoryPage::newest().of(&call.name)).await?;
    let stored = call.state.read(&call.name).await?;
    if stored.version == 0 {
        // One that is there and was never edited has a history, which is empty.
        if call.state.shadowed_by(&call.name).is_none() {
            edits::text(&stored)?;
        }
    }
    Ok(answer)
}

async fn page(call: &Call, page: HistoryPage) -> Answer {
    let limit = match call.query.number("limit")? {
        None => PAGE,
        Some(limit @ 1..=1000) => usize::try_from(limit).unwrap_or(PAGE),
        Some(_) => return Err(Failure::new(Kind::Malformed, "limit: expected a number from 1 to 1000")),
    };
    let mut page = page;
    if let Some(before) = call.query.number("before")? {
        // No store counts further than 63 bits.
        page = page.before(before.min(i64::MAX as u64));
    }
    let (entries, has_more) = call.state.history_within(&page, limit).await?;
    let (entries, is_cut) = checked(&call.state, entries, page.flag.is_some()).await?;
    let last = entries.last().map(|last| last.entry.number);
    let next = last.filter(|last| (has_more || is_cut) && *last > 1);
    // Definitions may be large, and are compared.
    let body = move || json!({ "entries": entries.iter().map(entry).collect::<Vec<_>>(), "next": next });
    Ok(reply::json(StatusCode::OK, State::off_workers(&call.state.answering, body).await))
}

/// An entry with what it changed, and whether it is what was written.
fn entry(CheckedEntry { entry, digest, breaks }: &CheckedEntry) -> Value {
    let mut shown = json!(entry);
    shown["digest"] = json!(digest);
    shown["breaks"] = breaks.iter().map(verifier::shown).collect();
    shown["changes"] = shown::difference(&entry.flag, entry.before.as_deref(), entry.after.as_deref()).into();
    shown
}

/// Puts back what the flag was at a version. A flag that is off stays off.
pub(super) async fn revert(call: Call) -> Answer {
    let precondition = call.precondition()?;
    let creates_again = call.query.is_set("create_again")?;
    let (_, body) = call.json()?;
    let version = body.as_object().filter(|body| body.len() == 1).and_then(|body| body.get("to")?.as_u64());
    let Some(version) = version else {
        return Err(Failure::new(Kind::Malformed, "expected {\"to\": version}"));
    };
    if !is_name(&call.name) {
        return Err(Failure::new(Kind::NoSuchFlag, not_a_name(&call.name).to_string()));
    }
    let target = entry_at(&call, version).await?;
    let (target, _) = checked(&call.state, vec![target], true).await?;
    let Some(CheckedEntry { entry: target, breaks, .. }) = target.into_iter().next() else {
        return Err(Failure::new(Kind::NoSuchVersion, format!("the history has no version {version}")));
    };
    let is_changed = |broken: &&HistoryBreak| broken.problem == BreakKind::Changed && broken.number == target.number;
    if let Some(broken) = breaks.iter().find(is_changed) {
        let detail = format!("{broken}: nothing was changed; PUT the definition that is meant");
        return Err(Failure::new(Kind::Refused, detail));
    }
    let Some(target) = target.after else {
        let detail = format!("version {version} is where the flag was removed; DELETE removes it again");
        return Err(Failure::new(Kind::Refused, detail));
    };
    fits_in(&call.state, &call.name, Some(accepted(&call.name, &target)?)).await?;
    let changed = edits::apply(&call, EDIT_WITHIN, &precondition, |stored, before| {
        if stored.definition.is_none() && !creates_again {
            return Err(Failure::removed(stored));
        }
        let change = Change::put_text(before.replaced(&call.name, &target, true, Timestamp::now())?);
        Ok(if creates_again { change.create_again() } else { change })
    })
    .await?;
    edited(&call, StatusCode::OK, &changed, &[]).await
}

/// The entry that made this version.
async fn entry_at(call: &Call, version: u64) -> Result<HistoryEntry, Failure> {
    let missing =
        || Failure::new(Kind::NoSuchVersion, format!("the history of flag {:?} has no version {version}", call.name));
    let mut page = HistoryPage::newest().of(&call.name).limit(200);
    loop {
        let entries = call.state.history(&page).await.map_err(Failure::of_edit)?;
        let last = entries.last().ok_or_else(missing)?;
        page = page.before(last.number);
        let is_past = last.version < version;
        if let Some(found) = entries.into_iter().find(|entry| entry.version == version) {
            return Ok(found);
        }
        if is_past {
            return Err(missing());
        }
    }
}
