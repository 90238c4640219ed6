//! Where rules are kept.

mod error;
mod feed;
#[cfg(feature = "file")]
mod file;

pub use error::{Error, ErrorKind};
pub use feed::{BoxFuture, Feed, Loaded, Notices};
#[cfg(feature = "file")]
pub use file::FileFeed;
