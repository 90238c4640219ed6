//! What answers requests.

mod board;
mod env;
#[cfg(feature = "file")]
mod file;
mod layered;
mod live;
mod memory;
mod traits;

pub use env::Env;
#[cfg(feature = "file")]
pub use file::File;
pub use layered::{Definitions, Layered};
pub use live::{Live, LiveBuilder};
pub use memory::Memory;
pub use traits::{Evaluation, Freshness, Source, Status};
