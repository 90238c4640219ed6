//! All flags at once, in and out; and the history, out.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_core::Stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;

use super::call::{Answer, Call, Precondition};
use super::definition::{Predecessor, accepted, fits};
use super::edits::{self, EDIT_WITHIN};
use super::links::{CheckedEntry, checked};
use super::merge::as_written;
use super::neutral::{csv_field, json_line};
use super::problem::{Failure, Kind};
use super::reply;
use super::seats::Full;
use super::shown;
use super::state::{IN_FORCE_WITHIN, State};
use super::users;
use super::verifier;
use crate::document::{
    Definition, Document, Edit, Flag, MAX_FLAG, Plain, Problem, Severity, Timestamp, flag_from_json, is_foreign_key,
    json as json_node, members,
};
use crate::store::{Change, HistoryEntry, HistoryPage, Stored};

/// How many flags stand by name in a header.
const MAX_NAMED: usize = 20;
/// The document that the store holds, with every flag: accepted flags in their canonical form, and all others as their
/// texts. An entry without a text, or with a name that no flag may have, is left out and reported.
pub(super) async fn export(call: Call) -> Answer {
    #[derive(serde::Serialize)]
    struct Export<'a> {
        flags: BTreeMap<&'a str, Box<RawValue>>,
    }
    let (loaded, hides) = (call.state.load().await?, call.hides_users());
    let mut refused = BTreeMap::new();
    for (name, definition) in &loaded.document.flags {
        // They may name users, in an unknown place.
        if !hides && let Definition::Refused { .. } = definition {
            refused.insert(Arc::clone(name), call.state.read(name).await?.definition);
        }
    }
    let write = move || {
        let document = &loaded.document;
        let (mut flags, mut left_out) = (BTreeMap::new(), BTreeSet::new());
        for (name, definition) in &document.flags {
            let text = match definition {
                Definition::Good(flag) => Some(flag.to_stored()),
                Definition::Refused { .. } => refused.remove(name).flatten(),
            };
            match text.and_then(|text| exported(text, hides)) {
                Some(text) => drop(flags.insert(&**name, text)),
                None => drop(left_out.insert(name.to_string())),
            }
        }
        let nameless = document.problems.iter().filter_map(|problem| problem.flag.as_deref());
        left_out.extend(nameless.filter(|name| !document.flags.contains_key(*name)).map(str::to_owned));
        serde_json::to_string(&Export { flags }).map(|body| (body, left_out))
    };
    let written = State::off_workers(&call.state.answering, write).await;
    let (body, left_out) = written
        .map_err(|error| Failure::new(Kind::StoreUnavailable, format!("the document cannot be written: {error}")))?;
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"flags.json\""));
    if !left_out.is_empty() {
        headers.insert("x-left-out-count", left_out.len().into());
        let names: Vec<String> = left_out.iter().take(MAX_NAMED).map(|name| encoded(name)).collect();
        if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
            headers.insert("x-left-out", names);
        }
    }
    Ok(response)
}

/// A flag's text as it stands in an export: as it is, else in quotes. `None` where the export leaves the flag out.
fn exported(text: String, hides: bool) -> Option<Box<RawValue>> {
    let text = if hides { users::without_users(&text).into_owned() } else { text };
    // A longer one is not even fetched from every store.
    if text.len() > MAX_FLAG {
        return None;
    }
    let text = if can_stand(&text) { text } else { Value::from(text).to_string() };
    RawValue::from_string(text).ok()
}

/// Whether a text can stand in a document that an import accepts: JSON with each key once and not too deep. A JSON
/// string cannot, since a string in a document means a quoted text.
fn can_stand(text: &str) -> bool {
    let is_value = json_node(text).is_ok() && !text.trim_start().starts_with('"');
    is_value && json_node(&format!("{{\"flags\":{{\"x\":{text}}}}}")).is_ok_and(|whole| whole.to_value().is_some())
}

/// A text that a header can carry: all but unreserved characters as %-escapes.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// What an import does to one flag, worked out from what is stored.
struct Step {
    name: String,
    stored: Stored,
    /// The text after it; `None` where the flag is removed.
    planned: Option<String>,
    action: &'static str,
    keeps_off: bool,
    changes: Vec<Value>,
}

impl Step {
    async fn of(call: &Call, name: &str, wanted: Option<&ImportedFlag>, creates_again: bool) -> Result<Self, Failure> {
        let stored = call.state.read(name).await.map_err(Failure::of_edit)?;
        let is_removed = stored.definition.is_none() && stored.version > 0 && stored.content.is_empty();
        if wanted.is_some() && is_removed && !creates_again {
            return Err(Failure::removed(&stored));
        }
        let before = Predecessor::of(&call.state, name, &stored).await.map_err(Failure::of_edit)?;
        let planned = wanted.map(|wanted| wanted.onto(&stored, &before)).transpose()?;
        let changes = shown::difference(name, stored.definition.as_deref(), planned.as_deref());
        let action = match (&stored.definition, &planned) {
            _ if changes.is_empty() => "none",
            (None, _) => "create",
            (_, None) => "remove",
            _ => "change",
        };
        let is_on =
            |wanted: &ImportedFlag| flag_from_json(Some(name), &wanted.text).is_ok_and(|flag| flag.is_enabled());
        let keeps_off = before.is_off && wanted.is_some_and(is_on);
        Ok(Self { name: name.to_owned(), stored, planned, action, keeps_off, changes })
    }

    /// The flag after this step, if the step changes it.
    fn change(&self) -> Option<Result<(String, Option<Flag>), Failure>> {
        let accepted = |text: &String| accepted(&self.name, text);
        let flag = (self.action != "none").then(|| self.planned.as_ref().map(accepted).transpose())?;
        Some(flag.map(|flag| (self.name.clone(), flag)))
    }

    /// Makes exactly what was looked at, or nothing.
    async fn make(&self, call: &Call) -> Result<u64, Failure> {
        let of_flag = call.of_flag(&self.name);
        let made = edits::apply(&of_flag, EDIT_WITHIN, &Precondition::None, |stored, _| {
            if (stored.version, &stored.definition) != (self.stored.version, &self.stored.definition) {
                let detail = "somebody else has changed the flag since it was looked at";
                return Err(Failure::stale(detail, shown::stored(&call.state, &self.name, stored)));
            }
            // Whether the name may come back was decided when it was looked at.
            Ok(self.planned.clone().map_or_else(Change::remove, |text| Change::put_text(text).create_again()))
        });
        Ok(made.await?.version)
    }

    fn to_value(&self, version: u64) -> Value {
        json!({
            "name": self.name,
            "action": self.action,
            "version": version,
            "kept_off": self.keeps_off,
            "changes": self.changes,
        })
    }
}

/// Puts the flags of a document into the store, flag by flag.
pub(super) async fn import(call: Call) -> Answer {
    let is_dry = call.query.is_set("dry_run")?;
    let removes = call.query.is_set("remove")?;
    let creates_again = call.query.is_set("create_again")?;
    let precondition = call.precondition()?;
    let (text, _) = call.json()?;
    let wanted = wanted(text)?;
    let loaded = call.state.load().await.map_err(Failure::of_edit)?;
    let etag = shown::etag_of_all(&loaded);
    match &precondition {
        Precondition::None | Precondition::IsThere => {}
        Precondition::IsOneOf(tags) if tags.contains(&etag) => {}
        Precondition::IsOneOf(_) | Precondition::IsMissing => {
            let detail = "somebody has changed flags since this was looked at; look again";
            return Err(Failure::new(Kind::Stale, detail).with("etag", etag));
        }
    }
    let mut plan: BTreeMap<&str, Option<&ImportedFlag>> =
        wanted.iter().map(|wanted| (wanted.name.as_str(), Some(wanted))).collect();
    if removes {
        for (name, definition) in &loaded.document.flags {
            // What an export leaves out is not missing from the document on purpose.
            if plan.contains_key(&**name) {
                continue;
            }
            let is_exported = match definition {
                Definition::Good(flag) => exported(flag.to_stored(), false).is_some(),
                Definition::Refused { .. } => {
                    let stored = call.state.read(name).await.map_err(Failure::of_edit)?;
                    stored.definition.is_some_and(|text| exported(text, false).is_some())
                }
            };
            if is_exported {
                plan.insert(name, None);
            }
        }
    }
    // Looked at wholly before anything is changed.
    let (mut steps, mut shown, mut refused) = (Vec::new(), Vec::new(), None);
    for (name, wanted) in &plan {
        match Step::of(&call, name, *wanted, creates_again).await {
            Ok(step) => {
                shown.push(step.to_value(step.stored.version));
                steps.push(step);
            }
            Err(failure) if failure.is_of_store() => return Err(failure),
            Err(failure) => {
                shown.push(json!({ "name": name, "action": "refused", "error": failure.to_value() }));
                refused.get_or_insert(failure);
            }
        }
    }
    if refused.is_none() {
        let changes = steps.iter().filter_map(Step::change).collect::<Result<_, Failure>>()?;
        fits(&call.state, Arc::clone(&loaded), changes).await?;
    }
    match refused {
        _ if is_dry => {
            let body = json!({ "dry_run": true, "complete": refused.is_none(), "etag": etag, "flags": shown });
            Ok(shown::answer(StatusCode::OK, body))
        }
        Some(failure) => Err(failure.with("flags", shown)),
        // An import that has begun is finished, even if the client disconnects.
        None => tokio::spawn(async move { make(&call, &steps).await })
            .await
            .unwrap_or_else(|_| Err(Failure::new(Kind::InDoubt, "the import broke off; look at the history"))),
    }
}

/// Makes what was looked at, flag by flag, until the store or somebody else is in the way.
async fn make(call: &Call, steps: &[Step]) -> Answer {
    let (mut results, mut last) = (Vec::new(), None);
    for step in steps {
        if step.action == "none" {
            results.push(step.to_value(step.stored.version));
            continue;
        }
        match step.make(call).await {
            Ok(version) => {
                results.push(step.to_value(version));
                last = Some((&step.name, version));
            }
            Err(failure) => {
                results.push(json!({ "name": step.name, "action": "refused", "error": failure.to_value() }));
                let detail = "the flags before the one that was refused are changed, those behind it are not";
                return Err(Failure::new(Kind::Incomplete, detail).with("flags", results));
            }
        }
    }
    if let Some((name, version)) = last {
        call.state.settle(name, version, IN_FORCE_WITHIN).await;
    }
    Ok(reply::json(StatusCode::OK, json!({ "dry_run": false, "complete": true, "etag": null, "flags": results })))
}

/// A flag of a document that is imported.
struct ImportedFlag {
    name: String,
    text: String,
    /// Its problems, with their places in the document.
    problems: Vec<Problem>,
}

/// The flags of a document, each with its text. A text that cannot stand in a document as it is comes in quotes.
fn wanted(text: &str) -> Result<Vec<ImportedFlag>, Failure> {
    let document = Document::from_json(text)?;
    let flags = members(text).into_iter().flatten().find(|(key, _)| key == "flags");
    let flags = flags.and_then(|(_, flags)| members(flags.get())).unwrap_or_default();
    let mut errors: HashMap<&str, Vec<Problem>> = HashMap::new();
    for problem in document.problems.iter().filter(|problem| problem.severity == Severity::Error) {
        errors.entry(problem.flag.as_deref().unwrap_or_default()).or_default().push(problem.clone());
    }
    let wanted = |(name, raw): (Cow<'_, str>, &RawValue)| {
        let in_quotes = serde_json::from_str::<String>(raw.get()).ok().filter(|text| !can_stand(text));
        let problems = match &in_quotes {
            Some(_) => Vec::new(),
            None => errors.get(&*name).cloned().unwrap_or_default(),
        };
        ImportedFlag { text: in_quotes.unwrap_or_else(|| raw.get().to_owned()), problems, name: name.into_owned() }
    };
    // Null equals absent.
    Ok(flags.into_iter().filter(|(_, raw)| raw.get() != "null").map(wanted).collect())
}

impl ImportedFlag {
    /// The stored text with the imported definition: unchanged if both mean the same, whether they are accepted or not.
    /// Keys of other services stay, unless a whole text has to replace one that cannot be read.
    fn onto(&self, stored: &Stored, before: &Predecessor) -> Result<String, Failure> {
        let name = self.name.as_str();
        if let Some(stored) = stored.definition.as_deref().filter(|stored| self.is_in(stored)) {
            return Ok(stored.to_owned());
        }
        if !self.problems.is_empty() {
            return Err(Failure::refused(&self.problems));
        }
        accepted(name, &self.text)?;
        let now = Timestamp::now();
        // This also pauses the plan of a flag that is switched off.
        let wanted = before.replaced(name, &self.text, true, now)?;
        let readable =
            stored.definition.as_deref().and_then(|stored| Some((stored, shown::object_in_full(name, stored)?)));
        let Some((stored, current)) = readable else { return Ok(wanted) };
        let target = shown::object_in_full(name, &wanted).unwrap_or_default();
        let (mut edit, mut is_other) = (Edit::new(), false);
        for (key, value) in
            target.iter().filter(|(key, value)| !is_foreign_key(key) && current.get(*key) != Some(value))
        {
            // By its digits.
            let written = as_written(&wanted, key).unwrap_or_else(|| Plain::from(value.clone()));
            (edit, is_other) = (edit.set_plain(key, written), true);
        }
        for key in current.keys().filter(|key| !is_foreign_key(key) && !target.contains_key(*key)) {
            (edit, is_other) = (edit.remove(key), true);
        }
        // A text that means the same is not rewritten.
        if is_other { Ok(edit.apply(name, Some(stored), now)?) } else { Ok(stored.to_owned()) }
    }

    /// Whether a stored text already says the same.
    fn is_in(&self, stored: &str) -> bool {
        let meaning = |text: &str| {
            let mut object = shown::object_in_full(&self.name, text)?;
            object.retain(|key, _| !is_foreign_key(key));
            Some(object)
        };
        bare(&self.text) == bare(stored) || meaning(&self.text).is_some_and(|own| meaning(stored) == Some(own))
    }
}

/// A JSON text without the white space between its tokens.
fn bare(text: &str) -> String {
    let (mut is_text, mut is_escaped) = (false, false);
    let is_kept = |character: &char| {
        let is_gap = !is_text && matches!(character, ' ' | '\t' | '\r' | '\n');
        is_text ^= *character == '"' && !is_escaped;
        is_escaped = is_text && *character == '\\' && !is_escaped;
        !is_gap
    };
    text.chars().filter(is_kept).collect()
}

/// Most entries of the history that are read at a time.
const PAGE: usize = 500;
/// How long a part of the history waits for its reader. Few may fetch the history at a time, and others wait for one who
/// does not read.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// The whole history as a body, in parts; it breaks off unless the last part was sent.
struct Parts {
    parts: mpsc::Receiver<Result<Bytes, std::io::Error>>,
    is_whole: Arc<AtomicBool>,
}

impl Stream for Parts {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let part = ready!(self.parts.poll_recv(cx));
        // A body that breaks off is not taken for a whole one.
        let breaks_off = part.is_none() && !self.is_whole.swap(true, Ordering::Relaxed);
        let error = || Err(std::io::Error::other("the history was not read in time"));
        Poll::Ready(if breaks_off { Some(error()) } else { part })
    }
}

/// The whole history, newest entry first, as CSV or as JSON lines.
pub(super) async fn history(call: Call) -> Answer {
    let is_csv = match call.query.get("format") {
        None | Some("csv") => true,
        Some("jsonl") => false,
        Some(_) => return Err(Failure::new(Kind::Malformed, "format: expected csv or jsonl")),
    };
    let seat = call.state.exports.admit(&call.who.name).map_err(|full| {
        let name = &call.who.name;
        let detail = match full {
            Full::OfOne => format!("{name} fetches the whole history already: read that export to its end first"),
            Full::All => "others fetch the whole history just now".to_owned(),
        };
        Failure::new(Kind::TooManyStreams, detail)
    })?;
    // The first page tells whether there is anything to answer.
    let page = HistoryPage::newest();
    let (first, _) = call.state.history_within(&page, PAGE).await?;
    let (first, _) = checked(&call.state, first, false).await?;
    let (sender, parts) = mpsc::channel::<Result<Bytes, std::io::Error>>(2);
    let is_head = call.parts.method == http::Method::HEAD;
    let is_whole = Arc::new(AtomicBool::new(is_head));
    let body = Parts { parts, is_whole: Arc::clone(&is_whole) };
    let (state, hides) = (call.state.clone(), call.hides_users());
    if !is_head {
        tokio::spawn(async move {
            let _seat = seat;
            let (mut entries, mut page) = (first, page);
            let mut text = if is_csv { CSV_HEAD.to_owned() } else { String::new() };
            loop {
                let last = entries.last().map(|last| last.entry.number);
                let write = move || {
                    text.extend(
                        entries.iter().map(|entry| if is_csv { csv(entry, hides) } else { line(entry, hides) }),
                    );
                    text
                };
                let part = State::off_workers(&state.answering, write).await;
                text = String::new();
                match sender.send_timeout(Ok(part.into()), READ_WITHIN).await {
                    Ok(()) => {}
                    Err(SendTimeoutError::Closed(_)) => return,
                    Err(SendTimeoutError::Timeout(_)) => {
                        tracing::warn!("the export of the history was ended: nobody read it for {READ_WITHIN:?}");
                        return;
                    }
                }
                let Some(last) = last else { return is_whole.store(true, Ordering::Relaxed) };
                page = page.before(last);
                let next = async {
                    let (entries, _) = state.history_within(&page, PAGE).await?;
                    checked(&state, entries, false).await
                };
                entries = match next.await {
                    Ok((entries, _)) => entries,
                    Err(failure) => {
                        let error = Err(std::io::Error::other(failure.detail().to_owned()));
                        let _ = sender.send_timeout(error, READ_WITHIN).await;
                        return;
                    }
                };
            }
        });
    }
    let mut response = Response::new(Body::from_stream(body));
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

const CSV_HEAD: &str = "number,flag,version,at,actor,reason,before,after,previous,digest,breaks\r\n";

fn csv(CheckedEntry { entry, digest, breaks }: &CheckedEntry, hides: bool) -> String {
    let entry = users::shown_entry(entry, hides);
    let HistoryEntry { number, flag, version, at, actor, reason, before, after, previous } = &*entry;
    let text = |text: &Option<String>| text.as_deref().map(csv_field).unwrap_or_default();
    let breaks: Vec<String> = breaks.iter().map(ToString::to_string).collect();
    format!(
        "{number},{},{version},{at},{},{},{},{},{},{},{}\r\n",
        csv_field(flag),
        text(actor),
        text(reason),
        text(before),
        text(after),
        csv_field(previous),
        digest.as_deref().filter(|_| !hides).map(csv_field).unwrap_or_default(),
        text(&Some(breaks.join("; ")).filter(|breaks| !breaks.is_empty())),
    )
}

fn line(CheckedEntry { entry, digest, breaks }: &CheckedEntry, hides: bool) -> String {
    let mut value = json!(users::shown_entry(entry, hides));
    if hides {
        value["previous"] = Value::Null;
    }
    value["digest"] = digest.as_deref().filter(|_| !hides).into();
    value["breaks"] = breaks.iter().map(verifier::shown).collect();
    json_line(&value.to_string()) + "\n"
}
