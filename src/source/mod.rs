//! What answers requests: the trait [`Source`] and the sources of this crate.
//!
//! ```
//! use tower_flags::{Context, Env, Layered, Memory, Source};
//!
//! let memory = Memory::new();
//! memory.set("search", true)?;
//! let source = Layered::over(memory).with(Env::from_pairs([("FF_SEARCH", "off")]));
//!
//! assert!(!source.flags(&Context::user("alice")).is_enabled("search"));
//! assert_eq!(source.status().flags, 1);
//! # Ok::<(), tower_flags::Problem>(())
//! ```
//!
//! 1. Answering is synchronous: a request reads a compiled set behind one atomic pointer. Feeding that
//!    set is asynchronous, fallible and elsewhere.
//! 2. A swap is one atomic store. A request keeps the set it began with.
//! 3. A schedule is resolved once for each of its steps, by the first request after it.
//!
//! | source | rules from | fresh within |
//! |---|---|---|
//! | [`Memory`] | the application | at once |
//! | [`Env`] | environment variables | the start |
//! | `File` | a JSON or TOML file | 1 s |
//! | [`Live`] | any [`Feed`](crate::store::Feed) | its notices, or 30 s |
//! | [`Layered`] | several of these, flag by flag | as its parts |
//!
//! A source does not identify callers and knows nothing of HTTP: that is [`request`](crate::request).

#[cfg(feature = "file")]
mod backup;
#[cfg(feature = "file")]
mod backup_writer;
mod board;
mod changes;
mod condition;
mod env;
#[cfg(feature = "file")]
mod file;
mod health;
mod kills;
mod layered;
mod live;
mod memory;
mod missing;
mod seen;
mod tasks;
mod traits;

pub use changes::{Changes, FlagChange, MissedChanges};
pub use env::Env;
#[cfg(feature = "file")]
#[cfg_attr(docsrs, doc(cfg(feature = "file")))]
pub use file::File;
pub use kills::LocalKill;
#[cfg(feature = "admin")]
pub(crate) use kills::Obstacle;
pub use layered::{Definitions, Layered};
pub use live::{Live, LiveBuilder};
pub use memory::Memory;
pub use missing::MissingFlag;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub use traits::ReadObserver;
pub use traits::{Freshness, Source, Status};
