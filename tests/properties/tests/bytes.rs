//! What a changed or lost byte does to a document: it is refused, or read as any other reader reads it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tower_flags::document::Severity;
use tower_flags::{Document, Flag};
use tower_flags_properties::{Tree, ask};

// No two keys of one object are a byte apart, since a duplicate is more than a changed byte. The oracle has
// no plain value for half a surrogate pair, so there is none to break.
const JSON: &str = r#"{
  "$schema": "https://example.com/flags.schema.json",
  "flags": {
    "dark_mode": true,
    "payments_v2": false,
    "new_search": {
      "enabled": true, "percentage": 12.5, "bucketing": "user-flag", "salt": "search_2025",
      "allowed_users": ["tester_1", "J\u00fcrgen", "größe"], "allowed_groups": ["employees"], "hidden": true
    },
    "pricing_page": {
      "enabled": true, "kind": "experiment", "bucket_by": "organisation",
      "variants": {
        "control": 34.001, "higher": { "weight": 32.999, "value": 1.25 }, "lower": { "weight": 33, "value": [-8e-1] }
      }
    },
    "checkout_v3": {
      "enabled": true,
      "requires": [{ "pricing_page": "control" }],
      "rules": [
        { "when": [ { "attribute": "email", "op": "ends_with", "values": ["@example.com"] },
                    { "attribute": "age", "op": "not_less", "values": [18, 21.5] } ], "serve": true },
        { "when": [ { "attribute": "app", "op": "semver_less", "values": ["2.10.0-rc.1"] } ], "serve": false },
        { "when": [ { "attribute": "beta", "op": "exists" } ], "serve": { "percentage": 50 } }
      ],
      "schedule": [ { "at": "2026-12-01T09:00:00Z", "percentage": 1 },
                    { "at": "2026-12-04T09:00:00+01:00", "percentage": 25.125 } ],
      "paused_at": "2026-12-02T12:30:00Z",
      "owner": "payments", "ticket": "PAY-12", "description": "One-page checkout", "tags": ["shop", "q4"],
      "created_at": "2026-11-20", "expires_at": "2027-03-01", "metadata": { "dashboard": 17 }
    },
    "old_banner": {
      "on": true, "rollout_percentage": 3, "users": [], "type": "ops", "jira_ticket": "OPS-7", "overridable": true,
      "rollout_stages": [1, 10], "requires": ["dark_mode", "payments_v2"]
    }
  }
}"#;

// Neither backslashes nor tables on one line: a changed byte can make of those what TOML 1.1 reads and 1.0, which
// is the oracle's, does not.
const TOML: &str = r#"# Flags of the shop.
"$schema" = "https://example.com/flags.schema.json"

[flags]
dark_mode = true
payments_v2 = false

[flags.new_search]
enabled = true
percentage = 12.5
bucketing = "user-flag"
salt = 'search_2025'
allowed_users = ["tester_1", "Jürgen", "größe"]
allowed_groups = ["employees"]
hidden = true

[flags.pricing_page]
enabled = true
kind = "experiment"
bucket_by = "organisation"

[flags.pricing_page.variants]
control = 34.001
higher.weight = 32.999
higher.value = 1.25
lower.weight = 33
lower.value = [-8e-1]

[flags.checkout_v3]
enabled = true
paused_at = 2026-12-02T12:30:00Z
owner = "payments"
ticket = "PAY-12"
description = """
One-page checkout"""
tags = ["shop", "q4"]
created_at = 2026-11-20
expires_at = "2027-03-01"
metadata.dashboard = 17

[[flags.checkout_v3.requires]]
pricing_page = "control"

[[flags.checkout_v3.rules]]
serve = true
[[flags.checkout_v3.rules.when]]
attribute = "email"
op = "ends_with"
values = ["@example.com"]
[[flags.checkout_v3.rules.when]]
attribute = "age"
op = "not_less"
values = [18, 21.5]

[[flags.checkout_v3.rules]]
serve = false
[[flags.checkout_v3.rules.when]]
attribute = "app"
op = "semver_less"
values = ["2.10.0-rc.1"]

[[flags.checkout_v3.rules]]
serve.percentage = 50
[[flags.checkout_v3.rules.when]]
attribute = "beta"
op = "exists"

[[flags.checkout_v3.schedule]]
at = 2026-12-01T09:00:00Z
percentage = 1
[[flags.checkout_v3.schedule]]
at = 2026-12-04T09:00:00+01:00
percentage = 25.125

[flags.old_banner]
on = true
rollout_percentage = 3
users = []
type = "ops"
jira_ticket = "OPS-7"
overridable = true
rollout_stages = [1, 10]
requires = ["dark_mode", "payments_v2"]
# end
"#;

/// What is put in the place of each byte. Not a 6, which makes 00 the 60th second, nor a backslash.
const REPLACEMENTS: &[u8] = b" \",.#7e}\n\x00\xff";

fn read(text: &str, format: &str) -> Result<Document, String> {
    let document = if format == "toml" { Document::from_toml(text) } else { Document::from_json(text) };
    document.map_err(|problem| problem.to_string())
}

/// What is taken, by name.
fn definitions(document: &Document) -> Vec<(&str, &Flag)> {
    document.flags().collect()
}

/// The names of what is refused, and where in it.
fn refused(document: &Document) -> BTreeSet<(Option<&str>, &str)> {
    let errors = document.problems().iter().filter(|problem| problem.severity == Severity::Error);
    errors.map(|problem| (problem.flag.as_deref(), problem.path.as_str())).collect()
}

#[test]
fn both_documents_are_sound_and_the_same() {
    let (json, toml) = (Document::from_json(JSON).unwrap(), Document::from_toml(TOML).unwrap());
    assert_eq!((json.problems(), toml.problems()), (&[][..], &[][..]));
    assert_eq!(definitions(&json), definitions(&toml));
    assert_eq!(json.flags().count(), 6);
    assert!(JSON.len() > 1_500 && TOML.len() > 1_500);
}

#[test]
fn a_json_document_that_is_cut_anywhere_is_refused_as_a_whole() {
    for end in (0..JSON.len()).filter(|end| JSON.is_char_boundary(*end)) {
        assert!(Document::from_json(&JSON[..end]).is_err(), "taken without its last {} bytes", JSON.len() - end);
    }
}

/// TOML cannot show that it is cut; its last line can.
#[test]
fn a_toml_document_that_is_cut_anywhere_is_refused_or_lacks_its_last_line() {
    let whole = Document::from_toml(TOML).unwrap();
    let (mut refused, mut looks_whole) = (0, 0);
    for end in (0..TOML.len()).filter(|end| TOML.is_char_boundary(*end)) {
        let cut = &TOML[..end];
        match Document::from_toml(cut) {
            Err(_) => refused += 1,
            // Only the line break after the last line is lost.
            Ok(document) if cut.lines().last() == Some("# end") => {
                assert_eq!(document, whole);
                assert_eq!(end, TOML.len() - 1);
            }
            Ok(document) => looks_whole += usize::from(document.problems().is_empty()),
        }
    }
    // This is why there is such a line: many cuts look like a smaller document without problems.
    assert!(refused > 1_000 && looks_whole > 50, "{refused} were refused and {looks_whole} look whole");
}

struct Changed {
    text: String,
    /// Which byte became what.
    what: String,
}

/// Every document with one byte replaced, and how many of them were no UTF-8, which never become text.
fn changed(text: &str) -> (Vec<Changed>, usize) {
    let mut not_utf8 = 0;
    let mut changed = Vec::new();
    let mut bytes = text.as_bytes().to_vec();
    for at in 0..bytes.len() {
        let original = bytes[at];
        for &replacement in REPLACEMENTS.iter().filter(|byte| **byte != original) {
            bytes[at] = replacement;
            match String::from_utf8(bytes.clone()) {
                Ok(text) => {
                    let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
                    let (from, to) = (original.escape_ascii(), replacement.escape_ascii());
                    changed.push(Changed { text, what: format!("{from} became {to} in line {line}") });
                }
                Err(_) => not_utf8 += 1,
            }
        }
        bytes[at] = original;
    }
    (changed, not_utf8)
}

/// What became of the changed documents.
#[derive(Default)]
struct Counts {
    refused: usize,
    refused_in_part: usize,
    taken: usize,
    only_ours: Vec<Changed>,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { refused, refused_in_part, taken, only_ours } = self;
        write!(
            f,
            "{refused} refused, {refused_in_part} refused in part, {taken} taken, {} by us alone",
            only_ours.len()
        )
    }
}

/// Holds every changed document against the oracle: who takes it and what is in it.
fn compare(changed: Vec<Changed>, format: &str) -> Counts {
    let documents: Vec<Result<Document, String>> = changed.iter().map(|changed| read(&changed.text, format)).collect();
    // Only of what is refused the oracle has to say more than what it reads.
    let requests: Vec<Value> = changed
        .iter()
        .zip(&documents)
        .map(|(changed, document)| {
            let op = if document.is_ok() { "read" } else { "evaluate" };
            json!({ "op": op, "text": changed.text, "format": format, "now": "2026-12-01T00:00:00Z", "contexts": [] })
        })
        .collect();
    let mut counts = Counts::default();
    for ((changed, document), opinion) in changed.into_iter().zip(documents).zip(ask(&requests)) {
        let Changed { text, what } = &changed;
        let document = match document {
            Err(problem) => {
                assert!(!opinion["refused"].is_null(), "{what}: refused, but should be taken: {problem}\n\n{text}");
                counts.refused += 1;
                continue;
            }
            Ok(_) if opinion["ok"] == false => {
                counts.only_ours.push(changed);
                continue;
            }
            Ok(document) => document,
        };
        let plain = Tree::map([("flags", Tree::from_oracle(&opinion["flags"]))]).to_json();
        let expected = Document::from_json(&plain).unwrap_or_else(|problem| panic!("{what}: {problem}\n\n{plain}"));
        let (found, should_be) = (definitions(&document), definitions(&expected));
        assert_eq!(found, should_be, "{what}\n\n{text}");
        assert_eq!(refused(&document), refused(&expected), "{what}\n\n{text}");
        if refused(&document).is_empty() {
            counts.taken += 1;
        } else {
            counts.refused_in_part += 1;
        }
    }
    counts
}

#[test]
fn a_json_document_with_one_byte_changed_is_refused_or_read_as_it_stands() {
    let (changed, not_utf8) = changed(JSON);
    let counts = compare(changed, "json");
    assert!(
        not_utf8 > 1_500 && counts.refused > 5_000 && counts.refused_in_part > 1_000 && counts.taken > 1_000,
        "{not_utf8} are not UTF-8, {counts}"
    );
    let only_ours: Vec<&str> = counts.only_ours.iter().map(|changed| changed.what.as_str()).collect();
    assert!(only_ours.is_empty(), "taken, but should be refused: {only_ours:#?}");
}

#[test]
fn a_toml_document_with_one_byte_changed_is_refused_or_read_as_it_stands() {
    let (changed, not_utf8) = changed(TOML);
    let counts = compare(changed, "toml");
    let unexplained = counts.only_ours.iter().filter(|changed| !is_toml_1_1(&changed.text));
    let unexplained: Vec<&str> = unexplained.map(|changed| changed.what.as_str()).collect();
    assert!(unexplained.is_empty(), "taken, but should be refused: {unexplained:#?}");
    assert!(
        not_utf8 > 1_500 && counts.refused > 5_000 && counts.refused_in_part > 1_000 && counts.taken > 1_000,
        "{not_utf8} are not UTF-8, {counts}"
    );
}

/// Whether a time without seconds stands in the text, which TOML 1.1 reads and 1.0, the oracle's, does not.
fn is_toml_1_1(text: &str) -> bool {
    text.as_bytes().windows(7).any(|window| match window {
        [b'T', digits @ .., end] => {
            let is_minute = digits.iter().zip(b"00:00").all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                _ => byte == shape,
            });
            is_minute && *end != b':'
        }
        _ => false,
    })
}
