//! One predicate of a rule.

use super::number::Number;
use super::pattern::Pattern;
use super::problem::{Problem, quoted};
use super::text::{Node, View};
use super::timestamp::Timestamp;

/// A predicate on one attribute: it holds if any of its values does, or exactly then not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Clause {
    pub(crate) attribute: String,
    pub(crate) negated: bool,
    pub(crate) test: Test,
}

/// An operator with its values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    Equals(Vec<Scalar>),
    Text(TextOperator, Vec<String>),
    Matches(Patterns),
    Number(Comparison, Vec<Number>),
    Version(Comparison, Vec<semver::Version>),
    Timestamp(Comparison, Vec<Timestamp>),
    Exists,
}

/// The patterns of one clause.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Patterns {
    /// The position of the first among all patterns of the flag, which a set compiles in their order.
    pub(crate) first: usize,
    pub(crate) patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Bool(bool),
    Number(Number),
    Text(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextOperator {
    Contains,
    StartsWith,
    EndsWith,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// The operators as they are written, in the order in which the documentation lists them.
const OPERATORS: [(&str, Operator); 18] = [
    ("equals", Operator::Equals),
    ("one_of", Operator::Equals),
    ("contains", Operator::Text(TextOperator::Contains)),
    ("starts_with", Operator::Text(TextOperator::StartsWith)),
    ("ends_with", Operator::Text(TextOperator::EndsWith)),
    ("matches", Operator::Matches),
    ("greater", Operator::Number(Comparison::Greater)),
    ("greater_or_equal", Operator::Number(Comparison::GreaterOrEqual)),
    ("less", Operator::Number(Comparison::Less)),
    ("less_or_equal", Operator::Number(Comparison::LessOrEqual)),
    ("semver_equals", Operator::Version(Comparison::Equal)),
    ("semver_greater", Operator::Version(Comparison::Greater)),
    ("semver_greater_or_equal", Operator::Version(Comparison::GreaterOrEqual)),
    ("semver_less", Operator::Version(Comparison::Less)),
    ("semver_less_or_equal", Operator::Version(Comparison::LessOrEqual)),
    ("before", Operator::Timestamp(Comparison::Less)),
    ("after", Operator::Timestamp(Comparison::Greater)),
    ("exists", Operator::Exists),
];

/// An operator before its values are known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Equals,
    Text(TextOperator),
    Matches,
    Number(Comparison),
    Version(Comparison),
    Timestamp(Comparison),
    Exists,
}

impl Operator {
    /// The operator and whether it is negated.
    pub(crate) fn parse(name: &str) -> Option<(Self, bool)> {
        let (negated, plain) = match name.strip_prefix("not_") {
            Some(plain) => (true, plain),
            None => (false, name),
        };
        OPERATORS.iter().find(|(known, _)| *known == plain).map(|&(_, operator)| (operator, negated))
    }

    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        OPERATORS.iter().map(|(name, _)| *name)
    }

    fn name(self) -> &'static str {
        OPERATORS.iter().find(|(_, operator)| *operator == self).map_or("", |(name, _)| name)
    }
}

impl Clause {
    /// The operator as it is written.
    pub(crate) fn operator_name(&self) -> String {
        let operator = match &self.test {
            Test::Equals(_) => Operator::Equals,
            Test::Text(operator, _) => Operator::Text(*operator),
            Test::Matches(_) => Operator::Matches,
            Test::Number(comparison, _) => Operator::Number(*comparison),
            Test::Version(comparison, _) => Operator::Version(*comparison),
            Test::Timestamp(comparison, _) => Operator::Timestamp(*comparison),
            Test::Exists => Operator::Exists,
        };
        format!("{}{}", if self.negated { "not_" } else { "" }, operator.name())
    }
}

impl Test {
    /// Reads the values of an operator. Paths of problems start at the value.
    pub(crate) fn read(operator: Operator, values: &[Node<'_>]) -> Result<Self, (usize, Problem)> {
        fn each<T>(
            values: &[Node<'_>],
            read: impl Fn(&Node<'_>) -> Result<T, Problem>,
        ) -> Result<Vec<T>, (usize, Problem)> {
            values.iter().enumerate().map(|(at, node)| read(node).map_err(|problem| (at, problem))).collect()
        }
        Ok(match operator {
            Operator::Equals => Self::Equals(each(values, scalar)?),
            Operator::Text(operator) => Self::Text(operator, each(values, text)?),
            // Their place among others is known when the flag is read.
            Operator::Matches => Self::Matches(Patterns { first: 0, patterns: each(values, pattern)? }),
            Operator::Number(comparison) => Self::Number(comparison, each(values, number)?),
            Operator::Version(comparison) => Self::Version(comparison, each(values, version)?),
            Operator::Timestamp(comparison) => Self::Timestamp(comparison, each(values, instant)?),
            Operator::Exists => Self::Exists,
        })
    }
}

fn scalar(node: &Node<'_>) -> Result<Scalar, Problem> {
    match node.view() {
        View::Bool(value) => Ok(Scalar::Bool(value)),
        View::Text(text) => Ok(Scalar::Text(text.into_owned())),
        View::Number(_) => number(node).map(Scalar::Number),
        _ => Err(Problem::new("a text, a number, true or false", node.describe())),
    }
}

fn text(node: &Node<'_>) -> Result<String, Problem> {
    match node.view() {
        View::Text(text) => Ok(text.into_owned()),
        _ => Err(Problem::new("a text", node.describe())),
    }
}

fn number(node: &Node<'_>) -> Result<Number, Problem> {
    match node.view() {
        View::Number(digits) => Number::read(&digits),
        _ => Err(Problem::new("a finite number", node.describe())),
    }
}

fn version(node: &Node<'_>) -> Result<semver::Version, Problem> {
    let text = text(node)?;
    semver::Version::parse(&text)
        .map_err(|error| Problem::new("a semantic version, such as 2.1.0", format!("{} ({error})", quoted(&text))))
}

fn instant(node: &Node<'_>) -> Result<Timestamp, Problem> {
    let text = text(node)?;
    text.parse().map_err(|_| Problem::new(Timestamp::EXPECTED, quoted(&text)))
}

fn pattern(node: &Node<'_>) -> Result<Pattern, Problem> {
    Pattern::read(&text(node)?)
}
