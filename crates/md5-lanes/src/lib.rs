//! MD5 digests of many short messages that share a value, side by side in vector registers.
//!
//! Many texts are known beforehand, and one value later: each message is a text and the value. [`Batches`] lays the texts
//! out once, and then hashes all of them with a value, up to sixteen at a time, or 64 where registers allow it.
//!
//! ```
//! use md5_lanes::{Batches, Layout};
//!
//! let batches = Batches::new(Layout::ValueLast, [("tea", b"tea:".to_vec()), ("coffee", b"coffee:".to_vec())]);
//! let mut digests = Vec::new();
//! batches.digest_all(b"alice", |text, digest| digests.push((text, digest)));
//! digests.sort_by_key(|(text, _)| *text);
//!
//! let [(_, coffee), (_, tea)] = digests[..] else { panic!("one digest for each text") };
//! // MD5 of "coffee:alice" and of "tea:alice".
//! assert_eq!(coffee.to_bytes(), 0x58c6b5d4df3242cd4021326a80ce9407_u128.to_be_bytes());
//! assert_eq!(tea.to_bytes(), 0x80172dd4363b6f575897fc494fa49e6c_u128.to_be_bytes());
//! assert_eq!(u128::from(tea.remainder_of_100()), u128::from_be_bytes(tea.to_bytes()) % 100);
//! ```
//!
//! 1. The digests are those of RFC 1321, byte for byte.
//! 2. Batches in which no message is longer than 119 bytes are hashed in lanes, others one by one by `md-5`. With debug
//!    assertions all messages are hashed one by one: without optimisation every vector operation is a call, and lanes are
//!    slower.
//! 3. The instructions are chosen at run time, when the texts are laid out.
//! 4. Hashing allocates nothing.
//!
//! MD5 is broken as a cryptographic hash. Use this crate only where a published format requires MD5 and a collision
//! does no harm.
//!
//! # The files
//!
//! * `md5` is the compression function over any word: a number, or a vector of them.
//! * `message` lays out what is hashed, as far as it is known before the value is.
//! * `batch` puts messages of similar length into lanes and hashes them with one value.

#![forbid(unsafe_code)]

mod batch;
mod md5;
mod message;

pub use batch::{Batches, Digest};
pub use message::Layout;
