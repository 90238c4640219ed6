//! How a flag looks in an answer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use http::header::ETAG;
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::reply;
use super::state::State;
use super::users;
use crate::document::{Document, Flag, Problem, Timestamp, flag_from_json, json};
use crate::engine::FlagSet;
use crate::operate::rollout::Rollout;
use crate::source::{LocalKill, Source};
use crate::store::{FeedContent, Stored, digest_of};

/// What an edit is made for: the version, and the text, which foreign writers change alone.
pub(super) fn etag(stored: &Stored) -> Option<String> {
    Some(users::tag(stored.version, stored.definition.as_ref()?))
}

/// The same as those see it from whom users are hidden.
pub(super) fn etag_without_users(stored: &Stored) -> Option<String> {
    Some(users::tag(stored.version, &users::without_users(stored.definition.as_ref()?)))
}

/// What an import is made for: everything that the store holds.
pub(super) fn etag_of_all(loaded: &FeedContent) -> String {
    format!("\"{}\"", &digest_of(loaded.revision.as_bytes())[..16])
}

/// Everything about one flag, as the store has it.
pub(super) fn stored(state: &State, name: &str, stored: &Stored) -> Value {
    let text = stored.definition.as_deref();
    let (flag, problems) = match text {
        Some(text) => read(name, text),
        None => (None, Vec::new()),
    };
    let mut shown = View::of_flag(state, name).flag(name, stored.version, flag.as_ref(), problems);
    let is_foreign = text.map(|text| digest_of(text.as_bytes())).unwrap_or_default() != stored.content;
    let more = [
        ("from", json!("store")),
        ("text", json!(text)),
        ("etag", json!(etag(stored))),
        ("changed_outside", is_foreign.into()),
    ];
    shown.extend(more.map(|(key, value)| (key.to_owned(), value)));
    Value::Object(shown)
}

/// A flag as this process has it, while the store cannot be read; `None` where it has none.
pub(super) fn in_force_alone(state: &State, name: &str) -> Option<Value> {
    let set = state.source.set();
    let flag = set.flag(name)?;
    let version = state.source.version_of(name).unwrap_or_default();
    Some(Value::Object(of_this_process(View::of_flag(state, name).flag(name, version, Some(flag), Vec::new()))))
}

/// A flag that does not come from the store.
pub(super) fn of_this_process(mut shown: Map<String, Value>) -> Map<String, Value> {
    let more = [
        ("from", json!("this process")),
        ("text", Value::Null),
        ("etag", Value::Null),
        ("changed_outside", json!(false)),
    ];
    shown.extend(more.map(|(key, value)| (key.to_owned(), value)));
    shown
}

/// A flag that another part of the layers defines and the store does not; `None` if there is none.
pub(super) fn of_other_part(state: &State, name: &str) -> Option<Value> {
    state.effective.as_ref()?;
    let mut shown = View::of_flag(state, name).of_other_part(name)?;
    let more = [("text", Value::Null), ("etag", Value::Null), ("changed_outside", json!(false))];
    shown.extend(more.map(|(key, value)| (key.to_owned(), value)));
    Some(Value::Object(shown))
}

/// The problems of a set by the flags that they are of.
struct Problems {
    set: Arc<FlagSet>,
    /// The places of a flag's problems among all.
    places: HashMap<String, Vec<usize>>,
}

impl Problems {
    /// Those of all flags, or of the `only` one.
    fn of(set: Arc<FlagSet>, only: Option<&str>) -> Self {
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, problem) in set.problems().iter().enumerate() {
            if let Some(flag) = problem.flag.as_deref().filter(|flag| only.is_none_or(|only| only == *flag)) {
                places.entry(flag.to_owned()).or_default().push(place);
            }
        }
        Self { set, places }
    }

    fn flag(&self, name: &str) -> impl Iterator<Item = &Problem> {
        self.places.get(name).into_iter().flatten().map(|place| &self.set.problems()[*place])
    }
}

/// What this process knows of all flags at one instant.
pub(super) struct View<'a> {
    state: &'a State,
    now: Timestamp,
    /// The rules that requests get, with their problems.
    in_force: Problems,
    /// What only the whole set shows, such as a flag that is required and missing, and what holds flags off.
    problems: Problems,
    /// By their flags.
    kills: BTreeMap<String, LocalKill>,
}

impl<'a> View<'a> {
    pub(super) fn of(state: &'a State) -> Self {
        Self::about(state, None)
    }

    /// What it knows of one flag, without going through the problems of all others again and again.
    pub(super) fn of_flag(state: &'a State, name: &str) -> Self {
        Self::about(state, Some(name))
    }

    fn about(state: &'a State, only: Option<&str>) -> Self {
        let in_force = Problems::of(state.in_force(), only);
        let problems = Problems::of(state.source.set(), only);
        let kills = state.source.local_kills().into_iter().map(|kill| (kill.flag.clone(), kill)).collect();
        Self { state, now: Timestamp::now(), in_force, problems, kills }
    }

    /// What a list has of a flag, with the problems of its stored text.
    pub(super) fn flag(
        &self,
        name: &str,
        version: u64,
        flag: Option<&Flag>,
        mut problems: Vec<Problem>,
    ) -> Map<String, Value> {
        let Self { state, now, .. } = self;
        let known = state.source.version_of(name);
        let shadowed_by = state.shadowed_by(name);
        let in_force = self.in_force.set.flag(name).map(
            |flag| json!({ "version": known, "enabled": flag.is_enabled(), "percentage": flag.percentage_at(*now) }),
        );
        let kill = self.kills.get(name);
        // A kill that waits is told by itself.
        if kill.is_none() && known.unwrap_or_default() == version {
            let own: HashSet<&Problem> = problems.iter().collect();
            let more: Vec<Problem> =
                self.problems.flag(name).filter(|problem| !own.contains(problem)).cloned().collect();
            problems.extend(more);
        }
        let is_expired = |flag: &Flag| flag.bookkeeping().expires_at.is_some_and(|day| day.is_over_at(*now));
        let shown = json!({
            "name": name,
            "version": version,
            "flag": flag,
            "problems": problems,
            "percentage": flag.map(|flag| flag.percentage_at(*now)),
            "rollout": flag.and_then(|flag| Rollout::of(flag, *now)),
            "expired": flag.is_some_and(is_expired),
            "in_force": in_force,
            "effective": shadowed_by.is_none(),
            "shadowed_by": shadowed_by,
            "local_kill": kill.map(|kill| local_kill(state, kill)),
            "missing": null,
        });
        match shown {
            Value::Object(shown) => shown,
            _ => Map::new(),
        }
    }
}

impl View<'_> {
    /// The flags that other parts of the layers define, except those that the list has already.
    pub(super) fn of_other_parts(&self, is_listed: impl Fn(&str) -> bool) -> impl Iterator<Item = Map<String, Value>> {
        let names = self.in_force.set.names().filter(|_| self.state.effective.is_some());
        names.filter(move |name| !is_listed(name)).filter_map(|name| self.of_other_part(name))
    }

    fn of_other_part(&self, name: &str) -> Option<Map<String, Value>> {
        let part = self.state.shadowed_by(name)?;
        let problems = self.in_force.flag(name).cloned().collect();
        let mut shown = self.flag(name, 0, Some(self.in_force.set.flag(name)?), problems);
        // Nothing of the store's is hidden by it.
        let own = [("from", json!(part)), ("effective", json!(true)), ("shadowed_by", Value::Null)];
        shown.extend(own.map(|(key, value)| (key.to_owned(), value)));
        Some(shown)
    }
}

/// A kill that is not in the store yet.
pub(super) fn local_kill(state: &State, kill: &LocalKill) -> Value {
    let waits = state.source.waits_of(&kill.flag);
    json!({
        "flag": kill.flag,
        "version": kill.version,
        "at": kill.at,
        "by": kill.by,
        "reason": kill.reason,
        "question": is_question(state, kill),
        "survives_restart": state.source.survives_restart(kill),
        "missing": state.source.has_missing(&kill.flag),
        "error": waits.as_ref().map(|waits| &waits.error),
        "permanent": waits.is_some_and(|waits| waits.is_permanent),
    })
}

/// Whether somebody has edited the flag since: then nobody but a person can say what is meant.
pub(super) fn is_question(state: &State, kill: &LocalKill) -> bool {
    state.source.version_of(&kill.flag).unwrap_or_default() != kill.version.unwrap_or_default()
}

/// A stored text, and what is wrong with it.
pub(super) fn read(name: &str, text: &str) -> (Option<Flag>, Vec<Problem>) {
    match Document::from_texts([(name, text.as_bytes())]) {
        Ok(document) => (document.flag(name).cloned(), document.problems().to_vec()),
        Err(problem) => (None, vec![problem]),
    }
}

/// The canonical object of a stored text, with the keys that are only carried along; `None` for what is no flag.
pub(super) fn object(name: &str, text: &str) -> Option<Map<String, Value>> {
    let flag = flag_from_json(Some(name), text).ok()?;
    let Ok(Value::Object(mut object)) = serde_json::to_value(&flag) else { return None };
    if let Some(Value::Object(written)) = json(text).ok()?.to_value() {
        let foreign = written.into_iter().filter(|(key, _)| crate::document::is_foreign_key(key));
        object.extend(foreign);
    }
    Some(object)
}

/// The same with the percentage written out, as every edit leaves it.
pub(super) fn object_in_full(name: &str, text: &str) -> Option<Map<String, Value>> {
    let mut object = object(name, text)?;
    let flag = flag_from_json(Some(name), text).ok()?;
    if flag.schedule.is_none() {
        object.entry("percentage").or_insert_with(|| json!(flag.default_percentage()));
    }
    Some(object)
}

/// The differences between two stored texts, key by key of their canonical objects. A percentage that one of them leaves
/// to its default is no difference. A text that is not a flag is compared whole, under the empty key.
pub(super) fn difference(name: &str, before: Option<&str>, after: Option<&str>) -> Vec<Value> {
    if before == after {
        return Vec::new();
    }
    let side = |text: Option<&str>| match text {
        None => Some(Map::new()),
        Some(text) if before.is_none() || after.is_none() => object(name, text),
        Some(text) => object_in_full(name, text),
    };
    let (Some(old), Some(new)) = (side(before), side(after)) else {
        return vec![json!({ "key": "", "before": before, "after": after })];
    };
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let is_changed = |key: &&String| old.get(*key) != new.get(*key);
    let changed = keys.into_iter().filter(is_changed);
    changed.map(|key| json!({ "key": key, "before": old.get(key), "after": new.get(key) })).collect()
}

/// An answer about one flag, with its ETag.
pub(super) fn answer(status: StatusCode, shown: Value) -> axum::response::Response {
    let etag = shown["etag"].as_str().and_then(|etag| HeaderValue::from_str(etag).ok());
    let mut response = reply::json(status, shown);
    if let Some(etag) = etag {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// Problems of the store itself, and of its history.
pub(super) fn store_problems(state: &State) -> Vec<Problem> {
    let mut problems = state.source.condition();
    problems.extend(state.verifier.problems());
    problems
}

/// How the source is doing, in the same words as everywhere.
pub(super) fn source_status(source: &dyn Source) -> Value {
    json!(source.status())
}
