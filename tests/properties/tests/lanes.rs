//! Rollouts and variants of whole sets against digests taken one by one: whatever is hashed side by side,
//! of whatever length, is decided as the formulas of DESIGN section 5 say.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write;

use md5::{Digest, Md5};
use serde_json::{Value, json};
use tower_flags::engine::Query;
use tower_flags::{Context, Document, FlagSet, Timestamp};

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % end as u64) as usize
    }

    fn text(&mut self, len: usize) -> String {
        (0..len).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }
}

fn digest(text: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(text).into())
}

/// The bucket of the schemes that use the whole digest.
fn fine(h: u128) -> u64 {
    ((h % 100) * 1000 + (h / 100) % 1000) as u64
}

/// Whether a rollout of so many thousandths takes the value in.
fn takes_in(scheme: &str, salt: &str, value: &str, share: u64) -> bool {
    let top = |h: u128| ((h >> 96) as u64) * 100_000 < share * 0xFFFF_FFFF;
    match scheme {
        "flag:user" => fine(digest(&format!("{salt}:{value}"))) < share,
        "user-flag" => fine(digest(&format!("{value}-{salt}"))) < share,
        "flag:user/32" => top(digest(&format!("{salt}:{value}"))),
        "user/32" => top(digest(value)),
        _ => unreachable!("{scheme}"),
    }
}

const SCHEMES: [&str; 4] = ["flag:user", "user-flag", "flag:user/32", "user/32"];

/// In ascending order of names, which is the order of their ranges.
const WEIGHTS: [(&str, u64); 3] = [("a", 33_334), ("b", 1), ("c", 66_665)];

struct Wanted {
    name: String,
    scheme: Option<&'static str>,
    salt: String,
    share: u64,
    by_organisation: bool,
}

/// Flags with these salts: a partial rollout of each scheme, and one with variants. The first caller is
/// at the very edge of most of them.
fn flags(salts: &[String], first: &str, by_organisation: bool) -> Vec<Wanted> {
    let mut flags = Vec::new();
    for (at, salt) in salts.iter().enumerate() {
        for scheme in SCHEMES {
            let bucket = match scheme {
                "flag:user" => fine(digest(&format!("{salt}:{first}"))),
                "user-flag" => fine(digest(&format!("{first}-{salt}"))),
                "flag:user/32" => (digest(&format!("{salt}:{first}")) >> 96) as u64 * 100_000 / 0xFFFF_FFFF,
                _ => (digest(first) >> 96) as u64 * 100_000 / 0xFFFF_FFFF,
            };
            let share = (bucket + at as u64 % 3).clamp(1, 99_999);
            let name = format!("{}-{at}", scheme.replace([':', '/'], "_"));
            flags.push(Wanted { name, scheme: Some(scheme), salt: salt.clone(), share, by_organisation });
        }
        let name = format!("variants-{at}");
        flags.push(Wanted { name, scheme: None, salt: salt.clone(), share: 100_000, by_organisation });
    }
    flags
}

fn percent(thousandths: u64) -> String {
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

fn compile(flags: &[Wanted]) -> std::sync::Arc<FlagSet> {
    let mut text = String::from(r#"{"flags": {"#);
    for (at, flag) in flags.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let salt = &flag.salt;
        write!(text, r#"{comma}"{}": {{"enabled": true, "salt": "{salt}""#, flag.name).unwrap();
        match flag.scheme {
            Some(scheme) => {
                write!(text, r#", "bucketing": "{scheme}", "percentage": {}"#, percent(flag.share)).unwrap();
            }
            None => {
                let [(a, x), (b, y), (c, z)] = WEIGHTS.map(|(name, weight)| (name, percent(weight)));
                write!(text, r#", "variants": {{"{a}": {x}, "{b}": {y}, "{c}": {z}}}"#).unwrap();
            }
        }
        if flag.by_organisation {
            text.push_str(r#", "bucket_by": "organisation""#);
        }
        text.push('}');
    }
    text.push_str("}}");
    let document = Document::from_json(&text).unwrap();
    assert_eq!(document.problems(), [], "{text}");
    let set = FlagSet::compile(&document, Timestamp::MIN);
    assert_eq!((set.problems(), set.len()), (&[][..], flags.len()));
    set
}

/// Asserts each answer of the set for a caller; `value` is what is hashed for them.
fn assert_decided(set: &std::sync::Arc<FlagSet>, flags: &[Wanted], context: &Context, value: &str) {
    let answers = set.answer(&Query::new(context, Timestamp::MIN));
    for flag in flags {
        let about =
            || format!("{} salt {:?} ({}), value {value:?} ({})", flag.name, flag.salt, flag.salt.len(), value.len());
        match flag.scheme {
            Some(scheme) => {
                let expected = takes_in(scheme, &flag.salt, value, flag.share);
                assert_eq!(answers.is_enabled(&flag.name), expected, "{}", about());
            }
            None => {
                let mut rest = fine(digest(&format!("{}:variant:{value}", flag.salt)));
                let ranges = WEIGHTS.iter().find(|(_, weight)| match rest.checked_sub(*weight) {
                    Some(beyond) => {
                        rest = beyond;
                        false
                    }
                    None => true,
                });
                assert_eq!(answers.variant(&flag.name), ranges.map(|(name, _)| *name), "{}", about());
            }
        }
    }
}

/// Lengths of values at which inputs with this salt need one block, two, and more.
fn lengths_at_the_edges(salt: usize) -> impl Iterator<Item = usize> {
    // A block takes 55 bytes beside the end marker and the length, two take 119; one byte separates, and
    // nine more stand between salt and value where a variant is chosen.
    let edges = [1, 10].into_iter().flat_map(move |between| {
        [55, 56, 64, 119, 120, 128].into_iter().filter_map(move |edge: usize| edge.checked_sub(salt + between))
    });
    edges.chain([1, 2, 3, 4, 13, 36, 256, 300]).filter(|&len| len > 0)
}

#[test]
fn sets_of_salts_of_one_length_are_decided_as_digests_one_by_one_say() {
    let mut numbers = Numbers(1);
    for salt in 0..=300 {
        // Sixteen lanes, eight and what is left over, in turns.
        let count = [17, 3, 25, 16, 8][salt % 5];
        let salts: Vec<String> = (0..count).map(|_| numbers.text(salt)).collect();
        let users: Vec<String> = lengths_at_the_edges(salt).map(|len| numbers.text(len)).collect();
        let flags = flags(&salts, &users[salt % users.len()], false);
        let set = compile(&flags);
        for user in &users {
            assert_decided(&set, &flags, &Context::user(user), user);
        }
    }
}

#[test]
fn sets_of_salts_of_all_lengths_are_decided_as_digests_one_by_one_say() {
    let mut numbers = Numbers(2);
    for round in 0..120 {
        // Most inputs in lanes, some beyond them.
        let longest = [12, 40, 60, 110, 300][round % 5];
        let salts: Vec<String> = (0..=numbers.below(50))
            .map(|_| {
                let len = numbers.below(longest + 1);
                numbers.text(len)
            })
            .collect();
        let users: Vec<String> = [1, 12, 36, 60, 100, 256]
            .map(|longest| {
                let len = 1 + numbers.below(longest);
                numbers.text(len)
            })
            .into();
        let flags = flags(&salts, &users[round % users.len()], false);
        let set = compile(&flags);
        for user in &users {
            assert_decided(&set, &flags, &Context::user(user), user);
        }
    }
}

#[test]
fn attributes_are_hashed_as_they_are_and_integers_in_decimal() {
    let mut numbers = Numbers(3);
    let values: [(Value, &str); 6] = [
        (json!(i64::MIN), "-9223372036854775808"),
        (json!(u64::MAX), "18446744073709551615"),
        (json!(0), "0"),
        (json!(-1), "-1"),
        (json!("acme, inc."), "acme, inc."),
        (json!("naïve 名前"), "naïve 名前"),
    ];
    for (value, text) in values {
        let salts: Vec<String> = (0..20).map(|len| numbers.text(len * 5)).collect();
        let flags = flags(&salts, text, true);
        let context = Context::user("alice").with_attribute("organisation", value);
        assert_decided(&compile(&flags), &flags, &context, text);
    }
}
