//! Many MD5 digests at once: the partial rollouts of one caller are hashed side by side.
//!
//! * `md5` is the compression function over any word: a number, or a vector of them.
//! * `message` lays out what is hashed, as far as it is known before the caller is.
//! * `batch` puts messages of similar length into lanes and hashes them for one caller.
//!
//! Nothing here decides anything: out come the same digests that `md-5` computes one by one, which is
//! what inputs of more than two blocks get. The instructions are chosen at run time, by the library.

mod batch;
mod md5;
mod message;

pub(super) use batch::Batches;
pub(super) use message::Layout;
