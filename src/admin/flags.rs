//! Flags: listed, read, edited, switched.

use http::StatusCode;
use serde_json::{Value, json};

use super::call::{self, Answer, Call, Precondition};
use super::edits::{self, EDIT_WITHIN, accepted, edited, kill_of};
use super::local_kill;
use super::merge;
use super::problem::{Failure, Kind};
use super::shown;
use super::state::now;
use crate::engine::{Definition, Edit, Problem, is_name, not_a_name};
use crate::store::{Change, Feed, Stored};

pub(super) async fn list(call: Call) -> Answer {
    let state = &call.state;
    let now = now();
    let body = match state.load().await {
        Ok(loaded) => {
            let problems = &loaded.document.problems;
            let flags: Vec<Value> = loaded
                .document
                .flags
                .iter()
                .map(|(name, definition)| {
                    let flag = match definition {
                        Definition::Good(flag) => Some(&**flag),
                        Definition::Refused { .. } => None,
                    };
                    let own: Vec<Problem> =
                        problems.iter().filter(|problem| problem.flag.as_deref() == Some(name)).cloned().collect();
                    let version = loaded.versions.get(name).copied().unwrap_or_default();
                    Value::Object(shown::common(state, name, version, flag, &own, now))
                })
                .collect();
            json!({
                "from": "store",
                "store": Feed::name(&state.store),
                "origin": loaded.origin,
                "flags": flags,
                "problems": problems,
                "error": null,
            })
        }
        // What is in force is still worth seeing, and can be switched off.
        Err(failure) => {
            let set = state.source.set();
            let flags: Vec<Value> = set
                .names()
                .filter_map(|name| {
                    let version = state.source.version_of(name).unwrap_or_default();
                    let flag = set.flag(name)?;
                    Some(Value::Object(shown::common(state, name, version, Some(flag), &[], now)))
                })
                .collect();
            json!({
                "from": "this process",
                "store": Feed::name(&state.store),
                "origin": set.origin(),
                "flags": flags,
                "problems": set.problems(),
                "error": failure.detail(),
            })
        }
    };
    Ok(call::json(StatusCode::OK, &body))
}

pub(super) async fn get(call: Call) -> Answer {
    let name = &call.name;
    let missing = |detail: String| Failure::new(Kind::NoSuchFlag, detail);
    if !is_name(name) {
        return Err(missing(not_a_name(name).to_string()));
    }
    let shown = match call.state.read(name).await {
        Ok(stored) => {
            edits::text(&stored)?;
            shown::stored(&call.state, name, &stored)
        }
        Err(failure) => shown::in_force_alone(&call.state, name).ok_or(failure)?,
    };
    Ok(shown::answer(StatusCode::OK, &shown))
}

pub(super) async fn put(call: Call) -> Answer {
    let precondition = call.precondition()?;
    if precondition == Precondition::None {
        let detail = "expected If-Match with the flag's ETag, or If-None-Match: * for a flag that is to be new";
        return Err(Failure::new(Kind::PreconditionRequired, detail));
    }
    let creates_again = call.query.is_set("create_again")?;
    let (text, _) = call.json()?;
    accepted(&call, text).await?;
    let is_new = precondition == Precondition::IsMissing;
    let changed = edits::apply(&call, EDIT_WITHIN, &precondition, |stored| {
        if stored.definition.is_none() && stored.version > 0 && !creates_again {
            return Err(Failure::removed(stored.version));
        }
        let text = edits::definition(&call.name, text, stored.definition.as_deref(), false, now())?;
        let change = Change::put_text(text);
        Ok(if creates_again { change.create_again() } else { change })
    });
    let changed = changed.await?;
    edited(&call, if is_new { StatusCode::CREATED } else { StatusCode::OK }, &changed).await
}

pub(super) async fn patch(call: Call) -> Answer {
    let precondition = call.precondition()?;
    let (_, Value::Object(patch)) = call.json()? else {
        return Err(Problem::new("an object with the keys to change", "something else").of_flag(&call.name).into());
    };
    let edit_of = |stored: &Stored| -> Result<Edit, Failure> { merge::edit(&call.name, edits::text(stored)?, &patch) };
    let switches_off =
        patch.iter().any(|(key, value)| crate::engine::canonical_key(key) == Some("enabled") && *value == false);
    if switches_off {
        let lost: Vec<&str> = patch
            .keys()
            .filter(|key| crate::engine::canonical_key(key) != Some("enabled"))
            .map(String::as_str)
            .collect();
        return local_kill::kill(&call, &precondition, &lost, |stored| {
            let text = edits::text(stored)?;
            if patch.len() == 1 {
                Ok(kill_of(&call.state, &call.name, text)?)
            } else {
                Ok(Change::edit(edit_of(stored)?))
            }
        })
        .await;
    }
    if patch.keys().any(|key| crate::engine::canonical_key(key) == Some("requires")) {
        let stored = call.state.read(&call.name).await?;
        let text = edit_of(&stored)?.apply(&call.name, stored.definition.as_deref(), now())?;
        accepted(&call, &text).await?;
    }
    let changed = edits::apply(&call, EDIT_WITHIN, &precondition, |stored| Ok(Change::edit(edit_of(stored)?))).await?;
    edited(&call, StatusCode::OK, &changed).await
}

pub(super) async fn delete(call: Call) -> Answer {
    let precondition = call.precondition()?;
    if !matches!(precondition, Precondition::IsThere | Precondition::IsOneOf(_)) {
        return Err(Failure::new(Kind::PreconditionRequired, "expected If-Match with the flag's ETag"));
    }
    call.no_body()?;
    let changed = edits::apply(&call, EDIT_WITHIN, &precondition, |_| Ok(Change::remove())).await?;
    edited(&call, StatusCode::OK, &changed).await
}

pub(super) async fn kill(call: Call) -> Answer {
    call.no_body()?;
    let precondition = call.precondition()?;
    local_kill::kill(&call, &precondition, &[], |stored| Ok(kill_of(&call.state, &call.name, edits::text(stored)?)?))
        .await
}

pub(super) async fn restore(call: Call) -> Answer {
    call.no_body()?;
    let precondition = call.precondition()?;
    let changed = edits::apply(&call, EDIT_WITHIN, &precondition, |stored| {
        edits::text(stored)?;
        Ok(Change::restore())
    })
    .await?;
    // Whoever switches it on means here, too.
    call.state.source.forget_kill(&call.name).await;
    edited(&call, StatusCode::OK, &changed).await
}

/// Lets the store decide again.
pub(super) async fn forget_kill(call: Call) -> Answer {
    call.no_body()?;
    if !call.state.source.forget_kill(&call.name).await {
        return Err(Failure::new(Kind::NoLocalKill, "the flag is not switched off in this process alone"));
    }
    tracing::warn!(flag = call.name, by = call.who.name, "a kill that the store has not taken was forgotten");
    get(call).await
}
