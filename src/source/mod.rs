//! What answers requests.

mod board;
mod env;
mod layered;
mod memory;
mod traits;

pub use env::Env;
pub use layered::{Definitions, Layered};
pub use memory::Memory;
pub use traits::{Evaluation, Freshness, Source, Status};
