//! Deciding flags: pure, total and without waiting.
//!
//! A [`Document`](crate::Document) is compiled into a [`FlagSet`], and decided for a [`Context`](crate::Context) at
//! an [`Timestamp`](crate::Timestamp) into [`Answers`]. Same set, context and instant: same answers, on every machine.
//!
//! ```
//! use tower_flags::engine::{Query, Reason};
//! use tower_flags::{Context, Document, FlagSet, Timestamp};
//!
//! let document = Document::from_json(
//!     r#"{"flags": {
//!         "new_search": {"enabled": true, "percentage": 12.5, "allowed_groups": ["employees"]},
//!         "checkout": {"enabled": true, "requires": ["new_search"]}
//!     }}"#,
//! )?;
//! let now: Timestamp = "2026-12-01T09:00:00Z".parse().unwrap();
//! let set = FlagSet::compile(&document, now);
//! let alice = Context::user("alice").in_groups(["employees"]);
//! let answers = set.answer(&Query::new(&alice, now));
//! assert_eq!(answers.active().collect::<Vec<_>>(), ["checkout", "new_search"]);
//! assert_eq!(answers.evaluation("new_search").reason, Reason::Group);
//! # Ok::<(), tower_flags::Problem>(())
//! ```
//!
//! # The order of deciding
//!
//! 1. No such flag: off ([`Reason::Unknown`]; before the first load [`Reason::NotLoaded`]; refused and
//!    never good [`Reason::Problem`]).
//! 2. `enabled` is false: off ([`Reason::Disabled`]).
//! 3. A tester's override, or the calling service's decision: as it says ([`Reason::Override`],
//!    [`Reason::Upstream`]).
//! 4. A required flag is not as required: off ([`Reason::Prerequisite`]).
//! 5. The user is in `allowed_users`: on ([`Reason::User`]).
//! 6. A group is in `allowed_groups`: on ([`Reason::Group`]).
//! 7. The first rule that matches: what it serves ([`Reason::Rule`]).
//! 8. The percentage in force is 100: on, anonymous callers included; 0: off ([`Reason::Static`]).
//! 9. Nothing to bucket: off ([`Reason::Anonymous`]).
//! 10. The bucket is below the percentage: on, else off ([`Reason::Rollout`]).
//!
//! A flag that is on and has variants serves the one that a second, independent hash chooses by the
//! weights; none where there is nothing to hash.
//!
//! # What it does not do
//!
//! It reads no clock, file or network, takes no lock and makes nothing random: whatever changes comes
//! in as data. It keeps no state about users.

mod answer;
mod answers;
mod bucketing;
mod clause;
mod differences;
mod entry;
mod lazy;
mod query;
mod readable;
mod reason;
mod set;

pub use answers::Answers;
pub(crate) use answers::value_of;
pub use bucketing::Bucket;
pub use differences::{Differences, OtherVariants};
pub use entry::{Entry, WrongType};
pub use query::{Forced, ForcedBy, Query};
pub use readable::{Readable, Reader};
pub use reason::{Evaluation, Reason};
pub use set::{FlagSet, FlagSetBuilder, SourceId};

pub(crate) use set::{Identity, JoinedNames};
