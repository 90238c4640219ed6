//! Deciding flags: pure, total and without waiting.

mod bucketing;
mod clause;
mod context;
mod document;
mod edit;
mod flag;
mod flags;
mod instant;
mod lists;
mod percentage;
mod problem;
mod read;
mod reason;
mod set;
mod text;
mod write;

pub use bucketing::{Bucket, Scheme};
pub use context::Context;
pub use document::Document;
pub use edit::Edit;
pub use flag::{Bookkeeping, Flag, Kind, Variant};
pub use flags::{Entry, Flags, FlagsBuilder, WrongType};
pub use instant::{Day, Instant, NotADay, NotAnInstant};
pub use percentage::{NotAPercentage, Percentage};
pub use problem::{Problem, Severity};
pub use reason::{Answer, Reason};
pub use set::{FlagSet, Forced, ForcedBy, SourceId};

pub(crate) use document::kept;
pub(crate) use problem::quoted;
pub(crate) use read::{Definition, is_name};
#[cfg(feature = "file")]
pub(crate) use read::{Format, MAX_DOCUMENT};
pub(crate) use set::Identity;
