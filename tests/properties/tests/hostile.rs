//! However expensive the patterns of a document are, they cost their own flags: all others are decided, a kill takes effect,
//! and what is too expensive is found by its own name.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write as _;

use proptest::prelude::*;
use tower_flags::engine::Query;
use tower_flags::{Context, Document, FlagSet, Memory, Source, Timestamp};
use tower_flags_properties::Random;

/// What a pattern is made of, from cheap to as expensive as its length allows.
const ATOMS: [&str; 14] = [
    "a",
    "é",
    ".",
    r"\w",
    r"\W",
    r"\PC",
    r"\p{L}",
    r"[\w--\d]",
    "[^a-z]",
    "ſk",
    r"\b",
    "(?i)straße",
    "(?:a|b|cd)",
    "x*",
];
const REPEATS: [&str; 9] = ["", "?", "*", "+", "{5}", "{2,99}", "{250}", "{0,1000}", "{20}"];

fn pattern(random: &mut Random, depth: usize) -> String {
    let mut text = String::new();
    let most = if random.chance(10) { 60 } else { 4 };
    for _ in 0..=random.below(most) {
        let atom = match depth {
            0 => random.pick(&ATOMS).to_owned(),
            _ if random.chance(40) => format!("(?:{})", pattern(random, depth - 1)),
            _ => random.pick(&ATOMS).to_owned(),
        };
        text.push_str(&atom);
        text.push_str(random.pick(&REPEATS));
    }
    text
}

/// A flag of some rules, each with some conditions, each with some patterns.
fn flag(random: &mut Random) -> String {
    let rules = 1 + random.below(3);
    let rules: Vec<String> = (0..rules)
        .map(|_| {
            let conditions: Vec<String> = (0..1 + random.below(3))
                .map(|_| {
                    let most = if random.chance(20) { 70 } else { 6 };
                    let count = 1 + random.below(most);
                    let depth = random.below(4);
                    let patterns: Vec<String> =
                        (0..count).map(|_| serde_json::to_string(&pattern(random, depth)).unwrap()).collect();
                    format!(r#"{{"attribute": "user_id", "op": "matches", "values": [{}]}}"#, patterns.join(", "))
                })
                .collect();
            format!(r#"{{"when": [{}], "serve": true}}"#, conditions.join(", "))
        })
        .collect();
    format!(r#"{{"rules": [{}]}}"#, rules.join(", "))
}

fn document(hostile: &[String], killed: bool) -> Document {
    let mut text =
        format!(r#"{{"flags": {{"good": {{"enabled": {}}}, "zgood": {{"allowed_users": ["alice"]}}"#, !killed);
    for (number, flag) in hostile.iter().enumerate() {
        write!(text, ",\n\"h{number:03}\": {flag}").unwrap();
    }
    text.push_str("}}");
    Document::from_json(&text).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_patterns_cost_no_other_flag(seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let count = 1 + random.below(40);
        let hostile: Vec<String> = (0..count).map(|_| flag(&mut random)).collect();
        let alice = Context::user("alice");
        let memory = Memory::new();
        for (is_killed, is_on) in [(false, true), (true, false), (false, true)] {
            memory.replace(document(&hostile, is_killed));
            let answers = memory.answer(&Query::new(&alice, Timestamp::MIN));
            prop_assert_eq!((answers.is_enabled("good"), answers.is_enabled("zgood")), (is_on, true));
        }
        let set = FlagSet::compile(&document(&hostile, false), Timestamp::MIN);
        for problem in set.problems() {
            let flag = problem.flag.as_deref().unwrap_or_default();
            prop_assert!(flag.starts_with('h'), "{}", problem);
        }
        // What was compiled afresh is what was compiled after another set.
        let after = memory.answer(&Query::new(&alice, Timestamp::MIN));
        let fresh = set.answer(&Query::new(&alice, Timestamp::MIN));
        for number in 0..count {
            let name = format!("h{number:03}");
            prop_assert_eq!(after.is_enabled(&name), fresh.is_enabled(&name), "{}", name);
        }
    }
}
