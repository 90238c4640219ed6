//! Flags: listed, read, edited, switched.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::call::{Answer, Call, Precondition};
use super::definition::{accepted, fits_in, is_killed};
use super::edits::{self, EDIT_WITHIN, edited};
use super::local_kill;
use super::merge;
use super::missing;
use super::problem::{Failure, Kind};
use super::security;
use super::shown::{self, View};
use super::state::State;
use super::write_back;
use crate::document::{
    Definition, Edit, Plain, Problem, Timestamp, canonical_key, flag_from_json, is_name, not_a_name,
};
use crate::store::{Change, Feed, FeedContent, Stored, note_of_pause};

pub(super) async fn list(call: Call) -> Answer {
    let (state, loaded) = (Arc::clone(&call.state), call.state.load().await);
    // There may be 10,000 of them.
    let body = State::off_workers(&call.state.answering, move || listed_as(&state, loaded)).await;
    Ok(shown::answer(StatusCode::OK, body))
}

fn listed_as(state: &State, loaded: Result<Arc<FeedContent>, Failure>) -> Value {
    match loaded {
        Ok(loaded) => {
            let view = View::of(state);
            let mut problems: BTreeMap<&str, Vec<Problem>> = BTreeMap::new();
            for problem in &loaded.document.problems {
                problems.entry(problem.flag.as_deref().unwrap_or_default()).or_default().push(problem.clone());
            }
            let flags = loaded.document.flags.iter().map(|(name, definition)| {
                let flag = match definition {
                    Definition::Good(flag) => Some(&**flag),
                    Definition::Refused { .. } => None,
                };
                let version = loaded.versions.get(name).copied().unwrap_or_default();
                listed("store", view.flag(name, version, flag, problems.remove(&**name).unwrap_or_default()))
            });
            let missing = missing::of(state, &loaded);
            let names: HashSet<&str> = missing.iter().map(|missing| &*missing.flag).collect();
            let lost = missing.iter().map(|missing| listed("this process", missing::listed(&view, state, missing)));
            let flags = flags.chain(lost).collect();
            let is_known = |name: &str| loaded.document.flags.contains_key(name) || names.contains(name);
            let flags = with_other_parts(flags, &view, is_known);
            json!({
                "from": "store",
                "store": Feed::name(&state.store),
                "revision": loaded.revision,
                "etag": shown::etag_of_all(&loaded),
                "flags": flags,
                "problems": loaded.document.problems,
                "error": null,
            })
        }
        // What is in force is still worth seeing, and can be switched off.
        Err(failure) => {
            let (set, view) = (state.source.set(), View::of(state));
            let flags = set.names().filter_map(|name| {
                let version = state.source.version_of(name).unwrap_or_default();
                Some(listed("this process", view.flag(name, version, Some(set.flag(name)?), Vec::new())))
            });
            let flags = with_other_parts(flags.collect(), &view, |name| set.flag(name).is_some());
            json!({
                "from": "this process",
                "store": Feed::name(&state.store),
                "revision": set.revision(),
                "etag": null,
                "flags": flags,
                "problems": set.problems(),
                "error": failure.detail(),
            })
        }
    }
}

fn listed(from: &str, mut shown: Map<String, Value>) -> Value {
    shown.insert("from".to_owned(), from.into());
    Value::Object(shown)
}

/// The list by name, with the flags that other parts of the layers define, such as environment variables: requests
/// get those too.
fn with_other_parts(mut flags: Vec<Value>, view: &View<'_>, is_listed: impl Fn(&str) -> bool) -> Vec<Value> {
    flags.extend(view.of_other_parts(is_listed).map(Value::Object));
    flags.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    flags
}

pub(super) async fn get(call: Call) -> Answer {
    let name = &call.name;
    let missing = |detail: String| Failure::new(Kind::NoSuchFlag, detail);
    if !is_name(name) {
        return Err(missing(not_a_name(name).to_string()));
    }
    let shown = match shown(&call.state, name).await {
        Err(failure) if failure.kind == Kind::NoSuchFlag && missing::is_known(&call.state, name) => {
            shown(&call.state, name).await?
        }
        shown => shown?,
    };
    Ok(shown::answer(StatusCode::OK, shown))
}

/// A flag as the store has it, or as this process does.
async fn shown(state: &State, name: &str) -> Result<Value, Failure> {
    match state.read(name).await {
        Ok(stored) => match edits::text(&stored) {
            Ok(_) => Ok(shown::stored(state, name, &stored)),
            Err(failure) => match missing::flag(state, name).await {
                Some(missing) => Ok(missing::shown(state, &missing)),
                None => shown::of_other_part(state, name).ok_or(failure),
            },
        },
        Err(failure) => shown::in_force_alone(state, name).or_else(|| shown::of_other_part(state, name)).ok_or(failure),
    }
}

/// Whether a definition says by itself that the flag is on, instead of leaving it to the default.
fn says_enabled(text: &str) -> Result<bool, Failure> {
    Ok(match Plain::of_json(text)? {
        Plain::Map(members) => {
            members.iter().any(|(key, value)| canonical_key(key) == Some("enabled") && *value == Plain::Bool(true))
        }
        plain => plain == Plain::Bool(true),
    })
}

const KEPT_OFF: &str = "the flag was off and stays off, since the definition does not say \"enabled\": true";

pub(super) async fn put(call: Call) -> Answer {
    let precondition = call.precondition()?;
    if precondition == Precondition::None {
        let detail = "expected If-Match with the flag's ETag, or If-None-Match: * for a flag that is to be new";
        return Err(Failure::new(Kind::PreconditionRequired, detail));
    }
    // A lost flag does not count as removed.
    let is_missing = precondition == Precondition::IsMissing && missing::flag(&call.state, &call.name).await.is_some();
    let creates_again = call.query.is_set("create_again")? || is_missing;
    let (text, _) = call.json()?;
    let flag = accepted(&call.name, text)?;
    // Only who says so switches on what is off.
    let says_on = flag.is_enabled() && says_enabled(text)?;
    let is_on = flag.is_enabled();
    fits_in(&call.state, &call.name, Some(flag)).await?;
    let turn = call.state.turn().await;
    let mut changed = edits::apply(&call, EDIT_WITHIN, &precondition, |stored, before| {
        if stored.definition.is_none() && stored.version > 0 && !creates_again {
            return Err(Failure::removed(stored));
        }
        let change = Change::put_text(before.replaced(&call.name, text, !says_on, Timestamp::now())?);
        Ok(if creates_again { change.create_again() } else { change })
    })
    .await?;
    if is_on && changed.definition.as_deref().is_some_and(|text| is_killed(&call.name, text)) {
        changed.notes.push(KEPT_OFF.to_owned());
    }
    changed.notes.extend(changed.entry.as_ref().and_then(|entry| note_of_pause(entry, Some(text))));
    if says_on {
        call.state.source.forget_kill(&call.name).await;
    }
    drop(turn);
    let is_new = precondition == Precondition::IsMissing;
    edited(&call, if is_new { StatusCode::CREATED } else { StatusCode::OK }, &changed, &[]).await
}

pub(super) async fn patch(call: Call) -> Answer {
    let precondition = call.precondition()?;
    let (text, _) = call.json()?;
    let Plain::Map(patch) = Plain::of_json(text)? else {
        return Err(Problem::new("an object with the keys to change", "something else").of_flag(&call.name).into());
    };
    let name = call.name.as_str();
    let edit_of = |stored: &Stored| -> Result<Edit, Failure> {
        merge::edit(name, edits::text(stored)?, &patch, Timestamp::now())
    };
    let other_keys = || patch.iter().map(|(key, _)| key).filter(|key| canonical_key(key) != Some("enabled"));
    let switch = patch.iter().find(|(key, _)| canonical_key(key) == Some("enabled")).map(|(_, value)| value);
    if switch == Some(&Plain::Bool(false)) {
        let others: Vec<&str> = other_keys().map(String::as_str).collect();
        return local_kill::kill(&call, &precondition, &others, |stored, _| {
            let text = edits::text(stored)?;
            if others.is_empty() {
                return Ok(Change::kill());
            }
            let edit = edit_of(stored)?;
            // Nothing that is wrong with what is stored holds up a kill, and what is wrong with the patch is said.
            let is_broken = flag_from_json(Some(name), text).is_err();
            Ok(if is_broken && edit.text(name, Some(text), Timestamp::now()).is_err() {
                Change::kill()
            } else {
                Change::edit(edit)
            })
        })
        .await;
    }
    if patch.iter().any(|(key, _)| matches!(canonical_key(key), Some("requires" | "rules" | "variants"))) {
        let stored = call.state.read(name).await.map_err(Failure::of_edit)?;
        let edit = edit_of(&stored).map_err(|failure| edits::of_other_part(&call, failure))?;
        let text = edit.text(name, stored.definition.as_deref(), Timestamp::now())?;
        fits_in(&call.state, name, Some(accepted(name, &text)?)).await?;
    }
    let is_switched_on = switch == Some(&Plain::Bool(true));
    let is_restore = is_switched_on && other_keys().next().is_none();
    let turn = if is_switched_on { Some(call.state.turn().await) } else { None };
    let changed = edits::apply(&call, EDIT_WITHIN, &precondition, |stored, _| {
        let edit = edit_of(stored)?;
        Ok(if is_restore { Change::restore() } else { Change::edit(edit) })
    })
    .await?;
    if is_switched_on {
        call.state.source.forget_kill(name).await;
    }
    drop(turn);
    edited(&call, StatusCode::OK, &changed, &[]).await
}

pub(super) async fn delete(call: Call) -> Answer {
    let precondition = call.precondition()?;
    if !matches!(precondition, Precondition::IsThere | Precondition::IsOneOf(_)) {
        return Err(Failure::new(Kind::PreconditionRequired, "expected If-Match with the flag's ETag"));
    }
    call.no_body()?;
    if is_name(&call.name) {
        fits_in(&call.state, &call.name, None).await?;
    }
    let changed = match missing::flag(&call.state, &call.name).await {
        Some(missing) if precondition == Precondition::IsThere => write_back::remove(&call, &missing).await?,
        _ => edits::apply(&call, EDIT_WITHIN, &precondition, |_, _| Ok(Change::remove())).await?,
    };
    edited(&call, StatusCode::OK, &changed, &[]).await
}

pub(super) async fn kill(call: Call) -> Answer {
    call.no_body()?;
    let precondition = call.precondition()?;
    local_kill::kill(&call, &precondition, &[], |stored, _| {
        edits::text(stored)?;
        Ok(Change::kill())
    })
    .await
}

pub(super) async fn restore(call: Call) -> Answer {
    call.no_body()?;
    let precondition = call.precondition()?;
    let turn = call.state.turn().await;
    let changed = edits::apply(&call, EDIT_WITHIN, &precondition, |stored, _| {
        edits::text(stored)?;
        Ok(Change::restore())
    })
    .await?;
    // Whoever switches it on means here, too.
    call.state.source.forget_kill(&call.name).await;
    drop(turn);
    edited(&call, StatusCode::OK, &changed, &[]).await
}

/// Lets the store decide again.
pub(super) async fn forget_kill(call: Call) -> Answer {
    call.no_body()?;
    let turn = call.state.turn().await;
    if !call.state.source.forget_kill(&call.name).await {
        return Err(Failure::new(Kind::NoLocalKill, "the flag is not switched off in this process alone"));
    }
    drop(turn);
    tracing::warn!(flag = call.name, by = call.who.name, "a kill that the store has not taken was forgotten");
    security::edited(&call.name, call.action, &call.who.name, None);
    let shown = match call.state.read(&call.name).await {
        Ok(stored) => shown::stored(&call.state, &call.name, &stored),
        Err(failure) => shown::in_force_alone(&call.state, &call.name).ok_or(failure)?,
    };
    Ok(shown::answer(StatusCode::OK, shown))
}
