//! What would this user get?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Answer, Call};
use super::problem::{Failure, Kind};
use super::reply;
use super::state::State;
use crate::context::Context;
use crate::document::{Flag, Loss, Percentage, Problem, Timestamp, WHOLE_NUMBER, json as json_node, members, quoted};
use crate::engine::{FlagSet, Query};

/// Most bytes of a question.
pub(super) const MAX_BODY: usize = 128 * 1024;
/// Most bytes of all attributes of a question, as they are written.
const MAX_ATTRIBUTES: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    user_id: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    attributes: BTreeMap<String, Value>,
    visitor: Option<String>,
    /// Now, unless said.
    at: Option<Timestamp>,
}

/// Rejects numbers that would lose digits: the answer would be that of another caller.
fn all_digits(question: &str) -> Result<(), Failure> {
    let attributes = members(question).into_iter().flatten().filter(|(key, _)| key == "attributes");
    for (name, value) in attributes.filter_map(|(_, attributes)| members(attributes.get())).flatten() {
        if let Err(Loss::Number(digits)) = json_node(value.get())?.to_exact_value() {
            let found = Problem::new(WHOLE_NUMBER, digits).with_help("give a longer number as text, in quotes");
            return Err(Failure::new(Kind::Malformed, format!("attribute {}: {found}", quoted(&name))));
        }
    }
    Ok(())
}

/// Rejects attributes that are too long, before anything of them is parsed.
fn short_attributes(question: &str) -> Result<(), Failure> {
    let attributes = members(question).into_iter().flatten().filter(|(key, _)| key == "attributes");
    let attributes = attributes.filter_map(|(_, attributes)| members(attributes.get())).flatten();
    let size: usize = attributes.map(|(name, value)| name.len() + value.get().len()).sum();
    if size > MAX_ATTRIBUTES {
        let detail = format!("attributes: expected at most {MAX_ATTRIBUTES} bytes together, found {size}");
        return Err(Failure::new(Kind::Malformed, detail));
    }
    Ok(())
}

pub(super) async fn explain(call: Call) -> Answer {
    // What the question says is read there too: it may be nested deeply.
    let explaining = Arc::clone(&call.state.explaining);
    let answer = State::off_workers(&explaining, move || answered(&call)).await?;
    Ok(reply::json(StatusCode::OK, answer))
}

fn answered(call: &Call) -> Result<Value, Failure> {
    short_attributes(std::str::from_utf8(&call.body).unwrap_or_default())?;
    let (text, question) = call.json()?;
    all_digits(text)?;
    let question: Question = serde_json::from_value(question)
        .map_err(|error| Failure::new(Kind::Malformed, format!("the context: {error}")))?;
    let Question { user_id, groups, attributes, visitor, at } = question;
    let mut context = match user_id {
        Some(user) => Context::user(user),
        None => Context::anonymous(),
    };
    context = context.in_groups(groups);
    for (name, value) in attributes {
        if matches!(name.as_str(), "user_id" | "groups") {
            return Err(Failure::new(Kind::Malformed, format!("{name} stands beside attributes and not in them")));
        }
        context = context.with_attribute(name, value);
    }
    if let Some(visitor) = visitor {
        context = context.with_visitor(visitor);
    }
    let at = at.unwrap_or_else(Timestamp::now);
    Ok(answer_at(&call.state, &context, at, call.hides_users()))
}

fn answer_at(state: &State, context: &Context, at: Timestamp, hides: bool) -> Value {
    // Not through the source: it would resolve schedules for that instant, for everybody.
    let set = state.in_force();
    let hidden = if hides { telling(&set) } else { BTreeSet::new() };
    let flags = set.answer(&Query::new(context, at));
    let explain = |name: &str| {
        let answer = flags.evaluation(name);
        json!({
            "name": name,
            "enabled": answer.enabled,
            "variant": answer.variant,
            "value": answer.value,
            "reason": answer.reason,
            "words": answer.to_string(),
            "bucket": answer.bucket.and_then(Percentage::from_thousandths),
            "percentage": answer.percentage,
            "shadowed_by": state.shadowed_by(name),
        })
    };
    let answers: Vec<Value> = set.names().filter(|name| !hidden.contains(name)).map(explain).collect();
    json!({ "at": at, "version": flags.version(), "revision": flags.revision(), "flags": answers, "hidden": hidden })
}

/// The flags whose answers tell whether a user is named: those with a list of users, and those that require one.
fn telling(set: &FlagSet) -> BTreeSet<&str> {
    let flags: Vec<(&str, &Flag)> = set.names().filter_map(|name| Some((name, set.flag(name)?))).collect();
    let mut found: BTreeSet<&str> = BTreeSet::new();
    loop {
        let is_new = |(name, flag): &&(&'_ str, &Flag)| {
            let tells =
                flag.allowed_users().next().is_some() || flag.requires().any(|(other, _)| found.contains(other));
            tells && !found.contains(name)
        };
        let more: Vec<&str> = flags.iter().filter(is_new).map(|(name, _)| *name).collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}
