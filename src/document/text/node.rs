//! A value in a document, whichever format it is written in.

use serde_json::{Map, Number, Value};

use super::json::JsonNode;
#[cfg(feature = "file")]
use super::toml::TomlNode;
use super::view::ViewOf;
use crate::document::number::keeps_digits;
use crate::document::problem::{Problem, quoted, shortened};

/// Deepest nesting of values that are kept whole.
pub(super) const MAX_DEPTH: usize = 128;

/// A value somewhere in a document.
#[derive(Clone, Debug)]
pub(crate) enum Node<'a> {
    Json(JsonNode<'a>),
    #[cfg(feature = "file")]
    Toml(TomlNode<'a>),
}

impl<'a> From<JsonNode<'a>> for Node<'a> {
    fn from(node: JsonNode<'a>) -> Self {
        Self::Json(node)
    }
}

#[cfg(feature = "file")]
impl<'a> From<TomlNode<'a>> for Node<'a> {
    fn from(node: TomlNode<'a>) -> Self {
        Self::Toml(node)
    }
}

/// The root of a JSON text.
pub(crate) fn json(text: &str) -> Result<Node<'_>, Problem> {
    JsonNode::root(text).map(Node::Json)
}

/// One level of a value.
pub(crate) type View<'a> = ViewOf<'a, Node<'a>>;

/// Why a value cannot be kept as written.
#[derive(Debug)]
pub(crate) enum Loss {
    /// It is nested too deep, has a key twice, or holds what JSON cannot.
    Value,
    /// It holds a whole number with more digits than are kept.
    Number(String),
}

impl<'a> Node<'a> {
    pub(crate) fn view(&self) -> View<'a> {
        match self {
            Self::Json(node) => node.view(),
            #[cfg(feature = "file")]
            Self::Toml(node) => node.view(),
        }
    }

    /// Where the value starts, in bytes from the start of the document.
    pub(crate) fn offset(&self) -> usize {
        match self {
            Self::Json(node) => node.offset(),
            #[cfg(feature = "file")]
            Self::Toml(node) => node.offset(),
        }
    }

    /// Bytes the value takes in the document.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Json(node) => node.text().len(),
            #[cfg(feature = "file")]
            Self::Toml(node) => node.len(),
        }
    }

    /// The whole value; `None` where it is nested too deep, has a key twice, or holds a number that
    /// JSON cannot.
    #[cfg(feature = "admin")]
    pub(crate) fn to_value(&self) -> Option<Value> {
        self.read_value(|_| true).ok()
    }

    /// The whole value, with all digits of its whole numbers.
    pub(crate) fn to_exact_value(&self) -> Result<Value, Loss> {
        self.read_value(keeps_digits)
    }

    fn read_value(&self, is_kept: fn(&str) -> bool) -> Result<Value, Loss> {
        // Asked first, since it sees what a look level by level does not: half a surrogate pair in a
        // key, and numbers beyond all bounds.
        if let Self::Json(node) = self
            && serde_json::from_str::<Value>(node.text()).is_err()
        {
            return Err(Loss::Value);
        }
        self.read_value_within(MAX_DEPTH, is_kept)
    }

    fn read_value_within(&self, depth: usize, is_kept: fn(&str) -> bool) -> Result<Value, Loss> {
        let below = depth.checked_sub(1).ok_or(Loss::Value)?;
        Ok(match self.view() {
            View::Null => Value::Null,
            View::Bool(value) => Value::Bool(value),
            View::Number(digits) if !is_kept(&digits) => return Err(Loss::Number(digits.into_owned())),
            View::Number(digits) => Value::Number(match digits.parse::<i64>() {
                Ok(integer) => integer.into(),
                Err(_) => match digits.parse::<u64>() {
                    Ok(integer) => integer.into(),
                    Err(_) => digits.parse().ok().and_then(Number::from_f64).ok_or(Loss::Value)?,
                },
            }),
            View::Text(text) => Value::String(text.into_owned()),
            View::List(items) => {
                Value::Array(items.iter().map(|item| item.read_value_within(below, is_kept)).collect::<Result<_, _>>()?)
            }
            View::Map(members) => {
                let mut object = Map::new();
                for (key, member) in members {
                    if object.insert(key.into_owned(), member.read_value_within(below, is_kept)?).is_some() {
                        return Err(Loss::Value);
                    }
                }
                Value::Object(object)
            }
            View::Broken => return Err(Loss::Value),
        })
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Json(node) if node.text() == "null")
    }

    /// What a message about the whole document says was found here. It has no content, since the message reaches callers
    /// from whom users are hidden.
    pub(crate) fn kind(&self) -> String {
        match self.view() {
            View::Text(_) => "a text".into(),
            View::Number(_) => "a number".into(),
            _ => self.describe(),
        }
    }

    /// What a message says was found here.
    pub(crate) fn describe(&self) -> String {
        match self.view() {
            View::Null => "null".into(),
            View::Bool(value) => value.to_string(),
            View::Number(digits) => shortened(&digits),
            View::Text(text) => format!("the text {}", quoted(&text)),
            View::List(items) => format!("a list of {}", items.len()),
            View::Map(members) => format!("an object of {}", members.len()),
            View::Broken => "a text with a broken escape".into(),
        }
    }
}
