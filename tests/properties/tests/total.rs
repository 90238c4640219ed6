//! Deciding is total: whatever the document and whoever asks, there is one coherent answer.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};
use tower_flags::engine::{Answers, Evaluation, Forced, ForcedBy, Query, Reason};
use tower_flags::{Context, Document, Flag, FlagSet, Timestamp};
use tower_flags_properties::{CHAIN, Generator, Tree, assert_coherent, context_of, is_met};

fn answers(flags: &Answers) -> BTreeMap<String, Evaluation> {
    flags.iter().map(|entry| (entry.name.to_owned(), flags.evaluation(entry.name))).collect()
}

/// Decides for a few callers and instants; every set of answers is coherent.
fn assert_decided(document: &Document, contexts: &[Context], shown: &dyn Fn() -> String) {
    let set = FlagSet::compile(document, Timestamp::from_unix_millis(1_796_000_000_000));
    for context in contexts {
        for now in [Timestamp::MIN, Timestamp::from_unix_millis(1_796_115_600_000), Timestamp::MAX] {
            assert_coherent(&set.answer(&Query::new(context, now)), &|| format!("{context:?} at {now} in {}", shown()));
        }
    }
}

/// Values that few keys expect.
fn hostile() -> Vec<Tree> {
    let raw = |text: &str| Tree::Raw(text.to_owned());
    let deep = |depth: usize| Tree::Raw(format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
    let deep_object = Tree::Raw(format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200)));
    vec![
        Tree::Null,
        Tree::Bool(true),
        Tree::Bool(false),
        Tree::text(""),
        Tree::text("\u{0}"),
        Tree::text("x".repeat(100_000)),
        Tree::text("(((((((((((a*)*)*)*)*)*)*)*)*)*)*"),
        Tree::text("2026-12-01T09:00:00Z"),
        Tree::number(0),
        Tree::number(-1),
        Tree::number(u64::MAX),
        raw("1e308"),
        raw("1e400"),
        raw("-1e-400"),
        raw("1e99999999999999999999"),
        Tree::Number("9".repeat(5_000)),
        Tree::Number(format!("0.{}1", "0".repeat(5_000))),
        raw("\"\\ud800\""),
        raw("{\"\\udc00\": 1}"),
        raw("{\"a\": 1, \"a\": 2}"),
        Tree::List(vec![]),
        Tree::map::<String>([]),
        Tree::List(vec![Tree::Null]),
        Tree::List(vec![Tree::map([("", Tree::Null)])]),
        Tree::map([("", Tree::Null)]),
        Tree::List(vec![Tree::number(1); 2_000]),
        deep(120),
        deep(5_000),
        deep_object,
    ]
}

/// A flag with something at every key, each as it should be.
fn full_flag() -> Tree {
    let text = r#"{
        "enabled": true, "percentage": 12.5, "allowed_users": ["alice"], "allowed_groups": ["staff"],
        "rules": [
            {"when": [{"attribute": "plan", "op": "equals", "values": ["gold"]}], "serve": true},
            {"when": [{"attribute": "plan", "op": "matches", "values": ["^s"]}], "serve": "b"},
            {"when": [{"attribute": "plan", "op": "not_exists"}], "serve": {"percentage": 50}}
        ],
        "requires": ["good", {"good": "a"}], "bucket_by": "org",
        "variants": {"a": 40, "b": {"weight": 60, "value": {"x": 1}}},
        "bucketing": "user-flag", "salt": "s", "overridable": true, "hidden": true, "kind": "ops", "name": "x",
        "owner": "o", "ticket": "t", "description": "d", "tags": ["t"], "created_at": "2026-11-20",
        "expires_at": "2027-03-01", "metadata": {"m": [1]}, "rollout_stages": [1], "rollout_started": "x",
        "current_stage": 1, "stage_started": "x", "rolled_back_at": "x"
    }"#;
    Tree::from(&serde_json::from_str::<Value>(text).unwrap())
}

fn scheduled_flag() -> Tree {
    let text = r#"{
        "on": true, "users": ["alice"], "type": "ops", "jira_ticket": "t",
        "schedule": [{"at": "2026-12-01T09:00:00Z", "percentage": 1}, {"at": "2026-12-04T09:00:00Z", "percentage": 25}],
        "paused_at": "2026-12-02T00:00:00Z"
    }"#;
    Tree::from(&serde_json::from_str::<Value>(text).unwrap())
}

fn beside_good(flag: Tree) -> Tree {
    let good = Tree::map([("enabled", Tree::Bool(true)), ("variants", Tree::map([("a", Tree::number(100))]))]);
    Tree::map([(
        "flags",
        Tree::map([
            ("x", flag),
            ("good", good),
            ("y", Tree::map([("requires", Tree::texts(["x"])), ("enabled", Tree::Bool(true))])),
        ]),
    )])
}

#[test]
fn any_value_at_any_place_costs_at_most_its_flag() {
    let contexts = [
        Context::anonymous(),
        Context::user("alice").in_groups(["staff"]).with_attribute("plan", "silver").with_attribute("org", 7),
    ];
    for (whole, hostile) in [full_flag(), scheduled_flag()]
        .iter()
        .flat_map(|whole| hostile().into_iter().map(move |hostile| (whole, hostile)))
    {
        for place in 0..whole.size() {
            let mut flag = whole.clone();
            flag.replace(place, hostile.clone());
            let text = beside_good(flag).to_json();
            let shown = || text.chars().take(2_000).collect();
            let document = Document::from_json(&text).unwrap_or_else(|problem| panic!("{problem}: {}", shown()));
            assert!(document.flag("good").is_some(), "{}", shown());
            let set = FlagSet::compile(&document, Timestamp::MIN);
            for context in &contexts {
                let flags = set.answer(&Query::new(context, Timestamp::MIN));
                assert!(flags.is_enabled("good"), "{}", shown());
                assert_coherent(&flags, &shown);
            }
        }
    }
}

#[test]
fn any_value_in_place_of_the_frame_is_refused_or_read() {
    let frame = Tree::map([("$schema", Tree::text("")), ("flags", Tree::map([("x", Tree::Bool(true))]))]);
    for hostile in hostile() {
        for place in 0..frame.size() {
            let mut tree = frame.clone();
            tree.replace(place, hostile.clone());
            if let Ok(document) = Document::from_json(&tree.to_json()) {
                assert_decided(&document, &[Context::anonymous()], &|| "a hostile frame".into());
            }
        }
        let _ = hostile.to_json().parse::<Flag>();
    }
}

#[test]
fn nesting_has_no_end_that_overflows() {
    for depth in [100, 1_000, 100_000] {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        for text in [
            open.clone(),
            format!("{open}{close}"),
            format!("{{\"flags\": {open}{close}}}"),
            format!("{{\"flags\": {{\"x\": {open}{close}, \"good\": true}}}}"),
            format!("{{\"flags\": {{\"x\": {objects}, \"good\": true}}}}"),
            format!("{{\"flags\": {{\"x\": {{\"enabled\": true, \"rollout_stages\": {objects}}}, \"good\": true}}}}"),
        ] {
            if let Ok(document) = Document::from_json(&text) {
                assert!(document.flag("good").is_some());
            }
            let _ = text.parse::<Flag>();
        }
        for text in [
            format!("flags = {open}{close}"),
            format!("[flags.x]\nmetadata = {open}{close}"),
            format!("[flags.x]\n{}a = 1", "a.".repeat(depth)),
            format!("[flags.{}x]\nenabled = true", "a.".repeat(depth)),
            format!("[[flags.{}x]]\nenabled = true", "a.".repeat(depth)),
            format!("flags = {}1{}", "{a=".repeat(depth), "}".repeat(depth)),
        ] {
            let _ = Document::from_toml(&text);
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::Bool),
        any::<i64>().prop_map(Tree::number),
        any::<f64>().prop_map(|number| Tree::from(&json!(number))),
        "-?(0|[1-9][0-9]{0,2})(\\.[0-9]{1,4})?([eE][-+]?[0-9]{1,3})?".prop_map(Tree::Number),
        any::<String>().prop_map(Tree::Text),
        "[a-z]{1,3}".prop_map(Tree::Text),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let key = prop_oneof![
            any::<String>(),
            prop::sample::select(vec![
                "enabled",
                "on",
                "percentage",
                "rules",
                "when",
                "serve",
                "weight",
                "value",
                "at",
                "x"
            ])
            .prop_map(str::to_owned),
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Tree::List),
            proptest::collection::vec((key, inner), 0..4).prop_map(Tree::Map),
        ]
    })
}

fn context() -> impl Strategy<Value = Context> {
    let attribute = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        proptest::collection::vec(any::<String>(), 0..3).prop_map(Value::from),
    ];
    let names = prop_oneof![
        any::<String>(),
        prop::sample::select(vec!["plan", "age", "email", "org", "user_id", "groups"]).prop_map(str::to_owned),
    ];
    let user = prop_oneof![Just(String::new()), "[a-z]{1,5}", any::<String>()];
    let attributes = proptest::collection::vec((names, attribute), 0..4);
    (user, proptest::collection::vec(any::<String>(), 0..4), attributes).prop_map(|(user, groups, attributes)| {
        let context = Context::user(user).in_groups(groups);
        attributes.into_iter().fold(context, |context, (name, value)| context.with_attribute(name, value))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_changes_to_a_document_leave_it_decidable(
        seed in any::<u64>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), tree()), 0..4),
        contexts in proptest::collection::vec(context(), 1..3),
    ) {
        let mut tree = Generator::new(seed).document();
        for (place, by) in changes {
            let place = place.index(tree.size());
            tree.replace(place, by);
        }
        let text = tree.to_json();
        if let Ok(document) = Document::from_json(&text) {
            assert_decided(&document, &contexts, &|| text.clone());
        }
        if let Some(text) = tree.to_toml()
            && let Ok(document) = Document::from_toml(&text)
        {
            assert_decided(&document, &contexts, &|| text.clone());
        }
    }

    #[test]
    fn arbitrary_trees_are_decided_or_refused(flags in proptest::collection::vec((".{0,3}", tree()), 0..4), context in context()) {
        let text = Tree::map([("flags", Tree::Map(flags))]).to_json();
        let document = Document::from_json(&text).unwrap();
        assert_decided(&document, &[context], &|| text.clone());
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = Document::from_json(&text);
        let _ = Document::from_toml(&text);
        let _ = text.parse::<Flag>();
    }

    #[test]
    fn arbitrary_pieces_of_documents_are_read_or_refused(
        pieces in proptest::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", "[[", "]]", "\"", "'", ",", ":", "=", ".", "\n", "\r\n", "\\", "\\u00", "\u{feff}", "#", " ",
            "\"flags\"", "flags", "\"x\"", "x", "\"é\"", "é", "true", "false", "null", "0", "1_0", "0x1F", "1e9", "+inf", "nan",
            "2026-12-01", "T09:00:00Z", "09:00", "\"enabled\"", "enabled", "percentage", "\"\"\"", "'''", "\u{0}", "\u{1F600}",
        ]), 0..40),
        prefix in prop::sample::select(vec!["", "[flags]\n", "{\"flags\":{", "[flags.x]\n", "\u{feff}[flags]\n"]),
    ) {
        let text = prefix.to_owned() + &pieces.concat();
        for document in [Document::from_json(&text), Document::from_toml(&text)].into_iter().flatten() {
            assert_decided(&document, &[Context::anonymous()], &|| text.clone());
        }
        let _ = text.parse::<Flag>();
    }
}

/// A document from a seed, as far as it is taken, and who asks.
fn generated(seed: u64) -> Option<(Generator, String, Document)> {
    let mut generator = Generator::new(seed);
    let text = generator.document().to_json();
    let document = Document::from_json(&text).ok()?;
    Some((generator, text, document))
}

/// Everything that requires the flag, directly or through others, by the definitions in force.
fn dependants(set: &FlagSet, names: &BTreeSet<String>, killed: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::from([killed.to_owned()]);
    loop {
        let more: Vec<String> = names
            .iter()
            .filter(|name| !found.contains(*name))
            .filter(|name| {
                set.flag(name).is_some_and(|flag| flag.requires().any(|(required, _)| found.contains(required)))
            })
            .cloned()
            .collect();
        if more.is_empty() {
            found.remove(killed);
            return found;
        }
        found.extend(more);
    }
}

#[test]
fn a_kill_turns_off_its_flag_and_what_requires_it_and_nothing_else() {
    let (mut kills, mut turned_off, mut dependants_off) = (0, 0, 0);
    for seed in 0..300 {
        let Some((mut generator, text, document)) = generated(seed) else { continue };
        let (_, now) = generator.instant();
        let set = FlagSet::compile(&document, now);
        let context = context_of(&generator.context());
        let before = answers(&set.answer(&Query::new(&context, now)));
        let names: BTreeSet<String> = before.keys().cloned().collect();
        for (name, flag) in document.flags().take(12) {
            let mut killed = serde_json::to_value(flag).unwrap();
            killed["enabled"] = json!(false);
            let mut after = document.clone();
            after.insert(name, Flag::try_from(killed).unwrap()).unwrap();
            let after = FlagSet::compile(&after, now);
            let flags = after.answer(&Query::new(&context, now));
            assert_coherent(&flags, &|| format!("{name} killed in {text}"));
            let after = answers(&flags);
            let dependants = dependants(&set, &names, name);
            kills += 1;
            for (other, answer) in &after {
                let at = || format!("{other} after {name} was killed, for {context:?} at {now} in {text}");
                if other == name {
                    assert_eq!((answer.enabled, answer.reason), (false, Reason::Disabled), "{}", at());
                    turned_off += usize::from(before[other].enabled);
                } else if dependants.contains(other) {
                    assert!(!answer.enabled, "{}", at());
                    dependants_off += usize::from(before[other].enabled);
                } else {
                    assert_eq!(answer, &before[other], "{}", at());
                }
            }
        }
    }
    assert!(kills > 1000 && turned_off > 400 && dependants_off > 50, "{kills}, {turned_off}, {dependants_off}");
}

#[test]
fn every_kind_of_flag_can_be_killed() {
    let context = Context::user("alice").in_groups(["staff"]).with_attribute("plan", "gold");
    for (flag, enabled, kind) in [(full_flag(), "enabled", "kind"), (scheduled_flag(), "on", "type")] {
        for word in ["release", "experiment", "ops", "permission"] {
            let mut flag: Value = serde_json::from_str(&flag.to_json()).unwrap();
            flag[kind] = json!(word);
            for is_killed in [false, true] {
                flag[enabled] = json!(!is_killed);
                let document = Document::from_json(&beside_good(Tree::from(&flag)).to_json()).unwrap();
                assert_eq!(document.problems(), [], "{flag}");
                let answer = FlagSet::compile(&document, Timestamp::MAX)
                    .answer(&Query::new(&context, Timestamp::MAX))
                    .evaluation("x");
                let expected = (!is_killed, if is_killed { Reason::Disabled } else { Reason::User });
                assert_eq!((answer.enabled, answer.reason), expected, "{flag}");
            }
        }
    }
}

#[test]
fn forced_answers_come_before_everything_but_a_kill() {
    let (mut forced_on, mut dependants_changed, mut kept_off) = (0, 0, 0);
    for seed in 0..1200 {
        let Some((mut generator, text, document)) = generated(seed) else { continue };
        let (_, now) = generator.instant();
        let set = FlagSet::compile(&document, now);
        let context = context_of(&generator.context());
        let plain = set.answer(&Query::new(&context, now));
        let names: Vec<String> = plain.iter().map(|entry| entry.name.to_owned()).chain(["gone".into()]).collect();
        let forced: Vec<Forced> = (0..generator.random.below(5))
            .map(|_| {
                let flag = names[generator.random.below(names.len())].clone();
                let variant =
                    generator.random.chance(60).then(|| generator.random.pick(&["b", "control", "no_such"]).to_owned());
                let by = if generator.random.chance(50) { ForcedBy::Override } else { ForcedBy::Upstream };
                let forced = Forced::new(flag, generator.random.chance(70), by);
                match variant {
                    Some(variant) => forced.with_variant(variant),
                    None => forced,
                }
            })
            .collect();
        let shown = || format!("{context:?} at {now}, forced {forced:?} in {text}");
        let flags = set.answer(&Query::new(&context, now).forced(&forced));
        // A tester's word counts where the definition lets it.
        let counts =
            |entry: &Forced| entry.by != ForcedBy::Override || set.flag(&entry.flag).is_none_or(Flag::is_overridable);
        let forced: Vec<Forced> = forced.iter().filter(|entry| counts(entry)).cloned().collect();
        assert_forced(&set, &flags, &forced, &shown);
        assert_coherent(&flags, &shown);
        for entry in flags.iter() {
            let answer = flags.evaluation(entry.name);
            if forced.iter().any(|forced| forced.flag == entry.name) {
                forced_on += usize::from(answer.enabled && !plain.is_enabled(entry.name));
                kept_off += usize::from(answer.reason == Reason::Disabled);
            } else if is_met(&flags, entry.name) == is_met(&plain, entry.name) {
                assert_eq!(answer, plain.evaluation(entry.name), "{}: {}", entry.name, shown());
            } else {
                dependants_changed += usize::from(answer != plain.evaluation(entry.name));
            }
        }
    }
    assert!(
        forced_on > 100 && dependants_changed > 20 && kept_off > 50,
        "{forced_on}, {dependants_changed}, {kept_off}"
    );
}

/// Forced answers are as forced, where the flag can be used at all; of several the first counts.
fn assert_forced(set: &FlagSet, flags: &Answers, forced: &[Forced], shown: &dyn Fn() -> String) {
    let mut seen = BTreeSet::new();
    for entry in forced.iter().filter(|entry| seen.insert(&entry.flag)) {
        let answer = flags.evaluation(&entry.flag);
        let at = || format!("{}: {}", entry.flag, shown());
        let Some(flag) = set.flag(&entry.flag) else {
            assert!(
                !answer.enabled && answer.reason != Reason::Override && answer.reason != Reason::Upstream,
                "{}",
                at()
            );
            continue;
        };
        if !flag.is_enabled() {
            assert_eq!((answer.enabled, answer.reason), (false, Reason::Disabled), "{}", at());
            continue;
        }
        let reason = if entry.by == ForcedBy::Override { Reason::Override } else { Reason::Upstream };
        assert_eq!((answer.enabled, answer.reason), (entry.enabled, reason), "{}", at());
        let named = flag.variants().iter().find(|variant| Some(variant.name()) == entry.variant.as_deref());
        if let Some(named) = named.filter(|_| entry.enabled) {
            assert_eq!(answer.variant.as_deref(), Some(named.name()), "{}", at());
        }
    }
}

#[test]
fn forcing_a_refused_flag_turns_on_neither_it_nor_what_requires_it() {
    let text = r#"{"flags": {"broken": {"percntage": 1}, "child": {"enabled": true, "requires": ["broken"]}}}"#;
    let set = FlagSet::compile(&Document::from_json(text).unwrap(), Timestamp::MIN);
    let forced = Forced::new("broken", true, ForcedBy::Override);
    let flags = set.answer(&Query::new(&Context::anonymous(), Timestamp::MIN).forced(&[forced]));
    assert_eq!(flags.active().count(), 0, "{:?}", flags.active().collect::<Vec<_>>());
    assert_eq!(flags.evaluation("broken").reason, Reason::Problem);
    assert_eq!(flags.evaluation("child").reason, Reason::Prerequisite);
    assert_coherent(&flags, &|| text.to_owned());
}

#[test]
fn the_largest_document_is_decided() {
    let flags: Vec<(String, Tree)> = (0..10_000)
        .map(|number| {
            (
                format!("f{number:04}"),
                Tree::map([("enabled", Tree::Bool(true)), ("variants", Tree::map([("a", Tree::number(100))]))]),
            )
        })
        .collect();
    let document = Document::from_json(&Tree::map([("flags", Tree::Map(flags))]).to_json()).unwrap();
    assert_eq!(document.problems(), []);
    let flags =
        FlagSet::compile(&document, Timestamp::MIN).answer(&Query::new(&Context::user("alice"), Timestamp::MIN));
    assert_eq!(flags.active().count(), 10_000);
    assert!(flags.iter().all(|entry| entry.variant == Some("a")));
}

/// A document that is built and not read may have more flags than one that is read.
#[test]
fn more_flags_than_a_document_may_hold_are_refused_or_decided() {
    let flag: Flag = r#"{"enabled": true, "variants": {"a": 100}}"#.parse().unwrap();
    let mut document = Document::new();
    let mut taken = 0;
    for number in 0..12_000 {
        taken += usize::from(document.insert(format!("f{number}"), flag.clone()).is_ok());
    }
    let flags =
        FlagSet::compile(&document, Timestamp::MIN).answer(&Query::new(&Context::user("alice"), Timestamp::MIN));
    assert_eq!(flags.active().count(), taken);
}

#[test]
fn a_chain_of_required_flags_is_decided_from_its_end() {
    for length in [1, 31, 32, 33, 100, 2_000] {
        let flags = (0..=length).map(|at| {
            let requires = if at < length { vec![format!("{CHAIN}{}", at + 1)] } else { vec![] };
            (format!("{CHAIN}{at}"), Tree::map([("enabled", Tree::Bool(true)), ("requires", Tree::texts(requires))]))
        });
        let text = Tree::map([("flags", Tree::Map(flags.collect()))]).to_json();
        let set = FlagSet::compile(&Document::from_json(&text).unwrap(), Timestamp::MIN);
        let flags = set.answer(&Query::new(&Context::anonymous(), Timestamp::MIN));
        // Whatever is too deep takes all above it along, and nothing below.
        let on: Vec<bool> = (0..=length).map(|at| flags.is_enabled(format!("{CHAIN}{at}"))).collect();
        let expected: Vec<bool> = (0..=length).map(|at| length - at <= 32).collect();
        assert_eq!(on, expected);
        assert_coherent(&flags, &|| format!("a chain of {length}"));
    }
}
