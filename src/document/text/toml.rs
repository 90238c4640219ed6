//! TOML through the `toml` crate's own tree, which keeps spans and the digits of numbers.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::view::ViewOf;
use crate::document::problem::Problem;

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

    pub(crate) fn root(&self) -> TomlNode<'_> {
        TomlNode { value: TomlValue::Table(&self.0), offset: 0, len: 0 }
    }
}

/// Where the numbers are that no TOML reader has to take, in the order of the text: whole numbers beyond 63 bits and a
/// sign, and floats beyond all bounds. None where the text is no TOML.
pub(crate) fn unreadable_numbers(text: &str) -> Vec<Range<usize>> {
    fn find(value: &Spanned<DeValue<'_>>, found: &mut Vec<Range<usize>>) {
        let is_unreadable = match value.get_ref() {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).is_err(),
            DeValue::Float(number) => match number.as_str().trim_start_matches(['+', '-']) {
                "inf" | "nan" => false,
                digits => digits.parse().is_ok_and(f64::is_infinite),
            },
            DeValue::Array(items) => return items.iter().for_each(|item| find(item, found)),
            DeValue::Table(table) => return table.values().for_each(|value| find(value, found)),
            _ => false,
        };
        if is_unreadable {
            found.push(value.span());
        }
    }
    let mut found = Vec::new();
    if let Ok(table) = DeTable::parse(text) {
        table.get_ref().values().for_each(|value| find(value, &mut found));
    }
    found.sort_by_key(|place| place.start);
    found
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

    pub(crate) fn view<N: From<Self>>(&self) -> ViewOf<'a, N> {
        let value = match self.value {
            TomlValue::Table(table) => {
                return ViewOf::Map(
                    table
                        .iter()
                        .map(|(key, value)| (Cow::Borrowed(key.get_ref().as_ref()), Self::of(value).into()))
                        .collect(),
                );
            }
            TomlValue::Other(value) => value,
        };
        match value {
            DeValue::String(text) => ViewOf::Text(Cow::Borrowed(text)),
            DeValue::Integer(number) if number.radix() == 10 => ViewOf::Number(Cow::Borrowed(number.as_str())),
            DeValue::Integer(number) => ViewOf::Number(
                i128::from_str_radix(number.as_str(), number.radix())
                    .map_or(Cow::Borrowed("out of range"), |number| Cow::Owned(number.to_string())),
            ),
            DeValue::Float(number) => ViewOf::Number(Cow::Borrowed(number.as_str())),
            DeValue::Boolean(value) => ViewOf::Bool(*value),
            // Instants and days may be written without quotes.
            DeValue::Datetime(instant) => ViewOf::Text(Cow::Owned(instant.to_string())),
            DeValue::Array(items) => ViewOf::List(items.iter().map(|item| Self::of(item).into()).collect()),
            DeValue::Table(table) => Self { value: TomlValue::Table(table), ..*self }.view(),
        }
    }
}
