//! What the property tests share: a second opinion, generated documents, and what must hold of every
//! set of answers.

mod coherent;
mod generator;
mod oracle;
mod random;
mod tree;

pub use coherent::{assert_coherent, is_met, refused_names};
pub use generator::{CHAIN, Generator, context_of, instants};
pub use oracle::ask;
pub use random::Random;
pub use tree::Tree;
