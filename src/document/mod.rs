//! What people write down: the definitions of flags, as text and as values.
//!
//! A [`Document`] holds definitions by name, read from JSON or TOML, and the [`Problem`]s found on the way. Reading and
//! writing need nothing else; [`engine`](crate::engine) decides what the definitions say.
//!
//! ```
//! use tower_flags::Document;
//!
//! let document = Document::from_json(
//!     r#"{"flags": {
//!         "new_search": {"enabled": true, "percentage": 12.5, "allowed_groups": ["employees"]},
//!         "checkout": {"enabled": true, "requires": ["new_search"]},
//!         "old_cart": {"enabled": true, "percentage": 101}
//!     }}"#,
//! )?;
//! assert_eq!(document.flag("new_search").unwrap().allowed_groups().collect::<Vec<_>>(), ["employees"]);
//! assert!(document.flag("old_cart").is_none());
//! assert_eq!(document.problems()[0].path, "percentage");
//! # Ok::<(), tower_flags::Problem>(())
//! ```
//!
//! # The format
//!
//! An object with the key `flags`, from names to flags; `$schema` may stand beside it. A name matches
//! `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`. A flag is `true`, `false`, or an object of these keys; `null`
//! is the same as leaving a key out.
//!
//! | key | meaning | default |
//! |---|---|---|
//! | `enabled` (also `on`) | the kill switch: off beats everything and keeps all other settings | `true`, but it may be left out only where `percentage`, `allowed_users`, `allowed_groups`, `rules` or `schedule` stands |
//! | `percentage` (also `rollout_percentage`) | share of users, 0 to 100, at most three decimals | 100; 0 where `allowed_users`, `allowed_groups` or `rules` stands, even empty |
//! | `allowed_users` (also `users`, `enabled_for_users`), `allowed_groups` | always on for them | none |
//! | `rules` | `[{"when": [clause, …], "serve": …}, …]`: the first whose clauses all hold decides; it serves `true`, `false`, a variant's name or `{"percentage": p}` | none |
//! | `requires` | `["flag", {"flag": "variant"}]`: flags that must be on, with a variant where one is named | none |
//! | `schedule` | `[{"at": instant, "percentage": p}, …]`: the percentage in force from an instant on, 0 before the first; ascending, at most 100 steps; not beside `percentage` | none |
//! | `paused_at` | the schedule is read at this instant once it has passed | none |
//! | `bucket_by` | the attribute whose value is bucketed: a text as it is, an integer in decimal; anything else counts as missing | the user id |
//! | `variants` | from names to weights in percent, or to `{"weight": w, "value": any JSON}`; the weights sum to exactly 100; at most 255 | none |
//! | `bucketing` | `flag:user`, `user-flag`, `flag:user/32` or `user/32`: see [`Scheme`] | `flag:user` |
//! | `salt` | stands for the flag's name in what is hashed | the name |
//! | `overridable` | testers may force the flag | `false` |
//! | `hidden` | the flag is never named to clients | `false` |
//! | `kind` (also `type`) | `release`, `experiment`, `ops` or `permission` | `release` |
//! | `name` | has to be the flag's own name | |
//! | `owner`, `ticket` (also `jira_ticket`), `description`, `tags`, `created_at`, `expires_at`, `metadata` | bookkeeping: what is wrong in it is a warning and left out; dates are days in UTC | none |
//!
//! `rollout_stages`, `rollout_started`, `current_stage`, `stage_started` and `rolled_back_at` are left
//! alone: the services that write them move `percentage` themselves. Any other key, a key twice, and
//! two spellings of one thing are errors.
//!
//! A clause is `{"attribute": name, "op": operator, "values": [value, …]}` and holds if any value does.
//! Operators: `equals` (also `one_of`), `contains`, `starts_with`, `ends_with`, `matches` (a regular
//! expression, not anchored), `greater`, `greater_or_equal`, `less`, `less_or_equal` (numbers),
//! `semver_equals`, `semver_greater`, `semver_greater_or_equal`, `semver_less`, `semver_less_or_equal`,
//! `before`, `after` (RFC 3339), and `exists`, which takes no values. `not_` before any of them is its
//! exact negation. A list holds if any element does; what is missing or of another type does not hold.
//! `user_id` and `groups` can be asked like attributes.
//!
//! Numbers compare by their values, without rounding: `18`, `18.0` and `1.8e1` are one number, and
//! 1234567890123456789 is not equal to its neighbours. A rule holds whole numbers from −2⁶³ to 2⁶⁴−1, and
//! fractions that a 64-bit float gives back as written. Any other number is a problem of its flag:
//! 18446744073709551616, `1e20`, `9007199254740993.0`, `0.10000000000000000555`. An attribute is the number that its
//! [`serde_json::Number`] holds: give whole numbers as integers, since a float may round their last digits.
//! The `value` of a variant is served with all digits of its whole numbers, or it is a problem.
//!
//! **A flag that is wrong costs only itself.** It becomes a [`Problem`]; its earlier good definition
//! stays in force, else it is off. If the refused text legibly says that the flag is off, it is off at
//! once.
//!
//! Limits: a document of 4 MiB and 10 000 flags, a flag of 1 MiB in JSON, chains of `requires` of 32, a regular
//! expression of 512 bytes that compiles to 256 KiB, 64 of them in a flag.
//!
//! Regular expressions are compiled with a set, each text once, and not again where the set before has it. Those of one
//! flag may compile to 2 MiB, else the flag is refused; those of all flags to 16 MiB: definitions in effect keep their
//! place, new ones are accepted in ascending order of size, and one that does not fit is refused. At most 32 MiB are
//! compiled for a set, rejected ones included. A pattern counts 3 KiB more than its compiled size. It is searched for in
//! the whole text, and matches if any part of it matches. A text of more than 2,048 bytes never matches, so `not_matches`
//! is true for it. Where a pattern ignores case, its ranges have at most 200,000 characters.

mod clause;
mod declared;
mod definitions;
mod edit;
mod flag;
mod name;
mod number;
mod pattern;
mod patterns;
mod percentage;
mod problem;
mod read;
mod scheme;
mod text;
mod texts;
mod timestamp;
mod write;

pub use declared::{Declaration, DeclaredFlag, Variants, distinct};
pub use definitions::Document;
pub(crate) use definitions::Shortfall;
pub use edit::Edit;
pub use flag::{Bookkeeping, Flag, Kind, Variant};
pub use name::FlagName;
pub use percentage::{Percentage, PercentageError};
pub use problem::{Problem, Severity};
pub use scheme::Scheme;
pub use timestamp::{Day, ParseDayError, ParseTimestampError, Timestamp};

pub(crate) use clause::{Clause, Comparison, Patterns, Scalar, Test, TextOperator};
pub(crate) use definitions::kept;
pub(crate) use edit::killed;
pub(crate) use flag::{Requirement, Schedule, Serve, Step};
pub(crate) use name::assert_is_variant;
pub(crate) use number::Number;
#[cfg(feature = "admin")]
pub(crate) use number::WHOLE as WHOLE_NUMBER;
#[cfg(test)]
pub(crate) use pattern::COMPILED;
pub(crate) use pattern::{MAX_COMPILED, Pattern, Regex, too_large};
pub(crate) use patterns::{patterns, size_of_patterns};
pub(crate) use problem::quoted;
#[cfg(feature = "file")]
pub(crate) use read::Format;
#[cfg(any(feature = "admin", feature = "file", feature = "http"))]
pub(crate) use read::MAX_DOCUMENT;
#[cfg(any(feature = "admin", feature = "postgres", feature = "redis", feature = "sqlite"))]
pub(crate) use read::MAX_FLAG;
#[cfg(feature = "redis")]
pub(crate) use read::beyond;
#[cfg(any(feature = "file", feature = "http"))]
pub(crate) use read::utf_8;
pub(crate) use read::{
    Definition, MAX_FLAGS, NAME_PATTERN, accepted_flag, flag_from_json, is_name, nearest, not_a_name, parts,
};
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
pub(crate) use read::{MAX_LOOKED_AT, Raw};
#[cfg(feature = "admin")]
pub(crate) use read::{canonical_key, is_foreign_key};
#[cfg(feature = "admin")]
pub(crate) use text::Loss;
#[cfg(any(feature = "admin", feature = "file"))]
pub(crate) use text::Plain;
#[cfg(any(feature = "admin", feature = "file"))]
pub(crate) use text::members;
#[cfg(feature = "file")]
pub(crate) use text::position;
#[cfg(feature = "file")]
pub(crate) use text::unreadable_numbers;
pub(crate) use text::{Node, json};
pub(crate) use texts::Texts;
