//! Where rules are kept: [`Feed`] for reading them and hearing of changes, [`Store`] for editing them too.
//!
//! A feed is turned into a source by [`Live`](crate::source::Live); the example at [`Feed`] is a whole
//! one. Feeds do not keep anything current, retry, or remember good rules: that is `Live`'s, once for
//! all of them. In the same way stores compare and write, and [`StoreExt::change`] does the rest.
//!
//! ```
//! use tower_flags::Flag;
//! use tower_flags::document::Edit;
//! use tower_flags::source::Live;
//! use tower_flags::store::{Author, Change, HistoryPage, MemoryStore, Store, StoreExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! let source = Live::connect(store.clone()).await?; // for `FlagLayer::new`
//!
//! let alice = Author::new("alice").because("launch");
//! let flag: Flag = r#"{"percentage": 10, "allowed_groups": ["staff"]}"#.parse()?;
//! store.change("new_checkout", Change::put(&flag), &alice).await?;
//! store.change("new_checkout", Change::edit(Edit::new().set("percentage", 50)), &alice).await?;
//!
//! let history = store.history(&HistoryPage::newest().of("new_checkout")).await?;
//! assert_eq!((history[0].version, history[0].actor.as_deref()), (2, Some("alice")));
//! assert!(store.verify_history().await?.is_ok());
//! # drop(source);
//! # Ok(())
//! # }
//! ```
//!
//! | store | rules in | needs |
//! |---|---|---|
//! | `RedisStore` | one JSON value for each flag, beside services that read and write the same keys | cargo feature `redis` |
//! | `PostgresStore`, `SqliteStore` | tables of their own, which people may edit by hand | cargo features `postgres`, `sqlite` |
//! | `FileStore` | the JSON or TOML file of [`File`](crate::source), with a history beside it | cargo feature `file` |
//! | [`MemoryStore`] | this process | |
//! | `PostgresTable`, `SqliteTable` | a table that the application has; read only | cargo features `postgres`, `sqlite` |
//! | `HttpFeed` | a document at any URL; read only | cargo feature `http` |
//!
//! # Rules of editing
//!
//! 1. Every edit of a flag raises its version by one. An edit is made for a version, or for whatever is newest.
//! 2. Each edit is one entry of the history, written in the same transaction: who, when, why, before, after. It
//!    carries the digest of the entry before; [`StoreExt::verification`] checks the chain. With [`HistoryKeys`] a writer of
//!    the store cannot compute it again after a change.
//! 3. What somebody changed past us, with the store's own tools, becomes an entry of an unknown actor when
//!    the flag is edited next.
//! 4. Keys that an edit does not name stay as they are, foreign ones too: [`Edit`](crate::document::Edit).
//! 5. The name of a removed flag is remembered, with its version.

mod author;
mod backoff;
mod change;
mod commit;
mod commit_over;
mod feed;
#[cfg(feature = "file")]
mod file;
#[cfg(any(feature = "file", feature = "sqlite"))]
mod for_owner;
mod history;
mod history_keys;
#[cfg(feature = "http")]
mod http;
mod memory;
mod own_work;
mod parsing;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod plaintext;
mod random;
mod recent;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub mod redis;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "postgres", feature = "sqlite"))))]
pub mod sql;
mod traits;
mod verify;

pub use crate::error::{Error, ErrorKind};
pub use author::Author;
pub(crate) use backoff::Backoff;
pub use change::{AppliedChange, Change, ChangeError, StoreExt};
pub use commit::{Commit, Stored};
pub use feed::{BoxFuture, Condition, Feed, FeedContent, Notices};
#[cfg(feature = "file")]
#[cfg_attr(docsrs, doc(cfg(feature = "file")))]
pub use file::{FileFeed, FileStore};
pub use history::{Head, HistoryEntry, HistoryPage};
pub use history_keys::HistoryKeys;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use http::{HttpFeed, HttpFeedBuilder};
pub use memory::MemoryStore;
pub use recent::RecentEdits;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use redis::RedisStore;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use sql::{PostgresStore, PostgresTable};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use sql::{SqliteStore, SqliteTable};
pub use traits::{Capabilities, Store};
pub use verify::{BreakKind, HistoryBreak, Verification, verify};

#[cfg(feature = "admin")]
pub(crate) use change::note_of_pause;
#[cfg(feature = "file")]
pub(crate) use file::{check_owner, is_mounted, open_itself, overwrite};
#[cfg(feature = "admin")]
pub(crate) use history::digest_of;
#[cfg(feature = "admin")]
pub(crate) use history_keys::digest_like;
pub(crate) use own_work::OwnWork;
pub(crate) use random::random_share;
#[cfg(feature = "admin")]
pub(crate) use verify::{Knowledge, Walk, verification};
