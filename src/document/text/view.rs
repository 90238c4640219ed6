//! One level of a value: what every format gives when it is asked.

use std::borrow::Cow;

/// One level of a value, whose parts are of type `N`.
#[derive(Debug)]
pub(crate) enum ViewOf<'a, N> {
    Null,
    Bool(bool),
    /// The digits as they were written; in TOML integers of other bases are written in ten.
    Number(Cow<'a, str>),
    Text(Cow<'a, str>),
    List(Vec<N>),
    /// Every member in the order written, duplicates included.
    Map(Vec<(Cow<'a, str>, N)>),
    /// A text with an escape that stands for no character.
    Broken,
}
