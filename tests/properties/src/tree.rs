//! Documents before they are text.

use std::fmt::Write as _;

use serde_json::Value;

/// A value as it is written: numbers in their digits, keys in their order and as often as they stand.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
    /// JSON that no other variant can say, such as half a surrogate pair.
    Raw(String),
}

impl Tree {
    pub fn number(digits: impl ToString) -> Self {
        Self::Number(digits.to_string())
    }

    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }

    pub fn map<K: Into<String>>(members: impl IntoIterator<Item = (K, Tree)>) -> Self {
        Self::Map(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    pub fn to_json(&self) -> String {
        let mut text = String::new();
        self.write_json(&mut text);
        text
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => write!(out, "{value}").expect("a String takes everything"),
            Self::Number(text) | Self::Raw(text) => out.push_str(text),
            Self::Text(text) => out.push_str(&quoted(text)),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at > 0 { ", " } else { "" });
                    item.write_json(out);
                }
                out.push(']');
            }
            Self::Map(members) => {
                out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    out.push_str(if at > 0 { ", " } else { "" });
                    out.push_str(&quoted(key));
                    out.push_str(": ");
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }

    /// The same in TOML, its members below the first level in tables on one line. Members that are
    /// null are left out; `None` where TOML has no words for it.
    pub fn to_toml(&self) -> Option<String> {
        let Self::Map(members) = self else { return None };
        let mut out = String::new();
        for (key, value) in members.iter().filter(|(_, value)| *value != Self::Null) {
            writeln!(out, "{} = {}", quoted(key), value.inline_toml()?).ok()?;
        }
        Some(out)
    }

    fn inline_toml(&self) -> Option<String> {
        match self {
            Self::Null | Self::Raw(_) => None,
            Self::Bool(value) => Some(value.to_string()),
            Self::Number(text) => Some(text.clone()),
            // The escapes of JSON are among those of TOML.
            Self::Text(text) => Some(quoted(text)),
            Self::List(items) => {
                let items: Option<Vec<String>> = items.iter().map(Self::inline_toml).collect();
                Some(format!("[{}]", items?.join(", ")))
            }
            Self::Map(members) => {
                let members = members.iter().filter(|(_, value)| *value != Self::Null);
                let members: Option<Vec<String>> =
                    members.map(|(key, value)| Some(format!("{} = {}", quoted(key), value.inline_toml()?))).collect();
                Some(format!("{{{}}}", members?.join(", ")))
            }
        }
    }

    /// What the oracle read, which writes numbers as `{"number": "0.29"}`.
    pub fn from_oracle(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => panic!("the oracle writes no bare numbers, but {number}"),
            Value::String(text) => Self::text(text),
            Value::Array(items) => Self::List(items.iter().map(Self::from_oracle).collect()),
            Value::Object(members) => match members.get("number") {
                // TOML writes signs and separators that JSON does not know.
                Some(Value::String(digits)) => Self::Number(digits.replace('_', "").trim_start_matches('+').to_owned()),
                _ => Self::map(members.iter().map(|(key, value)| (key, Self::from_oracle(value)))),
            },
        }
    }

    /// How many values there are, itself included.
    pub fn size(&self) -> usize {
        match self {
            Self::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Self::Map(members) => 1 + members.iter().map(|(_, value)| value.size()).sum::<usize>(),
            _ => 1,
        }
    }

    /// Puts another value in the place of one of its own, counted from itself as 0, parents first.
    pub fn replace(&mut self, place: usize, by: Tree) {
        fn walk(tree: &mut Tree, rest: &mut usize, by: &mut Option<Tree>) {
            if *rest == 0 {
                if let Some(by) = by.take() {
                    *tree = by;
                }
                return;
            }
            *rest -= 1;
            let children: Vec<&mut Tree> = match tree {
                Tree::List(items) => items.iter_mut().collect(),
                Tree::Map(members) => members.iter_mut().map(|(_, value)| value).collect(),
                _ => Vec::new(),
            };
            for child in children {
                if by.is_none() {
                    return;
                }
                walk(child, rest, by);
            }
        }
        walk(self, &mut { place }, &mut Some(by));
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Keeps every digit: the shortest text of a float is read back as the same float.
impl From<&Value> for Tree {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::number(number),
            Value::String(text) => Self::text(text),
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(members) => Self::map(members.iter().map(|(key, value)| (key, Self::from(value)))),
        }
    }
}
