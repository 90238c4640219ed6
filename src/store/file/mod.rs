//! A JSON or TOML file as a feed and as a store.

mod feed;
mod guarded;
mod in_json;
mod in_place;
mod in_toml;
mod journal;
mod mounted;
mod replace;
mod store;
mod text;
mod watch;
mod wide;

pub use feed::FileFeed;
pub use store::FileStore;

pub(crate) use guarded::{check_owner, open_itself};
pub(crate) use in_place::overwrite;
pub(crate) use mounted::is_mounted;
