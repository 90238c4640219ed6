//! A value as a tree, independent of its format.

use std::fmt::Write;

use serde_json::Value;

#[cfg(any(feature = "admin", feature = "file"))]
use super::node::{MAX_DEPTH, Node, View, json};
#[cfg(any(feature = "admin", feature = "file"))]
use crate::document::problem::Problem;

/// A JSON value that keeps the digits of its numbers as written.
#[derive(Clone, Debug)]
pub(crate) enum Plain {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Plain>),
    /// In the order written.
    Map(Vec<(String, Plain)>),
}

impl Plain {
    /// Reads a definition in JSON. Its keys that are null are left out, since null equals absent.
    #[cfg(feature = "file")]
    pub(crate) fn of_definition(text: &str) -> Result<Self, Problem> {
        let mut plain = Self::of_json(text)?;
        if let Self::Map(members) = &mut plain {
            members.retain(|(_, value)| !matches!(value, Self::Null));
        }
        Ok(plain)
    }

    /// Reads a JSON text.
    #[cfg(any(feature = "admin", feature = "file"))]
    pub(crate) fn of_json(text: &str) -> Result<Self, Problem> {
        Self::of(&json(text)?.view(), MAX_DEPTH)
    }

    #[cfg(any(feature = "admin", feature = "file"))]
    fn of(view: &View<'_>, depth: usize) -> Result<Self, Problem> {
        let below = depth
            .checked_sub(1)
            .ok_or_else(|| Problem::new(format!("at most {MAX_DEPTH} levels of nested values"), "a deeper one"))?;
        Ok(match view {
            View::Null => Self::Null,
            View::Bool(value) => Self::Bool(*value),
            View::Number(digits) => Self::Number(digits.to_string()),
            View::Text(text) => Self::Text(text.to_string()),
            View::List(items) => {
                Self::List(items.iter().map(|item| Self::of(&item.view(), below)).collect::<Result<_, _>>()?)
            }
            View::Map(members) => {
                let member = |(key, value): &(std::borrow::Cow<'_, str>, Node<'_>)| {
                    Ok((key.to_string(), Self::of(&value.view(), below)?))
                };
                Self::Map(members.iter().map(member).collect::<Result<_, Problem>>()?)
            }
            View::Broken => return Err(Problem::new("a text", "one with a broken escape")),
        })
    }

    /// Writes JSON with a space after each comma and colon.
    #[cfg(feature = "file")]
    pub(crate) fn to_json(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, " ");
        text
    }

    /// Writes JSON without white space.
    pub(crate) fn to_compact(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, "");
        text
    }

    fn write(&self, text: &mut String, gap: &str) {
        let next = |text: &mut String, place: usize| {
            if place > 0 {
                text.push(',');
                text.push_str(gap);
            }
        };
        match self {
            Self::Null => text.push_str("null"),
            Self::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
            Self::Number(digits) => text.push_str(digits),
            Self::Text(value) => write_text(text, value),
            Self::List(items) => {
                text.push('[');
                for (place, item) in items.iter().enumerate() {
                    next(text, place);
                    item.write(text, gap);
                }
                text.push(']');
            }
            Self::Map(members) => {
                text.push('{');
                for (place, (key, value)) in members.iter().enumerate() {
                    next(text, place);
                    write_text(text, key);
                    text.push(':');
                    text.push_str(gap);
                    value.write(text, gap);
                }
                text.push('}');
            }
        }
    }
}

impl From<Value> for Plain {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => Self::Number(number.to_string()),
            Value::String(text) => Self::Text(text),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Object(members) => {
                Self::Map(members.into_iter().map(|(key, value)| (key, Self::from(value))).collect())
            }
        }
    }
}

fn write_text(text: &mut String, value: &str) {
    let _ = write!(text, "{}", Value::from(value));
}

/// Equal whatever the order of keys; numbers are equal if their digits are.
impl PartialEq for Plain {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(two)) => one == two,
            (Self::Number(one), Self::Number(two)) | (Self::Text(one), Self::Text(two)) => one == two,
            (Self::List(one), Self::List(two)) => one == two,
            (Self::Map(one), Self::Map(two)) => one.len() == two.len() && by_key(one) == by_key(two),
            _ => false,
        }
    }
}

fn by_key(members: &[(String, Plain)]) -> Vec<(&str, &Plain)> {
    let mut members: Vec<_> = members.iter().map(|(key, value)| (key.as_str(), value)).collect();
    members.sort_by_key(|(key, _)| *key);
    members
}

#[cfg(all(test, feature = "file"))]
mod tests {
    use super::*;

    #[test]
    fn json_comes_back_with_its_digits_and_in_its_order() {
        let text = r#"{"b":2.50e1,"a":[1,-0.0,{"x":null}],"t":"\"\u0000ü"}"#;
        let plain = Plain::of_json(text).unwrap();
        assert_eq!(plain.to_compact(), text);
        assert_eq!(plain.to_json(), r#"{"b": 2.50e1, "a": [1, -0.0, {"x": null}], "t": "\"\u0000ü"}"#);
        assert_eq!(Plain::of_definition(r#"{"a": 1, "b": null}"#).unwrap(), Plain::of_json(r#"{"a": 1}"#).unwrap());
        assert_eq!(Plain::of_json(r#"{"a": 1, "b": 2}"#).unwrap(), Plain::of_json(r#"{"b": 2, "a": 1}"#).unwrap());
        assert_ne!(Plain::of_json(r#"{"a": 1}"#).unwrap(), Plain::of_json(r#"{"a": 1.0}"#).unwrap());
    }

    #[test]
    fn what_is_nested_without_end_is_refused() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Plain::of_json(&deep).is_err());
    }
}
