//! JSON merge patch (RFC 7396) over the canonical object of a flag.

use std::collections::HashMap;

use super::problem::Failure;
use crate::document::{Edit, Plain, Problem, Timestamp, canonical_key, flag_from_json, members};

/// The edit that a patch means for a stored text. Keys may be in any accepted spelling. Numbers keep their digits, also
/// those beside the changed ones.
pub(super) fn edit(name: &str, stored: &str, patch: &[(String, Plain)], now: Timestamp) -> Result<Edit, Failure> {
    let refuse = |expected: &str, found: String, path: &str| -> Failure {
        Problem::new(expected, found).of_flag(name).at_path(path).into()
    };
    let mut edit = Edit::new();
    let mut named: Vec<&str> = Vec::new();
    for (spelling, change) in patch {
        let Some(key) = canonical_key(spelling) else {
            // Says what is known, and what is near.
            let probe = Plain::Map(vec![("enabled".to_owned(), Plain::Bool(true)), (spelling.clone(), change.clone())]);
            let problem = match flag_from_json(Some(name), &probe.to_compact()) {
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
            Plain::Null if key == "enabled" => {
                // Taking the key away would switch a flag on that is off.
                return Err(refuse("true or false", "null".into(), spelling));
            }
            Plain::Null => edit.remove(key),
            Plain::Map(_) => edit.set_plain(key, merged(as_written(stored, key), change)),
            change => edit.set_plain(key, change.clone()),
        };
    }
    let says = |wanted: &str| patch.iter().find(|(key, _)| canonical_key(key) == Some(wanted)).map(|(_, value)| value);
    // A plan in its place says what it gives.
    if says("percentage") == Some(&Plain::Null) && says("schedule").is_none_or(|plan| *plan == Plain::Null) {
        no_share_by_default(name, stored, &edit, now)?;
    }
    Ok(edit)
}

/// The value of a key in a stored text, in any spelling of the key.
pub(super) fn as_written(stored: &str, key: &str) -> Option<Plain> {
    let mut values = members(stored)?.into_iter().filter(|(spelling, _)| canonical_key(spelling) == Some(key));
    values.find_map(|(_, value)| Plain::of_json(value.get()).ok().filter(|value| *value != Plain::Null))
}

/// Taking the percentage away may mean 100 %, which nobody asks for in this way.
fn no_share_by_default(name: &str, stored: &str, edit: &Edit, now: Timestamp) -> Result<(), Failure> {
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
fn merged(target: Option<Plain>, patch: &Plain) -> Plain {
    let Plain::Map(patch) = patch else { return patch.clone() };
    let mut result: Vec<(String, Option<Plain>)> = match target {
        Some(Plain::Map(target)) => target.into_iter().map(|(key, value)| (key, Some(value))).collect(),
        _ => Vec::new(),
    };
    // Both may have 100 000 keys.
    let mut places: HashMap<String, usize> =
        result.iter().enumerate().map(|(place, (key, _))| (key.clone(), place)).collect();
    for (key, change) in patch {
        match (places.get(key), change) {
            (Some(place), Plain::Null) => result[*place].1 = None,
            (None, Plain::Null) => {}
            (Some(place), change) => result[*place].1 = Some(merged(result[*place].1.take(), change)),
            (None, change) => {
                places.insert(key.clone(), result.len());
                result.push((key.clone(), Some(merged(None, change))));
            }
        }
    }
    Plain::Map(result.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Plain, Timestamp, edit};

    fn patched(stored: &str, patch: Value) -> String {
        let Plain::Map(patch) = Plain::from(patch) else { unreachable!() };
        let now = "2026-12-01T09:00:00Z".parse().unwrap();
        edit("x", stored, &patch, now).unwrap().apply("x", Some(stored), now).unwrap()
    }

    fn refused(patch: Value) -> String {
        let Plain::Map(patch) = Plain::from(patch) else { unreachable!() };
        edit("x", r#"{"enabled": true, "percentage": 5}"#, &patch, Timestamp::from_unix_millis(0))
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
        assert!(patched.contains(r#""variants":{"a":40,"b":{"weight":60,"value":1}}"#), "{patched}");
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
