//! Feature flags.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod docs;
pub mod engine;
pub mod request;
pub mod source;
pub mod store;

pub use engine::{Context, Document, Flag, FlagSet, Flags, Instant, Percentage, Problem};
pub use request::{FlagLayer, FlagService, HeaderPolicy, flag, try_flag, variant};
#[cfg(feature = "file")]
pub use source::File;
pub use source::{Env, Layered, Memory, Source};
pub use store::Error;
