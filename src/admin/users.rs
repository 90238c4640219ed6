//! Hides whom flags name from those who do not have to know: viewers and responders.
//!
//! 1. A list of `allowed_users` becomes the number of its users, in canonical objects and in stored texts, in whatever
//!    spelling it stands there. An empty list stays.
//! 2. A stored text that is not a valid flag is hidden entirely, since it may name users anywhere.
//! 3. Digests of texts with users are hidden, and tags are those of the text without them: the users could be guessed
//!    by them.
//! 4. What is found in a list of users is not quoted in problems.
//!
//! All answers in JSON go through [`hide`]. Streams and documents hide by themselves what they write.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::document::{canonical_key, flag_from_json, members};
use crate::store::{HistoryEntry, digest_of};

const USERS: &str = "allowed_users";
/// Shown in place of a text that is not a valid flag.
const HIDDEN_TEXT: &str = "(only editors see this text, which is no flag)";
const HIDDEN: &str = "something that only editors see";

/// Hides users in an answer, wherever it has flags, texts and problems.
pub(super) fn hide(answer: &mut Value) {
    match answer {
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(members) if ["key", "before", "after"].iter().all(|key| members.contains_key(*key)) => {
            hide_in_change(members);
        }
        Value::Object(members) => {
            let mut is_hidden = false;
            for (key, value) in members.iter_mut() {
                is_hidden |= hide_in_member(key, value);
            }
            let version = members.get("version").and_then(Value::as_u64);
            if let (true, Some(text), Some(version)) = (is_hidden, members.get("text").and_then(Value::as_str), version)
            {
                let etag = Value::from(tag(version, text));
                members.insert("etag".to_owned(), etag);
            }
        }
        _ => {}
    }
}

/// Whether anything of a member's text was hidden.
fn hide_in_member(key: &str, value: &mut Value) -> bool {
    match (key, &mut *value) {
        ("flag" | "before" | "after", Value::Object(flag)) => {
            if let Some(users) = flag.get_mut(USERS) {
                count(users);
            }
        }
        ("text" | "before" | "after", Value::String(text)) => {
            let Cow::Owned(hidden) = without_users(text) else { return false };
            *text = hidden;
            return key == "text";
        }
        ("problems" | "store_problems", Value::Array(problems)) => {
            for problem in problems {
                hide_in_problem(problem);
            }
        }
        // The history's chain.
        ("digest" | "previous", Value::String(_)) => *value = Value::Null,
        // Values of any shape.
        ("value" | "variant" | "metadata" | "rollout", _) => {}
        _ => hide(value),
    }
    false
}

fn count(users: &mut Value) {
    if let Value::Array(names) = users
        && !names.is_empty()
    {
        *users = names.len().into();
    }
}

/// `{key, before, after}` of one key, or of whole texts under the empty one.
fn hide_in_change(change: &mut Map<String, Value>) {
    let key = change["key"].as_str().unwrap_or_default().to_owned();
    for side in ["before", "after"] {
        match change.get_mut(side) {
            Some(Value::String(text)) if key.is_empty() => *text = without_users(text).into_owned(),
            Some(users) if key == USERS => count(users),
            _ => {}
        }
    }
}

/// Whether something of it was hidden.
pub(super) fn hide_in_problem(problem: &mut Value) -> bool {
    let path = problem["path"].as_str().unwrap_or_default();
    let key = path.split('.').next().unwrap_or_default();
    let is_of_users = path.is_empty() && problem["found"].as_str().is_some_and(|found| found.contains(['[', '{', '"']))
        || canonical_key(key) == Some(USERS);
    if is_of_users && let Some(found) = problem.get_mut("found") {
        *found = HIDDEN.into();
    }
    is_of_users
}

/// A stored text with the number of users in place of their list; as it is if it names none.
pub(super) fn without_users(text: &str) -> Cow<'_, str> {
    if flag_from_json(None, text).is_err() {
        return Cow::Owned(HIDDEN_TEXT.to_owned());
    }
    let mut written = String::new();
    let mut rest = 0;
    for (key, value) in members(text).into_iter().flatten() {
        let names = || serde_json::from_str::<Vec<serde::de::IgnoredAny>>(value.get()).ok();
        let names = (canonical_key(&key) == Some(USERS)).then(names).flatten().unwrap_or_default();
        if !names.is_empty() {
            // It is a slice of the text.
            let start = value.get().as_ptr() as usize - text.as_ptr() as usize;
            written.push_str(&text[rest..start]);
            written.push_str(&names.len().to_string());
            rest = start + value.get().len();
        }
    }
    if rest == 0 { Cow::Borrowed(text) } else { Cow::Owned(written + &text[rest..]) }
}

/// The tag of a flag: its version, and its text, which foreign writers change alone.
pub(super) fn tag(version: u64, text: &str) -> String {
    format!("\"{version}-{}\"", &digest_of(text.as_bytes())[..16])
}

/// An entry of the history as it is shown.
pub(super) fn shown_entry(entry: &HistoryEntry, hides: bool) -> Cow<'_, HistoryEntry> {
    if !hides {
        return Cow::Borrowed(entry);
    }
    let mut hidden = entry.clone();
    for text in [&mut hidden.before, &mut hidden.after].into_iter().flatten() {
        *text = without_users(text).into_owned();
    }
    hidden.previous.clear();
    Cow::Owned(hidden)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_of_users_become_numbers_and_the_rest_stays_byte_for_byte() {
        for (text, hidden) in [
            (r#"{"allowed_users": ["a", "b"], "percentage": 5}"#, r#"{"allowed_users": 2, "percentage": 5}"#),
            (
                r#"{ "on" : true,"users":[ "a" ] , "x_rollout": 1.50 }"#,
                r#"{ "on" : true,"users":1 , "x_rollout": 1.50 }"#,
            ),
            (r#"{"\u0061llowed_users": ["a"]}"#, r#"{"\u0061llowed_users": 1}"#),
            (r#"{"enabled_for_users": ["a]", "\"b"]}"#, r#"{"enabled_for_users": 2}"#),
        ] {
            if flag_from_json(None, text).is_ok() {
                assert_eq!(without_users(text), hidden);
            } else {
                assert_eq!(without_users(text), HIDDEN_TEXT, "{text}");
            }
        }
        assert_eq!(without_users(r#"{"users":["a","b"],"on":true}"#), r#"{"users":2,"on":true}"#);
        for same in
            ["true", r#"{"allowed_users": [], "on": true}"#, r#"{"metadata": {"users": ["a"]}, "percentage": 1}"#]
        {
            assert_eq!(without_users(same), same);
        }
        for broken in [
            "",
            "{",
            r#"{"allowed_users": ["mallory""#,
            r#"["mallory"]"#,
            r#""mallory""#,
            r#"{"allowed_users": "mallory"}"#,
            r#"{"users": [1], "users": ["mallory"]}"#,
            r#"{"allowed_user": ["mallory"]}"#,
        ] {
            assert_eq!(without_users(broken), HIDDEN_TEXT, "{broken}");
        }
    }

    #[cfg(feature = "file")]
    #[test]
    fn no_message_about_a_damaged_document_quotes_a_user() {
        use crate::document::{Document, Problem};

        type Reader = fn(&str) -> Result<Document, Problem>;
        let documents: [(&str, Reader); 3] = [
            (
                r#"{"flags": {"a": {"percentage": 5, "users": ["mallory", "mallory_2"], "on": true}}}"#,
                Document::from_json,
            ),
            ("[flags.a]\nallowed_users = [\"mallory\", \"mallory_2\"]\npercentage = 5\n", Document::from_toml),
            ("flags.a.users = [\n  'mallory',\n  \"mallory_2\",\n]\n", Document::from_toml),
        ];
        for (text, read) in documents {
            let cut = (0..text.len()).flat_map(|end| [text[..end].to_owned(), text[end..].to_owned()]);
            let marks = ["", "\"", "'", "[", "]", "{", "}", ",", ":", "=", ".", "#", "\n", "\\"];
            let places = (0..text.len()).flat_map(|place| marks.map(|mark| (place, mark)));
            let damaged = places.flat_map(|(place, mark)| {
                let (before, after) = text.split_at(place);
                [format!("{before}{mark}{}", &after[1..]), format!("{before}{mark}{after}")]
            });
            for damaged in cut.chain(damaged) {
                match read(&damaged) {
                    Err(problem) => assert!(!problem.to_string().contains("mallory"), "{problem}\n{damaged}"),
                    Ok(document) => {
                        for problem in document.problems() {
                            let mut shown = json!(problem);
                            hide_in_problem(&mut shown);
                            assert!(!shown.to_string().contains("mallory"), "{shown}\n{damaged}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn answers_are_searched_but_for_what_is_of_any_shape() {
        let text = r#"{"allowed_users":["mallory"],"on":true}"#;
        let values = json!({"allowed_users": ["x"], "text": "x", "before": "x"});
        let mut answer = json!({
            "version": 3, "text": text, "etag": tag(3, text), "flag": {"allowed_users": ["mallory"], "metadata": values},
            "problems": [{"path": "users.0", "found": "mallory"}, {"path": "percentage", "found": "300"}],
            "entries": [{"before": null, "after": text, "digest": "d", "previous": "p", "changes": [
                {"key": "allowed_users", "before": ["mallory"], "after": ["mallory", "trent"]},
                {"key": "", "before": "[\"mallory\"]", "after": text},
                {"key": "metadata", "before": values, "after": null}]}],
            "current": {"flag": {"allowed_users": ["mallory"]}},
            "flags": [{"value": values, "flag": "name"}],
        });
        hide(&mut answer);
        assert!(!answer.to_string().contains("mallory"), "{answer}");
        assert_eq!(answer["flag"], json!({"allowed_users": 1, "metadata": values}));
        assert_eq!(answer["etag"], tag(3, answer["text"].as_str().unwrap()));
        assert_eq!(answer["problems"][1]["found"], "300");
        assert_eq!(answer["entries"][0]["changes"][0], json!({"key": "allowed_users", "before": 1, "after": 2}));
        assert_eq!(answer["entries"][0]["changes"][2]["before"], values);
        assert_eq!((&answer["entries"][0]["digest"], &answer["entries"][0]["previous"]), (&Value::Null, &Value::Null));
        assert_eq!(answer["flags"][0], json!({"value": values, "flag": "name"}));
    }
}
