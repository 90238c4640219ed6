//! One request: who asks, what is on for them, and where that can be read.

mod body;
mod counts;
#[cfg(feature = "axum")]
mod extract;
mod future;
mod header;
mod identity;
mod layer;
mod scope;
mod service;

pub use body::ResponseBody;
pub use counts::RequestCounts;
#[cfg(feature = "axum")]
pub use extract::FlagsRejection;
pub use future::ResponseFuture;
pub use header::HeaderPolicy;
pub use layer::FlagLayer;
pub use scope::{OutOfScope, flag, reads_out_of_scope, try_flag, variant};
pub use service::FlagService;
