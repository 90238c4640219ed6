//! Documents as text: one view over JSON and TOML that keeps positions and the digits of numbers.
//!
//! Reading is lazy: a [`Node`] looks one level deep when it is asked. Nothing here knows what a flag
//! is.

mod json;
mod node;
mod plain;
#[cfg(feature = "file")]
mod toml;

pub(crate) use json::{JsonNode, members, position};
pub(crate) use node::{Node, Unkept, View};
pub(crate) use plain::Plain;
#[cfg(feature = "file")]
pub(crate) use toml::{TomlDocument, unreadable_numbers};

use super::problem::Problem;

/// The root of a JSON text.
pub(crate) fn json(text: &str) -> Result<Node<'_>, Problem> {
    JsonNode::root(text).map(Node::Json)
}
