//! What is wrong in a document, said so that it can be mended.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong in a document: where it is, what was expected and what was found.
///
/// ```
/// use tower_flags::Document;
///
/// let document = Document::from_json(r#"{"flags": {"search": {"percentage": 120}}}"#)?;
/// assert_eq!(
///     document.problems()[0].to_string(),
///     "line 1, column 37: flag \"search\", percentage: expected a number from 0 to 100 with at most three \
///      decimals, found 120"
/// );
/// # Ok::<(), tower_flags::Problem>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// Whether the part was refused or used all the same.
    pub severity: Severity,
    /// Name of the flag; `None` where the document as a whole is meant.
    pub flag: Option<String>,
    /// Keys and positions down to the part, joined by dots, such as `rules.0.when.1.op`; empty for
    /// the flag or document itself.
    pub path: String,
    /// What should have been there.
    pub expected: String,
    /// What is there, shortened where it is long.
    pub found: String,
    /// What to do about it or what happens now, where that is not plain.
    pub help: Option<String>,
    /// Where the document came from: a file's path, say.
    pub source: Option<String>,
    /// Line in the text, from 1.
    pub line: Option<usize>,
    /// Column in the line in characters, from 1.
    pub column: Option<usize>,
}

/// A place in a document, for problems that are found after it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Place {
    pub(crate) source: Option<String>,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// The flag or document was refused.
    Error,
    /// The part was left out or kept as it was; the flag is used.
    Warning,
}

impl Problem {
    /// A problem of severity [`Error`](Severity::Error), without a place.
    ///
    /// ```
    /// use tower_flags::Problem;
    ///
    /// let problem = Problem::new("the policy noeviction", "allkeys-lru").with_help("CONFIG SET maxmemory-policy noeviction");
    /// assert_eq!(
    ///     problem.to_string(),
    ///     "expected the policy noeviction, found allkeys-lru; CONFIG SET maxmemory-policy noeviction"
    /// );
    /// ```
    #[must_use]
    pub fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            flag: None,
            path: String::new(),
            expected: expected.into(),
            found: found.into(),
            help: None,
            source: None,
            line: None,
            column: None,
        }
    }

    /// Names the flag that it belongs to, at most 128 characters of the name.
    #[must_use]
    pub fn of_flag(mut self, flag: &str) -> Self {
        self.flag = Some(cut(flag, 128));
        self
    }

    pub(crate) fn at_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Says what to do about it, or what happens until it is fixed.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Names the document or store that it was found in, unless it names one already.
    #[must_use]
    pub fn in_source(mut self, source: &str) -> Self {
        self.source.get_or_insert_with(|| source.to_owned());
        self
    }

    pub(crate) fn at_place(mut self, place: &Place) -> Self {
        self.source.clone_from(&place.source);
        (self.line, self.column) = (Some(place.line), Some(place.column));
        self
    }

    pub(crate) fn at_offset(mut self, text: &str, offset: usize) -> Self {
        let before = &text[..text.floor_char_boundary_compat(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        self.line = Some(before.bytes().filter(|&byte| byte == b'\n').count() + 1);
        self.column = Some(before[line_start..].chars().count() + 1);
        self
    }
}

/// `str::floor_char_boundary` is newer than the Rust this crate promises.
trait FloorCharBoundary {
    fn floor_char_boundary_compat(&self, index: usize) -> usize;
}

impl FloorCharBoundary for str {
    fn floor_char_boundary_compat(&self, index: usize) -> usize {
        (0..=index.min(self.len())).rev().find(|&index| self.is_char_boundary(index)).unwrap_or(0)
    }
}

/// At most 60 characters of a text that came from outside.
pub(crate) fn shortened(text: &str) -> String {
    cut(text, 60)
}

fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A foreign text in quotes, with control characters escaped, shortened.
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

/// For conversions that cannot fail, such as that of `true` to a flag.
impl From<std::convert::Infallible> for Problem {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source, self.line.zip(self.column)) {
            (Some(source), Some((line, column))) => write!(f, "{source}, line {line}, column {column}: ")?,
            (Some(source), None) => write!(f, "{source}: ")?,
            (None, Some((line, column))) => write!(f, "line {line}, column {column}: ")?,
            (None, None) => {}
        }
        match (&self.flag, self.path.as_str()) {
            (Some(flag), "") => write!(f, "flag {flag:?}: ")?,
            (Some(flag), path) => write!(f, "flag {flag:?}, {path}: ")?,
            (None, "") => {}
            (None, path) => write!(f, "{path}: ")?,
        }
        write!(f, "expected {}, found {}", self.expected, self.found)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_where_what_and_how_to_mend_it() {
        let problem = Problem::new("a number", "a text")
            .of_flag("search")
            .at_path("percentage")
            .at_offset("{\n  \"ü\": x", 9)
            .in_source("flags.json")
            .with_help("remove the quotes");
        assert_eq!(
            problem.to_string(),
            "flags.json, line 2, column 7: flag \"search\", percentage: expected a number, found a text; remove the quotes"
        );
    }

    #[test]
    fn hostile_texts_are_shortened_and_escaped() {
        let found = quoted(&format!("\u{1b}[2J{}", "x".repeat(10_000)));
        assert!(found.starts_with("\"\\u{1b}[2J") && found.len() < 100, "{found}");
    }
}
