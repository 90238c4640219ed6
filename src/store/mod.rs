//! Where rules are kept: the trait [`Feed`] for reading them and hearing of changes, and the file.
//!
//! A feed is turned into a source by [`Live`](crate::source::Live); the example at [`Feed`] is a whole
//! one. Feeds do not keep anything current, retry, or remember good rules: that is `Live`'s, once for
//! all of them.

mod error;
mod feed;
#[cfg(feature = "file")]
mod file;

pub use error::{Error, ErrorKind};
pub use feed::{BoxFuture, Feed, Loaded, Notices};
#[cfg(feature = "file")]
#[cfg_attr(docsrs, doc(cfg(feature = "file")))]
pub use file::FileFeed;
