//! Whether a clause holds for a caller.

use std::sync::Arc;

use serde_json::Value;

use crate::context::Context;
use crate::document::{Clause, Comparison, Number, Patterns, Regex, Scalar, Test, TextOperator, Timestamp};

impl Clause {
    /// Whether the clause holds for a caller; `compiled` has all patterns of the flag.
    pub(crate) fn holds(&self, context: &Context, compiled: &[Arc<Regex>]) -> bool {
        let holds = match self.attribute.as_str() {
            "user_id" => context.user_id().is_some_and(|user| self.test.holds_for_text(user, compiled)),
            "groups" => context.groups().any(|group| self.test.holds_for_text(group, compiled)),
            attribute => match context.attribute(attribute) {
                None => false,
                Some(Value::Array(items)) => items.iter().any(|item| self.test.holds_for(item, compiled)),
                Some(value) => self.test.holds_for(value, compiled),
            },
        };
        holds != self.negated
    }
}

impl Test {
    fn holds_for(&self, value: &Value, compiled: &[Arc<Regex>]) -> bool {
        match value {
            Value::Null => false,
            Value::String(text) => self.holds_for_text(text, compiled),
            _ if matches!(self, Self::Exists) => true,
            Value::Bool(value) => {
                matches!(self, Self::Equals(values) if values.contains(&Scalar::Bool(*value)))
            }
            Value::Number(number) => {
                let Some(number) = Number::of_attribute(number) else { return false };
                match self {
                    Self::Equals(values) => values.contains(&Scalar::Number(number)),
                    Self::Number(comparison, values) => values.iter().any(|value| comparison.holds(&number, value)),
                    _ => false,
                }
            }
            Value::Array(_) | Value::Object(_) => false,
        }
    }

    fn holds_for_text(&self, text: &str, compiled: &[Arc<Regex>]) -> bool {
        match self {
            Self::Equals(values) => values.iter().any(|value| matches!(value, Scalar::Text(value) if value == text)),
            Self::Text(operator, values) => values.iter().any(|value| match operator {
                TextOperator::Contains => text.contains(value.as_str()),
                TextOperator::StartsWith => text.starts_with(value.as_str()),
                TextOperator::EndsWith => text.ends_with(value.as_str()),
            }),
            Self::Matches(Patterns { first, patterns }) => {
                compiled.iter().skip(*first).take(patterns.len()).any(|pattern| pattern.is_match(text))
            }
            Self::Number(..) => false,
            Self::Version(comparison, values) => semver::Version::parse(text).is_ok_and(|version| {
                // Precedence by semver.org section 10 leaves build metadata out.
                values.iter().any(|value| comparison.holds(&version.cmp_precedence(value), &std::cmp::Ordering::Equal))
            }),
            Self::Timestamp(comparison, values) => text
                .parse::<Timestamp>()
                .is_ok_and(|instant| values.iter().any(|value| comparison.holds(&instant, value))),
            Self::Exists => true,
        }
    }
}

impl Comparison {
    fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
        }
    }
}
