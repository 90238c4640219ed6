//! Longer texts.

/// What does not work, and what to do instead.
#[doc = include_str!("limitations.md")]
pub mod limitations {}

/// What deciding costs, measured.
#[doc = include_str!("performance.md")]
pub mod performance {}

/// Who may do what, the safeguards, and what the application is responsible for.
#[cfg(feature = "admin")]
#[doc = include_str!("threat_model.md")]
pub mod threat_model {}
