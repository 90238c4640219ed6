//! One answer among many, and what can be wrong with its value.

use std::fmt;

/// One flag's answer, from [`Flags::iter`](crate::Flags::iter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry<'a> {
    /// The flag's name.
    pub name: &'a str,
    /// Whether it is on for the caller.
    pub enabled: bool,
    /// The variant served, if the flag is on and has variants.
    pub variant: Option<&'a str>,
    /// Whether the flag is never to be named to clients.
    pub is_hidden: bool,
}

/// A variant's value is not of the type asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrongType {
    /// The flag's name.
    pub flag: String,
    reason: String,
}

impl WrongType {
    pub(super) fn new(flag: &str, error: &serde_json::Error) -> Self {
        Self { flag: flag.to_owned(), reason: error.to_string() }
    }
}

impl fmt::Display for WrongType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flag {:?}: the value of the variant served is of another type: {}", self.flag, self.reason)
    }
}

impl std::error::Error for WrongType {}
