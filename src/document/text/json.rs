//! JSON through `serde_json`'s raw values: they borrow from the text, so that a value's position is
//! where it lies in it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::view::ViewOf;
use crate::document::problem::Problem;

/// A JSON value: a slice of the document and the place where it starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonNode<'a> {
    text: &'a str,
    offset: usize,
}

impl<'a> JsonNode<'a> {
    pub(crate) fn root(document: &'a str) -> Result<Self, Problem> {
        if document.starts_with('\u{feff}') {
            return Err(Problem::new("JSON in UTF-8", "a byte order mark").with_help("save the file without one"));
        }
        match serde_json::from_str::<&RawValue>(document) {
            Ok(raw) => Ok(Self { text: raw.get(), offset: position(document, raw.get()) }),
            Err(error) => Err(syntax_problem(document, &error)),
        }
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    fn child(&self, raw: &'a RawValue) -> Self {
        Self { text: raw.get(), offset: self.offset + position(self.text, raw.get()) }
    }

    pub(crate) fn view<N: From<Self>>(&self) -> ViewOf<'a, N> {
        match self.text.as_bytes().first() {
            Some(b'n') => ViewOf::Null,
            Some(b't') => ViewOf::Bool(true),
            Some(b'f') => ViewOf::Bool(false),
            Some(b'"') => match string(self.text) {
                Some(text) => ViewOf::Text(text),
                None => ViewOf::Broken,
            },
            Some(b'[') => match serde_json::from_str::<Items<'a>>(self.text) {
                Ok(Items(items)) => ViewOf::List(items.into_iter().map(|item| self.child(item).into()).collect()),
                Err(_) => ViewOf::Broken,
            },
            Some(b'{') => match members(self.text) {
                Some(members) => {
                    ViewOf::Map(members.into_iter().map(|(key, value)| (key, self.child(value).into())).collect())
                }
                None => ViewOf::Broken,
            },
            _ => ViewOf::Number(Cow::Borrowed(self.text)),
        }
    }
}

/// The members of a JSON object in the order written, duplicates included.
pub(crate) fn members(object: &str) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    serde_json::from_str::<Members<'_>>(object).ok().map(|Members(members)| members)
}

/// Start of `part` in `whole`, of which it is a slice.
pub(crate) fn position(whole: &str, part: &str) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

fn string(literal: &str) -> Option<Cow<'_, str>> {
    let inner = literal.get(1..literal.len() - 1)?;
    if inner.contains('\\') { serde_json::from_str(literal).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

fn syntax_problem(document: &str, error: &serde_json::Error) -> Problem {
    let line_start: usize = document.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let found = if document.trim().is_empty() {
        "nothing".to_owned()
    } else if error.is_eof() {
        "its end in the middle of a value; it looks cut off".to_owned()
    } else {
        let message = error.to_string();
        let without_position = message.rfind(" at line ").map_or(message.as_str(), |end| &message[..end]);
        format!("a syntax error: {without_position}")
    };
    Problem::new("a JSON document", found).at_offset(document, line_start + error.column().saturating_sub(1))
}

struct Items<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemsVisitor;
        impl<'de> Visitor<'de> for ItemsVisitor {
            type Value = Items<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items<'de>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(ItemsVisitor)
    }
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// A key that is borrowed where it has no escapes; serde's own `Cow` never borrows. Taken as bytes,
/// since half a surrogate pair in one key must not cost all the others.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_bytes<E>(self, key: &'de [u8]) -> Result<Key<'de>, E> {
                Ok(Key(String::from_utf8_lossy(key)))
            }
            fn visit_bytes<E>(self, key: &[u8]) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(String::from_utf8_lossy(key).into_owned())))
            }
        }
        deserializer.deserialize_bytes(KeyVisitor)
    }
}
