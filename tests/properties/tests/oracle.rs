//! The engine against a second reading of the same rules, over generated documents.
//!
//! Deliberately not generated, since the two are known to read these differently, or only one of them
//! holds the limit:
//!
//! * regular expressions near their limits, and those that Rust and Python write differently;
//! * `user_id` and `groups` as attributes, which a context does not take;
//! * empty groups, which a context leaves out;
//! * semantic versions with numbers above 64 bits;
//! * instants with more than nine decimals, or outside the years 0 to 9999 once their offset is applied;
//! * numbers in `value` and `metadata` that no 64-bit float holds;
//! * nesting of 128 levels and more, flags above 1 MiB, and documents near their limits (`total.rs`);
//! * TOML for what it has no words for (null in a list), and instants and days without quotes (`bytes.rs`);
//! * a null flag beside one of its name or under a bad name, a second `$schema`, half surrogate pairs and
//!   seconds of 60, which have tests of their own below.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tower_flags::document::Severity;
use tower_flags::engine::Query;
use tower_flags::{Document, FlagSet, Timestamp};
use tower_flags_properties::{Generator, Tree, ask, assert_coherent, context_of, refused_names};

const DOCUMENTS: usize = 2000;
const CONTEXTS: usize = 4;

struct Case {
    text: String,
    format: &'static str,
    now: &'static str,
    contexts: Vec<Value>,
}

impl Case {
    fn json(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            format: "json",
            now: "2026-12-01T09:00:00Z",
            contexts: vec![json!({"user": "alice"})],
        }
    }

    /// A flag `x` with one part of that text; the flag `good` stands beside it.
    fn part(key: &str, value: &str) -> Self {
        Self::json(format!("{{\"flags\": {{\"good\": true, \"x\": {{\"enabled\": true, \"{key}\": {value}}}}}}}"))
    }

    /// A flag `x` with one rule that asks for the attribute `v` of each caller.
    fn clause(operator: &str, values: &str, asked: impl IntoIterator<Item = Value>) -> Self {
        let clause = format!("{{\"attribute\": \"v\", \"op\": \"{operator}\", \"values\": {values}}}");
        let contexts = asked.into_iter().map(|value| json!({"attributes": {"v": value}})).chain([json!({})]).collect();
        Self { contexts, ..Self::part("rules", &format!("[{{\"when\": [{clause}], \"serve\": true}}]")) }
    }

    fn request(&self) -> Value {
        json!({ "op": "evaluate", "text": self.text, "format": self.format, "now": self.now, "contexts": self.contexts })
    }

    fn read(&self) -> Option<Document> {
        match self.format {
            "toml" => Document::from_toml(&self.text).ok(),
            _ => Document::from_json(&self.text).ok(),
        }
    }
}

/// A name without what is put in the place of half a surrogate pair, which everybody does otherwise.
fn shown(name: &str) -> String {
    name.replace('\u{fffd}', "")
}

/// Where the engine and the oracle differ about one case; what happened is counted in `seen`.
fn differences(case: &Case, opinion: &Value, seen: &mut BTreeMap<String, usize>) -> Vec<String> {
    let mut differences = Vec::new();
    let now: Timestamp = case.now.parse().unwrap();
    let document = match (case.read(), opinion["refused"].as_str()) {
        (Some(document), None) => document,
        (None, Some(_)) => {
            *seen.entry("refused document".into()).or_default() += 1;
            return differences;
        }
        (Some(_), Some(why)) => return vec![format!("the document is taken, but should be refused: {why}")],
        (None, None) => return vec!["the document is refused, but should be taken".into()],
    };
    // Schedules are resolved for one instant and asked at another.
    let set = FlagSet::compile(&document, Timestamp::MIN);
    let names = |key: &str| -> BTreeSet<String> {
        opinion[key].as_array().unwrap().iter().map(|pair| shown(pair[0].as_str().unwrap())).collect()
    };
    let refused: BTreeSet<String> = refused_names(&set).iter().map(|name| shown(name)).collect();
    let expected = names("problems");
    if refused != expected {
        differences.push(format!("refused: {refused:?}, but should be {expected:?}"));
    }
    *seen.entry("refused flag".into()).or_default() += refused.len();
    let warned = set.problems().iter().filter(|problem| problem.severity == Severity::Warning);
    let warned: BTreeSet<String> = warned.filter_map(|problem| problem.flag.clone()).collect();
    let (warned, expected) = (&warned - &refused, &names("warnings") - &refused);
    if warned != expected {
        differences.push(format!("warned of: {warned:?}, but should be {expected:?}"));
    }
    for (described, expected) in case.contexts.iter().zip(opinion["answers"].as_array().unwrap()) {
        let flags = set.answer(&Query::new(&context_of(described), now));
        assert_coherent(&flags, &|| format!("{described} at {} in {}", case.now, case.text));
        let mut found = BTreeMap::new();
        for entry in flags.iter() {
            let answer = flags.evaluation(entry.name);
            let reason = answer.reason.to_string();
            let kind = reason.split('(').next().unwrap_or_default();
            *seen.entry(format!("{kind} {}", answer.enabled)).or_default() += 1;
            found.insert(
                entry.name,
                json!({
                    "enabled": answer.enabled,
                    "variant": answer.variant,
                    "reason": reason,
                    "bucket": answer.bucket,
                }),
            );
        }
        let expected = expected.as_object().unwrap();
        let all: BTreeSet<&str> = found.keys().copied().chain(expected.keys().map(String::as_str)).collect();
        for name in all {
            let (found, expected) = (found.get(name), expected.get(name));
            if found != expected {
                differences.push(format!("{name} for {described}:\n    {found:?}, but should be\n    {expected:?}"));
            }
        }
    }
    differences
}

fn compare(cases: &[Case]) -> BTreeMap<String, usize> {
    let requests: Vec<Value> = cases.iter().map(Case::request).collect();
    let mut seen = BTreeMap::new();
    let (mut failed, mut shown) = (0, String::new());
    for (case, opinion) in cases.iter().zip(ask(&requests)) {
        let differences = differences(case, &opinion, &mut seen);
        if !differences.is_empty() {
            failed += 1;
            if failed <= 5 {
                shown +=
                    &format!("{} at {}:\n{}\n  {}\n\n", case.format, case.now, case.text, differences.join("\n  "));
            }
        }
    }
    assert!(failed == 0, "{failed} of {} cases differ, for example\n\n{shown}", cases.len());
    seen
}

#[test]
fn generated_documents_are_decided_as_the_oracle_decides_them() {
    let mut cases = Vec::new();
    for seed in 0..DOCUMENTS as u64 {
        let mut generator = Generator::new(seed);
        let document = generator.document();
        let toml = if seed % 4 == 0 { document.to_toml() } else { None };
        let format = if toml.is_some() { "toml" } else { "json" };
        let text = toml.unwrap_or_else(|| document.to_json());
        for _ in 0..2 {
            let contexts = (0..CONTEXTS).map(|_| generator.context()).collect();
            cases.push(Case { text: text.clone(), format, now: generator.instant().0, contexts });
        }
    }
    let seen = compare(&cases);
    // Nothing is compared where nothing happens.
    for (what, at_least) in [
        ("refused document", 10),
        ("refused flag", 1000),
        ("Problem false", 2500),
        ("Disabled false", 2500),
        ("Prerequisite false", 1000),
        ("User true", 500),
        ("Group true", 500),
        ("Rule true", 1000),
        ("Rule false", 1000),
        ("Static true", 2500),
        ("Static false", 1500),
        ("Anonymous false", 1000),
        ("Rollout true", 1500),
        ("Rollout false", 1500),
    ] {
        let times = seen.get(what).copied().unwrap_or_default();
        assert!(times >= at_least, "{what} was seen {times} times only, of {seen:?}");
    }
    assert!(cases.iter().filter(|case| case.format == "toml").count() > 300);
}

#[test]
fn percentages_at_the_edge_are_read_alike() {
    let digits = "0 -0 0.0 -0.000 0e5 0.001 0.0010 0.0005 1e-3 1e-4 10e-4 99.999 99.9990 99.9999 100 100.0 100.000 \
                  100.0001 100.001 1e2 1E+2 1.0e2 10e1 1000e-1 1e3 -1 -0.001 0.1 0.29 0.57 33.333 4294967.296 \
                  4294967296 18446744073709551616 1e400 1e-400 0e400 0.00000000000000000000000000000000001e35 \
                  100000000000000000000000000000000000e-33 \"5\" \"\" true [] {} [5] null NaN +5 .5 5. 05 0x5 5_0 \
                  Infinity";
    let mut cases = Vec::new();
    for digits in digits.split_whitespace().chain([""]) {
        cases.push(Case::part("percentage", digits));
        cases.push(Case::part("variants", &format!("{{\"a\": {digits}, \"b\": 99.999}}")));
        let step = format!("[{{\"at\": \"2026-12-01T00:00:00Z\", \"percentage\": {digits}}}]");
        cases.push(Case::part("schedule", &step));
        let when = "[{\"attribute\": \"x\", \"op\": \"not_exists\"}]";
        cases.push(Case::part("rules", &format!("[{{\"when\": {when}, \"serve\": {{\"percentage\": {digits}}}}}]")));
    }
    compare(&cases);
}

#[test]
fn instants_at_the_edge_are_read_alike() {
    let instants = [
        "2026-12-01T09:00:00Z",
        "2026-12-01t09:00:00z",
        "2026-12-01T09:00:00+00:00",
        "2026-12-01T09:00:00-00:00",
        "2026-12-01T09:00:00+23:59",
        "2026-12-01T09:00:00+24:00",
        "2026-12-01T09:00:00+01:60",
        "2026-12-01T09:00:00+0100",
        "2026-12-01T09:00:00+01",
        "2026-12-01T09:00:00",
        "2026-12-01T09:00Z",
        "2026-12-01 09:00:00Z",
        "2026-12-01",
        "2026-12-01T24:00:00Z",
        "2026-12-01T09:60:00Z",
        "2026-12-01T09:00:61Z",
        "2026-12-01T09:00:00.Z",
        "2026-12-01T09:00:00.1Z",
        "2026-12-01T09:00:00.123456789Z",
        "2026-12-01T09:00:00,5Z",
        "2026-13-01T09:00:00Z",
        "2026-00-01T09:00:00Z",
        "2026-12-00T09:00:00Z",
        "2026-12-32T09:00:00Z",
        "2026-02-29T09:00:00Z",
        "2028-02-29T09:00:00Z",
        "1900-02-29T09:00:00Z",
        "2000-02-29T09:00:00Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "+2026-12-01T09:00:00Z",
        "-2026-12-01T09:00:00Z",
        "12026-12-01T09:00:00Z",
        " 2026-12-01T09:00:00Z",
        "2026-12-01T09:00:00Z ",
        "2026-12-01T09:00:00Z[UTC]",
        "2026-W49-2T09:00:00Z",
        "2026-335T09:00:00Z",
        "20261201T090000Z",
        "２026-12-01T09:00:00Z",
        "now",
        "",
    ];
    let mut cases: Vec<Case> = Vec::new();
    for at in instants {
        cases.push(Case::part("schedule", &format!("[{{\"at\": \"{at}\", \"percentage\": 100}}]")));
        let early = "[{\"at\": \"2026-11-30T00:00:00Z\", \"percentage\": 100}]";
        cases.push(Case::part("schedule", &format!("{early}, \"paused_at\": \"{at}\"")));
        cases.push(Case::clause("before", &format!("[\"{at}\"]"), [json!(at), json!("2026-12-01T08:59:59Z")]));
        cases.push(Case::clause("after", "[\"2026-12-01T00:00:00Z\"]", [json!(at)]));
    }
    compare(&cases);
}

#[test]
fn days_at_the_edge_are_read_alike() {
    let days = "2026-11-20|2028-02-29|2027-02-29|2026-11-31|2026-13-01|2026-00-10|2026-11-00|0000-01-01|9999-12-31|\
                2026-11-2|2026-1-020|20261120|2026-11-20T00:00:00Z|2026-11-20 | 2026-11-20|26-11-2020|2026/11/20|\
                2026-W47-5|2026-324|-026-11-20|２026-1-1|20261120Z |20261120T9|";
    let cases: Vec<Case> = days
        .split('|')
        .flat_map(|day| ["created_at", "expires_at"].map(|key| Case::part(key, &format!("\"{day}\""))))
        .collect();
    compare(&cases);
}

#[test]
fn names_at_the_edge_are_read_alike() {
    let mut cases: Vec<Case> = Vec::new();
    let long = "n".repeat(128);
    for name in [
        "a", "0", "Z", "", ".a", "-a", "_a", "a.", "a_", "a-", "a b", "a/b", "ä", "a\u{301}", "a\\n", "a\\u0000", &long,
    ] {
        cases.push(Case::json(format!("{{\"flags\": {{\"{name}\": true, \"good\": true}}}}")));
        cases.push(Case::part("variants", &format!("{{\"{name}\": 100}}")));
        cases.push(Case::part("requires", &format!("[\"{name}\"]")));
    }
    cases.push(Case::json(format!("{{\"flags\": {{\"{long}n\": true, \"good\": true}}}}")));
    compare(&cases);
}

#[test]
fn versions_at_the_edge_are_read_alike() {
    let versions = "1.2.3|1.2|1|v1.2.3|1.2.3.4|01.2.3|1.02.3|1.2.3-|1.2.3-01|1.2.3-0|1.2.3-a..b|1.2.3-0a|1.2.3-00a|\
                    1.2.3+|1.2.3+00|1.2.3-x-y.z|1.2.3--|1.2.3 | 1.2.3|-1.2.3|1.2.-3|1.2.3-α|\
                    18446744073709551615.0.0|1.2.3-99999999999999999999999|";
    let mut cases: Vec<Case> = Vec::new();
    for version in versions.split('|') {
        for operator in ["semver_equals", "semver_less", "not_semver_greater_or_equal"] {
            cases.push(Case::clause(operator, &format!("[\"{version}\"]"), [json!("1.2.3"), json!("1.2.3-9")]));
            cases.push(Case::clause(operator, "[\"1.2.3\"]", [json!(version)]));
            cases.push(Case::clause(operator, "[\"1.2.3-100000000000000000000000\"]", [json!(version)]));
        }
    }
    compare(&cases);
}

#[test]
fn words_are_compared_byte_for_byte() {
    let mut cases: Vec<Case> = Vec::new();
    for (key, words) in [
        ("bucketing", "flag:user|user-flag|flag:user/32|user/32|Flag:user|flag:user |user|"),
        ("kind", "release|experiment|ops|permission|Release|op|toggle|"),
        ("type", "release|experiment|ops|permission|RELEASE|release_flag|kill|"),
        ("name", "x|X|x |good||xx|y|ẋ"),
    ] {
        cases.extend(words.split('|').map(|word| Case::part(key, &format!("\"{word}\""))));
    }
    compare(&cases);
}

#[test]
fn operators_compare_every_kind_of_attribute_alike() {
    let attributes = [
        json!(null),
        json!(true),
        json!(0),
        json!(-0.0),
        json!(18),
        json!(18.0),
        json!(1e300),
        json!(9_007_199_254_740_993_i64),
        json!(u64::MAX),
        json!(""),
        json!("a"),
        json!("18"),
        json!("true"),
        json!("1.2.3"),
        json!("2026-12-01T09:00:00Z"),
        json!([]),
        json!([null]),
        json!([18, "a"]),
        json!([["a"]]),
        json!({"a": 1}),
        json!([{}]),
        json!("a\u{0}b"),
        json!("ß"),
    ];
    let clauses = "equals [true]|equals [0]|equals [18]|equals [1.8e1, \"a\"]|equals [\"\"]|one_of [9007199254740992]|\
                   equals [18446744073709551615]|equals [null]|equals [[]]|equals [1e400]|equals [1e-400]|contains [\"\"]|\
                   contains [\"a\"]|contains [1]|starts_with [\"\"]|ends_with [\"b\"]|matches [\"\"]|matches [\"^a$\"]|\
                   matches [\"(\"]|matches [\"a\", \"(?!b)\"]|greater [17]|greater [18]|greater_or_equal [18]|\
                   less [-1e308]|less [0]|less_or_equal [0]|less [\"1\"]|greater [9007199254740993]|\
                   semver_equals [\"1.2.3+x\"]|before [\"2027-01-01T00:00:00Z\"]|\
                   after [\"2026-12-01T10:00:00+01:00\"]|exists null|exists []|exists [true]|equals []|equals null|\
                   equals \"a\"|Equals [1]|not [1]| [1]";
    let mut cases = Vec::new();
    for (operator, values) in clauses.split('|').map(|clause| clause.split_once(' ').unwrap()) {
        for negation in ["", "not_", "not_not_"] {
            cases.push(Case::clause(&format!("{negation}{operator}"), values, attributes.clone()));
        }
    }
    compare(&cases);
}

/// Texts of numbers at the edges of what floats and integers of 64 bits hold, each written in several ways.
fn numbers_at_the_edges() -> Vec<String> {
    let edges: [i128; 8] = [0, 1, 1 << 53, 1_234_567_890_123_456_789, 1 << 63, 1 << 64, 1 << 70, 1 << 100];
    let mut texts = Vec::new();
    for edge in edges {
        for number in [edge - 2, edge - 1, edge, edge + 1, edge + 2] {
            for number in [number, -number] {
                texts.push(number.to_string());
                texts.push(format!("{number}.0"));
                texts.push(format!("{number}.5"));
                texts.push(format!("{number}0e-1"));
            }
        }
    }
    let odd = "-0|-0.0|0e9|1e19|1.8446744073709551615e19|1.8446744073709552e19|-9.223372036854775808e18|1e-400|5e-324|2e-324|\
               1.7976931348623157e308|1.7976931348623158e308|1e309|0.1|0.10|0.1000000000000000055511151231257827|\
               0.30000000000000004|0.3000000000000000444|4503599627370495.5|4503599627370495.25|100e-2|0.000";
    texts.extend(odd.split('|').map(str::to_owned));
    texts
}

#[test]
fn numbers_compare_alike_at_the_edges_of_what_is_held() {
    let texts = numbers_at_the_edges();
    let mut cases = Vec::new();
    for text in &texts {
        // Neighbours of the number, as integers and as floats, and a list of them.
        let mut asked =
            vec![json!(u64::MAX), json!(u64::MAX - 1), json!(i64::MIN), json!(i64::MIN + 1), json!([1, 0.5])];
        if let Ok(whole) = text.parse::<i128>() {
            let near = [whole - 1, whole, whole + 1].into_iter();
            asked.extend(near.clone().filter_map(|near| i64::try_from(near).ok()).map(Value::from));
            asked.extend(near.clone().filter_map(|near| u64::try_from(near).ok()).map(Value::from));
            asked.extend(near.map(|near| json!(near as f64)));
        }
        if let Some(float) = text.parse::<f64>().ok().filter(|float| float.is_finite()) {
            asked.extend([float, float.next_up(), float.next_down()].map(Value::from));
        }
        for operator in ["equals", "greater", "greater_or_equal", "less", "less_or_equal", "not_equals", "not_less"] {
            cases.push(Case::clause(operator, &format!("[{text}]"), asked.clone()));
        }
    }
    compare(&cases);
}

#[test]
fn numbers_in_toml_are_as_exact() {
    let numbers = "1234567890123456789|+1234567890123456789|1_234_567_890_123_456_789|18446744073709551615|\
                   18446744073709551616|-9223372036854775809|0x7fff_ffff_ffff_ffff|9007199254740993|9007199254740993.0|\
                   9_007_199_254_740_992.0|+1.5|1e3|0.1|inf|nan";
    let asked = [1_234_567_890_123_456_789_u64, 1_234_567_890_123_456_788, u64::MAX, 9_007_199_254_740_993, 1000];
    let contexts: Vec<Value> = asked.map(|number| json!({ "attributes": { "v": number } })).into();
    let case = |number: &str| Case {
        text: format!(
            "[flags.x]\nenabled = true\n[[flags.x.rules]]\nserve = true\n\
             when = [{{ attribute = \"v\", op = \"greater_or_equal\", values = [{number}] }}]\n"
        ),
        format: "toml",
        contexts: contexts.clone(),
        ..Case::json("")
    };
    compare(&numbers.split('|').map(case).collect::<Vec<_>>());
}

#[test]
fn numbers_in_values_and_metadata_keep_their_digits_or_are_no_part() {
    let mut cases = Vec::new();
    // Beyond the largest float, the two readers of JSON round otherwise.
    let is_read = |text: &&String| text.parse::<f64>().is_ok_and(|float| float.is_finite() && float != f64::MAX);
    for text in numbers_at_the_edges().iter().filter(is_read) {
        cases.push(Case::part("variants", &format!("{{\"a\": {{\"weight\": 100, \"value\": [[{text}]]}}}}")));
        cases.push(Case::part("metadata", &format!("{{\"a\": [{text}]}}")));
    }
    compare(&cases);
}

#[test]
fn a_null_flag_beside_one_of_its_name_is_a_duplicate_in_either_order() {
    let texts = [r#"{"flags": {"a": true, "a": null}}"#, r#"{"flags": {"a": null, "a": true}}"#];
    compare(&texts.map(Case::json));
}

#[test]
fn a_null_under_a_bad_name_is_absent() {
    compare(&[Case::json(r#"{"flags": {"new search": null, "good": true}}"#)]);
}

#[test]
fn a_second_schema_is_a_duplicate_key() {
    compare(&[Case::json(r#"{"$schema": "a", "flags": {"a": true}, "$schema": "b"}"#)]);
}

#[test]
fn half_a_surrogate_pair_costs_only_its_flag() {
    let texts = [
        r#"{"flags": {"a": {"allowed_users": ["\ud800"]}, "good": true}}"#,
        r#"{"flags": {"a": {"enabled": true, "owner": "\udfff"}, "good": true}}"#,
        r#"{"flags": {"a": {"enabled": true, "metadata": {"\ud800": 1}}, "good": true}}"#,
        r#"{"flags": {"a": {"enabled": true, "rollout_stages": "\ud800"}, "good": true}}"#,
        r#"{"flags": {"a": {"enabled": true, "owner\ud800": 1}, "good": true}}"#,
    ];
    compare(&texts.map(Case::json));
}

#[test]
fn half_a_surrogate_pair_in_a_name_costs_no_other_flag() {
    compare(&[Case::json(r#"{"flags": {"\ud800": true, "good": true}}"#)]);
}

#[test]
fn half_a_surrogate_pair_does_not_hold_up_a_kill() {
    compare(&[Case::json(r#"{"flags": {"a": {"enabled": false, "owner\ud800": 1}, "good": true}}"#)]);
}

#[test]
fn no_minute_has_61_seconds() {
    let cases = ["2026-12-01T09:00:60Z", "2026-12-31T23:59:60Z"]
        .map(|at| Case::part("schedule", &format!("[{{\"at\": \"{at}\", \"percentage\": 100}}]")));
    compare(&cases);
}

#[test]
fn members_that_are_null_are_absent_at_every_level() {
    let texts = [
        r#"{"flags": {"a": true, "x": {"enabled": true, "on": null, "requires": [{"a": null}]}}}"#,
        r#"{"flags": {"a": {"percentage": 9, "variants": {"b": 100}}, "x": {"enabled": true, "requires": [{"a": "b", "c": null}]}}}"#,
        r#"{"flags": {"x": {"enabled": true, "variants": {"a": null, "b": {"weight": 100, "value": null}}}}}"#,
        r#"{"flags": {"x": {"enabled": true, "variants": {"a": null}}}}"#,
        r#"{"flags": {"x": {"enabled": null, "percentage": null}, "y": {"enabled": null, "percentage": 0}}}"#,
        r#"{"flags": {"x": {"enabled": true, "rules": [{"when": null, "serve": true}]}}}"#,
        r#"{"flags": {"x": {"enabled": true, "schedule": null, "paused_at": "2026-12-01T00:00:00Z"}}}"#,
        r#"{"flags": {"x": {"enabled": true, "allowed_users": null}, "y": {"enabled": true, "allowed_users": [null]}}}"#,
        r#"{"flags": {"x": {"enabled": true, "no_such_key": null}}}"#,
    ];
    compare(&texts.map(Case::json));
}

#[test]
fn kills_are_taken_out_of_whatever_is_refused() {
    let mut generator = Generator::new(0);
    let mut cases = Vec::new();
    for key in ["enabled", "on", "Enabled", "percentage"] {
        for value in ["false", "true", "null", "0", "\"false\""] {
            for rest in
                ["\"no_such_key\": 1", "\"percentage\": \"x\"", "\"enabled\": 1", "\"on\": false", "\"rules\": [7]"]
            {
                cases
                    .push(Case::json(format!("{{\"flags\": {{\"x\": {{\"{key}\": {value}, {rest}}}, \"y\": true}}}}")));
            }
        }
    }
    for _ in 0..50 {
        let odd = Tree::map([("flags", Tree::map([("x", generator.anything())]))]);
        cases.push(Case::json(odd.to_json()));
    }
    compare(&cases);
}
