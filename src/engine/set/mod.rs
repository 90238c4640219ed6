//! The compiled form of a document: everything that does not depend on the caller is decided once.
//!
//! * `bits`, `share`, `identity`, `index`, `joined_names`, `requires`: leaves. `requires` orders flags after those they require and finds cycles.
//! * `patterns` compiles regular expressions within budgets.
//! * `hashed` groups what is hashed for a caller, so that it is hashed together.
//! * `core` has the tables, `plan` the percentages for an instant; both are the `flag_set`.
//! * `settle` selects the definition of each flag that is in effect; `builder` takes the flags of another engine.
//! * `decide` answers for one caller, all flags at once or one flag with its reason, into `results`.

mod bits;
mod builder;
mod core;
mod decide;
mod flag_set;
mod hashed;
mod identity;
mod index;
mod joined_names;
mod patterns;
mod plan;
mod requires;
mod results;
mod settle;
mod share;

pub(crate) use bits::ones;
pub use builder::FlagSetBuilder;
pub(crate) use decide::{Decision, ForcedAt, decide_all, decide_one, put, turn_off};
pub use flag_set::FlagSet;
pub(crate) use identity::Identity;
pub use identity::SourceId;
pub(crate) use joined_names::JoinedNames;
pub(crate) use results::Results;
