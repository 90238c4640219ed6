//! From definitions to text and back: nothing is lost, and one spelling is written.

use proptest::prelude::*;
use serde_json::{Value, json};
use tower_flags::engine::Query;
use tower_flags::{Document, Flag, FlagSet, Timestamp};
use tower_flags_properties::{Generator, Tree};

/// What is written says the same, and is written the same the second time.
fn assert_survives(document: &Document) {
    for (name, flag) in document.flags() {
        let text = serde_json::to_string(flag).unwrap();
        let again: Flag = text.parse().unwrap_or_else(|problem| panic!("{name} is written as {text}: {problem}"));
        assert_eq!(&again, flag, "{name} is written as {text}");
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
        assert_eq!(&Flag::try_from(serde_json::to_value(flag).unwrap()).unwrap(), flag, "{text}");
        assert_is_canonical(&text);
    }
    let text = serde_json::to_string(document).unwrap();
    let again = Document::from_json(&text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
    assert_eq!(again.problems(), [], "{text}");
    for (name, flag) in document.flags() {
        assert_eq!(again.flag(name), Some(flag), "{name} in {text}");
    }
    // What is refused and killed is written as a kill, and what else is refused not at all.
    let set = FlagSet::compile(document, Timestamp::MIN);
    for (name, flag) in again.flags().filter(|(name, _)| document.flag(name).is_none()) {
        assert_eq!(flag, &Flag::off(), "{name} in {text}");
        let answers = set.answer(&Query::new(&Default::default(), Timestamp::MIN));
        assert_eq!(answers.evaluation(name).reason.to_string(), "Disabled", "{name} in {text}");
    }
}

fn assert_is_canonical(text: &str) {
    let flag: Value = serde_json::from_str(text).unwrap();
    for alias in ["on", "rollout_percentage", "users", "enabled_for_users", "type", "jira_ticket", "name"] {
        assert!(flag.get(alias).is_none(), "{alias} in {text}");
    }
    assert!(flag["enabled"].is_boolean(), "{text}");
    let clauses = flag["rules"].as_array().into_iter().flatten().flat_map(|rule| rule["when"].as_array().unwrap());
    for clause in clauses {
        assert!(!clause["op"].as_str().unwrap().ends_with("one_of"), "{text}");
    }
}

#[test]
fn generated_documents_survive_being_written() {
    let mut written = 0;
    for seed in 0..1500 {
        let text = Generator::new(seed).document().to_json();
        let Ok(document) = Document::from_json(&text) else { continue };
        written += document.flags().count();
        assert_survives(&document);
    }
    assert!(written > 4000, "only {written} flags were written");
}

#[test]
fn documents_in_toml_survive_being_written_as_json() {
    let mut written = 0;
    for seed in 10_000..10_400 {
        let Some(text) = Generator::new(seed).document().to_toml() else { continue };
        let Ok(document) = Document::from_toml(&text) else { continue };
        written += document.flags().count();
        assert_survives(&document);
    }
    assert!(written > 800, "only {written} flags were written");
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Numbers that rules can hold: whole ones of 64 bits, and fractions.
fn number_of_a_rule() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|whole| json!(f64::from(whole))),
        any::<f64>().prop_filter("one with a fraction", |float| float.fract() != 0.0).prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_and_metadata_survive_whatever_json_they_are(value in json_value(), name in "[a-zA-Z0-9][a-z._-]{0,9}") {
        let flag = json!({
            "enabled": true,
            "variants": { &name: { "weight": 100, "value": value } },
            "metadata": { "x": value },
        });
        let document = Document::from_json(&json!({ "flags": { "x": flag } }).to_string()).unwrap();
        let read = document.flag("x").unwrap();
        prop_assert_eq!(read.variants()[0].value(), Some(&value).filter(|value| !value.is_null()));
        prop_assert_eq!(&read.bookkeeping().metadata.as_ref().unwrap()["x"], &value);
        assert_survives(&document);
    }

    #[test]
    fn texts_and_numbers_survive_wherever_they_stand(
        texts in proptest::collection::vec(any::<String>(), 0..6),
        numbers in proptest::collection::vec(number_of_a_rule(), 1..4),
        weight in 0..=100_000_u32,
        share in 0..=100_000_u32,
        millis in any::<i64>(),
    ) {
        let percentage = |thousandths: u32| {
            let digits = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
            Tree::Number(digits).to_json()
        };
        let clauses: Vec<Value> = [("one_of", json!(texts)), ("less", json!(numbers)), ("not_equals", json!(numbers)),
            ("contains", json!(texts)), ("after", json!([Timestamp::from_unix_millis(millis).to_string()]))]
            .into_iter()
            .filter(|(_, values)| *values != json!([]))
            .map(|(op, values)| json!({ "attribute": texts.first(), "op": op, "values": values }))
            .map(|mut clause| {
                if clause["attribute"].is_null() {
                    clause["attribute"] = json!("");
                }
                clause
            })
            .collect();
        let text = format!(
            "{{\"enabled\": true, \"rollout_percentage\": {}, \"users\": {}, \"allowed_groups\": {}, \"salt\": {}, \
             \"variants\": {{\"a\": {}, \"b\": {}}}, \"rules\": [{{\"when\": {}, \"serve\": {{\"percentage\": {}}}}}], \
             \"tags\": {}, \"owner\": {}}}",
            percentage(share), json!(texts), json!(texts), json!(texts.concat()), percentage(weight),
            percentage(100_000 - weight), json!(clauses), percentage(share), json!(texts), json!(texts.concat()),
        );
        let flag: Flag = text.parse().unwrap();
        prop_assert_eq!(flag.allowed_users().collect::<Vec<_>>(), texts.iter().collect::<Vec<_>>());
        prop_assert_eq!(flag.percentage_at(Timestamp::MIN).thousandths(), share);
        let mut document = Document::new();
        document.insert("x", flag).unwrap();
        assert_survives(&document);
    }
}

#[test]
fn every_other_spelling_becomes_the_canonical_one() {
    for (alias, canonical, value) in [
        ("on", "enabled", json!(false)),
        ("users", "allowed_users", json!(["a"])),
        ("enabled_for_users", "allowed_users", json!(["a"])),
        ("rollout_percentage", "percentage", json!(12.5)),
        ("type", "kind", json!("ops")),
        ("jira_ticket", "ticket", json!("PAY-12")),
    ] {
        let mut written = json!({ "enabled": true, alias: value });
        let mut expected = json!({ "enabled": true, canonical: value });
        if canonical == "enabled" {
            written.as_object_mut().unwrap().remove("enabled");
            expected = json!({ canonical: value });
        }
        let flag = Flag::try_from(written).unwrap();
        assert_eq!(serde_json::to_value(&flag).unwrap(), expected);
        assert_eq!(flag, Flag::try_from(expected).unwrap());
    }
    let rule =
        |op: &str| json!({ "rules": [{ "when": [{ "attribute": "a", "op": op, "values": [1] }], "serve": true }] });
    let flag = Flag::try_from(rule("not_one_of")).unwrap();
    assert_eq!(serde_json::to_value(&flag).unwrap()["rules"], rule("not_equals")["rules"]);
    assert_eq!(
        serde_json::to_string(&"{\"name\": \"x\", \"on\": true}".parse::<Flag>().unwrap()).unwrap(),
        r#"{"enabled":true}"#
    );
}
