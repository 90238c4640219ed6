//! One flag: its keys collected, each part read, and what they mean together checked.

use std::borrow::Cow;
use std::collections::HashSet;
use std::str::FromStr;

use serde_json::Value;

use super::keys::{self, Key, KnownKey, spelling_of};
use super::parts::{self, LocatedProblem, Reading, located};
use crate::document::flag::{Bookkeeping, Flag, Kind, Schedule};
use crate::document::patterns::check_patterns;
use crate::document::problem::{Problem, Severity, quoted, shortened};
use crate::document::scheme::Scheme;
use crate::document::text::{self, Node, View};

/// Most bytes one flag takes in a document.
pub(crate) const MAX_FLAG: usize = 1024 * 1024;

/// Most problems named about the keys of one flag; a text that is not a flag at all has thousands.
const MAX_KEY_ERRORS: usize = 16;

/// What came of reading a flag.
#[derive(Debug)]
pub(super) struct FlagReading {
    /// The flag, unless there are errors.
    pub(super) flag: Option<Flag>,
    /// Whether the text legibly switches the flag off, readable or not.
    pub(super) is_killed: bool,
    /// Whether the text legibly hides the flag, readable or not.
    pub(super) is_hidden: bool,
    pub(super) errors: Vec<LocatedProblem>,
    pub(super) warnings: Vec<LocatedProblem>,
}

/// Reads a flag from JSON text, and compiles its regular expressions once to see that they keep to the limits.
pub(crate) fn accepted_flag(name: Option<&str>, json: &str) -> Result<Flag, Problem> {
    let flag = flag_from_json(name, json)?;
    check_patterns(&flag).map_err(|problem| match name {
        Some(name) => problem.of_flag(name),
        None => problem,
    })?;
    Ok(flag)
}

impl FromStr for Flag {
    type Err = Problem;

    /// Reads a flag from JSON: an object, or `true` or `false`. A `name` key is accepted as it is.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong. Bad bookkeeping values are left out without an error; read a
    /// [`Document`](crate::Document) to see them.
    fn from_str(json: &str) -> Result<Self, Problem> {
        accepted_flag(None, json)
    }
}

/// Reads a flag from JSON as text, like [`Flag::from_str`].
impl TryFrom<&str> for Flag {
    type Error = Problem;

    fn try_from(text: &str) -> Result<Self, Problem> {
        text.parse()
    }
}

/// Reads a flag from a JSON value, like [`Flag::from_str`].
impl TryFrom<Value> for Flag {
    type Error = Problem;

    fn try_from(value: Value) -> Result<Self, Problem> {
        value.to_string().parse()
    }
}

/// Reads a flag from JSON text; bookkeeping that is wrong is left out. Regular expressions are not compiled.
pub(crate) fn flag_from_json(name: Option<&str>, json: &str) -> Result<Flag, Problem> {
    let node = text::json(json)?;
    let reading = read(name, &node);
    match (reading.flag, reading.errors.into_iter().next()) {
        (Some(flag), None) => Ok(flag),
        (_, Some(LocatedProblem { problem, offset })) => {
            let problem = problem.at_offset(json, offset);
            Err(match name {
                Some(name) => problem.of_flag(name),
                None => problem,
            })
        }
        (None, None) => Ok(Flag::off()),
    }
}

/// Reads the flag `name`; without a name, a `name` key is taken as it is.
pub(super) fn read(name: Option<&str>, node: &Node<'_>) -> FlagReading {
    let mut reading =
        FlagReading { flag: None, is_killed: false, is_hidden: false, errors: Vec::new(), warnings: Vec::new() };
    let members = match node.view() {
        View::Bool(enabled) => {
            reading.is_killed = !enabled;
            reading.flag = Some(Flag::from(enabled));
            return reading;
        }
        View::Map(members) => members,
        _ => {
            reading.errors.push(located(node, Problem::new("true, false or an object", node.describe())));
            return reading;
        }
    };
    if node.len() > MAX_FLAG {
        let problem = Problem::new(format!("a flag of at most {MAX_FLAG} bytes"), format!("one of {}", node.len()));
        reading.errors.push(located(node, problem));
    }
    // Whatever its size, the flag may be killed by what it says.
    let is_too_large = !reading.errors.is_empty();
    let keys = Keys::collect(members, &mut reading);
    if !is_too_large {
        let flag = keys.read(name, node, &mut reading);
        reading.flag = Some(flag).filter(|_| reading.errors.is_empty());
    }
    reading
}

/// The members of a flag object, by meaning.
struct Keys<'a> {
    present: Vec<(Key, String, Node<'a>)>,
}

impl<'a> Keys<'a> {
    fn collect(members: Vec<(Cow<'a, str>, Node<'a>)>, reading: &mut FlagReading) -> Self {
        let mut present: Vec<(Key, String, Node<'a>)> = Vec::new();
        let mut seen: HashSet<String> = HashSet::new();
        for (spelling, node) in members {
            let spelling = spelling.into_owned();
            if matches!(spelling.as_str(), "enabled" | "on") && matches!(node.view(), View::Bool(false)) {
                reading.is_killed = true;
            }
            if spelling == "hidden" && matches!(node.view(), View::Bool(true)) {
                reading.is_hidden = true;
            }
            if reading.errors.len() == MAX_KEY_ERRORS {
                continue;
            }
            let mut refuse = |problem: Problem| {
                reading.errors.push(located(&node, problem.at_path(shortened(&spelling))));
            };
            if !seen.insert(spelling.clone()) {
                refuse(Problem::new("each key once", format!("{} twice", quoted(&spelling))));
                continue;
            }
            match keys::lookup(&spelling) {
                KnownKey::Foreign => {}
                KnownKey::Unknown(near) => {
                    let problem = Problem::new("a known key", quoted(&spelling));
                    refuse(match near {
                        Some(near) => problem.with_help(format!("did you mean {near:?}?")),
                        None => problem.with_help("foreign data belongs in \"metadata\""),
                    });
                }
                KnownKey::Key(_) if node.is_null() => {}
                KnownKey::Key(key) => match present.iter().find(|(known, ..)| *known == key) {
                    Some((_, other, _)) => {
                        let found = format!("{} and {}", quoted(other), quoted(&spelling));
                        refuse(Problem::new(format!("one spelling of {:?}", spelling_of(key)), found));
                    }
                    None => present.push((key, spelling, node)),
                },
            }
        }
        Self { present }
    }

    fn has(&self, key: Key) -> bool {
        self.present.iter().any(|(known, ..)| *known == key)
    }

    /// Reads the part under `key`; problems go to `problems` with the key as it is spelt.
    fn part<T>(
        &self,
        key: Key,
        problems: &mut Vec<LocatedProblem>,
        read: impl FnOnce(&Node<'a>) -> Reading<T>,
    ) -> Option<T> {
        let (_, spelling, node) = self.present.iter().find(|(known, ..)| *known == key)?;
        match read(node) {
            Ok(part) => Some(part),
            Err(mut located) => {
                located.problem.path = match located.problem.path.as_str() {
                    "" => spelling.clone(),
                    rest => format!("{spelling}.{rest}"),
                };
                problems.push(located);
                None
            }
        }
    }

    fn read(&self, name: Option<&str>, node: &Node<'a>, reading: &mut FlagReading) -> Flag {
        let errors = &mut reading.errors;
        let enabled = self.part(Key::Enabled, errors, parts::boolean);
        if !self.has(Key::Enabled) {
            let says_who = [Key::Percentage, Key::AllowedUsers, Key::AllowedGroups, Key::Rules, Key::Schedule];
            if !says_who.iter().any(|key| self.has(*key)) {
                let problem = Problem::new("the key \"enabled\"", "none")
                    .at_path("enabled")
                    .with_help("say \"enabled\": true or false, since nothing here says who gets the flag");
                errors.push(located(node, problem));
            }
        }
        self.part(Key::Name, errors, |node| match (parts::text(node)?, name) {
            (found, Some(name)) if found != name => parts::wrong(node, format!("the flag's own name {name:?}")),
            _ => Ok(()),
        });
        let variants = self.part(Key::Variants, errors, parts::variants).unwrap_or_default();
        Flag {
            enabled: enabled.unwrap_or(true),
            percentage: self.part(Key::Percentage, errors, parts::percentage),
            allowed_users: self.part(Key::AllowedUsers, errors, parts::texts),
            allowed_groups: self.part(Key::AllowedGroups, errors, parts::texts),
            rules: self.part(Key::Rules, errors, |node| parts::rules(node, &variants)),
            requires: self.part(Key::Requires, errors, parts::requires).unwrap_or_default(),
            schedule: self.schedule(errors),
            bucket_by: self.part(Key::BucketBy, errors, parts::text),
            variants,
            bucketing: self.part(Key::Bucketing, errors, |node| parts::word(node, &Scheme::NAMES)).unwrap_or_default(),
            salt: self.part(Key::Salt, errors, parts::text),
            overridable: self.part(Key::Overridable, errors, parts::boolean).unwrap_or_default(),
            hidden: self.part(Key::Hidden, errors, parts::boolean).unwrap_or_default(),
            kind: self.part(Key::Kind, errors, |node| parts::word(node, &Kind::NAMES)).unwrap_or_default(),
            bookkeeping: self.bookkeeping(&mut reading.warnings),
        }
    }

    fn schedule(&self, errors: &mut Vec<LocatedProblem>) -> Option<Schedule> {
        let steps = self.part(Key::Schedule, errors, |node| {
            if self.has(Key::Percentage) {
                let problem = Problem::new("either percentage or schedule", "both");
                return Err(located(node, problem.with_help("remove one of them")));
            }
            parts::schedule(node)
        });
        let paused_at = self.part(Key::PausedAt, errors, |node| {
            if !self.has(Key::Schedule) {
                return Err(located(node, Problem::new("a schedule beside paused_at", "none")));
            }
            parts::instant(node)
        });
        steps.map(|steps| Schedule { steps, paused_at })
    }

    /// Bookkeeping decides nothing, so what is wrong in it costs only itself.
    fn bookkeeping(&self, warnings: &mut Vec<LocatedProblem>) -> Bookkeeping {
        let first = warnings.len();
        let bookkeeping = Bookkeeping {
            owner: self.part(Key::Owner, warnings, parts::text),
            ticket: self.part(Key::Ticket, warnings, parts::text),
            description: self.part(Key::Description, warnings, parts::text),
            tags: self
                .part(Key::Tags, warnings, parts::texts)
                .map(|tags| tags.iter().map(str::to_owned).collect())
                .unwrap_or_default(),
            created_at: self.part(Key::CreatedAt, warnings, parts::day),
            expires_at: self.part(Key::ExpiresAt, warnings, parts::day),
            metadata: self.part(Key::Metadata, warnings, |node| {
                const EXPECTED: &str = "an object of at most 128 levels with each key once";
                match parts::exact(node, EXPECTED)? {
                    Value::Object(metadata) => Ok(metadata),
                    _ => parts::wrong(node, EXPECTED),
                }
            }),
        };
        for located in &mut warnings[first..] {
            located.problem.severity = Severity::Warning;
            located.problem.help = Some("the flag is used without it".into());
        }
        bookkeeping
    }
}
