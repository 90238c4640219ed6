//! From text to definitions, with every problem named.
//!
//! A flag is read to its end even where parts are wrong, so that one look at the problems is enough
//! to mend it. Keys are collected first and read after, because some mean something only beside
//! others.

mod document;
mod flag;
mod keys;
pub(crate) mod parts;

#[cfg(any(feature = "admin", feature = "file", feature = "http"))]
pub(crate) use document::MAX_DOCUMENT;
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
pub(crate) use document::MAX_LOOKED_AT;
#[cfg(feature = "redis")]
pub(crate) use document::beyond;
#[cfg(any(feature = "file", feature = "http"))]
pub(crate) use document::utf_8;
pub(crate) use document::{Definition, DocumentReading, Format, MAX_FLAGS, Raw, read as document, read_each};
#[cfg(any(feature = "admin", feature = "postgres", feature = "redis", feature = "sqlite"))]
pub(crate) use flag::MAX_FLAG;
pub(crate) use flag::{accepted_flag, flag_from_json};
pub(crate) use keys::{Key, KnownKey, NAME_PATTERN, is_name, lookup, nearest, not_a_name, spelling_of};
#[cfg(feature = "admin")]
pub(crate) use keys::{canonical_key, is_foreign_key};
