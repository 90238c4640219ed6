//! Flags from environment variables.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::board::{Board, Subscriber, log_problems};
use super::layered::{Definitions, sealed};
use super::traits::{Source, Status};
use crate::document::{Definition, Document, Flag, Percentage, Problem, Severity, is_name, nearest, quoted};
use crate::engine::{Answers, Query, SourceId};

/// Flags from environment variables, to put above a file: `FF_NEW_CHECKOUT=off`.
///
/// | variable | meaning |
/// |---|---|
/// | `FF_NEW_CHECKOUT` | `true`, `1`, `on`, or `false`, `0`, `off`, in any case of letters |
/// | `FF_NEW_CHECKOUT_PCT` | with it: percentage, 0 to 100 |
/// | `FF_NEW_CHECKOUT_USERS` | with it: allowed users, comma separated |
/// | `FF_NEW_CHECKOUT_GROUPS` | with it: allowed groups, comma separated |
///
/// 1. Names match those of the parts below in [`Layered`](super::Layered), with `-` and `.` read as
///    `_` and case folded. A name that matches none defines the flag in lower case; one that matches
///    two is a problem.
/// 2. A variable with one of the three endings is always a setting. A setting alone, or a bad value,
///    is a problem, and the flag comes from the part below; a bad setting beside `false` is a
///    problem and the flag is off.
/// 3. The definition is a whole flag, so rules and variants of the part below do not apply. A flag that is `hidden`
///    below stays hidden.
/// 4. A flag that no part below defines is a warning in the status of [`Layered`](super::Layered), with its
///    variable: other programs may set variables with this prefix, and clients see such flags.
///    [`with_prefix`](Self::with_prefix) leaves foreign variables out.
///
/// * Stored where: in the process environment, read once when the source is made.
/// * Freshness: as of the start. A bad value is in [`status`](Source::status) and in one log line.
///
/// ```
/// use tower_flags::source::{Env, Source};
///
/// let env = Env::from_pairs([("FF_SEARCH", "on"), ("FF_SEARCH_PCT", "12.5"), ("FF_LOST_PCT", "5")]);
/// assert_eq!(env.status().flags, 2);
/// assert_eq!(
///     env.status().problems[0].to_string(),
///     "env: flag \"lost\", FF_LOST_PCT: expected FF_LOST beside it, found none; set FF_LOST to true or false"
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Env {
    pairs: Arc<[(String, String)]>,
    prefix: String,
    board: Arc<Board>,
}

const SETTINGS: [&str; 3] = ["_PCT", "_USERS", "_GROUPS"];

impl Env {
    /// The variables of this process that start with `FF_`. Names and values that are not Unicode
    /// are read with replacement characters, which no value allows.
    #[must_use]
    pub fn process() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self::from_pairs(std::env::vars_os().map(|(name, value)| (text(name), text(value))))
    }

    /// These variables instead of the process's.
    #[must_use]
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let pairs = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self::new(pairs, "FF_".into())
    }

    /// Takes variables with this prefix instead of `FF_`.
    #[must_use]
    pub fn with_prefix(self, prefix: impl Into<String>) -> Self {
        Self::new(self.pairs, prefix.into())
    }

    fn new(pairs: Arc<[(String, String)]>, prefix: String) -> Self {
        let env = Self { pairs, prefix, board: Arc::new(Board::new()) };
        let document = env.read(None);
        log_problems("env", &document.problems);
        env.board.publish(|_| Some((document, String::new())));
        env
    }

    /// The flags that the variables define over those in `below`; without parts below no variable is foreign.
    fn read(&self, below: Option<&Document>) -> Document {
        let mut variables: BTreeMap<String, Variables<'_>> = BTreeMap::new();
        for (variable, value) in self.pairs.iter() {
            let Some(rest) = variable.strip_prefix(self.prefix.as_str()).filter(|rest| !rest.is_empty()) else {
                continue;
            };
            let (stem, ending) = split_ending(rest);
            let flag = variables.entry(folded(stem)).or_insert_with(|| Variables::of(&self.prefix, stem));
            flag.twins |= flag.values.get(ending).is_some_and(|other| *other != value);
            flag.is_killed |= ending.is_empty() && switch(value) == Some(false);
            flag.values.insert(ending, value);
        }
        let names = below.map(Names::of).unwrap_or_default();
        let mut document = Document::new();
        for variables in variables.into_values() {
            let name = match names.matching(variables.stem) {
                Ok(name) => name,
                Err(problem) => {
                    document.problems.push(problem.at_path(variables.switch).in_source("env"));
                    continue;
                }
            };
            let of_below = below.and_then(|below| below.flags.get(&*name));
            let is_hidden = of_below.is_some_and(Definition::is_hidden);
            let definition = match variables.read() {
                Ok(flag) => {
                    if below.is_some() && of_below.is_none() {
                        let problem = names.foreign(&name).at_path(variables.switch).of_flag(&name);
                        document.problems.push(problem.in_source("env"));
                    }
                    Definition::Good(Arc::new(Flag { hidden: is_hidden, ..flag }))
                }
                Err(problem) => {
                    document.problems.push(problem.of_flag(&name).in_source("env"));
                    Definition::Refused { is_killed: variables.is_killed, is_hidden }
                }
            };
            document.flags.insert(name.into(), definition);
        }
        document
    }
}

/// Names of flags by the way a variable can spell them.
#[derive(Default)]
struct Names<'a>(BTreeMap<String, Vec<&'a str>>);

impl<'a> Names<'a> {
    fn of(document: &'a Document) -> Self {
        let mut names: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for name in document.flags.keys() {
            names.entry(folded(name)).or_default().push(name);
        }
        Self(names)
    }

    /// The problem of a flag that no part below defines.
    fn foreign(&self, name: &str) -> Problem {
        // Each distance takes a microsecond, and the search runs at every change of the parts below.
        let is_quick = self.0.len() <= 1_000;
        let near = if is_quick { nearest(name, self.0.values().flatten().copied()) } else { None };
        let help = match near {
            Some(near) => format!("did you mean {near:?}?"),
            None => "the variable defines a flag of its own, which clients see; Env::with_prefix leaves foreign \
                     variables out"
                .to_owned(),
        };
        let problem = Problem::new("the name of a flag that a part below defines", quoted(name)).with_help(help);
        Problem { severity: Severity::Warning, ..problem }
    }

    fn matching(&self, stem: &str) -> Result<String, Problem> {
        match self.0.get(&folded(stem)).map(Vec::as_slice) {
            Some([name]) => Ok((*name).to_owned()),
            Some(names) => {
                let names = names.join(", ");
                Err(Problem::new("a name that matches one flag", format!("{} matching {names}", quoted(stem))))
            }
            None => {
                let name = stem.to_ascii_lowercase();
                if is_name(&name) {
                    Ok(name)
                } else {
                    Err(Problem::new("a flag's name after the prefix", quoted(stem)))
                }
            }
        }
    }
}

fn folded(name: &str) -> String {
    name.replace(['-', '.'], "_").to_ascii_lowercase()
}

/// The name of a flag in a variable, and the setting it is for, in whatever case of letters.
fn split_ending(rest: &str) -> (&str, &'static str) {
    SETTINGS
        .iter()
        .find_map(|ending| {
            let (stem, tail) = rest.split_at_checked(rest.len().checked_sub(ending.len())?)?;
            tail.eq_ignore_ascii_case(ending).then_some((stem, *ending))
        })
        .unwrap_or((rest, ""))
}

fn switch(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "on" => Some(true),
        "false" | "0" | "off" => Some(false),
        _ => None,
    }
}

/// The variables of one flag.
struct Variables<'a> {
    stem: &'a str,
    /// The variable that switches the flag, as it is spelt first.
    switch: String,
    /// By ending; the switch has none.
    values: BTreeMap<&'static str, &'a str>,
    /// Whether one of them is there twice, in other cases of letters, with another value.
    twins: bool,
    /// Whether any switch says that the flag is off.
    is_killed: bool,
}

impl<'a> Variables<'a> {
    fn of(prefix: &str, stem: &'a str) -> Self {
        let switch = format!("{prefix}{stem}");
        Self { stem, switch, values: BTreeMap::new(), twins: false, is_killed: false }
    }

    fn read(&self) -> Result<Flag, Problem> {
        let variable = self.switch.as_str();
        if self.twins {
            let problem = Problem::new("each variable once", "two that differ in the case of letters alone");
            return Err(problem.at_path(variable));
        }
        let Some(enabled) = self.values.get("").and_then(|value| switch(value)) else {
            return Err(match (self.values.get(""), self.values.keys().next()) {
                (Some(value), _) => Problem::new("true, false, 1, 0, on or off", quoted(value)).at_path(variable),
                (None, ending) => Problem::new(format!("{variable} beside it"), "none")
                    .at_path(format!("{variable}{}", ending.copied().unwrap_or_default()))
                    .with_help(format!("set {variable} to true or false")),
            });
        };
        let list = |ending| {
            let value = self.values.get(ending)?;
            Some(value.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect())
        };
        let percentage =
            match self.values.get("_PCT") {
                None => None,
                Some(value) => Some(value.trim().parse().map_err(|_| {
                    Problem::new(Percentage::EXPECTED, quoted(value)).at_path(format!("{variable}_PCT"))
                })?),
            };
        Ok(Flag { enabled, percentage, allowed_users: list("_USERS"), allowed_groups: list("_GROUPS"), ..Flag::on() })
    }
}

impl Source for Env {
    fn answer(&self, query: &Query<'_>) -> Answers {
        self.board.answer(query)
    }

    fn status(&self) -> Status {
        self.board.status()
    }

    fn id(&self) -> Option<SourceId> {
        Some(self.board.id())
    }
}

impl Definitions for Env {
    fn name(&self) -> &str {
        "env"
    }
}

impl sealed::Part for Env {
    fn document(&self, below: Option<&Document>) -> Arc<Document> {
        Arc::new(self.read(below))
    }

    /// The environment is read once, so there is nothing to tell.
    fn on_change(&self, _: Weak<dyn Subscriber>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;
    use crate::document::Timestamp;
    use crate::source::{Layered, Memory};

    fn problems(env: &Env) -> Vec<String> {
        env.status().problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn settings_make_a_whole_flag() {
        let env = Env::from_pairs([
            ("FF_A", "ON"),
            ("FF_A_PCT", "0.29"),
            ("FF_A_USERS", "alice, bob ,,"),
            ("FF_A_GROUPS", "staff"),
            ("OTHER", "x"),
        ]);
        let document = env.read(None);
        assert_eq!(
            serde_json::to_string(document.flag("a").unwrap()).unwrap(),
            r#"{"enabled":true,"percentage":0.29,"allowed_users":["alice","bob"],"allowed_groups":["staff"]}"#
        );
    }

    #[test]
    fn a_list_restricts_the_flag_to_it() {
        let env = Env::from_pairs([("FF_A", "1"), ("FF_A_USERS", "alice")]);
        let percentage = env.read(None).flag("a").unwrap().percentage_at(Timestamp::MIN);
        assert_eq!(percentage, Percentage::ZERO);
    }

    #[test]
    fn names_match_the_flags_below_and_else_are_lower_case() {
        let memory = Memory::new();
        for name in ["New-Search", "a.b", "a-b"] {
            memory.set(name, true).unwrap();
        }
        let pairs = [("FF_NEW_SEARCH", "off"), ("FF_A_B", "off"), ("FF_NEW_ONE", "on"), ("FF_", "on"), ("FF__X", "on")];
        let source = Layered::over(memory).with(Env::from_pairs(pairs));
        assert_eq!(source.part_of("New-Search").as_deref(), Some("env"));
        assert_eq!(source.part_of("new_one").as_deref(), Some("env"));
        assert_eq!(source.part_of("a.b").as_deref(), Some("memory"));
        let errors = source.status().problems.into_iter().filter(|problem| problem.severity == Severity::Error);
        assert_eq!(
            errors.map(|problem| problem.to_string()).collect::<Vec<_>>(),
            [
                "env: FF__X: expected a flag's name after the prefix, found \"_X\"",
                "env: FF_A_B: expected a name that matches one flag, found \"A_B\" matching a-b, a.b",
            ]
        );
    }

    #[test]
    fn bad_values_leave_the_flag_to_the_part_below_and_a_kill_is_taken() {
        let memory = Memory::new();
        for name in ["a", "b", "c"] {
            memory.set(name, true).unwrap();
        }
        let env = Env::from_pairs([("FF_A", "maybe"), ("FF_B", "false"), ("FF_B_PCT", "x"), ("FF_C_PCT", "5")]);
        assert_eq!(
            problems(&env),
            [
                "env: flag \"a\", FF_A: expected true, false, 1, 0, on or off, found \"maybe\"",
                "env: flag \"b\", FF_B_PCT: expected a number from 0 to 100 with at most three decimals, found \"x\"",
                "env: flag \"c\", FF_C_PCT: expected FF_C beside it, found none; set FF_C to true or false",
            ]
        );
        let source = Layered::over(memory).with(env);
        let flags = source.answer(&Query::new(&Context::anonymous(), Timestamp::MIN));
        assert_eq!(flags.active().collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn twins_are_a_problem_and_undo_no_kill() {
        for pairs in [[("FF_A", "off"), ("FF_a", "on")], [("FF_a", "on"), ("FF_A", "off")]] {
            let memory = Memory::new();
            memory.set("a", true).unwrap();
            let env = Env::from_pairs(pairs);
            let problem = problems(&env).concat();
            assert!(
                problem.ends_with("expected each variable once, found two that differ in the case of letters alone"),
                "{problem}"
            );
            let source = Layered::over(memory).with(env);
            let flags = source.answer(&Query::new(&Context::anonymous(), Timestamp::MIN));
            assert!(!flags.is_enabled("a"));
        }
    }

    #[test]
    fn endings_are_settings_in_any_case_of_letters() {
        let env = Env::from_pairs([("FF_A", " on "), ("FF_A_pct", "5")]);
        assert_eq!(env.read(None).flag("a").unwrap().percentage_at(Timestamp::MIN).to_string(), "5");
        assert_eq!(problems(&env), [""; 0]);
    }

    #[test]
    fn the_prefix_can_be_another() {
        let env = Env::from_pairs([("SHOP_A", "1"), ("FF_B", "1")]).with_prefix("SHOP_");
        assert_eq!(env.status().flags, 1);
    }
}
