//! What is in force after an update: good flags are kept, kills are taken, and only so much goes missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use tower_flags::engine::{Query, Reason};
use tower_flags::source::Source;
use tower_flags::{Context, Document, Flag, FlagSet, Memory, Timestamp};
use tower_flags_properties::{Generator, assert_coherent};

const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

/// What an update says of one flag.
#[derive(Clone, Debug)]
enum Says {
    Good(String),
    Refused,
    RefusedAndKilled,
}

impl Says {
    fn text(&self) -> &str {
        match self {
            Self::Good(text) => text,
            Self::Refused => r#"{"enabled": true, "percentage": 101}"#,
            Self::RefusedAndKilled => r#"{"enabled": false, "percentge": 5}"#,
        }
    }
}

fn says() -> impl Strategy<Value = Says> {
    prop_oneof![
        4 => (any::<bool>(), 0..=100_u32).prop_map(|(enabled, percentage)| {
            Says::Good(format!("{{\"enabled\": {enabled}, \"percentage\": {percentage}}}"))
        }),
        1 => Just(Says::Good("true".into())),
        1 => Just(Says::Good("false".into())),
        2 => Just(Says::Refused),
        2 => Just(Says::RefusedAndKilled),
    ]
}

type Update = BTreeMap<&'static str, Says>;

fn update() -> impl Strategy<Value = (Update, bool)> {
    let flags = prop_oneof![
        4 => proptest::collection::btree_map(prop::sample::select(&NAMES[..]), says(), 6..=12),
        2 => proptest::collection::btree_map(prop::sample::select(&NAMES[..]), says(), 0..6),
    ];
    (flags, prop::bool::weighted(0.2))
}

fn document(flags: &Update) -> Document {
    let flags: Vec<String> = flags.iter().map(|(name, says)| format!("\"{name}\": {}", says.text())).collect();
    Document::from_json(&format!("{{\"flags\": {{{}}}}}", flags.join(", "))).unwrap()
}

/// What should be in force of one flag: its definition, or why there is none.
#[derive(Clone, Debug, PartialEq)]
enum InForce {
    Good(Box<Flag>),
    Refused { is_killed: bool },
}

fn off_but_else_the_same(flag: &Flag) -> Flag {
    let mut written = serde_json::to_value(flag).unwrap();
    written["enabled"] = json!(false);
    Flag::try_from(written).unwrap()
}

/// The rules of DESIGN.md, section 3, in their plainest form.
fn model(before: &BTreeMap<String, InForce>, update: &Update, allow_shrink: bool) -> (BTreeMap<String, InForce>, bool) {
    let mut after = BTreeMap::new();
    for (name, says) in update {
        let in_force = match (says, before.get(*name)) {
            (Says::Good(text), _) => InForce::Good(Box::new(text.parse().unwrap())),
            (Says::Refused, Some(InForce::Good(flag))) => InForce::Good(flag.clone()),
            (Says::RefusedAndKilled, Some(InForce::Good(flag))) => InForce::Good(Box::new(off_but_else_the_same(flag))),
            (says, _) => InForce::Refused { is_killed: matches!(says, Says::RefusedAndKilled) },
        };
        after.insert((*name).to_owned(), in_force);
    }
    let missing: Vec<&String> = before.keys().filter(|name| !update.contains_key(name.as_str())).collect();
    let is_shrunken = missing.len() > before.len() - missing.len() && !allow_shrink;
    if is_shrunken {
        for name in missing {
            after.insert(name.clone(), before[name].clone());
        }
    }
    (after, is_shrunken)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_of_updates_leaves_in_force_what_the_rules_say(
        updates in proptest::collection::vec(update(), 1..8),
    ) {
        let (mut in_force, mut expected) = (Document::new(), BTreeMap::new());
        for (update, allow_shrink) in &updates {
            let read = document(update);
            let problems = read.problems().len();
            in_force = read.after(&in_force, *allow_shrink);
            let (model, is_shrunken) = model(&expected, update, *allow_shrink);
            expected = model;
            // One problem says that flags are missing, beside those of the text.
            prop_assert_eq!(in_force.problems().len(), problems + usize::from(is_shrunken));

            let set = FlagSet::compile(&in_force, Timestamp::MIN);
            prop_assert_eq!(set.len(), expected.len());
            let flags = set.answer(&Query::new(&Context::user("alice"), Timestamp::MIN));
            assert_coherent(&flags, &|| format!("{updates:?}"));
            for name in NAMES {
                let answer = flags.evaluation(name);
                match expected.get(name) {
                    Some(InForce::Good(flag)) => {
                        prop_assert_eq!(in_force.flag(name), Some(flag.as_ref()), "{}", name);
                        prop_assert_eq!(answer.reason == Reason::Disabled, !flag.is_enabled(), "{}", name);
                    }
                    Some(InForce::Refused { is_killed }) => {
                        prop_assert_eq!(in_force.flag(name), None, "{}", name);
                        let reason = if *is_killed { Reason::Disabled } else { Reason::Problem };
                        prop_assert_eq!((answer.enabled, answer.reason), (false, reason), "{}", name);
                    }
                    None => {
                        prop_assert_eq!(in_force.flag(name), None, "{}", name);
                        prop_assert_eq!(answer.reason, Reason::Unknown, "{}", name);
                    }
                }
            }
        }
    }

    #[test]
    fn a_kill_is_in_force_after_every_update_that_says_it(
        before in update(),
        (after, allow_shrink) in update(),
    ) {
        let before = document(&before.0);
        let in_force = document(&after).after(&before, allow_shrink);
        let flags = FlagSet::compile(&in_force, Timestamp::MIN).answer(&Query::new(&Context::user("alice"), Timestamp::MIN));
        for (name, says) in &after {
            let says: Option<Value> = serde_json::from_str(says.text()).ok();
            let enabled = says.map(|says| says.get("enabled").cloned().unwrap_or(says));
            if enabled == Some(json!(false)) {
                prop_assert!(!flags.is_enabled(name));
                prop_assert_eq!(flags.evaluation(name).reason, Reason::Disabled);
            }
        }
    }

    #[test]
    fn an_update_that_is_good_and_whole_is_in_force_as_it_stands(seed in any::<u64>(), before in update()) {
        let before = document(&before.0);
        let mut generator = Generator::new(seed);
        let names: Vec<String> = before.flags().map(|(name, _)| name.to_owned()).collect();
        let mut update = before.clone();
        for name in &names {
            if let Ok(flag) = generator.flag(name, &[]).to_json().parse::<Flag>() {
                update.insert(name, flag).unwrap();
            }
        }
        prop_assert_eq!(&update.clone().after(&before, false), &update);
        prop_assert_eq!(&update.clone().after(&before, true), &update);
        prop_assert_eq!(&update.clone().after(&update, false), &update);
    }
}

fn names_of(document: &Document) -> String {
    document.flags().map(|(name, _)| name).collect()
}

#[test]
fn half_of_the_flags_may_go_and_one_more_may_not() {
    let with =
        |names: &[&'static str]| document(&names.iter().map(|name| (*name, Says::Good("true".into()))).collect());
    for count in 1..=NAMES.len() {
        let before = with(&NAMES[..count]);
        for kept in 0..=count {
            let after = with(&NAMES[..kept]).after(&before, false);
            let is_applied = (count - kept) * 2 <= count;
            let expected = if is_applied { kept } else { count };
            assert_eq!(after.flags().count(), expected, "{kept} of {count} are left");
            assert_eq!(after.problems().len(), usize::from(!is_applied), "{kept} of {count} are left");
            assert_eq!(with(&NAMES[..kept]).after(&before, true).flags().count(), kept);
        }
    }
}

#[test]
fn an_empty_update_removes_nothing_unless_it_may_shrink() {
    let before = document(&NAMES.map(|name| (name, Says::Good("true".into()))).into());
    let empty = || Document::from_json(r#"{"flags": {}}"#).unwrap();
    assert_eq!(names_of(&empty().after(&before, false)), NAMES.concat());
    assert_eq!(names_of(&empty().after(&before, true)), "");
    assert_eq!(names_of(&empty().after(&empty(), false)), "");
}

#[test]
fn allow_shrink_lets_removals_through_and_nothing_else() {
    let before = document(&[("a", Says::Good(r#"{"percentage": 7}"#.into())), ("b", Says::Good("true".into()))].into());
    let update = || document(&[("a", Says::Refused)].into());
    for allow_shrink in [false, true] {
        let after = update().after(&before, allow_shrink);
        assert_eq!(after.flag("a"), before.flag("a"), "a refused flag keeps its last good definition");
        assert_eq!(after.flag("b"), None, "one of two is not more than half");
    }
}

#[test]
fn a_kill_inside_a_shrunken_update_is_taken() {
    let before = document(&NAMES.map(|name| (name, Says::Good(r#"{"percentage": 7}"#.into()))).into());
    let update = document(&[("a", Says::RefusedAndKilled), ("b", Says::Good("false".into()))].into());
    let after = update.after(&before, false);
    assert_eq!(names_of(&after), NAMES.concat());
    assert_eq!(after.flag("a"), Some(&off_but_else_the_same(before.flag("a").unwrap())));
    assert_eq!(after.flag("b"), Some(&Flag::off()));
    assert_eq!(after.flag("c"), before.flag("c"));
}

#[test]
fn a_kill_that_is_kept_stays_when_the_flag_is_refused_again() {
    let one = |says| document(&[("a", says)].into());
    let good = one(Says::Good(r#"{"percentage": 7}"#.into()));
    let killed = one(Says::RefusedAndKilled).after(&good, false);
    let later = one(Says::Refused).after(&killed, false);
    assert!(!later.flag("a").unwrap().is_enabled());
    let restored = one(Says::Good(r#"{"percentage": 7}"#.into())).after(&later, false);
    assert_eq!(restored.flag("a"), good.flag("a"));
}

/// Flags that stay because too many are missing count against the limit of a set, too.
#[test]
fn renaming_all_flags_again_and_again_does_not_outgrow_a_set() {
    let mut in_force = Document::new();
    for round in 0..3 {
        let flags: Vec<String> = (0..10_000)
            .map(|number| format!("\"r{round}-{number}\": {{\"enabled\": true, \"variants\": {{\"a\": 100}}}}"))
            .collect();
        let update = Document::from_json(&format!("{{\"flags\": {{{}}}}}", flags.join(", "))).unwrap();
        in_force = update.after(&in_force, false);
        let flags =
            FlagSet::compile(&in_force, Timestamp::MIN).answer(&Query::new(&Context::user("alice"), Timestamp::MIN));
        assert!(flags.is_enabled("r0-0"));
        assert!(flags.iter().count() <= 10_000, "{} flags in round {round}", flags.iter().count());
    }
}

/// Parsing is what a change of one flag among thousands must not pay again.
#[test]
fn a_change_of_one_flag_leaves_the_other_definitions_where_they_are() {
    fn set(memory: &Memory) -> Arc<FlagSet> {
        {
            let flags = memory.answer(&Query::new(&Context::anonymous(), Timestamp::MIN));
            Arc::clone(flags.flag_set())
        }
    }
    let memory = Memory::from(document(&NAMES.map(|name| (name, Says::Good(r#"{"percentage": 7}"#.into()))).into()));
    let before = set(&memory);
    memory.set("a", false).unwrap();
    assert!(memory.remove("b"));
    let after = set(&memory);
    assert_eq!(after.version(), before.version() + 2);
    assert!(!std::ptr::eq(before.flag("a").unwrap(), after.flag("a").unwrap()));
    for name in &NAMES[2..] {
        assert!(std::ptr::eq(before.flag(name).unwrap(), after.flag(name).unwrap()), "{name} was made again");
    }
}
