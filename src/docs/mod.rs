//! Longer texts.

/// What does not work, and what to do instead.
#[doc = include_str!("limitations.md")]
pub mod limitations {}

/// What deciding costs, measured.
#[doc = include_str!("performance.md")]
pub mod performance {}
