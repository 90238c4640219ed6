//! The same answers in the way one would write it first: flag by flag, a digest by `md-5` for each
//! partial rollout and each flag with variants.

use std::collections::HashSet;

use md5::{Digest, Md5};
use tower_flags::engine;
use tower_flags_benches::workload::{Flag, Kind, RULE, User, VARIANTS};

/// Flags, ready for the loop.
pub struct Naive {
    flags: Vec<(String, Rule)>,
}

enum Rule {
    Plain(bool),
    /// In thousandths of a percent.
    Share(u32),
    Users(HashSet<String>),
    Group(&'static str),
    Variants,
    Clauses,
}

/// A bit a flag, and the position of the variant of each flag that has variants.
#[derive(Default)]
pub struct Answers {
    pub on: Vec<u64>,
    variants: Vec<u8>,
}

impl Naive {
    pub fn new(flags: &[Flag]) -> Self {
        let rule = |kind: &Kind| match kind {
            Kind::Plain(is_on) => Rule::Plain(*is_on),
            Kind::Share(percent) => Rule::Share(percent * 1_000),
            Kind::Users(users) => Rule::Users(users.iter().cloned().collect()),
            Kind::Group(group) => Rule::Group(group),
            Kind::Variants => Rule::Variants,
            Kind::Rule => Rule::Clauses,
        };
        Self { flags: flags.iter().map(|flag| (flag.name.clone(), rule(&flag.kind))).collect() }
    }

    pub fn evaluate(&self, user: &User) -> Answers {
        let mut answers = Answers { on: vec![0; self.flags.len().div_ceil(64)], variants: Vec::new() };
        for (number, (name, rule)) in self.flags.iter().enumerate() {
            let is_on = match rule {
                Rule::Plain(is_on) => *is_on,
                Rule::Share(share) => bucket(&[name, ":", &user.id]) < *share,
                Rule::Users(users) => users.contains(&user.id),
                Rule::Group(group) => user.groups.iter().any(|of| of == group),
                Rule::Variants => {
                    answers.variants.push(variant(bucket(&[name, ":variant:", &user.id])));
                    true
                }
                Rule::Clauses => user.plan == RULE.0 && RULE.1.contains(&user.country),
            };
            answers.on[number / 64] |= u64::from(is_on) << (number % 64);
        }
        answers
    }

    /// Whether every answer is the same as ours.
    pub fn agrees(&self, user: &User, ours: &engine::Answers) -> bool {
        let answers = self.evaluate(user);
        let mut variants = answers.variants.iter().map(|&variant| VARIANTS[usize::from(variant)].0);
        self.flags.iter().enumerate().all(|(number, (name, rule))| {
            let variant = matches!(rule, Rule::Variants).then(|| variants.next()).flatten();
            ours.is_enabled(name) == (answers.on[number / 64] >> (number % 64) & 1 == 1)
                && ours.variant(name) == variant
        })
    }
}

/// `(h % 100) * 1000 + (h / 100) % 1000` of the digest as a number.
fn bucket(parts: &[&str]) -> u32 {
    let mut hasher = Md5::new();
    parts.iter().for_each(|part| hasher.update(part));
    let rest = remainder(hasher);
    rest % 100 * 1_000 + rest / 100
}

/// The digest as a number modulo 100 000.
pub fn remainder(hasher: Md5) -> u32 {
    (u128::from_be_bytes(hasher.finalize().into()) % 100_000) as u32
}

/// Variants take consecutive ranges in ascending order of their names, as they stand in [`VARIANTS`].
fn variant(bucket: u32) -> u8 {
    let mut end = 0;
    let position = VARIANTS.iter().position(|(_, weight)| {
        end += weight * 1_000;
        bucket < end
    });
    position.unwrap_or_default() as u8
}
