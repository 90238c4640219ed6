//! For tests of applications: fixed flags without a source, and both branches in one test.
//!
//! ```
//! use tower_flags::flag;
//! use tower_flags::testing::{Combinations, TestFlags, with_flags};
//!
//! fn button() -> &'static str {
//!     if flag("new_checkout") { "Buy now" } else { "Add to cart" }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! // One branch.
//! let flags = TestFlags::new().on("new_checkout");
//! assert_eq!(with_flags(&flags, async { button() }).await, "Buy now");
//! assert_eq!(flags.asked(), ["new_checkout"]);
//!
//! // Both, and a failure says with which.
//! Combinations::of(["new_checkout"]).run(|_| async { assert!(!button().is_empty()) }).await;
//! # }
//! ```
//!
//! 1. [`TestFlags`] answers the same to everybody. It is a [`Source`](crate::Source), so
//!    `FlagLayer::new(flags.clone())` puts it around a router, and it remembers what was asked.
//! 2. [`with_flags`] runs a future with them in scope, as a handler runs inside of the layer.
//! 3. [`Combinations`] runs one test with every combination of some flags.
//! 4. [`outcome`] makes the outcome of a request, for tests of observers.
//!
//! Nothing is global: tests that run side by side do not see each other's flags.
//!
//! It does not test rules. For these, compile them ([`FlagSet::compile`](crate::FlagSet::compile)) and
//! evaluate callers.

mod caught;
mod combinations;
mod contract;
mod flags;
mod keyed;
mod outcome;

pub use combinations::{Combinations, Verdict};
pub use contract::{CaseOutcome, Report, StoreFixture, check_store};
pub use flags::{TestFlags, with_flags};
pub use outcome::outcome;
