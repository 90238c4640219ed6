//! Behaviour as data: every file in `tests/vectors` is a topic, every case a document, callers and
//! the answers they get.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use tower_flags::document::Severity;
use tower_flags::engine::{Forced, ForcedBy, Query, Reason};
use tower_flags::{Context, Document, FlagSet, Timestamp};

fn cases() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for case in file["cases"].as_array().unwrap() {
            let title = format!("{}: {}", file["topic"].as_str().unwrap(), case["shows"].as_str().unwrap());
            cases.push((title, case.clone()));
        }
    }
    cases
}

fn read(case: &Value) -> Result<Document, String> {
    let document = match (&case["text"], case["format"].as_str()) {
        (Value::String(text), Some("toml")) => Document::from_toml(text),
        (Value::String(text), _) => Document::from_json(text),
        _ => Document::from_json(&case["document"].to_string()),
    };
    document.map_err(|problem| problem.to_string())
}

fn context(json: &Value) -> Context {
    let mut context = match json["user"].as_str() {
        Some(user) => Context::user(user),
        None => Context::anonymous(),
    };
    if let Some(groups) = json["groups"].as_array() {
        context = context.in_groups(groups.iter().map(|group| group.as_str().unwrap()));
    }
    for (name, value) in json["attributes"].as_object().into_iter().flatten() {
        context = context.with_attribute(name, value.clone());
    }
    context
}

/// What is decided from outside for one ask.
fn forced(ask: &Value) -> Vec<Forced> {
    let entry = |entry: &Value| {
        let by = match entry["by"].as_str().unwrap() {
            "override" => ForcedBy::Override,
            "upstream" => ForcedBy::Upstream,
            other => panic!("{other} forces nothing"),
        };
        let forced = Forced::new(entry["flag"].as_str().unwrap(), entry["enabled"].as_bool().unwrap(), by);
        match entry["variant"].as_str() {
            Some(variant) => forced.with_variant(variant),
            None => forced,
        }
    };
    ask["forced"].as_array().into_iter().flatten().map(entry).collect()
}

/// What the engine says of a case, as lines that differ from what is expected.
fn differences(case: &Value) -> String {
    let mut differences = String::new();
    let document = match (read(case), case["refused"].as_bool()) {
        (Ok(document), None | Some(false)) => document,
        (Err(message), Some(true)) => {
            if case["message"].as_str() != Some(&message) {
                writeln!(differences, "  message: {message}").unwrap();
            }
            return differences;
        }
        (Ok(_), _) => return "  not refused\n".into(),
        (Err(message), _) => return format!("  refused: {message}\n"),
    };
    let now: Timestamp = case["now"].as_str().unwrap_or("2026-12-01T00:00:00Z").parse().unwrap();
    let set = FlagSet::compile(&document, now);
    for (severity, key) in [(Severity::Error, "problems"), (Severity::Warning, "warnings")] {
        let found: BTreeSet<(String, String, String)> = set
            .problems()
            .iter()
            .filter(|problem| problem.severity == severity)
            .map(|problem| (problem.flag.clone().unwrap_or_default(), problem.path.clone(), problem.to_string()))
            .collect();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let expected: BTreeSet<(String, String, String)> = case[key]
            .as_array()
            .into_iter()
            .flatten()
            .map(|problem| (text(&problem["flag"]), text(&problem["path"]), text(&problem["message"])))
            .collect();
        if found != expected {
            writeln!(differences, "  {key}: {}", json!(found)).unwrap();
        }
    }
    for (number, ask) in case["asks"].as_array().into_iter().flatten().enumerate() {
        let flags = set.answer(&Query::new(&context(&ask["context"]), now).forced(&forced(ask)));
        for (name, expected) in ask["expect"].as_object().unwrap() {
            let answer = flags.evaluation(name);
            let mut found = json!({
                "enabled": answer.enabled,
                "variant": answer.variant,
                "reason": answer.reason.to_string(),
            });
            if expected.get("bucket").is_some() {
                found["bucket"] = json!(answer.bucket);
            }
            if found != *expected {
                writeln!(differences, "  ask {number}, {name}: expected {expected}, found {found}").unwrap();
            }
            if (flags.is_enabled(name), flags.variant(name)) != (answer.enabled, answer.variant.as_deref()) {
                writeln!(differences, "  ask {number}, {name}: all at once decided otherwise").unwrap();
            }
        }
    }
    differences
}

#[test]
fn every_case_is_answered_as_written() {
    let mut failed = String::new();
    for (title, case) in cases() {
        let differences = differences(&case);
        if !differences.is_empty() {
            writeln!(failed, "{title}\n{differences}").unwrap();
        }
    }
    assert!(failed.is_empty(), "\n{failed}");
}

#[test]
fn the_cases_produce_every_reason_a_set_can_give() {
    let mut seen = BTreeSet::new();
    for (_, case) in cases() {
        for ask in case["asks"].as_array().into_iter().flatten() {
            for expected in ask["expect"].as_object().unwrap().values() {
                seen.insert(expected["reason"].as_str().unwrap().to_owned());
            }
        }
    }
    for reason in [
        Reason::Unknown,
        Reason::Problem,
        Reason::Disabled,
        Reason::Override,
        Reason::Upstream,
        Reason::Prerequisite,
        Reason::User,
        Reason::Group,
        Reason::Rule(0),
        Reason::Static,
        Reason::Anonymous,
        Reason::Rollout,
    ] {
        assert!(seen.contains(&reason.to_string()), "{reason}");
    }
}

/// Every operator as it is written, without `not_`.
const OPERATORS: [&str; 18] = [
    "equals",
    "one_of",
    "contains",
    "starts_with",
    "ends_with",
    "matches",
    "greater",
    "greater_or_equal",
    "less",
    "less_or_equal",
    "semver_equals",
    "semver_greater",
    "semver_greater_or_equal",
    "semver_less",
    "semver_less_or_equal",
    "before",
    "after",
    "exists",
];

#[test]
fn the_cases_use_every_operator_plain_and_negated() {
    let mut seen = BTreeSet::new();
    for (_, case) in cases() {
        let refused: Vec<&Value> = case["problems"].as_array().into_iter().flatten().map(|it| &it["flag"]).collect();
        for (name, flag) in case["document"]["flags"].as_object().into_iter().flatten() {
            let rules = flag["rules"].as_array().into_iter().flatten().filter(|_| !refused.contains(&&json!(name)));
            for clause in rules.flat_map(|rule| rule["when"].as_array().unwrap()) {
                seen.insert(clause["op"].as_str().unwrap().to_owned());
            }
        }
    }
    let all: BTreeSet<String> =
        OPERATORS.iter().flat_map(|operator| [(*operator).to_owned(), format!("not_{operator}")]).collect();
    assert_eq!(seen, all);
}
