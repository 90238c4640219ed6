//! Feature flags.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod docs;
pub mod engine;
pub mod request;
pub mod source;

pub use engine::{Context, Document, Flag, FlagSet, Flags, Instant, Percentage, Problem};
pub use request::{FlagLayer, FlagService, HeaderPolicy, flag, try_flag, variant};
pub use source::Memory;
