//! Documents as text: one view over JSON and TOML that keeps positions and the digits of numbers.
//!
//! Reading is lazy: a [`Node`] looks one level deep when it is asked. Nothing here knows what a flag
//! is.

mod json;
mod node;
mod plain;
#[cfg(feature = "file")]
mod toml;
mod view;

pub(crate) use json::{members, position};
pub(crate) use node::{Loss, Node, View, json};
pub(crate) use plain::Plain;
#[cfg(feature = "file")]
pub(crate) use toml::{TomlDocument, unreadable_numbers};
