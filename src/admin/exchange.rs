//! All flags at once, in and out; and the history, out.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::call::{self, Answer, Call, Precondition};
use super::edits::{self, EDIT_WITHIN, fits};
use super::events::Receiver;
use super::neutral::{csv_field, json_line};
use super::problem::{Failure, Kind};
use super::shown;
use super::state::now;
use crate::engine::{Definition, Document, Edit, Flag, Severity, members};
use crate::store::{Change, HistoryEntry, HistoryPage, Stored};

/// How many flags stand by name in a header.
const MAX_NAMED: usize = 20;

/// The document that the store holds. A flag that cannot be read is left out, and named in a header.
pub(super) async fn export(call: Call) -> Answer {
    let loaded = call.state.load().await?;
    let mut response = call::json(StatusCode::OK, &json!(loaded.document));
    let refused =
        loaded.document.flags.iter().filter(|(_, definition)| matches!(definition, Definition::Refused { .. }));
    let names: Vec<&str> = refused.map(|(name, _)| &**name).take(MAX_NAMED).collect();
    let headers = response.headers_mut();
    if let Some(names) = HeaderValue::from_str(&names.join(", ")).ok().filter(|names| !names.is_empty()) {
        headers.insert("x-left-out", names);
    }
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"flags.json\""));
    Ok(response)
}

/// What an import does to one flag.
#[derive(Clone, Debug)]
enum To {
    /// This text in its place.
    Put(String),
    Remove,
}

/// Puts the flags of a document into the store, flag by flag.
pub(super) async fn import(call: Call) -> Answer {
    let is_dry = call.query.is_set("dry_run")?;
    let removes = call.query.is_set("remove")?;
    let creates_again = call.query.is_set("create_again")?;
    let (text, _) = call.json()?;
    let wanted = wanted(text)?;
    let loaded = call.state.load().await?;
    let named = wanted.iter().map(|(name, text)| Ok((name.as_str(), parsed(name, text)?)));
    let named: Result<Vec<(&str, Flag)>, Failure> = named.collect();
    fits(&loaded.document, named?)?;

    let mut plan: BTreeMap<String, To> = wanted.into_iter().map(|(name, text)| (name, To::Put(text))).collect();
    if removes {
        let missing = loaded.document.flags.keys().filter(|name| !plan.contains_key(&***name));
        let missing: Vec<String> = missing.map(|name| name.as_ref().to_owned()).collect();
        plan.extend(missing.into_iter().map(|name| (name, To::Remove)));
    }
    // Looked at wholly before anything is changed.
    let mut looked = Vec::new();
    let mut refused = None;
    for (name, to) in &plan {
        match one(&call, name, to, creates_again, true).await {
            Ok(result) => looked.push(result),
            Err(failure) if failure.is_of_store() => return Err(failure),
            Err(failure) => {
                looked.push(json!({ "name": name, "action": "refused", "error": failure.to_value() }));
                refused.get_or_insert(failure);
            }
        }
    }
    match refused {
        _ if is_dry => {}
        Some(failure) => return Err(failure.with("flags", looked)),
        None => return apply(&call, &plan, looked, creates_again).await,
    }
    Ok(call::json(StatusCode::OK, &json!({ "dry_run": true, "complete": refused.is_none(), "flags": looked })))
}

/// Makes what was looked at, flag by flag, until the store or somebody else is in the way.
async fn apply(call: &Call, plan: &BTreeMap<String, To>, looked: Vec<Value>, creates_again: bool) -> Answer {
    let mut results = Vec::new();
    for ((name, to), looked) in plan.iter().zip(looked) {
        if looked["action"] == "none" {
            results.push(looked);
            continue;
        }
        match one(call, name, to, creates_again, false).await {
            Ok(result) => results.push(result),
            Err(failure) => {
                results.push(json!({ "name": name, "action": "refused", "error": failure.to_value() }));
                let detail = "the flags before the one that was refused are changed, those behind it are not";
                return Err(Failure::new(Kind::Incomplete, detail).with("flags", results));
            }
        }
    }
    Ok(call::json(StatusCode::OK, &json!({ "dry_run": false, "complete": true, "flags": results })))
}

/// The flags of a document, each with its text; all of it is refused where one is.
fn wanted(text: &str) -> Result<Vec<(String, String)>, Failure> {
    let document = Document::from_json(text)?;
    if document.problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(Failure::refused(&document.problems));
    }
    let flags = members(text).into_iter().flatten().find(|(key, _)| key == "flags");
    let flags = flags.and_then(|(_, flags)| members(flags.get())).unwrap_or_default();
    let is_there = |name: &str| document.flag(name).is_some();
    Ok(flags
        .into_iter()
        .filter(|(name, _)| is_there(name))
        .map(|(name, text)| (name.into_owned(), text.get().to_owned()))
        .collect())
}

fn parsed(name: &str, text: &str) -> Result<Flag, Failure> {
    Ok(crate::engine::flag_from_json(Some(name), text)?)
}

async fn one(call: &Call, name: &str, to: &To, creates_again: bool, is_dry: bool) -> Result<Value, Failure> {
    let of_flag = Call {
        state: call.state.clone(),
        who: call.who.clone(),
        parts: call.parts.clone(),
        name: name.to_owned(),
        query: call.query.clone(),
        body: Bytes::new(),
    };
    let stored = call.state.read(name).await?;
    let after = |stored: &Stored| -> Result<Option<String>, Failure> {
        match to {
            To::Remove => Ok(None),
            To::Put(_) if stored.definition.is_none() && stored.version > 0 && !creates_again => {
                Err(Failure::removed(stored.version))
            }
            To::Put(text) => onto(name, text, stored.definition.as_deref()).map(Some),
        }
    };
    let planned = after(&stored)?;
    let before = stored.definition.as_deref();
    let changes = shown::difference(name, before, planned.as_deref());
    let action = match (before, &planned) {
        _ if changes.is_empty() => "none",
        (None, _) => "create",
        (_, None) => "remove",
        _ => "change",
    };
    let keeps_off = match to {
        To::Put(text) => {
            parsed(name, text)?.is_enabled() && before.is_some_and(|before| edits::is_killed(name, before))
        }
        To::Remove => false,
    };
    let mut version = stored.version;
    if !is_dry && action != "none" {
        let changed = edits::apply(&of_flag, EDIT_WITHIN, &Precondition::None, |stored| {
            let change = match after(stored)? {
                None => Change::remove(),
                Some(text) => Change::put_text(text),
            };
            Ok(if creates_again { change.create_again() } else { change })
        })
        .await?;
        version = changed.version;
    }
    Ok(json!({ "name": name, "action": action, "version": version, "kept_off": keeps_off, "changes": changes }))
}

/// The stored text with the imported definition: keys that are only carried along stay, unless a whole text has to
/// take the place of one that cannot be read.
fn onto(name: &str, wanted: &str, stored: Option<&str>) -> Result<String, Failure> {
    let now = now();
    let readable = stored.and_then(|stored| Some((stored, shown::object(name, stored)?)));
    let Some((stored, current)) = readable else {
        return edits::definition(name, wanted, stored, true, now);
    };
    // As an edit of everything that is said, with what a switch turned off means.
    let wanted = edits::definition(name, wanted, Some(stored), true, now)?;
    let target = shown::object(name, &wanted).unwrap_or_default();
    let mut edit = Edit::new();
    for (key, value) in &target {
        if current.get(key) != Some(value) && !crate::engine::is_foreign_key(key) {
            edit = edit.set(key, value.clone());
        }
    }
    for key in current.keys() {
        if !target.contains_key(key) && !crate::engine::is_foreign_key(key) {
            edit = edit.remove(key);
        }
    }
    Ok(edit.apply(name, Some(stored), now)?)
}

/// The whole history, newest entry first, as CSV or as JSON lines.
pub(super) async fn history(call: Call) -> Answer {
    let is_csv = match call.query.get("format") {
        None | Some("csv") => true,
        Some("jsonl") => false,
        Some(_) => return Err(Failure::new(Kind::Malformed, "format: expected csv or jsonl")),
    };
    // The first page tells whether there is anything to answer.
    let page = HistoryPage::newest().limit(500);
    let first = call.state.history(&page).await?;
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(2);
    let state = call.state.clone();
    if call.parts.method != http::Method::HEAD {
        tokio::spawn(async move {
            let (mut entries, mut page) = (first, page);
            let mut text = if is_csv { CSV_HEAD.to_owned() } else { String::new() };
            loop {
                text.extend(entries.iter().map(|entry| if is_csv { csv(entry) } else { line(entry) }));
                if sender.send(Ok(std::mem::take(&mut text).into())).await.is_err() {
                    return;
                }
                let Some(last) = entries.last() else { return };
                page = page.before(last.number);
                entries = match state.history(&page).await {
                    Ok(entries) => entries,
                    Err(failure) => {
                        // A body that breaks off is not taken for a whole one.
                        let _ = sender.send(Err(std::io::Error::other(failure.detail().to_owned()))).await;
                        return;
                    }
                };
            }
        });
    }
    let mut response = Response::new(Body::from_stream(Receiver(receiver)));
    let headers = response.headers_mut();
    let (kind, file) = if is_csv {
        ("text/csv; charset=utf-8", "attachment; filename=\"history.csv\"")
    } else {
        ("application/jsonl", "attachment; filename=\"history.jsonl\"")
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static(file));
    Ok(response)
}

const CSV_HEAD: &str = "number,flag,version,at,actor,reason,before,after,previous,digest\r\n";

fn csv(entry: &HistoryEntry) -> String {
    let HistoryEntry { number, flag, version, at, actor, reason, before, after, previous } = entry;
    let text = |text: &Option<String>| text.as_deref().map(csv_field).unwrap_or_default();
    format!(
        "{number},{},{version},{at},{},{},{},{},{},{}\r\n",
        csv_field(flag),
        text(actor),
        text(reason),
        text(before),
        text(after),
        csv_field(previous),
        csv_field(&entry.digest()),
    )
}

fn line(entry: &HistoryEntry) -> String {
    let mut value = json!(entry);
    value["digest"] = entry.digest().into();
    json_line(&value.to_string()) + "\n"
}
