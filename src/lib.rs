//! Feature flags.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod engine;

pub use engine::{Context, Document, Flag, FlagSet, Flags, Instant, Percentage, Problem};
