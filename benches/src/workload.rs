//! Flags and users to measure with.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tower_flags::engine::{Answers, Query};
use tower_flags::{Context, Document, FlagSet, Timestamp};

/// How many users take turns. The context of a real request has just been made, so they are not so
/// many that each comes from memory.
pub const USERS: usize = 1_000;
/// Users that allow-lists are drawn from.
const LISTED: u64 = 200_000;
/// The groups of which every user is in about one in four.
pub const GROUPS: [&str; 6] = ["staff", "testers", "partners", "enterprise", "mobile", "early"];
const PLANS: [&str; 3] = ["free", "pro", "team"];
const COUNTRIES: [&str; 6] = ["de", "fr", "nl", "es", "it", "pl"];
const SHARES: [u32; 6] = [5, 10, 25, 50, 75, 90];
/// Variants of a flag with their weights in percent.
pub const VARIANTS: [(&str, u32); 3] = [("control", 34), ("higher", 33), ("lower", 33)];
/// The values of the two clauses of a rule: the plan is this one, the country one of these.
pub const RULE: (&str, [&str; 3]) = ("pro", ["de", "fr", "nl"]);

/// What a flag is decided by.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Switched on or off for everyone.
    Plain(bool),
    /// On for a share of the users, in percent.
    Share(u32),
    /// On for these users.
    Users(Vec<String>),
    /// On for this group.
    Group(&'static str),
    /// On for everyone, with one of [`VARIANTS`].
    Variants,
    /// On where both clauses of [`RULE`] hold.
    Rule,
}

/// A flag of the workload.
#[derive(Clone, Debug)]
pub struct Flag {
    /// Its name.
    pub name: String,
    /// What it is decided by.
    pub kind: Kind,
}

/// A caller of the workload.
#[derive(Clone, Debug)]
pub struct User {
    /// The user id.
    pub id: String,
    /// The groups.
    pub groups: Vec<String>,
    /// What rules ask for.
    pub plan: &'static str,
    /// What rules ask for.
    pub country: &'static str,
}

/// How long user ids are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// 12 bytes: with all names of the workload an input of one MD5 block.
    Short,
    /// 36 bytes, as a UUID: two blocks with names of 19 bytes or more, which are 46 % of 1 000.
    Uuid,
}

/// Which kinds of flags there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// 40 % plain, 40 % partial rollouts, 10 % allow-lists, 10 % one group.
    Usual,
    /// 30 % plain, 30 % partial rollouts, 10 % each of allow-lists, one group, variants, and rules of
    /// two clauses.
    Rich,
}

/// A number made of another one, evenly spread (the finaliser of SplitMix64).
fn mixed(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn pick<T: Copy>(from: &[T], number: u64) -> T {
    from[(mixed(number) % from.len() as u64) as usize]
}

fn name(number: usize) -> String {
    // In an order in which about 50 of the first 100 names take `HEADER_BYTES`.
    const WHERE: [&str; 8] = ["search", "invoices", "cart", "onboarding", "login", "suggestions", "pricing", "ui"];
    const WHAT: [&str; 7] = ["cache", "redesign", "flow", "v3", "fast-path", "beta", "layout"];
    let key = number as u64;
    format!("{}-{}-{number:04}", pick(&WHERE, key), pick(&WHAT, key + 1_000_003))
}

/// The id of a user.
#[must_use]
pub fn user_id(number: u64, ids: Ids) -> String {
    match ids {
        Ids::Short => format!("user-{:07}", mixed(number) % 10_000_000),
        Ids::Uuid => {
            let (high, low) = (mixed(number), mixed(number + 7_000_003));
            let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
            format!("{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
        }
    }
}

/// [`USERS`] users.
#[must_use]
pub fn users(ids: Ids) -> Vec<User> {
    (0..USERS as u64).map(|number| user(number, ids)).collect()
}

/// One user.
#[must_use]
pub fn user(number: u64, ids: Ids) -> User {
    let bits = mixed(number + 5_000_011);
    let is_in = |at: &usize| bits >> (8 * at) & 0xff < 64;
    User {
        id: user_id(number, ids),
        groups: (0..GROUPS.len()).filter(is_in).map(|at| GROUPS[at].to_owned()).collect(),
        plan: pick(&PLANS, number + 11),
        country: pick(&COUNTRIES, number + 13),
    }
}

/// Flags in the given mix, with `entries` users on each allow-list.
#[must_use]
pub fn flags(count: usize, mix: Mix, entries: usize, ids: Ids) -> Vec<Flag> {
    let kind = |number: usize| {
        let key = number as u64;
        let tenth = match (mix, number % 10) {
            (Mix::Rich, 3) => return Kind::Variants,
            (Mix::Rich, 7) => return Kind::Rule,
            (_, tenth) => tenth,
        };
        match tenth {
            0..=3 => Kind::Plain(number % 4 < 2),
            4..=7 => Kind::Share(pick(&SHARES, key + 3)),
            8 => {
                let listed = |at: usize| user_id(mixed((number * 1_009 + at) as u64) % LISTED, ids);
                Kind::Users((0..entries).map(listed).collect())
            }
            _ => Kind::Group(pick(&GROUPS, key + 17)),
        }
    };
    (0..count).map(|number| Flag { name: name(number), kind: kind(number) }).collect()
}

/// 100 flags of which about half are on for anyone: 25 are on, 25 are off, and 50 are on for 50 % of
/// the users.
#[must_use]
pub fn half_active() -> Vec<Flag> {
    let kind = |number: usize| match number % 4 {
        0 => Kind::Plain(true),
        2 => Kind::Plain(false),
        _ => Kind::Share(50),
    };
    (0..100).map(|number| Flag { name: name(number), kind: kind(number) }).collect()
}

/// [`half_active`] with two partial rollouts that testers may force, and their names.
///
/// # Panics
///
/// If a definition is rejected.
#[must_use]
pub fn for_testers() -> (Document, [String; 2]) {
    let flags = half_active();
    let mut document = parse(&flags);
    let names = [1, 3].map(|number| flags[number].name.clone());
    for name in &names {
        let flag = json!({ "percentage": 50, "overridable": true }).to_string();
        let flag: tower_flags::Flag = flag.parse().expect("a rollout is a flag");
        document.insert(name, flag).expect("this is a name");
    }
    (document, names)
}

/// These answers with every flag decided. By themselves they are decided at the first look.
pub fn decided(answers: Answers) -> Answers {
    drop(answers.iter());
    answers
}

/// Bytes of `X-Active-Flags` for the users of [`fifty_active`].
pub const HEADER_BYTES: usize = 944;

/// Users for whom exactly 50 of the flags of [`half_active`] are on, and whose names take
/// [`HEADER_BYTES`], separators included.
pub fn fifty_active() -> impl Iterator<Item = User> {
    let set = compile(&half_active());
    (0..1_000_000).map(|number| user(number, Ids::Short)).filter(move |user| {
        let flags = set.answer(&Query::new(&context(user), noon()));
        let (count, bytes) = flags.active().fold((0, 0), |(count, bytes), name| (count + 1, bytes + name.len()));
        count == 50 && bytes + count - 1 == HEADER_BYTES
    })
}

/// A million users in allow-lists, in as many flags as the limit of 1 MiB a flag takes.
///
/// # Panics
///
/// If a list is refused.
#[must_use]
pub fn a_million_users() -> Document {
    let mut document = Document::new();
    for list in 0..20 {
        let users: Vec<String> = (0..50_000).map(|user| format!("user-{:07}", list * 50_000 + user)).collect();
        let flag = definition(&Kind::Users(users)).to_string();
        let flag: tower_flags::Flag = flag.parse().expect("a list of 50 000 users is a flag");
        document.insert(format!("list_{list}"), flag).expect("this is a name");
    }
    document
}

/// Two instants between which every schedule of [`scheduled`] takes a step.
#[must_use]
pub fn around_a_step() -> [Timestamp; 2] {
    let step = noon().unix_millis();
    [step - 1, step].map(Timestamp::from_unix_millis)
}

/// 1 000 flags of the usual mix, whose 400 partial rollouts are steps of schedules.
///
/// # Panics
///
/// If one is refused.
#[must_use]
pub fn scheduled() -> Document {
    let flags = flags(1_000, Mix::Usual, 100, Ids::Short);
    let mut document = parse(&flags);
    for flag in &flags {
        if let Kind::Share(percent) = flag.kind {
            // As many digests before the step as after it.
            let steps = json!([
                { "at": "2026-11-01T12:00:00Z", "percentage": percent - 1 },
                { "at": noon(), "percentage": percent },
            ]);
            let scheduled = json!({ "schedule": steps }).to_string();
            let scheduled: tower_flags::Flag = scheduled.parse().expect("two steps are a schedule");
            document.insert(&flag.name, scheduled).expect("this is a name");
        }
    }
    document
}

/// The document of the flags, as JSON text.
#[must_use]
pub fn document(flags: &[Flag]) -> String {
    let flags: Map<String, Value> = flags.iter().map(|flag| (flag.name.clone(), definition(&flag.kind))).collect();
    json!({ "flags": flags }).to_string()
}

fn definition(kind: &Kind) -> Value {
    match kind {
        Kind::Plain(is_on) => json!(is_on),
        Kind::Share(percent) => json!({ "percentage": percent }),
        Kind::Users(users) => json!({ "allowed_users": users }),
        Kind::Group(group) => json!({ "allowed_groups": [group] }),
        Kind::Variants => {
            json!({ "enabled": true, "variants": Map::from_iter(VARIANTS.map(|(name, weight)| (name.to_owned(), json!(weight)))) })
        }
        Kind::Rule => json!({ "rules": [{ "serve": true, "when": [
            { "attribute": "plan", "op": "equals", "values": [RULE.0] },
            { "attribute": "country", "op": "one_of", "values": RULE.1 },
        ] }] }),
    }
}

/// The flags, read and compiled.
///
/// # Panics
///
/// If a document is refused or has problems: what is measured then would be something else.
#[must_use]
pub fn compile(flags: &[Flag]) -> Arc<FlagSet> {
    let set = FlagSet::compile(&parse(flags), noon());
    assert!(set.problems().is_empty() && set.len() == flags.len(), "{:?}", set.problems().first());
    set
}

/// The flags as a document.
///
/// # Panics
///
/// If it is refused.
#[must_use]
pub fn parse(flags: &[Flag]) -> Document {
    Document::from_json(&document(flags)).expect("the workload is a document")
}

/// The context of a user, for flags of the usual mix.
#[must_use]
pub fn context(user: &User) -> Context {
    Context::user(&user.id).in_groups(&user.groups)
}

/// The context of a user, with what rules ask for.
#[must_use]
pub fn context_with_attributes(user: &User) -> Context {
    context(user).with_attribute("plan", user.plan).with_attribute("country", user.country)
}

/// An instant; the workload has no schedules.
#[must_use]
pub fn noon() -> Timestamp {
    "2026-12-01T12:00:00Z".parse().expect("this is an instant")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schedule_takes_its_step_between_the_two_instants() {
        let [before, after] = around_a_step();
        let document = scheduled();
        let set = |now| FlagSet::compile(&document, now);
        assert!(set(before).problems().is_empty() && set(before).len() == 1_000);
        assert_eq!((set(before).next_change(), set(after).next_change()), (Some(after), None));
        let changed = document.flags().filter(|(_, flag)| flag.percentage_at(before) != flag.percentage_at(after));
        assert_eq!(changed.count(), 400);
    }

    #[test]
    fn ids_have_their_lengths_and_names_fit_into_one_block_with_short_ones() {
        assert_eq!(user_id(3, Ids::Short).len(), 12);
        assert_eq!(user_id(3, Ids::Uuid).len(), 36);
        assert!((0..10_000).all(|number| name(number).len() + 1 + 12 <= 55));
    }

    #[test]
    fn the_mixes_are_what_they_say() {
        let count =
            |mix, is: fn(&Kind) -> bool| flags(100, mix, 100, Ids::Short).iter().filter(|flag| is(&flag.kind)).count();
        assert_eq!(count(Mix::Usual, |kind| matches!(kind, Kind::Plain(_))), 40);
        assert_eq!(count(Mix::Usual, |kind| matches!(kind, Kind::Share(_))), 40);
        assert_eq!(count(Mix::Usual, |kind| matches!(kind, Kind::Users(users) if users.len() == 100)), 10);
        assert_eq!(count(Mix::Usual, |kind| matches!(kind, Kind::Group(_))), 10);
        assert_eq!(count(Mix::Rich, |kind| matches!(kind, Kind::Variants)), 10);
        assert_eq!(count(Mix::Rich, |kind| matches!(kind, Kind::Rule)), 10);
        assert_eq!(count(Mix::Rich, |kind| matches!(kind, Kind::Share(_))), 30);
    }
}
