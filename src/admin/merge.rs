//! JSON merge patch (RFC 7396) over the canonical object of a flag.

use serde_json::{Map, Value};

use super::problem::Failure;
use super::shown;
use crate::engine::{Edit, Instant, Problem, canonical_key, flag_from_json, json};

/// The edit that a patch means for a stored text. Keys may be in any spelling that is read.
pub(super) fn edit(name: &str, stored: &str, patch: &Map<String, Value>, now: Instant) -> Result<Edit, Failure> {
    let refuse = |expected: &str, found: String, path: &str| -> Failure {
        Problem::new(expected, found).of_flag(name).at_path(path).into()
    };
    let current = shown::object(name, stored).unwrap_or_else(|| as_written(stored));
    let mut edit = Edit::new();
    let mut named: Vec<&str> = Vec::new();
    for (spelling, change) in patch {
        let Some(key) = canonical_key(spelling) else {
            // Says what is known, and what is near.
            let probe = Value::Object(Map::from_iter([
                ("enabled".to_owned(), true.into()),
                (spelling.clone(), change.clone()),
            ]));
            let problem = match flag_from_json(Some(name), &probe.to_string()) {
                Err(problem) => Problem { line: None, column: None, ..problem },
                Ok(_) => Problem::new("a key that decides something", spelling.clone())
                    .with_help("what other services keep here is theirs to edit")
                    .of_flag(name)
                    .at_path(spelling),
            };
            return Err(problem.into());
        };
        if named.contains(&key) {
            return Err(refuse(&format!("one spelling of {key:?}"), "two".into(), spelling));
        }
        named.push(key);
        edit = match change {
            Value::Null if key == "enabled" => {
                // Taking the key away would switch a flag on that is off.
                return Err(refuse("true or false", "null".into(), spelling));
            }
            Value::Null => edit.remove(key),
            Value::Object(_) => edit.set(key, merged(current.get(key), change)),
            change => edit.set(key, change.clone()),
        };
    }
    let says = |wanted: &str| patch.iter().find(|(key, _)| canonical_key(key) == Some(wanted)).map(|(_, value)| value);
    // A plan in its place says what it gives.
    if says("percentage") == Some(&Value::Null) && says("schedule").is_none_or(Value::is_null) {
        no_share_by_default(name, stored, &edit, now)?;
    }
    Ok(edit)
}

/// The keys of a text that is no accepted flag, by their canonical names.
fn as_written(stored: &str) -> Map<String, Value> {
    let Some(Value::Object(written)) = json(stored).ok().and_then(|node| node.to_value()) else { return Map::new() };
    written.into_iter().map(|(key, value)| (canonical_key(&key).map_or(key.clone(), str::to_owned), value)).collect()
}

/// Taking the percentage away may mean 100 %, which nobody asks for in this way.
fn no_share_by_default(name: &str, stored: &str, edit: &Edit, now: Instant) -> Result<(), Failure> {
    let share = |text: &str| flag_from_json(Some(name), text).map(|flag| flag.percentage_at(now));
    if let (Ok(before), Ok(after)) = (share(stored), edit.apply(name, Some(stored), now).and_then(|text| share(&text)))
        && before < after
    {
        let problem = Problem::new("a percentage, or null where it gives nobody the flag", "null");
        let help = format!("without one the flag would be on for {after} %; say so if that is meant");
        return Err(problem.with_help(help).of_flag(name).at_path("percentage").into());
    }
    Ok(())
}

/// RFC 7396, section 2.
fn merged(target: Option<&Value>, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut result = match target {
        Some(Value::Object(target)) => target.clone(),
        _ => Map::new(),
    };
    for (key, change) in patch {
        if change.is_null() {
            result.remove(key);
        } else {
            let new = merged(result.get(key), change);
            result.insert(key.clone(), new);
        }
    }
    Value::Object(result)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Instant, Value, edit};

    fn patched(stored: &str, patch: Value) -> String {
        let Value::Object(patch) = patch else { unreachable!() };
        let now = "2026-12-01T09:00:00Z".parse().unwrap();
        edit("x", stored, &patch, now).unwrap().apply("x", Some(stored), now).unwrap()
    }

    fn refused(patch: Value) -> String {
        let Value::Object(patch) = patch else { unreachable!() };
        edit("x", r#"{"enabled": true, "percentage": 5}"#, &patch, Instant::from_unix_millis(0))
            .unwrap_err()
            .detail()
            .to_owned()
    }

    #[test]
    fn the_rollback_of_a_bare_boolean() {
        assert_eq!(patched("true", json!({"enabled": false})), r#"{"enabled":false,"percentage":100}"#);
    }

    #[test]
    fn objects_are_merged_and_lists_replaced() {
        let stored = r#"{"on": true, "rollout_percentage": 5, "metadata": {"a": {"b": 1, "c": 2}, "d": 3}, "tags": ["x"], "rollout_stages": [1]}"#;
        let patch =
            json!({"percentage": 7.5, "metadata": {"a": {"b": null}, "e": null, "f": {"g": null}}, "tags": ["y"]});
        assert_eq!(
            patched(stored, patch),
            r#"{"on": true, "rollout_percentage": 7.5, "metadata": {"a":{"c":2},"d":3,"f":{}}, "tags": ["y"], "rollout_stages": [1]}"#
        );
    }

    #[test]
    fn variants_can_be_shifted_one_by_one() {
        let stored = r#"{"enabled":true,"variants":{"a":50,"b":{"weight":50,"value":1}}}"#;
        let patched = patched(stored, json!({"variants": {"a": 40, "b": {"weight": 60}}}));
        assert!(patched.contains(r#""variants":{"a":40,"b":{"value":1,"weight":60}}"#), "{patched}");
    }

    #[test]
    fn what_is_wrong_with_the_text_takes_nothing_of_the_rest() {
        let stored = r#"{"rollout_percentage": 300, "metadata": {"a": 1, "b": 2}}"#;
        let patched = patched(stored, json!({"percentage": 30, "metadata": {"b": null, "c": 3}}));
        assert!(patched.contains(r#""metadata": {"a":1,"c":3}"#), "{patched}");
    }

    #[test]
    fn a_percentage_gives_way_to_a_schedule_or_to_lists() {
        let plan = json!({"percentage": null, "schedule": [{"at": "2026-01-01T00:00:00Z", "percentage": 10}]});
        assert!(patched(r#"{"percentage": 5}"#, plan).contains("schedule"));
        let named = patched(r#"{"percentage": 5}"#, json!({"percentage": null, "allowed_users": ["u"]}));
        assert!(named.contains(r#""percentage": 0"#), "{named}");
    }

    #[test]
    fn what_would_surprise_is_refused() {
        assert!(refused(json!({"enabled": null})).contains("expected true or false"));
        assert!(refused(json!({"percentage": null})).contains("expected a percentage"), "5 % would become 100 %");
        assert!(refused(json!({"on": false, "enabled": true})).contains("one spelling of \"enabled\""));
        assert!(refused(json!({"percentge": 5})).contains("did you mean \"percentage\"?"));
        assert!(refused(json!({"rollout_stages": []})).contains("theirs to edit"));
    }
}
