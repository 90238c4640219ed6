//! One answer, and why it is that answer.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::document::Percentage;

/// Why an answer is what it is. The numbers are the steps of the order of deciding in the
/// [module documentation](crate::engine).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// 1: no flag has this name.
    Unknown,
    /// 1: no rules have been loaded yet.
    NotLoaded,
    /// 1: the definition was refused and there was no good one before.
    Problem,
    /// 1: the source was late or panicked, and had no fallback that answers.
    Unavailable,
    /// 2: the flag is switched off.
    Disabled,
    /// 3: a tester's signed override says so.
    Override,
    /// 3: the calling service decided it.
    Upstream,
    /// 4: a required flag is not as required.
    Prerequisite,
    /// 5: the user is in `allowed_users`.
    User,
    /// 6: a group of the caller is in `allowed_groups`.
    Group,
    /// 7: the rule at this position, from 0, matched.
    Rule(usize),
    /// 8: on for everyone, or for no one else.
    Static,
    /// 9: a partial rollout, and nothing to bucket the caller by.
    Anonymous,
    /// 10: the caller's bucket decided.
    Rollout,
    /// Decided by the source's own engine, for a reason that none of the others is.
    Engine,
}

impl Reason {
    /// Whether there was no usable definition, so that callers' own defaults apply.
    #[must_use]
    pub fn is_default(self) -> bool {
        matches!(self, Self::Unknown | Self::NotLoaded | Self::Problem | Self::Unavailable)
    }
}

/// As in vectors and logs: `Rule(2)`, `Rollout`.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One flag's answer with everything that led to it; from [`Flags::evaluation`](crate::Flags::evaluation).
///
/// `Display` says it in words.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// Whether the flag is on for the caller.
    pub enabled: bool,
    /// The variant served, if the flag is on and has variants.
    pub variant: Option<String>,
    /// The variant's value, if it has one.
    pub value: Option<Value>,
    /// Why.
    pub reason: Reason,
    /// The caller's bucket in thousandths of a percent, 0 to 100 000, where one was looked at.
    pub bucket: Option<u32>,
    /// The percentage the bucket was held against, where one was looked at.
    pub percentage: Option<Percentage>,
}

impl Evaluation {
    pub(crate) fn off(reason: Reason) -> Self {
        Self { enabled: false, variant: None, value: None, reason, bucket: None, percentage: None }
    }
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.enabled { "on" } else { "off" })?;
        if let Some(variant) = &self.variant {
            write!(f, " with variant {variant}")?;
        }
        match self.reason {
            Reason::Unknown => f.write_str(": no flag has this name"),
            Reason::NotLoaded => f.write_str(": no rules have been loaded yet"),
            Reason::Problem => f.write_str(": the definition has errors and there was no good one before"),
            Reason::Unavailable => f.write_str(": the source gave no answer"),
            Reason::Disabled => f.write_str(": the flag is switched off"),
            Reason::Override => f.write_str(": a tester's override says so"),
            Reason::Upstream => f.write_str(": the calling service decided it"),
            Reason::Prerequisite => f.write_str(": a flag it requires is not as required"),
            Reason::User => f.write_str(": the user is in allowed_users"),
            Reason::Group => f.write_str(": a group of the caller is in allowed_groups"),
            Reason::Rule(rule) => write!(f, ": rule {rule} matched, counted from 0"),
            Reason::Static if self.enabled => f.write_str(": it is on for everyone"),
            Reason::Static => f.write_str(": its percentage is 0, and nothing in it names the caller"),
            Reason::Anonymous => f.write_str(": a partial rollout, and nothing to bucket the caller by"),
            Reason::Rollout => f.write_str(": a partial rollout"),
            Reason::Engine => f.write_str(": decided by the source's own engine"),
        }?;
        match (self.bucket, self.percentage) {
            (Some(bucket), Some(percentage)) => {
                let relation = if self.enabled { "below" } else { "not below" };
                write!(f, ", bucket {}.{:03} is {relation} {percentage} %", bucket / 1000, bucket % 1000)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_itself_in_words() {
        let answer = Evaluation {
            enabled: true,
            variant: Some("higher".into()),
            value: None,
            reason: Reason::Rollout,
            bucket: Some(12_034),
            percentage: "12.5".parse().ok(),
        };
        assert_eq!(answer.to_string(), "on with variant higher: a partial rollout, bucket 12.034 is below 12.5 %");
        assert_eq!(Evaluation::off(Reason::Disabled).to_string(), "off: the flag is switched off");
        assert_eq!(Reason::Rule(2).to_string(), "Rule(2)");
    }
}
