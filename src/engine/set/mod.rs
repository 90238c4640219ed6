//! The compiled form of a document: what does not depend on the caller is decided once.
//!
//! * `settle` says which definition of each flag is in force; `requires` orders flags after those they
//!   require and refuses cycles.
//! * `compile` lays out the tables.
//! * `hashed` groups what is hashed for a caller, so that it is hashed together.
//! * `plan` resolves percentages for an instant.
//! * `decide` answers for one caller, all flags at once or one flag with its reason.

mod compile;
mod decide;
mod hashed;
mod patterns;
mod plan;
mod requires;
mod settle;

pub(crate) use compile::Identity;
pub use compile::{FlagSet, SourceId};
pub use decide::{Forced, ForcedBy};
pub(crate) use decide::{ForcedAt, NO_VARIANT, decide_all, decide_one, turn_off};
pub(crate) use patterns::check_patterns;
