//! The definition of one flag, as people write it.

use std::fmt;

use serde_json::Value;

use super::clause::{Clause, Test};
use super::percentage::Percentage;
use super::scheme::Scheme;
use super::texts::Texts;
use super::timestamp::{Day, Timestamp};

/// The definition of one flag, checked.
///
/// The [module documentation](crate::document) lists its keys. A `Flag` serialises to its canonical
/// JSON: canonical spellings, percentages as numbers, nothing that is at its default except
/// `enabled`.
///
/// ```
/// use tower_flags::Flag;
///
/// let flag: Flag = r#"{"enabled": true, "percentage": 12.5, "users": ["tester_1"]}"#.parse()?;
/// assert!(flag.is_enabled());
/// assert_eq!(flag.allowed_users().collect::<Vec<_>>(), ["tester_1"]);
/// assert_eq!(
///     serde_json::to_string(&flag).unwrap(),
///     r#"{"enabled":true,"percentage":12.5,"allowed_users":["tester_1"]}"#
/// );
/// # Ok::<(), tower_flags::Problem>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Flag {
    pub(crate) enabled: bool,
    pub(crate) percentage: Option<Percentage>,
    pub(crate) allowed_users: Option<Texts>,
    pub(crate) allowed_groups: Option<Texts>,
    pub(crate) rules: Option<Vec<Rule>>,
    pub(crate) requires: Vec<Requirement>,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) bucket_by: Option<String>,
    /// In ascending byte order of the names; the weights sum to 100 %.
    pub(crate) variants: Vec<Variant>,
    pub(crate) bucketing: Scheme,
    pub(crate) salt: Option<String>,
    pub(crate) overridable: bool,
    pub(crate) hidden: bool,
    pub(crate) kind: Kind,
    pub(crate) bookkeeping: Bookkeeping,
}

/// What a flag is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// Parts release from deployment; goes away once everybody has it.
    #[default]
    Release,
    /// Compares variants; goes away once it is decided.
    Experiment,
    /// Switches behaviour in operation; may stay.
    Ops,
    /// Says who may have something; may stay.
    Permission,
}

impl Kind {
    pub(crate) const NAMES: [(&'static str, Self); 4] = [
        ("release", Self::Release),
        ("experiment", Self::Experiment),
        ("ops", Self::Ops),
        ("permission", Self::Permission),
    ];
}

/// One rule: if every clause holds, it decides.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    pub(crate) when: Vec<Clause>,
    pub(crate) serve: Serve,
}

/// What a matching rule serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serve {
    On,
    Off,
    /// Position in [`Flag::variants`].
    Variant(u8),
    Percentage(Percentage),
}

/// Another flag that must be on first, or on with one variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requirement {
    pub(crate) flag: String,
    pub(crate) variant: Option<String>,
}

/// Percentages in force from instants on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// Strictly ascending.
    pub(crate) steps: Vec<Step>,
    pub(crate) paused_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Step {
    pub(crate) at: Timestamp,
    pub(crate) percentage: Percentage,
}

impl Schedule {
    /// The percentage in force at `now`, and the span around `now` in which it stays: from the
    /// first instant on, up to and without the second. `None` means since ever, or for ever.
    pub(crate) fn at(&self, now: Timestamp) -> (Percentage, Option<Timestamp>, Option<Timestamp>) {
        let passed = self.passed_at(now);
        let (percentage, since) = match passed.checked_sub(1) {
            Some(last) => (self.steps[last].percentage, Some(self.steps[last].at)),
            None => (Percentage::ZERO, None),
        };
        let next = self.steps.get(passed).map(|step| step.at);
        let until = next.filter(|&at| self.paused_at.is_none_or(|paused_at| at <= paused_at));
        (percentage, since, until)
    }

    /// How many steps have come into force by `now`.
    pub(crate) fn passed_at(&self, now: Timestamp) -> usize {
        let read_at = self.paused_at.map_or(now, |paused_at| paused_at.min(now));
        self.steps.partition_point(|step| step.at <= read_at)
    }

    /// Since when the plan stands still at `now`, if it does.
    pub(crate) fn stands_since(&self, now: Timestamp) -> Option<Timestamp> {
        self.paused_at.filter(|paused_at| *paused_at <= now)
    }
}

/// A named outcome of a flag.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    pub(crate) name: String,
    pub(crate) weight: Percentage,
    pub(crate) value: Option<Value>,
}

impl Variant {
    /// The name, unique within the flag.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Share of the users for whom the flag is on.
    #[must_use]
    pub fn weight(&self) -> Percentage {
        self.weight
    }

    /// The datum the variant stands for, if it has one.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }
}

/// What is kept about a flag and never decides anything.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Bookkeeping {
    /// Who answers for the flag.
    pub owner: Option<String>,
    /// The issue it belongs to.
    pub ticket: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The day it was made.
    pub created_at: Option<Day>,
    /// The last day it should exist; it goes on working after that, and is reported.
    pub expires_at: Option<Day>,
    /// Whatever else its users keep; an object.
    pub metadata: Option<serde_json::Map<String, Value>>,
}

impl Flag {
    /// A flag that is on for everyone.
    #[must_use]
    pub fn on() -> Self {
        Self {
            enabled: true,
            percentage: None,
            allowed_users: None,
            allowed_groups: None,
            rules: None,
            requires: Vec::new(),
            schedule: None,
            bucket_by: None,
            variants: Vec::new(),
            bucketing: Scheme::default(),
            salt: None,
            overridable: false,
            hidden: false,
            kind: Kind::default(),
            bookkeeping: Bookkeeping::default(),
        }
    }

    /// A flag that is switched off.
    #[must_use]
    pub fn off() -> Self {
        Self { enabled: false, ..Self::on() }
    }

    /// A flag for this share of the users.
    #[must_use]
    pub fn rollout(percentage: Percentage) -> Self {
        Self { percentage: Some(percentage), ..Self::on() }
    }

    /// A flag for this share of the users, from a number in the code; [`rollout`](Self::rollout) takes one that was read.
    ///
    /// ```
    /// use tower_flags::Flag;
    ///
    /// assert_eq!(Flag::percentage(25), Flag::rollout("25".parse().unwrap()));
    /// assert_eq!(Flag::percentage(0.125), Flag::rollout("0.125".parse().unwrap()));
    /// ```
    ///
    /// # Panics
    ///
    /// If it is not a number from 0 to 100 with at most three decimals.
    #[must_use]
    #[track_caller]
    pub fn percentage<P: TryInto<Percentage, Error: fmt::Display>>(percentage: P) -> Self {
        Self::rollout(Percentage::literal(percentage))
    }

    /// The kill switch: off beats everything.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether its plan runs now and pauses later.
    pub(crate) fn pauses_after(&self, now: Timestamp) -> bool {
        self.paused_at().is_some_and(|paused_at| paused_at > now)
    }

    pub(crate) fn paused_at(&self) -> Option<Timestamp> {
        self.schedule.as_ref()?.paused_at
    }

    /// The share of users in force at an instant: the schedule's, the stated one, or the default,
    /// which is 0 where an audience is named and 100 elsewhere.
    #[must_use]
    pub fn percentage_at(&self, now: Timestamp) -> Percentage {
        match &self.schedule {
            Some(schedule) => schedule.at(now).0,
            None => self.percentage.unwrap_or(self.default_percentage()),
        }
    }

    pub(crate) fn default_percentage(&self) -> Percentage {
        if self.names_an_audience() { Percentage::ZERO } else { Percentage::HUNDRED }
    }

    fn names_an_audience(&self) -> bool {
        self.allowed_users.is_some() || self.allowed_groups.is_some() || self.rules.is_some()
    }

    /// Whether the flag is restricted to an audience by nothing but our default, which others do not share.
    pub(crate) fn is_restricted_by_default(&self) -> bool {
        self.names_an_audience() && self.percentage.is_none() && self.schedule.is_none()
    }

    /// Users for whom the flag is on whatever the percentage.
    pub fn allowed_users(&self) -> impl Iterator<Item = &str> {
        self.allowed_users.iter().flat_map(Texts::iter)
    }

    /// Groups for whose members the flag is on whatever the percentage.
    pub fn allowed_groups(&self) -> impl Iterator<Item = &str> {
        self.allowed_groups.iter().flat_map(Texts::iter)
    }

    /// Whether no other flag has to be on.
    pub(crate) fn requires_nothing(&self) -> bool {
        self.requires.is_empty()
    }

    /// The flags that must be on first, each with the variant it must have, if any.
    pub fn requires(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.requires.iter().map(|requirement| (requirement.flag.as_str(), requirement.variant.as_deref()))
    }

    /// The variants in ascending byte order of their names.
    #[must_use]
    pub fn variants(&self) -> &[Variant] {
        &self.variants
    }

    /// How users are bucketed.
    #[must_use]
    pub fn bucketing(&self) -> Scheme {
        self.bucketing
    }

    /// Whether testers may force the flag with a signed token.
    #[must_use]
    pub fn is_overridable(&self) -> bool {
        self.overridable
    }

    /// Whether the flag is never named to clients.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// What the flag is for.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Owner, ticket, dates and the like.
    #[must_use]
    pub fn bookkeeping(&self) -> &Bookkeeping {
        &self.bookkeeping
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        self.rules.as_deref().unwrap_or_default()
    }

    /// Whether a rule has a regular expression.
    pub(crate) fn has_patterns(&self) -> bool {
        self.rules().iter().flat_map(|rule| &rule.when).any(|clause| matches!(clause.test, Test::Matches(_)))
    }

    /// What stands in the hash input for the flag.
    pub(crate) fn salt<'a>(&'a self, name: &'a str) -> &'a str {
        self.salt.as_deref().unwrap_or(name)
    }

    pub(crate) fn variant_number(&self, name: &str) -> Option<u8> {
        let position = self.variants.iter().position(|variant| variant.name == name)?;
        u8::try_from(position).ok()
    }

    /// The number of the variant whose range the bucket lies in, 0 to 99 999.
    pub(crate) fn variant_of_bucket(&self, bucket: u32) -> Option<u8> {
        let mut end = 0;
        let position = self.variants.iter().position(|variant| {
            end += variant.weight.thousandths();
            bucket < end
        })?;
        u8::try_from(position).ok()
    }
}

/// `true` is [`Flag::on`], `false` is [`Flag::off`], as in a document.
impl From<bool> for Flag {
    fn from(enabled: bool) -> Self {
        if enabled { Self::on() } else { Self::off() }
    }
}
