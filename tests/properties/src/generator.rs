//! Documents and callers, generated: mostly sound, a part of them slightly broken.

use serde_json::{Map, Value, json};
use tower_flags::document::Scheme;
use tower_flags::{Context, Timestamp};

use crate::{Random, Tree};

const NAMES: [&str; 10] = ["a", "B", "c.d", "dark_mode", "e-1", "F", "new_search", "x", "0", "pricing.page_v2"];
const BAD_NAMES: [&str; 6] = ["", "new search", "-x", "名前", "a\n", "ünal"];
const USERS: [&str; 9] = ["alice", "bob", "carol", "user-1", "user-2", "user-3", "0", "ünal", "a:b"];
const GROUPS: [&str; 4] = ["staff", "beta", "größe", "a,b"];
const VARIANTS: [&str; 5] = ["control", "b", "higher", "Z", "v1.2"];
const ATTRIBUTES: [&str; 9] = ["email", "plan", "age", "version", "seen", "tags", "beta", "", "größe"];
const SCHEMES: [(&str, Scheme); 4] = [
    ("flag:user", Scheme::FlagUser),
    ("user-flag", Scheme::UserFlag),
    ("flag:user/32", Scheme::FlagUser32),
    ("user/32", Scheme::User32),
];
const TEXTS: [&str; 10] =
    ["", "a", "alice@example.com", "gold", "GOLD", "1.2.3", "straße", "2026-12-01T09:00:00Z", "a\"b\\c\n", "true"];
const PATTERNS: [&str; 9] =
    ["^a", "@example\\.com$", "^[a-z]+$", "gold|silver", "^$", "(?i)GOLD", "[0-9]{2,4}-[0-9]{2}", "^(a|b)+c?$", "ß"];
const VERSIONS: [&str; 9] =
    ["0.0.0", "1.2.3", "1.2.3-alpha", "1.2.3-alpha.1", "1.2.3-2", "1.2.3-10", "1.2.3+build", "1.10.0", "10.0.0-rc.1+x"];
/// Those that a rule can hold, some of them neighbours that a 64-bit float does not tell apart.
const NUMBERS: [&str; 18] = [
    "0",
    "-0",
    "1",
    "-1",
    "18",
    "18.0",
    "1.8e1",
    "0.1",
    "-2.5",
    "9007199254740992",
    "9007199254740993",
    "9007199254740992.0",
    "18446744073709551614",
    "18446744073709551615",
    "-9223372036854775808",
    "17.999",
    "1E-7",
    "42",
];
/// Those that none can.
const LOST_NUMBERS: [&str; 8] = [
    "1e300",
    "-1e300",
    "1e20",
    "18446744073709551616",
    "-9223372036854775809",
    "9007199254740993.0",
    "1.2345678901234568e18",
    "0.10000000000000000555",
];
/// Ascending, some of them the same instant in other words.
const INSTANTS: [&str; 9] = [
    "1970-01-01T00:00:00Z",
    "2026-11-30T23:59:59.999999999Z",
    "2026-12-01T01:00:00+01:00",
    "2026-12-01T00:00:00.5Z",
    "2026-12-01T09:00:00Z",
    "2026-12-04t04:00:00-05:00",
    "2028-02-29T12:00:00z",
    "2029-01-01T00:00:00-00:00",
    "9999-12-31T23:59:59Z",
];

/// Instants at, between and beyond those that schedules name.
pub fn instants() -> Vec<&'static str> {
    let between =
        ["0000-01-01T00:00:00Z", "2026-12-01T08:59:59.999Z", "2026-12-03T00:00:00Z", "2026-12-04T09:00:00.001Z"];
    INSTANTS.into_iter().chain(between).collect()
}

/// The names of a long chain: of its flags, each requires the next.
pub const CHAIN: &str = "chain-";

/// Makes documents and contexts; what it makes follows from its seed.
#[derive(Debug)]
pub struct Generator {
    pub random: Random,
    /// In so many of 100 places something is wrong.
    broken: usize,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), broken: 0 }
    }

    /// A document; two of five are slightly broken.
    pub fn document(&mut self) -> Tree {
        self.broken = *self.random.pick(&[&0, &0, &0, &2, &8]);
        let flags = if self.random.chance(3) { self.chain() } else { self.flags() };
        let mut members = vec![("flags".to_owned(), Tree::Map(flags))];
        if self.random.chance(5) {
            members.insert(self.random.below(2), ("$schema".into(), Tree::text("https://example.com/flags.json")));
        }
        if self.is_broken() && self.random.chance(20) {
            members.push(("version".into(), Tree::number(1)));
        }
        Tree::Map(members)
    }

    fn flags(&mut self) -> Vec<(String, Tree)> {
        let mut names = self.random.some(&NAMES, 60);
        self.random.shuffle(&mut names);
        let mut flags = Vec::new();
        for at in 0..names.len() {
            // Mostly downwards, so that there are few cycles.
            let others: &[&str] = if self.is_broken() { &NAMES } else { &names[..at] };
            flags.push((names[at].to_owned(), self.flag(names[at], others)));
        }
        if self.is_broken() {
            let flag = self.flag("x", &names);
            // A null there is tested by itself, as is one beside another definition of the same name.
            if flag != Tree::Null {
                flags.push((self.random.pick(&BAD_NAMES).to_owned(), flag));
            }
        }
        if self.is_broken() && !names.is_empty() {
            let again = self.random.pick(&names);
            if let flag @ (Tree::Bool(_) | Tree::Map(_)) = self.flag(again, &names)
                && flags.iter().all(|(name, first)| name != again || *first != Tree::Null)
            {
                flags.push((again.to_owned(), flag));
            }
        }
        self.random.shuffle(&mut flags);
        flags
    }

    /// Around the limit of 32, and well above it, with a branch here and there.
    fn chain(&mut self) -> Vec<(String, Tree)> {
        let length = 28 + self.random.below(80);
        let ring = self.random.chance(20);
        let mut flags: Vec<(String, Tree)> = (0..length)
            .map(|at| {
                let mut requires = vec![format!("{CHAIN}{}", at + 1)];
                if self.random.chance(10) {
                    requires.push(format!("{CHAIN}{}", at + 1 + self.random.below(length - at)));
                }
                if ring && at == length / 2 {
                    requires.push(format!("{CHAIN}{}", self.random.below(length / 2)));
                }
                if self.is_broken() {
                    requires.push("gone".into());
                }
                let enabled = !self.random.chance(1);
                let flag = [("enabled", Tree::Bool(enabled)), ("requires", Tree::texts(requires))];
                (format!("{CHAIN}{at}"), Tree::map(flag))
            })
            .collect();
        flags.push((format!("{CHAIN}{length}"), Tree::Bool(true)));
        self.random.shuffle(&mut flags);
        flags
    }

    /// One flag, which may require `others`.
    pub fn flag(&mut self, name: &str, others: &[&str]) -> Tree {
        if self.is_broken() && self.random.chance(30) {
            return self.anything();
        }
        if self.random.chance(8) {
            return Tree::Bool(self.random.chance(80));
        }
        if self.random.chance(2) {
            return Tree::Null;
        }
        let mut members: Vec<(&str, Tree)> = Vec::new();
        let names_someone = self.random.chance(55);
        if !names_someone || self.random.chance(80) || self.is_broken() {
            members.push((self.random.pick(&["enabled", "enabled", "on"]), Tree::Bool(!self.random.chance(10))));
        }
        let (spelling, scheme) = SCHEMES[self.random.below(4)];
        let has_scheme = self.random.chance(60);
        let scheme = if has_scheme { scheme } else { Scheme::FlagUser };
        if has_scheme {
            members.push(("bucketing", Tree::text(spelling)));
        }
        let salt = self.random.chance(20).then(|| self.random.pick(&["", "old_name", "x:y"]));
        if let Some(salt) = salt {
            members.push(("salt", Tree::text(salt)));
        }
        let salt = salt.unwrap_or(name);
        if names_someone {
            match self.random.below(4) {
                0 => {
                    let users = self.random.some(&USERS, 20);
                    members
                        .push((self.random.pick(&["allowed_users", "users", "enabled_for_users"]), Tree::texts(users)));
                }
                1 => members.push(("allowed_groups", Tree::texts(self.random.some(&GROUPS, 30)))),
                _ => {}
            }
            if self.random.chance(60) {
                let percentage = self.percentage(scheme, salt);
                members.push((self.random.pick(&["percentage", "rollout_percentage"]), percentage));
            } else {
                members.push(("schedule", self.schedule(scheme, salt)));
                if self.random.chance(30) {
                    members.push(("paused_at", Tree::text(self.random.pick(&INSTANTS))));
                }
            }
        }
        let variants = if self.random.chance(35) { self.variants() } else { Vec::new() };
        if self.random.chance(35) {
            let rules = (0..self.random.below(4)).map(|_| self.rule(&variants, scheme, salt)).collect();
            members.push(("rules", Tree::List(rules)));
        }
        if !variants.is_empty() {
            let variants = variants.into_iter().map(|(name, weight)| {
                let weight = self.digits(weight);
                let weight = match self.random.below(3) {
                    0 => Tree::map([("weight", weight), ("value", self.anything())]),
                    1 => Tree::map([("value", Tree::Null), ("weight", weight)]),
                    _ => weight,
                };
                (name, weight)
            });
            members.push(("variants", Tree::map(variants.collect::<Vec<_>>())));
        }
        if self.random.chance(30) && !others.is_empty() {
            let count = 1 + self.random.below(2);
            let requires = (0..count).map(|_| self.requirement(others)).collect();
            members.push(("requires", Tree::List(requires)));
        }
        if self.random.chance(15) {
            members.push(("bucket_by", Tree::text(self.random.pick(&["org", "org", "age", ""]))));
        }
        self.bookkeeping(name, &mut members);
        if self.is_broken() {
            let key =
                self.random.pick(&["enable", "on", "users", "percentage", "rules", "kind", "paused_at", "Enabled"]);
            members.push((key, self.anything()));
        }
        self.random.shuffle(&mut members);
        let mut flag = Tree::map(members);
        if self.is_broken() {
            let place = 1 + self.random.below(flag.size());
            flag.replace(place, self.anything());
        }
        flag
    }

    fn bookkeeping(&mut self, name: &str, members: &mut Vec<(&str, Tree)>) {
        let parts: [(&'static str, Tree); 15] = [
            ("overridable", Tree::Bool(true)),
            ("hidden", Tree::Bool(true)),
            ("kind", Tree::text(self.random.pick(&["release", "experiment", "ops", "permission"]))),
            ("owner", Tree::text("payments")),
            ("jira_ticket", Tree::text("PAY-12")),
            ("description", Tree::text("One-page checkout \u{1F600}")),
            ("tags", Tree::texts(["checkout", ""])),
            ("created_at", Tree::text("2026-11-20")),
            ("expires_at", Tree::text(self.random.pick(&["2027-03-01", "2028-02-29", "2027-02-29", "2027-3-1"]))),
            ("metadata", Tree::map([("x", self.anything())])),
            ("name", Tree::text(name)),
            ("rollout_stages", self.anything()),
            ("rolled_back_at", Tree::Null),
            ("current_stage", Tree::number(2)),
            ("ticket", Tree::Null),
        ];
        for (key, value) in parts {
            if self.random.chance(5) {
                members.push((key, value));
            }
        }
    }

    /// 0, 100, anything between, or exactly where somebody's bucket begins or ends.
    fn thousandths(&mut self, scheme: Scheme, salt: &str) -> u32 {
        match self.random.below(10) {
            0 => 0,
            1 => 100_000,
            2..=5 => {
                let bucket = scheme.bucket(salt, self.random.pick(&USERS)).thousandths();
                (bucket + self.random.below(2) as u32).min(100_000)
            }
            _ => self.random.below(100_001) as u32,
        }
    }

    fn percentage(&mut self, scheme: Scheme, salt: &str) -> Tree {
        if self.is_broken() {
            let wrong = ["-1", "100.001", "101", "0.0001", "1e3", "-0.001", "99.9995"];
            return Tree::number(self.random.pick(&wrong));
        }
        let thousandths = self.thousandths(scheme, salt);
        self.digits(thousandths)
    }

    /// A percentage in one of the ways in which numbers are written.
    fn digits(&mut self, thousandths: u32) -> Tree {
        let (whole, rest) = (thousandths / 1000, thousandths % 1000);
        Tree::Number(match self.random.below(5) {
            0 => format!("{whole}.{rest:03}"),
            1 => format!("{thousandths}e-3"),
            2 => format!("{whole}.{rest:03}000"),
            3 if rest == 0 => format!("{whole}.0E+0"),
            _ if rest == 0 => whole.to_string(),
            _ => format!("{whole}.{}", format!("{rest:03}").trim_end_matches('0')),
        })
    }

    fn schedule(&mut self, scheme: Scheme, salt: &str) -> Tree {
        let mut instants = self.random.some(&INSTANTS, 35);
        if self.is_broken() {
            self.random.shuffle(&mut instants);
        }
        let steps = instants.into_iter().map(|at| {
            let percentage = self.percentage(scheme, salt);
            Tree::map([("at", Tree::text(at)), ("percentage", percentage)])
        });
        Tree::List(steps.collect())
    }

    /// Names and weights in thousandths; the weights sum to 100 000 unless something is wrong.
    fn variants(&mut self) -> Vec<(&'static str, u32)> {
        let mut names = self.random.some(&VARIANTS, 50);
        if names.is_empty() {
            names.push("b");
        }
        self.random.shuffle(&mut names);
        let mut rest: u32 = 100_000;
        let last = names.len() - 1;
        let mut variants: Vec<(&str, u32)> = Vec::new();
        for (at, name) in names.into_iter().enumerate() {
            let weight = if at == last { rest } else { self.random.below(rest as usize + 1) as u32 };
            rest -= weight;
            variants.push((name, weight));
        }
        if self.is_broken() {
            variants[0].1 = variants[0].1.abs_diff(1);
        }
        variants
    }

    fn requirement(&mut self, others: &[&str]) -> Tree {
        let flag = if self.is_broken() { "gone" } else { self.random.pick(others) };
        if self.random.chance(70) {
            return Tree::text(flag);
        }
        // Most flags have no such variant, which refuses the flag that asks for it.
        if self.random.chance(50) { Tree::text(flag) } else { Tree::map([(flag, Tree::text("b"))]) }
    }

    fn rule(&mut self, variants: &[(&'static str, u32)], scheme: Scheme, salt: &str) -> Tree {
        let clauses = (0..1 + self.random.below(2)).map(|_| self.clause()).collect();
        let serve = match self.random.below(4) {
            0 => Tree::Bool(true),
            1 => Tree::Bool(false),
            2 if !variants.is_empty() => Tree::text(variants[self.random.below(variants.len())].0),
            _ => Tree::map([("percentage", self.percentage(scheme, salt))]),
        };
        let mut members = vec![("when", Tree::List(clauses)), ("serve", serve)];
        self.random.shuffle(&mut members);
        Tree::map(members)
    }

    fn clause(&mut self) -> Tree {
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
        let operator = self.random.pick(&OPERATORS);
        let values = (0..1 + self.random.below(3)).map(|_| self.clause_value(operator)).collect();
        // Where the attribute is likely to be of the operator's kind, more clauses hold.
        let likely = match operator {
            "greater" | "greater_or_equal" | "less" | "less_or_equal" => "age",
            "before" | "after" => "seen",
            "matches" | "contains" | "starts_with" | "ends_with" => self.random.pick(&["email", "plan", "tags"]),
            _ if operator.starts_with("semver") => "version",
            _ => self.random.pick(&ATTRIBUTES),
        };
        let attribute = if self.random.chance(70) { likely } else { self.random.pick(&ATTRIBUTES) };
        let negation = if self.random.chance(25) { "not_" } else { "" };
        let mut members =
            vec![("attribute", Tree::text(attribute)), ("op", Tree::text(format!("{negation}{operator}")))];
        if operator != "exists" {
            members.push(("values", Tree::List(values)));
        } else if self.random.chance(20) {
            members.push(("values", Tree::Null));
        }
        self.random.shuffle(&mut members);
        Tree::map(members)
    }

    fn clause_value(&mut self, operator: &str) -> Tree {
        if self.is_broken() {
            return self.anything();
        }
        match operator {
            "equals" | "one_of" => match self.random.below(4) {
                0 => Tree::number(self.random.pick(&NUMBERS)),
                1 => Tree::Bool(self.random.chance(50)),
                _ => Tree::text(self.random.pick(&TEXTS)),
            },
            "contains" | "starts_with" | "ends_with" => {
                Tree::text(self.random.pick(&["", "a", "gold", "@example.com", "ß"]))
            }
            "matches" => Tree::text(self.random.pick(&PATTERNS)),
            "before" | "after" => Tree::text(self.random.pick(&INSTANTS)),
            _ if operator.starts_with("semver") => Tree::text(self.random.pick(&VERSIONS)),
            _ => Tree::number(self.random.pick(&NUMBERS)),
        }
    }

    /// Any value, mostly of the wrong kind for where it is put.
    pub fn anything(&mut self) -> Tree {
        match self.random.below(9) {
            0 => Tree::Null,
            1 => Tree::Bool(self.random.chance(50)),
            2 => Tree::number(self.random.pick(&NUMBERS)),
            3 => Tree::number(self.random.pick(&LOST_NUMBERS)),
            4 | 5 => Tree::text(self.random.pick(&TEXTS)),
            6 => Tree::List((0..self.random.below(3)).map(|_| self.anything()).collect()),
            7 => Tree::texts([self.random.pick(&TEXTS)]),
            _ => {
                let keys = self.random.some(&["enabled", "percentage", "a", "weight", "", "at"], 20);
                Tree::map(keys.into_iter().map(|key| (key, self.anything())).collect::<Vec<_>>())
            }
        }
    }

    fn is_broken(&mut self) -> bool {
        self.random.chance(self.broken)
    }

    /// One of [`instants`], as text and as what it means.
    pub fn instant(&mut self) -> (&'static str, Timestamp) {
        let text = self.random.pick(&instants());
        (text, text.parse().expect("the instants are instants"))
    }

    /// A caller, as the oracle is told of it.
    pub fn context(&mut self) -> Value {
        let mut context = Map::new();
        match self.random.below(10) {
            0 => {}
            1 => drop(context.insert("user".into(), json!(""))),
            _ => drop(context.insert("user".into(), json!(self.random.pick(&USERS)))),
        }
        if self.random.chance(50) {
            context.insert("groups".into(), json!(self.random.some(&GROUPS, 30)));
        }
        let mut attributes = Map::new();
        for name in ATTRIBUTES.into_iter().chain(["org"]) {
            if self.random.chance(60) {
                attributes.insert(name.into(), self.attribute(name));
            }
        }
        context.insert("attributes".into(), Value::Object(attributes));
        Value::Object(context)
    }

    fn attribute(&mut self, name: &str) -> Value {
        let number = |random: &mut Random| {
            let digits = if random.chance(80) { random.pick(&NUMBERS) } else { random.pick(&LOST_NUMBERS) };
            serde_json::from_str::<Value>(digits).expect("JSON numbers")
        };
        if self.random.chance(12) {
            let odd = [json!(null), json!([]), json!([null]), json!({"a": 1}), json!([["a"], {"b": 2}]), json!(true)];
            return odd[self.random.below(odd.len())].clone();
        }
        if self.random.chance(10) {
            return json!([self.attribute(name), self.attribute(name)]);
        }
        match name {
            "age" => number(&mut self.random),
            "version" => json!(self.random.pick(&VERSIONS)),
            "seen" => json!(self.random.pick(&INSTANTS)),
            "org" => match self.random.below(7) {
                0 => json!(""),
                1 => json!(1.5),
                2 => json!(18.0),
                3 => json!(u64::MAX),
                4 => json!(i64::MIN),
                5 => json!(self.random.below(5)),
                _ => json!(self.random.pick(&["acme", "umbrella", "größe"])),
            },
            _ => match self.random.below(5) {
                0 => number(&mut self.random),
                _ => json!(self.random.pick(&TEXTS)),
            },
        }
    }
}

/// The caller that a JSON object of the oracle's kind describes.
pub fn context_of(described: &Value) -> Context {
    let mut context = match described["user"].as_str() {
        Some(user) => Context::user(user),
        None => Context::anonymous(),
    };
    if let Some(groups) = described["groups"].as_array() {
        context = context.in_groups(groups.iter().filter_map(Value::as_str));
    }
    for (name, value) in described["attributes"].as_object().into_iter().flatten() {
        context = context.with_attribute(name, value.clone());
    }
    context
}
