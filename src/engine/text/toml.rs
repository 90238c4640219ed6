//! TOML through the `toml` crate's own tree, which keeps spans and the digits of numbers.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::node::{Node, View};
use crate::engine::problem::Problem;

/// A parsed TOML document, from which nodes borrow.
#[derive(Debug)]
pub(crate) struct TomlDocument<'a>(DeTable<'a>);

impl<'a> TomlDocument<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, Problem> {
        match DeTable::parse(text) {
            Ok(table) => Ok(Self(table.into_inner())),
            Err(error) => {
                let problem = Problem::new("a TOML document", format!("a syntax error: {}", error.message()));
                Err(problem.at_offset(text, error.span().map_or(text.len(), |span| span.start)))
            }
        }
    }

    pub(crate) fn root(&self) -> Node<'_> {
        Node::Toml(TomlNode { value: TomlValue::Table(&self.0), offset: 0, len: 0 })
    }
}

/// A value in a [`TomlDocument`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct TomlNode<'a> {
    value: TomlValue<'a>,
    offset: usize,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
enum TomlValue<'a> {
    Table(&'a DeTable<'a>),
    Other(&'a DeValue<'a>),
}

impl<'a> TomlNode<'a> {
    fn of(value: &'a Spanned<DeValue<'a>>) -> Self {
        let span = value.span();
        let value = match value.get_ref() {
            DeValue::Table(table) => TomlValue::Table(table),
            other => TomlValue::Other(other),
        };
        Self { value, offset: span.start, len: span.len() }
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn view(&self) -> View<'a> {
        let value = match self.value {
            TomlValue::Table(table) => {
                return View::Map(
                    table
                        .iter()
                        .map(|(key, value)| (Cow::Borrowed(key.get_ref().as_ref()), Node::Toml(Self::of(value))))
                        .collect(),
                );
            }
            TomlValue::Other(value) => value,
        };
        match value {
            DeValue::String(text) => View::Text(Cow::Borrowed(text)),
            DeValue::Integer(number) if number.radix() == 10 => View::Number(Cow::Borrowed(number.as_str())),
            DeValue::Integer(number) => View::Number(
                i128::from_str_radix(number.as_str(), number.radix())
                    .map_or(Cow::Borrowed("out of range"), |number| Cow::Owned(number.to_string())),
            ),
            DeValue::Float(number) => View::Number(Cow::Borrowed(number.as_str())),
            DeValue::Boolean(value) => View::Bool(*value),
            // Instants and days may be written without quotes.
            DeValue::Datetime(instant) => View::Text(Cow::Owned(instant.to_string())),
            DeValue::Array(items) => View::List(items.iter().map(|item| Node::Toml(Self::of(item))).collect()),
            DeValue::Table(table) => Self { value: TomlValue::Table(table), ..*self }.view(),
        }
    }
}
