//! Feature flags for tower and axum services.
//!
//! One layer finds out who asks, decides **every** flag once, and makes the answers available
//! everywhere the request goes: as the [`Flags`] argument of a handler, through [`flag`] anywhere
//! below it, in the body while it streams, and as `X-Active-Flags` on the response.
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_flags::{Flag, FlagLayer, Flags, Memory, flag};
//!
//! async fn checkout(flags: Flags) -> String {
//!     format!("{} (rules {})", button(), flags.version())
//! }
//!
//! fn button() -> &'static str {
//!     if flag("new_checkout") { "Buy now" } else { "Add to cart" }
//! }
//!
//! # fn main() -> Result<(), tower_flags::Problem> {
//! let rules = Memory::new();
//! rules.set("new_checkout", r#"{"percentage": 25, "allowed_users": ["alice"]}"#.parse::<Flag>()?)?;
//! let app: Router = Router::new().route("/checkout", get(checkout)).layer(FlagLayer::new(rules));
//! # Ok(())
//! # }
//! ```
//!
//! # Where things are
//!
//! | module | holds |
//! |---|---|
//! | [`document`] | what people write down: the format of flags, reading and writing it, edits, problems |
//! | [`engine`] | deciding: compiled sets, the order of deciding, buckets; pure and total |
//! | [`store`] | where rules are kept and edited: files, Redis, PostgreSQL, SQLite, URLs |
//! | [`source`] | what answers requests: memory, environment, files, any store kept current, several of them as one |
//! | [`request`] | one request: layer, identity, scope, response header |
//! | [`observe`] | what became of requests, for telemetry and guards |
//! | [`operate`] | flags over time: rollouts by plans |
//! | `tower_flags::admin` | watching and editing flags over HTTP |
//! | `tower_flags::testing` | tests of applications: fixed flags, both branches |
//! | [`docs`] | limitations with their workarounds, performance, the threat model |
//!
//! # Cargo features
//!
//! | name | enables | pulls in | default | needs Rust |
//! |---|---|---|---|---|
//! | `admin` | an HTTP API to watch and edit flags, and a dashboard over it | `axum` | no | 1.89 |
//! | `axum` | the [`Flags`] extractor for axum handlers | `axum-core` | yes | 1.89 |
//! | `file` | rules from a JSON or TOML file that can be edited while the service runs, and a backup file for other sources | `notify`, `rustix`, `tempfile`, `toml`, `toml_edit` | yes | 1.89 |
//! | `http` | rules from any URL that serves them as JSON | `reqwest`, `rustls`, `rustls-platform-verifier` | no | 1.89 |
//! | `overrides` | testers' overrides and decisions between services, both signed | `base64` | yes | 1.89 |
//! | `postgres` | rules in PostgreSQL | `sqlx` | no | 1.94 |
//! | `redis` | rules in Redis | `redis`, `rustls`, `rustls-native-certs`, `tokio-rustls` | no | 1.89 |
//! | `sqlite` | rules in an SQLite file | `sqlx` | no | 1.94 |
//! | `testing` | fixed flags, and runs over every combination of them, for tests |  | no | 1.89 |
//! | `visitors` | ids in a cookie for anonymous visitors | `getrandom` | no | 1.89 |
//!
//! With none of them the layer works under plain tower, over rules in memory or the environment.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(feature = "admin")]
#[cfg_attr(docsrs, doc(cfg(feature = "admin")))]
pub mod admin;
mod clock;
mod context;
mod declare;
pub mod docs;
pub mod document;
pub mod engine;
mod error;
pub mod observe;
pub mod operate;
pub mod request;
pub mod source;
pub mod store;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
mod weak_key;

#[doc(inline)]
pub use request::{FlagLayer, FlagService, Flags, flag, try_flag, variant};
#[doc(inline)]
pub use request::{FlagsExt, spawn, spawn_blocking};

#[doc(inline)]
pub use context::Context;
#[doc(inline)]
pub use document::FlagName;
#[doc(inline)]
pub use engine::Reason;

#[cfg(feature = "file")]
#[cfg_attr(docsrs, doc(cfg(feature = "file")))]
#[doc(inline)]
pub use source::File;
#[doc(inline)]
pub use source::{Env, Layered, Live, Memory, Source, Status};

#[cfg(feature = "visitors")]
#[cfg_attr(docsrs, doc(cfg(feature = "visitors")))]
#[doc(inline)]
pub use request::Visitors;
#[cfg(feature = "overrides")]
#[cfg_attr(docsrs, doc(cfg(feature = "overrides")))]
#[doc(inline)]
pub use request::{AcceptDecisions, OverrideToken, Overrides, SendDecisions, SendDecisionsLayer, SigningKey};
#[doc(inline)]
pub use request::{HeaderPolicy, IdentifyLayer, RequireFlagLayer, ResolveLayer};

#[doc(inline)]
pub use document::{Document, Edit, Flag, Percentage, Problem, Timestamp};
#[doc(inline)]
pub use engine::{Answers, Evaluation, FlagSet, Query};
#[doc(inline)]
pub use error::{Error, ErrorKind};
#[doc(inline)]
pub use observe::{Observer, Outcome};
#[doc(inline)]
pub use store::{Author, Change, HistoryPage, Store, StoreExt};

#[cfg(all(doctest, feature = "axum", feature = "file", feature = "overrides"))]
#[doc = include_str!("../README.md")]
struct Readme;
